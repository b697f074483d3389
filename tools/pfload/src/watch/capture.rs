//! Log records into a capture: pcap, or pcapng with full interface names and a comment on each packet.
//!
//! Both are written record by record and flushed, so that a reader may follow. Times are nanoseconds since 1970; pcap
//! keeps microseconds of them.
//! Source: the pcap and pcapng drafts of the IETF's opsawg.

use std::io::{self, Write};

use pfvm::watch::LogRow;

use super::pflog::{DLT_PFLOG, ShortNames, record};

/// Longest packet a reader must expect.
const SNAPLEN: u32 = 65_535 + 100;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// pcap.
    Pcap,
    /// pcapng.
    PcapNg,
}

impl Format {
    /// The format a file's name asks for: pcapng unless it ends in `.pcap` or `.cap`.
    pub(crate) fn of(name: &str) -> Self {
        let ending = name.rsplit('.').next().unwrap_or_default();
        if ending.eq_ignore_ascii_case("pcap") || ending.eq_ignore_ascii_case("cap") {
            Self::Pcap
        } else {
            Self::PcapNg
        }
    }
}

/// A capture being written.
#[derive(Debug)]
pub(crate) struct Capture<W> {
    out: W,
    format: Format,
    names: ShortNames,
    /// pcapng: interfaces described so far, pflog interface and name.
    interfaces: Vec<(u8, String)>,
}

impl<W: Write> Capture<W> {
    /// Begins a capture.
    ///
    /// # Errors
    /// The stream's.
    pub(crate) fn new(mut out: W, format: Format) -> io::Result<Self> {
        match format {
            Format::Pcap => {
                let mut head = Vec::from(0xa1b2_c3d4_u32.to_le_bytes());
                head.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                head.extend(SNAPLEN.to_le_bytes());
                head.extend(DLT_PFLOG.to_le_bytes());
                out.write_all(&head)?;
            }
            Format::PcapNg => {
                let mut body = Vec::from(0x1a2b_3c4d_u32.to_le_bytes());
                body.extend([1, 0, 0, 0]);
                body.extend(u64::MAX.to_le_bytes());
                option(&mut body, 4, concat!("pfload ", env!("CARGO_PKG_VERSION")).as_bytes());
                option(&mut body, 0, &[]);
                out.write_all(&block(0x0a0d_0d0a, &body))?;
            }
        }
        out.flush()?;
        Ok(Self { out, format, names: ShortNames::default(), interfaces: Vec::new() })
    }

    /// Writes a record seen at `nanos`.
    ///
    /// # Errors
    /// The stream's.
    pub(crate) fn write(&mut self, row: &LogRow<'_>, nanos: u64) -> io::Result<()> {
        let bytes = record(row, self.names.of(row.iface));
        let captured = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let cut = u32::try_from(row.bytes.len()).unwrap_or(u32::MAX);
        let whole = captured.saturating_add(row.len.saturating_sub(cut));
        match self.format {
            Format::Pcap => {
                let mut head = Vec::new();
                let seconds = u32::try_from(nanos / 1_000_000_000).unwrap_or(u32::MAX);
                let micros = u32::try_from(nanos % 1_000_000_000 / 1000).unwrap_or(0);
                for word in [seconds, micros, captured, whole] {
                    head.extend(word.to_le_bytes());
                }
                head.extend(bytes);
                self.out.write_all(&head)?;
            }
            Format::PcapNg => {
                let interface = self.interface(row)?;
                let mut body = Vec::from(interface.to_le_bytes());
                let (high, low) = (nanos >> 32, nanos & 0xffff_ffff);
                for word in [u32::try_from(high).unwrap_or(0), u32::try_from(low).unwrap_or(0), captured, whole] {
                    body.extend(word.to_le_bytes());
                }
                body.extend(bytes);
                pad(&mut body);
                if let Some(comment) = comment(row) {
                    option(&mut body, 1, comment.as_bytes());
                }
                // Direction, in the low two bits of the flags: 1 received, 2 sent.
                let dir: u32 = if matches!(row.dir, pfvm::rule::Direction::In) { 1 } else { 2 };
                option(&mut body, 2, &dir.to_le_bytes());
                option(&mut body, 0, &[]);
                self.out.write_all(&block(6, &body))?;
            }
        }
        self.out.flush()
    }

    /// Number of the interface of a record, described at its first use.
    fn interface(&mut self, row: &LogRow<'_>) -> io::Result<u32> {
        let known = self.interfaces.iter().position(|(unit, name)| *unit == row.log_if && name == row.iface);
        let at = match known {
            Some(at) => at,
            None => {
                let mut body = Vec::from(u16::try_from(DLT_PFLOG).unwrap_or(0).to_le_bytes());
                body.extend([0, 0]);
                body.extend(SNAPLEN.to_le_bytes());
                option(&mut body, 2, row.iface.as_bytes());
                option(&mut body, 3, format!("{} by pflog{}", row.iface, row.log_if).as_bytes());
                // Nanoseconds.
                option(&mut body, 9, &[9]);
                option(&mut body, 0, &[]);
                self.out.write_all(&block(1, &body))?;
                self.interfaces.push((row.log_if, row.iface.to_owned()));
                self.interfaces.len() - 1
            }
        };
        Ok(u32::try_from(at).unwrap_or(u32::MAX))
    }
}

/// `label @ file:line`, as far as they are known.
pub(crate) fn comment(row: &LogRow<'_>) -> Option<String> {
    let place = (row.line != 0).then(|| format!("{}:{}", row.file, row.line));
    match (row.label, place) {
        ("", None) => None,
        ("", Some(place)) => Some(format!("@ {place}")),
        (label, None) => Some(label.to_owned()),
        (label, Some(place)) => Some(format!("{label} @ {place}")),
    }
}

fn pad(body: &mut Vec<u8>) {
    while !body.len().is_multiple_of(4) {
        body.push(0);
    }
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
    body.extend(code.to_le_bytes());
    body.extend(len.to_le_bytes());
    body.extend(value.iter().take(usize::from(len)));
    pad(body);
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let total = u32::try_from(body.len() + 12).unwrap_or(u32::MAX);
    let mut out = Vec::from(kind.to_le_bytes());
    out.extend(total.to_le_bytes());
    out.extend(body);
    out.extend(total.to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use pcap_file::pcap::PcapReader;
    use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
    use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
    use pcap_file::pcapng::{Block, PcapNgReader};

    const AT: u64 = 1_795_000_000_123_456_789;

    fn written(format: Format) -> Vec<u8> {
        let mut out = Vec::new();
        let packet = sample::tcp4();
        let mut capture = Capture::new(&mut out, format).unwrap();
        capture.write(&sample::row(&packet), AT).unwrap();
        let long = pfvm::watch::LogRow { iface: "vEthernet (Default Switch)", len: 1500, ..sample::row(&packet) };
        capture.write(&long, AT + 1000).unwrap();
        capture.write(&pfvm::watch::LogRow { label: "", ..sample::row(&packet) }, AT + 2000).unwrap();
        out
    }

    #[test]
    fn pcap_reads_back() {
        let bytes = written(Format::Pcap);
        let mut reader = PcapReader::new(bytes.as_slice()).unwrap();
        assert_eq!(u32::from(reader.header().datalink), DLT_PFLOG);
        let first = reader.next_packet().unwrap().unwrap();
        assert_eq!(first.timestamp.as_micros(), u128::from(AT / 1000));
        assert_eq!(first.data, record(&sample::row(&sample::tcp4()), "em0"));
        let second = reader.next_packet().unwrap().unwrap();
        assert_eq!(second.orig_len, 100 + 1500);
        assert_eq!(&second.data[4..20], b"vEthernet (De~1\0");
        assert!(reader.next_packet().unwrap().is_ok());
        assert!(reader.next_packet().is_none());
    }

    #[test]
    fn pcapng_reads_back_with_names_and_comments() {
        let bytes = written(Format::PcapNg);
        let mut reader = PcapNgReader::new(bytes.as_slice()).unwrap();
        let (mut names, mut comments, mut times) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(block) = reader.next_block() {
            match block.unwrap() {
                Block::InterfaceDescription(b) => {
                    assert_eq!(u32::from(b.linktype), DLT_PFLOG);
                    names.extend(b.options.iter().filter_map(|o| match o {
                        InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                        _ => None,
                    }));
                }
                Block::EnhancedPacket(b) => {
                    comments.extend(b.options.iter().filter_map(|o| match o {
                        EnhancedPacketOption::Comment(text) => Some((b.interface_id, text.to_string())),
                        _ => None,
                    }));
                    times.push(b.timestamp.as_nanos());
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(names, ["em0", "vEthernet (Default Switch)"]);
        let comment = |n, text: &str| (n, text.to_owned());
        assert_eq!(
            comments,
            [comment(0, "ssh in @ pf.conf:12"), comment(1, "ssh in @ pf.conf:12"), comment(0, "@ pf.conf:12")]
        );
        assert_eq!(times, [AT, AT + 1000, AT + 2000].map(u128::from));
    }

    #[test]
    fn the_name_tells_the_format() {
        assert_eq!(Format::of("a.pcap"), Format::Pcap);
        assert_eq!(Format::of("a.CAP"), Format::Pcap);
        assert_eq!(Format::of("a.pcapng"), Format::PcapNg);
        assert_eq!(Format::of("log"), Format::PcapNg);
    }
}

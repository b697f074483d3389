//! Writes captures: the format that was read, packet for packet.

use std::io::{self, Write};

use super::Interface;

/// A capture file's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One link type, one clock.
    Pcap,
    /// Several interfaces with names.
    PcapNg,
}

/// Writes packets; nanoseconds in both formats.
pub struct Writer<W> {
    output: W,
    format: Format,
    interfaces: usize,
}

fn u32_of(value: usize) -> io::Result<u32> {
    u32::try_from(value).map_err(|_| io::Error::other("a block of 4 GiB or more"))
}

impl<W: Write> Writer<W> {
    /// Writes the file header. A pcap file's link type is that of the first interface.
    ///
    /// # Errors
    /// What the output says.
    pub fn new(mut output: W, format: Format, first: Option<&Interface>) -> io::Result<Self> {
        match format {
            Format::Pcap => {
                let link = first.map_or(1, |interface| interface.link.0);
                let fields: [u32; 6] = [0xa1b2_3c4d, 2 | 4 << 16, 0, 0, 262_144, link];
                for field in fields {
                    output.write_all(&field.to_le_bytes())?;
                }
            }
            Format::PcapNg => {
                let mut body = Vec::new();
                body.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
                body.extend_from_slice(&1u16.to_le_bytes());
                body.extend_from_slice(&0u16.to_le_bytes());
                body.extend_from_slice(&u64::MAX.to_le_bytes());
                block(&mut output, 0x0a0d_0d0a, &body)?;
            }
        }
        Ok(Self { output, format, interfaces: 0 })
    }

    /// Writes a packet of `known[interface]`, describing interfaces not yet described. A `comment` is kept by pcapng.
    ///
    /// # Errors
    /// What the output says.
    pub fn packet(
        &mut self,
        known: &[Interface],
        interface: usize,
        time: u64,
        wire_len: u32,
        data: &[u8],
        comment: &str,
    ) -> io::Result<()> {
        match self.format {
            Format::Pcap => {
                let (seconds, nanos) = (time / 1_000_000_000, time % 1_000_000_000);
                let low = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
                for field in [low(seconds), low(nanos), u32_of(data.len())?, wire_len] {
                    self.output.write_all(&field.to_le_bytes())?;
                }
                self.output.write_all(data)
            }
            Format::PcapNg => {
                for interface in known.iter().skip(self.interfaces) {
                    describe(&mut self.output, interface)?;
                    self.interfaces += 1;
                }
                let mut body = Vec::with_capacity(data.len() + comment.len() + 48);
                let low = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap_or_default();
                for field in [u32_of(interface)?, low(time >> 32), low(time), u32_of(data.len())?, wire_len] {
                    body.extend_from_slice(&field.to_le_bytes());
                }
                padded(&mut body, data);
                if !comment.is_empty() {
                    option(&mut body, 1, comment.as_bytes());
                    body.extend_from_slice(&[0; 4]);
                }
                block(&mut self.output, 6, &body)
            }
        }
    }

    /// Flushes what is buffered and gives the output back.
    ///
    /// # Errors
    /// What the output says.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.flush()?;
        Ok(self.output)
    }
}

fn padded(body: &mut Vec<u8>, data: &[u8]) {
    body.extend_from_slice(data);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..value.len().min(usize::from(u16::MAX))).unwrap_or_default();
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    padded(body, value);
}

fn block(output: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let total = u32_of(body.len() + 12)?.to_le_bytes();
    output.write_all(&kind.to_le_bytes())?;
    output.write_all(&total)?;
    output.write_all(body)?;
    output.write_all(&total)
}

fn describe(output: &mut impl Write, interface: &Interface) -> io::Result<()> {
    let mut body = Vec::new();
    let link = u16::try_from(interface.link.0).map_err(|_| io::Error::other("a link type of more than 16 bits"))?;
    body.extend_from_slice(&link.to_le_bytes());
    body.extend_from_slice(&[0; 2]);
    body.extend_from_slice(&interface.snaplen.to_le_bytes());
    if let Some(name) = &interface.name {
        option(&mut body, 2, name.as_bytes());
    }
    option(&mut body, 9, &[9]);
    body.extend_from_slice(&[0; 4]);
    block(output, 1, &body)
}

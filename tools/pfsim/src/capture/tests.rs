//! Both formats against files written by another implementation, and against damage.

use std::borrow::Cow;
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::{Endianness, TsResolution};

use super::*;

/// What of a record is compared.
type Seen = (u64, usize, u32, Option<Direction>, Vec<u8>);

fn read(bytes: &[u8]) -> Result<(Vec<Seen>, Vec<Interface>), CaptureError> {
    let mut reader = Reader::new(bytes)?;
    let mut seen = Vec::new();
    while let Some(r) = reader.next_record()? {
        seen.push((r.time, r.interface, r.wire_len, r.direction, r.data.to_vec()));
    }
    Ok((seen, reader.interfaces().to_vec()))
}

fn classic(endianness: Endianness, ts_resolution: TsResolution) -> Vec<u8> {
    let header = PcapHeader { endianness, ts_resolution, datalink: DataLink::ETHERNET, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
    for n in 0..3u8 {
        let data = vec![n; usize::from(n) + 1];
        let packet = PcapPacket::new(Duration::new(5 + u64::from(n), 7000), 60, &data);
        writer.write_packet(&packet).unwrap();
    }
    writer.into_writer()
}

fn ng(endianness: Endianness) -> Vec<u8> {
    let mut writer = PcapNgWriter::with_endianness(Vec::new(), endianness).unwrap();
    for (name, link, resolution) in [("em0", DataLink::ETHERNET, 9u8), ("tun0", DataLink::RAW, 6)] {
        let options = vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
            InterfaceDescriptionOption::IfTsResol(resolution),
        ];
        let block = InterfaceDescriptionBlock { linktype: link, snaplen: 96, options };
        writer.write_pcapng_block(block).unwrap();
    }
    for (interface_id, flags) in [(0, 1), (1, 2), (1, 0)] {
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_nanos(1_500_000),
            original_len: 99,
            data: Cow::Borrowed(&[0x45, 0, 0, 1, 2]),
            options: vec![EnhancedPacketOption::Comment(Cow::Borrowed("x")), EnhancedPacketOption::Flags(flags)],
        };
        writer.write_pcapng_block(block).unwrap();
    }
    writer.into_inner()
}

#[test]
fn classic_in_both_orders_and_clocks() {
    for order in [Endianness::Big, Endianness::Little] {
        for resolution in [TsResolution::MicroSecond, TsResolution::NanoSecond] {
            let (seen, interfaces) = read(&classic(order, resolution)).unwrap();
            assert_eq!(interfaces.len(), 1);
            assert_eq!(seen[2], (7_000_007_000, 0, 60, None, vec![2; 3]));
            assert_eq!(seen.len(), 3);
        }
    }
}

#[test]
fn ng_keeps_names_clocks_and_directions() {
    for order in [Endianness::Big, Endianness::Little] {
        let (seen, interfaces) = read(&ng(order)).unwrap();
        let names: Vec<_> = interfaces.iter().map(|i| i.name.as_deref()).collect();
        assert_eq!(names, [Some("em0"), Some("tun0")]);
        assert_eq!(interfaces[1].link, LinkType::RAW);
        let frame = vec![0x45, 0, 0, 1, 2];
        assert_eq!(seen[0], (1_500_000, 0, 99, Some(Direction::In), frame.clone()));
        assert_eq!(seen[1], (1_500_000_000, 1, 99, Some(Direction::Out), frame.clone()));
        assert_eq!(seen[2], (1_500_000_000, 1, 99, None, frame));
    }
}

#[test]
fn what_is_written_reads_back() {
    for bytes in [classic(Endianness::Big, TsResolution::MicroSecond), ng(Endianness::Little)] {
        let (seen, interfaces) = read(&bytes).unwrap();
        let format = Reader::new(bytes.as_slice()).unwrap().format();
        let mut writer = Writer::new(Vec::new(), format, interfaces.first()).unwrap();
        for (time, interface, wire_len, _, data) in &seen {
            writer.packet(&interfaces, *interface, *time, *wire_len, data, "rule 3").unwrap();
        }
        let (again, _) = read(&writer.finish().unwrap()).unwrap();
        let plain = |all: &[Seen]| all.iter().map(|s| (s.0, s.1, s.2, s.4.clone())).collect::<Vec<_>>();
        assert_eq!(plain(&again), plain(&seen));
    }
}

#[test]
fn what_is_written_is_read_by_another() {
    let (seen, interfaces) = read(&ng(Endianness::Little)).unwrap();
    let mut writer = Writer::new(Vec::new(), Format::PcapNg, None).unwrap();
    writer.packet(&interfaces, 1, 5, 99, &seen[0].4, "pass @ pf.conf:3").unwrap();
    let bytes = writer.finish().unwrap();
    let mut other = pcap_file::pcapng::PcapNgReader::new(bytes.as_slice()).unwrap();
    let mut packets = 0;
    while let Some(block) = other.next_block() {
        if let Some(packet) = block.unwrap().into_enhanced_packet() {
            assert_eq!(packet.data.as_ref(), [0x45, 0, 0, 1, 2]);
            assert_eq!(packet.options[0], EnhancedPacketOption::Comment(Cow::Borrowed("pass @ pf.conf:3")));
            packets += 1;
        }
    }
    assert_eq!(packets, 1);
}

#[test]
fn every_cut_is_found_and_placed() {
    for bytes in [classic(Endianness::Little, TsResolution::MicroSecond), ng(Endianness::Big)] {
        let whole = read(&bytes).unwrap().0.len();
        for end in 1..bytes.len() {
            match read(&bytes[..end]) {
                Ok((seen, _)) => assert!(seen.len() < whole, "a cut at {end} went unnoticed"),
                Err(CaptureError::Truncated { end: found, offset, wanted, have, .. }) => {
                    assert_eq!(found, u64::try_from(end).unwrap());
                    assert_eq!(offset + u64::try_from(have).unwrap(), found);
                    assert!(wanted > have);
                }
                Err(CaptureError::Magic { found }) => assert_eq!(found.len(), end),
                Err(other) => panic!("cut at {end}: {other}"),
            }
        }
    }
}

#[test]
fn every_flipped_byte_is_survived() {
    for bytes in [classic(Endianness::Little, TsResolution::NanoSecond), ng(Endianness::Little)] {
        for at in 0..bytes.len() {
            for value in [0, 0x7f, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                let _ = read(&damaged);
            }
        }
    }
}

#[test]
fn refusals_name_what_was_found() {
    let text = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert_eq!(text(&[]), "the file is empty: a capture begins with a header of at least 24 bytes");
    assert_eq!(
        text(b"block all\n"),
        "not a capture: it begins with 62 6c 6f 63, where a pcap or pcapng file has its magic number"
    );
    let mut wifi = classic(Endianness::Little, TsResolution::MicroSecond);
    wifi[20] = 105;
    assert_eq!(
        text(&wifi),
        "link type 105 (IEEE 802.11) at byte 20 is not read; read are Ethernet, raw IP, Linux cooked v1, \
         Linux cooked v2, BSD loopback"
    );
    let mut long = classic(Endianness::Little, TsResolution::MicroSecond);
    long[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(text(&long), "malformed at byte 24: a packet of 4294967295 bytes, where at most 262144 are read");
}

#[test]
fn a_long_file_takes_constant_memory() {
    /// A pcap file of `left` packets that never lies in memory.
    struct Endless {
        left: u32,
        pending: Vec<u8>,
    }
    impl Read for Endless {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            if self.pending.is_empty() && self.left > 0 {
                self.left -= 1;
                let fields: [u32; 4] = [1, 2, 1400, 1400];
                self.pending = fields.iter().flat_map(|f| f.to_le_bytes()).chain([0; 1400]).collect();
            }
            let n = self.pending.len().min(into.len());
            into[..n].copy_from_slice(&self.pending[..n]);
            self.pending.drain(..n);
            Ok(n)
        }
    }
    let header = &classic(Endianness::Little, TsResolution::MicroSecond)[..24];
    let mut reader = Reader::new(Endless { left: 20_000, pending: header.to_vec() }).unwrap();
    let mut packets = 0;
    while reader.next_record().unwrap().is_some() {
        packets += 1;
        assert!(reader.buffer.capacity() <= 1 << 13);
    }
    assert_eq!(packets, 20_000);
    assert_eq!(reader.position(), 24 + 20_000 * 1416);
}

//! Replays with a decider that drops one port and rewrites what it passes.

use pfvm::packet::DropReason;

use super::*;
use crate::capture::{Format, LinkType, Merged, Reader};
use crate::decide::{By, RuleRow};
use crate::line::Line;

/// Blocks UDP to port 53 and marks what passes with a TTL of 7.
#[derive(Default)]
struct Picky {
    seen: Vec<(String, Direction, usize)>,
    rows: Vec<RuleRow>,
}

impl Decider for Picky {
    fn decide(&mut self, seen: &mut Sighting<'_>) -> Ruling {
        self.seen.push((seen.iface.to_owned(), seen.dir, seen.packet.len()));
        let desc = describe(&Packet::whole(seen.packet), &seen.meta, seen.af, seen.dir, 0);
        let verdict = if desc.is_ok_and(|d| d.dport == 53) { Verdict::Block } else { Verdict::Pass };
        if seen.af == Af::Inet {
            seen.packet[8] = 7;
        }
        Ruling { verdict, reason: DropReason::Match, by: By::Rule(0), log: false }
    }

    fn rules(&self) -> &[RuleRow] {
        &self.rows
    }
}

fn ethernet(line: &str, padding: usize) -> Vec<u8> {
    let line = Line::parse(line).unwrap();
    let kind: [u8; 2] = if line.src.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
    [[0; 12].as_slice(), &kind, &line.bytes(), &vec![0xee; padding]].concat()
}

fn capture(name: Option<&str>, frames: &[(Vec<u8>, u32)]) -> Vec<u8> {
    let interfaces = [Interface::new(name.map(str::to_owned), LinkType::ETHERNET)];
    let mut writer = Writer::new(Vec::new(), Format::PcapNg, None).unwrap();
    for (n, (frame, more)) in frames.iter().enumerate() {
        let wire = u32::try_from(frame.len()).unwrap() + more;
        writer.packet(&interfaces, 0, n as u64, wire, frame, "").unwrap();
    }
    writer.finish().unwrap()
}

const DNS: &str = "in on x udp 10.0.0.2:4000 > 10.0.0.1:53 len 30";
const SSH: &str = "in on x tcp 10.0.0.1:4000 > 10.0.0.9:22";

#[test]
fn what_passes_is_written_as_rewritten() {
    let arp = [[0; 12].as_slice(), &[8, 6], &[1; 28]].concat();
    let bytes = capture(Some("em1"), &[(ethernet(DNS, 0), 0), (ethernet(SSH, 6), 0), (arp.clone(), 0)]);
    let mut reader = Reader::new(bytes.as_slice()).unwrap();
    let mut writer = Writer::new(Vec::new(), Format::PcapNg, None).unwrap();
    let mut picky = Picky::default();
    let placement = Placement { own: ["10.0.0.1".parse().unwrap()].into(), ..Placement::default() };
    let (tally, done) = replay(&mut reader, &placement, &mut picky, Some(&mut writer), &mut ());
    done.unwrap();
    assert_eq!((tally.frames, tally.passed.packets, tally.blocked.packets, tally.guessed), (3, 1, 1, 2));
    assert_eq!(tally.others.iter().map(|(k, n)| (k.to_string(), *n)).collect::<Vec<_>>(), [("ARP".into(), 1)]);
    // Padding is gone, the source of the second is ours.
    assert_eq!(picky.seen, [("em1".into(), Direction::In, 58), ("em1".into(), Direction::Out, 40)]);
    let written = writer.finish().unwrap();
    let mut again = Reader::new(written.as_slice()).unwrap();
    let first = again.next_record().unwrap().unwrap();
    assert_eq!((first.data.len(), first.data[14 + 8]), (54, 7));
    assert_eq!(again.next_record().unwrap().unwrap().data, arp);
    assert!(again.next_record().unwrap().is_none());
}

#[test]
fn a_packet_captured_in_part_is_completed() {
    let mut frame = ethernet("in on x tcp 10.0.0.2:4000 > 10.0.0.1:22 len 900", 0);
    let missing = u32::try_from(frame.len() - 60).unwrap();
    frame.truncate(60);
    let bytes = capture(None, &[(frame, missing)]);
    let mut picky = Picky::default();
    let placement = Placement { iface: Some("em7".into()), dir: Some(Direction::Out), ..Placement::default() };
    let mut reader = Reader::new(bytes.as_slice()).unwrap();
    let (tally, done) = replay::<Vec<u8>>(&mut reader, &placement, &mut picky, None, &mut ());
    done.unwrap();
    assert_eq!((tally.cut, tally.guessed, tally.nameless), (1, 0, 0));
    assert_eq!(picky.seen, [("em7".into(), Direction::Out, 940)]);
}

#[test]
fn a_cut_file_keeps_what_was_read() {
    let mut bytes = capture(None, &[(ethernet(DNS, 0), 0), (ethernet(SSH, 0), 0)]);
    bytes.truncate(bytes.len() - 3);
    let mut reader = Reader::new(bytes.as_slice()).unwrap();
    let (tally, done) = replay::<Vec<u8>>(&mut reader, &Placement::default(), &mut Picky::default(), None, &mut ());
    assert!(matches!(done, Err(ReplayError::Capture(CaptureError::Truncated { .. }))));
    assert_eq!((tally.frames, tally.nameless), (1, 1));
}

#[test]
fn captures_are_merged_by_time() {
    let one = |lines: &[(&str, u64)]| {
        let interfaces = [Interface::new(None, LinkType::ETHERNET)];
        let mut writer = Writer::new(Vec::new(), Format::Pcap, interfaces.first()).unwrap();
        for (line, time) in lines {
            let frame = ethernet(line, 0);
            writer.packet(&interfaces, 0, *time, u32::try_from(frame.len()).unwrap(), &frame, "").unwrap();
        }
        writer.finish().unwrap()
    };
    let (inside, outside) = (one(&[(SSH, 10), (SSH, 30)]), one(&[(DNS, 20), (DNS, 30), (DNS, 40)]));
    let readers = [("em1", &inside), ("em0", &outside)]
        .map(|(name, bytes)| (Some(name.to_owned()), Reader::new(bytes.as_slice()).unwrap()));
    let mut merged = Merged::new(readers.into());
    let mut picky = Picky::default();
    let mut writer = Writer::new(Vec::new(), Format::PcapNg, None).unwrap();
    let (tally, end) = replay(&mut merged, &Placement::default(), &mut picky, Some(&mut writer), &mut ());
    end.unwrap();
    let names: Vec<&str> = picky.seen.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["em1", "em0", "em1", "em0", "em0"], "equal times: as the captures were given");
    assert_eq!((tally.frames, tally.passed.packets, tally.blocked.packets), (5, 2, 3));
    let written = writer.finish().unwrap();
    let mut again = Reader::new(written.as_slice()).unwrap();
    assert!(again.next_record().unwrap().is_some_and(|r| r.time == 10));
    assert_eq!(again.interfaces().first().and_then(|i| i.name.as_deref()), Some("em1"));
}

#[test]
fn a_damaged_capture_among_others_is_named() {
    let whole = capture(Some("em1"), &[(ethernet(SSH, 0), 0)]);
    let cut = &whole[..whole.len() - 7];
    let inputs = [whole.as_slice(), cut].map(|b| (None, Reader::new(b).unwrap()));
    let mut merged = Merged::new(inputs.into());
    let end = replay::<Vec<u8>>(&mut merged, &Placement::default(), &mut Picky::default(), None, &mut ()).1;
    assert!(matches!(end, Err(ReplayError::Capture(CaptureError::Truncated { .. }))), "{end:?}");
    assert_eq!(merged.failed(), 1);
}

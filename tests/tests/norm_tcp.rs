//! TCP normalisation: flags, MSS, timestamps, and checksums that stay as true as they were.

use pfvm::host::Random;
use pfvm::norm::tcp::{Connection, begin, clamp_mss, follow, sanity, scrub_flag};
use pfvm::packet::tcp_flags::{ACK, FIN, PSH, RST, SYN, URG};
use pfvm::packet::{Checksum, DropReason, Packet, PacketDesc, PktMeta, addr4, describe};
use pfvm::rule::{Af, Direction};
use pfvm::state::record::PeerScrub;
use pfvm::wire::{Ipv4, Ipv4Repr, Tcp, checksum, tcp};
use proptest::prelude::*;

struct Same(u32);
impl Random for Same {
    fn random_u32(&mut self) -> u32 {
        self.0
    }
}

/// A segment with raw options and a right checksum.
fn segment(flags: u8, reserved: u8, urgent: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut options = options.to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    let mut t = Tcp::new_unchecked([&[0; 20][..], &options, payload].concat());
    t.set_src_port(1000);
    t.set_dst_port(80);
    t.set_seq(1);
    t.set_data_offset(((5 + options.len() / 4) << 4) as u8 | reserved);
    t.set_flags(flags);
    t.set_urgent(urgent);
    let t = t.into_inner();
    let (src, dst) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let repr = Ipv4Repr { src, dst, proto: 6, ttl: 60, tos: 0, id: 1, flags_offset: 0, payload_len: t.len() as u16 };
    let mut bytes = [&[0; 20][..], &t].concat();
    repr.emit(&mut Ipv4::new_unchecked(&mut bytes));
    let sum = checksum::Sum::new().pseudo(Af::Inet, &addr4(src), &addr4(dst), 6, t.len() as u32).bytes(&t).finish();
    bytes[36..38].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn look(bytes: &mut [u8]) -> PacketDesc {
    describe(&Packet::whole(bytes), &PktMeta::default(), Af::Inet, Direction::In, 0).unwrap()
}

/// What the checksums leave when they are summed up: zero when they are right.
fn residue(bytes: &[u8]) -> (u16, u16) {
    let (src, dst) = (addr4([10, 0, 0, 1]), addr4([10, 0, 0, 2]));
    let len = bytes.len() as u32 - 20;
    let l4 = checksum::Sum::new().pseudo(Af::Inet, &src, &dst, 6, len).bytes(&bytes[20..]).finish();
    (checksum::of(&bytes[..20]), l4)
}

#[test]
fn impossible_flags_are_dropped() {
    for flags in 0..64_u8 {
        let has = |f| flags & f != 0;
        let impossible = if has(SYN) { has(RST) } else { !has(ACK) && !has(RST) };
        let without_ack = !has(ACK) && (has(PSH) || has(URG) || (has(FIN) && !has(SYN)));
        let mut bytes = segment(flags, 0, 0, &[], &[]);
        let mut desc = look(&mut bytes);
        let got = sanity(&mut Packet::whole(&mut bytes), &PktMeta::default(), &mut desc);
        assert_eq!(got.is_err(), impossible || without_ack, "{flags:#04x}");
        if got.is_ok() {
            let want = if has(SYN) { flags & !FIN } else { flags };
            assert_eq!((bytes[33], desc.tcp().unwrap().flags), (want, want));
            assert_eq!(residue(&bytes), (0, 0));
        } else {
            assert_eq!(got, Err(DropReason::Normalize));
        }
    }
}

#[test]
fn reserved_bits_and_stray_urgent_pointers_are_cleared() {
    let mut bytes = segment(ACK, 0x0f, 7, &[], b"x");
    let mut desc = look(&mut bytes);
    sanity(&mut Packet::whole(&mut bytes), &PktMeta::default(), &mut desc).unwrap();
    assert_eq!((bytes[32], &bytes[38..40], residue(&bytes)), (0x50, &[0, 0][..], (0, 0)));
    let t = desc.tcp().unwrap();
    assert_eq!((t.reserved, t.urgent), (0, 0));
    let mut bytes = segment(ACK | URG, 0, 7, &[], b"x");
    let mut desc = look(&mut bytes);
    sanity(&mut Packet::whole(&mut bytes), &PktMeta::default(), &mut desc).unwrap();
    assert_eq!(bytes[38..40], [0, 7]);
}

/// A partial checksum covers the pseudo header only: other changes leave it.
#[test]
fn a22_partial_checksums_are_left_alone() {
    let mut bytes = segment(SYN, 3, 0, &[2, 4, 5, 180], &[]);
    let before = bytes[36..38].to_vec();
    let mut desc = look(&mut bytes);
    let meta = PktMeta { l4: Checksum::Partial, ..PktMeta::default() };
    sanity(&mut Packet::whole(&mut bytes), &meta, &mut desc).unwrap();
    clamp_mss(&mut Packet::whole(&mut bytes), &meta, &desc, 1000).unwrap();
    assert_eq!((&bytes[36..38], bytes[32], &bytes[42..44]), (&before[..], 0x60, &1000_u16.to_be_bytes()[..]));
}

#[test]
fn changes_outside_of_the_window_drop_the_packet() {
    let mut bytes = segment(SYN, 3, 0, &[2, 4, 5, 180], &[]);
    let desc = look(&mut bytes);
    let (head, tail) = bytes.split_at_mut(30);
    let rest: [&[u8]; 1] = [tail];
    let mut packet = Packet::new(head, 0, &rest).unwrap();
    let mut changed = desc;
    assert_eq!(sanity(&mut packet, &PktMeta::default(), &mut changed), Err(DropReason::Memory));
    assert_eq!(clamp_mss(&mut packet, &PktMeta::default(), &desc, 9), Err(DropReason::Memory));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Attack A22: any options, any damage: the residue of the checksum stays, wrong or right.
    #[test]
    fn a22_checksums_stay_as_true_as_they_were(
        options in prop::collection::vec(prop_oneof![
            3 => Just(vec![1_u8]),
            2 => any::<u16>().prop_map(|m| [&[2, 4][..], &m.to_be_bytes()].concat()),
            2 => any::<(u32, u32)>().prop_map(|(a, b)| [&[8, 10][..], &a.to_be_bytes(), &b.to_be_bytes()].concat()),
            1 => prop::collection::vec(any::<u8>(), 0..6),
        ], 0..5).prop_map(|all| all.concat()).prop_filter("fits", |all| all.len() <= 40),
        damage in prop_oneof![Just(0_u16), any::<u16>()],
        max in any::<u16>(),
        modulator in any::<u32>(),
        reserved in 0_u8..16,
    ) {
        let mut bytes = segment(SYN | FIN, reserved, 5, &options, b"abc");
        let sum = u16::from_be_bytes([bytes[36], bytes[37]]);
        bytes[36..38].copy_from_slice(&(sum ^ damage).to_be_bytes());
        let before = residue(&bytes);
        let mut desc = look(&mut bytes);
        let meta = PktMeta::default();
        let mut packet = Packet::whole(&mut bytes);
        sanity(&mut packet, &meta, &mut desc).unwrap();
        clamp_mss(&mut packet, &meta, &desc, max).unwrap();
        let mut src = begin(&packet, &desc, 0, &mut Same(modulator));
        let mut dst = PeerScrub { flags: scrub_flag::TIMESTAMP, ts_mod: modulator ^ 99, present: true, ..src };
        let conn = Connection { src: 1, dst: 1, age_ms: 0, now_ms: 10, ts_diff: 30 };
        let _ = follow(&mut packet, &meta, &desc, &mut src, &mut dst, &conn);
        let after = residue(&bytes);
        let same = |a: u16, b: u16| a == b || (a ^ b == 0xffff && (a == 0 || b == 0));
        prop_assert!(after.0 == 0 && same(before.1, after.1), "{:?} {:?}", before, after);
        let opts = Tcp::new_unchecked(&bytes[20..]);
        for (at, _) in tcp::options_of(opts.options(), tcp::option::MSS, 4) {
            let value = u16::from_be_bytes([opts.options()[at + 2], opts.options()[at + 3]]);
            // An option may lie in another's reach; those the walk meets are clamped.
            prop_assert!(value <= max || tcp::timestamp(&options).is_some());
        }
    }
}

fn stamped(flags: u8, value: u32, echo: u32, payload: &[u8]) -> Vec<u8> {
    let options = [&[1, 1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat();
    segment(flags, 0, 0, &options, payload)
}

/// Two sides of a connection, as the state keeps them.
struct Pair {
    sides: [PeerScrub; 2],
    state: u8,
    now_ms: u64,
}

impl Pair {
    /// Sends a segment from a side; the stamp as it went on.
    fn send(&mut self, from: usize, mut bytes: Vec<u8>) -> Result<(u32, u32), DropReason> {
        let desc = look(&mut bytes);
        let mut packet = Packet::whole(&mut bytes);
        if !self.sides[from].present {
            self.sides[from] = begin(&packet, &desc, self.now_ms, &mut Same(0x1000_0000 * (from as u32 + 1)));
        }
        let [a, b] = &mut self.sides;
        let (src, dst) = if from == 0 { (a, b) } else { (b, a) };
        let conn = Connection { src: self.state, dst: self.state, age_ms: 0, now_ms: self.now_ms, ts_diff: 30 };
        follow(&mut packet, &PktMeta::default(), &desc, src, dst, &conn)?;
        assert_eq!(residue(&bytes), (0, 0));
        Ok(tcp::timestamp(Tcp::new_unchecked(&bytes[20..]).options()).unwrap_or_default())
    }
}

fn open() -> Pair {
    let mut p = Pair { sides: [PeerScrub::default(); 2], state: 1, now_ms: 5000 };
    assert_eq!(p.send(0, stamped(SYN, 100, 0, &[])), Ok((0x1000_0064, 0)));
    assert_eq!(p.send(1, stamped(SYN | ACK, 900, 0x1000_0064, &[])), Ok((0x2000_0384, 100)));
    assert_eq!(p.send(0, stamped(ACK, 101, 0x2000_0384, &[])), Ok((0x1000_0065, 900)));
    p.state = 4;
    p
}

#[test]
fn timestamps_are_modulated_and_echoes_given_back() {
    let mut p = open();
    assert_eq!(p.send(0, stamped(ACK, 102, 0x2000_0384, b"a")), Ok((0x1000_0066, 900)));
    assert_eq!(p.send(1, stamped(ACK, 905, 0x1000_0066, b"a")), Ok((0x2000_0389, 102)));
    assert!(p.sides.iter().all(|s| s.flags & (scrub_flag::PAWS | scrub_flag::DATA_TS) == 0x0a));
}

#[test]
fn timestamps_out_of_range_are_dropped() {
    let bad = Err(DropReason::BadTimestamp);
    // Older than what the other side has echoed.
    assert_eq!(open().send(0, stamped(ACK, 99, 0x2000_0384, b"a")), bad);
    // Further ahead than the time that passed allows: 30 s at 1100 ticks.
    assert_eq!(open().send(0, stamped(ACK, 101 + 33_001, 0x2000_0384, b"a")), bad);
    assert!(open().send(0, stamped(ACK, 101 + 33_000, 0x2000_0384, b"a")).is_ok());
    // An echo of what was never sent, or from before the first.
    assert_eq!(open().send(0, stamped(ACK, 102, 0x2000_0385, b"a")), bad);
    assert_eq!(open().send(0, stamped(ACK, 102, 0x2000_0383, b"a")), bad);
    // Two timestamps in one segment.
    let two = [&[8, 10][..], &[0; 8], &[8, 10], &[0; 8]].concat();
    assert_eq!(open().send(0, segment(ACK, 0, 0, &two, b"a")), bad);
    // Data without one, once data came with one.
    let mut p = open();
    p.send(0, stamped(ACK, 102, 0x2000_0384, b"a")).unwrap();
    assert_eq!(p.send(0, segment(ACK, 0, 0, &[], b"b")), bad);
    assert!(p.send(0, segment(ACK, 0, 0, &[], b"")).is_ok());
    assert!(p.send(0, segment(RST, 0, 0, &[], b"b")).is_ok());
}

#[test]
fn long_silence_ends_the_checks() {
    let mut p = open();
    p.now_ms += 25 * 24 * 3600 * 1000;
    assert!(p.send(0, stamped(ACK, 1, 0x2000_0384, b"a")).is_ok());
    assert!(p.sides.iter().all(|s| s.flags & scrub_flag::PAWS_IDLED != 0));
}

#[test]
fn the_highest_ttl_of_a_side_is_enforced() {
    let mut p = open();
    for (ttl, want) in [(60, 60), (70, 70), (3, 70)] {
        let mut bytes = stamped(ACK, 102, 0x2000_0384, &[]);
        let mut h = Ipv4::new_unchecked(&mut bytes);
        h.set_ttl(ttl);
        h.fill_checksum();
        let desc = look(&mut bytes);
        let [a, b] = &mut p.sides;
        let conn = Connection { src: 4, dst: 4, age_ms: 0, now_ms: 5000, ts_diff: 30 };
        follow(&mut Packet::whole(&mut bytes), &PktMeta::default(), &desc, a, b, &conn).unwrap();
        assert_eq!((bytes[8], desc.ttl, residue(&bytes).0), (want, ttl, 0));
    }
}

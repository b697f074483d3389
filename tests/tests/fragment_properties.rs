//! Reassembly against a plain list of segments, and fragmenting back.

use pfvm::norm::frag::{FragCache, FragTag, Normalized, Reassembly, normalize, refragment6};
use pfvm::packet::{DropReason, Packet, PktMeta, describe};
use pfvm::rule::{Af, Direction};
use pfvm::wire::{FragmentHeader, Ipv4, Ipv4Repr, Ipv6, Ipv6Repr, checksum};
use proptest::prelude::*;

const SET: Reassembly = Reassembly { on: true, no_df: false, timeout: 60 };

/// One fragment to arrive.
#[derive(Clone, Debug)]
struct Piece {
    af: Af,
    id: u8,
    off: u16,
    data: Vec<u8>,
    more: bool,
}

fn piece() -> impl Strategy<Value = Piece> {
    let len = prop_oneof![8 => (1_usize..6).prop_map(|n| n * 8), 1 => 0_usize..48];
    let off = prop_oneof![12 => 0_u16..16, 1 => 500_u16..530, 1 => Just(8191_u16)];
    (prop::bool::ANY, 0_u8..2, off, len, prop::bool::weighted(0.8), any::<u8>()).prop_map(
        |(v4, id, off, len, more, fill)| {
            let af = if v4 { Af::Inet } else { Af::Inet6 };
            let data = (0..len).map(|i| fill.wrapping_add(i as u8)).collect();
            Piece { af, id, off: off * 8, data, more }
        },
    )
}

/// The packet of a piece; `ext` extension headers stand in front of an IPv6 fragment header.
fn packet(p: &Piece, ext: usize) -> Vec<u8> {
    let flags = (p.off / 8) | if p.more { 0x2000 } else { 0 };
    if p.af == Af::Inet {
        let repr = Ipv4Repr {
            src: [10, 0, 0, 1],
            dst: [10, 0, 0, 2],
            proto: 200,
            ttl: 64,
            tos: 0,
            id: p.id.into(),
            flags_offset: flags,
            payload_len: p.data.len() as u16,
        };
        let mut bytes = [&[0; 20][..], &p.data].concat();
        repr.emit(&mut Ipv4::new_unchecked(&mut bytes));
        return bytes;
    }
    let mut chain = [60, 0, 1, 4, 0, 0, 0, 0].repeat(ext);
    if let Some(at) = chain.len().checked_sub(8) {
        chain[at] = 44;
    }
    let mut f = FragmentHeader::new_unchecked(vec![0; 8]);
    f.set_next_header(200);
    f.set_offset_flags(p.off | u16::from(p.more));
    f.set_id(p.id.into());
    let body = [chain, f.into_inner(), p.data.clone()].concat();
    let repr = Ipv6Repr {
        src: [1; 16],
        dst: [2; 16],
        next_header: if ext == 0 { 44 } else { 60 },
        hop_limit: 64,
        traffic_class: 0,
        flow: 0,
        payload_len: body.len() as u16,
    };
    let mut bytes = [&[0; 40][..], &body].concat();
    repr.emit(&mut Ipv6::new_unchecked(&mut bytes));
    bytes
}

/// What became of a packet, without the buffer.
#[derive(Debug, PartialEq)]
enum Fate {
    Pass,
    Held,
    Whole(Vec<u8>, Option<FragTag>),
    Drop(Option<DropReason>),
}

fn arrive(cache: &mut FragCache, bytes: &mut [u8], set: &Reassembly) -> Fate {
    let af = if bytes[0] >> 4 == 4 { Af::Inet } else { Af::Inet6 };
    let mut packet = Packet::whole(bytes);
    let meta = PktMeta::default();
    let desc = describe(&packet, &meta, af, Direction::In, 0).unwrap();
    let mut room = vec![0; 66_000];
    match normalize(cache, &mut packet, &meta, &desc, set, 5, &mut room) {
        Normalized::Pass => Fate::Pass,
        Normalized::Held => Fate::Held,
        Normalized::Whole { len, tag } => Fate::Whole(room[Packet::HEADROOM..][..len].to_vec(), tag),
        Normalized::Drop(reason) => Fate::Drop(reason),
    }
}

#[derive(Clone, Debug)]
struct Segment {
    start: usize,
    data: Vec<u8>,
    more: bool,
}

impl Segment {
    fn end(&self) -> usize {
        self.start + self.data.len()
    }
}

/// The datagrams in the making, as plain sorted lists.
#[derive(Default)]
struct Model {
    lists: Vec<((Af, u8), Vec<Segment>)>,
}

#[derive(Debug, PartialEq)]
enum Expected {
    Held,
    Whole(Vec<u8>),
    Drop(Option<DropReason>),
}

impl Model {
    fn len(&self) -> usize {
        self.lists.iter().map(|(_, l)| l.len()).sum()
    }

    fn arrive(&mut self, p: &Piece) -> Expected {
        let bad = Expected::Drop(Some(DropReason::Fragment));
        let len = p.data.len();
        if len == 0 || (p.more && !len.is_multiple_of(8)) || usize::from(p.off) + len > 65535 {
            return bad;
        }
        let new = Segment { start: p.off.into(), data: p.data.clone(), more: p.more };
        let key = (p.af, p.id);
        let Some(at) = self.lists.iter().position(|(k, _)| *k == key) else {
            self.lists.push((key, vec![new]));
            return self.finish(self.lists.len() - 1);
        };
        let result = Self::add(&mut self.lists[at].1, new, p.af);
        match result {
            Ok(()) => self.finish(at),
            Err((all, reason)) => {
                if all {
                    self.lists.remove(at);
                }
                Expected::Drop(reason)
            }
        }
    }

    /// Err: whether the datagram goes too, and the reason.
    fn add(list: &mut Vec<Segment>, mut new: Segment, af: Af) -> Result<(), (bool, Option<DropReason>)> {
        let v6 = af == Af::Inet6;
        let misfit = Err((v6, Some(DropReason::Fragment)));
        let last = list.last().unwrap();
        let ok = match new.end().cmp(&last.end()) {
            std::cmp::Ordering::Less => new.more,
            std::cmp::Ordering::Equal => new.more == last.more,
            std::cmp::Ordering::Greater => last.more,
        };
        if !ok {
            return misfit;
        }
        if v6 && list.iter().any(|s| s.start < new.end() && new.start < s.end()) {
            return misfit;
        }
        let before = list.iter().rfind(|s| s.start <= new.start).map_or(0, Segment::end);
        if before >= new.end() {
            return Err((false, None));
        }
        if before > new.start {
            new.data.drain(..before - new.start);
            new.start = before;
        }
        let mut rest = Vec::new();
        for mut s in std::mem::take(list) {
            if s.start >= new.start && s.start < new.end() {
                let cut = (new.end() - s.start).min(s.data.len());
                s.data.drain(..cut);
                s.start += cut;
            }
            if !s.data.is_empty() {
                rest.push(s);
            }
        }
        rest.push(new);
        rest.sort_by_key(|s| s.start);
        *list = rest;
        // Sixty-four at one entry point; the sequences here are shorter.
        Ok(())
    }

    fn finish(&mut self, at: usize) -> Expected {
        let list = &self.lists[at].1;
        let mut end = 0;
        for s in list {
            if s.start != end {
                return Expected::Held;
            }
            end = s.end();
        }
        if list.last().unwrap().more {
            return Expected::Held;
        }
        let (_, list) = self.lists.remove(at);
        Expected::Whole(list.into_iter().flat_map(|s| s.data).collect())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Attacks A3 and A4: whatever overlaps, repeats or contradicts, the bytes are those of the plain list.
    #[test]
    fn a03_a04_any_arrivals_agree_with_a_list(pieces in prop::collection::vec(piece(), 1..60), ext in 0_usize..3) {
        let mut cache = FragCache::new(64, 64 * 256, (3, 4)).unwrap();
        let mut model = Model::default();
        for p in &pieces {
            // A whole packet in one fragment header of offset zero is atomic, and passed.
            let atomic = p.off == 0 && !p.more;
            if atomic {
                continue;
            }
            let got = arrive(&mut cache, &mut packet(p, ext), &SET);
            match (got, model.arrive(p)) {
                (Fate::Held, Expected::Held) => {}
                (Fate::Drop(a), Expected::Drop(b)) => prop_assert_eq!(a, b),
                (Fate::Whole(bytes, tag), Expected::Whole(data)) => {
                    let header = if p.af == Af::Inet { 20 } else { 40 + 8 * ext };
                    prop_assert_eq!(&bytes[header..], &data[..]);
                    prop_assert_eq!(tag.is_some(), p.af == Af::Inet6);
                    // The headers are those of one packet without any fragment.
                    let plain = Piece { off: 0, more: false, data, ..p.clone() };
                    let mut want = packet(&plain, ext);
                    if p.af == Af::Inet6 {
                        want.drain(header..header + 8);
                        if ext == 0 { want[6] = 200 } else { want[header - 8] = 200 }
                        let plen = (want.len() - 40) as u16;
                        want[4..6].copy_from_slice(&plen.to_be_bytes());
                    }
                    prop_assert_eq!(&bytes[..header], &want[..header]);
                }
                (got, want) => prop_assert!(false, "{:?}: {:?} instead of {:?}", p, got, want),
            }
            prop_assert_eq!(cache.len() as usize, model.len());
        }
        cache.clear();
        prop_assert!(cache.is_empty());
        // Every entry and block came back: the whole capacity can be used once more.
        for n in 0..64 {
            let p = Piece { af: Af::Inet, id: 100 + n, off: 8, data: vec![1; 248], more: true };
            prop_assert_eq!(arrive(&mut cache, &mut packet(&p, 0), &SET), Fate::Held);
        }
    }

    /// Attack A6: fragments made again hold multiples of eight bytes and go together to the same packet.
    #[test]
    fn a06_refragmented_packets_go_together_again(
        len in 1_usize..3000,
        longest in prop_oneof![1 => 0_u32..8, 9 => 64_u32..1500],
        ext in 0_usize..3,
        shuffle in any::<u64>(),
    ) {
        let data: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
        let plain = Piece { af: Af::Inet6, id: 0, off: 0, data, more: false };
        let header = 40 + 8 * ext;
        let mut whole = packet(&plain, ext);
        whole.drain(header..header + 8);
        if ext == 0 { whole[6] = 200 } else { whole[header - 8] = 200 }
        let plen = (whole.len() - 40) as u16;
        whole[4..6].copy_from_slice(&plen.to_be_bytes());
        let extoff = if ext == 0 { 0 } else { header as u32 - 8 };
        let tag = FragTag { header: header as u32, extoff, longest };
        let mut made = Vec::new();
        let mut copy = whole.clone();
        let count = refragment6(&Packet::whole(&mut copy), &tag, 77, &mut [0; 2000], |f| made.push(f.to_vec()));
        if longest < 8 {
            prop_assert!(count.is_none() && made.is_empty());
            return Ok(());
        }
        prop_assert_eq!(count, Some(made.len() as u32));
        for (n, f) in made.iter().enumerate() {
            let data = f.len() - header - 8;
            prop_assert!(data as u32 <= longest && data > 0);
            prop_assert!(n + 1 == made.len() || data % 8 == 0);
        }
        let mut cache = FragCache::new(500, 1 << 20, (1, 2)).unwrap();
        let mut order: Vec<_> = (0..made.len()).collect();
        let mut numbers = tests::fuzz::Numbers(shuffle);
        for i in (1..order.len()).rev() {
            order.swap(i, numbers.below(i + 1));
        }
        for (n, i) in order.iter().enumerate() {
            let fate = arrive(&mut cache, &mut made[*i], &SET);
            if made.len() == 1 {
                prop_assert_eq!(&fate, &Fate::Pass, "an atomic fragment");
            } else if n + 1 < made.len() {
                prop_assert_eq!(fate, Fate::Held);
            } else {
                let Fate::Whole(bytes, Some(tag)) = fate else { panic!("{fate:?}") };
                prop_assert_eq!(bytes, whole.clone());
                prop_assert_eq!((tag.header, tag.extoff), (header as u32, extoff));
                prop_assert!(tag.longest <= longest);
            }
        }
    }
}

/// Attack A5: a flood of tiny fragments stays within the limits, and fragments that come later are still put together.
#[test]
fn a05_floods_are_bounded() {
    let mut cache = FragCache::new(1000, 1000 * 256, (1, 2)).unwrap();
    // One datagram of many fragments: the sixty-fifth at one entry point discards it.
    let tiny = |n: u16| Piece { af: Af::Inet, id: 1, off: 8 * (2 * n + 1), data: vec![0; 8], more: true };
    for n in 0..64 {
        assert_eq!(arrive(&mut cache, &mut packet(&tiny(n), 0), &SET), Fate::Held);
    }
    let between = Piece { off: 16, ..tiny(0) };
    assert_eq!(arrive(&mut cache, &mut packet(&between, 0), &SET), Fate::Drop(Some(DropReason::Fragment)));
    assert!(cache.is_empty());
    // Many datagrams: the oldest tenth goes when the pool is full.
    for n in 0..64_000_u32 {
        let mut bytes = packet(&tiny(0), 0);
        bytes[12..16].copy_from_slice(&n.to_be_bytes());
        assert_eq!(arrive(&mut cache, &mut bytes, &SET), Fate::Held);
        assert!(cache.len() <= 1000);
    }
    let first = Piece { af: Af::Inet, id: 9, off: 0, data: vec![1; 16], more: true };
    let last = Piece { off: 16, more: false, ..first.clone() };
    assert_eq!(arrive(&mut cache, &mut packet(&first, 0), &SET), Fate::Held);
    assert!(matches!(arrive(&mut cache, &mut packet(&last, 0), &SET), Fate::Whole(..)));
    // Large ones exhaust the bytes before the entries.
    for n in 0..2000_u32 {
        let big = Piece { af: Af::Inet, id: 2, off: 8, data: vec![0; 1400], more: true };
        let mut bytes = packet(&big, 0);
        bytes[12..16].copy_from_slice(&n.to_be_bytes());
        assert_eq!(arrive(&mut cache, &mut bytes, &SET), Fate::Held);
    }
}

/// Attack A1: a fragment in a fragment is refused, an atomic fragment is judged like the packet without it.
#[test]
fn a01_nested_and_atomic_fragments() {
    let inner = |offset_flags: u16, next: u8, body: &[u8]| {
        let mut f = FragmentHeader::new_unchecked(vec![0; 8]);
        f.set_next_header(next);
        f.set_offset_flags(offset_flags);
        [f.into_inner(), body.to_vec()].concat()
    };
    let tcp = [156, 64, 0, 22, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 1, 0, 0, 0, 0];
    let v6 = |next: u8, body: Vec<u8>| {
        let mut p = [&[0; 40][..], &body].concat();
        let repr = Ipv6Repr {
            src: [1; 16],
            dst: [2; 16],
            next_header: next,
            hop_limit: 9,
            traffic_class: 0,
            flow: 0,
            payload_len: body.len() as u16,
        };
        repr.emit(&mut Ipv6::new_unchecked(&mut p));
        p
    };
    let look = |mut p: Vec<u8>| describe(&Packet::whole(&mut p), &PktMeta::default(), Af::Inet6, Direction::In, 0);
    let plain = look(v6(6, tcp.to_vec())).unwrap();
    let atomic = look(v6(44, inner(0, 6, &tcp))).unwrap();
    assert_eq!((atomic.dport, atomic.l4, atomic.fragment), (22, plain.l4, false));
    for outer in [0, 1] {
        for nested in [0, 1, 8] {
            let refused = look(v6(44, inner(outer, 44, &inner(nested, 6, &tcp)))).unwrap_err();
            assert_eq!(refused.reason, DropReason::Fragment);
        }
    }
    // Behind an extension header the atomic fragment is still seen through.
    let hidden = [&[44, 0, 1, 4, 0, 0, 0, 0][..], &inner(0, 6, &tcp)].concat();
    assert_eq!(look(v6(60, hidden)).unwrap().dport, 22);
}

/// Attack A2: extension headers that differ between fragments: those of the first one stay, wherever they come.
#[test]
fn a02_only_the_first_fragments_headers_count() {
    for (first_ext, later_ext) in [(0, 2), (2, 0), (1, 2)] {
        for first_comes_last in [false, true] {
            let mut cache = FragCache::new(9, 9 << 10, (1, 2)).unwrap();
            let a = Piece { af: Af::Inet6, id: 1, off: 0, data: vec![1; 16], more: true };
            let b = Piece { off: 16, data: vec![2; 5], more: false, ..a.clone() };
            let mut both = [packet(&a, first_ext), packet(&b, later_ext)];
            both.rotate_left(usize::from(first_comes_last));
            assert_eq!(arrive(&mut cache, &mut both[0], &SET), Fate::Held);
            let Fate::Whole(bytes, Some(tag)) = arrive(&mut cache, &mut both[1], &SET) else { panic!() };
            assert_eq!(bytes.len(), 40 + 8 * first_ext + 21);
            assert_eq!((tag.header as usize, tag.longest), (40 + 8 * first_ext, 16));
            let last_link = if first_ext == 0 { 6 } else { 40 + 8 * (first_ext - 1) };
            assert_eq!(bytes[last_link], 200);
        }
    }
}

/// Attack A7: a first fragment too short for its ports shows none, and rules see the ports only when all is there.
#[test]
fn a07_tiny_first_fragments_hide_nothing() {
    let tcp = [156, 64, 0, 22, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 1, 0, 0, 0, 0, 0x61, 0x62, 0x63, 0x64];
    for af in [Af::Inet, Af::Inet6] {
        let a = Piece { af, id: 1, off: 0, data: tcp[..8].to_vec(), more: true };
        let b = Piece { off: 8, data: tcp[8..].to_vec(), more: false, ..a.clone() };
        let mut both = [packet(&a, 0), packet(&b, 0)];
        for p in &mut both {
            let at = if af == Af::Inet { 9 } else { 40 };
            p[at] = 6;
            let desc = describe(&Packet::whole(p), &PktMeta::default(), af, Direction::In, 0).unwrap();
            assert!(desc.fragment && !desc.has_ports() && desc.dport == 0);
        }
        let mut cache = FragCache::new(9, 9 << 10, (1, 2)).unwrap();
        let off = Reassembly { on: false, ..SET };
        assert_eq!(arrive(&mut cache, &mut both[0].clone(), &off), Fate::Pass);
        assert_eq!(arrive(&mut cache, &mut both[1], &SET), Fate::Held);
        let Fate::Whole(mut bytes, _) = arrive(&mut cache, &mut both[0], &SET) else { panic!() };
        let desc = describe(&Packet::whole(&mut bytes), &PktMeta::default(), af, Direction::In, 0).unwrap();
        assert_eq!((desc.dport, desc.fragment, desc.p_len), (22, false, 4));
    }
}

/// "Don't fragment" on a fragment: refused, or cleared with `no-df`, and the checksum stays true.
#[test]
fn df_fragments() {
    let a = Piece { af: Af::Inet, id: 1, off: 0, data: vec![1; 16], more: true };
    let mut first = packet(&a, 0);
    first[6] |= 0x40;
    let mut h = Ipv4::new_unchecked(&mut first);
    h.fill_checksum();
    let mut last = packet(&Piece { off: 16, more: false, ..a }, 0);
    let mut cache = FragCache::new(9, 9 << 10, (1, 2)).unwrap();
    for on in [false, true] {
        let set = Reassembly { on, ..SET };
        let fate = arrive(&mut cache, &mut first.clone(), &set);
        assert_eq!(fate, Fate::Drop(Some(DropReason::Fragment)));
    }
    let set = Reassembly { no_df: true, ..SET };
    assert_eq!(arrive(&mut cache, &mut first, &set), Fate::Held);
    let Fate::Whole(bytes, None) = arrive(&mut cache, &mut last, &set) else { panic!() };
    assert_eq!((checksum::of(&bytes[..20]), bytes[6], bytes.len()), (0, 0, 52));
}

/// Datagrams too long are dropped as short; old ones expire.
#[test]
fn too_long_and_too_old() {
    let mut cache = FragCache::new(99, 99 << 10, (1, 2)).unwrap();
    for n in 0..46_u16 {
        let more = n < 45;
        let len = if more { 1440_usize } else { 65535 - 45 * 1440 };
        let p = Piece { af: Af::Inet, id: 1, off: n * 1440, data: vec![0; len], more };
        let fate = arrive(&mut cache, &mut packet(&p, 0), &SET);
        assert_eq!(fate, if more { Fate::Held } else { Fate::Drop(Some(DropReason::Short)) });
    }
    assert!(cache.is_empty());
    let p = Piece { af: Af::Inet, id: 1, off: 8, data: vec![0; 8], more: true };
    assert_eq!(arrive(&mut cache, &mut packet(&p, 0), &SET), Fate::Held);
    assert_eq!((cache.purge(64, 60, 9), cache.len()), (0, 1));
    assert_eq!((cache.purge(65, 60, 9), cache.len()), (1, 0));
    let counters = cache.counters();
    assert_eq!((counters.inserts, counters.removals), (47, 47));
}

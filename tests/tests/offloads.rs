//! What is said beside frames, row by row, through both drivers: which list goes on, its bytes, its out-of-band data.
//!
//! What must come out is made anew from the translated addresses and ports, by sums of this file's own. Each frame goes
//! through twice: once where its state is made, once where its state is known and the filter shared.

use pfdriver::edge::port::Side;
use pfndis::frames::Supply;
use pfndis::gateway::Boot;
use tests::desk::image;
use tests::ndis::{Driven, Left};
use tests::{im, ndis};

use ndismock::stack::One;
use ndismock::sys;

const SUPPLY: Supply = Supply { small: 64, large: 4 };
const RULES: &str = "match out on em0 inet from 10.0.0.5 nat-to 192.0.2.1\n\
    match out on em0 inet6 from fd00::5 nat-to 2001:db8::1\n\
    match in on em0 inet proto { tcp udp } to 192.0.2.1 port 80 rdr-to 10.0.0.9 port 8080\n\
    match in on em0 inet6 proto { tcp udp } to 2001:db8::1 port 80 rdr-to fd00::9 port 8080\n\
    pass flags any\n\
    pass in on em1 inet proto { tcp udp } to port 7 route-to 192.0.2.77 flags any\n\
    pass out on em1 inet proto { tcp udp } to port 7 route-to 192.0.2.77 flags any\n\
    pass in on em1 inet6 from any to 64:ff9b::/96 af-to inet from 10.0.0.77 flags any\n";
const EM0: [u8; 6] = [2, 0, 0, 0, 0, 1];
const EM1: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PEER: [u8; 6] = [2, 0, 0, 0, 9, 9];
/// Whom the next hop 192.0.2.77 is.
const NEXT: [u8; 6] = [2, 0, 0, 0, 7, 7];

const TCP: u8 = 6;
const UDP: u8 = 17;

// Places of out-of-band data, and bits in them, as Microsoft names them.
const CHECKSUM: usize = 0;
const IPSEC: usize = 1;
const LSO: usize = 2;
const VLAN: usize = 4;
const CANCEL: usize = 5;
const MEDIA: usize = 6;
const FRAME_TYPE: usize = 7;
const PROTOCOL: usize = 7;
const HASH: usize = 8;
const HASH_INFO: usize = 9;
const FILTERING: usize = 14;
const URO: usize = 0x11;
const RSC: usize = 0x16;
const USO: usize = 0x16;
const DELTA: usize = 0x17;
const TX_IPV4: usize = 1;
const TX_IPV6: usize = 2;
const TX_TCP: usize = 4;
const TX_UDP: usize = 8;
const TX_IP: usize = 16;
const RX_TCP_FAILED: usize = 1;
const RX_UDP_FAILED: usize = 2;
const RX_TCP_GOOD: usize = 8;
const RX_UDP_GOOD: usize = 16;
const RX_IP_GOOD: usize = 32;
const RX_TCP_INVALID: usize = 128;
const RX_IP_INVALID: usize = 256;
const LSO_V2: usize = 1 << 30;
const LSO_IPV6: usize = 1 << 31;

/// What stands in the transport checksum's field.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    /// The right checksum.
    Right,
    /// One that is wrong by so much.
    Wrong(u16),
    /// The sum of the pseudo header.
    Pseudo,
    /// The same without the length.
    Bare,
    /// Whatever.
    This(u16),
}

/// A packet to be made.
#[derive(Clone, Debug)]
struct Spec {
    proto: u8,
    src: (Vec<u8>, u16),
    dst: (Vec<u8>, u16),
    field: Field,
    /// What stands in the header's own checksum; `None`: the right one.
    header: Option<u16>,
    /// The header says how long the packet is.
    lengths: bool,
    options: Vec<u8>,
    data: Vec<u8>,
    seq: u32,
    flags: u8,
    id: u16,
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|w| u64::from(w[0]) << 8 | u64::from(*w.get(1).unwrap_or(&0))).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

impl Spec {
    fn new(proto: u8, src: (&[u8], u16), dst: (&[u8], u16)) -> Self {
        Self {
            proto,
            src: (src.0.to_vec(), src.1),
            dst: (dst.0.to_vec(), dst.1),
            field: Field::Right,
            header: None,
            lengths: true,
            options: vec![],
            data: (0..60_u8).collect(),
            seq: 1000,
            flags: 0x18,
            id: 77,
        }
    }

    fn v6(&self) -> bool {
        self.src.0.len() == 16
    }

    fn ports(&self) -> Vec<u8> {
        [self.src.1.to_be_bytes(), self.dst.1.to_be_bytes()].concat()
    }

    fn transport(&self) -> Vec<u8> {
        let mut t = self.ports();
        if self.proto == TCP {
            t.extend(self.seq.to_be_bytes());
            t.extend(9_u32.to_be_bytes());
            t.extend([((5 + self.options.len() / 4) << 4) as u8, self.flags, 4, 0, 0, 0, 0, 0]);
            t.extend(&self.options);
        } else {
            let length = if self.lengths { 8 + self.data.len() as u16 } else { 0 };
            t.extend(length.to_be_bytes());
            t.extend([0, 0]);
        }
        t.extend(&self.data);
        let pseudo = sum(&self.src.0) + sum(&self.dst.0) + u64::from(self.proto);
        let whole = pseudo + t.len() as u64;
        let right = || {
            let field = !fold(whole + sum(&t));
            if field == 0 && self.proto == UDP { 0xffff } else { field }
        };
        let field = match self.field {
            Field::Right => right(),
            Field::Wrong(by) => fold(u64::from(right()) + u64::from(by)),
            Field::Pseudo => fold(whole),
            Field::Bare => fold(pseudo),
            Field::This(field) => field,
        };
        let at = if self.proto == TCP { 16 } else { 6 };
        t[at..at + 2].copy_from_slice(&field.to_be_bytes());
        t
    }

    fn packet(&self) -> Vec<u8> {
        let t = self.transport();
        let length = |n: usize| if self.lengths { n as u16 } else { 0 }.to_be_bytes();
        if self.v6() {
            let head = [&[0x60, 0, 0, 0][..], &length(t.len()), &[self.proto, 64], &self.src.0, &self.dst.0];
            return [&head.concat()[..], &t].concat();
        }
        let id = self.id.to_be_bytes();
        let head =
            [&[0x45, 0][..], &length(20 + t.len()), &id, &[0x40, 0, 64, self.proto, 0, 0], &self.src.0, &self.dst.0];
        let mut head = head.concat();
        let right = !fold(sum(&head));
        head[10..12].copy_from_slice(&self.header.unwrap_or(right).to_be_bytes());
        [head, t].concat()
    }

    fn frame(&self, to: [u8; 6], from: [u8; 6]) -> Vec<u8> {
        let kind = if self.v6() { [0x86, 0xdd] } else { [8, 0] };
        [&to[..], &from, &kind, &self.packet()].concat()
    }
}

const V4: [&[u8]; 4] = [&[10, 0, 0, 5], &[198, 51, 100, 7], &[192, 0, 2, 1], &[10, 0, 0, 9]];
const SIX: [[u8; 16]; 4] = [
    [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5],
    [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
];

/// Inside, far away, outside, behind a redirection.
fn ends(v6: bool) -> [Vec<u8>; 4] {
    if v6 { SIX.map(|a| a.to_vec()) } else { V4.map(<[u8]>::to_vec) }
}

/// A packet of the inside on its way out.
fn out(proto: u8, v6: bool) -> Spec {
    let [inside, far, ..] = ends(v6);
    Spec::new(proto, (&inside, 4000), (&far, 443))
}

/// A packet on its way in to what is redirected.
fn inward(proto: u8, v6: bool) -> Spec {
    let [_, far, outside, _] = ends(v6);
    Spec::new(proto, (&far, 4000), (&outside, 80))
}

fn redirected(was: &Spec) -> Spec {
    Spec { dst: (ends(was.v6())[3].clone(), 8080), ..was.clone() }
}

fn host<D: Driven>() -> D {
    D::running(Boot::Block, SUPPLY, &image("", RULES))
}

/// A list of a frame in two pieces, the header in the first.
fn list(frame: Vec<u8>, info: &[(usize, usize)]) -> One {
    (vec![(frame, vec![54], 0)], info.to_vec())
}

fn places(info: &[(usize, usize)]) -> [usize; 24] {
    let mut all = [0; 24];
    info.iter().for_each(|(place, value)| all[*place] = *value);
    all
}

/// One list given, and the one that left for it.
fn one<D: Driven>(host: &mut D, at: (usize, Side), given: &One) -> (Option<Left>, usize) {
    let (lists, mut left) = host.give(at, std::slice::from_ref(given), false);
    assert!(left.len() <= 1, "{left:?}");
    (left.pop(), lists[0].addr())
}

/// Frames are the same, byte by byte.
fn assert_same(left: &[Vec<u8>], wanted: &[Vec<u8>], what: &dyn std::fmt::Debug) {
    assert_eq!(left.len(), wanted.len(), "{what:?}: frames");
    for (n, (left, wanted)) in left.iter().zip(wanted).enumerate() {
        let at = (0..left.len().max(wanted.len())).find(|at| left.get(*at) != wanted.get(*at));
        let near = |f: &[u8], at: usize| format!("{:02x?}", f.get(at..f.len().min(at + 8)).unwrap_or_default());
        assert!(
            at.is_none(),
            "{what:?}: frame {n} at {at:?}: {}, not {}",
            near(left, at.unwrap_or(0)),
            near(wanted, at.unwrap_or(0))
        );
    }
}

/// Each of these is run by the filter and by the intermediate driver.
macro_rules! both {
    ($($name:ident)*) => {
        mod filter {$(
            #[test]
            fn $name() {
                super::$name::<super::ndis::Host>();
            }
        )*}
        mod intermediate {$(
            #[test]
            fn $name() {
                super::$name::<super::im::Host>();
            }
        )*}
    };
}

both! {
    sends_are_translated_under_every_offload
    sends_that_pass_are_the_lists_themselves
    what_the_card_says_of_a_large_send_comes_back
    receives_are_translated_whatever_the_card_found
    receives_that_pass_are_the_lists_themselves
    what_was_joined_stays_so_when_it_is_translated
    what_was_joined_is_cut_when_it_goes_elsewhere
    large_sends_are_cut_when_they_go_elsewhere
    tags_beside_frames_go_along
    what_became_of_the_other_family_says_so
    lent_lists_are_translated_likewise
    the_link_is_opened_whatever_the_rules_say
    tags_in_frames_are_the_adapters_own
    guests_get_what_is_theirs
}

/// Sends: the field, the header's checksum, lengths, options, what is asked for.
fn sends_are_translated_under_every_offload<D: Driven>() {
    let mut host: D = host();
    let timestamps = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2].to_vec();
    let offset = |n: usize| n << 16;
    let mut rows: Vec<(Spec, Vec<(usize, usize)>)> = Vec::new();
    for (v6, family, at, mss) in [(false, TX_IPV4, 34, 1460), (true, TX_IPV6, 54, 1440)] {
        for (proto, bit) in [(TCP, TX_TCP), (UDP, TX_UDP)] {
            let plain = out(proto, v6);
            rows.push((plain.clone(), vec![]));
            rows.push((Spec { field: Field::Wrong(5), ..plain.clone() }, vec![]));
            let asked = Spec { field: Field::Pseudo, ..plain.clone() };
            rows.push((asked.clone(), vec![(CHECKSUM, family | bit | offset(at))]));
            if !v6 {
                let both = Spec { header: Some(0), ..asked.clone() };
                rows.push((both, vec![(CHECKSUM, family | bit | TX_IP | offset(at))]));
                rows.push((Spec { header: Some(0), ..plain.clone() }, vec![(CHECKSUM, family | TX_IP)]));
            }
        }
        let data: Vec<u8> = (0..4000).map(|i| i as u8).collect();
        let header = (!v6).then_some(0);
        let large = Spec { field: Field::Bare, header, lengths: false, data, ..out(TCP, v6) };
        let ip = if v6 { LSO_IPV6 } else { 0 };
        rows.push((large.clone(), vec![(LSO, mss | at << 20 | LSO_V2 | ip)]));
        let with_options = Spec { options: timestamps.clone(), ..large.clone() };
        rows.push((
            with_options.clone(),
            vec![(LSO, (mss - 12) | at << 20 | LSO_V2 | ip), (CHECKSUM, family | TX_TCP)],
        ));
        if !v6 {
            rows.push((Spec { lengths: true, ..with_options }, vec![(LSO, (mss - 12) | at << 20)]));
        }
        let datagrams = Spec { field: Field::Bare, header, lengths: false, proto: UDP, ..large };
        rows.push((datagrams, vec![(USO, (mss + 12) | at << 20 | ip)]));
    }
    rows.push((Spec { field: Field::This(0), ..out(UDP, false) }, vec![]));
    for (n, (spec, info)) in rows.into_iter().enumerate() {
        let spec = Spec { src: (spec.src.0.clone(), 4000 + n as u16), ..spec };
        let mut info = info;
        info.extend([(VLAN, 3), (CANCEL, 0x77), (PROTOCOL, 2), (IPSEC, 0), (FILTERING, 9)]);
        let given = list(spec.frame(PEER, EM0), &info);
        let mut before = None;
        for _ in 0..2 {
            let (left, _) = one(&mut host, (0, Side::Stack), &given);
            let left = left.unwrap_or_else(|| panic!("{info:?}: nothing left"));
            let at = if spec.v6() { 54 } else { 34 };
            let port = u16::from_be_bytes([left.frames[0][at], left.frames[0][at + 1]]);
            assert!((50001..=65535).contains(&port));
            let wanted = Spec { src: (ends(spec.v6())[2].clone(), port), ..spec.clone() };
            assert_same(&left.frames, &[wanted.frame(PEER, EM0)], &(spec.proto, spec.field, &info));
            assert_eq!((left.adapter, left.up, left.own, left.flags), (0, false, true, 0));
            assert_eq!(left.info, places(&info), "{} {:?}", spec.proto, spec.field);
            assert!(before.is_none_or(|before| before == (left.frames.clone(), left.info)));
            before = Some((left.frames, left.info));
            host.settle();
        }
    }
    host.end();
}

/// Flags of a list: read-only, IPv4, TCP, split header, a time wanted.
const FLAGS: u32 = 1 | 0x10 | 0x40 | 0x100 | 0x1_0000;

fn sends_that_pass_are_the_lists_themselves<D: Driven>() {
    let mut host: D = host();
    for (spec, info) in [
        (Spec { field: Field::Pseudo, header: Some(0), ..out(TCP, false) }, vec![(CHECKSUM, TX_IPV4 | TX_TCP | TX_IP)]),
        (
            Spec { field: Field::Bare, lengths: false, ..out(TCP, true) },
            vec![(LSO, 1440 | 54 << 20 | LSO_V2 | LSO_IPV6)],
        ),
        (Spec { field: Field::Bare, lengths: false, ..out(UDP, false) }, vec![(USO, 1440 | 34 << 20)]),
        (out(TCP, false), (0..24).filter(|p| ![0, 2, 4, 0x16].contains(p)).map(|p| (p, 0x100 + p)).collect()),
    ] {
        let mut spec = spec;
        // Of the host's own address: nothing translates it.
        spec.src.0 = ends(spec.v6())[2].clone();
        let given = list(spec.frame(PEER, EM0), &info);
        for _ in 0..2 {
            let flags = |list| sys::set_nbl_flags(list, FLAGS);
            let (lists, left) = host.give_spoiled((0, Side::Stack), std::slice::from_ref(&given), false, &flags);
            let wanted = Left {
                adapter: 0,
                up: false,
                own: false,
                list: lists[0],
                frames: vec![spec.frame(PEER, EM0)],
                info: places(&info),
                flags: FLAGS,
            };
            assert_eq!(left, [wanted]);
            host.settle();
        }
    }
    host.end();
}

/// What a card writes when it completes a large send stands in the list that the stack gets back.
fn what_the_card_says_of_a_large_send_comes_back<D: Driven>() {
    let mut host: D = host();
    let data: Vec<u8> = vec![7; 4000];
    let spec = Spec { field: Field::Bare, header: Some(0), data, ..out(TCP, false) };
    for (asked, said) in [(1448 | 34 << 20 | LSO_V2, LSO_V2), (1448 | 34 << 20, 4000)] {
        let given = list(spec.frame(PEER, EM0), &[(LSO, asked)]);
        let (lists, left) = host.give((0, Side::Stack), &[given], false);
        assert!(left[0].own);
        sys::set_info(left[0].list, LSO, said);
        host.settle();
        assert_eq!(sys::info(lists[0])[LSO], said);
    }
    host.end();
}

/// Receives: what the card found, what stands in the field; the result is no righter and no more wrong.
fn receives_are_translated_whatever_the_card_found<D: Driven>() {
    let mut host: D = host();
    let mut port = 4000;
    for v6 in [false, true] {
        for (proto, good, bad) in [(TCP, RX_TCP_GOOD, RX_TCP_FAILED), (UDP, RX_UDP_GOOD, RX_UDP_FAILED)] {
            for (found, field) in [
                (good | RX_IP_GOOD, Field::Right),
                (good, Field::Right),
                (0, Field::Right),
                (0, Field::Wrong(0x1234)),
                (bad | RX_IP_GOOD, Field::Wrong(0x1234)),
                (bad | RX_TCP_INVALID, Field::Wrong(0x1234)),
            ] {
                port += 1;
                let mut spec = Spec { field, ..inward(proto, v6) };
                spec.src.1 = port;
                let kind = if v6 { 0xdd86 } else { 0x0008 };
                let rest = [(FRAME_TYPE, kind), (FILTERING, 9), (VLAN, 2), (IPSEC, 1)];
                let mut info = vec![(CHECKSUM, found), (HASH, 0xABCD), (HASH_INFO, 0x201), (MEDIA, 0x5000)];
                info.extend(rest);
                let mut wanted_info = vec![(CHECKSUM, found)];
                wanted_info.extend(rest);
                let given = list(spec.frame(EM0, PEER), &info);
                for _ in 0..2 {
                    let flags = |list| sys::set_nbl_flags(list, FLAGS);
                    let (_, left) = host.give_spoiled((0, Side::Wire), std::slice::from_ref(&given), false, &flags);
                    let [left] = &left[..] else { panic!("{found:#x}: {} left", left.len()) };
                    assert_same(&left.frames, &[redirected(&spec).frame(EM0, PEER)], &(proto, v6, found));
                    assert_eq!((left.adapter, left.up, left.own, left.flags), (0, true, true, 0));
                    // The hash is another flow's, and what the card keeps of its list it has back already.
                    assert_eq!(left.info, places(&wanted_info), "{proto} {v6} {found:#x}");
                    host.settle();
                }
            }
        }
    }
    host.end();
}

fn receives_that_pass_are_the_lists_themselves<D: Driven>() {
    let mut host: D = host();
    for (field, found) in [
        (Field::Right, RX_TCP_GOOD | RX_IP_GOOD),
        (Field::Wrong(1), RX_TCP_FAILED),
        (Field::This(0xEEEE), RX_TCP_GOOD | RX_TCP_INVALID),
    ] {
        let mut spec = Spec { field, ..inward(TCP, false) };
        spec.dst.1 = 81;
        let mut info: Vec<(usize, usize)> = (0..24).map(|p| (p, 0x100 + p)).collect();
        for (place, value) in [(CHECKSUM, found), (VLAN, 5), (URO, 0), (RSC, 2 | 1 << 16)] {
            info[place].1 = value;
        }
        let given = list(spec.frame(EM0, PEER), &info);
        for _ in 0..2 {
            let flags = |list| sys::set_nbl_flags(list, FLAGS);
            let (lists, left) = host.give_spoiled((0, Side::Wire), std::slice::from_ref(&given), false, &flags);
            let wanted = Left {
                adapter: 0,
                up: true,
                own: false,
                list: lists[0],
                frames: vec![spec.frame(EM0, PEER)],
                info: places(&info),
                flags: FLAGS,
            };
            assert_eq!(left, [wanted]);
            host.settle();
        }
    }
    host.end();
}

/// A coalesced frame that goes straight on: counts, duplicate acknowledgements and time go along; the field that means
/// nothing is not touched.
fn what_was_joined_stays_so_when_it_is_translated<D: Driven>() {
    let mut host: D = host();
    let invalid = RX_IP_GOOD | RX_TCP_INVALID | RX_IP_INVALID;
    for (n, v6) in [false, true].into_iter().enumerate() {
        let data: Vec<u8> = (0..4000).map(|i| (i * 3) as u8).collect();
        for (proto, good, joined) in [(TCP, RX_TCP_GOOD, (RSC, 3 | 2 << 16)), (UDP, RX_UDP_GOOD, (URO, 3 | 1400 << 16))]
        {
            for (field, found) in [(Field::This(0xBEEF), good | invalid), (Field::Right, good | RX_IP_GOOD)] {
                let header = if field == Field::Right || v6 { None } else { Some(0xDEAD) };
                let mut spec = Spec { field, header, data: data.clone(), ..inward(proto, v6) };
                spec.src.1 = 5000 + n as u16;
                let beside = [(CHECKSUM, found), joined, (DELTA, 40)];
                let info = [&beside[..], &[(HASH, 7), (HASH_INFO, 0x201)]].concat();
                let given = list(spec.frame(EM0, PEER), &info);
                for _ in 0..2 {
                    let (left, _) = one(&mut host, (0, Side::Wire), &given);
                    let left = left.expect("it goes up");
                    let (mut went, mut wanted) = (left.frames[0].clone(), redirected(&spec).frame(EM0, PEER));
                    if spec.header.is_some() {
                        // It meant nothing and means nothing.
                        went[24..26].fill(0);
                        wanted[24..26].fill(0);
                    }
                    assert_same(&[went], &[wanted], &(proto, v6, field));
                    assert_eq!((left.up, left.own, left.info), (true, true, places(&beside)), "{proto} {v6}");
                    host.settle();
                }
            }
        }
    }
    host.end();
}

/// Who 192.0.2.77 is, asked for by a first packet.
fn meet<D: Driven>(host: &mut D) {
    let asks = Spec::new(UDP, (&[10, 0, 0, 5], 1), (V4[1], 7));
    let (_, left) = host.give((1, Side::Wire), &[list(asks.frame(EM1, PEER), &[])], false);
    let who = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &EM0, &[192, 0, 2, 1], &[0; 6], &[192, 0, 2, 77]].concat();
    assert_eq!(left[0].frames, [[&[0xff; 6][..], &EM0, &[8, 6], &who].concat()]);
    let body = [&[0, 1, 8, 0, 6, 4, 0, 2][..], &NEXT, &[192, 0, 2, 77], &EM0, &[192, 0, 2, 1]].concat();
    let mut frame = [&EM0[..], &NEXT, &[8, 6], &body].concat();
    frame.resize(60, 0);
    host.give((0, Side::Wire), &[list(frame, &[])], false);
    host.settle();
}

/// The packets a large one is to become: data of each, numbers counted up, `hops` less to live.
fn segments(spec: &Spec, size: usize, hops: u8) -> Vec<Vec<u8>> {
    let count = spec.data.len().div_ceil(size);
    let cut = |(n, data): (usize, &[u8])| {
        let last = n + 1 == count;
        let part = Spec {
            field: Field::Right,
            header: None,
            lengths: true,
            data: data.to_vec(),
            seq: spec.seq + (n * size) as u32,
            flags: if last { spec.flags } else { spec.flags & !0x09 },
            id: spec.id + n as u16,
            ..spec.clone()
        };
        let mut frame = part.frame(NEXT, EM0);
        frame[22] -= hops;
        frame[24..26].fill(0);
        let right = !fold(sum(&frame[14..34]));
        frame[24..26].copy_from_slice(&right.to_be_bytes());
        frame
    };
    spec.data.chunks(size).enumerate().map(cut).collect()
}

/// A coalesced frame that leaves by another adapter: segments as they may have come, sums of their own; one whose sum was
/// found wrong ends.
fn what_was_joined_is_cut_when_it_goes_elsewhere<D: Driven>() {
    let mut host: D = host();
    meet(&mut host);
    let data: Vec<u8> = (0..4100).map(|i| (i * 7) as u8).collect();
    let invalid = RX_TCP_INVALID | RX_IP_INVALID;
    for (proto, good, bad, joined, size) in [
        (TCP, RX_TCP_GOOD, RX_TCP_FAILED, (RSC, 3 | 1 << 16), 1367),
        (UDP, RX_UDP_GOOD, RX_UDP_FAILED, (URO, 3 | 1400 << 16), 1400),
    ] {
        let spec = Spec { data: data.clone(), ..Spec::new(proto, (&[10, 0, 0, 6], 6000), (V4[1], 7)) };
        for (found, field, goes) in [
            (good | RX_IP_GOOD | invalid, Field::This(0xBEEF), true),
            (good | RX_IP_GOOD, Field::Right, true),
            (0, Field::Right, true),
            (0, Field::Wrong(9), false),
            (bad, Field::Wrong(9), false),
            (bad | invalid, Field::This(0xBEEF), false),
        ] {
            let given = Spec { field, ..spec.clone() };
            let info = [(CHECKSUM, found), joined, (DELTA, 40), (HASH, 7), (HASH_INFO, 0x201), (FRAME_TYPE, 8)];
            let (_, left) = host.give((1, Side::Wire), &[list(given.frame(EM1, PEER), &info)], false);
            let frames: Vec<Vec<u8>> = left.iter().flat_map(|l| l.frames.clone()).collect();
            let wanted = if goes { segments(&spec, size, 1) } else { vec![] };
            assert_same(&frames, &wanted, &(proto, found, field));
            assert!(left.iter().all(|l| l.own && !l.up && l.adapter == 0 && l.info == [0; 24]), "{left:?}");
            host.settle();
        }
    }
    host.end();
}

/// Large sends and datagrams to be cut, sent on by another adapter.
fn large_sends_are_cut_when_they_go_elsewhere<D: Driven>() {
    let mut host: D = host();
    meet(&mut host);
    let data: Vec<u8> = (0..3000).map(|i| (i * 5) as u8).collect();
    let options = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2].to_vec();
    for (proto, options, lengths, asked) in [
        (TCP, vec![], false, (LSO, 1000 | 34 << 20 | LSO_V2)),
        (TCP, options.clone(), false, (LSO, 1000 | 34 << 20 | LSO_V2)),
        (TCP, options, true, (LSO, 1000 | 34 << 20)),
        (UDP, vec![], false, (USO, 1000 | 34 << 20)),
    ] {
        let spec = Spec { data: data.clone(), options, ..Spec::new(proto, (&[10, 0, 0, 1], 6000), (V4[1], 7)) };
        let given = Spec { field: Field::Bare, header: Some(0), lengths, ..spec.clone() };
        let (_, left) = host.give((1, Side::Stack), &[list(given.frame(PEER, EM1), &[asked, (PROTOCOL, 2)])], false);
        let frames: Vec<Vec<u8>> = left.iter().flat_map(|l| l.frames.clone()).collect();
        assert_same(&frames, &segments(&spec, 1000, 0), &asked);
        assert!(left.iter().all(|l| l.own && !l.up && l.adapter == 0 && l.info == [0; 24]), "{left:?}");
        host.settle();
    }
    // One that asks for sums alone: they are made.
    for proto in [TCP, UDP] {
        let spec = Spec::new(proto, (&[10, 0, 0, 1], 6001), (V4[1], 7));
        let given = Spec { field: Field::Pseudo, header: Some(0), ..spec.clone() };
        let asked = (CHECKSUM, TX_IPV4 | TX_IP | if proto == TCP { TX_TCP } else { TX_UDP });
        let (left, _) = one(&mut host, (1, Side::Stack), &list(given.frame(PEER, EM1), &[asked]));
        let left = left.expect("it goes");
        assert_eq!((left.frames, left.info), (vec![spec.frame(NEXT, EM0)], [0; 24]));
        host.settle();
    }
    host.end();
}

/// 802.1Q beside the frame: priority (0–2), drop eligible (3), VLAN (4–15), and what else a card put above.
fn tags_beside_frames_go_along<D: Driven>() {
    let mut host: D = host();
    let beside = 4 | 1 << 3 | 0x123 << 4 | 0x5A << 16;
    let spec = inward(TCP, false);
    let (left, _) = one(&mut host, (0, Side::Wire), &list(spec.frame(EM0, PEER), &[(VLAN, beside)]));
    let left = left.expect("it goes up");
    assert_eq!(
        (left.own, left.frames, left.info),
        (true, vec![redirected(&spec).frame(EM0, PEER)], places(&[(VLAN, beside)]))
    );
    host.settle();
    let spec = Spec { field: Field::Pseudo, ..out(UDP, true) };
    let info = [(CHECKSUM, TX_IPV6 | TX_UDP), (VLAN, beside)];
    let (left, _) = one(&mut host, (0, Side::Stack), &list(spec.frame(PEER, EM0), &info));
    assert_eq!(left.map(|l| (l.own, l.info)), Some((true, places(&info))));
    host.settle();
    host.end();
}

/// `af-to` to the host's own address: what comes up says which family it is now.
fn what_became_of_the_other_family_says_so<D: Driven>() {
    let mut host: D = host();
    let mut own = [0; 16];
    own[..4].copy_from_slice(&[0, 0x64, 0xff, 0x9b]);
    own[12..].copy_from_slice(&[10, 0, 0, 1]);
    let asks = Spec::new(TCP, (&SIX[0], 4000), (&own, 9));
    let info = [(CHECKSUM, RX_TCP_GOOD), (FRAME_TYPE, 0xdd86), (HASH, 7), (HASH_INFO, 0x501)];
    for _ in 0..2 {
        let (left, _) = one(&mut host, (1, Side::Wire), &list(asks.frame(EM1, PEER), &info));
        let left = left.expect("it goes up");
        let port = u16::from_be_bytes([left.frames[0][34], left.frames[0][35]]);
        let wanted = Spec::new(TCP, (&[10, 0, 0, 77], port), (&[10, 0, 0, 1], 9));
        assert_same(&[left.frames[0][34..].to_vec()], &[wanted.transport()], &"up");
        assert_eq!((&left.frames[0][12..15], left.up, left.own), (&[8, 0, 0x45][..], true, true));
        assert_eq!(left.info, places(&[(CHECKSUM, RX_TCP_GOOD), (FRAME_TYPE, 0x0008)]));
        host.settle();
    }
    host.end();
}

/// 802.1X passes both ways before rules and with any; other kinds do not.
fn the_link_is_opened_whatever_the_rules_say<D: Driven>() {
    let group = [1, 0x80, 0xc2, 0, 0, 3];
    let frame = |to: [u8; 6], kind: u16| [&to[..], &PEER, &kind.to_be_bytes(), &[1, 0, 0, 0], &[0; 42]].concat();
    let mut host = D::begin(Boot::Block, SUPPLY).expect("there is memory");
    host.go();
    for rules in [None, Some("block return\n")] {
        if let Some(rules) = rules {
            host.greet();
            host.load(&image("", rules)).expect("the rules load");
        }
        for side in [Side::Stack, Side::Wire] {
            let mut goes = |to, kind| one(&mut host, (0, side), &list(frame(to, kind), &[])).0.is_some_and(|l| !l.own);
            assert!(goes(group, 0x888e) && goes(EM0, 0x888e) && goes([0xff; 6], 0x0806), "{rules:?} {side:?}");
            assert!(!goes(group, 0x88cc) && !goes(EM0, 0x8863) && !goes(EM0, 0x86dd), "{rules:?} {side:?}");
        }
        host.settle();
    }
    host.end();
}

/// A tag in a frame, of a VLAN nobody told of: by the rules of the adapter, the frame as it is; answers carry it.
fn tags_in_frames_are_the_adapters_own<D: Driven>() {
    let rules = "block return\npass in on em0 proto udp to port 53\npass out on em0 proto udp to port 53\n";
    let mut host = D::running(Boot::Block, SUPPLY, &image("", rules));
    let tagged = |spec: &Spec, to, from| {
        let frame = spec.frame(to, from);
        [&frame[..12], &[0x81, 0, 0x60, 9], &frame[12..]].concat()
    };
    let (far, outside) = (V4[1], V4[2]);
    for (port, passes) in [(53, true), (54, false)] {
        let spec = Spec::new(UDP, (far, 4000), (outside, port));
        for _ in 0..2 {
            let given = tagged(&spec, EM0, PEER);
            let (lists, left) = host.give((0, Side::Wire), &[list(given.clone(), &[])], false);
            let [left] = &left[..] else { panic!("{} left", left.len()) };
            if passes {
                assert_eq!((left.list, left.up, &left.frames[0]), (lists[0], true, &given));
            } else {
                // Port unreachable, to who asked, in its VLAN.
                let head = [&PEER[..], &EM0, &[0x81, 0, 0, 9, 8, 0, 0x45]].concat();
                assert_eq!((left.up, &left.frames[0][..19]), (false, &head[..]));
                assert_eq!(left.frames[0][27], 1);
            }
            host.settle();
        }
    }
    let spec = Spec::new(UDP, (outside, 4001), (far, 53));
    let (left, _) = one(&mut host, (0, Side::Stack), &list(tagged(&spec, PEER, EM0), &[]));
    assert_eq!(left.map(|l| (l.own, l.frames)), Some((false, vec![tagged(&spec, PEER, EM0)])));
    host.settle();
    host.end();
}

/// Frames for a guest of the switch above pass as the rules say, once it has sent something; those for strangers end.
fn guests_get_what_is_theirs<D: Driven>() {
    let mut host = D::running(Boot::Block, SUPPLY, &image("", "block\npass in on em0 proto udp to port 53\n"));
    let guest = [0, 0x15, 0x5d, 1, 2, 3];
    let frame = |port| Spec::new(UDP, (V4[1], 4000), (&[192, 0, 2, 50], port)).frame(guest, PEER);
    let goes = |host: &mut D, port| {
        let went = one(host, (0, Side::Wire), &list(frame(port), &[])).0.is_some_and(|l| l.up && !l.own);
        host.settle();
        went
    };
    assert!(!goes(&mut host, 53));
    let asks = [&[0xff; 6][..], &guest, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[0; 30]].concat();
    assert!(one(&mut host, (0, Side::Stack), &list(asks, &[])).0.is_some());
    host.settle();
    assert!(goes(&mut host, 53) && goes(&mut host, 53) && !goes(&mut host, 54));
    host.end();
}

/// What is lent goes up as lent or as a copy, and is the card's again as it was.
fn lent_lists_are_translated_likewise<D: Driven>() {
    let mut host: D = host();
    let beside = [(CHECKSUM, RX_TCP_GOOD | RX_IP_GOOD | RX_TCP_INVALID), (RSC, 2), (DELTA, 3)];
    let info = [&beside[..], &[(HASH, 7), (HASH_INFO, 0x201), (MEDIA, 0x5000)]].concat();
    let spec = Spec { field: Field::This(3), data: vec![1; 2500], ..inward(TCP, false) };
    let plain = Spec { dst: (spec.dst.0.clone(), 81), ..spec.clone() };
    let lists = [list(spec.frame(EM0, PEER), &info), list(plain.frame(EM0, PEER), &info)];
    for _ in 0..2 {
        let (given, left) = host.give((0, Side::Wire), &lists, true);
        let [left] = &left[..] else { panic!("{left:?}") };
        assert_eq!((left.own, left.info), (true, places(&beside)));
        assert_eq!(host.indicated(), [redirected(&spec), plain.clone()].map(|s| s.frame(EM0, PEER)));
        for (list, spec) in given.into_iter().zip([&spec, &plain]) {
            assert_eq!((sys::info(list), sys::bytes(list)), (places(&info), vec![spec.frame(EM0, PEER)]));
        }
        host.settle();
    }
    host.end();
}

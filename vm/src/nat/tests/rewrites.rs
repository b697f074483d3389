//! Rewriting within a family.

use super::*;

#[test]
fn there_and_back_is_the_same_packet() {
    let mut rng = Rng(5);
    for _ in 0..4000 {
        let old = rng.packet();
        let pd = seen(&old, Direction::Out);
        let to = Target {
            src: rng.addr(pd.af),
            dst: rng.addr(pd.af),
            sport: rng.next() as u16,
            dport: (rng.next() as u16).max(1),
        };
        let mut b = old.clone();
        let now = there(&mut b, &META, &to);
        sound(&b);
        let fresh = seen(&b, Direction::Out);
        assert_eq!((fresh.src, fresh.dst, fresh.sport, fresh.dport), (to.src, to.dst, now.sport, now.dport));
        assert_eq!((fresh.l4, fresh.p_len), (now.l4, now.p_len));
        let back = Target { dport: if pd.icmp().is_some() { to.dport } else { pd.dport }, ..target(&pd) };
        there(&mut b, &META, &back);
        assert_eq!(b, old);
    }
}

#[test]
fn a_wrong_sum_stays_wrong_and_udp_without_one_stays_so() {
    let mut rng = Rng(6);
    for _ in 0..2000 {
        let mut b = rng.packet();
        let pd = seen(&b, Direction::Out);
        let Some(o) = rewrite::sum_offset(pd.proto) else { continue };
        let at = pd.off as usize + o;
        let none = pd.proto == proto::UDP && rng.next() & 1 == 0;
        if none {
            b[at..at + 2].fill(0);
        } else {
            b[at] ^= 0x40;
        }
        let to = Target { src: rng.addr(pd.af), dst: rng.addr(pd.af), sport: 7, dport: 9 };
        there(&mut b, &META, &to);
        let now = seen(&b, Direction::Out);
        if none {
            assert_eq!(b[at..at + 2], [0, 0]);
        } else {
            let n = now.tot_len as usize - now.off as usize;
            let (off, mut c) = (now.off as usize, b.clone());
            assert!(!verify_l4(&Packet::whole(&mut c), now.af, &now.src, &now.dst, now.proto, off, n));
        }
    }
}

#[test]
fn partial_sums_hold_addresses_only() {
    let partial = PktMeta { l4: Checksum::Partial, ip: Checksum::Partial, ..META };
    let mut b = packet("10.0.0.5", "198.51.100.7", proto::TCP, &tcp(1000, 80, &[], b"data"));
    let len = (b.len() - 20) as u32;
    let sum = |s: &str, d: &str| Sum::new().pseudo(Af::Inet, &a(s), &a(d), 6, len).fold().to_be_bytes();
    b[36..38].copy_from_slice(&sum("10.0.0.5", "198.51.100.7"));
    b[10..12].fill(0);
    there(&mut b, &partial, &Target { src: a("192.0.2.1"), dst: a("198.51.100.7"), sport: 60_000, dport: 80 });
    assert_eq!(b[36..38], sum("192.0.2.1", "198.51.100.7"));
    assert_eq!((&b[10..12], &b[20..22]), (&[0, 0][..], &60_000_u16.to_be_bytes()[..]));
    let absent = PktMeta { l4: Checksum::Absent, ..META };
    let mut b = packet("10.0.0.5", "198.51.100.7", proto::TCP, &tcp(1000, 80, &[], b"data"));
    let before = b[36..38].to_vec();
    there(&mut b, &absent, &Target { src: a("192.0.2.1"), dst: a("198.51.100.7"), sport: 60_000, dport: 80 });
    assert_eq!(b[36..38], before);
}

#[test]
fn known_states_rewrite_the_same() {
    let mut rng = Rng(8);
    for _ in 0..500 {
        let old = rng.packet();
        let mut pd = seen(&old, Direction::In);
        if pd.icmp().is_some() {
            continue;
        }
        let to = Target { src: rng.addr(pd.af), dst: rng.addr(pd.af), sport: 1, dport: 2 };
        let (mut x, mut y) = (old.clone(), old.clone());
        rewrite::known(&mut Packet::whole(&mut x), &META, &mut pd, &to).unwrap();
        there(&mut y, &META, &to);
        assert_eq!(x, y);
    }
    let mut b = packet("10.0.0.5", "198.51.100.7", proto::ICMP, &icmp(0, 0, [1, 2, 3, 4], b"x"));
    let mut pd = seen(&b, Direction::In);
    let to = Target { src: a("10.9.9.9"), dst: a("10.0.0.1"), sport: 0, dport: 0 };
    let done = rewrite::icmp_query(&mut Packet::whole(&mut b), &META, &mut pd, &to, 77).unwrap().unwrap();
    sound(&b);
    // pf asks whether the destination differs once it has written it: it never does.
    assert!(done.rewritten && !done.destination && b[24..26] == [0, 77]);
}

#[test]
fn sequence_numbers_and_sack() {
    // NOP, SACK of two blocks at an odd offset, NOP, a truncated SACK at the end.
    let mut options = vec![1, 5, 18];
    for n in [100_u32, 200, 300, 400] {
        options.extend(n.to_be_bytes());
    }
    options.extend([1, 1, 0, 5, 10]);
    let old = packet("10.0.0.5", "198.51.100.7", proto::TCP, &tcp(1000, 80, &options, b"odd"));
    let mut b = old.clone();
    let mut pd = seen(&b, Direction::Out);
    let mut p = Packet::whole(&mut b);
    assert_eq!(rewrite::sack(&mut p, &META, &pd, 50), Ok(true));
    rewrite::sequence(&mut p, &META, &mut pd, Some(0x1122_3344), Some(7)).unwrap();
    sound(&b);
    assert_eq!(b[24..28], [0x11, 0x22, 0x33, 0x44]);
    assert_eq!(b[28..32], [0, 0, 0, 7]);
    assert_eq!(b[43..47], 50_u32.to_be_bytes());
    assert_eq!(b[55..59], 350_u32.to_be_bytes());
    assert!(matches!(pd.l4, L4::Tcp(t) if t.seq == 0x1122_3344 && t.ack == 7));
    let mut p = Packet::whole(&mut b);
    rewrite::sack(&mut p, &META, &pd, 0_u32.wrapping_sub(50)).unwrap();
    rewrite::sequence(&mut p, &META, &mut pd, Some(0x0102_0304), Some(0x0506_0708)).unwrap();
    assert_eq!(b, old);
}

#[test]
fn errors_are_translated_with_what_they_quote() {
    for protocol in [proto::TCP, proto::UDP, proto::ICMP, proto::GRE] {
        let l4 = match protocol {
            proto::TCP => tcp(60_000, 80, &[], &[]),
            proto::UDP => udp(60_000, 53, b"hello"),
            proto::ICMP => icmp(8, 0, [0xea, 0x60, 0, 1], b"ping"),
            _ => vec![0; 12],
        };
        let inner = packet("192.0.2.1", "198.51.100.7", protocol, &l4);
        let mut b = error("203.0.113.1", "192.0.2.1", &inner, 3, 1, [0; 4]);
        let mut pd = seen(&b, Direction::In);
        let mut p = Packet::whole(&mut b);
        let q = icmp_error::Quote::read(&p, &META, &pd).unwrap();
        assert_eq!((q.src, q.dst, q.proto, q.base), (a("192.0.2.1"), a("198.51.100.7"), protocol, 28));
        let key = q.key(Af::Inet, Direction::In, q.ports());
        assert_eq!(key.addr, [a("198.51.100.7"), a("192.0.2.1")]);
        let to = Target { src: a("10.0.0.5"), dst: a("198.51.100.7"), sport: 1000, dport: q.ports().1 };
        let new = icmp_error::NewQuote { to, echo: (protocol == proto::ICMP).then_some(1000) };
        let done = icmp_error::rewrite(&mut p, &META, &mut pd, &q, &new).unwrap();
        assert!(done.rewritten && !done.destination);
        sound(&b);
        assert_eq!(b[16..20], [10, 0, 0, 5], "the message goes to the inside host");
        assert_eq!(b[12..16], [203, 0, 113, 1], "and still comes from the router");
        assert_eq!(b[40..44], [10, 0, 0, 5]);
        assert_eq!(b[38..40], inner[10..12], "the quoted header sum stays stale");
        match protocol {
            proto::TCP => assert_eq!(b[48..50], 1000_u16.to_be_bytes()),
            proto::UDP => assert_eq!((&b[48..50], &b[54..56]), (&1000_u16.to_be_bytes()[..], &[0, 0][..])),
            proto::ICMP => assert_eq!(b[52..54], 1000_u16.to_be_bytes()),
            _ => {}
        }
    }
}

#[test]
fn quotes_that_fit_nothing() {
    let inner = packet("192.0.2.1", "198.51.100.7", proto::TCP, &tcp(60_000, 80, &[], &[]));
    let read = |b: &[u8]| {
        let pd = seen(b, Direction::In);
        let mut b = b.to_vec();
        icmp_error::Quote::read(&Packet::whole(&mut b), &META, &pd).map(|q| q.proto)
    };
    use crate::packet::DropReason as R;
    assert_eq!(read(&error("203.0.113.1", "192.0.2.1", &inner, 3, 1, [0; 4])), Ok(6));
    assert_eq!(read(&error("203.0.113.1", "192.0.2.9", &inner, 3, 1, [0; 4])), Err(R::StateMismatch));
    assert_eq!(read(&error("203.0.113.1", "192.0.2.1", &inner[..27], 3, 1, [0; 4])), Err(R::Short));
    assert_eq!(read(&error("203.0.113.1", "192.0.2.1", &inner[..19], 3, 1, [0; 4])), Err(R::Short));
    let mut later = inner.clone();
    later[7] = 3;
    assert_eq!(read(&error("203.0.113.1", "192.0.2.1", &later, 3, 1, [0; 4])), Err(R::Fragment));
    let mut odd = inner;
    odd[9] = proto::ICMPV6;
    assert_eq!(read(&error("203.0.113.1", "192.0.2.1", &odd, 3, 1, [0; 4])), Err(R::Normalize));
}

#[test]
fn hostile_bytes_never_break_a_rewrite() {
    let mut rng = Rng(10);
    for _ in 0..3000 {
        let mut b = rng.packet();
        let inner = rng.packet();
        if rng.next() & 1 == 0 {
            let (r, t) = if inner[0] >> 4 == 4 { ("1.2.3.4", "5.6.7.8") } else { ("::1", "::2") };
            b = error(r, t, &inner, rng.next() as u8 % 16, rng.next() as u8 % 16, [0; 4]);
        }
        for _ in 0..rng.next() % 4 {
            let at = rng.next() as usize % b.len();
            b[at] = rng.next() as u8;
        }
        b.truncate(rng.next() as usize % (b.len() + 20));
        if b.is_empty() {
            continue;
        }
        let af = if b[0] >> 4 == 4 { Af::Inet } else { Af::Inet6 };
        let mut buf = roomy(&b);
        let mut p = Packet::new(&mut buf, 48, &[]).unwrap();
        let Ok(mut pd) = describe(&p, &META, af, Direction::In, 1) else { continue };
        let to = Target { src: rng.addr(af), dst: rng.addr(af), sport: 1, dport: 2 };
        let echo = Some(5);
        if let Ok(mut q) = icmp_error::Quote::read(&p, &META, &pd) {
            let new = icmp_error::NewQuote { to, echo };
            if rng.next() & 1 == 0 {
                pd.naf = if af == Af::Inet { Af::Inet6 } else { Af::Inet };
                if let Ok(Some(_)) = icmp_error::change_family(&mut p, &META, &mut pd, &mut q, &new, 1) {
                    let _ = af::translate(&mut p, &META, &mut pd, 2);
                }
            } else {
                let _ = icmp_error::rewrite(&mut p, &META, &mut pd, &q, &new);
            }
        }
        let _ = rewrite::sack(&mut p, &META, &pd, 5);
        let _ = rewrite::known(&mut p, &META, &mut pd, &to);
    }
}

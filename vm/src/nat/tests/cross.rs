//! Changing the family.

use super::*;

#[test]
fn families_change_and_change_back() {
    let mut rng = Rng(9);
    for _ in 0..2000 {
        let old = rng.packet();
        let pd = seen(&old, Direction::In);
        let other = if pd.af == Af::Inet { Af::Inet6 } else { Af::Inet };
        let (src, dst) = (rng.addr(other), rng.addr(other));
        let new = cross(&old, &src, &dst, 11, 12);
        sound(&new);
        let id = pd.icmp().map(|i| i.id);
        let back = cross(&new, &pd.src, &pd.dst, id.unwrap_or(pd.sport), pd.dport);
        sound(&back);
        assert_eq!(back[pd.off as usize..], old[pd.off as usize..]);
    }
}

#[test]
fn udp_without_a_sum_gets_one_in_ipv6() {
    let mut b = packet("10.0.0.5", "198.51.100.7", proto::UDP, &udp(1000, 53, b"question"));
    b[26..28].fill(0);
    let out = cross(&b, &a("2001:db8::1"), &a("2001:db8::2"), 1000, 53);
    sound(&out);
    assert_ne!(out[46..48], [0, 0]);
}

#[test]
fn no_headroom_is_an_error_not_a_mess() {
    let b = packet("10.0.0.5", "198.51.100.7", proto::UDP, &udp(1000, 53, b"question"));
    let mut pd = seen(&b, Direction::In);
    pd.naf = Af::Inet6;
    let mut buf = b.clone();
    let mut p = Packet::whole(&mut buf);
    assert!(af::translate(&mut p, &META, &mut pd, 1).is_err());
}

/// Translates an error to the other family, as the answer to a packet sent through `af-to`.
fn cross_error(b: &[u8], to: Target, echo: Option<u16>) -> Option<Vec<u8>> {
    let mut pd = seen(b, Direction::In);
    pd.naf = if pd.af == Af::Inet { Af::Inet6 } else { Af::Inet };
    let mut buf = roomy(b);
    let mut p = Packet::new(&mut buf, 48, &[]).unwrap();
    let mut q = icmp_error::Quote::read(&p, &META, &pd).unwrap();
    let new = icmp_error::NewQuote { to, echo };
    icmp_error::change_family(&mut p, &META, &mut pd, &mut q, &new, 0x2222).unwrap()?;
    af::translate(&mut p, &META, &mut pd, 0x3333).unwrap();
    Some(p.window().to_vec())
}

#[test]
fn errors_change_family_with_what_they_quote() {
    for protocol in [proto::TCP, proto::UDP, proto::ICMP] {
        let l4 = match protocol {
            proto::TCP => tcp(60_000, 80, &[], b"abc"),
            proto::UDP => udp(60_000, 53, b"hello"),
            _ => icmp(8, 0, [0xea, 0x60, 0, 1], b"ping"),
        };
        let inner = packet("192.0.2.1", "198.51.100.7", protocol, &l4);
        let b = error("203.0.113.1", "192.0.2.1", &inner, 3, 4, [0, 0, 5, 0xdc - 0x14]);
        let (inside, outside) = (a("2001:db8:a::5"), a("64:ff9b::198.51.100.7"));
        let dport = if protocol == proto::TCP { 80 } else { 53 };
        let to = Target { src: inside, dst: outside, sport: 1000, dport };
        let out = cross_error(&b, to, (protocol == proto::ICMP).then_some(1000)).unwrap();
        sound(&out);
        let pd = seen(&out, Direction::In);
        assert_eq!((pd.src, pd.dst), (a("64:ff9b::203.0.113.1"), inside), "the router shows in the low bits");
        assert_eq!(out[40..42], [2, 0]);
        assert_eq!(out[44..48], (1500_u32).to_be_bytes(), "20 more");
        let mut o = out.clone();
        let q = icmp_error::Quote::read(&Packet::whole(&mut o), &META, &pd).unwrap();
        assert_eq!((q.src, q.dst, q.proto), (inside, outside, icmp_af::other(protocol)));
        assert_eq!(q.tot_len, 40 + l4.len());
        // And back: a "too big" from the other side shrinks.
        let to = Target { src: a("192.0.2.1"), dst: a("198.51.100.7"), sport: 60_000, dport };
        let back = cross_error(&out, to, (protocol == proto::ICMP).then_some(60_000)).unwrap();
        sound(&back);
        assert_eq!((back[20], back[21], &back[24..28]), (3, 4, &[0, 0, 5, 0xc8][..]));
        assert_eq!(back[48..56], b[48..56], "ports as they were");
    }
    let inner = packet("192.0.2.1", "198.51.100.7", proto::GRE, &[0; 16]);
    let b = error("203.0.113.1", "192.0.2.1", &inner, 3, 1, [0; 4]);
    let to = Target { src: a("::1"), dst: a("::2"), sport: 0, dport: 0 };
    assert_eq!(cross_error(&b, to, None), None);
}

#[test]
fn the_destination_of_af_to() {
    let mut env = Fake::default();
    let list = [
        pool(PoolKind::None, net("192.0.2.1", 32)),
        pool(PoolKind::None, net("2001:db8:a::1", 128)),
        pool(PoolKind::None, net("2001:db8:a::20", 128)),
        pool(PoolKind::None, net("64:ff9b::", 96)),
    ];
    let mut states = Vec::new();
    let mut pools = pools(&list, &mut states);
    let mut go = |b: &[u8], naf, tr: &Translation| {
        let mut pd = seen(b, Direction::In);
        pd.naf = naf;
        transaddr::apply(&mut env, &mut pools, tr, &mut pd, &mut None).map(|()| (pd.nsaddr, pd.ndaddr))
    };
    let six = packet("2001:db8:a::5", "64:ff9b::198.51.100.7", proto::TCP, &tcp(1000, 80, &[], &[]));
    assert_eq!(go(&six, Af::Inet, &rule(Some(0), None, 96)), Ok((a("192.0.2.1"), a("198.51.100.7"))));
    assert_eq!(go(&six, Af::Inet, &rule(Some(0), None, 0)), Ok((a("192.0.2.1"), a("198.51.100.7"))));
    let four = packet("198.51.100.7", "192.0.2.2", proto::TCP, &tcp(1000, 80, &[], &[]));
    assert_eq!(go(&four, Af::Inet6, &rule(Some(1), Some(2), 0)), Ok((a("2001:db8:a::1"), a("2001:db8:a::20"))));
    assert_eq!(go(&four, Af::Inet6, &rule(Some(3), None, 0)), Ok((a("64:ff9b::"), a("64:ff9b::192.0.2.2"))));
    assert_eq!(go(&four, Af::Inet6, &rule(None, Some(2), 0)), Err(NoTranslation));
}

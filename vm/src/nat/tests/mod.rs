//! What tests of translation share: packets, pools, chance.

mod cross;
mod pools;
mod rewrites;

use super::fake::{Fake, parse};
use super::pool::{PoolState, Pools, Request};
use super::rewrite::{IcmpKey, Target};
use super::transaddr::{NoTranslation, Translation};
use super::*;
use crate::packet::{Checksum, L4, Packet, PacketDesc, PktMeta, describe, proto};
use crate::rule::{Direction, Pool, PoolAddr, PoolId, PoolKind, PoolPorts};
use crate::wire::checksum::{Sum, of, verify_l4};

const NO_PORTS: PoolPorts = PoolPorts { lo: 0, hi: 0, base: 0, fixed: false };

fn a(text: &str) -> Addr {
    parse(text).1
}

fn pool(kind: PoolKind, addr: PoolAddr) -> Pool {
    Pool { kind, sticky: false, addr, ports: NO_PORTS, key: None, iface: None }
}

fn net(text: &str, prefix: u8) -> PoolAddr {
    let (af, addr) = parse(text);
    PoolAddr::Net { af, addr, prefix }
}

/// Bytes of an IPv4 or IPv6 packet with right checksums.
fn packet(src: &str, dst: &str, protocol: u8, l4: &[u8]) -> Vec<u8> {
    let (af, s) = parse(src);
    let d = a(dst);
    let mut out = match af {
        Af::Inet => {
            let mut h = vec![0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 64, protocol, 0, 0];
            h.extend(&s.0[..4]);
            h.extend(&d.0[..4]);
            h[2..4].copy_from_slice(&((20 + l4.len()) as u16).to_be_bytes());
            let c = of(&h);
            h[10..12].copy_from_slice(&c.to_be_bytes());
            h
        }
        Af::Inet6 => {
            let mut h = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
            h[4..6].copy_from_slice(&(l4.len() as u16).to_be_bytes());
            h.extend(&s.0);
            h.extend(&d.0);
            h
        }
    };
    let off = out.len();
    out.extend(l4);
    if let Some(o) = rewrite::sum_offset(protocol) {
        out[off + o..off + o + 2].copy_from_slice(&[0, 0]);
        let start =
            if protocol == proto::ICMP { Sum::new() } else { Sum::new().pseudo(af, &s, &d, protocol, l4.len() as u32) };
        let sum = start.bytes(&out[off..]);
        let c = if protocol == proto::UDP { sum.finish_udp() } else { sum.finish() };
        out[off + o..off + o + 2].copy_from_slice(&c.to_be_bytes());
    }
    out
}

fn tcp(sport: u16, dport: u16, options: &[u8], data: &[u8]) -> Vec<u8> {
    let mut h = vec![0; 20];
    h[..2].copy_from_slice(&sport.to_be_bytes());
    h[2..4].copy_from_slice(&dport.to_be_bytes());
    h[4..12].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    h[12] = ((20 + options.len()) / 4 * 16) as u8;
    h[13] = 0x10;
    h.extend(options);
    h.extend(data);
    h
}

fn udp(sport: u16, dport: u16, data: &[u8]) -> Vec<u8> {
    let mut h = sport.to_be_bytes().to_vec();
    h.extend(dport.to_be_bytes());
    h.extend(((8 + data.len()) as u16).to_be_bytes());
    h.extend([0, 0]);
    h.extend(data);
    h
}

fn icmp(kind: u8, code: u8, rest: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut h = vec![kind, code, 0, 0];
    h.extend(rest);
    h.extend(data);
    h
}

const META: PktMeta = PktMeta {
    l4: Checksum::Complete,
    ip: Checksum::Complete,
    segments: crate::packet::Segments::One,
    length_outside: false,
};

fn seen(bytes: &[u8], dir: Direction) -> PacketDesc {
    let af = if bytes[0] >> 4 == 4 { Af::Inet } else { Af::Inet6 };
    let mut b = bytes.to_vec();
    describe(&Packet::whole(&mut b), &META, af, dir, 1).unwrap()
}

/// Whether all sums of a packet are right, and its lengths.
fn sound(bytes: &[u8]) {
    let pd = seen(bytes, Direction::In);
    let mut b = bytes.to_vec();
    let p = Packet::whole(&mut b);
    let (off, tot) = (pd.off as usize, pd.tot_len as usize);
    assert_eq!(tot, bytes.len());
    if pd.af == Af::Inet {
        assert!(matches!(of(&bytes[..20]), 0 | 0xffff), "header sum");
    }
    if rewrite::sum_offset(pd.proto).is_some() {
        assert!(verify_l4(&p, pd.af, &pd.src, &pd.dst, pd.proto, off, tot - off), "transport sum of {bytes:02x?}");
    }
}

fn pools<'a>(list: &'a [Pool], states: &'a mut Vec<PoolState>) -> Pools<'a> {
    *states = list.iter().map(|p| PoolState::new(p, [0; 4])).collect();
    Pools { pools: list, states }
}

/// A small generator of numbers.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as u32
    }

    fn addr(&mut self, af: Af) -> Addr {
        let mut b = [0; 16];
        b.iter_mut().for_each(|x| *x = self.next() as u8);
        addr::only(af, &Addr(b))
    }

    fn text(&mut self, af: Af) -> String {
        let a = self.addr(af);
        match af {
            Af::Inet => std::net::Ipv4Addr::new(a.0[0], a.0[1], a.0[2], a.0[3]).to_string(),
            Af::Inet6 => std::net::Ipv6Addr::from(a.0).to_string(),
        }
    }

    fn packet(&mut self) -> Vec<u8> {
        let af = if self.next() & 1 == 0 { Af::Inet } else { Af::Inet6 };
        let data: Vec<u8> = (0..self.next() % 40).map(|_| self.next() as u8).collect();
        let (s, d) = (self.next() as u16, (self.next() as u16).max(1));
        let (protocol, l4) = match (self.next() % 4, af) {
            (0, _) => (proto::TCP, tcp(s, d, &[], &data)),
            (1, _) => (proto::UDP, udp(s, d, &data)),
            (2, Af::Inet) => (proto::ICMP, icmp(8, 0, [1, 2, 3, 4], &data)),
            (2, Af::Inet6) => (proto::ICMPV6, icmp(128, 0, [1, 2, 3, 4], &data)),
            _ => (proto::GRE, data),
        };
        packet(&self.text(af), &self.text(af), protocol, &l4)
    }
}

fn there(b: &mut [u8], meta: &PktMeta, to: &Target) -> PacketDesc {
    let mut pd = seen(b, Direction::Out);
    let mut p = Packet::whole(b);
    let key = IcmpKey { kind: if pd.proto == proto::ICMP { 8 } else { 128 }, query: true };
    rewrite::first(&mut p, meta, &mut pd, to, Some(key)).unwrap();
    pd
}

fn target(pd: &PacketDesc) -> Target {
    let id = pd.icmp().map(|i| i.id);
    Target { src: pd.src, dst: pd.dst, sport: id.unwrap_or(pd.sport), dport: pd.dport }
}

/// A buffer with headroom for a longer header.
fn roomy(b: &[u8]) -> Vec<u8> {
    [&[0xee; 48][..], b].concat()
}

/// Translates a packet to the other family as `af-to` does.
fn cross(b: &[u8], src: &Addr, dst: &Addr, sport: u16, dport: u16) -> Vec<u8> {
    let mut pd = seen(b, Direction::In);
    pd.naf = if pd.af == Af::Inet { Af::Inet6 } else { Af::Inet };
    (pd.nsaddr, pd.ndaddr) = (*src, *dst);
    let mut buf = roomy(b);
    let mut p = Packet::new(&mut buf, 48, &[]).unwrap();
    let key = IcmpKey { kind: if pd.proto == proto::ICMP { 8 } else { 128 }, query: true };
    let to = Target { src: *src, dst: *dst, sport, dport };
    rewrite::first(&mut p, &META, &mut pd, &to, Some(key)).unwrap();
    af::translate(&mut p, &META, &mut pd, 0x4321).unwrap();
    let out = p.window().to_vec();
    let fresh = seen(&out, Direction::In);
    assert_eq!(
        (pd.af, pd.src, pd.dst, pd.off, pd.tot_len, pd.proto),
        (fresh.af, fresh.src, fresh.dst, fresh.off, fresh.tot_len, fresh.proto)
    );
    assert_eq!((pd.frag.dont, pd.ttl), (fresh.frag.dont, fresh.ttl));
    out
}

/// An ICMP error about `inner`, sent by `router` to `inner`'s source.
fn error(router: &str, to: &str, inner: &[u8], kind: u8, code: u8, rest: [u8; 4]) -> Vec<u8> {
    let protocol = if inner[0] >> 4 == 4 { proto::ICMP } else { proto::ICMPV6 };
    packet(router, to, protocol, &icmp(kind, code, rest, inner))
}

fn rule(nat: Option<u32>, rdr: Option<u32>, dst_prefix: u8) -> Translation {
    Translation { rule: RuleId(1), nat: nat.map(PoolId), rdr: rdr.map(PoolId), dst_prefix }
}

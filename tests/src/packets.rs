//! Packets out of arbitrary bytes: well-formed ones of every kind the engine tells apart, and damaged ones.
//!
//! One generator for property tests and fuzzing: the same bytes make the same packet.

use arbitrary::{Result, Unstructured};
use pfvm::packet::{addr4, proto};
use pfvm::rule::{Addr, Af};
use pfvm::wire::{FragmentHeader, Icmp, Ipv4, Ipv4Repr, Ipv6, Ipv6Repr, TcpRepr, UdpRepr, checksum, icmp, ipv4, ipv6};

/// A packet and the family its frame announced.
#[derive(Clone, Debug)]
pub struct Made {
    /// Family.
    pub af: Af,
    /// From the IP header on.
    pub bytes: Vec<u8>,
}

/// Makes a packet; about a third are damaged afterwards.
///
/// # Errors
/// Never for lack of bytes: they read as zeros.
pub fn packet(u: &mut Unstructured<'_>) -> Result<Made> {
    let mut made = whole(u)?;
    if u.ratio(1, 3)? {
        damage(u, &mut made.bytes)?;
    }
    Ok(made)
}

/// Makes a well-formed packet.
///
/// # Errors
/// As [`packet`].
pub fn whole(u: &mut Unstructured<'_>) -> Result<Made> {
    if u.arbitrary()? { v4(u) } else { v6(u) }
}

/// One of a few hosts, so that packets meet.
fn host4(u: &mut Unstructured<'_>) -> Result<[u8; 4]> {
    Ok(*u.choose(&[[10, 0, 0, 1], [10, 0, 0, 2], [192, 0, 2, 1], [198, 51, 100, 7], [224, 0, 0, 1]])?)
}

fn host6(u: &mut Unstructured<'_>) -> Result<[u8; 16]> {
    let mut a = [0; 16];
    let net: [u8; 4] = *u.choose(&[[0x20, 1, 0x0d, 0xb8], [0xfe, 0x80, 0, 0], [0xff, 2, 0, 0]])?;
    a[..4].copy_from_slice(&net);
    a[15] = u.int_in_range(1..=3)?;
    Ok(a)
}

fn v4(u: &mut Unstructured<'_>) -> Result<Made> {
    let (src, dst) = (host4(u)?, host4(u)?);
    let (kind, body) = chain4(u, &addr4(src), &addr4(dst))?;
    let options = options4(u)?;
    let flags = match u.int_in_range(0..=7)? {
        0 => ipv4::MF,
        1 => u.int_in_range(1..=ipv4::OFFSET_MASK)? | if u.arbitrary()? { ipv4::MF } else { 0 },
        2 | 3 => ipv4::DF,
        _ => 0,
    };
    let repr = Ipv4Repr {
        src,
        dst,
        proto: kind,
        ttl: *u.choose(&[64, 1, 255, 0])?,
        tos: u.arbitrary()?,
        id: u.arbitrary()?,
        flags_offset: flags,
        payload_len: u16::try_from(options.len() + body.len()).unwrap_or(0),
    };
    let mut bytes = [&[0; 20][..], &options, &body].concat();
    let mut h = Ipv4::new_unchecked(&mut bytes);
    repr.emit(&mut h);
    h.set_version_ihl(0x45 + u8::try_from(options.len() / 4).unwrap_or(0));
    h.fill_checksum();
    Ok(Made { af: Af::Inet, bytes })
}

fn options4(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut out = match u.int_in_range(0..=15)? {
        0 => vec![ipv4::OPT_ROUTER_ALERT, 4, 0, 0],
        1 => vec![1; u.int_in_range(1..=8)?],
        2 => vec![7, 7, 4, 0, 0, 0, 0],
        3 => u.bytes(u.len().min(12))?.to_vec(),
        _ => Vec::new(),
    };
    out.resize(out.len().next_multiple_of(4), 0);
    Ok(out)
}

/// Authentication headers and a transport.
fn chain4(u: &mut Unstructured<'_>, src: &Addr, dst: &Addr) -> Result<(u8, Vec<u8>)> {
    let (mut kind, mut body) = transport(u, Af::Inet, src, dst)?;
    if u.ratio(1, 8)? {
        for _ in 0..u.int_in_range(1..=21)? {
            body = [&[kind, 4, 0, 0][..], &[0; 20], &body].concat();
            kind = proto::AH;
        }
    }
    Ok((kind, body))
}

fn v6(u: &mut Unstructured<'_>) -> Result<Made> {
    let (src, dst) = (host6(u)?, host6(u)?);
    let (mut kind, mut body) = transport(u, Af::Inet6, &Addr(src), &Addr(dst))?;
    for _ in 0..u.int_in_range(0..=3)? {
        (kind, body) = extension(u, kind, body)?;
    }
    if u.ratio(1, 32)? {
        for _ in 0..u.int_in_range(16..=22)? {
            body = [&[kind, 0, 1, 4, 0, 0, 0, 0][..], &body].concat();
            kind = proto::DSTOPTS;
        }
    }
    let repr = Ipv6Repr {
        src,
        dst,
        next_header: kind,
        hop_limit: *u.choose(&[255, 64, 1])?,
        traffic_class: u.arbitrary()?,
        flow: u.arbitrary()?,
        payload_len: u16::try_from(body.len()).unwrap_or(0),
    };
    let mut bytes = [&[0; 40][..], &body].concat();
    repr.emit(&mut Ipv6::new_unchecked(&mut bytes));
    Ok(Made { af: Af::Inet6, bytes })
}

/// Puts an extension header in front.
fn extension(u: &mut Unstructured<'_>, kind: u8, body: Vec<u8>) -> Result<(u8, Vec<u8>)> {
    let (mine, header) = match u.int_in_range(0..=15)? {
        0 | 1 => (proto::HOPOPTS, options6(u, kind)?),
        2 | 3 => (proto::DSTOPTS, options6(u, kind)?),
        4 => (proto::ROUTING, vec![kind, 0, *u.choose(&[0, 2, 4])?, 0, 0, 0, 0, 0]),
        5 => (proto::AH, [&[kind, 4][..], &[0; 22]].concat()),
        6..=8 => {
            let mut f = FragmentHeader::new_unchecked(vec![0; 8]);
            f.set_next_header(kind);
            f.set_offset_flags(*u.choose(&[0, 1, 8, 9, 1480, 0xfff8])?);
            f.set_id(u.arbitrary()?);
            (proto::FRAGMENT, f.into_inner())
        }
        _ => return Ok((kind, body)),
    };
    Ok((mine, [header, body].concat()))
}

fn options6(u: &mut Unstructured<'_>, next: u8) -> Result<Vec<u8>> {
    let option: &[u8] = match u.int_in_range(0..=5)? {
        0 => &[ipv6::option::ROUTER_ALERT, 2, 0, 0, 1, 0],
        1 => &[ipv6::option::PADN, 4, 0, 0, 0, 0],
        2 => &[ipv6::option::JUMBO, 4, 0, 1, 0, 0],
        3 => &[0, 0, 0, 0, 0, 0],
        4 => &[0x1e, 9, 0, 0, 0, 0],
        _ => &[0x1e, 4, 0, 0, 0, 0],
    };
    Ok([&[next, 0], option].concat())
}

/// A transport header with its payload and a right checksum, or an unknown protocol.
fn transport(u: &mut Unstructured<'_>, af: Af, src: &Addr, dst: &Addr) -> Result<(u8, Vec<u8>)> {
    let payload = vec![0x61; usize::from(u.int_in_range::<u8>(0..=40)?)];
    Ok(match u.int_in_range(0..=9)? {
        0..=3 => (proto::TCP, tcp(u, af, src, dst, &payload)?),
        4 | 5 => {
            let mut d = [&[0; 8][..], &payload].concat();
            UdpRepr { src_port: port(u)?, dst_port: port(u)? }.emit(&mut d, af, src, dst);
            (proto::UDP, d)
        }
        6 | 7 => message(u, af, src, dst, &payload)?,
        8 => (
            if af == Af::Inet { proto::ICMPV6 } else { proto::ICMP },
            [&[8, 0, 0, 0, 0, 1, 0, 1][..], &payload].concat(),
        ),
        _ => (*u.choose(&[proto::IGMP, proto::GRE, proto::ESP, proto::IPV4, 132, 59])?, payload),
    })
}

fn port(u: &mut Unstructured<'_>) -> Result<u16> {
    Ok(*u.choose(&[22, 53, 80, 443, 1024, 40000, 65535, 0])?)
}

/// A TCP segment with some of the options the engine looks at.
fn tcp(u: &mut Unstructured<'_>, af: Af, src: &Addr, dst: &Addr, payload: &[u8]) -> Result<Vec<u8>> {
    let repr = TcpRepr {
        src_port: port(u)?,
        dst_port: port(u)?,
        seq: u.arbitrary()?,
        ack: u.arbitrary()?,
        flags: *u.choose(&[0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0x03, 0x00, 0x3f])?,
        window: u.arbitrary()?,
        mss: *u.choose(&[0, 1460, 536])?,
        window_scale: u.arbitrary::<bool>()?.then_some(7),
        sack_permitted: u.arbitrary()?,
    };
    let mut segment = vec![0; repr.len()];
    repr.emit(&mut segment);
    segment.extend_from_slice(payload);
    TcpRepr::fill_checksum(&mut segment, af, src, dst);
    Ok(segment)
}

/// An ICMP or ICMPv6 message; errors quote the payload.
fn message(u: &mut Unstructured<'_>, af: Af, src: &Addr, dst: &Addr, payload: &[u8]) -> Result<(u8, Vec<u8>)> {
    let mut m = [&[0; 24][..], payload].concat();
    let mut h = Icmp::new_unchecked(&mut m);
    let v4 = [icmp::v4::ECHO, icmp::v4::ECHO_REPLY, icmp::v4::UNREACHABLE, icmp::v4::TIMESTAMP];
    let v6 = [
        icmp::v6::ECHO,
        icmp::v6::ECHO_REPLY,
        icmp::v6::PACKET_TOO_BIG,
        icmp::v6::NEIGHBOR_SOLICIT,
        icmp::v6::ROUTER_ADVERT,
        icmp::v6::MLD_QUERY,
        icmp::v6::MLD2_REPORT,
    ];
    h.set_kind(if af == Af::Inet { *u.choose(&v4)? } else { *u.choose(&v6)? });
    h.set_code(u.int_in_range(0..=4)?);
    h.set_word(u.arbitrary()?);
    let start = checksum::Sum::new();
    let (kind, start) = match af {
        Af::Inet => (proto::ICMP, start),
        Af::Inet6 => {
            let len = u32::try_from(m.len()).unwrap_or(0);
            (proto::ICMPV6, start.pseudo(af, src, dst, proto::ICMPV6, len))
        }
    };
    let sum = start.bytes(&m).finish();
    Icmp::new_unchecked(&mut m).set_checksum(sum);
    Ok((kind, m))
}

/// Cuts, grows or overwrites.
fn damage(u: &mut Unstructured<'_>, bytes: &mut Vec<u8>) -> Result<()> {
    for _ in 0..u.int_in_range(1..=3)? {
        let at = u.choose_index(bytes.len().max(1))?;
        match u.int_in_range(0..=4)? {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_slice(&[0; 6]),
            _ => {
                let value = u.arbitrary()?;
                if let Some(b) = bytes.get_mut(at) {
                    *b = value;
                }
            }
        }
    }
    Ok(())
}

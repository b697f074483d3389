//! Configurations and packets out of arbitrary bytes, for everything that decides.
//!
//! One generator a type for property tests and fuzzing: the same bytes make the same value. Rules and packets draw from
//! the same few addresses, ports, names, so that they meet; packets like the edges of what rules ask.

use arbitrary::{Result, Unstructured};
use pfc::ruleset::{
    Action, AddrSpec, Af, AnchorCall, Config, Direction, DynMods, Endpoint, Keep, LogFlags, Named, Op, Os, Pool, Rule,
    RuleFlags, Ruleset, Table, TableEntry, TcpFlags,
};
use pfvm::packet::{BadOpts, FragInfo, IcmpInfo, L4, PacketDesc, TcpInfo, proto};
use pfvm::rule::Addr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Interfaces packets may be on, with their groups.
pub const IFACES: &[(&str, &[&str])] =
    &[("em0", &["all", "egress"]), ("em1", &["all", "wan", "egress"]), ("lo0", &["all", "lo"])];
/// Names rules may say after `on`.
const ON: &[&str] = &["em0", "em1", "lo0", "egress", "lo", "any", "gone0"];
/// Tables rules may name.
const TABLES: &[&str] = &["t0", "t1", "t2"];
/// Tags.
pub const TAGS: &[&str] = &["red", "green", "blue"];
/// Names of anchors.
const ANCHORS: &[&str] = &["a", "b", "c"];

/// What kind of rules a configuration is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taste {
    /// Everything pf has.
    All,
    /// Rules of five fields, many of them: what a classifier likes.
    Boxes,
}

/// Makes a configuration.
///
/// # Errors
/// Never for lack of bytes: they read as zeros.
pub fn config(u: &mut Unstructured<'_>) -> Result<Config> {
    let taste = if u.ratio(1, 3)? { Taste::Boxes } else { Taste::All };
    let most = if taste == Taste::Boxes { 80 } else { 30 };
    let main = ruleset(u, "", most, 0, taste)?;
    Ok(Config { main, ..Config::default() })
}

fn ruleset(u: &mut Unstructured<'_>, path: &str, most: usize, depth: usize, taste: Taste) -> Result<Ruleset> {
    let mut rs = Ruleset { path: path.to_owned(), ..Ruleset::default() };
    for name in TABLES {
        if u.ratio(if path.is_empty() { 3 } else { 1 }, 4)? {
            rs.tables.push(table(u, name)?);
        }
    }
    let mut unused: Vec<&str> = ANCHORS.to_vec();
    let quicks = u.int_in_range(0..=3)?;
    for nr in 0..u.int_in_range(0..=most)? {
        let anchors = taste == Taste::All && u.ratio(1, 10)?;
        let mut rule = if taste == Taste::Boxes && u.ratio(29, 30)? { boxed(u)? } else { anything(u)? };
        if quicks > 0 && u.ratio(quicks, 3)? {
            rule.flags = rule.flags.with(RuleFlags::QUICK);
        }
        if anchors {
            call(u, &mut rule, path, depth, &mut unused)?;
        }
        rule.nr = u32::try_from(nr).unwrap_or(0);
        rs.rules.push(rule);
    }
    Ok(rs)
}

/// Turns a rule into an anchor call.
fn call(u: &mut Unstructured<'_>, rule: &mut Rule, path: &str, depth: usize, unused: &mut Vec<&str>) -> Result<()> {
    rule.action = Action::Pass;
    rule.keep = Keep::No;
    rule.flags = RuleFlags(rule.flags.0 & RuleFlags::QUICK.0);
    (rule.nat, rule.rdr) = (None, None);
    rule.log = LogFlags::default();
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
    rule.anchor = Some(if depth < 2 && !unused.is_empty() && u.ratio(2, 3)? {
        let name = unused.swap_remove(u.choose_index(unused.len())?);
        let inline = ruleset(u, &below(name), 8, depth + 1, Taste::All)?;
        AnchorCall { name: name.to_owned(), path: below(name), wildcard: false, inline: Some(Box::new(inline)) }
    } else {
        // Only the main ruleset calls by name, so that no call comes back to itself.
        let path = if depth == 0 { *u.choose(&["a", "b", "c", "a/b", "a/c", "nowhere"])? } else { "nowhere" };
        AnchorCall { name: path.to_owned(), path: path.to_owned(), wildcard: u.arbitrary()?, inline: None }
    });
    Ok(())
}

fn table(u: &mut Unstructured<'_>, name: &str) -> Result<Table> {
    let mut entries: Vec<TableEntry> = Vec::new();
    for _ in 0..u.int_in_range(0..=6)? {
        let addr = if u.ratio(2, 3)? { v4(u)? } else { v6(u)? };
        // A table of everything prints as a word that tables do not read.
        let prefix = prefix(u, addr)?.max(1);
        let addr = masked(addr, prefix);
        // pf refuses the same network twice.
        if !entries.iter().any(|e| e.addr == addr && e.prefix == prefix) {
            entries.push(TableEntry { addr, prefix, not: u.ratio(1, 4)?, weight: 0, from_file: false });
        }
    }
    Ok(Table {
        name: name.to_owned(),
        persist: false,
        constant: false,
        counters: false,
        init: true,
        entries,
        files: Vec::new(),
        automatic: false,
        place: pfc::ruleset::Place::default(),
    })
}

/// A rule that asks nothing and passes without state.
#[must_use]
pub fn plain() -> Rule {
    Rule::plain()
}

fn action(u: &mut Unstructured<'_>, matches: u32) -> Result<Action> {
    Ok(if u.ratio(matches, 12)? { Action::Match } else { *u.choose(&[Action::Pass, Action::Block])? })
}

/// A rule of families, protocols, addresses and ports.
fn boxed(u: &mut Unstructured<'_>) -> Result<Rule> {
    let mut r = Rule { action: action(u, 1)?, ..plain() };
    if u.ratio(1, 4)? {
        r.direction = Some(direction(u)?);
    }
    ends(u, &mut r, false)?;
    protocol(u, &mut r)?;
    if u.ratio(1, 10)? {
        r.tag = Some((*u.choose(TAGS)?).to_owned());
    }
    Ok(r)
}

/// A rule of anything.
fn anything(u: &mut Unstructured<'_>) -> Result<Rule> {
    let mut r = Rule { action: action(u, 3)?, ..plain() };
    if u.ratio(1, 3)? {
        r.direction = Some(direction(u)?);
    }
    if u.ratio(1, 3)? {
        r.iface = Some(named(u, ON, 3)?);
    } else if u.ratio(1, 12)? {
        r.rdomain = Some((u.arbitrary()?, u.int_in_range(0..=1)?));
    }
    ends(u, &mut r, true)?;
    protocol(u, &mut r)?;
    surroundings(u, &mut r)?;
    effects(u, &mut r)?;
    Ok(r)
}

fn direction(u: &mut Unstructured<'_>) -> Result<Direction> {
    Ok(if u.arbitrary()? { Direction::In } else { Direction::Out })
}

fn named(u: &mut Unstructured<'_>, names: &[&str], positive: u32) -> Result<Named> {
    Ok(Named { not: !u.ratio(positive, 4)?, name: (*u.choose(names)?).to_owned() })
}

/// Family and both addresses; `rich` allows tables and the rest.
fn ends(u: &mut Unstructured<'_>, r: &mut Rule, rich: bool) -> Result<()> {
    let af = *u.choose(&[None, Some(Af::Inet), Some(Af::Inet), Some(Af::Inet6)])?;
    r.af = af;
    r.src = end(u, af, rich, true)?;
    r.dst = end(u, af, rich, false)?;
    Ok(())
}

fn end(u: &mut Unstructured<'_>, af: Option<Af>, rich: bool, source: bool) -> Result<Endpoint> {
    let mut end = Endpoint::default();
    match u.int_in_range(0..=9)? {
        0..=3 => {}
        4..=6 => {
            if let Some(af) = af {
                let addr = host(u, af)?;
                let prefix = prefix(u, addr)?;
                end.addr = AddrSpec::Net { addr: masked(addr, prefix), prefix };
                end.not = u.ratio(1, 5)?;
            }
        }
        7 => {
            if let Some(af) = af {
                let (a, b) = (host(u, af)?, host(u, af)?);
                end.addr = AddrSpec::Range { lo: a.min(b), hi: a.max(b) };
                end.not = u.ratio(1, 5)?;
            }
        }
        8 if rich => {
            end.addr = AddrSpec::Table((*u.choose(TABLES)?).to_owned());
            end.not = u.ratio(1, 4)?;
        }
        9 if rich => {
            end.addr = match u.int_in_range(0..=3)? {
                0 => AddrSpec::NoRoute,
                1 if source => AddrSpec::UrpfFailed,
                2 => AddrSpec::RouteLabel("there".to_owned()),
                _ => {
                    let mods = DynMods { network: u.arbitrary()?, ..DynMods::default() };
                    AddrSpec::Dynamic { name: (*u.choose(&["em0", "egress"])?).to_owned(), mods, prefix: None }
                }
            };
            end.not = u.ratio(1, 4)?;
        }
        _ => {}
    }
    Ok(end)
}

/// Addresses both sides draw from.
fn v4(u: &mut Unstructured<'_>) -> Result<IpAddr> {
    let base: u32 = *u.choose(&[0x0a00_0000, 0x0a00_0000, 0x0a00_0100, 0xc000_0200, 0, 0xffff_fff0])?;
    Ok(IpAddr::V4(Ipv4Addr::from_bits(base + u.int_in_range(0..=15)?)))
}

fn v6(u: &mut Unstructured<'_>) -> Result<IpAddr> {
    let base: u128 =
        *u.choose(&[0x2001_0db8 << 96, 0x2001_0db8 << 96, (0x2001_0db8 << 96) | 1 << 64, u128::MAX - 15, 0])?;
    Ok(IpAddr::V6(Ipv6Addr::from_bits(base + u.int_in_range(0..=15)?)))
}

fn host(u: &mut Unstructured<'_>, af: Af) -> Result<IpAddr> {
    match af {
        Af::Inet => v4(u),
        Af::Inet6 => v6(u),
    }
}

fn prefix(u: &mut Unstructured<'_>, addr: IpAddr) -> Result<u8> {
    Ok(match addr {
        IpAddr::V4(_) => *u.choose(&[32, 32, 32, 31, 30, 28, 24, 8, 1, 0])?,
        IpAddr::V6(_) => *u.choose(&[128, 128, 127, 124, 64, 32, 1, 0])?,
    })
}

fn masked(addr: IpAddr, prefix: u8) -> IpAddr {
    match addr {
        IpAddr::V4(a) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() & mask))
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() & mask))
        }
    }
}

fn port(u: &mut Unstructured<'_>) -> Result<u16> {
    Ok(*u.choose(&[0, 1, 22, 53, 80, 81, 443, 1023, 1024, 8000, 65534, 65535])?)
}

fn operator(u: &mut Unstructured<'_>) -> Result<Op<u16>> {
    let (a, b) = (port(u)?, port(u)?);
    let (lo, hi) = (a.min(b), a.max(b));
    Ok(match u.int_in_range(0..=11)? {
        0 => Op::Ne(a),
        1 => Op::Lt(a),
        2 => Op::Le(a),
        3 => Op::Gt(a),
        4 => Op::Ge(a),
        5 | 6 => Op::Range(lo, hi),
        7 => Op::Inside(lo, hi),
        8 => Op::Outside(lo, hi),
        _ => Op::Eq(a),
    })
}

/// Protocol and what only it has.
fn protocol(u: &mut Unstructured<'_>, r: &mut Rule) -> Result<()> {
    match u.int_in_range(0..=6)? {
        0 | 1 => {
            r.proto = Some(proto::TCP);
            tcp_flags(u, r)?;
        }
        2 => r.proto = Some(proto::UDP),
        3 => {
            let af = r.af.get_or_insert(Af::Inet);
            r.proto = Some(if *af == Af::Inet { proto::ICMP } else { proto::ICMPV6 });
            if u.arbitrary()? {
                r.icmp_type = Some(*u.choose(&[0, 8, 3, 128, 129, 136])?);
                r.icmp_code = u.ratio(1, 3)?.then_some(0);
            }
        }
        4 => r.proto = Some(*u.choose(&[proto::GRE, proto::ESP])?),
        _ => {
            if u.ratio(1, 3)? {
                tcp_flags(u, r)?;
            }
        }
    }
    if matches!(r.proto, Some(proto::TCP | proto::UDP)) {
        if u.ratio(1, 3)? {
            r.src.port = Some(operator(u)?);
        }
        if u.ratio(2, 3)? {
            r.dst.port = Some(operator(u)?);
        }
        if u.ratio(1, 12)? {
            r.uid = Some(id_operator(u)?);
        }
        if u.ratio(1, 16)? {
            r.gid = Some(id_operator(u)?);
        }
    }
    if r.proto == Some(proto::TCP) && u.ratio(1, 12)? {
        r.os = Some(Os { fingerprint: *u.choose(&[0, 7, u32::MAX])?, name: "Other".to_owned() });
    }
    Ok(())
}

fn tcp_flags(u: &mut Unstructured<'_>, r: &mut Rule) -> Result<()> {
    if u.ratio(1, 2)? {
        let set = *u.choose(&[0x12, 0x02, 0x07, 0xff])?;
        r.tcp_flags = Some(TcpFlags { flags: u.arbitrary::<u8>()? & set & 0x12, set });
    }
    Ok(())
}

fn id_operator(u: &mut Unstructured<'_>) -> Result<Op<u32>> {
    let ids = [0, 1, 1000, 1001, u32::MAX - 1];
    let (a, b) = (*u.choose(&ids)?, *u.choose(&ids)?);
    let (lo, hi) = (a.min(b), a.max(b));
    Ok(match u.int_in_range(0..=8)? {
        0 => Op::Eq(u32::MAX),
        1 => Op::Ne(u32::MAX),
        2 => Op::Lt(a),
        3 => Op::Le(a),
        4 => Op::Gt(a),
        5 => Op::Ge(a),
        6 => Op::Inside(lo, hi),
        7 => Op::Outside(lo, hi),
        _ => Op::Eq(a),
    })
}

/// What a rule asks beside addresses and ports.
fn surroundings(u: &mut Unstructured<'_>, r: &mut Rule) -> Result<()> {
    if u.ratio(1, 12)? && r.proto.is_none() {
        r.fragment = true;
    }
    if u.ratio(1, 12)? {
        r.tos = *u.choose(&[0x10, 0xb8, 3])?;
    }
    if u.ratio(1, 16)? {
        r.prio = Some(u.int_in_range(0..=7)?);
    }
    if u.ratio(1, 10)? {
        r.tagged = Some(named(u, TAGS, 3)?);
    }
    if u.ratio(1, 14)? {
        r.probability = Some(*u.choose(&[1, 1 << 31, u32::MAX])?);
    }
    if u.ratio(1, 14)? {
        r.received_on = Some(named(u, ON, 3)?);
    }
    if u.ratio(1, 20)? {
        r.pkt_rate = Some((10, 1));
    }
    Ok(())
}

/// What a rule does.
fn effects(u: &mut Unstructured<'_>, r: &mut Rule) -> Result<()> {
    if u.ratio(1, 5)? {
        r.tag = Some((*u.choose(TAGS)?).to_owned());
    }
    if r.action != Action::Match && u.ratio(1, 20)? {
        r.flags = r.flags.with(RuleFlags::ONCE);
    }
    if r.action == Action::Pass && u.arbitrary()? {
        r.keep = Keep::Keep;
        if u.ratio(1, 6)? {
            r.flags = r.flags.with(RuleFlags::SLOPPY);
        }
    }
    if u.ratio(1, 4)? {
        r.log = if u.ratio(1, 2)? { LogFlags::LOG.with(LogFlags::MATCHES) } else { LogFlags::LOG };
    }
    if r.action == Action::Match && r.direction.is_some() && r.af != Some(Af::Inet6) && u.ratio(1, 4)? {
        // The address makes the rule one of its family.
        r.af = Some(Af::Inet);
        let pool = Pool {
            addr: AddrSpec::Net { addr: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3)), prefix: 32 },
            ..Pool::default()
        };
        if u.arbitrary()? { r.nat = Some(pool) } else { r.rdr = Some(pool) }
    }
    Ok(())
}

/// What a packet brings along besides its bytes.
#[derive(Clone, Debug)]
pub struct Around {
    /// Place in [`IFACES`].
    pub iface: usize,
    /// Place in [`IFACES`] of the interface it was received on.
    pub received_on: Option<usize>,
    /// Its tag.
    pub tag: Option<&'static str>,
    /// Owner of the socket.
    pub socket: (u32, u32),
    /// Whether there is a route to an address, by its last bit; and through the interface.
    pub routes: (bool, bool),
    /// Seeds draws, rates and the systems it looks like.
    pub luck: u32,
}

/// Makes a description of a packet the walk over its headers could have made, and what is around it.
///
/// # Errors
/// As [`config`].
pub fn packet(u: &mut Unstructured<'_>) -> Result<(PacketDesc, Around)> {
    let af = if u.ratio(2, 3)? { Af::Inet } else { Af::Inet6 };
    let (src, dst) = (octets(host(u, af)?), octets(host(u, af)?));
    let fragment = u.ratio(1, 10)?;
    let icmp = if af == Af::Inet { proto::ICMP } else { proto::ICMPV6 };
    let kind = *u.choose(&[proto::TCP, proto::TCP, proto::UDP, icmp, proto::GRE, proto::ESP])?;
    let (mut sport, mut dport) = (0, 0);
    let mut l4 = L4::Other;
    if !fragment {
        if matches!(kind, proto::TCP | proto::UDP) {
            (sport, dport) = (near(u)?, near(u)?);
        }
        l4 = match kind {
            proto::TCP => L4::Tcp(TcpInfo {
                flags: *u.choose(&[0x02, 0x12, 0x10, 0x18, 0x04, 0x11])?,
                header: 20,
                ..TcpInfo::default()
            }),
            proto::UDP => L4::Udp,
            k if k == icmp => {
                let kind = *u.choose(&[0, 8, 3, 11, 128, 129, 135, 136, 1, 9, 10])?;
                L4::Icmp(IcmpInfo { kind, code: u.int_in_range(0..=1)?, id: 7, seq: 1 })
            }
            _ => L4::Other,
        };
    }
    let around = Around {
        iface: u.choose_index(IFACES.len())?,
        received_on: if u.ratio(1, 3)? { Some(u.choose_index(IFACES.len())?) } else { None },
        tag: if u.ratio(1, 3)? { Some(*u.choose(TAGS)?) } else { None },
        socket: (*u.choose(&[u32::MAX, 0, 1000, 1001])?, *u.choose(&[u32::MAX, 0, 1000])?),
        routes: (u.arbitrary()?, u.arbitrary()?),
        luck: u.arbitrary()?,
    };
    let desc = PacketDesc {
        dir: direction(u)?,
        forwarded: false,
        iface: u16::try_from(around.iface).unwrap_or(0),
        received_on: around.received_on.and_then(|i| u16::try_from(i).ok()),
        af,
        naf: af,
        proto: kind,
        fragment,
        tos: *u.choose(&[0, 0x10, 0xb8])?,
        ttl: 64,
        badopts: BadOpts::NONE,
        src,
        dst,
        nsaddr: src,
        ndaddr: dst,
        sport,
        dport,
        nsport: sport,
        ndport: dport,
        tot_len: 40,
        off: if af == Af::Inet { 20 } else { 40 },
        hdrlen: 0,
        p_len: 0,
        ip_hlen: if af == Af::Inet { 20 } else { 40 },
        extoff: 0,
        fragoff: 0,
        frag: FragInfo::default(),
        l4,
        tag: around
            .tag
            .and_then(|t| TAGS.iter().position(|x| *x == t))
            .and_then(|i| u16::try_from(i + 1).ok())
            .unwrap_or(0),
        prio: u.int_in_range(0..=7)?,
        rdomain: 0,
        uid: Some(around.socket.0).filter(|u| *u != u32::MAX),
        gid: Some(around.socket.1).filter(|g| *g != u32::MAX),
    };
    Ok((desc, around))
}

/// A port at or beside one that rules name.
fn near(u: &mut Unstructured<'_>) -> Result<u16> {
    let p = port(u)?;
    Ok(match u.int_in_range(0..=3)? {
        0 => p.saturating_add(1),
        1 => p.saturating_sub(1),
        _ => p,
    })
}

/// An address in network order.
#[must_use]
pub fn octets(addr: IpAddr) -> Addr {
    let mut all = [0; 16];
    match addr {
        IpAddr::V4(a) => all[..4].copy_from_slice(&a.octets()),
        IpAddr::V6(a) => all = a.octets(),
    }
    Addr(all)
}

/// The address of a description's field.
#[must_use]
pub fn address(addr: Addr, af: Af) -> IpAddr {
    match af {
        Af::Inet => IpAddr::V4(Ipv4Addr::new(addr.0[0], addr.0[1], addr.0[2], addr.0[3])),
        Af::Inet6 => IpAddr::V6(Ipv6Addr::from(addr.0)),
    }
}

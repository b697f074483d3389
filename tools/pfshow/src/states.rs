//! State lines (`pf_print_state.c print_state`): `-s states`, `-v` and `-vv`.

use std::fmt::Write as _;
use std::net::IpAddr;

use pfc::facts::protocol_name;

/// One key of a state: addresses and ports in pf's order (`pf_state_key`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Addresses.
    pub addr: [IpAddr; 2],
    /// Ports; the identifier and type of ICMP.
    pub port: [u16; 2],
}

/// One side of a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Progress (`TCPS_*`, `PF_TCPS_PROXY_*`, `PFUDPS_*`, `PFOTHERS_*`).
    pub state: u8,
    /// Highest sequence number sent, and allowed.
    pub seq: [u32; 2],
    /// What modulation adds.
    pub seqdiff: u32,
    /// Window scale with its flag bits, 0 when none was seen.
    pub wscale: u8,
}

/// All that pfctl shows of a state.
#[derive(Clone, Debug, PartialEq)]
pub struct StateLine<'a> {
    /// Interface it is bound to, `all` when it floats.
    pub iface: &'a str,
    /// Protocol: that of the wire key.
    pub proto: u8,
    /// Whether its first packet went out.
    pub out: bool,
    /// Key on the wire.
    pub wire: Key,
    /// Key on the host's side.
    pub stack: Key,
    /// The side that sent the first packet.
    pub src: Peer,
    /// The other one.
    pub dst: Peer,
    /// `route-to`, `reply-to`, `dup-to`: the next hop.
    pub next_hop: Option<IpAddr>,
    /// Seconds since it was made.
    pub age: u64,
    /// Seconds it has left.
    pub expires: u64,
    /// Packets with its direction and against it.
    pub packets: [u64; 2],
    /// Bytes, likewise.
    pub bytes: [u64; 2],
    /// Number of the anchor rule it was made under.
    pub anchor: Option<u32>,
    /// Number of its rule; none when that is no longer in force.
    pub rule: Option<u32>,
    /// `sloppy`.
    pub sloppy: bool,
    /// `pflow`.
    pub pflow: bool,
    /// It holds a source node, of whatever kind.
    pub source_track: bool,
    /// Its identifier.
    pub id: u64,
    /// The host that made it.
    pub creator: u32,
}

/// How much is shown, and with which names.
#[derive(Clone, Copy, Default)]
pub struct Style<'s> {
    /// 0 one line, 1 with numbers and times (`-v`), 2 with the identifier (`-vv`).
    pub verbose: u8,
    /// The name of a port of a protocol (`-P`).
    pub port: Option<&'s dyn Fn(u8, u16) -> Option<String>>,
    /// The name of an address (`-r`).
    pub host: Option<&'s dyn Fn(IpAddr) -> Option<String>>,
}

/// TCP states by number.
const TCP: [&str; 11] = [
    "CLOSED",
    "LISTEN",
    "SYN_SENT",
    "SYN_RCVD",
    "ESTABLISHED",
    "CLOSE_WAIT",
    "FIN_WAIT_1",
    "CLOSING",
    "LAST_ACK",
    "FIN_WAIT_2",
    "TIME_WAIT",
];
/// States of UDP and of protocols known by their addresses.
const OTHERS: [&str; 3] = ["NO_TRAFFIC", "SINGLE", "MULTIPLE"];
/// A handshake proxied with the client, with the server.
const PROXY: [(u8, &str); 2] = [(11, "PROXY:SRC"), (12, "PROXY:DST")];
/// The shift within a window scale.
const SCALE: u8 = 0x0f;

const ICMP: [u8; 2] = [1, 58];

fn host(style: &Style<'_>, proto: u8, addr: IpAddr, port: u16) -> String {
    let name = style.host.and_then(|f| f(addr)).unwrap_or_else(|| addr.to_string());
    if port == 0 {
        return name;
    }
    let shown = style.port.and_then(|f| f(proto, port)).unwrap_or_else(|| port.to_string());
    if addr.is_ipv4() { format!("{name}:{shown}") } else { format!("{name}[{shown}]") }
}

fn levels(s: &StateLine<'_>, first: &Peer, second: &Peer) -> String {
    let pair = |names: &[&str]| {
        let name = |p: &Peer| names.get(usize::from(p.state)).copied();
        Some(format!("{}:{}", name(first)?, name(second)?))
    };
    let known = match s.proto {
        6 => pair(&TCP).or_else(|| {
            let holds = |state: u8| first.state == state || second.state == state;
            PROXY.iter().find(|(state, _)| holds(*state)).map(|(_, name)| (*name).to_owned())
        }),
        p if ICMP.contains(&p) => None,
        _ => pair(&OTHERS),
    };
    known.unwrap_or_else(|| match s.proto {
        6 => format!("<BAD STATE LEVELS {}:{}>", first.state, second.state),
        _ => format!("{}:{}", first.state, second.state),
    })
}

fn sequence(p: &Peer, scaled: bool) -> String {
    let [lo, hi] = p.seq;
    let diff = if p.seqdiff == 0 { String::new() } else { format!("(+{})", p.seqdiff) };
    let scale = if scaled { format!(" wscale {}", p.wscale & SCALE) } else { String::new() };
    format!("[{lo} + {}]{diff}{scale}", hi.wrapping_sub(lo))
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A state as pfctl prints it: one line, more with [`Style::verbose`], each ended.
#[must_use]
pub fn line(s: &StateLine<'_>, style: &Style<'_>) -> String {
    let (first, second) = if s.out { (&s.src, &s.dst) } else { (&s.dst, &s.src) };
    let (mut near, far) = if s.out { (s.stack, s.wire) } else { (s.wire, s.stack) };
    if ICMP.contains(&s.proto) {
        // An identifier is one, whatever side it stands on.
        let at = usize::from(!s.out);
        near.port[at] = far.port[at];
    }
    let changes = near.addr[0].is_ipv4() != far.addr[0].is_ipv4();
    let end = |at: usize| {
        let mut text = host(style, s.proto, far.addr[at], far.port[at]);
        if far.addr[at] != near.addr[at] || far.port[at] != near.port[at] {
            let from = if changes { 1 - at } else { at };
            let _ = write!(text, " ({})", host(style, s.proto, near.addr[from], near.port[from]));
        }
        text
    };
    let hop = s.next_hop.map_or_else(String::new, |hop| format!(" {{{hop}}}"));
    let (left, right) = (end(1), end(0));
    let ends = match (s.out, changes) {
        (true, _) => format!("{left} -> {right}{hop}"),
        (false, true) => format!("{left} -> {right}{hop}"),
        (false, false) => format!("{left}{hop} <- {right}"),
    };
    let proto = protocol_name(s.proto).map_or_else(|| s.proto.to_string(), str::to_owned);
    let mut out = format!("{} {proto} {ends}       {}\n", s.iface, levels(s, first, second));
    if style.verbose > 0 {
        verbose(&mut out, s, first, second);
    }
    if style.verbose > 1 {
        let _ = writeln!(out, "   id: {:016x} creatorid: {:08x}", s.id, s.creator);
    }
    out
}

fn verbose(out: &mut String, s: &StateLine<'_>, first: &Peer, second: &Peer) {
    if s.proto == 6 {
        let scaled = first.wscale != 0 && second.wscale != 0;
        let _ = writeln!(out, "   {}  {}", sequence(first, scaled), sequence(second, scaled));
    }
    let ([p0, p1], [b0, b1]) = (s.packets, s.bytes);
    let _ = write!(out, "   age {}, expires in {}, {p0}:{p1} pkts, {b0}:{b1} bytes", clock(s.age), clock(s.expires));
    if let Some(nr) = s.anchor {
        let _ = write!(out, ", anchor {nr}");
    }
    if let Some(nr) = s.rule {
        let _ = write!(out, ", rule {nr}");
    }
    for (holds, word) in [(s.sloppy, "sloppy"), (s.pflow, "pflow"), (s.source_track, "source-track")] {
        if holds {
            let _ = write!(out, ", {word}");
        }
    }
    out.push('\n');
}

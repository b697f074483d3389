//! A packet in one line of text, as a person writes it and a report prints it.
//!
//! ```text
//! in on em0 tcp 192.0.2.7:40000 > 198.51.100.1:22 S ttl 64
//! out on em1 icmp 10.0.0.1 > 10.0.0.20 echoreq id 7
//! in on em0 udp [2001:db8::7]:53 > [2001:db8:1::1]:4000 len 120
//! in on em0 udp 192.0.2.7 > 198.51.100.1 frag 1480 len 500
//! ```
//! Holds the parser ([`Line::parse`]), the text of a packet ([`show()`]) and its bytes ([`Line::bytes`]).
//! **Invariant:** the bytes of a line are a well-formed packet with right checksums.

mod build;
mod show;

pub(crate) use build::wire_addr;
pub use show::{Parts, ip, protocol, show, show_ends, show_parts};

use std::net::IpAddr;
use std::ops::Range;

use pfvm::packet::{proto, tcp_flags};
use pfvm::rule::Direction;

/// A packet and where it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Direction.
    pub dir: Direction,
    /// On its way out of a host that forwards it.
    pub forwarded: bool,
    /// Interface.
    pub iface: String,
    /// Protocol number.
    pub proto: u8,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// TCP flags.
    pub flags: u8,
    /// ICMP type and code.
    pub icmp: (u8, u8),
    /// Options after the ends, in the order of [`WORDS`].
    pub words: Words,
}

/// What words after the ends say; `None` where silent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// `ttl n`.
    pub ttl: Option<u8>,
    /// `tos n`.
    pub tos: Option<u8>,
    /// `len n`: bytes of payload.
    pub len: Option<u16>,
    /// `seq n`.
    pub seq: Option<u32>,
    /// `ack n`.
    pub ack: Option<u32>,
    /// `win n`.
    pub win: Option<u16>,
    /// `id n`: of an ICMP query.
    pub id: Option<u16>,
    /// `frag offset`, with `+` behind the number when more follow.
    pub frag: Option<(u16, bool)>,
    /// `prio n`.
    pub prio: Option<u8>,
    /// `user n`: of the local socket.
    pub user: Option<u32>,
    /// `group n`: of the local socket.
    pub group: Option<u32>,
    /// `tag name`: the packet has it already.
    pub tag: Option<String>,
    /// `received-on name`.
    pub received_on: Option<String>,
}

/// What is wrong with a line, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct LineError {
    /// Bytes of the line it is about.
    pub at: Range<usize>,
    /// What was found and what was wanted.
    pub what: String,
}

/// Protocols by name, with ICMP of both families.
pub(crate) const PROTOCOLS: &[(&str, u8)] = &[
    ("tcp", proto::TCP),
    ("udp", proto::UDP),
    ("icmp", proto::ICMP),
    ("icmp6", proto::ICMPV6),
    ("ipv6-icmp", proto::ICMPV6),
    ("igmp", proto::IGMP),
    ("ipencap", proto::IPV4),
    ("ipv6", proto::IPV6),
    ("gre", proto::GRE),
    ("ipv6-frag", proto::FRAGMENT),
    ("esp", proto::ESP),
    ("ah", proto::AH),
    ("ospf", 89),
    ("carp", 112),
    ("sctp", 132),
];

/// Types of ICMP and ICMPv6 by pf's names, with a code.
pub(crate) const ICMP_TYPES: &[(&str, u8, u8)] = &[
    ("echorep", 0, 0),
    ("unreach", 3, 1),
    ("squench", 4, 0),
    ("redir", 5, 1),
    ("echoreq", 8, 0),
    ("routeradv", 9, 0),
    ("routersol", 10, 0),
    ("timex", 11, 0),
    ("paramprob", 12, 0),
    ("timereq", 13, 0),
    ("timerep", 14, 0),
];
/// The same for ICMPv6.
pub(crate) const ICMP6_TYPES: &[(&str, u8, u8)] = &[
    ("unreach", 1, 3),
    ("toobig", 2, 0),
    ("timex", 3, 0),
    ("paramprob", 4, 0),
    ("echoreq", 128, 0),
    ("echorep", 129, 0),
    ("groupqry", 130, 0),
    ("grouprep", 131, 0),
    ("groupterm", 132, 0),
    ("routersol", 133, 0),
    ("routeradv", 134, 0),
    ("neighbrsol", 135, 0),
    ("neighbradv", 136, 0),
    ("redir", 137, 0),
];
/// TCP flags by pf's letters.
pub(crate) const FLAGS: &[(char, u8)] = &[
    ('F', tcp_flags::FIN),
    ('S', tcp_flags::SYN),
    ('R', tcp_flags::RST),
    ('P', tcp_flags::PSH),
    ('A', tcp_flags::ACK),
    ('U', tcp_flags::URG),
    ('E', tcp_flags::ECE),
    ('W', tcp_flags::CWR),
];

/// The form a line has, for messages.
pub const FORM: &str =
    "in|out|fwd on INTERFACE [PROTOCOL] SOURCE[:PORT] > DESTINATION[:PORT] [FLAGS or ICMP type] [words]";

struct Split<'t> {
    words: Vec<(Range<usize>, &'t str)>,
    next: usize,
    end: usize,
}

impl<'t> Split<'t> {
    fn new(text: &'t str) -> Self {
        let mut words = Vec::new();
        let mut start = None;
        for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
            match (c.is_whitespace(), start) {
                (false, None) => start = Some(at),
                (true, Some(from)) => {
                    words.push((from..at, text.get(from..at).unwrap_or_default()));
                    start = None;
                }
                _ => {}
            }
        }
        Self { words, next: 0, end: text.len() }
    }

    fn peek(&self) -> Option<&'t str> {
        self.words.get(self.next).map(|(_, word)| *word)
    }

    fn take(&mut self, wanted: &str) -> Result<(Range<usize>, &'t str), LineError> {
        let word = self.words.get(self.next).cloned();
        self.next += 1;
        word.ok_or_else(|| LineError {
            at: self.end..self.end,
            what: format!("the line ends where {wanted} is wanted"),
        })
    }

    /// The next word if it is `word`.
    fn accept(&mut self, word: &str) -> bool {
        let hit = self.peek() == Some(word);
        self.next += usize::from(hit);
        hit
    }
}

fn wrong(at: &Range<usize>, what: String) -> LineError {
    LineError { at: at.clone(), what }
}

impl Line {
    /// Reads a line.
    ///
    /// # Errors
    /// The first thing that cannot be, with its place.
    pub fn parse(text: &str) -> Result<Self, LineError> {
        let mut words = Split::new(text);
        let (at, word) = words.take("a direction (`in`, `out` or `fwd`)")?;
        let (dir, forwarded) = match word {
            "in" => (Direction::In, false),
            "out" => (Direction::Out, false),
            "fwd" => (Direction::Out, true),
            other => return Err(wrong(&at, format!("found `{other}` where `in`, `out` or `fwd` is wanted"))),
        };
        let (at, word) = words.take("`on`")?;
        if word != "on" {
            return Err(wrong(&at, format!("found `{word}` where `on` and an interface are wanted")));
        }
        let iface = words.take("an interface")?.1.to_owned();
        let (named, src) = protocol_and_source(&mut words)?;
        let (at, word) = words.take("`>`")?;
        if word != ">" {
            return Err(wrong(&at, format!("found `{word}` where `>` is wanted")));
        }
        let (at, word) = words.take("a destination")?;
        let dst = end(&at, word)?;
        if src.0.is_ipv4() != dst.0.is_ipv4() {
            return Err(wrong(&at, format!("{} and {} are of different families", src.0, dst.0)));
        }
        let ports = src.1.is_some() || dst.1.is_some();
        let mut line = Self {
            dir,
            forwarded,
            iface,
            proto: named.as_ref().map_or(if ports { proto::TCP } else { icmp_of(&src.0) }, |(proto, _)| *proto),
            src: src.0,
            dst: dst.0,
            sport: src.1.unwrap_or(0),
            dport: dst.1.unwrap_or(0),
            flags: 0,
            icmp: if src.0.is_ipv4() { (8, 0) } else { (128, 0) },
            words: Words::default(),
        };
        if let Some((proto::ICMP | proto::ICMPV6, at)) = &named
            && line.proto != icmp_of(&line.src)
        {
            return Err(wrong(at, "ICMP of the other family: `icmp` goes with IPv4, `icmp6` with IPv6".into()));
        }
        if ports && !matches!(line.proto, proto::TCP | proto::UDP) {
            return Err(wrong(&at, "ports are given, which only TCP and UDP have".into()));
        }
        line.specifics(&mut words)?;
        while words.peek().is_some() {
            line.word(&mut words)?;
        }
        if line.words.frag.is_some_and(|(offset, _)| offset % 8 != 0) {
            let at = 0..text.len();
            return Err(wrong(&at, "a fragment offset is a multiple of 8".into()));
        }
        Ok(line)
    }

    /// TCP flags or an ICMP type, where the protocol has them.
    fn specifics(&mut self, words: &mut Split<'_>) -> Result<(), LineError> {
        let later = self.words.frag.is_some();
        match self.proto {
            proto::TCP if !later => {
                self.flags = tcp_flags::SYN;
                if let Some(flags) = words.peek().and_then(flags) {
                    self.flags = flags;
                    words.next += 1;
                }
            }
            proto::ICMP | proto::ICMPV6 => {
                let names = if self.proto == proto::ICMP { ICMP_TYPES } else { ICMP6_TYPES };
                if let Some((_, kind, code)) = names.iter().find(|(name, ..)| words.peek() == Some(*name)) {
                    self.icmp = (*kind, *code);
                    words.next += 1;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// One word with its value.
    fn word(&mut self, words: &mut Split<'_>) -> Result<(), LineError> {
        let (at, word) = words.take("a word")?;
        let set = &mut self.words;
        match word {
            "ttl" => set.ttl = Some(number(words, "ttl")?),
            "tos" => set.tos = Some(number(words, "tos")?),
            "len" => set.len = Some(number(words, "len")?),
            "seq" => set.seq = Some(number(words, "seq")?),
            "ack" => set.ack = Some(number(words, "ack")?),
            "win" => set.win = Some(number(words, "win")?),
            "id" => set.id = Some(number(words, "id")?),
            "prio" => set.prio = Some(number(words, "prio")?),
            "user" => set.user = Some(number(words, "user")?),
            "group" => set.group = Some(number(words, "group")?),
            "type" => self.icmp.0 = number(words, "type")?,
            "code" => self.icmp.1 = number(words, "code")?,
            "tag" => set.tag = Some(words.take("a tag")?.1.to_owned()),
            "received-on" => set.received_on = Some(words.take("an interface")?.1.to_owned()),
            "frag" => {
                let (at, value) = words.take("a fragment offset")?;
                let (digits, more) = value.strip_suffix('+').map_or((value, false), |digits| (digits, true));
                let offset = digits.parse().map_err(|_| {
                    wrong(&at, format!("found `{value}` where a fragment offset (`1480`, `0+`) is wanted"))
                })?;
                set.frag = Some((offset, more));
            }
            other => {
                let near = nearest(other, WORDS);
                let hint = near.map_or_else(|| format!("one of {}", WORDS.join(", ")), |word| format!("`{word}`"));
                return Err(wrong(&at, format!("unknown word `{other}`; wanted is {hint}")));
            }
        }
        Ok(())
    }
}

/// Words that may follow the ends.
pub const WORDS: &[&str] = &[
    "ttl",
    "tos",
    "len",
    "seq",
    "ack",
    "win",
    "id",
    "type",
    "code",
    "frag",
    "prio",
    "user",
    "group",
    "tag",
    "received-on",
];

fn icmp_of(addr: &IpAddr) -> u8 {
    if addr.is_ipv4() { proto::ICMP } else { proto::ICMPV6 }
}

type End = (IpAddr, Option<u16>);
type Named = Option<(u8, Range<usize>)>;

fn protocol_and_source(words: &mut Split<'_>) -> Result<(Named, End), LineError> {
    let _ = words.accept("inet") || words.accept("inet6");
    let _ = words.accept("proto");
    let (at, word) = words.take("a protocol or a source")?;
    let number = PROTOCOLS.iter().find(|(name, _)| *name == word).map(|(_, number)| *number).or(word.parse().ok());
    if let Some(number) = number {
        let (from, word) = words.take("a source")?;
        return Ok((Some((number, at)), end(&from, word)?));
    }
    end(&at, word).map(|end| (None, end)).map_err(|error| {
        let looks_like_name = word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if looks_like_name { wrong(&at, format!("unknown protocol `{word}`")) } else { error }
    })
}

/// `addr`, `addr:port`, `[addr]:port`.
fn end(at: &Range<usize>, word: &str) -> Result<End, LineError> {
    let bad = |what: &str| wrong(at, format!("found `{word}` where {what} is wanted"));
    if let Ok(addr) = word.parse::<IpAddr>() {
        return Ok((addr, None));
    }
    let (addr, port) = word.rsplit_once(':').ok_or_else(|| bad("an address, with a port behind a colon or not"))?;
    let bare = addr.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(addr);
    let addr = bare.parse::<IpAddr>().map_err(|_| bad("an address, with a port behind a colon or not"))?;
    if addr.is_ipv6() && bare.len() == word.len().saturating_sub(port.len() + 1) {
        return Err(bad("an IPv6 address with a port as `[addr]:port`"));
    }
    let port = port.parse().map_err(|_| bad("a port from 0 to 65535"))?;
    Ok((addr, Some(port)))
}

fn number<T: std::str::FromStr>(words: &mut Split<'_>, of: &str) -> Result<T, LineError> {
    let (at, word) = words.take(&format!("a number for `{of}`"))?;
    word.parse().map_err(|_| wrong(&at, format!("found `{word}` where a number in range is wanted for `{of}`")))
}

/// TCP flags as letters; `.` is no flag and also stands for ACK as tcpdump writes it.
fn flags(word: &str) -> Option<u8> {
    if word == "none" {
        return Some(0);
    }
    word.chars().try_fold(0, |all, letter| match letter {
        '.' => Some(all | tcp_flags::ACK),
        _ => FLAGS.iter().find(|(c, _)| *c == letter).map(|(_, bit)| all | bit),
    })
}

/// The known word that differs least from `word`, if it is close.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known.iter().map(|k| (distance(word, k), *k)).filter(|(d, _)| *d <= 2).min().map(|(_, k)| k)
}

/// Edits that make one word of another.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, y) in b.iter().enumerate() {
            let (left, above) = (row.get(j).copied().unwrap_or(0), row.get(j + 1).copied().unwrap_or(0));
            let best = (diagonal + usize::from(x != *y)).min(left + 1).min(above + 1);
            diagonal = above;
            if let Some(cell) = row.get_mut(j + 1) {
                *cell = best;
            }
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;

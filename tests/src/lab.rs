//! An engine on a small host, for tests that send packets by the thousand and look at what is inside.
//!
//! The host is that of the packet scripts: em0 (1) inside, 10.0.0.1/24 and 2001:db8:a::1/64; em1 (2) outside, 192.0.2.1/24
//! and 2001:db8:b::1/64, the default route; em2 (3) 172.16.0.1/24. Its clock is moved by hand.

use std::collections::BTreeSet;
use std::net::IpAddr;

use pfc::compile::{BUDGET, Options, compile};
use pfc::facts::{Address, Facts, IfaceFlags, Interface};
use pfc::source::Sources;
use pfvm::engine::ifaces::Live;
use pfvm::engine::load::LoadError;
use pfvm::engine::{Carried, Engine, LogRecord, Outcome, Seen, Verdict, default_options};
use pfvm::host::{Hop, Host, Random};
use pfvm::image::{Image, TableKind};
use pfvm::packet::{Packet, PktMeta};
use pfvm::rule::{Addr, Af, Direction, Limits};
use pfvm::table::Entry;
use pfvm::verify::Program;

use crate::script::packet::Spec;

/// An interface: number, name, addresses with prefix lengths.
type Iface = (u16, &'static str, [(&'static str, u8); 2]);

const IFACES: [Iface; 3] = [
    (1, "em0", [("10.0.0.1", 24), ("2001:db8:a::1", 64)]),
    (2, "em1", [("192.0.2.1", 24), ("2001:db8:b::1", 64)]),
    (3, "em2", [("172.16.0.1", 24), ("2001:db8:c::1", 64)]),
];

/// Inside.
pub const EM0: u16 = 1;
/// Outside.
pub const EM1: u16 = 2;
/// The other network.
pub const EM2: u16 = 3;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("addresses here are well formed")
}

/// An address in the engine's form.
#[must_use]
pub fn wire(ip: IpAddr) -> (Af, Addr) {
    let mut a = [0; 16];
    match ip {
        IpAddr::V4(v) => {
            a[..4].copy_from_slice(&v.octets());
            (Af::Inet, Addr(a))
        }
        IpAddr::V6(v) => (Af::Inet6, Addr(v.octets())),
    }
}

fn plain(af: Af, a: &Addr) -> IpAddr {
    match af {
        Af::Inet => IpAddr::from([a.0[0], a.0[1], a.0[2], a.0[3]]),
        Af::Inet6 => IpAddr::from(a.0),
    }
}

fn within(a: &IpAddr, net: &IpAddr, prefix: u8) -> bool {
    let bits = |ip: &IpAddr| match ip {
        IpAddr::V4(v) => u128::from(u32::from(*v)) << 96,
        IpAddr::V6(v) => u128::from(*v),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    a.is_ipv4() == net.is_ipv4() && bits(a) & mask == bits(net) & mask
}

/// The host: a clock, chance from a seed, an outbox and a log.
#[derive(Debug)]
pub struct LabHost {
    /// Milliseconds.
    pub ms: u64,
    /// Where chance comes from.
    pub seed: u64,
    /// Packets the filter made.
    pub sent: Vec<Vec<u8>>,
    /// Which of them are not filtered again.
    pub generated: Vec<bool>,
    /// Log records.
    pub logs: Vec<LogRecord>,
    /// Ports sockets of the host are bound to.
    pub used: BTreeSet<(u8, u16)>,
}

impl Random for LabHost {
    fn random_u32(&mut self) -> u32 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        u32::try_from(self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32).unwrap_or(0)
    }
}

impl Host for LabHost {
    fn now_ms(&self) -> u64 {
        self.ms
    }

    fn route(&self, af: Af, addr: &Addr) -> Option<Hop> {
        let to = plain(af, addr);
        let near = IFACES.iter().find(|(_, _, list)| list.iter().any(|(a, p)| within(&to, &ip(a), *p)));
        Some(Hop { iface: near.map_or(EM1, |i| i.0), mtu: 1500 })
    }

    fn answers_for(&self, af: Af, addr: &Addr) -> Option<Addr> {
        own(&plain(af, addr)).then_some(*addr)
    }

    fn own_address(&self, af: Af, iface: u16, _: &Addr) -> Option<Addr> {
        let (_, _, list) = IFACES.iter().find(|i| i.0 == iface)?;
        list.iter().map(|(a, _)| wire(ip(a))).find(|(f, _)| *f == af).map(|(_, a)| a)
    }

    fn port_in_use(&self, proto: u8, port: u16) -> bool {
        self.used.contains(&(proto, port))
    }

    fn send(&mut self, packet: &[u8], _: Af, generated: bool, _: u16) {
        self.sent.push(packet.to_vec());
        self.generated.push(generated);
    }

    fn log(&mut self, record: &LogRecord, _: &Packet<'_>) {
        self.logs.push(*record);
    }
}

fn own(ip_: &IpAddr) -> bool {
    IFACES.iter().any(|(_, _, list)| list.iter().any(|(a, _)| ip(a) == *ip_))
}

/// The host's facts, as the compiler wants them.
#[must_use]
pub fn facts() -> Facts {
    let mut facts = Facts::default();
    for (index, name, list) in IFACES {
        let addresses = list.iter().map(|(a, prefix)| Address {
            addr: ip(a),
            prefix: *prefix,
            broadcast: None,
            peer: None,
            scope: 0,
        });
        facts.interfaces.push(Interface {
            name: name.to_owned(),
            index: index.into(),
            flags: IfaceFlags { broadcast: true, ..IfaceFlags::default() },
            groups: if index == EM1 { vec!["egress".to_owned()] } else { Vec::new() },
            addresses: addresses.collect(),
            ids: Vec::new(),
        });
    }
    facts
}

/// The program of a set of rules.
///
/// # Panics
/// When the rules do not compile.
#[must_use]
pub fn program(rules: &str) -> Program {
    let mut sources = Sources::disk();
    let file = sources.add("lab", rules.as_bytes().to_vec());
    let outcome = compile(&mut sources, file, &facts(), &Options::default());
    let image = outcome.compiled.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics)).image;
    Program::verify(&Image::parse(&image).unwrap(), BUDGET).unwrap()
}

/// What became of a packet.
#[derive(Clone, Debug)]
pub struct Run {
    /// What the engine decided.
    pub outcome: Outcome,
    /// The packet now.
    pub bytes: Vec<u8>,
}

impl Run {
    /// Whether it goes on.
    #[must_use]
    pub fn passed(&self) -> bool {
        matches!(self.outcome.verdict, Verdict::Pass | Verdict::Reroute)
    }
}

/// The engine and its host.
#[derive(Debug)]
pub struct Lab {
    /// The engine.
    pub engine: Engine,
    /// The host.
    pub host: LabHost,
    room: Vec<u8>,
}

impl Lab {
    /// An engine with the rules in force and room for what they say.
    ///
    /// # Panics
    /// When the rules do not compile or load.
    #[must_use]
    pub fn new(rules: &str) -> Self {
        let program = program(rules);
        let limits = program.options().map_or_else(|| default_options().limits, |o| o.limits);
        Self::with(program, &Limits { states: limits.states.min(100_000), ..limits })
    }

    /// Likewise, with room of its own choice.
    ///
    /// # Panics
    /// When the program does not load.
    #[must_use]
    pub fn with(program: Program, limits: &Limits) -> Self {
        let seed = 0x9e37_79b9_7f4a_7c15;
        let mut host = LabHost {
            ms: 1_000_000,
            seed,
            sent: Vec::new(),
            generated: Vec::new(),
            logs: Vec::new(),
            used: BTreeSet::new(),
        };
        let engine = Engine::new(limits, &mut host).expect("there is memory");
        let mut lab = Self { engine, host, room: vec![0; 66_000] };
        lab.put(program).expect("the rules load");
        lab
    }

    fn put(&mut self, program: Program) -> Result<(), LoadError> {
        let live = IFACES.map(|(index, name, _)| Live {
            index,
            name,
            groups: if index == EM1 { &["all", "egress"] } else { &["all"] },
            loopback: false,
        });
        let follow = |name: &str, kind: &TableKind, add: &mut dyn FnMut(Entry)| {
            if !matches!(kind, TableKind::Dynamic { .. }) {
                return;
            }
            for (_, _, list) in IFACES.iter().filter(|i| i.1 == name || name == "self") {
                for (a, _) in list {
                    let (af, addr) = wire(ip(a));
                    add(Entry::host(af, addr));
                }
            }
        };
        self.engine.load(vec![program], None, &live, &follow, &mut self.host)
    }

    /// Puts other rules in force; states live on.
    ///
    /// # Panics
    /// When they do not compile or load.
    pub fn load(&mut self, rules: &str) {
        self.put(program(rules)).expect("the rules load");
    }

    /// Lets seconds pass; the engine is called once a second.
    pub fn wait(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.host.ms += 1000;
            self.engine.tick(&mut self.host);
        }
    }

    /// Shows the engine a packet, with what it carries.
    ///
    /// # Panics
    /// When there is no packet.
    pub fn carry(&mut self, seen: Seen, bytes: &[u8], carried: Carried, meta: &PktMeta) -> Run {
        let mut window = vec![0; Packet::HEADROOM];
        window.extend_from_slice(bytes);
        let mut packet = Packet::new(&mut window, Packet::HEADROOM, &[]).expect("a packet");
        let outcome = self.engine.process(&mut packet, meta, seen, carried, &mut self.room, &mut self.host);
        let mut now = vec![0; packet.len()];
        let _ = packet.read(0, &mut now);
        if let Some(r) = outcome.replaced {
            now = self.room[r.at..r.at + r.len].to_vec();
        }
        Run { outcome, bytes: now }
    }

    /// Shows the engine a packet.
    pub fn see(&mut self, dir: Direction, iface: u16, bytes: &[u8]) -> Run {
        let seen = Seen { af: family(bytes), dir, forwarded: false, iface };
        self.carry(seen, bytes, Carried { prio: 3, ..Carried::default() }, &PktMeta::default())
    }

    /// A packet made of words (see [`crate::script`]) comes in.
    ///
    /// # Panics
    /// When the words make no packet.
    pub fn comes(&mut self, iface: u16, words: &str) -> Run {
        self.see(Direction::In, iface, &packet(words))
    }

    /// A packet made of words goes out.
    ///
    /// # Panics
    /// When the words make no packet.
    pub fn goes(&mut self, iface: u16, words: &str) -> Run {
        self.see(Direction::Out, iface, &packet(words))
    }

    /// A packet that comes in and is for somebody else goes out again: the interface it leaves by and its bytes. Nothing
    /// when it does not, or is for the host itself.
    pub fn forward(&mut self, iface: u16, bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
        let seen = Seen { af: family(bytes), dir: Direction::In, forwarded: false, iface };
        let carried = Carried { prio: 3, received_on: Some(iface), ..Carried::default() };
        let run = self.carry(seen, bytes, carried, &PktMeta::default());
        if !run.passed() {
            return None;
        }
        let af = family(&run.bytes);
        let to = destination(&run.bytes);
        let hop = self.host.route(af, &to)?;
        if own(&plain(af, &to)) {
            return None;
        }
        let seen = Seen { af, dir: Direction::Out, forwarded: true, iface: hop.iface };
        let out = self.carry(seen, &run.bytes, run.outcome.carried, &PktMeta::default());
        out.passed().then(|| {
            let to = destination(&out.bytes);
            let way = self.host.route(family(&out.bytes), &to).map_or(hop.iface, |h| h.iface);
            (way, out.bytes)
        })
    }

    /// What the filter has made since, on the interfaces it leaves by; what is to be filtered on its way out is.
    pub fn flush(&mut self) -> Vec<(u16, Vec<u8>)> {
        let mut out = Vec::new();
        let sent: Vec<_> =
            std::mem::take(&mut self.host.sent).into_iter().zip(std::mem::take(&mut self.host.generated)).collect();
        for (bytes, generated) in sent {
            let af = family(&bytes);
            let Some(hop) = self.host.route(af, &destination(&bytes)) else { continue };
            let seen = Seen { af, dir: Direction::Out, forwarded: false, iface: hop.iface };
            let carried = Carried { generated, prio: 3, ..Carried::default() };
            let run = self.carry(seen, &bytes, carried, &PktMeta::default());
            if run.passed() {
                let way = self.host.route(family(&run.bytes), &destination(&run.bytes)).map_or(hop.iface, |h| h.iface);
                out.push((way, run.bytes));
            }
        }
        out
    }

    /// States there are.
    #[must_use]
    pub fn states(&self) -> usize {
        self.engine.table.len() as usize
    }

    /// How often a reason was counted.
    #[must_use]
    pub fn counted(&self, reason: pfvm::packet::DropReason) -> u64 {
        self.engine.counters.of_reason(reason)
    }
}

/// A packet of words.
///
/// # Panics
/// When the words make none.
#[must_use]
pub fn packet(words: &str) -> Vec<u8> {
    let words: Vec<&str> = words.split_whitespace().collect();
    Spec::parse(&words).unwrap_or_else(|e| panic!("{words:?}: {e}")).bytes()
}

/// Family of a packet by its version.
#[must_use]
pub fn family(bytes: &[u8]) -> Af {
    if bytes.first().is_some_and(|b| b >> 4 == 6) { Af::Inet6 } else { Af::Inet }
}

fn destination(bytes: &[u8]) -> Addr {
    let mut a = [0; 16];
    match family(bytes) {
        Af::Inet => a[..4].copy_from_slice(&bytes[16..20]),
        Af::Inet6 => a.copy_from_slice(&bytes[24..40]),
    }
    Addr(a)
}

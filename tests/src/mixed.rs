//! Mixed traffic for a whole engine: conversations of every kind, their answers, errors about them, fragments, strange
//! packets, time that passes. The same seed makes the same traffic.
//!
//! Nothing here allocates once it is made, so that the engine can be watched for it.

use arbitrary::Unstructured;
use pfc::compile::{BUDGET, Options, compile};
use pfc::facts::Facts;
use pfc::source::Sources;
use pfvm::engine::ifaces::Live;
use pfvm::engine::{Carried, Engine, LogRecord, Outcome, Scratch, Seen, Verdict, default_options};
use pfvm::exec::UnitId;
use pfvm::host::{Hop, Host, Random};
use pfvm::image::Image;
use pfvm::packet::{Packet, PktMeta};
use pfvm::rule::{Addr, Af, Direction, Limits};
use pfvm::verify::Program;
use pfvm::wire::checksum::Sum;

/// Rules that use what the engine can do.
pub const RULES: &str = r#"
set limit { states 600, src-nodes 64, frags 64 }
set timeout { tcp.first 20, tcp.opening 15, tcp.established 60, udp.first 10, udp.multiple 20, frag 5, interval 5 }
set syncookies adaptive (start 60%, end 20%)
table <bad> persist counters
table <servers> { 10.0.0.5, 10.0.0.6, !10.0.0.7 }
match in all scrub (no-df random-id min-ttl 5 max-mss 1400 reassemble tcp)
match log (matches) inet proto udp to port 53
match out on em1 inet from 10.0.0.0/8 to any nat-to { 192.0.2.10, 192.0.2.11 } round-robin sticky-address
block return log (to pflog1)
block in quick from <bad>
anchor in on em0 proto udp {
    pass tag GAME set prio 5
}
pass in on em0 inet keep state
pass out on em1 inet keep state
pass in on em0 inet6 to 64:ff9b::/96 af-to inet from 192.0.2.20 keep state
pass inet6 proto { tcp udp } keep state
pass inet6 proto icmp6 allow-opts keep state
pass log (all) inet proto icmp keep state
pass in on em1 proto tcp to 192.0.2.10 port 80 rdr-to <servers> round-robin synproxy state (max 100)
pass in on em1 proto tcp to 192.0.2.10 port 443 rdr-to { 10.0.0.5, 10.0.0.6 } source-hash sticky-address modulate state
pass in on em1 proto tcp to port 25 modulate state (source-track rule, max-src-nodes 30, max-src-states 40, max-src-conn 3, max-src-conn-rate 5/10, overload <bad> flush global)
pass in on em1 proto tcp to port 22 keep state (sloppy, if-bound) probability 60%
pass in on em1 proto udp to port 53 max-pkt-rate 50/10 reply-to 192.0.2.254
pass in quick on em1 proto udp to port 4000 once
pass out on em0 to <servers> keep state
pass on em1 proto gre no state allow-opts set tos 0x10
pass in on em1 tagged GAME route-to 10.0.0.9
"#;

/// Room for one packet.
pub const LONGEST: usize = 2048;

/// A packet and where it is seen.
#[derive(Clone, Copy)]
pub struct Given {
    /// Its bytes, in front.
    pub bytes: [u8; LONGEST],
    /// How many.
    pub len: usize,
    /// Where it is seen.
    pub seen: Seen,
}

/// The interface inside.
pub const EM0: u16 = 2;
/// The interface outside.
pub const EM1: u16 = 3;

fn seen(af: Af, dir: Direction, iface: u16) -> Seen {
    Seen { af, dir, forwarded: dir == Direction::Out, iface }
}

impl Given {
    const NONE: Self = Self {
        bytes: [0; LONGEST],
        len: 0,
        seen: Seen { af: Af::Inet, dir: Direction::In, forwarded: false, iface: EM0 },
    };

    /// A packet of these bytes.
    fn of(bytes: &[u8], seen: Seen) -> Self {
        let mut g = Self { seen, ..Self::NONE };
        g.len = bytes.len().min(LONGEST);
        g.bytes[..g.len].copy_from_slice(&bytes[..g.len]);
        g
    }

    fn begin(proto: u8, src: [u8; 4], dst: [u8; 4], ports: (u16, u16), len: usize) -> Self {
        let mut g = Self { len: 20 + len, seen: seen(Af::Inet, Direction::In, EM1), ..Self::NONE };
        g.bytes[..10].copy_from_slice(&[0x45, 0, 0, 0, 0, 1, 0, 0, 64, proto]);
        g.bytes[12..16].copy_from_slice(&src);
        g.bytes[16..20].copy_from_slice(&dst);
        g.bytes[20..22].copy_from_slice(&ports.0.to_be_bytes());
        g.bytes[22..24].copy_from_slice(&ports.1.to_be_bytes());
        g
    }

    /// A datagram that comes in on `em1`.
    #[must_use]
    pub fn datagram(src: [u8; 4], dst: [u8; 4], ports: (u16, u16)) -> Self {
        Self::begin(17, src, dst, ports, 12).seal()
    }

    /// The segments that open a connection through `em1`, as it sees them.
    #[must_use]
    pub fn handshake(src: [u8; 4], dst: [u8; 4], ports: (u16, u16)) -> [Self; 3] {
        let mut syn = Self::begin(6, src, dst, ports, 20);
        syn.bytes[24..28].copy_from_slice(&1000_u32.to_be_bytes());
        syn.bytes[32..36].copy_from_slice(&[0x50, 2, 0xff, 0xff]);
        let syn = syn.seal();
        let both = syn.answer(0);
        [syn, both, both.acknowledged()]
    }

    /// The bare acknowledgement that answers a segment.
    fn acknowledged(self) -> Self {
        let mut ack = self.answer(3);
        ack.len = 40;
        ack.bytes[33] = 0x10;
        ack.seal()
    }

    fn header(&self) -> usize {
        if self.seen.af == Af::Inet { 20 } else { 40 }
    }

    fn proto(&self) -> u8 {
        self.bytes[if self.seen.af == Af::Inet { 9 } else { 6 }]
    }

    /// Fills in the lengths and sums of a packet without options or extension headers.
    fn seal(mut self) -> Self {
        let (h, len, proto) = (self.header(), self.len, self.proto());
        let payload = u16::try_from(len - h).unwrap_or(0);
        let mut ends = [Addr::default(); 2];
        if self.seen.af == Af::Inet {
            self.bytes[2..4].copy_from_slice(&(payload + 20).to_be_bytes());
            self.bytes[10..12].fill(0);
            let sum = Sum::new().bytes(&self.bytes[..20]).finish();
            self.bytes[10..12].copy_from_slice(&sum.to_be_bytes());
            ends[0].0[..4].copy_from_slice(&self.bytes[12..16]);
            ends[1].0[..4].copy_from_slice(&self.bytes[16..20]);
        } else {
            self.bytes[4..6].copy_from_slice(&payload.to_be_bytes());
            ends[0].0.copy_from_slice(&self.bytes[8..24]);
            ends[1].0.copy_from_slice(&self.bytes[24..40]);
        }
        let at = match proto {
            6 => 16,
            17 => 6,
            1 | 58 => 2,
            _ => return self,
        } + h;
        if at + 2 > len {
            return self;
        }
        if proto == 17 {
            self.bytes[h + 4..h + 6].copy_from_slice(&payload.to_be_bytes());
        }
        self.bytes[at..at + 2].fill(0);
        let start = if proto == 1 {
            Sum::new()
        } else {
            Sum::new().pseudo(self.seen.af, &ends[0], &ends[1], proto, payload.into())
        };
        let sum = start.bytes(&self.bytes[h..len]).finish_udp();
        self.bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        self
    }

    /// The answer to it, as its destination would give it: `how` picks among the answers there are.
    fn answer(mut self, how: u32) -> Self {
        let h = self.header();
        self.len = self.len.min(h + 120);
        let (a, n) = if self.seen.af == Af::Inet { (12, 4) } else { (8, 16) };
        for i in 0..n {
            self.bytes.swap(a + i, a + n + i);
        }
        if self.seen.af == Af::Inet {
            self.bytes[0] = 0x45;
            self.bytes[6..8].fill(0);
        }
        match self.proto() {
            6 if self.len >= h + 20 => self.answer_segment(h, how),
            17 => {
                for i in 0..2 {
                    self.bytes.swap(h + i, h + 2 + i);
                }
            }
            1 if self.bytes[h] == 8 => self.bytes[h] = 0,
            58 if self.bytes[h] == 128 => self.bytes[h] = 129,
            _ => {}
        }
        self.turn();
        self.seal()
    }

    /// Seen where it was, the other way.
    fn turn(&mut self) {
        let dir = if self.seen.dir == Direction::In { Direction::Out } else { Direction::In };
        self.seen = seen(self.seen.af, dir, self.seen.iface);
    }

    fn answer_segment(&mut self, h: usize, how: u32) {
        let word = |b: &[u8], at: usize| u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let (seq, ack, flags) = (word(&self.bytes, h + 4), word(&self.bytes, h + 8), self.bytes[h + 13]);
        let data = self.len.saturating_sub(h + usize::from(self.bytes[h + 12] >> 4) * 4);
        let counts = data as u32 + u32::from(flags & 2 != 0) + u32::from(flags & 1 != 0);
        let new = match (flags & 0x17, how % 8) {
            (2, _) => 0x12,
            (_, 0) => 0x11,
            (_, 1) => 0x04,
            (_, 2) => 0x02,
            _ => 0x18,
        };
        for i in 0..2 {
            self.bytes.swap(h + i, h + 2 + i);
        }
        let first = if flags & 0x10 == 0 { 77_000 + how % 5 } else { ack };
        self.bytes[h + 4..h + 8].copy_from_slice(&first.to_be_bytes());
        self.bytes[h + 8..h + 12].copy_from_slice(&seq.wrapping_add(counts).to_be_bytes());
        self.bytes[h + 12] = 0x50;
        self.bytes[h + 13] = new;
        self.len = h + 20 + if new == 0x18 { 7 } else { 0 };
    }

    /// An error about it, from its destination.
    fn error(&self, how: u32) -> Self {
        let h = self.header();
        let quote = self.len.min(if how & 1 == 0 { h + 8 } else { 500 });
        let (kind, code) = match (self.seen.af, how % 3) {
            (Af::Inet, 0) => (3, 3),
            (Af::Inet, 1) => (11, 0),
            (Af::Inet, _) => (3, 4),
            (Af::Inet6, 0) => (1, 4),
            (Af::Inet6, 1) => (3, 0),
            (Af::Inet6, _) => (2, 0),
        };
        let mut e = Self { len: h + 8 + quote, ..*self };
        if self.seen.af == Af::Inet {
            e.bytes[..20].copy_from_slice(&[0x45, 0, 0, 0, 9, 9, 0, 0, 64, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            e.bytes[12..16].copy_from_slice(&self.bytes[16..20]);
            e.bytes[16..20].copy_from_slice(&self.bytes[12..16]);
        } else {
            e.bytes[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, 58, 64]);
            e.bytes[8..24].copy_from_slice(&self.bytes[24..40]);
            e.bytes[24..40].copy_from_slice(&self.bytes[8..24]);
        }
        e.bytes[h..h + 8].copy_from_slice(&[kind, code, 0, 0, 0, 0, 5, 0]);
        e.bytes[h + 8..h + 8 + quote].copy_from_slice(&self.bytes[..quote]);
        e.turn();
        e.seal()
    }

    /// Cuts an IPv4 packet without options in two where it is long enough: this is the first or the second part.
    fn fragment(mut self, second: bool) -> Self {
        if self.seen.af != Af::Inet || self.len < 20 + 24 || self.bytes[0] != 0x45 {
            return self;
        }
        let (from, to, field) = if second { (20 + 16, self.len, 2_u16) } else { (20, 20 + 16, 0x2000) };
        self.bytes.copy_within(from..to, 20);
        self.len = 20 + to - from;
        self.bytes[6..8].copy_from_slice(&field.to_be_bytes());
        self.bytes[2..4].copy_from_slice(&u16::try_from(self.len).unwrap_or(0).to_be_bytes());
        self.bytes[10..12].fill(0);
        let sum = Sum::new().bytes(&self.bytes[..20]).finish();
        self.bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        self
    }
}

/// Numbers that only look random.
#[derive(Clone, Copy, Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    /// The next one.
    pub fn word(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// One below `n`.
    pub fn below(&mut self, n: u32) -> u32 {
        self.word() % n.max(1)
    }
}

/// A host that forwards between two networks and keeps the last packets it was told to send.
pub struct Between {
    /// Milliseconds.
    pub ms: u64,
    random: Numbers,
    sent: [Given; 4],
    /// Packets it was told to send.
    pub sends: u64,
    /// Log records.
    pub logs: u64,
}

impl Random for Between {
    fn random_u32(&mut self) -> u32 {
        self.random.word()
    }
}

impl Host for Between {
    fn now_ms(&self) -> u64 {
        self.ms
    }

    fn route(&self, _: Af, addr: &Addr) -> Option<Hop> {
        let inside = matches!(addr.0, [10, ..] | [0x20, 1, 0x0d, 0xb8, 0, 0xa, ..]);
        Some(Hop { iface: if inside { EM0 } else { EM1 }, mtu: 1500 })
    }

    fn answers_for(&self, _: Af, _: &Addr) -> Option<Addr> {
        None
    }

    fn own_address(&self, af: Af, iface: u16, _: &Addr) -> Option<Addr> {
        let mut a = [0; 16];
        match af {
            Af::Inet => a[..4].copy_from_slice(if iface == EM0 { &[10, 0, 0, 1] } else { &[192, 0, 2, 1] }),
            Af::Inet6 => a[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]),
        }
        Some(Addr(a))
    }

    fn port_in_use(&self, _: u8, port: u16) -> bool {
        port == 55_555
    }

    fn send(&mut self, packet: &[u8], af: Af, _: bool, _: u16) {
        let at = usize::try_from(self.sends % 4).unwrap_or(0);
        self.sent[at] = Given::of(packet, seen(af, Direction::Out, EM1));
        self.sends += 1;
    }

    fn log(&mut self, _: &LogRecord, packet: &Packet<'_>) {
        self.logs += u64::from(!packet.is_empty());
    }
}

/// An engine with rules in force, and its host.
pub struct Bench {
    /// The engine.
    pub engine: Engine,
    /// Its host.
    pub host: Between,
    room: Vec<u8>,
    scratch: Scratch,
}

/// The program of a text.
///
/// # Panics
/// When it has errors.
#[must_use]
pub fn program(rules: &str) -> Program {
    let mut sources = Sources::disk();
    let file = sources.add("test", rules.as_bytes().to_vec());
    let outcome = compile(&mut sources, file, &Facts::default(), &Options::default());
    let compiled = outcome.compiled.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics));
    let image = Image::parse(&compiled.image).expect("what was compiled parses");
    Program::verify(&image, BUDGET).expect("what was compiled is accepted")
}

impl Bench {
    /// An engine with [`RULES`] or others.
    ///
    /// # Panics
    /// When the rules have errors.
    #[must_use]
    pub fn new(rules: &str, seed: u64) -> Self {
        let program = program(rules);
        let host = Between { ms: 1_000_000, random: Numbers(seed | 1), sent: [Given::NONE; 4], sends: 0, logs: 0 };
        let scratch = Scratch::new().expect("there is memory");
        let mut b = Self { engine: engine(100), host, room: vec![0; 70_000], scratch };
        b.load(program);
        b
    }

    /// Loads a program.
    ///
    /// # Panics
    /// When it cannot be.
    pub fn load(&mut self, program: Program) {
        let live = [
            Live { index: EM0, name: "em0", groups: &["all"], loopback: false },
            Live { index: EM1, name: "em1", groups: &["all", "egress"], loopback: false },
        ];
        let loaded = self.engine.load(vec![program], Some(UnitId(0)), &live, &|_, _, _| {}, &mut self.host);
        loaded.expect("the rules load");
    }

    /// Opens a connection through `em1`: each side answers what the engine made of the other's segment. Gives a segment of
    /// each side that changes nothing more.
    pub fn connect(&mut self, src: [u8; 4], dst: [u8; 4], ports: (u16, u16)) -> [Given; 2] {
        let [mut syn, ..] = Given::handshake(src, dst, ports);
        self.one(&mut syn, Carried::default());
        let mut both = syn.answer(0);
        self.one(&mut both, Carried::default());
        let ack = both.acknowledged();
        [ack, self.answered(ack)]
    }

    /// Decides about a packet and gives its receiver's answer.
    pub fn answered(&mut self, mut g: Given) -> Given {
        self.one(&mut g, Carried::default());
        g.answer(3)
    }

    /// What can be seen of the engine after some packets.
    #[must_use]
    pub fn looks(&self) -> Vec<String> {
        let mut all = looks(&self.engine, &[EM0, EM1]);
        all.push(format!("{} {}", self.host.sends, self.host.logs));
        all
    }

    /// Decides about one packet in place as who shares the engine does; `None` when the engine is wanted alone.
    ///
    /// # Panics
    /// When the packet has changed and yet was not decided about.
    pub fn known(&mut self, g: &mut Given, carried: Carried) -> Option<Outcome> {
        let mut bytes = g.bytes;
        let mut packet = Packet::whole(&mut bytes[..g.len]);
        let out =
            self.engine.pass_known(&mut packet, &PktMeta::default(), g.seen, carried, &mut self.scratch, self.host.ms);
        assert!(out.is_some() || bytes == g.bytes, "changed, and not decided about");
        g.bytes = bytes;
        out
    }

    /// Decides about one packet in place; the packet is the reassembled one afterwards where it was put together.
    pub fn one(&mut self, g: &mut Given, carried: Carried) -> Outcome {
        let (meta, seen) = (PktMeta::default(), g.seen);
        let mut window = [0; LONGEST + Packet::HEADROOM];
        window[Packet::HEADROOM..Packet::HEADROOM + g.len].copy_from_slice(&g.bytes[..g.len]);
        let mut packet = Packet::new(&mut window[..Packet::HEADROOM + g.len], Packet::HEADROOM, &[])
            .unwrap_or_else(|| unreachable!("the headroom is smaller than the window"));
        let out = self.engine.process(&mut packet, &meta, seen, carried, &mut self.room, &mut self.host);
        let (whole, len) = match out.replaced {
            Some(r) => (self.room.get(r.at..r.at + r.len).unwrap_or_default(), r.len),
            None => (packet.window(), packet.len()),
        };
        g.len = len.min(LONGEST);
        g.bytes[..g.len].copy_from_slice(&whole[..g.len]);
        if out.verdict == Verdict::Reroute {
            g.seen.af = if seen.af == Af::Inet { Af::Inet6 } else { Af::Inet };
        }
        out
    }
}

/// What can be seen of an engine.
#[must_use]
pub fn looks(e: &Engine, ifaces: &[u16]) -> Vec<String> {
    let states = e.table.iter().map(|s| format!("{s} {:?} {:?}", e.table.get(s), e.table.id(s)));
    let nodes = e.nodes.iter().map(|n| format!("{n:?}"));
    let rules = e.rules.iter().map(|r| format!("{r:?}"));
    let ifaces: Vec<_> = ifaces.iter().map(|i| e.ifaces.counters(*i)).collect();
    let rest = format!("{:?} {:?} {ifaces:?}", e.counters, e.table.counters());
    states.chain(nodes).chain(rules).chain([rest]).collect()
}

/// An engine with room for few states.
fn engine(states: u32) -> Engine {
    let limits = Limits { states, src_nodes: 20, frags: 20, ..default_options().limits };
    Engine::new(&limits, &mut Seeds(Numbers(99))).expect("there is memory")
}

struct Seeds(Numbers);

impl Random for Seeds {
    fn random_u32(&mut self) -> u32 {
        self.0.word()
    }
}

/// Traffic in the making.
pub struct Traffic {
    numbers: Numbers,
    strange: Vec<Given>,
    recent: Vec<Given>,
}

impl Traffic {
    /// Traffic of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut numbers = Numbers(seed | 1);
        let strange = (0..512)
            .filter_map(|_| {
                let bytes: Vec<u8> = (0..400).map(|_| numbers.word() as u8).collect();
                let made = crate::packets::packet(&mut Unstructured::new(&bytes)).ok()?;
                let dir = if numbers.below(2) == 0 { Direction::In } else { Direction::Out };
                Some(Given::of(&made.bytes, seen(made.af, dir, EM0 + (numbers.below(2) as u16))))
            })
            .collect();
        Self { numbers, strange, recent: vec![Given::NONE; 64] }
    }

    /// The next packet.
    pub fn packet(&mut self) -> Given {
        let n = &mut self.numbers;
        let recent = self.recent[n.below(64) as usize];
        let how = n.word();
        match n.below(16) {
            0 => self.strange[n.below(self.strange.len() as u32) as usize],
            1..=5 if recent.len > 40 => recent.answer(how),
            6 if recent.len > 40 => recent.error(how),
            7 if recent.len > 40 => recent,
            8 => fresh(n).fragment(false),
            9 if recent.len > 40 => recent.fragment(how & 1 == 0),
            _ => fresh(n),
        }
    }

    /// What became of a packet: one that passed, or was sent in its stead, may be answered later.
    pub fn after(&mut self, g: &Given, out: &Outcome, host: &Between) {
        let n = &mut self.numbers;
        let at = n.below(64) as usize;
        if matches!(out.verdict, Verdict::Pass | Verdict::Reroute) {
            self.recent[at] = *g;
            // A part of what came in is forwarded: it is seen again on its way out.
            if g.seen.dir == Direction::In && n.below(3) == 0 {
                let iface = if g.seen.iface == EM0 { EM1 } else { EM0 };
                self.recent[at].seen = seen(g.seen.af, Direction::Out, iface);
            }
        } else if host.sends > 0 && n.below(3) == 0 {
            self.recent[at] = host.sent[usize::try_from((host.sends - 1) % 4).unwrap_or(0)];
        }
    }
}

/// A packet that begins something.
fn fresh(n: &mut Numbers) -> Given {
    let af = if n.below(4) == 0 { Af::Inet6 } else { Af::Inet };
    let inside = n.below(2) == 0;
    let mut g = Given { seen: seen(af, Direction::In, if inside { EM0 } else { EM1 }), ..Given::NONE };
    let proto = match (n.below(10), af) {
        (0..=4, _) => 6,
        (5..=7, _) => 17,
        (8, Af::Inet) => 1,
        (8, Af::Inet6) => 58,
        _ => 47,
    };
    let near = [10, 0, 0, 2 + n.below(6) as u8];
    let far = [198, 51, 100, 1 + n.below(16) as u8];
    let (src, dst) = if inside { (near, far) } else { (far, [192, 0, 2, 10 + n.below(2) as u8]) };
    if af == Af::Inet {
        let options: [u8; 20] = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, proto, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        g.bytes[..20].copy_from_slice(&options);
        g.bytes[4..6].copy_from_slice(&(n.word() as u16).to_be_bytes());
        g.bytes[12..16].copy_from_slice(&src);
        g.bytes[16..20].copy_from_slice(&dst);
    } else {
        g.bytes[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, proto, 64]);
        g.bytes[8..14].copy_from_slice(&[0x20, 1, 0x0d, 0xb8, 0, if inside { 0xa } else { 0xb }]);
        g.bytes[23] = n.below(9) as u8;
        if n.below(2) == 0 {
            g.bytes[24..28].copy_from_slice(&[0, 0x64, 0xff, 0x9b]);
            g.bytes[36..40].copy_from_slice(&far);
        } else {
            g.bytes[24..28].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
            g.bytes[39] = n.below(9) as u8;
        }
    }
    let h = g.header();
    let port = [80_u16, 443, 25, 22, 53, 4000, 8080][n.below(7) as usize];
    g.bytes[h..h + 2].copy_from_slice(&(1024 + n.below(200) as u16).to_be_bytes());
    g.bytes[h + 2..h + 4].copy_from_slice(&port.to_be_bytes());
    g.len = h + match proto {
        6 => {
            g.bytes[h + 4..h + 8].copy_from_slice(&n.word().to_be_bytes());
            g.bytes[h + 12..h + 16].copy_from_slice(&[0xa0, 2, 0xff, 0xff]);
            g.bytes[h + 20..h + 40].copy_from_slice(&[
                2,
                4,
                5,
                0xb4,
                4,
                2,
                8,
                10,
                0,
                0,
                1,
                n.below(256) as u8,
                0,
                0,
                0,
                0,
                1,
                3,
                3,
                7,
            ]);
            40
        }
        1 | 58 => {
            g.bytes[h..h + 8].copy_from_slice(&[if proto == 1 { 8 } else { 128 }, 0, 0, 0, 7, 7, 0, 1]);
            24
        }
        _ => 8 + n.below(900) as usize,
    };
    g.seal()
}

//! Attack A14 and everyday life: two independent TCP stacks (smoltcp) talk through the engine while the network loses,
//! repeats, delays and reorders their packets. What they sent must arrive whole in both directions, the engine must not
//! drop what belongs to a connection, and states and ports must be gone at the end.

use std::collections::{BTreeMap, VecDeque};

use pfvm::packet::DropReason;
use proptest::prelude::*;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use tests::lab::{EM0, EM1, Lab, packet};

/// A stack's link: packets in, packets out.
#[derive(Default)]
struct Link {
    rx: VecDeque<Vec<u8>>,
    tx: VecDeque<Vec<u8>>,
}

struct Rx(Vec<u8>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Tx<'l>(&'l mut VecDeque<Vec<u8>>);

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = vec![0; len];
        let out = f(&mut bytes);
        self.0.push_back(bytes);
        out
    }
}

impl Device for Link {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        self.rx.pop_front().map(|p| (Rx(p), Tx(&mut self.tx)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut c = DeviceCapabilities::default();
        c.medium = Medium::Ip;
        c.max_transmission_unit = 1500;
        c
    }
}

/// One end: a stack with one socket, what it sends and what it got.
struct End {
    iface: Interface,
    link: Link,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    data: Vec<u8>,
    sent: usize,
    got: Vec<u8>,
    expects: usize,
}

impl End {
    fn new(address: &str, seed: u64, data: Vec<u8>, expects: usize) -> Self {
        let mut link = Link::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut iface = Interface::new(config, &mut link, Instant::ZERO);
        let address: IpAddress = address.parse().unwrap();
        let prefix = if matches!(address, IpAddress::Ipv4(_)) { 24 } else { 64 };
        iface.update_ip_addrs(|a| a.push(IpCidr::new(address, prefix)).unwrap());
        // A gateway that need not be there: the medium has no link addresses.
        match address {
            IpAddress::Ipv4(a) => iface.routes_mut().add_default_ipv4_route(a).unwrap(),
            IpAddress::Ipv6(a) => iface.routes_mut().add_default_ipv6_route(a).unwrap(),
        };
        let buffer = || tcp::SocketBuffer::new(vec![0; 16_384]);
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(tcp::Socket::new(buffer(), buffer()));
        Self { iface, link, sockets, socket, data, sent: 0, got: Vec::new(), expects }
    }

    fn tcp(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    /// Lets the stack work, feeds and drains its socket.
    fn turn(&mut self, ms: i64) {
        self.iface.poll(Instant::from_millis(ms), &mut self.link, &mut self.sockets);
        let (data, sent) = (self.data.clone(), self.sent);
        let socket = self.tcp();
        let mut more = 0;
        if socket.can_send() && sent < data.len() {
            more = socket.send_slice(&data[sent..]).unwrap_or(0);
        }
        let mut buffer = [0; 4096];
        let mut got = Vec::new();
        while socket.can_recv() {
            let n = socket.recv_slice(&mut buffer).unwrap_or(0);
            if n == 0 {
                break;
            }
            got.extend_from_slice(&buffer[..n]);
        }
        self.sent += more;
        self.got.extend(got);
        if self.sent == self.data.len() && self.got.len() >= self.expects && self.tcp().may_send() {
            self.tcp().close();
        }
        self.iface.poll(Instant::from_millis(ms), &mut self.link, &mut self.sockets);
    }

    fn over(&mut self) -> bool {
        matches!(self.tcp().state(), tcp::State::Closed | tcp::State::TimeWait)
    }
}

/// What the network does to packets, in thousandths and milliseconds.
#[derive(Clone, Copy, Debug)]
struct Weather {
    seed: u64,
    loss: u64,
    repeat: u64,
    jitter: u64,
    delay: u64,
    /// Cuts packets on the client's side to this size.
    cut: Option<usize>,
}

/// How the engine stands between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Plain,
    Nat,
    Modulate,
    NatModulate,
    Synproxy,
    SynproxyRdr,
    Cookies,
    AfTo,
    Scrub,
    Sloppy,
}

const MODES: [Mode; 10] = [
    Mode::Plain,
    Mode::Nat,
    Mode::Modulate,
    Mode::NatModulate,
    Mode::Synproxy,
    Mode::SynproxyRdr,
    Mode::Cookies,
    Mode::AfTo,
    Mode::Scrub,
    Mode::Sloppy,
];

impl Mode {
    fn rules(self) -> &'static str {
        match self {
            Self::Plain => "block\npass in on em0 proto tcp\npass out on em1 proto tcp\n",
            Self::Nat => {
                "match out on em1 inet from 10.0.0.0/24 nat-to 192.0.2.1 port 40001:40004\nblock\n\
                 pass in on em0 proto tcp\npass out on em1 proto tcp\n"
            }
            Self::Modulate => "block\npass in on em0 proto tcp modulate state\npass out on em1 proto tcp\n",
            Self::NatModulate => {
                "match out on em1 inet from 10.0.0.0/24 nat-to 192.0.2.1 port 40001:40004\nblock\n\
                 pass in on em0 proto tcp\npass out on em1 proto tcp modulate state\n"
            }
            Self::Synproxy => "block\npass in on em0 proto tcp synproxy state\npass out on em1 proto tcp\n",
            Self::SynproxyRdr => {
                "block\npass in on em0 inet proto tcp to 203.0.113.80 port 8080 rdr-to 198.51.100.7 port 80 synproxy state\n\
                 pass out on em1 proto tcp\n"
            }
            Self::Cookies => "set syncookies always\nblock\npass in on em0 proto tcp\npass out on em1 proto tcp\n",
            Self::AfTo => "block\npass in on em0 inet6 proto tcp to 64:ff9b::/96 af-to inet from 192.0.2.1\n",
            Self::Scrub => {
                "match scrub (reassemble tcp, random-id, max-mss 1200, min-ttl 20)\nblock\npass in on em0 proto tcp\n\
                 pass out on em1 proto tcp\n"
            }
            Self::Sloppy => "block\npass in on em0 proto tcp keep state (sloppy)\npass out on em1 proto tcp\n",
        }
    }

    /// Whether the engine itself answers in the handshake: the client may speak before the server listens.
    fn proxied(self) -> bool {
        matches!(self, Self::Synproxy | Self::SynproxyRdr | Self::Cookies)
    }

    fn ends(self) -> (&'static str, (&'static str, u16), &'static str) {
        match self {
            Self::AfTo => ("2001:db8:a::5", ("64:ff9b::c633:6407", 80), "198.51.100.7"),
            Self::SynproxyRdr => ("10.0.0.5", ("203.0.113.80", 8080), "198.51.100.7"),
            _ => ("10.0.0.5", ("198.51.100.7", 80), "198.51.100.7"),
        }
    }
}

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next() % n }
    }
}

/// Where a packet is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// To the engine, on an interface.
    Engine(u16),
    Client,
    Server,
}

/// A packet under way; `first` is no repetition.
struct UnderWay {
    to: To,
    bytes: Vec<u8>,
    first: bool,
}

/// The network: packets by the time they arrive.
struct Net {
    weather: Weather,
    chance: Chance,
    queue: BTreeMap<(u64, u64), UnderWay>,
    number: u64,
}

impl Net {
    fn put(&mut self, now: u64, to: To, bytes: Vec<u8>) {
        let w = self.weather;
        if self.chance.below(1000) < w.loss {
            return;
        }
        let copies = 1 + u64::from(self.chance.below(1000) < w.repeat);
        for n in 0..copies {
            let at = now + w.delay + self.chance.below(w.jitter + 1) + n * self.chance.below(30);
            self.number += 1;
            self.queue.insert((at, self.number), UnderWay { to, bytes: bytes.clone(), first: n == 0 });
        }
    }
}

/// One's complement sum of an IPv4 header, into its place.
fn sum_header(h: &mut [u8]) {
    h[10..12].fill(0);
    let mut acc: u32 = h.chunks(2).map(|p| u32::from(p[0]) << 8 | u32::from(p[1])).sum();
    while acc > 0xffff {
        acc = (acc & 0xffff) + (acc >> 16);
    }
    h[10..12].copy_from_slice(&(!(acc as u16)).to_be_bytes());
}

/// Cuts an IPv4 packet into fragments of at most `size` bytes of data.
fn cut(bytes: &[u8], size: usize, id: u16) -> Vec<Vec<u8>> {
    if bytes[0] >> 4 != 4 || bytes.len() <= size + 20 {
        return vec![bytes.to_vec()];
    }
    let data: Vec<&[u8]> = bytes[20..].chunks(size & !7).collect();
    let last = data.len() - 1;
    let one = |(i, part): (usize, &&[u8])| {
        let mut f = bytes[..20].to_vec();
        f[2..4].copy_from_slice(&(20 + part.len() as u16).to_be_bytes());
        f[4..6].copy_from_slice(&id.to_be_bytes());
        let word = (i * (size & !7) / 8) as u16 | if i == last { 0 } else { 0x2000 };
        f[6..8].copy_from_slice(&word.to_be_bytes());
        sum_header(&mut f);
        f.extend_from_slice(part);
        f
    };
    data.iter().enumerate().map(one).collect()
}

/// What of a segment matters here.
struct Segment {
    syn: bool,
    reset: bool,
    seq: u32,
    /// Bytes of data, and one for a FIN.
    len: u32,
}

fn segment(bytes: &[u8]) -> Segment {
    let tcp = &bytes[if bytes[0] >> 4 == 4 { 20 } else { 40 }..];
    let (flags, header) = (tcp[13], usize::from(tcp[12] >> 4) * 4);
    let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    Segment { syn: flags & 2 != 0, reset: flags & 4 != 0, seq, len: (tcp.len() - header) as u32 + u32::from(flags & 1) }
}

fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut c = Chance(seed | 1);
    (0..len).map(|_| c.next() as u8).collect()
}

/// How a conversation went.
struct Story {
    lab: Lab,
    dropped: Vec<String>,
}

fn talk(mode: Mode, weather: Weather, lens: (usize, usize)) -> Result<Story, String> {
    let mut lab = Lab::new(mode.rules());
    lab.host.seed = lab.host.seed.wrapping_add(weather.seed);
    let (client, (remote, port), server) = mode.ends();
    let (there, back) = (pattern(weather.seed, lens.0), pattern(!weather.seed, lens.1));
    let mut a = End::new(client, weather.seed, there.clone(), back.len());
    let mut b = End::new(server, weather.seed ^ 0xffff, back.clone(), there.len());
    b.tcp().listen(80).unwrap();
    let remote: IpAddress = remote.parse().unwrap();
    let handle = a.socket;
    a.sockets.get_mut::<tcp::Socket<'_>>(handle).connect(a.iface.context(), (remote, port), 49_500).unwrap();
    let chance = Chance(weather.seed.wrapping_mul(0x9e37_79b9) | 1);
    let mut net = Net { weather, chance, queue: BTreeMap::new(), number: 0 };
    let (mut now, mut second, start) = (0_u64, 0_u64, lab.host.ms);
    let mut dropped = Vec::new();
    // The number each side begins with, as it comes to the engine.
    let (mut begin, mut last) = ([None; 2], 0);
    // Done as well: who waits for a FIN the other does not repeat (smoltcp in CLOSING), or repeats only after the state
    // has gone (tcp.finwait is 45 s, smoltcp's pause up to 60).
    let silent = |now: u64, last: u64, a: &End, b: &End| {
        now > last + 130_000 && a.got.len() >= a.expects && b.got.len() >= b.expects
    };
    while !(silent(now, last, &a, &b) || a.over() && b.over()) {
        if now > 900_000 {
            let (sa, sb) = (a.tcp().state(), b.tcp().state());
            return Err(format!(
                "{mode:?} {weather:?}: not done: {sa} {sb}, {} of {} and {} of {}, {dropped:?}",
                a.got.len(),
                back.len(),
                b.got.len(),
                there.len()
            ));
        }
        lab.host.ms = start + now;
        while second < now / 1000 {
            second += 1;
            lab.engine.tick(&mut lab.host);
        }
        a.turn(now as i64);
        b.turn(now as i64);
        for bytes in a.link.tx.drain(..) {
            let id = net.chance.next() as u16;
            for part in weather.cut.map_or_else(|| vec![bytes.clone()], |size| cut(&bytes, size, id)) {
                net.put(now, To::Engine(EM0), part);
            }
        }
        for bytes in b.link.tx.drain(..) {
            net.put(now, To::Engine(EM1), bytes);
        }
        while let Some(entry) = net.queue.first_entry()
            && entry.key().0 <= now
        {
            let p = entry.remove();
            match p.to {
                To::Client => a.link.rx.push_back(p.bytes),
                To::Server => b.link.rx.push_back(p.bytes),
                To::Engine(iface) => {
                    let known = lab.states() > 0;
                    let out = lab.forward(iface, &p.bytes);
                    last = if out.is_some() { now } else { last };
                    if (weather.cut.is_none() || iface == EM1) && !mode.proxied() {
                        let s = segment(&p.bytes);
                        let iss = &mut begin[usize::from(iface == EM1)];
                        if s.syn {
                            iss.get_or_insert(s.seq);
                        }
                        // What the other side has got already may be dropped: pf takes repetitions from one window back.
                        let got = if iface == EM1 { a.got.len() } else { b.got.len() };
                        let end = s.seq.wrapping_add(s.len).wrapping_sub(iss.unwrap_or(s.seq)).wrapping_sub(1);
                        let stale = s.len > 0 && end as usize <= got;
                        if out.is_none() && known && p.first && !s.syn && !s.reset && !stale {
                            dropped.push(format!("{now} ms on {iface}: {:02x?}", &p.bytes[20..40]));
                        }
                    }
                    for (way, bytes) in out.into_iter().chain(lab.flush()) {
                        net.put(now, if way == EM0 { To::Client } else { To::Server }, bytes);
                    }
                }
            }
        }
        now += 2;
    }
    if a.got != back || b.got != there {
        return Err(format!("{mode:?} {weather:?}: a stream is damaged"));
    }
    lab.host.ms = start + now;
    Ok(Story { lab, dropped })
}

fn check(mode: Mode, weather: Weather, lens: (usize, usize)) -> Result<(), String> {
    let Story { mut lab, dropped } = talk(mode, weather, lens)?;
    if !dropped.is_empty() {
        let reasons: Vec<_> = DropReason::ALL.iter().map(|r| (r.name(), lab.counted(*r))).filter(|r| r.1 > 0).collect();
        return Err(format!("{mode:?} {weather:?}: dropped {dropped:?}, counted {reasons:?}"));
    }
    // tcp.closing is 900 s: whatever the last packets lost have left is gone by then.
    lab.wait(1000);
    let left = (lab.states(), lab.engine.half_open, lab.engine.frags.len());
    if left != (0, 0, 0) {
        return Err(format!("{mode:?} {weather:?}: left over {left:?}"));
    }
    if matches!(mode, Mode::Nat | Mode::NatModulate) {
        for n in 0..4 {
            let syn = packet(&format!("tcp 10.0.0.9:{} > 198.51.100.7:80 S", 1000 + n));
            if lab.forward(EM0, &syn).is_none() {
                return Err(format!("{mode:?} {weather:?}: port {n} of four did not come back"));
            }
        }
    }
    Ok(())
}

#[test]
fn streams_are_whole_in_fine_weather() {
    for mode in MODES {
        let fine = Weather { seed: 7, loss: 0, repeat: 0, jitter: 0, delay: 4, cut: None };
        let done = talk(mode, fine, (40_000, 60_000)).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(done.lab.counted(DropReason::StateMismatch), 0, "{mode:?}");
        assert!(done.dropped.is_empty(), "{mode:?}: {:?}", done.dropped);
        check(mode, fine, (40_000, 60_000)).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn streams_are_whole_when_cut_into_fragments() {
    for (seed, size) in [(3, 560), (4, 256), (5, 1000)] {
        for (loss, jitter) in [(0, 0), (10, 15)] {
            let weather = Weather { seed, loss, repeat: loss, jitter, delay: 3, cut: Some(size) };
            check(Mode::Nat, weather, (30_000, 5_000)).unwrap_or_else(|e| panic!("{e}"));
            check(Mode::Modulate, weather, (30_000, 5_000)).unwrap_or_else(|e| panic!("{e}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn streams_are_whole_in_any_weather(
        mode in prop::sample::select(MODES.to_vec()),
        seed in 1_u64..u64::MAX,
        loss in 0_u64..120,
        repeat in 0_u64..120,
        jitter in 0_u64..40,
        delay in 1_u64..30,
        there in 0_usize..30_000,
        back in 1_usize..30_000,
    ) {
        let weather = Weather { seed, loss, repeat, jitter, delay, cut: None };
        if let Err(e) = check(mode, weather, (there, back)) {
            prop_assert!(false, "{e}");
        }
    }
}

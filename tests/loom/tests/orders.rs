//! Packets that share the engine, and what has it alone, in every order there is (loom: every interleaving of the accesses
//! to shared words with at most [`PREEMPTIONS`] switches that nobody asked for, and every value a read may see).
//!
//! The engine is the real one, with a program of one rule, states made by packets, and a swap of programs; loom gives its
//! atomics ([`pfvm::sync`]) and the lock around it. A thread that waits for ever is a failure too.

use loom::sync::{Arc, RwLock};
use loom::thread;
use pfvm::engine::ifaces::Live;
use pfvm::engine::rules::default_rule;
use pfvm::engine::{Carried, Engine, Scratch, Seen, Verdict, default_options};
use pfvm::exec::UnitId;
use pfvm::host::Still;
use pfvm::image::encode::{Parts, encode};
use pfvm::image::{Image, Ruleset, Run};
use pfvm::isa::Op;
use pfvm::packet::{Packet, PktMeta};
use pfvm::rule::{Action, Af, Direction, Keep, Limits, Rule};
use pfvm::state::{PeerState, State};
use pfvm::sync::{Byte, Long};
use pfvm::verify::{DRIVER_BUDGET, Program};

/// Switches from thread to thread that are tried in one run, beside those a thread asks for by waiting.
const PREEMPTIONS: usize = 2;

const IFACE: u16 = 1;
const NOW: u64 = 1_000_000;

/// What stands around the engine.
const fn host() -> Still {
    Still { now_ms: NOW, seed: 4 }
}

/// The image of one rule for all packets: `pass keep state`, or `block`.
fn image(action: Action) -> Vec<u8> {
    let keep = if action == Action::Pass { Keep::Keep } else { Keep::No };
    let mut p = Parts::default();
    p.rules = vec![Rule { action, keep, nr: 0, ..default_rule() }];
    p.code = ["note #0", "done"].map(|word| Op::assemble(word).unwrap()).to_vec();
    let (path, straight) = (p.strings.add(""), Run::default());
    p.rulesets = vec![Ruleset { path, code: Run { at: 0, len: 2 }, straight, rules: Run { at: 0, len: 1 } }];
    encode(&p)
}

fn program(image: &[u8]) -> Program {
    Program::verify(&Image::parse(image).unwrap(), DRIVER_BUDGET).unwrap()
}

fn load(e: &mut Engine, image: &[u8]) {
    let live = [Live { index: IFACE, name: "em0", groups: &[], loopback: false }];
    e.load(vec![program(image)], Some(UnitId(0)), &live, &|_, _, _| {}, &mut host()).unwrap();
}

/// A packet of the one conversation: flags, sequence, acknowledgement and bytes of a segment, or a datagram.
#[derive(Clone, Copy)]
enum Sent {
    Tcp(Direction, u8, u32, u32, u8),
    Udp(Direction),
}

impl Sent {
    fn dir(self) -> Direction {
        match self {
            Self::Tcp(dir, ..) | Self::Udp(dir) => dir,
        }
    }

    fn bytes(self) -> Vec<u8> {
        let (near, far) = (([10, 0, 0, 1], 4000_u16), ([192, 0, 2, 1], 80_u16));
        let (from, to) = if self.dir() == Direction::Out { (near, far) } else { (far, near) };
        let mut l4 = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
        let proto = match self {
            Self::Tcp(_, flags, seq, ack, data) => {
                l4.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
                l4.extend([0x50, flags, 0x10, 0, 0, 0, 0, 0]);
                l4.resize(l4.len() + usize::from(data), 7);
                6
            }
            Self::Udp(_) => {
                l4.extend([0, 8, 0, 0]);
                17
            }
        };
        let len = 20 + u8::try_from(l4.len()).unwrap();
        let mut all = vec![0x45, 0, 0, len, 0, 0, 0, 0, 64, proto, 0, 0];
        all.extend([from.0, to.0].concat());
        all.extend(l4);
        all
    }

    fn seen(self) -> Seen {
        Seen { af: Af::Inet, dir: self.dir(), forwarded: false, iface: IFACE }
    }

    fn alone(self, e: &mut Engine) -> Verdict {
        let mut bytes = self.bytes();
        let mut packet = Packet::whole(&mut bytes);
        e.process(&mut packet, &PktMeta::default(), self.seen(), Carried::default(), &mut [], &mut host()).verdict
    }

    /// As a processor does it: shared, and alone where that will not do.
    fn through(self, engine: &RwLock<Engine>) -> Verdict {
        let mut bytes = self.bytes();
        let mut packet = Packet::whole(&mut bytes);
        let shared = engine.read().unwrap().pass_known(
            &mut packet,
            &PktMeta::default(),
            self.seen(),
            Carried::default(),
            &mut Scratch::new().unwrap(),
            NOW,
        );
        match shared {
            Some(out) => out.verdict,
            None => self.alone(&mut engine.write().unwrap()),
        }
    }
}

/// A connection's first three segments.
fn handshake() -> [Sent; 3] {
    [
        Sent::Tcp(Direction::Out, 0x02, 999, 0, 0),
        Sent::Tcp(Direction::In, 0x12, 4999, 1000, 0),
        Sent::Tcp(Direction::Out, 0x10, 1000, 5000, 0),
    ]
}

/// An engine with rules and the state that some packets made.
fn engine(image: &[u8], first: &[Sent]) -> Engine {
    let limits = Limits {
        states: 4,
        src_nodes: 4,
        frags: 4,
        tables: 4,
        table_entries: 16,
        ..default_options().limits
    };
    let mut e = Engine::new(&limits, &mut host()).unwrap();
    load(&mut e, image);
    for sent in first {
        assert_eq!(sent.alone(&mut e), Verdict::Pass);
    }
    assert_eq!(e.table.len(), 1);
    e
}

fn only(e: &Engine) -> &State {
    e.table.get(e.table.first()).unwrap()
}

/// Packets that passed and that were dropped, as the interface counts them.
fn at_the_interface(e: &Engine) -> [u64; 2] {
    let c = e.ifaces.counters(IFACE).unwrap();
    [0, 1].map(|verdict| c.packets.iter().flatten().map(|of| of[verdict]).sum())
}

/// A thread with room for a packet's way through the engine, which loom's own have not.
fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    thread::Builder::new().stack_size(1 << 16).spawn(f).unwrap()
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.max_branches = 20_000;
    let f = std::sync::Arc::new(f);
    builder.check(move || {
        let f = f.clone();
        spawn(move || f()).join().unwrap();
    });
}

/// Two processors take packets of one state. Gives nothing: the engine is looked at by `check`.
fn two(first: &'static [Sent], sent: [Sent; 2], check: impl Fn(&Engine) + Sync + Send + 'static) {
    let image = image(Action::Pass);
    model(move || {
        let engine = Arc::new(RwLock::new(engine(&image, first)));
        let [mine, other] = sent;
        let theirs = engine.clone();
        let thread = spawn(move || assert_eq!(other.through(&theirs), Verdict::Pass));
        assert_eq!(mine.through(&engine), Verdict::Pass);
        thread.join().unwrap();
        check(&engine.read().unwrap());
    });
}

#[test]
fn two_datagrams_of_one_way_both_count() {
    two(&[Sent::Udp(Direction::Out)], [Sent::Udp(Direction::Out); 2], |e| {
        let s = only(e);
        assert_eq!((s.packets(), s.bytes()), ([3, 0], [84, 0]));
        let rule = e.rules.get(s.rule).unwrap();
        assert_eq!((rule.packets(), rule.bytes()), ([0, 3], [0, 84]));
        assert_eq!((at_the_interface(e), e.table.counters()[0]), ([3, 0], 3));
        assert_eq!((s.src().state, s.dst().state), (PeerState::SINGLE, PeerState(0)));
    });
}

#[test]
fn a_datagram_and_its_answer_are_both_seen() {
    two(&[Sent::Udp(Direction::Out)], [Sent::Udp(Direction::Out), Sent::Udp(Direction::In)], |e| {
        let s = only(e);
        assert_eq!(s.packets(), [2, 1]);
        // Whichever came first, the answer tells that the first packet arrived.
        assert_eq!(s.src().state, PeerState::MULTIPLE);
        assert_eq!(e.rules.get(s.rule).unwrap().packets(), [1, 2]);
    });
}

#[test]
fn segments_of_both_sides_move_both_windows() {
    static FIRST: std::sync::LazyLock<[Sent; 3]> = std::sync::LazyLock::new(handshake);
    let sent = [Sent::Tcp(Direction::Out, 0x18, 1000, 5000, 10), Sent::Tcp(Direction::In, 0x18, 5000, 1000, 20)];
    two(&*FIRST, sent, |e| {
        let s = only(e);
        assert_eq!(s.packets(), [3, 2]);
        assert_eq!((s.src().seqlo, s.dst().seqlo), (1010, 5020), "no side's progress is lost");
        assert_eq!((s.src().seqhi, s.dst().seqhi), (1000 + 0x1000, 5000 + 0x1000));
    });
}

/// Two processors take a packet each while a third ends the state and swaps the rules for others: each packet is decided
/// either by the state or by the new rules, and is counted where it was decided.
#[test]
fn a_packet_sees_one_generation() {
    let (old, new) = (image(Action::Pass), image(Action::Block));
    model(move || {
        let engine = Arc::new(RwLock::new(engine(&old, &[Sent::Udp(Direction::Out)])));
        let threads = [Direction::Out, Direction::In].map(|dir| {
            let engine = engine.clone();
            spawn(move || u64::from(Sent::Udp(dir).through(&engine) == Verdict::Pass))
        });
        let ended = {
            let mut e = engine.write().unwrap();
            let mut packets = 0;
            e.kill_states(&mut host(), |_, _, s| {
                assert!(s.hold().is_some(), "nobody holds a state of an engine that is held alone");
                packets = s.packets().iter().sum();
                true
            });
            load(&mut e, &new);
            packets
        };
        let passed: u64 = threads.into_iter().map(|t| t.join().unwrap()).sum();
        let mut e = engine.write().unwrap();
        assert_eq!(ended, 1 + passed, "what passed was counted at the state");
        assert_eq!(at_the_interface(&e), [1 + passed, 2 - passed]);
        e.tick(&mut host());
        assert_eq!((e.table.len(), e.rules.iter().count()), (0, 2), "the old rules went with their last state");
    });
}

/// A swap that leaves the state: its packets go on being counted at the rule that made it.
#[test]
fn a_swap_of_rules_loses_no_count() {
    let (old, new) = (image(Action::Pass), image(Action::Block));
    model(move || {
        let engine = Arc::new(RwLock::new(engine(&old, &[Sent::Udp(Direction::Out)])));
        let theirs = engine.clone();
        let thread = spawn(move || assert_eq!(Sent::Udp(Direction::In).through(&theirs), Verdict::Pass));
        load(&mut engine.write().unwrap(), &new);
        assert_eq!(Sent::Udp(Direction::Out).through(&engine), Verdict::Pass);
        thread.join().unwrap();
        let e = engine.read().unwrap();
        let s = only(&e);
        let rule = e.rules.get(s.rule).unwrap();
        assert_eq!((s.packets(), rule.packets(), rule.live), ([2, 1], [1, 2], false));
    });
}

/// The lock of a state by itself: a count that is read and written under it is exact.
#[test]
fn a_held_byte_guards_what_is_written_under_it() {
    model(|| {
        let shared = Arc::new((Byte::new(3), Long::new(0)));
        let add = |(lock, count): &(Byte, Long)| match lock.hold() {
            Some(byte) => {
                count.set(count.get() + 1);
                lock.let_go(byte);
                1
            }
            None => 0,
        };
        let theirs = shared.clone();
        let thread = spawn(move || add(&theirs));
        let done = add(&shared) + thread.join().unwrap();
        assert!(done >= 1, "one of them gets the lock");
        assert_eq!((shared.0.hold(), shared.1.get()), (Some(3), done));
    });
}

/// That the models can fail: without the lock a count is lost, and loom finds the order.
#[test]
#[should_panic(expected = "a count is lost")]
fn without_the_lock_a_count_is_lost() {
    model(|| {
        let count = Arc::new(Long::new(0));
        let theirs = count.clone();
        let thread = spawn(move || theirs.set(theirs.get() + 1));
        count.set(count.get() + 1);
        thread.join().unwrap();
        assert_eq!(count.get(), 2, "a count is lost");
    });
}

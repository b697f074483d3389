//! Frames through an edge that is shared: each has the fate it has through one that is held alone, and what is left is the
//! same. The driver over it, with several processors at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use ndismock::numbers::{Numbers, Said, seeds};
use ndismock::stack::{One, Stack};
use ndismock::world::Event;
use pfdriver::edge::count::Counts;
use pfdriver::edge::filtered::{Filtered, Neighbours};
use pfdriver::edge::known::Local;
use pfdriver::edge::offload::Offload;
use pfdriver::edge::policy::Policy;
use pfdriver::edge::port::{Behind, Port, PortId, Side};
use pfdriver::edge::{Edge, Exit, Fate, HEADROOM, Hop, Lent, ROOM, Sink};
use pfdriver::facts::HostFacts;
use pfdriver::filter::{Filter, How, Loading, Unit};
use pfndis::frames::Supply;
use pfndis::gateway::{Boot, Gateway};
use pfvm::image::Image;
use pfvm::rule::Af;
use pfvm::verify::Program;
use tests::desk::{Clock, image, small, udp, v4};
use tests::gateway::{Came, Hosts, MACS, RULES, VLAN, entry, facts};
use tests::mixed::looks;
use tests::ndis::{Driven, Host, ether};

/// A next hop everybody knows.
struct Known;

impl Neighbours for Known {
    fn mac(&self, _: &Hop) -> Option<[u8; 6]> {
        Some([2, 0, 0, 0, 7, 7])
    }
}

#[derive(Default)]
struct Kept(Vec<(Exit, Vec<u8>)>);

impl Sink for Kept {
    fn frame(&mut self, exit: Exit, parts: &[&[u8]], _: &Offload, _: Af) -> bool {
        self.0.push((exit, parts.concat()));
        true
    }
}

/// A frame's fate, its bytes where it goes on in place, and what left besides.
type Fared = (Fate, Vec<u8>, Vec<(Exit, Vec<u8>)>);

struct World {
    edge: Edge,
    filter: Filter<Clock>,
    local: Local,
    room: Vec<u8>,
    shared: usize,
}

fn program(image: &[u8]) -> Program {
    let image = Image::parse(image).unwrap();
    Program::verify(&image, 4096).unwrap()
}

fn loading() -> Loading {
    let unit = Unit { path: vec![], image: vec![], generation: 0, inserted: 0, by: Default::default() };
    Loading { program: program(&image("", RULES)), unit }
}

impl World {
    fn new() -> Self {
        let facts = HostFacts::read(&facts()).unwrap();
        let mut filter = Filter::new(&small(), facts, Clock::new(1_000_000)).unwrap();
        let mut edge = Edge::new(Policy::default(), &mut filter.platform).unwrap();
        for (n, mac) in MACS.into_iter().enumerate() {
            let port = edge.ports.add(Port::new(n as u16 + 1, mac, 1500, Behind::Stack)).unwrap();
            if n == 1 {
                edge.ports.get_mut(port).unwrap().set_vlans(&[VLAN]).unwrap();
            }
        }
        let mut world = Self { edge, filter, local: Local::new().unwrap(), room: vec![0; ROOM], shared: 0 };
        world.load();
        world
    }

    fn load(&mut self) {
        self.filter.load(vec![loading()], How::default()).unwrap();
    }

    fn give(&mut self, came: &Came, share: bool) -> Fared {
        let mut window = vec![0xaa; HEADROOM];
        window.extend_from_slice(&came.bytes);
        let before = window.clone();
        let (entry, mut kept) = (came.entry, Kept::default());
        let mut fate = None;
        if share {
            let lent = Lent { window: &mut window, head: HEADROOM, rest: &[] };
            fate = self.edge.pass_known(&self.filter, entry, lent, Offload::default(), &mut self.local);
            Edge::tell(&self.filter, &mut self.local);
            self.shared += usize::from(fate.is_some());
            assert!(fate.is_some() || window == before, "changed, and not decided about");
        }
        let fate = fate.unwrap_or_else(|| {
            let lent = Lent { window: &mut window, head: HEADROOM, rest: &[] };
            let mut around = Filtered { filter: &mut self.filter, neighbours: &Known };
            self.edge.frame(&mut around, entry, lent, Offload::default(), &mut self.room, &mut kept)
        });
        let bytes = match fate {
            Fate::Pass(going) => window[going.head..going.head + going.len].to_vec(),
            _ => Vec::new(),
        };
        (fate, bytes, kept.0)
    }

    fn second(&mut self) -> Vec<(Exit, Vec<u8>)> {
        self.filter.platform.ms += 1000;
        self.filter.tick();
        let mut kept = Kept::default();
        self.edge.made(&mut Filtered { filter: &mut self.filter, neighbours: &Known }, &mut kept);
        kept.0
    }

    fn counts(&mut self) -> Counts {
        self.edge.gather(&mut self.local);
        self.edge.counts
    }
}

#[test]
fn a_frame_has_one_fate_whoever_else_has_the_filter() {
    let (seeds, steps) = seeds(8, 4000);
    for seed in seeds {
        let _said = Said(format!("PF_SEED={seed} PF_STEPS={steps}"));
        let (mut alone, mut sharing, mut hosts) = (World::new(), World::new(), Hosts::new(seed));
        let mut ip = 0;
        for step in 0..steps {
            let came = hosts.next_frame();
            let one = alone.give(&came, false);
            assert_eq!(sharing.give(&came, true), one, "step {step}: {came:?}");
            ip += usize::from(matches!(one.0, Fate::Pass(_)));
            let (fate, bytes, besides) = one;
            if let Fate::Pass(going) = fate {
                hosts.saw(going.exit, &bytes);
            }
            besides.iter().for_each(|(exit, bytes)| hosts.saw(*exit, bytes));
            if step % 97 == 96 {
                assert_eq!(sharing.second(), alone.second());
            }
            if step % 701 == 700 {
                alone.load();
                sharing.load();
            }
        }
        let counts = sharing.counts();
        assert!(counts.balanced() && counts == alone.counts(), "{counts:?} {:?}", alone.counts());
        assert_eq!(looks(&sharing.filter.engine, &[1, 2, 3]), looks(&alone.filter.engine, &[1, 2, 3]));
        assert_eq!(alone.shared, 0);
        assert!(sharing.shared * 2 > ip, "{} frames were shared of {ip} that passed", sharing.shared);
    }
}

const SUPPLY: Supply = Supply { small: 128, large: 4 };
const WORKERS: usize = 3;

/// A frame into the driver as the mock takes it, cut in two. `false` when there is no module.
fn into(stack: &Stack<Gateway<Clock>>, came: &Came, random: &mut Numbers) -> bool {
    let list: One = (vec![(came.bytes.clone(), vec![60], 3)], vec![]);
    let n = usize::from(came.entry.port.0);
    match came.entry.side {
        Side::Stack => stack.send(n, &[list], random).is_some(),
        Side::Wire => {
            let lent = random.once_in(2);
            stack.receive(n, &[list], lent, random).is_some()
        }
    }
}

#[test]
fn counters_add_up_whoever_counted() {
    const ROUNDS: usize = 60;
    const FLOWS: u16 = 20;
    let mut host = Host::running(Boot::Pass, SUPPLY, &image("", "pass\n"));
    let came = |flow: u16| {
        let packet = udp(v4(10, 0, 0, 5), 4000 + flow, v4(198, 51, 100, 7), 53);
        Came { entry: entry(1, Side::Wire), bytes: ether(MACS[1], &packet) }
    };
    // Each conversation is known from its first packet on.
    (0..FLOWS).for_each(|flow| assert!(into(&host.stack, &came(flow), &mut Numbers(1))));
    host.settle();
    let stack = &host.stack;
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            scope.spawn(move || {
                let mut random = Numbers(worker as u64);
                for flow in (0..FLOWS).cycle().take(usize::from(FLOWS) * ROUNDS) {
                    assert!(into(stack, &came(flow), &mut random));
                    stack.bring_back(&mut random, 9);
                }
            });
        }
    });
    let all = u64::from(FLOWS) * (1 + (ROUNDS * WORKERS) as u64);
    stack.driver.gathered(|judge| {
        let (counts, e) = (judge.edge.counts, &judge.filter.engine);
        assert_eq!((counts.received, counts.passed, counts.dropped()), (all, all, 0));
        let states = e.table.iter().filter_map(|s| e.table.get(s));
        let packets: Vec<u64> = states.map(|s| s.packets().iter().sum()).collect();
        assert_eq!(packets, vec![all / u64::from(FLOWS); FLOWS.into()]);
        let rules: u64 = e.rules.iter().map(|(_, r)| r.packets().iter().sum::<u64>()).sum();
        assert_eq!(rules, all);
    });
    host.end();
}

/// What left or went up, as the hosts around see it.
fn saw(hosts: &mut Hosts, event: &Event) {
    let port = |handle| PortId(u16::from(handle == ndismock::stack::handle(1)));
    let (exit, frames) = match event {
        Event::Sent(by, _, frames) => (Exit::Wire(port(*by)), frames),
        Event::Indicated(by, _, frames) => (Exit::Stack(port(*by)), frames),
        _ => return,
    };
    frames.iter().for_each(|f| hosts.saw(exit, f));
}

#[test]
fn several_processors_decide_while_rules_are_loaded_and_modules_come_and_go() {
    let (seeds, steps) = seeds(2, 3000);
    for seed in seeds {
        let _said = Said(format!("PF_SEED={seed} PF_STEPS={steps}"));
        let mut host = Host::running(Boot::Pass, SUPPLY, &image("", RULES));
        let (stack, given, working) = (&host.stack, AtomicUsize::new(0), AtomicUsize::new(WORKERS));
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                let (given, working) = (&given, &working);
                scope.spawn(move || {
                    let _over = Over(working);
                    let (mut hosts, mut random) = (Hosts::new(seed * 10 + worker as u64), Numbers(seed));
                    for _ in 0..steps / WORKERS {
                        given.fetch_add(usize::from(into(stack, &hosts.next_frame(), &mut random)), Ordering::SeqCst);
                        // Whosever they are: conversations go on by other hands.
                        stack.os().events().iter().for_each(|event| saw(&mut hosts, event));
                        stack.bring_back(&mut random, 9);
                    }
                });
            }
            let mut random = Numbers(seed + 100);
            while working.load(Ordering::SeqCst) > 0 {
                let n = random.below(2);
                match random.below(12) {
                    0 => {
                        let loading = loading();
                        let before = stack.driver.core.with(stack.os(), |core| {
                            core.judge.filter.platform.ms += 250;
                            core.judge.filter.load(vec![loading], How::default())
                        });
                        assert!(before.is_ok());
                    }
                    1 => stack.driver.tick(),
                    2 => stack.pause(n, &mut random),
                    3 if random.once_in(3) => {
                        stack.pause(n, &mut random);
                        stack.detach(n, &mut random);
                    }
                    4 => drop(stack.attach(n)),
                    5 | 6 => stack.restart(n),
                    _ => drop(stack.bring_back(&mut random, 64)),
                }
                std::thread::yield_now();
            }
        });
        stack.driver.tick();
        let counts = stack.driver.gathered(|judge| judge.edge.counts);
        assert!(counts.balanced(), "{counts:?}");
        // Some came while a module was paused.
        let given = given.into_inner() as u64;
        assert!(counts.received <= given && counts.received * 8 > given, "{counts:?} of {given}");
        assert!(counts.passed > 0 && counts.dropped() > 0);
        for n in 0..2 {
            stack.attach(n);
        }
        host.settle();
        host.end();
    }
}

/// Counts a thread out, however it ends.
struct Over<'o>(&'o AtomicUsize);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

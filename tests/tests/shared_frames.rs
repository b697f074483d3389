//! Frames through an edge that is shared: each has the fate it has through one that is held alone, and what is left is the
//! same.

use ndismock::numbers::{Said, seeds};
use pfdriver::edge::count::Counts;
use pfdriver::edge::filtered::{Filtered, Neighbours};
use pfdriver::edge::known::Local;
use pfdriver::edge::offload::Offload;
use pfdriver::edge::policy::Policy;
use pfdriver::edge::port::{Behind, Port};
use pfdriver::edge::{Edge, Exit, Fate, HEADROOM, Hop, Lent, ROOM, Sink};
use pfdriver::facts::HostFacts;
use pfdriver::filter::{Filter, How, Loading, Unit};
use pfvm::image::Image;
use pfvm::rule::Af;
use pfvm::verify::Program;
use tests::desk::{Clock, image, small};
use tests::gateway::{Came, Hosts, MACS, RULES, VLAN, facts};
use tests::mixed::looks;

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
        let image = image("", RULES);
        let unit = Unit { path: vec![], image: vec![], generation: 0, inserted: 0, by: Default::default() };
        let loading = Loading { program: program(&image), unit };
        self.filter.load(vec![loading], How::default()).unwrap();
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

//! The filter between wires and stacks: ports, threads, and what happens to them.
//!
//! [`Stand`] holds the filter, its edge and the ports. One thread moves packets; another follows the host over netlink:
//! addresses, routes, neighbours, adapters that go and come. Signals and control requests come from elsewhere.
//!
//! Locks: the edge before the filter. The thread of packets holds both for one turn of frames; the other holds them
//! for a moment, with everything prepared before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pfdriver::edge::count::{Counts, Why};
use pfdriver::edge::filtered::{Filtered, Neighbours};
use pfdriver::edge::offload::Offload;
use pfdriver::edge::policy::Policy;
use pfdriver::edge::port::{Behind, Port, PortId, Side};
use pfdriver::edge::{Edge, Entry, Fate, Hop, Lent};
use pfdriver::facts::HostFacts;
use pfdriver::filter::Filter;
use pfdriver::lock::Lock;

use crate::attach::record::Role;
use crate::attach::{self, AttachError, Attached, doing};
use crate::host::{Known, Ours, World, ip};
use crate::netlink::link::{DELLINK, UP, gone};
use crate::netlink::table::{DELNEIGH, NEWNEIGH};
use crate::netlink::{Route, watch};
use crate::packets::slots::Outgoing;
use crate::packets::{Deciding, Filtering, Lost, Sides, Turn, drain, wake};
use crate::sys;
use crate::unix::{Shared, Unix};

/// Time between two looks at the host.
const SETTLING: std::time::Duration = std::time::Duration::from_millis(20);
/// Milliseconds between two seconds of the engine.
const SECOND: u64 = 1000;

/// What happens to a port's descriptors.
pub(crate) enum Change {
    /// The adapter is gone.
    Gone(PortId),
    /// The adapter is back.
    Back(PortId, std::os::fd::OwnedFd),
}

/// Everything between wires and stacks.
pub(crate) struct Stand<'s> {
    filter: &'s Shared,
    edge: Mutex<Edge>,
    known: Known,
    changes: Mutex<Vec<Change>>,
    wakener: File,
    watcher: File,
    ending: AtomicBool,
    lost: Mutex<Lost>,
    places: Mutex<BTreeMap<PortId, Place>>,
}

/// Where a port stands.
#[derive(Clone, Debug)]
struct Place {
    name: String,
    adapter: u32,
    shown: u32,
    mac: [u8; 6],
    role: Role,
    /// The adapter is there.
    here: bool,
}

/// A lock whose owner died is as good as another: what it guards is changed in steps that each leave it whole.
pub(crate) fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'s> Stand<'s> {
    /// A stand without ports.
    pub(crate) fn new(filter: &'s Shared, policy: Policy) -> io::Result<Self> {
        let edge = filter.with(|f| Edge::new(policy, &mut f.platform)).map_err(io::Error::other)?;
        Ok(Self {
            filter,
            edge: Mutex::new(edge),
            known: Known::default(),
            changes: Mutex::default(),
            wakener: sys::wakener()?,
            watcher: sys::wakener()?,
            ending: AtomicBool::new(false),
            lost: Mutex::default(),
            places: Mutex::default(),
        })
    }

    /// Takes in an attached adapter; its two sides are for the thread of packets.
    pub(crate) fn take(&self, attached: &Attached, behind: Behind) -> Result<PortId, AttachError> {
        let shown = u16::try_from(attached.shown).ok().filter(|i| *i != u16::MAX);
        let number = || Err(io::Error::other("its index is above 65534, which the filter does not take"));
        let iface = doing(|| attached.record.name.clone(), shown.map_or_else(number, Ok))?;
        let port = Port::new(iface, attached.mac, attached.mtu, behind);
        let id = locked(&self.edge).ports.add(port).map_err(io::Error::other);
        let id = doing(|| attached.record.name.clone(), id)?;
        let place = Place {
            name: attached.record.name.clone(),
            adapter: attached.adapter,
            shown: attached.shown,
            mac: attached.mac,
            role: attached.record.role,
            here: true,
        };
        locked(&self.places).insert(id, place);
        Ok(id)
    }

    /// Says what lies behind a port: the second of a bridge is made after the first.
    pub(crate) fn set_behind(&self, id: PortId, behind: Behind) {
        if let Some(port) = locked(&self.edge).ports.get_mut(id) {
            port.behind = behind;
        }
    }

    /// Indexes of what pfd stands on.
    pub(crate) fn ours(&self) -> Ours {
        let mut ours = Ours::default();
        for place in locked(&self.places).values() {
            if place.role == Role::Attached {
                ours.hidden.insert(place.adapter);
                ours.shown.insert(place.shown);
            }
        }
        ours
    }

    /// Gives the filter the host's facts as they are now.
    pub(crate) fn learn(&self, route: &mut Route) -> io::Result<World> {
        let world = World::read(route)?;
        let facts = HostFacts::read(&world.rows(&self.ours())).map_err(|e| io::Error::other(format!("{e:?}")))?;
        let old = self.filter.with(|f| f.set_facts(facts)).map_err(io::Error::other)?;
        // Dropped with the filter unlocked.
        drop(old);
        Ok(world)
    }

    /// Counters of the edge, and what was lost around it.
    pub(crate) fn counts(&self) -> (Counts, Lost) {
        (locked(&self.edge).counts, *locked(&self.lost))
    }

    /// Ends both threads.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Release);
        wake(&self.wakener);
        wake(&self.watcher);
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Moves packets until the end; gives the ports' descriptors back.
    pub(crate) fn packets(&self, mut ports: Vec<Sides>) -> io::Result<Vec<Sides>> {
        let mut turn = Turn::new();
        let mut next_second = sys::uptime_ms();
        let mut route = Route::open()?;
        let mut ready = Vec::new();
        while !self.is_ending() {
            let now = sys::uptime_ms();
            if now >= next_second {
                next_second = now + SECOND;
                self.filter.with(Filter::tick);
                turn.made(&mut ports, self);
                turn.count_unfetched(&ports);
                *locked(&self.lost) = turn.lost;
            }
            turn.waited(&mut ports, self);
            for hop in turn.later.take_wanted() {
                // Without an answer the frame waits in vain and is counted.
                let _asked = route.resolve(u32::from(hop.iface), ip(hop.af, &hop.addr));
            }
            let timeout = turn.later.next(now).unwrap_or(SECOND).min(next_second.saturating_sub(now)).max(1);
            let mut fds = vec![self.wakener.as_fd()];
            let mut who = Vec::new();
            for (at, port) in ports.iter().enumerate() {
                if let Some(wire) = &port.wire {
                    fds.push(wire.as_fd());
                    who.push((at, Side::Wire));
                }
                if let Some(stack) = &port.stack {
                    fds.push(stack.as_fd());
                    who.push((at, Side::Stack));
                }
            }
            match sys::wait(&fds, i32::try_from(timeout).unwrap_or(1000), &mut ready) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            if ready.first() == Some(&true) {
                drain(&self.wakener);
                self.apply(&mut ports);
            }
            for ((at, side), _) in who.into_iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
                turn.take(&mut ports, at, side, self);
            }
        }
        Ok(ports)
    }

    /// Takes in what the other thread did to descriptors.
    fn apply(&self, ports: &mut [Sides]) {
        for change in std::mem::take(&mut *locked(&self.changes)) {
            let (id, wire) = match change {
                Change::Gone(id) => (id, None),
                Change::Back(id, wire) => (id, Some(wire)),
            };
            if let Some(port) = ports.iter_mut().find(|p| p.id == id) {
                port.wire = wire;
            }
        }
    }

    /// Follows the host until the end.
    pub(crate) fn follow(&self, carriers: &BTreeMap<PortId, File>) -> io::Result<()> {
        let watch = watch()?;
        let mut route = Route::open()?;
        route.each_neighbour(|v| {
            self.known.learn(&v);
        })?;
        let mut ready = Vec::new();
        let mut stale = true;
        let mut removed = BTreeSet::new();
        while !self.is_ending() {
            if stale {
                match self.learn(&mut route) {
                    Ok(world) => self.adapt(&mut route, &world, carriers, &std::mem::take(&mut removed)),
                    Err(e) => eprintln!("pfd: the host's facts could not be read: {e}"),
                }
                // Of many changes at once only the outcome counts.
                std::thread::sleep(SETTLING);
            }
            match sys::wait(&[self.watcher.as_fd(), watch.as_fd()], 60_000, &mut ready) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => other?,
            }
            stale = false;
            let whole = watch.read(|v| match v.kind {
                NEWNEIGH | DELNEIGH => {
                    if self.known.learn(&v) {
                        wake(&self.wakener);
                    }
                }
                kind => {
                    stale = true;
                    if kind == DELLINK {
                        removed.extend(gone(v.body));
                    }
                }
            })?;
            if !whole {
                stale = true;
                // Any of them may have been away and may be back, open.
                removed.extend(locked(&self.places).values().map(|p| p.adapter));
                self.known.clear();
                route.each_neighbour(|v| {
                    self.known.learn(&v);
                })?;
            }
        }
        Ok(())
    }

    /// Makes ports, adapters and what the host sees of them agree. An adapter that was removed has lost all that closed
    /// it, even if it is back under its number.
    fn adapt(&self, route: &mut Route, world: &World, carriers: &BTreeMap<PortId, File>, removed: &BTreeSet<u32>) {
        let mut places = locked(&self.places);
        for (id, place) in places.iter_mut() {
            let shown = world.link(place.shown);
            let adapter = world.link(place.adapter);
            if place.here && (adapter.is_none() || removed.contains(&place.adapter)) {
                eprintln!("pfd: {}: its adapter is gone; waiting for it", place.name);
                place.here = false;
                locked(&self.changes).push(Change::Gone(*id));
                wake(&self.wakener);
            }
            if !place.here
                && let Some(link) = world.links.iter().find(|l| l.ether && l.mac == place.mac && l.index != place.shown)
            {
                match attach::back(route, &place.name, link) {
                    Ok(wire) => {
                        eprintln!("pfd: {}: its adapter is back", place.name);
                        (place.adapter, place.here) = (link.index, true);
                        if place.role == Role::Bridged {
                            place.shown = link.index;
                        }
                        locked(&self.changes).push(Change::Back(*id, wire));
                        wake(&self.wakener);
                    }
                    Err(e) => eprintln!("pfd: {}: its adapter is back but cannot be taken: {e}", place.name),
                }
            }
            if place.role == Role::Attached {
                if let Some(tap) = carriers.get(id) {
                    let on = place.here && adapter.is_some_and(|a| !a.is_up() || a.has_carrier());
                    let _refused = sys::set_carrier(tap, on);
                }
                if let (Some(shown), Some(adapter)) = (shown, adapter) {
                    mirror(route, &place.name, shown, adapter);
                    place.mac = shown.mac;
                }
            }
            if let (Some(link), Some(port)) = (shown, locked(&self.edge).ports.get_mut(*id)) {
                (port.mac, port.mtu) = (link.mac, link.mtu);
                port.iface = u16::try_from(place.shown).unwrap_or(port.iface);
                let _no_room = port.set_vlans(&world.vlans(link.index));
            }
        }
    }
}

/// What an administrator does to the interface happens to the adapter.
fn mirror(route: &mut Route, name: &str, shown: &crate::netlink::link::Link, adapter: &crate::netlink::link::Link) {
    let say = |what: &str, done: io::Result<()>| {
        if let Err(e) = done {
            eprintln!("pfd: {name}: {what} of the adapter: {e}");
        }
    };
    if shown.mtu != adapter.mtu {
        say("MTU", route.set_mtu(adapter.index, shown.mtu));
    }
    if shown.mac != adapter.mac {
        say("hardware address", route.set_mac(adapter.index, shown.mac));
    }
    if shown.is_up() != adapter.is_up() {
        say("state", route.set_flags(adapter.index, if shown.is_up() { UP } else { 0 }, UP));
    }
}

/// What one turn holds.
struct Locked<'t> {
    edge: MutexGuard<'t, Edge>,
    filter: &'t mut Filter<Unix>,
    known: &'t Known,
}

impl Deciding for Locked<'_> {
    fn frame(&mut self, entry: Entry, lent: Lent<'_>, offload: Offload, room: &mut [u8], out: &mut Outgoing) -> Fate {
        let mut around = Filtered { filter: &mut *self.filter, neighbours: self.known };
        self.edge.frame(&mut around, entry, lent, offload, room, out)
    }

    fn refuse(&mut self) {
        let counts = &mut self.edge.counts;
        counts.received += 1;
        counts.drop(Why::Offload);
    }

    fn made(&mut self, out: &mut Outgoing) {
        let mut around = Filtered { filter: &mut *self.filter, neighbours: self.known };
        self.edge.made(&mut around, out);
    }
}

impl Filtering for Stand<'_> {
    fn decide(&self, f: impl FnOnce(&mut dyn Deciding)) {
        let edge = locked(&self.edge);
        self.filter.with(|filter| f(&mut Locked { edge, filter, known: &self.known }));
    }

    fn neighbour(&self, hop: &Hop) -> Option<[u8; 6]> {
        self.known.mac(hop)
    }
}

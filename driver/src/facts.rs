//! What the filter knows of its host: interfaces, groups, addresses, ways, ports in use.
//!
//! Facts come as rows ([`FactRow`]): from a facts file, from the system, or pushed by an administrator or a service. They
//! are taken in whole or not at all, and what rules say of names (`(em0)`, `egress`, `self`, `set skip on`) is bound anew
//! to a running engine ([`crate::filter::Filter::set_facts`]).
//!
//! **Invariant:** an answer on the packet path takes a bounded number of steps: a lookup by longest prefix, a search
//! among sorted ports, or a walk over the addresses of one interface, of which there are at most [`MAX_ADDRESSES`].
//!
//! Source: `pf_if.c pfi_instance_add`, `pfi_table_update`.

use alloc::vec::Vec;

use pfvm::api::{FactRow, MAX_NAME, decode_row};
use pfvm::engine::ifaces::Live;
use pfvm::host::Hop;
use pfvm::image::{DynFlags, TableKind};
use pfvm::rule::{Addr, Af};
use pfvm::state::pool::{OutOfMemory, copied, room};
use pfvm::table::{Entry, Slot, Tables};

/// Most interfaces.
pub const MAX_IFACES: usize = 4096;
/// Most addresses of an interface.
pub const MAX_ADDRESSES: usize = 256;
/// Most ways of the routing table; more are refused.
pub const MAX_ROUTES: usize = 1 << 20;
/// Indexes of interfaces that are known from before and have not been met again begin here.
const PARKED: u16 = 0x8000;
/// Names with a star are patterns: this stands among the groups then.
const PATTERNS: &str = "*";

/// Bits of an interface.
pub mod flag {
    /// A loopback interface.
    pub const LOOPBACK: u8 = 1;
    /// It is up.
    pub const UP: u8 = 2;
    /// It has a broadcast address.
    pub const BROADCAST: u8 = 4;
    /// It leads to one other end.
    pub const POINT_TO_POINT: u8 = 8;
}

/// Why facts were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactsError {
    /// No memory.
    Memory(OutOfMemory),
    /// A row that does not decode or means nothing, by its number from 0.
    Row {
        /// Which.
        row: u32,
        /// What is wrong.
        what: &'static str,
    },
}

impl From<OutOfMemory> for FactsError {
    fn from(why: OutOfMemory) -> Self {
        Self::Memory(why)
    }
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Family.
    pub af: Af,
    /// Address.
    pub addr: Addr,
    /// Prefix length of its network.
    pub prefix: u8,
    /// Broadcast address.
    pub broadcast: Option<Addr>,
    /// Other end of the link.
    pub peer: Option<Addr>,
}

/// An interface.
#[derive(Debug)]
pub struct Iface {
    /// Index.
    pub index: u16,
    name: Vec<u8>,
    groups: Vec<Vec<u8>>,
    /// See [`flag`].
    pub flags: u8,
    /// MTU.
    pub mtu: u32,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Addresses, in the system's order.
    pub addresses: Vec<Address>,
}

fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or("")
}

impl Iface {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        text(&self.name)
    }

    /// Its groups, without `all`.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|g| text(g))
    }

    /// Whether a bit of [`flag`] is set.
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether one of its names is this LUID (`luid:0x…`), which Windows gives an interface for good.
    fn has_luid(&self, luid: u64) -> bool {
        let number = |name: &str| u64::from_str_radix(name.strip_prefix("luid:0x")?, 16).ok();
        self.groups().any(|name| number(name) == Some(luid))
    }
}

/// A way of the routing table.
#[derive(Clone, Copy, Debug)]
struct Way {
    metric: u32,
    iface: u16,
    af: Af,
    addr: Addr,
    prefix: u8,
    hop: Option<Addr>,
}

/// All facts.
#[derive(Debug)]
pub struct HostFacts {
    ifaces: Vec<Iface>,
    /// Ways by prefix; the weight of an entry is the index of its interface.
    ways: Tables,
    slot: Option<Slot>,
    routes: Vec<Way>,
    /// Protocol and port, sorted.
    ports: Vec<(u8, u16)>,
    patterns: bool,
    /// They were told before the system was started anew: indexes mean nothing until [`HostFacts::meet`].
    from_before: bool,
}

/// Whether an address lies in a network.
fn within(addr: &Addr, net: &Addr, prefix: u8) -> bool {
    let bits = |a: &Addr| u128::from_be_bytes(a.0);
    let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
    (bits(addr) ^ bits(net)) & mask == 0
}

const fn width(af: Af) -> u8 {
    match af {
        Af::Inet => 32,
        Af::Inet6 => 128,
    }
}

/// Rows being taken in.
#[derive(Default)]
struct Reading {
    ifaces: Vec<Iface>,
    routes: Vec<Way>,
    ports: Vec<(u8, u16)>,
    patterns: bool,
}

fn put<T>(list: &mut Vec<T>, item: T, most: usize) -> Result<(), &'static str> {
    if list.len() >= most {
        return Err("there are too many of its kind");
    }
    list.try_reserve(1).map_err(|_| "no memory")?;
    if list.len() < list.capacity() {
        list.push(item);
    }
    Ok(())
}

fn name_of(name: &str) -> Result<Vec<u8>, &'static str> {
    let good = !name.is_empty() && name.len() <= MAX_NAME && !name.bytes().any(|b| b < b' ' || b == 0x7f);
    if good { copied("names", name.as_bytes()).map_err(|_| "no memory") } else { Err("the name is empty or too long") }
}

impl Reading {
    fn row(&mut self, row: &FactRow<'_>) -> Result<(), &'static str> {
        match *row {
            FactRow::Iface { index, name, flags, mtu, mac } => {
                if index == 0 || index == u16::MAX || self.ifaces.iter().any(|i| i.index == index) {
                    return Err("the index is taken, 0 or 65535");
                }
                if self.ifaces.iter().any(|i| i.name == name.as_bytes()) {
                    return Err("there is an interface of that name");
                }
                let (name, groups, addresses) = (name_of(name)?, Vec::new(), Vec::new());
                put(&mut self.ifaces, Iface { index, name, groups, flags, mtu, mac, addresses }, MAX_IFACES)
            }
            FactRow::Group(name) => {
                let name = name_of(name)?;
                put(&mut self.last()?.groups, name, MAX_ADDRESSES)
            }
            FactRow::Address { af, addr, prefix, broadcast, peer } => {
                if prefix > width(af) {
                    return Err("the prefix is longer than the address");
                }
                let address = Address { af, addr, prefix, broadcast, peer };
                put(&mut self.last()?.addresses, address, MAX_ADDRESSES)
            }
            FactRow::Route { af, addr, prefix, hop, metric } => {
                if prefix > width(af) {
                    return Err("the prefix is longer than the address");
                }
                let iface = self.last()?.index;
                put(&mut self.routes, Way { metric, iface, af, addr, prefix, hop }, MAX_ROUTES)
            }
            FactRow::Port { proto, port } => put(&mut self.ports, (proto, port), 1 << 17),
            FactRow::Wildcards => {
                self.patterns = true;
                Ok(())
            }
        }
    }

    fn last(&mut self) -> Result<&mut Iface, &'static str> {
        self.ifaces.last_mut().ok_or("no interface stands before it")
    }
}

impl HostFacts {
    /// A host of which nothing is known.
    ///
    /// # Errors
    /// [`FactsError::Memory`].
    pub fn none() -> Result<Self, FactsError> {
        Self::read(&[])
    }

    /// Reads rows, one after the other.
    ///
    /// # Errors
    /// [`FactsError`]: which row is wrong.
    pub fn read(mut rows: &[u8]) -> Result<Self, FactsError> {
        let mut reading = Reading::default();
        let mut number = 0_u32;
        while !rows.is_empty() {
            let bad = |what| FactsError::Row { row: number, what };
            let (row, rest) = decode_row::<FactRow<'_>>(rows).map_err(|_| bad("it does not decode"))?;
            reading.row(&row).map_err(bad)?;
            rows = rest;
            number = number.saturating_add(1);
        }
        Self::of(reading)
    }

    /// Reads rows that were told before the system was started anew ([`HostFacts::lasting`]). It may number its interfaces
    /// otherwise now: each has a number nobody has until it is met again.
    ///
    /// # Errors
    /// [`FactsError`].
    pub fn read_from_before(rows: &[u8]) -> Result<Self, FactsError> {
        let mut facts = Self::read(rows)?;
        let renumbered = |of: &[Iface], index: u16| {
            let at = of.iter().position(|i| i.index == index).and_then(|at| u16::try_from(at).ok());
            at.map_or(u16::MAX, |at| PARKED.saturating_add(at))
        };
        for way in &mut facts.routes {
            way.iface = renumbered(&facts.ifaces, way.iface);
        }
        for (iface, index) in facts.ifaces.iter_mut().zip(PARKED..=u16::MAX) {
            iface.index = index;
        }
        facts.from_before = true;
        facts.rebuild()?;
        Ok(facts)
    }

    /// An adapter of this LUID is there, under this index: whether that is an interface known from before, which has the
    /// index from now on.
    ///
    /// # Errors
    /// [`OutOfMemory`]: nothing has changed.
    pub fn meet(&mut self, luid: u64, index: u16) -> Result<bool, OutOfMemory> {
        if !self.from_before || index == 0 || index == u16::MAX {
            return Ok(false);
        }
        let Some(before) = self.ifaces.iter().find(|i| i.has_luid(luid)).map(|i| i.index) else { return Ok(false) };
        self.exchange(before, index);
        if let Err(why) = self.rebuild() {
            self.exchange(before, index);
            return Err(why);
        }
        Ok(true)
    }

    /// Gives whoever has one of two indexes the other.
    fn exchange(&mut self, a: u16, b: u16) {
        let other = |index: &mut u16| match *index {
            i if i == a => *index = b,
            i if i == b => *index = a,
            _ => {}
        };
        self.ifaces.iter_mut().for_each(|i| other(&mut i.index));
        self.routes.iter_mut().for_each(|r| other(&mut r.iface));
    }

    /// Indexes ways anew.
    fn rebuild(&mut self) -> Result<(), OutOfMemory> {
        let (ways, slot) = tables(&self.ifaces, &self.routes)?;
        (self.ways, self.slot) = (ways, slot);
        if let Some(slot) = slot {
            self.index(slot);
        }
        Ok(())
    }

    /// Sorts ports, indexes ways: of two to one network the lower metric counts, and a network on a link before those.
    fn of(reading: Reading) -> Result<Self, FactsError> {
        let Reading { ifaces, mut routes, mut ports, patterns } = reading;
        pfvm::sort::sort_by(&mut ports, |a, b| a < b);
        let key = |r: &Way| (r.metric, r.iface, r.prefix, r.af, r.addr);
        pfvm::sort::sort_by(&mut routes, |a, b| key(a) < key(b));
        let (ways, slot) = tables(&ifaces, &routes)?;
        let mut facts = Self { ifaces, ways, slot, routes, ports, patterns, from_before: false };
        if let Some(slot) = slot {
            facts.index(slot);
        }
        Ok(facts)
    }

    fn index(&mut self, slot: Slot) {
        let way = |af, addr, prefix, iface| Entry { weight: iface, ..Entry::new(af, addr, prefix) };
        for i in &self.ifaces {
            for a in &i.addresses {
                let _ = self.ways.add(slot, &way(a.af, a.addr, a.prefix, i.index));
            }
        }
        for r in &self.routes {
            let _ = self.ways.add(slot, &way(r.af, r.addr, r.prefix, r.iface));
        }
    }

    /// All interfaces.
    #[must_use]
    pub fn ifaces(&self) -> &[Iface] {
        &self.ifaces
    }

    /// An interface by its index.
    #[must_use]
    pub fn iface(&self, index: u16) -> Option<&Iface> {
        self.ifaces.iter().find(|i| i.index == index)
    }

    /// An interface by its name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Iface> {
        self.ifaces.iter().find(|i| i.name == name.as_bytes())
    }

    /// Whether a name means an interface: its own, a group's, a pattern.
    #[must_use]
    pub fn is(&self, iface: &Iface, name: &str) -> bool {
        name == "all"
            || iface.name() == name
            || iface.groups().any(|g| g == name)
            || (self.patterns && name.bytes().any(|b| b == b'*') && pfvm::engine::ifaces::matches(name, iface.name()))
    }

    /// The way to an address.
    #[must_use]
    pub fn route(&self, af: Af, addr: &Addr) -> Option<Hop> {
        let index = self.ways.lookup(self.slot?, af, addr)?.weight;
        Some(Hop { iface: index, mtu: self.iface(index).map_or(1500, |i| i.mtu) })
    }

    /// The next hop towards an address: itself where it is on the link.
    #[must_use]
    pub fn next_hop(&self, af: Af, addr: &Addr) -> Option<(u16, Addr)> {
        let way = self.ways.lookup(self.slot?, af, addr)?;
        let same = |r: &&Way| r.af == af && r.prefix == way.prefix && r.iface == way.weight;
        let hop = self.routes.iter().filter(same).find(|r| within(&way.addr, &r.addr, r.prefix)).and_then(|r| r.hop);
        Some((way.weight, hop.unwrap_or(*addr)))
    }

    /// The host's own address that answers for packets to an address.
    #[must_use]
    pub fn answers_for(&self, af: Af, addr: &Addr) -> Option<Addr> {
        let mine = || self.ifaces.iter().flat_map(|i| &i.addresses).filter(|a| a.af == af);
        let own = mine().find(|a| a.addr == *addr);
        own.or_else(|| mine().find(|a| a.broadcast == Some(*addr))).map(|a| a.addr)
    }

    /// The host's own address on an interface: of the network `toward` is in, else its first.
    #[must_use]
    pub fn own_address(&self, af: Af, iface: u16, toward: &Addr) -> Option<Addr> {
        let iface = self.iface(iface)?;
        let mine = || iface.addresses.iter().filter(|a| a.af == af);
        mine().find(|a| within(toward, &a.addr, a.prefix)).or_else(|| mine().next()).map(|a| a.addr)
    }

    /// Whether the host itself uses a port.
    #[must_use]
    pub fn port_in_use(&self, proto: u8, port: u16) -> bool {
        self.ports.binary_search(&(proto, port)).is_ok()
    }

    /// Calls `add` with what a table that follows `name` holds.
    pub fn follow(&self, name: &str, kind: &TableKind, add: &mut dyn FnMut(Entry)) {
        let TableKind::Dynamic { mods, prefix, .. } = kind else { return };
        for iface in self.ifaces.iter().filter(|i| name == "self" || self.is(i, name)) {
            follow_iface(iface, *mods, *prefix, add);
        }
    }

    /// Interfaces as the engine binds names to them. `groups` is made by [`HostFacts::groups`].
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn live<'f>(&'f self, groups: &'f [Vec<&'f str>]) -> Result<Vec<Live<'f>>, OutOfMemory> {
        let mut live = room("interfaces", u32::try_from(self.ifaces.len()).unwrap_or(u32::MAX))?;
        for (i, groups) in self.ifaces.iter().zip(groups) {
            if live.len() < live.capacity() {
                live.push(Live { index: i.index, name: i.name(), groups, loopback: i.has(flag::LOOPBACK) });
            }
        }
        Ok(live)
    }

    /// The groups of every interface, `all` among them.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn groups(&self) -> Result<Vec<Vec<&str>>, OutOfMemory> {
        let mut all = room("interfaces", u32::try_from(self.ifaces.len()).unwrap_or(u32::MAX))?;
        for i in &self.ifaces {
            let count = u32::try_from(i.groups.len()).unwrap_or(u32::MAX).saturating_add(2);
            let mut groups = room("groups", count)?;
            let patterns = self.patterns.then_some(PATTERNS);
            for g in i.groups().chain(["all"]).chain(patterns) {
                if groups.len() < groups.capacity() {
                    groups.push(g);
                }
            }
            if all.len() < all.capacity() {
                all.push(groups);
            }
        }
        Ok(all)
    }

    /// All rows, as they would be given again: interfaces with what belongs to them, then ports.
    pub fn rows(&self) -> impl Iterator<Item = FactRow<'_>> {
        let ports = self.ports.iter().map(|(proto, port)| FactRow::Port { proto: *proto, port: *port });
        self.lasting().chain(ports)
    }

    /// The rows that are worth keeping for the next start: interfaces with what belongs to them.
    pub fn lasting(&self) -> impl Iterator<Item = FactRow<'_>> {
        let patterns = self.patterns.then_some(FactRow::Wildcards).into_iter();
        let ifaces = self.ifaces.iter().flat_map(|i| {
            let head = FactRow::Iface { index: i.index, name: i.name(), flags: i.flags, mtu: i.mtu, mac: i.mac };
            let groups = i.groups().map(FactRow::Group);
            let addresses = i.addresses.iter().map(|a| {
                let Address { af, addr, prefix, broadcast, peer } = *a;
                FactRow::Address { af, addr, prefix, broadcast, peer }
            });
            let routes = self.routes.iter().filter(move |r| r.iface == i.index).map(|r| {
                let Way { metric, af, addr, prefix, hop, .. } = *r;
                FactRow::Route { af, addr, prefix, hop, metric }
            });
            core::iter::once(head).chain(groups).chain(addresses).chain(routes)
        });
        patterns.chain(ifaces)
    }
}

/// Tables for the ways of interfaces and routes, empty.
fn tables(ifaces: &[Iface], routes: &[Way]) -> Result<(Tables, Option<Slot>), OutOfMemory> {
    let links = ifaces.iter().map(|i| i.addresses.len()).fold(0_usize, usize::saturating_add);
    let count = u32::try_from(links.saturating_add(routes.len())).unwrap_or(u32::MAX);
    let mut ways = Tables::new(1, count, 0).ok_or(OutOfMemory { what: "ways", count })?;
    let slot = ways.create(false).ok();
    Ok((ways, slot))
}

/// What one interface adds to a table that follows it.
fn follow_iface(iface: &Iface, mods: DynFlags, prefix: u8, add: &mut dyn FnMut(Entry)) {
    let (mut got4, mut got6) = (false, false);
    for a in &iface.addresses {
        let v4 = a.af == Af::Inet;
        let usable = a.broadcast.is_some_and(|b| b != Addr::default());
        if mods.has(DynFlags::BROADCAST) && !(v4 && iface.has(flag::BROADCAST) && usable) {
            continue;
        }
        if mods.has(DynFlags::PEER) && !iface.has(flag::POINT_TO_POINT) {
            continue;
        }
        if mods.has(DynFlags::NETWORK) && !v4 && link_local(&a.addr) {
            continue;
        }
        let got = if v4 { &mut got4 } else { &mut got6 };
        if mods.has(DynFlags::NOALIAS) && *got {
            continue;
        }
        *got = true;
        let addr = if mods.has(DynFlags::BROADCAST) {
            a.broadcast.unwrap_or(a.addr)
        } else if mods.has(DynFlags::PEER) {
            a.peer.unwrap_or_default()
        } else {
            a.addr
        };
        let len = match prefix {
            u8::MAX if mods.has(DynFlags::NETWORK) => a.prefix,
            given => given.min(width(a.af)),
        };
        add(Entry::new(a.af, addr, len));
    }
}

fn link_local(addr: &Addr) -> bool {
    let [a, b, ..] = addr.0;
    a == 0xfe && b & 0xc0 == 0x80
}

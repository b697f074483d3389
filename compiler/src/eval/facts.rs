//! A small world for [`evaluate`](super::evaluate): names, tables and answers given as data.
//!
//! Holds what a test, `pfsim` or `explain` knows of a packet's surroundings. It never looks anything up on the host.

use super::{RuleRef, Seen, World};
use crate::ruleset::{Config, DynMods, Os, Rule, Ruleset, TableEntry};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Whether `(name:mods)/prefix` holds an address.
pub type Dynamic<'a> = Box<dyn Fn(&str, DynMods, Option<u8>, IpAddr) -> bool + 'a>;
/// Whether the route to an address carries a label.
pub type Labelled<'a> = Box<dyn Fn(IpAddr, &str) -> bool + 'a>;
/// Applies a `match` rule's translation.
pub type Translate<'a> = Box<dyn FnMut(&Rule, &RuleRef, &mut Seen) -> bool + 'a>;

/// Answers for one packet, as plain data; fields may be filled freely.
pub struct Facts<'a> {
    /// Name of the packet's interface.
    pub iface: String,
    /// Its groups.
    pub groups: Vec<String>,
    /// Whether it is a loopback one.
    pub loopback: bool,
    /// Name and groups of the interface the packet was received on.
    pub received_on: Option<(String, Vec<String>)>,
    /// Contents of tables by ruleset path and name; a table missing in an anchor is sought in the main ruleset.
    pub tables: BTreeMap<(String, String), Vec<TableEntry>>,
    /// Addresses behind `(name)`, as the tables of dynamic interfaces hold them.
    pub dynamic: Dynamic<'a>,
    /// Whether an address has a route (through the packet's interface).
    pub routable: Box<dyn Fn(IpAddr, bool) -> bool + 'a>,
    /// Whether the route to an address carries a label.
    pub route_label: Labelled<'a>,
    /// User and group of the socket.
    pub socket: (u32, u32),
    /// Which systems the SYN may be of.
    pub os: Box<dyn Fn(&Os) -> bool + 'a>,
    /// Tag of the packet.
    pub tag: Option<String>,
    /// Draws for `probability`.
    pub draw: Box<dyn FnMut(&RuleRef) -> u32 + 'a>,
    /// Answers for `max-pkt-rate`.
    pub over_rate: Box<dyn FnMut(&RuleRef) -> bool + 'a>,
    /// `once` rules already used.
    pub used: BTreeSet<RuleRef>,
    /// Translation of a `match` rule.
    pub translate: Translate<'a>,
}

impl<'a> Facts<'a> {
    /// A packet on an interface, tables as the configuration fills them; everything else at its most common.
    #[must_use]
    pub fn new(config: &Config, iface: &str, groups: &[&str]) -> Self {
        let mut tables = BTreeMap::new();
        for ruleset in [&config.main].into_iter().chain(&config.anchors) {
            collect_tables(ruleset, &mut tables);
        }
        Self {
            iface: iface.to_owned(),
            groups: groups.iter().map(|&g| g.to_owned()).collect(),
            loopback: iface.starts_with("lo"),
            received_on: None,
            tables,
            dynamic: Box::new(|_, _, _, _| false),
            routable: Box::new(|_, _| true),
            route_label: Box::new(|_, _| false),
            socket: (u32::MAX, u32::MAX),
            os: Box::new(|_| false),
            tag: None,
            draw: Box::new(|_| 1),
            over_rate: Box::new(|_| false),
            used: BTreeSet::new(),
            translate: Box::new(|_, _, _| true),
        }
    }
}

/// Tables of a ruleset and the inline anchors below it.
fn collect_tables(rules: &Ruleset, found: &mut BTreeMap<(String, String), Vec<TableEntry>>) {
    for table in &rules.tables {
        found.insert((rules.path.clone(), table.name.clone()), table.entries.clone());
    }
    for inline in rules.rules.iter().filter_map(|r| r.anchor.as_ref()?.inline.as_ref()) {
        collect_tables(inline, found);
    }
}

/// Whether the longest entry that holds an address is there and not negated; the first of equal ones counts.
#[must_use]
pub fn lookup(entries: &[TableEntry], addr: IpAddr) -> bool {
    let mut best: Option<&TableEntry> = None;
    for e in entries.iter().filter(|e| super::in_net(addr, e.addr, e.prefix)) {
        if best.is_none_or(|b| e.prefix > b.prefix) {
            best = Some(e);
        }
    }
    best.is_some_and(|e| !e.not)
}

impl World for Facts<'_> {
    fn on(&self, name: &str) -> bool {
        name == self.iface || self.groups.iter().any(|g| g == name) || (name == "any" && !self.loopback)
    }

    fn received_on(&self, name: &str) -> bool {
        self.received_on.as_ref().is_some_and(|(iface, groups)| {
            name == iface || groups.iter().any(|g| g == name) || (name == "any" && !groups.iter().any(|g| g == "lo"))
        })
    }

    fn in_table(&self, ruleset: &str, name: &str, addr: IpAddr) -> bool {
        let own = self.tables.get(&(ruleset.to_owned(), name.to_owned()));
        own.or_else(|| self.tables.get(&(String::new(), name.to_owned()))).is_some_and(|t| lookup(t, addr))
    }

    fn in_dynamic(&self, name: &str, mods: DynMods, prefix: Option<u8>, addr: IpAddr) -> bool {
        (self.dynamic)(name, mods, prefix, addr)
    }

    fn routable(&self, addr: IpAddr, through_iface: bool) -> bool {
        (self.routable)(addr, through_iface)
    }

    fn route_label(&self, addr: IpAddr, label: &str) -> bool {
        (self.route_label)(addr, label)
    }

    fn socket(&self) -> (u32, u32) {
        self.socket
    }

    fn os(&self, os: &Os) -> bool {
        (self.os)(os)
    }

    fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    fn draw(&mut self, rule: &RuleRef) -> u32 {
        (self.draw)(rule)
    }

    fn over_rate(&mut self, rule: &RuleRef) -> bool {
        (self.over_rate)(rule)
    }

    fn expired(&self, rule: &RuleRef) -> bool {
        self.used.contains(rule)
    }

    fn expire(&mut self, rule: &RuleRef) -> bool {
        self.used.insert(rule.clone())
    }

    fn translate(&mut self, rule: &Rule, at: &RuleRef, seen: &mut Seen) -> bool {
        (self.translate)(rule, at, seen)
    }
}

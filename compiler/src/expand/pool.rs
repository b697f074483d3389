//! Pools of one combination: the one address or table a list of hosts comes to, its ports and how it picks.
//!
//! Several hosts become a constant table `__automatic_N`, made anew for every combination as pfctl does.
//! Source: `parse.y collapse_redirspec`, `apply_redirspec`; `pfctl_optimize.c add_opt_table`.

use pfvm::rule::Af;

use super::{Cmp, Draft};
use crate::resolve::host::{Host, Kind, Wrap, ip_of};
use crate::resolve::{OpKind, Redir, Resolver};
use crate::ruleset::{Pool, PoolKind, Table, TableEntry};

/// `PF_NAT_PROXY_PORT_LOW` and `_HIGH`.
const NAT_PORTS: (u16, u16) = (50001, 65535);

/// A pool while its rule is walked (`pf_pool`).
#[derive(Clone, Debug)]
pub(crate) struct PoolDraft {
    pub wrap: Wrap,
    pub weight: u16,
    pub ports: (u16, u16),
    pub kind: PoolKind,
    pub sticky: bool,
    which: Which,
}

/// Which of a rule's pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Nat,
    Rdr,
    Route,
}

impl Default for PoolDraft {
    fn default() -> Self {
        PoolDraft {
            wrap: Wrap::default(),
            weight: 0,
            ports: (0, 0),
            kind: PoolKind::None,
            sticky: false,
            which: Which::Route,
        }
    }
}

impl PoolDraft {
    /// As the resolved rule keeps it; `None` without a pool.
    pub(super) fn resolved(&self, af: Option<Af>) -> Option<Pool> {
        if self.wrap.kind == Kind::None {
            return None;
        }
        let (lo, hi) = self.ports;
        let fixed = self.which == Which::Nat && self.ports == (0, 0);
        let ports = match self.which {
            Which::Nat => (self.ports != NAT_PORTS && !fixed).then_some((lo, hi)),
            Which::Rdr => (lo != 0).then_some((lo, if hi == 0 { lo } else { hi })),
            Which::Route => None,
        };
        Some(Pool {
            kind: self.kind,
            sticky: self.sticky,
            addr: self.wrap.spec(af),
            weight: self.weight,
            ports,
            static_port: fixed,
        })
    }
}

/// Pool types that pick among several addresses.
fn picks(kind: PoolKind) -> bool {
    !matches!(kind, PoolKind::None | PoolKind::Bitmask)
}

fn noun(which: Which) -> &'static str {
    if which == Which::Route { "routing" } else { "translation" }
}

impl Resolver<'_> {
    fn pool_error(&mut self, draft: &Draft, text: String) -> bool {
        self.error(draft.at, draft.span, text);
        true
    }

    /// Reduces the hosts of a pool to one address or table, and lets them choose the rule's family. True is an error.
    pub(super) fn collapse(&mut self, draft: &mut Draft, redir: Option<&Redir>, which: Which) -> bool {
        let hosts = redir.and_then(|r| r.hosts.as_ref()).filter(|h| !h.is_empty());
        let (Some(redir), Some(hosts)) = (redir, hosts) else {
            slot(draft, which).wrap = Wrap { kind: Kind::None, ..Wrap::default() };
            return false;
        };
        slot(draft, which).which = which;
        if draft.af_to {
            draft.rule.naf = redir.af;
        }
        let mut chosen: Option<Af> = None;
        let mut gathered = Gathered::default();
        for host in hosts {
            if which == Which::Route && host.wrap.kind == Kind::Dynamic && !only_peer(host) {
                return self.pool_error(draft, "route spec requires :peer with dynamic interface addresses".into());
            }
            if draft.rule.af.is_none() && chosen.is_none() && redir.af.is_some() {
                chosen = match draft.rule.naf {
                    Some(Af::Inet6) => Some(Af::Inet),
                    Some(Af::Inet) => Some(Af::Inet6),
                    None => redir.af,
                };
            }
            match (host.af, draft.rule.naf) {
                (Some(af), None) => {
                    if draft.rule.af.is_some_and(|rule| rule != af) {
                        continue;
                    }
                    if draft.rule.af.is_none() && chosen.is_some_and(|c| c != af) {
                        let text = format!("{} spec contains addresses with different address families", noun(which));
                        return self.pool_error(draft, text);
                    }
                }
                (Some(af), Some(_)) if redir.af.is_some_and(|target| target != af) => {
                    let noun = noun(which);
                    let text = format!("{noun} spec contains addresses that don't match target address family");
                    return self.pool_error(draft, text);
                }
                _ => {}
            }
            if draft.rule.af.is_none() && chosen.is_none() {
                chosen = host.af;
            }
            if self.gather(draft, redir, which, host, &mut gathered) {
                return true;
            }
        }
        draft.rule.af = draft.rule.af.or(chosen);
        if gathered.count == 0 {
            return self.pool_error(draft, format!("af mismatch in {} spec", noun(which)));
        }
        if let Some(table) = gathered.table {
            let name = table.name.clone();
            self.echo(|| crate::print::table(&table));
            self.anchors.add_automatic(table);
            slot(draft, which).wrap = Wrap { kind: Kind::Table, name, ..Wrap::default() };
        }
        false
    }

    /// Takes one more host into the pool.
    fn gather(&mut self, draft: &mut Draft, redir: &Redir, which: Which, host: &Host, so_far: &mut Gathered) -> bool {
        if so_far.count == 0 {
            let pool = slot(draft, which);
            pool.wrap = host.wrap.clone();
            pool.weight = host.weight;
            so_far.first = Some(host.clone());
            so_far.count = 1;
            return false;
        }
        if redir.opts.kind == PoolKind::Bitmask {
            let text = "pool type is not valid for multiple translation or routing addresses";
            return self.pool_error(draft, text.into());
        }
        let plain = |kind: Kind| matches!(kind, Kind::Mask | Kind::None);
        if so_far.first.as_ref().is_some_and(|f| !plain(f.wrap.kind)) && !plain(host.wrap.kind) {
            let text = "multiple tables or dynamic interfaces not supported for translation or routing";
            return self.pool_error(draft, text.into());
        }
        let numbers = &mut self.globals.numbers;
        if so_far.table.is_none() {
            so_far.table = Some(automatic(numbers.take()));
        }
        let first = so_far.first.take();
        for host in first.iter().chain(std::iter::once(host)) {
            let Some(entry) = entry(host) else {
                self.program("failed to add host: Invalid argument");
                return true;
            };
            if let Some(table) = &mut so_far.table {
                table.entries.push(entry);
            }
        }
        so_far.count = so_far.count.saturating_add(1);
        false
    }

    /// Ports and options of a pool. True is an error.
    pub(super) fn apply(&mut self, draft: &mut Draft, redir: Option<&Redir>, which: Which, dst: Cmp<u16>) -> bool {
        let Some((redir, hosts)) = redir.and_then(|r| r.hosts.as_ref().map(|hosts| (r, hosts))) else { return false };
        let port = redir.port;
        let mut ports = (port.a, port.b);
        if which == Which::Nat {
            if ports == (0, 0) {
                ports = NAT_PORTS;
            } else if ports.1 == 0 {
                ports.1 = ports.0;
            }
        } else if port.b == 0 && port.op != OpKind::None {
            ports.1 = port.a.wrapping_add(dst.b.wrapping_sub(dst.a));
        } else if port.op.is_empty_range(port.a, port.b) {
            slot(draft, which).ports.0 = port.a;
            return self.pool_error(draft, "invalid rdr-to port range".into());
        }
        let pool = slot(draft, which);
        pool.which = which;
        pool.ports = ports;
        pool.kind = redir.opts.kind;
        pool.sticky = false;
        if pool.kind == PoolKind::None && (pool.wrap.kind == Kind::Table || pool.wrap.is_multi()) {
            pool.kind = PoolKind::RoundRobin;
        }
        if !picks(pool.kind) {
            if let Some(table) = hosts.iter().find(|h| h.wrap.kind == Kind::Table) {
                let _ = table;
                return self.pool_error(draft, "tables are not supported by pool type".into());
            }
            if let Some(host) = hosts.iter().find(|h| h.wrap.is_multi()) {
                let text = format!("interface ({}) is not supported by pool type", host.wrap.name);
                return self.pool_error(draft, text);
            }
        }
        pool.sticky = redir.opts.sticky;
        if redir.opts.static_port {
            if which != Which::Nat {
                return self.pool_error(draft, "the 'static-port' option is only valid with nat rules".into());
            }
            if ports.0 != NAT_PORTS.0 && ports.1 != NAT_PORTS.1 {
                let text = "the 'static-port' option can't be used when specifying a port range";
                return self.pool_error(draft, text.into());
            }
            slot(draft, which).ports = (0, 0);
        }
        false
    }
}

/// Hosts taken so far.
#[derive(Default)]
struct Gathered {
    count: usize,
    first: Option<Host>,
    table: Option<Table>,
}

fn slot(draft: &mut Draft, which: Which) -> &mut PoolDraft {
    match which {
        Which::Nat => &mut draft.nat,
        Which::Rdr => &mut draft.rdr,
        Which::Route => &mut draft.route,
    }
}

fn only_peer(host: &Host) -> bool {
    let mods = host.wrap.mods;
    mods.peer && !mods.network && !mods.broadcast && !mods.noalias
}

/// An empty automatic table.
fn automatic(name: String) -> Table {
    Table {
        name,
        persist: false,
        constant: true,
        counters: false,
        init: true,
        entries: Vec::new(),
        files: Vec::new(),
        automatic: true,
        place: crate::ruleset::Place::default(),
    }
}

/// A host as a table entry; `None` when it has no family or a mask too long for it.
pub(crate) fn entry(host: &Host) -> Option<TableEntry> {
    let af = host.af?;
    let prefix = host.wrap.prefix();
    if prefix > if af == Af::Inet { 32 } else { 128 } {
        return None;
    }
    let addr = ip_of(&host.wrap.addr, af);
    Some(TableEntry { addr, prefix, not: host.not, weight: host.weight, from_file: false })
}

//! Hosts: what an address specification stands for on this machine.
//!
//! Holds [`Host`], one address pfctl has looked up (its `node_host`), and the look-up of a name as interface, numeric
//! address or host name, in that order. Says on standard error what pfctl says; the caller adds its own message.
//!
//! **Invariant:** an address of kind [`Kind::Mask`] is masked, except one whose mask came from elsewhere in the list.
//!
//! Source: `pfctl_parser.c host`, `host_if`, `host_ip`, `host_dns`, `set_ipmask`.

use std::net::IpAddr;

use pfvm::rule::Af;

use super::number::{self, strtonum};
use crate::facts::{Facts, Found, Wanted};
use crate::ruleset::{AddrSpec, DynMods};

/// What an address wrap holds (`PF_ADDR_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Address and mask.
    #[default]
    Mask,
    /// First and last address.
    Range,
    /// Interface whose addresses are followed.
    Dynamic,
    /// Table.
    Table,
    /// `no-route`.
    NoRoute,
    /// `urpf-failed`.
    UrpfFailed,
    /// Route label.
    RouteLabel,
    /// Nothing: no pool.
    None,
}

/// An address specification (`pf_addr_wrap`). Names share memory with address and mask in pf: [`Wrap::mask_bytes`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrap {
    pub kind: Kind,
    pub addr: [u8; 16],
    pub mask: [u8; 16],
    pub name: String,
    pub mods: DynMods,
}

/// One host of a list (`node_host`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Host {
    pub wrap: Wrap,
    pub af: Option<Af>,
    pub not: bool,
    /// Interface index of a link-local address, 0 for none.
    pub scope: u32,
    pub weight: u16,
}

pub(crate) fn af_of(addr: IpAddr) -> Af {
    if addr.is_ipv4() { Af::Inet } else { Af::Inet6 }
}

/// The first `bits` bits set.
pub(crate) fn mask_of(bits: u8) -> [u8; 16] {
    let value = u128::MAX.checked_shl(128u32.saturating_sub(u32::from(bits))).unwrap_or(0);
    value.to_be_bytes()
}

/// Leading one bits.
pub(crate) fn prefix_of(mask: &[u8; 16]) -> u8 {
    u8::try_from(u128::from_be_bytes(*mask).leading_ones()).unwrap_or(128)
}

fn bytes_of(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// Bytes as an address of a family.
pub(crate) fn ip_of(bytes: &[u8; 16], af: Af) -> IpAddr {
    match af {
        Af::Inet => {
            let [a, b, c, d, ..] = *bytes;
            IpAddr::from([a, b, c, d])
        }
        Af::Inet6 => IpAddr::from(*bytes),
    }
}

impl Wrap {
    /// The mask as pf's memory has it: a table's or label's name reaches into it.
    pub(crate) fn mask_bytes(&self) -> [u8; 16] {
        match self.kind {
            Kind::Table | Kind::RouteLabel => {
                let mut out = [0u8; 16];
                for (slot, byte) in out.iter_mut().zip(self.name.bytes().skip(16)) {
                    *slot = byte;
                }
                out
            }
            _ => self.mask,
        }
    }

    pub(crate) fn prefix(&self) -> u8 {
        prefix_of(&self.mask)
    }

    /// Address and mask both zero: prints as `any`.
    pub(crate) fn is_any(&self) -> bool {
        self.kind == Kind::Mask && self.addr == [0; 16] && self.mask == [0; 16]
    }

    /// Several addresses may stand behind a dynamic interface: no `:0`, or a group.
    pub(crate) fn is_multi(&self) -> bool {
        self.kind == Kind::Dynamic && (!self.mods.noalias || !self.name.ends_with(|c: char| c.is_ascii_digit()))
    }

    /// Sets the mask, and cuts the address to it where there is one.
    pub(crate) fn set_mask(&mut self, bits: u8) {
        self.mask = mask_of(bits);
        if self.kind == Kind::Mask {
            for (byte, mask) in self.addr.iter_mut().zip(self.mask) {
                *byte &= mask;
            }
        }
    }

    /// As the resolved rule keeps it; `af` is the rule's family.
    pub(crate) fn spec(&self, af: Option<Af>) -> AddrSpec {
        let af = af.unwrap_or(Af::Inet6);
        match self.kind {
            Kind::Mask if self.is_any() => AddrSpec::Any,
            Kind::Mask => AddrSpec::Net { addr: ip_of(&self.addr, af), prefix: self.prefix() },
            Kind::Range => AddrSpec::Range { lo: ip_of(&self.addr, af), hi: ip_of(&self.mask, af) },
            Kind::Dynamic => {
                let prefix = self.prefix();
                let full = prefix == 128 || (af == Af::Inet && prefix >= 32);
                AddrSpec::Dynamic { name: self.name.clone(), mods: self.mods, prefix: (!full).then_some(prefix) }
            }
            Kind::Table => AddrSpec::Table(self.name.clone()),
            Kind::NoRoute => AddrSpec::NoRoute,
            Kind::UrpfFailed => AddrSpec::UrpfFailed,
            Kind::RouteLabel => AddrSpec::RouteLabel(self.name.clone()),
            Kind::None => AddrSpec::Any,
        }
    }
}

impl Host {
    /// A host of a kind that has no address.
    pub(crate) fn of(kind: Kind, name: &str) -> Host {
        Host { wrap: Wrap { kind, name: name.to_owned(), ..Wrap::default() }, ..Host::default() }
    }

    /// A dynamic interface; its mask is full until something narrows it.
    pub(crate) fn dynamic(name: &str, mods: DynMods) -> Host {
        let wrap = Wrap { kind: Kind::Dynamic, mask: mask_of(128), name: name.to_owned(), mods, ..Wrap::default() };
        Host { wrap, ..Host::default() }
    }

    /// An address with a mask; `None` is the full one.
    pub(crate) fn addr(addr: IpAddr, bits: Option<u8>, scope: u32) -> Host {
        let af = af_of(addr);
        let mut wrap = Wrap { addr: bytes_of(addr), ..Wrap::default() };
        wrap.set_mask(bits.unwrap_or(if addr.is_ipv4() { 32 } else { 128 }));
        Host { wrap, af: Some(af), scope, ..Host::default() }
    }

    /// The address as such; only for kind [`Kind::Mask`].
    pub(crate) fn ip(&self) -> IpAddr {
        ip_of(&self.wrap.addr, self.af.unwrap_or(Af::Inet))
    }
}

/// Splits `:modifier`s off the end of an interface name; `None` when one of them is unknown.
pub(crate) fn split_mods(text: &str) -> Option<(&str, DynMods)> {
    let mut rest = text;
    let mut mods = DynMods::default();
    while let Some((front, modifier)) = rest.rsplit_once(':') {
        match modifier {
            "network" => mods.network = true,
            "broadcast" => mods.broadcast = true,
            "peer" => mods.peer = true,
            "0" => mods.noalias = true,
            _ => return None,
        }
        rest = front;
    }
    Some((rest, mods))
}

/// More than one of the modifiers that exclude each other.
pub(crate) fn contradict(mods: DynMods) -> bool {
    usize::from(mods.network) + usize::from(mods.broadcast) + usize::from(mods.peer) > 1
}

/// What a look-up had to say and do.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Lines on standard error.
    pub lines: Vec<String>,
    /// The interfaces were asked for.
    pub interfaces: bool,
}

/// Looks a host up; an empty list is a failure.
pub(crate) fn look_up(text: &str, facts: &Facts, numeric: bool, said: &mut Said) -> Vec<Host> {
    let (name, bits) = match text.find('/') {
        None => (text, None),
        Some(at) => {
            let (name, tail) = text.split_at_checked(at).unwrap_or((text, ""));
            match strtonum(tail.get(1..).unwrap_or_default(), 0, 128) {
                Ok(bits) => (name, u8::try_from(bits).ok()),
                Err(what) => {
                    said.lines.push(format!("netmask is {what}: {tail}"));
                    return Vec::new();
                }
            }
        }
    };
    let mut found = by_interface(name, bits, facts, said);
    if found.is_empty() {
        found = by_number(name, bits, facts).into_iter().collect();
    }
    if found.is_empty() {
        found = by_name(name, bits, facts, numeric);
    }
    if found.is_empty() {
        said.lines.push(format!("no IP address found for {text}"));
    }
    found
}

fn by_interface(name: &str, bits: Option<u8>, facts: &Facts, said: &mut Said) -> Vec<Host> {
    let Some((name, mods)) = split_mods(name) else { return Vec::new() };
    if contradict(mods) {
        said.lines.push("illegal combination of interface modifiers".into());
        return Vec::new();
    }
    if (mods.network || mods.broadcast) && bits.is_some() {
        said.lines.push("network or broadcast lookup, but extra netmask given".into());
        return Vec::new();
    }
    said.interfaces = true;
    if facts.exists(name).is_none() && name != "self" {
        return Vec::new();
    }
    let mut hosts = of_interface(name, mods, facts);
    if let Some(bits) = bits {
        for host in &mut hosts {
            host.wrap.set_mask(bits);
        }
    }
    hosts
}

/// Addresses of an interface as hosts.
pub(crate) fn of_interface(name: &str, mods: DynMods, facts: &Facts) -> Vec<Host> {
    let wanted = Wanted { network: mods.network, broadcast: mods.broadcast, peer: mods.peer, noalias: mods.noalias };
    let host = |f: Found| Host::addr(f.addr, Some(f.prefix), f.scope);
    facts.addresses(name, wanted).into_iter().map(host).collect()
}

fn by_number(name: &str, bits: Option<u8>, facts: &Facts) -> Option<Host> {
    if let Some((addr, scope)) = number::numeric_host(name, |n| facts.index_of(n)) {
        return Some(Host::addr(addr, bits, scope));
    }
    bits?;
    number::inet_net4(name).map(|v4| Host::addr(v4.into(), bits, 0))
}

fn by_name(name: &str, bits: Option<u8>, facts: &Facts, numeric: bool) -> Vec<Host> {
    let (name, noalias) = match name.strip_suffix(":0") {
        Some(front) => (front, true),
        None => (name, false),
    };
    if let Some((addr, scope)) = number::numeric_host(name, |n| facts.index_of(n)) {
        return vec![Host::addr(addr, bits, scope)];
    }
    if numeric {
        return Vec::new();
    }
    let (mut got4, mut got6) = (false, false);
    let mut hosts = Vec::new();
    for addr in facts.resolve(name) {
        let got = if addr.is_ipv4() { &mut got4 } else { &mut got6 };
        if noalias && *got {
            continue;
        }
        *got = true;
        hosts.push(Host::addr(addr, bits, 0));
    }
    hosts
}

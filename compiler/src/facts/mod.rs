//! What the compiler must know of the machine a ruleset is for.
//!
//! Holds interfaces with their groups and addresses, host names, users, groups, routing tables and OS fingerprint names
//! as plain data, and answers the lookups that pfctl makes with `getifaddrs`, `SIOCGIFGMEMB`, `getaddrinfo`,
//! `getpwnam` … on the live machine. Services and protocols come from tables shipped here ([`names`]).
//! A file is read by [`mod@file`], the live machine by [`live`].
//!
//! **Invariant:** a lookup depends on this data alone, so the same rules and facts give the same program anywhere.

pub mod file;
pub mod live;
mod names;
mod os;
pub mod rows;
mod show;
#[cfg(not(windows))]
mod system;
pub mod windows;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::source::{Disk, Loader};

pub use file::FactsError;
pub use names::{Transport, protocol_name};
pub use os::{OsNames, pack as pack_os};

/// `IFNAMSIZ` of OpenBSD: names are shorter than this.
pub const IFNAMSIZ: usize = 16;

/// The facts of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Interfaces in the order the system lists them, which is the order lists of addresses expand in.
    pub interfaces: Vec<Interface>,
    /// Addresses of host names, in the resolver's order; names in lower case.
    pub hosts: BTreeMap<String, Vec<IpAddr>>,
    /// Whether names that are not in `hosts` may be asked of the system's resolver.
    pub dns: bool,
    /// User ids by name.
    pub users: BTreeMap<String, u32>,
    /// Group ids by name.
    pub groups: BTreeMap<String, u32>,
    /// Services beyond the shipped table: `name` to (port, transport).
    pub services: BTreeMap<String, (u16, Transport)>,
    /// Routing tables that exist.
    pub rtables: Vec<u8>,
    /// Operating systems of the fingerprint file.
    pub os: OsNames,
    /// The fingerprints themselves, as the image carries them; set together with `os` by
    /// [`set_fingerprints`](Facts::set_fingerprints).
    pub prints: Vec<pfvm::image::Print>,
    /// Files of that machine: contents by name. They stand before the disk's.
    pub files: BTreeMap<String, String>,
    /// Folders of that machine that stand elsewhere on this one.
    pub folders: BTreeMap<String, std::path::PathBuf>,
    /// Longest interface name, exclusive; 0 is [`IFNAMSIZ`]. Windows aliases are longer.
    pub name_limit: usize,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Name rules use; on Windows the alias.
    pub name: String,
    /// Index, the scope of link-local addresses.
    pub index: u32,
    /// Properties.
    pub flags: IfaceFlags,
    /// Groups, without `all`.
    pub groups: Vec<String>,
    /// Addresses in order.
    pub addresses: Vec<Address>,
    /// Other names: `{GUID}`, LUID, MAC.
    pub ids: Vec<String>,
}

/// Properties of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IfaceFlags {
    /// `IFF_BROADCAST`.
    pub broadcast: bool,
    /// `IFF_LOOPBACK`.
    pub loopback: bool,
    /// `IFF_POINTOPOINT`.
    pub point_to_point: bool,
    /// Its addresses come from DHCP.
    pub dhcp: bool,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Address.
    pub addr: IpAddr,
    /// Prefix length of its network.
    pub prefix: u8,
    /// Broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// Other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// Interface index of a link-local address, 0 otherwise.
    pub scope: u32,
}

/// Which addresses of an interface a `:modifier` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `:network`.
    pub network: bool,
    /// `:broadcast`.
    pub broadcast: bool,
    /// `:peer`.
    pub peer: bool,
    /// `:0`.
    pub noalias: bool,
}

/// One answer of [`Facts::addresses`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Address; for a network not yet masked.
    pub addr: IpAddr,
    /// Prefix length: of the network when that was asked for, else the full width.
    pub prefix: u8,
    /// Interface index of a link-local address, 0 otherwise.
    pub scope: u32,
}

impl Facts {
    /// Takes names and fingerprints of a file, for rules with `os` and for the image.
    pub fn set_fingerprints(&mut self, file: &crate::osfp::Fingerprints) {
        self.os = file.os_names();
        self.prints.clone_from(&file.prints);
    }

    /// Longest name of an interface, exclusive.
    #[must_use]
    pub fn name_limit(&self) -> usize {
        if self.name_limit == 0 { IFNAMSIZ } else { self.name_limit }
    }

    /// Whether the interface is in the group.
    #[must_use]
    pub fn is_member(&self, iface: &str, group: &str) -> bool {
        self.interface(iface).is_some_and(|i| self.groups_with(i, group))
    }

    /// Whether the interface is in the group, by name or because its own name meets the wildcard.
    fn groups_with(&self, interface: &Interface, group: &str) -> bool {
        group == "all" || interface.groups.iter().any(|g| g == group) || self.meets(group, &interface.name)
    }

    /// Whether `pattern` is a wildcard such as `Ethernet*` and the name meets it, in whatever case.
    ///
    /// Only where names may be longer than pf's, as on Windows: to pf a star is a character like any other.
    fn meets(&self, pattern: &str, name: &str) -> bool {
        self.name_limit > IFNAMSIZ && pattern.contains('*') && wildcard(&pattern.to_lowercase(), &name.to_lowercase())
    }

    /// Whether the address belongs to one of the interfaces.
    #[must_use]
    pub fn is_own(&self, addr: IpAddr) -> bool {
        self.interfaces.iter().flat_map(|i| &i.addresses).any(|a| a.addr == addr)
    }

    /// Members of a group in interface order; `None` when there is no such group. Every interface is in `all`.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<Vec<&Interface>> {
        let members: Vec<_> = self.interfaces.iter().filter(|i| self.groups_with(i, name)).collect();
        (!members.is_empty()).then_some(members)
    }

    /// The interface of this name or other name.
    #[must_use]
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|i| i.name == name || i.ids.iter().any(|id| id == name))
    }

    /// What `ifa_exists` answers: the flags of an interface, none for a group, `None` for neither.
    #[must_use]
    pub fn exists(&self, name: &str) -> Option<IfaceFlags> {
        if self.group(name).is_some() {
            return Some(IfaceFlags::default());
        }
        self.interface(name).map(|i| i.flags)
    }

    /// Whether `name` is a link itself, not a group.
    #[must_use]
    pub fn is_link(&self, name: &str) -> bool {
        self.group(name).is_none() && self.interface(name).is_some()
    }

    /// Index of an interface, 0 when there is none.
    #[must_use]
    pub fn index_of(&self, name: &str) -> u32 {
        self.interfaces.iter().find(|i| i.name == name).map_or(0, |i| i.index)
    }

    /// Name of an interface index.
    #[must_use]
    pub fn name_of(&self, index: u32) -> Option<&str> {
        self.interfaces.iter().find(|i| i.index == index).map(|i| i.name.as_str())
    }

    /// Addresses of an interface, group, interface family (`tun`) or `self`, in pfctl's order and with its omissions.
    ///
    /// Source: `pfctl_parser.c ifa_lookup`, `ifa_grouplookup`.
    #[must_use]
    pub fn addresses(&self, name: &str, wanted: Wanted) -> Vec<Found> {
        if let Some(members) = self.group(name) {
            let found: Vec<_> = members.iter().flat_map(|i| self.addresses_of(&i.name, wanted)).collect();
            if !found.is_empty() {
                return found;
            }
        }
        self.addresses_of(name, wanted)
    }

    fn addresses_of(&self, name: &str, wanted: Wanted) -> Vec<Found> {
        let mut found = Vec::new();
        for interface in self.interfaces.iter().filter(|i| name.is_empty() || name == "self" || covers(name, i)) {
            let (mut got4, mut got6) = (false, false);
            for address in &interface.addresses {
                let v4 = address.addr.is_ipv4();
                if !offers(interface, address, wanted) || (wanted.noalias && if v4 { got4 } else { got6 }) {
                    continue;
                }
                if v4 {
                    got4 = true
                } else {
                    got6 = true
                }
                found.push(answer(address, wanted));
            }
        }
        found
    }

    /// Addresses of a host name. Numeric text is not looked at here.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Vec<IpAddr> {
        if let Some(found) = self.hosts.get(&name.to_ascii_lowercase()) {
            return found.clone();
        }
        if !self.dns || name.is_empty() {
            return Vec::new();
        }
        let mut found: Vec<IpAddr> = std::net::ToSocketAddrs::to_socket_addrs(&(name, 0))
            .map(|list| list.map(|a| a.ip()).collect())
            .unwrap_or_default();
        found.dedup();
        found
    }

    /// Where rules read files from: those of the facts, then folders put elsewhere, then the disk.
    #[must_use]
    pub fn loader(&self) -> Box<dyn Loader> {
        Box::new(Files { files: self.files.clone(), folders: self.folders.clone() })
    }

    /// Port of a service: `tcp` first, then `udp`.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<u16> {
        if let Some((port, _)) = self.services.get(name) {
            return Some(*port);
        }
        names::service_port(name, Transport::Tcp).or_else(|| names::service_port(name, Transport::Udp))
    }

    /// Name a port prints as.
    #[must_use]
    pub fn service_name(&self, port: u16, transport: Transport) -> Option<&str> {
        let own = self.services.iter().find(|(_, at)| **at == (port, transport)).map(|(name, _)| name.as_str());
        own.or_else(|| names::service_name(port, transport))
    }

    /// Names of services, for suggestions.
    pub fn service_names(&self) -> impl Iterator<Item = &str> + '_ {
        let shipped: Vec<&str> = names::service_names().collect();
        self.services.keys().map(String::as_str).chain(shipped)
    }

    /// Names of protocols, for suggestions.
    #[must_use = "names are only looked at"]
    pub fn protocol_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        names::protocol_names()
    }

    /// Names of interfaces, groups and hosts, for suggestions.
    pub fn host_names(&self) -> impl Iterator<Item = &str> {
        let groups = self.interfaces.iter().flat_map(|i| i.groups.iter().map(String::as_str));
        let interfaces = self.interfaces.iter().map(|i| i.name.as_str());
        interfaces.chain(groups).chain(self.hosts.keys().map(String::as_str)).chain(["self"])
    }

    /// Number of a protocol name.
    #[must_use]
    pub fn protocol(&self, name: &str) -> Option<u8> {
        names::protocol_number(name)
    }

    /// Name a protocol number prints as.
    #[must_use]
    pub fn protocol_name(&self, number: u8) -> Option<&'static str> {
        names::protocol_name(number)
    }
}

/// The files of a machine.
#[derive(Debug)]
struct Files {
    files: BTreeMap<String, String>,
    folders: BTreeMap<String, std::path::PathBuf>,
}

impl Loader for Files {
    fn read(&mut self, name: &str) -> Result<Vec<u8>, String> {
        if let Some(text) = self.files.get(name) {
            return Ok(text.clone().into_bytes());
        }
        for (folder, elsewhere) in &self.folders {
            let inside = name.strip_prefix(folder.as_str()).and_then(|rest| rest.strip_prefix('/'));
            if let Some(path) = inside.and_then(|rest| elsewhere.join(rest).to_str().map(str::to_owned)) {
                return Disk.read(&path);
            }
        }
        Disk.read(name)
    }
}

/// Whether a text meets a pattern in which `*` stands for any characters.
fn wildcard(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return text.ends_with(piece);
        }
        let Some(at) = text.find(piece) else { return false };
        text = text.get(at + piece.len()..).unwrap_or_default();
    }
    true
}

/// Whether an interface is meant by `name`: its own name, or the letters before its number.
fn covers(name: &str, interface: &Interface) -> bool {
    if interface.name == name || interface.ids.iter().any(|id| id == name) {
        return true;
    }
    if name.is_empty() || name.len() >= IFNAMSIZ || name.ends_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    interface.name.strip_prefix(name).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn offers(interface: &Interface, address: &Address, wanted: Wanted) -> bool {
    if wanted.broadcast {
        let usable = address.broadcast.is_some_and(|b| !b.is_unspecified());
        if !(address.addr.is_ipv4() && interface.flags.broadcast && usable) {
            return false;
        }
    }
    if wanted.peer && !interface.flags.point_to_point {
        return false;
    }
    !(wanted.network && address.scope > 0)
}

fn answer(address: &Address, wanted: Wanted) -> Found {
    let full = if address.addr.is_ipv4() { 32 } else { 128 };
    let addr = if wanted.broadcast {
        address.broadcast.map_or(address.addr, IpAddr::V4)
    } else if wanted.peer {
        address.peer.unwrap_or(match address.addr {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        })
    } else {
        address.addr
    };
    Found { addr, prefix: if wanted.network { address.prefix } else { full }, scope: address.scope }
}

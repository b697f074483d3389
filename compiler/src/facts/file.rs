//! Facts as a file: TOML, or the same shape in JSON.
//!
//! ```toml
//! [[interface]]
//! name = "em0"
//! index = 1                        # optional: the position, from 1
//! flags = ["broadcast"]            # broadcast, loopback, point-to-point, dhcp
//! groups = ["em", "egress"]        # every interface is also in "all"
//! addresses = ["192.0.2.1/24", "fe80::1/64",
//!              { addr = "198.51.100.7/32", peer = "198.51.100.1" }]
//! ids = ["{4D36E972-E325-11CE-BFC1-08002BE10318}"]
//!
//! [hosts]
//! localhost = ["127.0.0.1", "::1"]
//! [users]
//! root = 0
//! [groups]
//! wheel = 0
//! [services]
//! myapp = "4711/tcp"
//! [os]
//! fingerprints = 714
//! names = ["Linux", "Linux:2.6", "Windows:XP:SP1"]
//! ```
//! `[files]` holds contents of files by name, `[folders]` where a folder of that machine stands on this one, relative to
//! the facts file: rules read tables and anchors from there. At the top: `rtables = [0]`, `dns = false`, `name_limit = 16`. The broadcast address of an IPv4 network is computed
//! where the interface has the flag and none is given; link-local addresses get the interface as their scope.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::Deserialize;

use super::{Address, Facts, IfaceFlags, Interface, OsNames, Transport};

/// Why a facts file is refused.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The file cannot be read.
    #[error("{0}")]
    Read(#[from] std::io::Error),
    /// Not TOML, or not of this shape.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// Not JSON, or not of this shape.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// An address that is none.
    #[error("interface {interface}: `{text}` is not an address with a prefix length")]
    Address {
        /// Of which interface.
        interface: String,
        /// What was found.
        text: String,
    },
    /// A flag with no meaning here.
    #[error("interface {interface}: unknown flag `{flag}` (broadcast, loopback, point-to-point, dhcp)")]
    Flag {
        /// Of which interface.
        interface: String,
        /// What was found.
        flag: String,
    },
    /// A service that is not `port/transport`.
    #[error("service {name}: `{text}` is not a port with a transport, such as 4711/tcp")]
    Service {
        /// Its name.
        name: String,
        /// What was found.
        text: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    interface: Vec<FileInterface>,
    #[serde(default)]
    hosts: BTreeMap<String, Vec<IpAddr>>,
    #[serde(default)]
    dns: bool,
    #[serde(default)]
    users: BTreeMap<String, u32>,
    #[serde(default)]
    groups: BTreeMap<String, u32>,
    #[serde(default)]
    services: BTreeMap<String, String>,
    #[serde(default = "only_main_table")]
    rtables: Vec<u8>,
    #[serde(default)]
    os: FileOs,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    folders: BTreeMap<String, std::path::PathBuf>,
    #[serde(default)]
    name_limit: usize,
}

fn only_main_table() -> Vec<u8> {
    vec![0]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileInterface {
    name: String,
    index: Option<u32>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    addresses: Vec<FileAddress>,
    #[serde(default)]
    ids: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FileAddress {
    Text(String),
    Full { addr: String, broadcast: Option<Ipv4Addr>, peer: Option<IpAddr> },
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileOs {
    #[serde(default)]
    fingerprints: u32,
    #[serde(default)]
    names: Vec<String>,
}

impl Facts {
    /// Reads facts from the text of a file; JSON when it begins with a brace.
    ///
    /// # Errors
    /// When the text is neither, or says something that means nothing.
    pub fn parse(text: &str) -> Result<Facts, FactsError> {
        let file: File =
            if text.trim_start().starts_with('{') { serde_json::from_str(text)? } else { toml::from_str(text)? };
        let mut facts = Facts {
            hosts: file.hosts.into_iter().map(|(name, list)| (name.to_ascii_lowercase(), list)).collect(),
            dns: file.dns,
            users: file.users,
            groups: file.groups,
            rtables: file.rtables,
            name_limit: file.name_limit,
            files: file.files,
            folders: file.folders,
            ..Facts::default()
        };
        for (interface, position) in file.interface.into_iter().zip(1u32..) {
            facts.interfaces.push(convert(interface, position)?);
        }
        for (name, text) in file.services {
            let at = service(&text).ok_or_else(|| FactsError::Service { name: name.clone(), text })?;
            facts.services.insert(name, at);
        }
        facts.os = os_names(&file.os);
        Ok(facts)
    }
}

fn service(text: &str) -> Option<(u16, Transport)> {
    let (port, transport) = text.split_once('/')?;
    let transport = match transport {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        _ => return None,
    };
    Some((port.parse().ok()?, transport))
}

fn os_names(file: &FileOs) -> OsNames {
    let mut names = OsNames::counting(file.fingerprints);
    for triple in &file.names {
        let mut parts = triple.splitn(3, ':');
        let mut next = || parts.next().unwrap_or_default();
        names.add(next(), next(), next());
    }
    names
}

fn convert(file: FileInterface, position: u32) -> Result<Interface, FactsError> {
    let mut flags = IfaceFlags::default();
    for flag in file.flags {
        match flag.as_str() {
            "broadcast" => flags.broadcast = true,
            "loopback" => flags.loopback = true,
            "point-to-point" | "pointopoint" => flags.point_to_point = true,
            "dhcp" => flags.dhcp = true,
            _ => return Err(FactsError::Flag { interface: file.name, flag }),
        }
    }
    let index = file.index.unwrap_or(position);
    let mut addresses = Vec::new();
    for entry in file.addresses {
        let (text, broadcast, peer) = match entry {
            FileAddress::Text(text) => (text, None, None),
            FileAddress::Full { addr, broadcast, peer } => (addr, broadcast, peer),
        };
        let Some(mut address) = address(&text, index) else {
            return Err(FactsError::Address { interface: file.name, text });
        };
        address.peer = peer;
        address.broadcast = broadcast.or_else(|| flags.broadcast.then(|| computed_broadcast(&address)).flatten());
        addresses.push(address);
    }
    Ok(Interface { name: file.name, index, flags, groups: file.groups, addresses, ids: file.ids })
}

fn address(text: &str, index: u32) -> Option<Address> {
    let (addr, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
    let addr: IpAddr = addr.parse().ok()?;
    let full = if addr.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        Some(p) => p.parse().ok().filter(|p| *p <= full)?,
        None => full,
    };
    let scope = match addr {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => index,
        _ => 0,
    };
    Some(Address { addr, prefix, broadcast: None, peer: None, scope })
}

fn computed_broadcast(address: &Address) -> Option<Ipv4Addr> {
    let IpAddr::V4(v4) = address.addr else { return None };
    let host = u32::MAX.checked_shr(u32::from(address.prefix)).unwrap_or(0);
    Some(Ipv4Addr::from(u32::from(v4) | host))
}

#[cfg(test)]
mod tests {
    use super::super::Wanted;
    use super::*;

    const SMALL: &str = r#"
        rtables = [0, 1]
        [[interface]]
        name = "em0"
        flags = ["broadcast"]
        groups = ["egress"]
        addresses = ["192.0.2.1/24", "fe80::1/64", "2001:db8::1/64"]
        [[interface]]
        name = "ppp0"
        index = 7
        flags = ["point-to-point"]
        addresses = [{ addr = "198.51.100.7/32", peer = "198.51.100.1" }]
        [hosts]
        LocalHost = ["127.0.0.1"]
    "#;

    fn texts(facts: &Facts, name: &str, wanted: Wanted) -> Vec<String> {
        facts.addresses(name, wanted).iter().map(|f| format!("{}/{}%{}", f.addr, f.prefix, f.scope)).collect()
    }

    #[test]
    fn modifiers_choose_addresses() {
        let facts = Facts::parse(SMALL).unwrap();
        assert_eq!(texts(&facts, "em0", Wanted::default()), ["192.0.2.1/32%0", "fe80::1/128%1", "2001:db8::1/128%0"]);
        let network = Wanted { network: true, ..Wanted::default() };
        assert_eq!(texts(&facts, "em", network), ["192.0.2.1/24%0", "2001:db8::1/64%0"]);
        let broadcast = Wanted { broadcast: true, ..Wanted::default() };
        assert_eq!(texts(&facts, "self", broadcast), ["192.0.2.255/32%0"]);
        let peer = Wanted { peer: true, ..Wanted::default() };
        assert_eq!(texts(&facts, "all", peer), ["198.51.100.1/32%0"]);
        let first = Wanted { noalias: true, ..Wanted::default() };
        assert_eq!(texts(&facts, "egress", first), ["192.0.2.1/32%0", "fe80::1/128%1"]);
        assert_eq!(facts.resolve("LOCALHOST"), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn wildcards_where_names_are_long() {
        let mut facts =
            Facts::parse("name_limit = 256\n[[interface]]\nname = 'Ethernet 2'\naddresses = ['10.0.0.1/8']").unwrap();
        for yes in ["Ethernet*", "*net*", "ethernet *2", "*"] {
            assert!(facts.is_member("Ethernet 2", yes), "{yes}");
            assert_eq!(texts(&facts, yes, Wanted::default()), ["10.0.0.1/32%0"], "{yes}");
        }
        for no in ["Wi-Fi*", "Ethernet*3", "net*", "*2*2"] {
            assert!(!facts.is_member("Ethernet 2", no), "{no}");
        }
        facts.name_limit = 0;
        assert!(!facts.is_member("Ethernet 2", "Ethernet*"), "a star is a character to pf");
    }

    #[test]
    fn bad_files_say_where() {
        let wrong = |text: &str| Facts::parse(text).unwrap_err().to_string();
        assert!(wrong("[[interface]]\nname='a'\nflags=['odd']").contains("unknown flag `odd`"));
        assert!(wrong("[[interface]]\nname='a'\naddresses=['1.2.3.4/40']").contains("1.2.3.4/40"));
        assert!(wrong("colour = 1").contains("colour"));
        assert!(wrong("{\"rtables\": 3}").contains("sequence"));
    }
}

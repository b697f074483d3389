//! The facts of the machine this runs on.
//!
//! Holds [`Source`], the one way to facts whatever they come from, and [`Live`], which asks the system: interfaces,
//! addresses and default routes over netlink on Linux and IP Helper on Windows, users and groups from the account
//! files where there are any, fingerprints of operating systems from `/etc/pf.os`, else the shipped ones. Services and
//! protocols are those of the shipped tables.
//!
//! Groups follow pf where it has them: the letters of a name (`em` of `em0`) and `egress` for what has a default route;
//! and add the kind of link: `loopback`, `wifi`, `ethernet`, `vpn`.
//! Not known here: the other end of a point-to-point link.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use netdev::interface::types::InterfaceType;

use crate::osfp::{Fingerprints, SEED};

use super::{Address, Facts, FactsError, IFNAMSIZ, IfaceFlags, Interface};

/// Where pf keeps the fingerprints of operating systems.
const PF_OS: &str = "/etc/pf.os";
/// Longest alias of a Windows interface, exclusive.
const WINDOWS_NAME: usize = 257;

/// Where facts come from.
pub trait Source {
    /// Reads the facts as they are now.
    ///
    /// # Errors
    /// When there are none to be had, or they make no sense.
    fn facts(&self) -> Result<Facts, FactsError>;
}

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Live;

impl Source for Live {
    fn facts(&self) -> Result<Facts, FactsError> {
        let mut interfaces: Vec<Interface> = netdev::get_interfaces().iter().map(interface).collect();
        interfaces.sort_by_key(|interface| interface.index);
        let mut facts = Facts {
            interfaces,
            dns: true,
            users: accounts("/etc/passwd"),
            groups: accounts("/etc/group"),
            rtables: vec![0],
            name_limit: if cfg!(windows) { WINDOWS_NAME } else { 0 },
            ..Facts::default()
        };
        facts.set_fingerprints(&fingerprints());
        Ok(facts)
    }
}

/// The fingerprints of this machine's file, else of the shipped one.
fn fingerprints() -> Fingerprints {
    let read = std::fs::read(PF_OS).map(|bytes| crate::source::text::decode(&bytes).into_owned());
    Fingerprints::parse(PF_OS, read.as_deref().unwrap_or(SEED)).0
}

/// A facts file.
#[derive(Clone, Debug)]
pub struct File(pub std::path::PathBuf);

impl Source for File {
    fn facts(&self) -> Result<Facts, FactsError> {
        let text = std::fs::read_to_string(&self.0)?;
        let mut facts = Facts::parse(&text)?;
        let beside = self.0.parent().unwrap_or(std::path::Path::new(""));
        for folder in facts.folders.values_mut() {
            *folder = beside.join(&*folder);
        }
        Ok(facts)
    }
}

fn interface(from: &netdev::Interface) -> Interface {
    let name = match &from.friendly_name {
        Some(alias) if cfg!(windows) => alias.clone(),
        _ => from.name.clone(),
    };
    let mut ids = Vec::new();
    if name != from.name {
        ids.push(from.name.clone());
    }
    ids.extend(from.mac_addr.map(|mac| mac.to_string()).filter(|mac| mac != "00:00:00:00:00:00"));
    let flags = IfaceFlags {
        broadcast: from.is_broadcast(),
        loopback: from.is_loopback(),
        point_to_point: from.is_point_to_point(),
        dhcp: false,
    };
    let groups = groups(&name, from, flags);
    Interface { index: from.index, flags, groups, addresses: addresses(from, flags), ids, name }
}

/// Kinds of link by what the system calls them.
fn kind(from: &netdev::Interface, flags: IfaceFlags) -> Option<&'static str> {
    let tunnel = ["tun", "tap", "wg", "ppp", "gif"];
    match from.if_type {
        _ if flags.loopback => Some("loopback"),
        InterfaceType::Wireless80211 => Some("wifi"),
        InterfaceType::Ppp | InterfaceType::Tunnel | InterfaceType::ProprietaryVirtual => Some("vpn"),
        _ if from.is_tun() || tunnel.iter().any(|prefix| from.name.starts_with(prefix)) => Some("vpn"),
        InterfaceType::Ethernet | InterfaceType::FastEthernetT | InterfaceType::GigabitEthernet => Some("ethernet"),
        _ => None,
    }
}

fn groups(name: &str, from: &netdev::Interface, flags: IfaceFlags) -> Vec<String> {
    let mut groups = Vec::new();
    let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let usable = letters.len() < name.len() && letters.len() < IFNAMSIZ && !letters.is_empty();
    if usable && letters.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        groups.push(letters.to_owned());
    }
    if from.gateway.is_some() {
        groups.push("egress".to_owned());
    }
    groups.extend(kind(from, flags).filter(|kind| *kind != name).map(str::to_owned));
    groups.dedup();
    groups
}

fn addresses(from: &netdev::Interface, flags: IfaceFlags) -> Vec<Address> {
    let v4 = from.ipv4.iter().map(|net| {
        let (addr, prefix) = (net.addr(), net.prefix_len());
        let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        let broadcast = flags.broadcast.then(|| Ipv4Addr::from(u32::from(addr) | host));
        Address { addr: IpAddr::V4(addr), prefix, broadcast, peer: None, scope: 0 }
    });
    let v6 = from.ipv6.iter().map(|net| {
        let addr = net.addr();
        let scope = if addr.is_unicast_link_local() { from.index } else { 0 };
        Address { addr: IpAddr::V6(addr), prefix: net.prefix_len(), broadcast: None, peer: None, scope }
    });
    v4.chain(v6).collect()
}

/// Names and numbers of an account file: the first and third field of each line.
fn accounts(path: &str) -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        Some((name.to_owned(), id.parse().ok()?))
    };
    // Of two entries with one name the first counts.
    text.lines().rev().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_reads_back() {
        let facts = Live.facts().unwrap();
        assert!(facts.interfaces.iter().all(|i| !i.name.is_empty()));
        if cfg!(target_os = "linux") {
            let loopback = facts.interface("lo").expect("a loopback interface");
            assert!(loopback.flags.loopback);
            assert_eq!(facts.users.get("root"), Some(&0));
        }
        // A file of facts has the names, not the fingerprints.
        let written = Facts { prints: Vec::new(), ..facts };
        assert_eq!(Facts::parse(&written.to_toml()).unwrap(), written);
    }

    #[test]
    fn systems_have_names_and_fingerprints_of_the_same_numbers() {
        let facts = Live.facts().unwrap();
        let linux = facts.os.find("Linux").fingerprint;
        let class = |os| pfvm::osfp::unpack(os)[0];
        assert!(facts.prints.iter().any(|p| class(p.os) == class(linux)), "{linux:#x}");
    }

    #[test]
    fn the_example_reads_back() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/gateway.toml");
        let facts = File(path.into()).facts().unwrap();
        assert_eq!(facts.name_of(3), Some("em1"));
        assert_eq!(Facts::parse(&facts.to_toml()).unwrap(), facts);
    }
}

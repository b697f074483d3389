//! The interfaces of a machine that is not Windows, as `netdev` tells them.

use std::net::{IpAddr, Ipv4Addr};

use netdev::interface::types::InterfaceType;

use super::{Address, IFNAMSIZ, IfaceFlags, Interface};

/// The interfaces, by index.
pub(super) fn interfaces() -> Vec<Interface> {
    let mut all: Vec<Interface> = netdev::get_interfaces().iter().map(interface).collect();
    all.sort_by_key(|interface| interface.index);
    all
}

fn interface(from: &netdev::Interface) -> Interface {
    let name = from.name.clone();
    let ids = from.mac_addr.map(|mac| mac.to_string()).filter(|mac| mac != "00:00:00:00:00:00").into_iter().collect();
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

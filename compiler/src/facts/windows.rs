//! A Windows machine's adapters as interfaces.
//!
//! Rules name an adapter by its alias (`"Ethernet 2"`), by `{GUID}`, by LUID (`luid:0x6008001000000`) or by hardware
//! address; by the groups `ethernet`, `wifi`, `wwan`, `vpn`, `loopback`; and by `egress` when a default route leads out by
//! it. An adapter that has no small index cannot be filtered and is left out.

use std::net::{IpAddr, Ipv4Addr};

use pfwin::net::{Adapter, Route};

use super::{Address, IfaceFlags, Interface};

/// The driver's largest index of an interface.
const LARGEST: u32 = 65_534;

/// The adapters as interfaces, by index.
#[must_use]
pub fn interfaces(adapters: &[Adapter], routes: &[Route]) -> Vec<Interface> {
    let mut all: Vec<Interface> =
        adapters.iter().filter(|a| (1..=LARGEST).contains(&a.index)).map(|a| interface(a, routes)).collect();
    all.sort_by_key(|i| i.index);
    all
}

fn interface(from: &Adapter, routes: &[Route]) -> Interface {
    let mac = from.mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":"));
    let ids = [Some(from.guid.clone()), Some(format!("luid:{:#x}", from.luid)), mac];
    let link = from.link();
    let default = routes.iter().any(|r| r.index == from.index && r.prefix == 0);
    let groups = default.then_some("egress").into_iter().chain(link.group());
    let flags = IfaceFlags {
        broadcast: from.broadcasts(),
        loopback: link == pfwin::net::Kind::Loopback,
        point_to_point: from.point_to_point(),
        dhcp: from.dhcp,
    };
    Interface {
        name: from.alias.clone(),
        index: from.index,
        flags,
        groups: groups.filter(|group| *group != from.alias).map(str::to_owned).collect(),
        addresses: from.addresses.iter().map(|a| address(*a, from, flags)).collect(),
        ids: ids.into_iter().flatten().filter(|id| !id.is_empty()).collect(),
    }
}

fn address(from: pfwin::net::Address, of: &Adapter, flags: IfaceFlags) -> Address {
    let (broadcast, scope) = match from.addr {
        IpAddr::V4(addr) => {
            let host = u32::MAX.checked_shr(from.prefix.into()).unwrap_or(0);
            (flags.broadcast.then(|| Ipv4Addr::from(u32::from(addr) | host)), 0)
        }
        IpAddr::V6(addr) => (None, if addr.is_unicast_link_local() { of.index } else { 0 }),
    };
    Address { addr: from.addr, prefix: from.prefix, broadcast, peer: None, scope }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfwin::net;

    #[test]
    fn adapters_become_interfaces_that_rules_can_name() {
        let at = |addr: &str, prefix| net::Address { addr: addr.parse().unwrap(), prefix };
        let card = Adapter {
            index: 12,
            luid: 0x6_0080_0100_0000,
            guid: "{0D7A…}".into(),
            alias: "Ethernet 2".into(),
            kind: net::ETHERNET,
            access: 2,
            mac: Some([2, 0, 0, 0, 0, 9]),
            dhcp: true,
            addresses: vec![at("192.0.2.7", 24), at("fe80::9", 64)],
            ..Adapter::default()
        };
        let tunnel = Adapter { index: 3, alias: "wg0".into(), kind: net::VIRTUAL, access: 3, ..Adapter::default() };
        let far = Adapter { index: 1 << 20, alias: "far".into(), ..Adapter::default() };
        let none = Adapter { alias: "none".into(), ..Adapter::default() };
        let way = |index, prefix| Route { index, addr: "0.0.0.0".parse().unwrap(), prefix, hop: None, metric: 1 };
        let all = interfaces(&[card, tunnel, far, none], &[way(12, 0), way(3, 8)]);
        assert_eq!(all.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["wg0", "Ethernet 2"]);
        let [wg, card] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((wg.groups.as_slice(), wg.flags.point_to_point), (["vpn".to_owned()].as_slice(), true));
        assert_eq!(card.groups, ["egress", "ethernet"]);
        assert_eq!(card.ids, ["{0D7A…}", "luid:0x6008001000000", "02:00:00:00:00:09"]);
        assert!(card.flags.broadcast && card.flags.dhcp && !card.flags.loopback);
        assert_eq!(card.addresses[0].broadcast, Some("192.0.2.255".parse().unwrap()));
        assert_eq!((card.addresses[1].scope, card.addresses[1].broadcast), (12, None));
    }
}

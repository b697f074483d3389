//! A Windows machine as the driver is told of it: interfaces, routes, ports that are the host's own.
//!
//! Ports are those its sockets have, and all of the range Windows takes ports from by itself: a translation never uses
//! one that a socket of the host may be given in the same moment.
#![cfg_attr(not(windows), allow(dead_code, reason = "asked for on Windows alone; tested everywhere"))]

use pfc::facts::rows::{Link, Way};
use pfc::facts::{Facts, Interface, windows};
use pfwin::net::{Adapter, Ports, Route};

/// Ports translations take unless a rule says which (`pf.conf`: 50001:65535).
const PROXY: (u16, u16) = (50_001, 65_535);
/// Fewer than these left for translations is worth a word.
const FEW: usize = 1024;
/// Longest alias of an adapter, exclusive.
const ALIAS: usize = 257;
/// MTU of an adapter that has none (a loopback says 4294967295).
const MOST_MTU: u32 = 65_535;

/// What is known of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    /// Adapters.
    pub adapters: Vec<Adapter>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Protocols and ports of sockets.
    pub sockets: Vec<(u8, u16)>,
    /// The ranges ports are taken from, by protocol.
    pub dynamic: Vec<(u8, Ports)>,
}

impl Machine {
    /// Its rows. Other names of an interface are groups to the filter, so that rules that use them match, whenever the
    /// adapter comes and whatever its alias is by then.
    pub(crate) fn rows(&self) -> Vec<u8> {
        let mut interfaces = windows::interfaces(&self.adapters, &self.routes);
        interfaces.iter_mut().for_each(|i| i.groups.extend(i.ids.iter().cloned()));
        let facts = Facts { interfaces, name_limit: ALIAS, ..Facts::default() };
        facts.rows(|interface| self.link(interface), &self.ports())
    }

    fn link(&self, interface: &Interface) -> Link {
        let adapter = self.adapters.iter().find(|a| a.index == interface.index);
        let (up, mac) = adapter.map_or((false, None), |a| (a.up, a.mac));
        let mtu = adapter.map_or(0, |a| a.mtu).min(MOST_MTU);
        let ways = self.routes.iter().filter(|r| r.index == interface.index);
        let way = |r: &Route| Way { addr: r.addr, prefix: r.prefix, hop: r.hop, metric: r.metric };
        Link { up, mtu, mac: mac.unwrap_or_default(), ways: ways.map(way).collect() }
    }

    /// Ports that are the host's, sorted.
    fn ports(&self) -> Vec<(u8, u16)> {
        let ranges = self.dynamic.iter().flat_map(|(proto, range)| range.iter().map(|port| (*proto, port)));
        let mut all: Vec<(u8, u16)> = self.sockets.iter().copied().chain(ranges).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What is to be said of the ports translations may use: whether that will do, and what is there.
    pub(crate) fn room(&self) -> (bool, String) {
        let whole = usize::from(PROXY.1 - PROXY.0) + 1;
        let ours =
            |proto: u8| self.ports().iter().filter(|(p, n)| *p == proto && (PROXY.0..=PROXY.1).contains(n)).count();
        let (tcp, udp) = (whole - ours(6), whole - ours(17));
        let said = format!("of ports {} to {} translations may use {tcp} for TCP and {udp} for UDP", PROXY.0, PROXY.1);
        (tcp >= FEW && udp >= FEW, said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfdriver::facts::{HostFacts, flag};
    use pfvm::rule::Af;
    use pfwin::net::{Address, DYNAMIC, ETHERNET, LOOPBACK};

    fn machine() -> Machine {
        let at = |addr: &str, prefix| Address { addr: addr.parse().unwrap(), prefix };
        let way = |index, addr: &str, prefix, hop: Option<&str>| Route {
            index,
            addr: addr.parse().unwrap(),
            prefix,
            hop: hop.map(|h| h.parse().unwrap()),
            metric: 25,
        };
        Machine {
            adapters: vec![
                Adapter {
                    index: 12,
                    alias: "Wi-Fi (büro)".into(),
                    guid: "{0D7A}".into(),
                    luid: 0x6_0080_0000_0000,
                    kind: ETHERNET,
                    access: 2,
                    mac: Some([2, 0, 0, 0, 0, 9]),
                    mtu: 1500,
                    up: true,
                    addresses: vec![at("192.0.2.7", 24), at("2001:db8::7", 64)],
                    ..Adapter::default()
                },
                Adapter {
                    index: 1,
                    alias: "Loopback".into(),
                    kind: LOOPBACK,
                    mtu: u32::MAX,
                    up: true,
                    ..Adapter::default()
                },
            ],
            routes: vec![way(12, "0.0.0.0", 0, Some("192.0.2.1")), way(1, "127.0.0.0", 8, None)],
            sockets: vec![(6, 135), (17, 5353), (6, 50_100)],
            dynamic: vec![(6, DYNAMIC), (17, Ports { start: 32_768, count: 16_384 })],
        }
    }

    /// What this writes, the driver's own reader takes.
    #[test]
    fn the_driver_reads_what_is_told() {
        let facts = HostFacts::read(&machine().rows()).unwrap();
        let card = facts.named("Wi-Fi (büro)").unwrap();
        assert_eq!((card.index, card.mtu, card.mac), (12, 1500, [2, 0, 0, 0, 0, 9]));
        assert_eq!(
            card.groups().collect::<Vec<_>>(),
            ["egress", "ethernet", "{0D7A}", "luid:0x6008000000000", "02:00:00:00:00:09"]
        );
        assert!(facts.is(card, "{0D7A}"), "a rule on the GUID matches");
        assert!(card.has(flag::UP) && card.has(flag::BROADCAST) && !card.has(flag::LOOPBACK));
        assert_eq!(card.addresses.len(), 2);
        let loopback = facts.named("Loopback").unwrap();
        assert_eq!((loopback.mtu, loopback.has(flag::LOOPBACK)), (65_535, true));
        let way = facts.rows().find_map(|row| match row {
            pfvm::api::FactRow::Route { af: Af::Inet, prefix: 0, hop, metric, .. } => Some((hop, metric)),
            _ => None,
        });
        assert_eq!(
            way.map(|(hop, metric)| (hop.map(|h| h.0[..4].to_vec()), metric)),
            Some((Some(vec![192, 0, 2, 1]), 25))
        );
    }

    #[test]
    fn no_port_a_socket_may_get_is_left_to_translations() {
        let facts = HostFacts::read(&machine().rows()).unwrap();
        for (proto, port, used) in [
            (6, 135, true),
            (17, 5353, true),
            (6, 5353, false),
            (6, 49_151, false),
            (6, 49_152, true),
            (6, 65_535, true),
            (17, 32_768, true),
            (17, 49_152, false),
        ] {
            assert_eq!(facts.port_in_use(proto, port), used, "{proto} {port}");
        }
    }

    #[test]
    fn a_host_that_takes_all_ports_is_found() {
        assert_eq!(
            machine().room(),
            (false, "of ports 50001 to 65535 translations may use 0 for TCP and 15535 for UDP".into())
        );
        let moved = Ports { start: 32_768, count: 17_232 };
        let good = Machine { dynamic: vec![(6, moved), (17, moved)], ..machine() };
        assert_eq!(
            good.room(),
            (true, "of ports 50001 to 65535 translations may use 15534 for TCP and 15535 for UDP".into())
        );
    }
}

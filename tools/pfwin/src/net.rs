//! The network of a Windows machine.
//!
//! Holds adapters with their names and addresses, routes, ports, and what kind of link an adapter is. All of it is data:
//! `crate::sys` fills it on Windows, tests fill it anywhere.
//!
//! Sources: `IP_ADAPTER_ADDRESSES_LH`, `MIB_IF_ROW2`, `MIB_IPFORWARD_ROW2`; `ipifcons.h` for the types of interfaces.

use std::net::IpAddr;

/// `IF_TYPE_ETHERNET_CSMACD`.
pub const ETHERNET: u32 = 6;
/// `IF_TYPE_PPP`.
pub const PPP: u32 = 23;
/// `IF_TYPE_SOFTWARE_LOOPBACK`.
pub const LOOPBACK: u32 = 24;
/// `IF_TYPE_PROP_VIRTUAL`: WireGuard, and what else brings an IP interface without a medium.
pub const VIRTUAL: u32 = 53;
/// `IF_TYPE_IEEE80211`.
pub const WIFI: u32 = 71;
/// `IF_TYPE_TUNNEL`.
pub const TUNNEL: u32 = 131;
/// `IF_TYPE_WWANPP`, `IF_TYPE_WWANPP2`: mobile broadband.
pub const MOBILE: [u32; 2] = [243, 244];
/// `NdisPhysicalMediumNative802_11`: a card for wireless networks that shows itself as Ethernet.
const NATIVE_WIFI: u32 = 9;
/// `NET_IF_ACCESS_BROADCAST`, `NET_IF_ACCESS_POINT_TO_POINT`.
const ACCESS: (u32, u32) = (2, 3);

/// An address of an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Address.
    pub addr: IpAddr,
    /// Prefix length of its network.
    pub prefix: u8,
}

/// An adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adapter {
    /// `IfIndex`: what NDIS and the driver number it by.
    pub index: u32,
    /// `NET_LUID`: stays when the machine restarts.
    pub luid: u64,
    /// `{GUID}` of the connection.
    pub guid: String,
    /// Alias, the name people see (`Ethernet 2`) and rules use.
    pub alias: String,
    /// What the hardware or its driver calls itself.
    pub description: String,
    /// Type (`IF_TYPE_…`).
    pub kind: u32,
    /// Physical medium (`NDIS_PHYSICAL_MEDIUM`), 0 when it is not said.
    pub medium: u32,
    /// How it is reached (`NET_IF_ACCESS_TYPE`), 0 when it is not said.
    pub access: u32,
    /// Hardware address, of those that have one of six bytes.
    pub mac: Option<[u8; 6]>,
    /// MTU.
    pub mtu: u32,
    /// Its operational status is up.
    pub up: bool,
    /// Its IPv4 addresses come from DHCP.
    pub dhcp: bool,
    /// Addresses, in the system's order.
    pub addresses: Vec<Address>,
}

/// Kinds of links rules can name as groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `loopback`.
    Loopback,
    /// `ethernet`: by wire, or a virtual machine's.
    Ethernet,
    /// `wifi`.
    Wifi,
    /// `wwan`: mobile broadband.
    Mobile,
    /// `vpn`: tunnels, dial-up, and adapters that only pretend to be Ethernet.
    Vpn,
    /// None of them.
    Other,
}

impl Kind {
    /// The group.
    #[must_use]
    pub const fn group(self) -> Option<&'static str> {
        match self {
            Self::Loopback => Some("loopback"),
            Self::Ethernet => Some("ethernet"),
            Self::Wifi => Some("wifi"),
            Self::Mobile => Some("wwan"),
            Self::Vpn => Some("vpn"),
            Self::Other => None,
        }
    }
}

/// Words of descriptions by which a VPN's Ethernet adapter is known: it says nothing else of itself.
const TUNNELS: &[&str] = &["tap-windows", "tap-win32", "wintun", "wireguard", "openvpn", "vpn"];

impl Adapter {
    /// What kind of link it is.
    #[must_use]
    pub fn link(&self) -> Kind {
        let description = self.description.to_lowercase();
        match self.kind {
            LOOPBACK => Kind::Loopback,
            WIFI => Kind::Wifi,
            _ if self.medium == NATIVE_WIFI => Kind::Wifi,
            kind if MOBILE.contains(&kind) => Kind::Mobile,
            PPP | TUNNEL | VIRTUAL => Kind::Vpn,
            _ if TUNNELS.iter().any(|word| description.contains(word)) => Kind::Vpn,
            ETHERNET => Kind::Ethernet,
            _ => Kind::Other,
        }
    }

    /// Whether it has a broadcast address.
    #[must_use]
    pub const fn broadcasts(&self) -> bool {
        self.access == ACCESS.0 || (self.access == 0 && matches!(self.kind, ETHERNET | WIFI))
    }

    /// Whether it leads to one other end.
    #[must_use]
    pub const fn point_to_point(&self) -> bool {
        self.access == ACCESS.1 || (self.access == 0 && matches!(self.kind, PPP | TUNNEL))
    }
}

/// A way of the routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Index of the adapter it leads out by.
    pub index: u32,
    /// Network.
    pub addr: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
    /// Next hop, none when the network is on the link.
    pub hop: Option<IpAddr>,
    /// The route's metric and the interface's together: the lower counts.
    pub metric: u32,
}

/// A range of ports, the first and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The first.
    pub start: u16,
    /// How many, 65 536 at most.
    pub count: u32,
}

/// What Windows takes ports from unless it was told otherwise.
pub const DYNAMIC: Ports = Ports { start: 49_152, count: 16_384 };

impl Ports {
    /// The two numbers of `netsh interface ipv4 show dynamicport`, whatever language it speaks: each stands at the end of
    /// its line, behind a colon.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut numbers = text.lines().filter_map(|line| line.rsplit_once(':')?.1.trim().parse::<u32>().ok());
        let (start, count) = (numbers.next()?, numbers.next()?);
        let start = u16::try_from(start).ok()?;
        (u32::from(start).checked_add(count)? <= 65_536).then_some(Self { start, count })
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        let start = u32::from(self.start);
        (start..start.saturating_add(self.count)).filter_map(|port| u16::try_from(port).ok())
    }

    /// How many of them lie between two ports, both counted.
    #[must_use]
    pub fn within(self, first: u16, last: u16) -> usize {
        self.iter().filter(|port| (first..=last).contains(port)).count()
    }
}

/// Local ports of a table of connections: words of `width`, the port in network order in the low half of word `at`.
///
/// Shape: `MIB_TCPTABLE_OWNER_PID` and its like, a count and rows.
#[must_use]
pub fn local_ports(table: &[u32], width: usize, at: usize) -> Vec<u16> {
    let count = table.first().map_or(0, |n| usize::try_from(*n).unwrap_or(0));
    let rows = table.get(1..).unwrap_or_default().chunks_exact(width.max(1)).take(count);
    let port = |row: &[u32]| row.get(at).map(|word| u16::from_be_bytes([word.to_le_bytes()[0], word.to_le_bytes()[1]]));
    rows.filter_map(port).filter(|port| *port != 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_known_by_type_medium_and_description() {
        let of = |kind, medium, description: &str| {
            Adapter { kind, medium, description: description.to_owned(), ..Adapter::default() }.link()
        };
        assert_eq!(of(ETHERNET, 14, "Intel(R) Ethernet Connection I219-V"), Kind::Ethernet);
        assert_eq!(of(ETHERNET, 0, "Hyper-V Virtual Ethernet Adapter"), Kind::Ethernet);
        assert_eq!(of(WIFI, 0, "Intel(R) Wi-Fi 6 AX201"), Kind::Wifi);
        assert_eq!(of(ETHERNET, 9, "A wireless card"), Kind::Wifi);
        assert_eq!(of(MOBILE[1], 0, "A modem"), Kind::Mobile);
        assert_eq!(of(PPP, 0, "WAN Miniport (IKEv2)"), Kind::Vpn);
        assert_eq!(of(VIRTUAL, 0, "WireGuard Tunnel"), Kind::Vpn);
        assert_eq!(of(ETHERNET, 0, "TAP-Windows Adapter V9"), Kind::Vpn);
        assert_eq!(of(LOOPBACK, 0, "Software Loopback Interface 1"), Kind::Loopback);
        assert_eq!(of(37, 0, "ATM"), Kind::Other);
        let reach = |access, kind| {
            let a = Adapter { access, kind, ..Adapter::default() };
            (a.broadcasts(), a.point_to_point())
        };
        assert_eq!((reach(2, ETHERNET), reach(3, PPP)), ((true, false), (false, true)));
        assert_eq!(
            (reach(0, WIFI), reach(0, TUNNEL), reach(1, LOOPBACK)),
            ((true, false), (false, true), (false, false))
        );
    }

    #[test]
    fn the_dynamic_range_is_read_in_any_language() {
        let english = "\r\nProtocol tcp Dynamic Port Range\r\n---------------------------------\r\n\
                       Start Port      : 49152\r\nNumber of Ports : 16384\r\n\r\n";
        let german = "Dynamischer Portbereich des Protokolls tcp\nStartport      : 32768\nAnzahl von Ports : 17232\n";
        assert_eq!(Ports::read(english), Some(DYNAMIC));
        let moved = Ports { start: 32_768, count: 17_232 };
        assert_eq!(Ports::read(german), Some(moved));
        assert_eq!((DYNAMIC.within(50_001, 65_535), moved.within(50_001, 65_535)), (15_535, 0));
        assert_eq!((DYNAMIC.iter().count(), DYNAMIC.iter().last()), (16_384, Some(65_535)));
        for text in ["", "Start : 1", "a : 60000\nb : 16384", "a : -1\nb : 2", "a : 70000\nb : 1"] {
            assert_eq!(Ports::read(text), None, "{text}");
        }
    }

    #[test]
    fn ports_of_a_table_are_in_network_order() {
        // Two rows of an IPv4 table of TCP and one too many words; the third row is not counted.
        let row = |port: u16| [2, 0, u32::from(port.to_be()), 0, 0, 7];
        let table: Vec<u32> = [2].into_iter().chain(row(135)).chain(row(50_123)).chain(row(1)).chain([9]).collect();
        if cfg!(target_endian = "little") {
            assert_eq!(local_ports(&table, 6, 2), [135, 50_123]);
        }
        assert_eq!(local_ports(&[5, 1, 2], 6, 2), [0_u16; 0], "a table that is cut off");
        assert_eq!(local_ports(&[], 6, 2), [0_u16; 0]);
        assert_eq!(local_ports(&[1, 0, 0], 0, 9), [0_u16; 0]);
    }
}

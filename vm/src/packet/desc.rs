//! What the engine knows of one packet (`struct pf_pdesc`).

use crate::rule::{Addr, Af, Direction};

/// Declares protocol numbers.
macro_rules! protos {
    ($($(#[$doc:meta])* $id:ident = $v:expr,)*) => {
        /// IP protocol numbers the engine treats in a way of their own.
        pub mod proto {
            $($(#[$doc])* pub const $id: u8 = $v;)*
        }
    };
}
protos! {
    /// IPv6 hop-by-hop options.
    HOPOPTS = 0,
    /// ICMP.
    ICMP = 1,
    /// IGMP.
    IGMP = 2,
    /// IPv4 in IP.
    IPV4 = 4,
    /// TCP.
    TCP = 6,
    /// UDP.
    UDP = 17,
    /// IPv6 in IP.
    IPV6 = 41,
    /// IPv6 routing header.
    ROUTING = 43,
    /// IPv6 fragment header.
    FRAGMENT = 44,
    /// GRE.
    GRE = 47,
    /// ESP.
    ESP = 50,
    /// Authentication header.
    AH = 51,
    /// ICMPv6.
    ICMPV6 = 58,
    /// IPv6 destination options.
    DSTOPTS = 60,
}

/// TCP flag bits, as in the header's byte 13.
pub mod tcp_flags {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// PSH.
    pub const PSH: u8 = 0x08;
    /// ACK.
    pub const ACK: u8 = 0x10;
    /// URG.
    pub const URG: u8 = 0x20;
    /// ECE.
    pub const ECE: u8 = 0x40;
    /// CWR.
    pub const CWR: u8 = 0x80;
}

/// Header options that make a packet drop unless the rule or state says `allow-opts` (`PF_OPT_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BadOpts(pub u8);

impl BadOpts {
    /// No options at all.
    pub const NONE: Self = Self(0);
    /// Some option, or padding alone.
    pub const OTHER: Self = Self(1);
    /// An IPv6 jumbo payload option.
    pub const JUMBO: Self = Self(2);
    /// A router alert; IGMP and MLD are allowed to carry it.
    pub const ROUTER_ALERT: Self = Self(4);

    /// Whether there is anything to object to.
    #[must_use]
    #[inline]
    pub const fn any(self) -> bool {
        self.0 != 0
    }

    /// Both sets.
    #[must_use]
    #[inline]
    pub const fn with(self, o: Self) -> Self {
        Self(self.0 | o.0)
    }

    /// This set less another.
    #[must_use]
    #[inline]
    pub const fn without(self, o: Self) -> Self {
        Self(self.0 & !o.0)
    }
}

/// What an IPv4 header or IPv6 fragment header says of fragmentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FragInfo {
    /// Identification: 16 bits in IPv4, 32 in IPv6.
    pub id: u32,
    /// Offset of the data in the whole, bytes, a multiple of 8.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
    /// IPv4 "don't fragment".
    pub dont: bool,
}

/// The transport header's fields, as on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum L4 {
    /// Anything else, and every fragment that is not reassembled.
    #[default]
    Other,
    /// TCP.
    Tcp(TcpInfo),
    /// UDP: ports are in the description.
    Udp,
    /// ICMP or ICMPv6, told apart by [`PacketDesc::proto`].
    Icmp(IcmpInfo),
}

/// Fields of a TCP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpInfo {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Window, not scaled.
    pub win: u16,
    /// Flags, see [`tcp_flags`].
    pub flags: u8,
    /// Reserved bits and the former NS bit: the low nibble of byte 12.
    pub reserved: u8,
    /// Header length with options, bytes: 20 to 60.
    pub header: u8,
    /// Urgent pointer.
    pub urgent: u16,
}

/// Fields of an ICMP or ICMPv6 header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct IcmpInfo {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Identifier of queries; bytes 4 and 5 of any other message.
    pub id: u16,
    /// Sequence number of queries; bytes 6 and 7 of any other message.
    pub seq: u16,
}

/// What the engine knows of one packet (`struct pf_pdesc`).
///
/// Offsets count from the first byte of the L3 header. Ports and all numbers are in host order, addresses in network
/// order. `src`, `dst`, `sport`, `dport` are as on the wire; `nsaddr`, `ndaddr`, `nsport`, `ndport` are as translated
/// so far, and what later rules compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketDesc {
    /// Direction.
    pub dir: Direction,
    /// Whether the packet is on its way out of a host that forwards it (`PF_FWD`): `dir` is `Out` then.
    pub forwarded: bool,
    /// Interface it is on: a live index of the host.
    pub iface: u16,
    /// Interface it came in by, of packets going out.
    pub received_on: Option<u16>,
    /// Family on the wire.
    pub af: Af,
    /// Family after translation (`af-to`), else `af`.
    pub naf: Af,
    /// Final protocol of the header chain.
    pub proto: u8,
    /// Whether this is a fragment that is not reassembled (`PF_VPROTO_FRAGMENT`): no ports, no flags, no types.
    pub fragment: bool,
    /// TOS or traffic class without the two ECN bits.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Options that need `allow-opts`.
    pub badopts: BadOpts,
    /// Source address on the wire.
    pub src: Addr,
    /// Destination address on the wire.
    pub dst: Addr,
    /// Source address so far.
    pub nsaddr: Addr,
    /// Destination address so far.
    pub ndaddr: Addr,
    /// Source port on the wire; 0 where there is none.
    pub sport: u16,
    /// Destination port on the wire; 0 where there is none.
    pub dport: u16,
    /// Source port (ICMP: identifier) so far.
    pub nsport: u16,
    /// Destination port (ICMP: identifier) so far.
    pub ndport: u16,
    /// Length of the IP packet by its header, bytes: what `bytes` counters count.
    pub tot_len: u32,
    /// Offset of the transport header (of the fragment header of later IPv6 fragments).
    pub off: u32,
    /// Length of the transport header as pf pulls it: TCP 20 (options follow, see [`TcpInfo::header`]), UDP 8,
    /// ICMP 8, ICMPv6 8 to 24; else 0.
    pub hdrlen: u16,
    /// Bytes of payload after the transport header and its options.
    pub p_len: u32,
    /// IPv4 header length, bytes; 40 for IPv6.
    pub ip_hlen: u8,
    /// IPv6: offset of the last extension header in front of a fragment header, 0 when there is none.
    pub extoff: u32,
    /// IPv6: offset of the fragment header of a fragment that is not atomic, 0 when there is none.
    pub fragoff: u32,
    /// Fragmentation fields; IPv4 always, IPv6 when `fragoff` is set.
    pub frag: FragInfo,
    /// Transport header.
    pub l4: L4,
    /// Tag, 0 when none: a live tag number.
    pub tag: u16,
    /// Priority, 0–7.
    pub prio: u8,
    /// Routing domain; always 0 where the host has one only.
    pub rdomain: u8,
    /// User of the local socket, when known.
    pub uid: Option<u32>,
    /// Group of the local socket, when known.
    pub gid: Option<u32>,
}

impl PacketDesc {
    /// A description that says nothing but where the packet is seen.
    #[must_use]
    #[inline]
    pub const fn seen(af: Af, dir: Direction, iface: u16) -> Self {
        let mut d = Self::NOTHING;
        (d.dir, d.iface, d.af, d.naf) = (dir, iface, af, af);
        d
    }

    /// A description that says nothing: all zeros, so that it is cheap to write.
    pub const NOTHING: Self = Self {
        dir: Direction::In,
        forwarded: false,
        iface: 0,
        received_on: None,
        af: Af::Inet,
        naf: Af::Inet,
        proto: 0,
        fragment: false,
        tos: 0,
        ttl: 0,
        badopts: BadOpts::NONE,
        src: Addr([0; 16]),
        dst: Addr([0; 16]),
        nsaddr: Addr([0; 16]),
        ndaddr: Addr([0; 16]),
        sport: 0,
        dport: 0,
        nsport: 0,
        ndport: 0,
        tot_len: 0,
        off: 0,
        hdrlen: 0,
        p_len: 0,
        ip_hlen: 0,
        extoff: 0,
        fragoff: 0,
        frag: FragInfo { id: 0, offset: 0, more: false, dont: false },
        l4: L4::Other,
        tag: 0,
        prio: 0,
        rdomain: 0,
        uid: None,
        gid: None,
    };

    /// TCP fields, of TCP packets that are not fragments.
    #[must_use]
    #[inline]
    pub const fn tcp(&self) -> Option<&TcpInfo> {
        match &self.l4 {
            L4::Tcp(t) => Some(t),
            _ => None,
        }
    }

    /// ICMP or ICMPv6 fields, of packets that are not fragments.
    #[must_use]
    #[inline]
    pub const fn icmp(&self) -> Option<&IcmpInfo> {
        match &self.l4 {
            L4::Icmp(i) => Some(i),
            _ => None,
        }
    }

    /// Whether the packet has ports: TCP or UDP, not a fragment.
    #[must_use]
    #[inline]
    pub const fn has_ports(&self) -> bool {
        matches!(self.l4, L4::Tcp(_) | L4::Udp)
    }
}

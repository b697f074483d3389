//! The fields of a packet that instructions read: one table of number, name, presence and meaning.
//!
//! **Invariant:** reading a field is total. A field the packet does not have is *absent*; every test of an absent
//! field is false, and so is its negation.

/// Declares the fields once: enum, numbers, names, rows of the specification.
macro_rules! fields {
    ($($(#[doc = $doc:literal])+ $code:literal $id:ident $name:literal $width:ident $present:literal;)*) => {
        /// A field of a packet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Field { $($(#[doc = $doc])+ $id = $code,)* }

        impl Field {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Field] = &[$(Field::$id,)*];

            /// The field with this number.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Field> { match code { $($code => Some(Field::$id),)* _ => None } }

            /// The field with this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Field> { match name { $($name => Some(Field::$id),)* _ => None } }

            /// Its name in assembly text.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Field::$id => $name,)* } }

            /// How wide its values are.
            #[must_use]
            pub const fn width(self) -> Width { match self { $(Field::$id => Width::$width,)* } }
        }

        /// Rows of the table of fields: number, name, width, when it is present, meaning.
        pub const FIELD_ROWS: &[(u8, &str, Width, &str, &str)] =
            &[$(($code, $name, Width::$width, $present, concat!($($doc),+)),)*];
    };
}

/// Width of a field's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// Up to 32 bits.
    Word,
    /// 128 bits.
    Wide,
}

fields! {
    /// Direction: 1 in, 2 out.
    0 Dir "dir" Word "always";
    /// Address family: 4 or 6.
    1 Af "af" Word "always";
    /// Protocol above IP, after extension headers; of a fragment too.
    2 Proto "proto" Word "always";
    /// The same, but 256 for a fragment that is not reassembled (the fragment pseudo protocol).
    3 Vproto "vproto" Word "always";
    /// Source port, host order, as translated so far.
    4 Sport "sport" Word "TCP and UDP, not of fragments";
    /// Destination port, host order, as translated so far.
    5 Dport "dport" Word "TCP and UDP, not of fragments";
    /// TCP flags: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128.
    6 Flags "flags" Word "TCP, not of fragments";
    /// ICMP or ICMPv6 type.
    7 IcmpType "icmp-type" Word "ICMP and ICMPv6, not of fragments";
    /// ICMP or ICMPv6 code.
    8 IcmpCode "icmp-code" Word "ICMP and ICMPv6, not of fragments";
    /// TOS or traffic class with the two ECN bits cleared.
    9 Tos "tos" Word "always";
    /// Priority, 0 to 7.
    10 Prio "prio" Word "always";
    /// 1 for a fragment that is not reassembled, else 0.
    11 Fragment "fragment" Word "always";
    /// 1 if the packet carries options that need allow-opts, else 0.
    12 BadOpts "badopts" Word "always";
    /// 1 for an ICMP or ICMPv6 message that answers a query (no state starts with it), else 0.
    13 Answer "answer" Word "always";
    /// Routing domain.
    14 Rdomain "rdomain" Word "always";
    /// User of the local socket, 4294967295 when unknown. Reading it may suspend.
    15 Uid "uid" Word "TCP and UDP, not of fragments";
    /// Group of the local socket, 4294967295 when unknown. Reading it may suspend.
    16 Gid "gid" Word "TCP and UDP, not of fragments";
    /// IPv4 source address as a number, as translated so far.
    17 Src4 "src4" Word "IPv4";
    /// IPv4 destination address as a number, as translated so far.
    18 Dst4 "dst4" Word "IPv4";
    /// IPv6 source address as a number, as translated so far.
    19 Src6 "src6" Wide "IPv6";
    /// IPv6 destination address as a number, as translated so far.
    20 Dst6 "dst6" Wide "IPv6";
}

/// Number of fields whose values are words; their numbers are `0..WORD_FIELDS`.
pub const WORD_FIELDS: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_widths_agree() {
        for (i, f) in Field::ALL.iter().enumerate() {
            assert_eq!(usize::from(*f as u8), i);
            assert_eq!(Field::from_code(*f as u8), Some(*f));
            assert_eq!(Field::from_name(f.name()), Some(*f));
            assert_eq!(f.width() == Width::Word, i < WORD_FIELDS);
        }
        assert_eq!(Field::from_code(21), None);
    }
}

//! ICMP and ICMPv6: the header they share, type and code numbers.

use super::{Truncated, demand};

header! {
    /// The first eight bytes of an ICMP or ICMPv6 message.
    Icmp[8] {
        /// Type.
        kind, set_kind: u8 = 0;
        /// Code.
        code, set_code: u8 = 1;
        /// Checksum; ICMPv6's covers the pseudo header.
        checksum, set_checksum: u16 = 2;
        /// Identifier of queries.
        id, set_id: u16 = 4;
        /// Sequence number of queries; next-hop MTU of ICMP "fragmentation needed".
        seq, set_seq: u16 = 6;
        /// The second word as one: MTU of ICMPv6 "packet too big", pointer of ICMPv6 "parameter problem".
        word, set_word: u32 = 4;
    }
}

impl<T: AsRef<[u8]>> Icmp<T> {
    /// A view of a buffer that holds the header.
    ///
    /// # Errors
    /// [`Truncated`] below 8 bytes.
    pub fn new_checked(buffer: T) -> Result<Self, Truncated> {
        demand(buffer.as_ref().len(), Self::LEN)?;
        Ok(Self(buffer))
    }
}

/// Declares a module of numbers.
macro_rules! numbers {
    ($(#[$doc:meta])* $name:ident { $($(#[$ndoc:meta])* $id:ident = $v:expr;)* }) => {
        $(#[$doc])*
        pub mod $name {
            $($(#[$ndoc])* pub const $id: u8 = $v;)*
        }
    };
}

numbers! {
    /// ICMP types.
    v4 {
        /// Echo reply.
        ECHO_REPLY = 0;
        /// Destination unreachable.
        UNREACHABLE = 3;
        /// Source quench.
        SOURCE_QUENCH = 4;
        /// Redirect.
        REDIRECT = 5;
        /// Echo request.
        ECHO = 8;
        /// Router advertisement.
        ROUTER_ADVERT = 9;
        /// Router solicitation.
        ROUTER_SOLICIT = 10;
        /// Time exceeded.
        TIME_EXCEEDED = 11;
        /// Parameter problem.
        PARAMETER_PROBLEM = 12;
        /// Timestamp request.
        TIMESTAMP = 13;
        /// Timestamp reply.
        TIMESTAMP_REPLY = 14;
        /// Information request.
        INFO = 15;
        /// Information reply.
        INFO_REPLY = 16;
        /// Address mask request.
        MASK = 17;
        /// Address mask reply.
        MASK_REPLY = 18;
    }
}

numbers! {
    /// ICMPv6 types.
    v6 {
        /// Destination unreachable.
        UNREACHABLE = 1;
        /// Packet too big.
        PACKET_TOO_BIG = 2;
        /// Time exceeded.
        TIME_EXCEEDED = 3;
        /// Parameter problem.
        PARAMETER_PROBLEM = 4;
        /// Echo request.
        ECHO = 128;
        /// Echo reply.
        ECHO_REPLY = 129;
        /// Multicast listener query.
        MLD_QUERY = 130;
        /// Multicast listener report.
        MLD_REPORT = 131;
        /// Multicast listener done.
        MLD_DONE = 132;
        /// Router solicitation.
        ROUTER_SOLICIT = 133;
        /// Router advertisement.
        ROUTER_ADVERT = 134;
        /// Neighbour solicitation.
        NEIGHBOR_SOLICIT = 135;
        /// Neighbour advertisement.
        NEIGHBOR_ADVERT = 136;
        /// Redirect.
        REDIRECT = 137;
        /// Version 2 multicast listener report.
        MLD2_REPORT = 143;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_read_back() {
        let mut h = Icmp::new_unchecked([0_u8; 8]);
        h.set_kind(v4::ECHO);
        h.set_id(0x1234);
        h.set_seq(0x5678);
        assert_eq!((h.kind(), h.word()), (8, 0x1234_5678));
        assert!(Icmp::new_checked([0_u8; 7]).is_err());
    }
}

//! UDP: header, representation.

use super::{Field, Truncated, checksum, demand};
use crate::rule::{Addr, Af};

header! {
    /// A UDP header.
    Udp[8] {
        /// Source port.
        src_port, set_src_port: u16 = 0;
        /// Destination port.
        dst_port, set_dst_port: u16 = 2;
        /// Length of header and payload, bytes.
        length, set_length: u16 = 4;
        /// Checksum; zero means none over IPv4.
        checksum, set_checksum: u16 = 6;
    }
}

impl<T: AsRef<[u8]>> Udp<T> {
    /// A view of a buffer that holds the header.
    ///
    /// # Errors
    /// [`Truncated`] below 8 bytes.
    pub fn new_checked(buffer: T) -> Result<Self, Truncated> {
        demand(buffer.as_ref().len(), Self::LEN)?;
        Ok(Self(buffer))
    }
}

/// A UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpRepr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
}

impl UdpRepr {
    /// Length of the header, bytes.
    pub const LEN: usize = 8;

    /// Writes the header in front of the payload that stands in `datagram[8..]`, with its checksum.
    pub fn emit(&self, datagram: &mut [u8], af: Af, src: &Addr, dst: &Addr) {
        let len = u16::try_from(datagram.len()).unwrap_or(0);
        let mut h = Udp::new_unchecked(&mut *datagram);
        h.set_src_port(self.src_port);
        h.set_dst_port(self.dst_port);
        h.set_length(len);
        h.set_checksum(0);
        let sum = checksum::Sum::new().pseudo(af, src, dst, crate::packet::proto::UDP, u32::from(len)).bytes(datagram);
        sum.finish_udp().put(datagram, 6);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emitted_datagram_sums_up() {
        let mut d = *b"........hello";
        let (a, b) = (Addr([1; 16]), Addr([2; 16]));
        UdpRepr { src_port: 53, dst_port: 1024 }.emit(&mut d, Af::Inet, &a, &b);
        let h = Udp::new_checked(&d[..]).unwrap();
        assert_eq!((h.src_port(), h.dst_port(), h.length()), (53, 1024, 13));
        assert_eq!(checksum::Sum::new().pseudo(Af::Inet, &a, &b, 17, 13).bytes(&d).fold(), 0xffff);
    }
}

//! Headers as they are on the wire: views over bytes, and representations that parse and emit.
//!
//! A view is a newtype over a buffer with a getter and a setter a field; its offsets are one table. `new_checked`
//! demands the bytes of the header (with its options) and no more: what a header *says* is judged by
//! [`crate::packet`], in pf's order. A representation (`…Repr`) is a header in host form; `emit` writes all of it.
//!
//! **Invariant:** no getter or setter panics, whatever the buffer: beyond its end a getter reads zeros and a setter
//! writes nothing.
//! **Invariant:** nothing here decides whether a packet may pass.

/// Declares a header view: its fixed length and a getter and setter for each field.
macro_rules! header {
    ($(#[$doc:meta])* $name:ident[$len:expr] { $($(#[$fdoc:meta])* $get:ident, $set:ident: $ty:ty = $off:expr;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name<T>(T);

        impl<T: AsRef<[u8]>> $name<T> {
            /// Length of the fixed part, bytes.
            pub const LEN: usize = $len;

            /// A view of a buffer of any length.
            pub const fn new_unchecked(buffer: T) -> Self {
                Self(buffer)
            }

            /// The buffer.
            pub fn into_inner(self) -> T {
                self.0
            }

            $($(#[$fdoc])*
            #[must_use]
            #[inline]
            pub fn $get(&self) -> $ty {
                <$ty as $crate::wire::Field>::get(self.0.as_ref(), $off)
            })*
        }

        impl<T: AsRef<[u8]> + AsMut<[u8]>> $name<T> {
            $(#[doc = concat!("Sets [`", stringify!($name), "::", stringify!($get), "`].")]
            #[inline]
            pub fn $set(&mut self, value: $ty) {
                <$ty as $crate::wire::Field>::put(value, self.0.as_mut(), $off);
            })*
        }
    };
}

pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod tcp;
pub mod udp;

pub use ethernet::{Ethernet, VlanTag};
pub use icmp::Icmp;
pub use ipv4::{Ipv4, Ipv4Repr};
pub use ipv6::{FragmentHeader, Ipv6, Ipv6Repr};
pub use tcp::{Tcp, TcpRepr};
pub use udp::{Udp, UdpRepr};

/// A buffer too short for the header it should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("buffer of {have} bytes is too short, the header needs {want}")]
pub struct Truncated {
    /// Bytes there are.
    pub have: usize,
    /// Bytes the header needs.
    pub want: usize,
}

/// Demands `want` bytes.
const fn demand(have: usize, want: usize) -> Result<(), Truncated> {
    if have < want { Err(Truncated { have, want }) } else { Ok(()) }
}

/// A value with a place of fixed length in a header, network byte order.
pub trait Field: Sized {
    /// Reads at `off`; zeros beyond the end.
    fn get(bytes: &[u8], off: usize) -> Self;
    /// Writes at `off`; nothing unless all of it fits.
    fn put(self, bytes: &mut [u8], off: usize);
}

impl<const N: usize> Field for [u8; N] {
    #[inline]
    fn get(bytes: &[u8], off: usize) -> Self {
        bytes.get(off..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
    }

    #[inline]
    fn put(self, bytes: &mut [u8], off: usize) {
        if let Some(dst) = bytes.get_mut(off..).and_then(<[u8]>::first_chunk_mut) {
            *dst = self;
        }
    }
}

/// Implements [`Field`] for unsigned numbers.
macro_rules! number {
    ($($ty:ty)*) => { $(
        impl Field for $ty {
            #[inline]
            fn get(bytes: &[u8], off: usize) -> Self {
                Self::from_be_bytes(Field::get(bytes, off))
            }

            #[inline]
            fn put(self, bytes: &mut [u8], off: usize) {
                self.to_be_bytes().put(bytes, off);
            }
        }
    )* };
}
number!(u8 u16 u32);

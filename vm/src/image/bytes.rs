//! Fixed-size little-endian records: how the bulk sections are read and written.
//!
//! **Invariant:** `read` is total over any `SIZE` bytes up to its enumerations, and is the inverse of `write`.

/// A record of a bulk section.
pub trait Bulk: Sized {
    /// Bytes of one record.
    const SIZE: usize;
    /// Decodes exactly [`Bulk::SIZE`] bytes; `None` if a byte has a value that is not one of its kind.
    fn read(bytes: &[u8]) -> Option<Self>;
    /// Appends the record's bytes.
    fn write(&self, out: &mut impl Extend<u8>);
}

macro_rules! numbers {
    ($($t:ty),*) => { $(
        impl Bulk for $t {
            const SIZE: usize = size_of::<$t>();
            fn read(bytes: &[u8]) -> Option<Self> { bytes.try_into().ok().map(Self::from_le_bytes) }
            fn write(&self, out: &mut impl Extend<u8>) { out.extend(self.to_le_bytes()); }
        }
    )* };
}
numbers!(u8, u16, u32, u64, u128);

impl<const N: usize> Bulk for [u8; N] {
    const SIZE: usize = N;
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
    fn write(&self, out: &mut impl Extend<u8>) {
        out.extend(*self);
    }
}

/// Takes a field off the front of a record.
pub(super) fn field<T: Bulk>(bytes: &mut &[u8]) -> Option<T> {
    let (head, rest) = bytes.split_at_checked(T::SIZE)?;
    *bytes = rest;
    T::read(head)
}

/// Declares a record of fields in order, each itself [`Bulk`].
macro_rules! bulk {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $f:ident: $t:ty,)* })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name { $($(#[$fdoc])* pub $f: $t,)* }
        impl $crate::image::Bulk for $name {
            const SIZE: usize = 0 $(+ <$t as $crate::image::Bulk>::SIZE)*;
            fn read(mut bytes: &[u8]) -> Option<Self> {
                let record = Self { $($f: $crate::image::bytes::field::<$t>(&mut bytes)?,)* };
                if bytes.is_empty() { Some(record) } else { None }
            }
            fn write(&self, out: &mut impl Extend<u8>) { $(self.$f.write(out);)* }
        }
    )* };
}
pub(super) use bulk;

//! Netlink messages as bytes: built, taken apart, changed in place.
//!
//! What the kernel tells about addresses, routes and neighbours is kept as it came and given back with another
//! interface in it, so nothing an administrator set is lost in between.
//!
//! Source: Linux `include/uapi/linux/{netlink,rtnetlink}.h`; lengths and numbers in the machine's byte order.

/// Bytes of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;

/// Attribute numbers without the flags of nesting and byte order.
const TYPE_MASK: u16 = 0x3fff;
const NESTED: u16 = 0x8000;

const fn padded(len: usize) -> usize {
    (len + 3) & !3
}

/// A message being built.
#[derive(Clone, Debug)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// A message of a kind with the fixed part of its family.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(fixed);
        bytes.resize(padded(bytes.len()), 0);
        Self(bytes)
    }

    /// Appends an attribute.
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(padded(self.0.len()), 0);
        self
    }

    /// Appends a text, with its end.
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        self.with(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// Appends attributes within one.
    pub(crate) fn nest(mut self, kind: u16, inner: impl FnOnce(Self) -> Self) -> Self {
        let inner = inner(Self(Vec::new())).0;
        self = self.with(kind | NESTED, &inner);
        self
    }

    /// The bytes, under a sequence number.
    pub(crate) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(0);
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// One message of many in a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'b> {
    /// Kind.
    pub(crate) kind: u16,
    /// Sequence number.
    pub(crate) sequence: u32,
    /// All after the header.
    pub(crate) body: &'b [u8],
}

/// The messages of a buffer; ends at the first that is cut off.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = View<'_>> {
    std::iter::from_fn(move || {
        let len = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let one = bytes.get(..len).filter(|_| len >= HEADER)?;
        bytes = bytes.get(padded(len)..).unwrap_or_default();
        Some(View { kind: u16_at(one, 4)?, sequence: u32_at(one, 8)?, body: one.get(HEADER..)? })
    })
}

/// The attributes of a buffer: number and value.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(bytes, 0)?);
        let value = bytes.get(4..len)?;
        let kind = u16_at(bytes, 2)? & TYPE_MASK;
        bytes = bytes.get(padded(len)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of one attribute.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == kind).map(|(_, value)| value)
}

/// A number in the machine's byte order.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_ne_bytes(*b))
}

/// A number in the machine's byte order.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

/// Overwrites a number.
pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(to) = bytes.get_mut(at..at + 4) {
        to.copy_from_slice(&value.to_ne_bytes());
    }
}

/// The text of an attribute.
pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_taken_apart() {
        let m = Message::new(20, 5, &[1, 2, 3, 4]).with(1, &[9]).nest(2, |m| m.text(3, "eth0")).finish(7);
        let all = [&m[..], &m].concat();
        let seen: Vec<_> = messages(&all).collect();
        assert_eq!((seen.len(), seen[0].kind, seen[1].sequence), (2, 20, 7));
        let inner = attribute(&seen[0].body[4..], 2).unwrap();
        assert_eq!(attribute(inner, 3).map(text), Some("eth0".to_owned()));
        assert_eq!(attributes(&seen[0].body[4..]).count(), 2);
    }

    #[test]
    fn cut_and_false_lengths_end_it() {
        let m = Message::new(20, 5, &[1, 2, 3, 4]).with(1, &[9; 6]).finish(7);
        for cut in 0..m.len() {
            assert_eq!(messages(&m[..cut]).count(), 0);
        }
        let mut short = m.clone();
        short[0] = 15;
        assert_eq!(messages(&short).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[9, 0, 1, 0, 5]).count(), 0);
        assert_eq!(attributes(&[0, 0, 1, 0]).count(), 0);
    }
}

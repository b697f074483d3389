//! A packet as the engine reads and rewrites it: a writable header window and read-only rest.
//!
//! **Invariant:** what is read does not depend on where the packet is split between window and rest; only
//! [`Packet::write`] and the front operations are limited to the window, and say so by returning `false`.
//! **Invariant:** no method panics for any offset or length.

/// An L3 packet: the bytes from the IP header to the end of the IP packet (or of the frame, padding included,
/// until [`Packet::set_len`] cuts it).
///
/// The window holds spare bytes in front (headroom, for a longer header of the other family), then the first bytes
/// of the packet; `rest` continues it. Hosts lend a window that covers all headers, at least
/// [`Packet::WINDOW`] bytes of the packet or all of it; a write beyond the window fails and the engine drops the
/// packet with reason `memory`.
#[derive(Debug)]
pub struct Packet<'a> {
    window: &'a mut [u8],
    head: usize,
    rest: &'a [&'a [u8]],
    len: usize,
}

impl<'a> Packet<'a> {
    /// Bytes of the packet a host should make writable: IPv6 header, options, TCP header with options, or an ICMP
    /// error with the headers it quotes.
    pub const WINDOW: usize = 256;
    /// Spare bytes in front a host should lend: an IPv6 header with a fragment header instead of an IPv4 one.
    pub const HEADROOM: usize = 48;

    /// A packet that starts `headroom` bytes into `window` and goes on in `rest`. `None` when the headroom is
    /// larger than the window or the total does not fit a `u32`.
    #[must_use]
    pub fn new(window: &'a mut [u8], headroom: usize, rest: &'a [&'a [u8]]) -> Option<Self> {
        let mut len = window.len().checked_sub(headroom)?;
        for part in rest {
            len = len.checked_add(part.len())?;
        }
        u32::try_from(len).ok()?;
        Some(Self { window, head: headroom, rest, len })
    }

    /// A contiguous packet without headroom.
    #[must_use]
    #[inline]
    pub fn whole(window: &'a mut [u8]) -> Self {
        let len = window.len();
        Self { window, head: 0, rest: &[], len }
    }

    /// Length of the packet in bytes.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Spare bytes in front of the packet.
    #[must_use]
    pub const fn headroom(&self) -> usize {
        self.head
    }

    /// The writable first bytes of the packet.
    #[must_use]
    #[inline]
    pub fn window(&self) -> &[u8] {
        let w = self.window.get(self.head..).unwrap_or_default();
        w.get(..self.len).unwrap_or(w)
    }

    /// The writable first bytes of the packet, to write.
    #[must_use]
    #[inline]
    pub fn window_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        let w = self.window.get_mut(self.head..).unwrap_or_default();
        let n = w.len().min(len);
        w.get_mut(..n).unwrap_or_default()
    }

    /// Copies `out.len()` bytes at `off`. `false`, with `out` undefined, when the packet is shorter.
    #[must_use]
    pub fn read(&self, off: usize, out: &mut [u8]) -> bool {
        let Some(end) = off.checked_add(out.len()) else { return false };
        if end > self.len {
            return false;
        }
        if let Some(src) = self.window().get(off..end) {
            copy(out, src);
            return true;
        }
        self.read_split(off, out)
    }

    /// The slow way of [`Packet::read`]: bytes across or beyond the window's end.
    #[cold]
    #[inline(never)]
    fn read_split(&self, off: usize, out: &mut [u8]) -> bool {
        let mut out = out;
        for part in self.chunks(off, out.len()) {
            let Some((now, later)) = out.split_at_mut_checked(part.len()) else { return false };
            copy(now, part);
            out = later;
        }
        out.is_empty()
    }

    /// `N` bytes at `off`.
    #[must_use]
    #[inline]
    pub fn array<const N: usize>(&self, off: usize) -> Option<[u8; N]> {
        // What almost always happens: all of it lies in the window.
        if let Some(bytes) = self.window().get(off..).and_then(<[u8]>::first_chunk::<N>) {
            return Some(*bytes);
        }
        let mut out = [0; N];
        self.read(off, &mut out).then_some(out)
    }

    /// The same, lent where it lies; bytes that do not lie together are put into `room`.
    #[must_use]
    #[inline]
    pub fn lend<'r, const N: usize>(&'r self, off: usize, room: &'r mut [u8; N]) -> Option<&'r [u8; N]> {
        match self.window().get(off..).and_then(<[u8]>::first_chunk::<N>) {
            Some(bytes) => Some(bytes),
            None => self.read(off, room).then_some(room),
        }
    }

    /// The byte at `off`.
    #[must_use]
    #[inline]
    pub fn u8(&self, off: usize) -> Option<u8> {
        self.array::<1>(off).map(|[b]| b)
    }

    /// The big-endian `u16` at `off`.
    #[must_use]
    #[inline]
    pub fn u16(&self, off: usize) -> Option<u16> {
        self.array(off).map(u16::from_be_bytes)
    }

    /// The big-endian `u32` at `off`.
    #[must_use]
    #[inline]
    pub fn u32(&self, off: usize) -> Option<u32> {
        self.array(off).map(u32::from_be_bytes)
    }

    /// Overwrites bytes at `off`. `false`, with nothing written, unless all of them lie in the window.
    #[must_use]
    pub fn write(&mut self, off: usize, bytes: &[u8]) -> bool {
        let Some(end) = off.checked_add(bytes.len()) else { return false };
        match self.window_mut().get_mut(off..end) {
            Some(dst) => {
                copy(dst, bytes);
                true
            }
            None => false,
        }
    }

    /// The same of as many bytes as are known beforehand.
    #[must_use]
    #[inline]
    pub fn put<const N: usize>(&mut self, off: usize, bytes: [u8; N]) -> bool {
        match self.window_mut().get_mut(off..).and_then(<[u8]>::first_chunk_mut) {
            Some(to) => *to = bytes,
            None => return false,
        }
        true
    }

    /// The `len` bytes from `off`, piece by piece; fewer when the packet ends earlier.
    pub fn chunks(&self, off: usize, len: usize) -> impl Iterator<Item = &[u8]> {
        let end = off.saturating_add(len).min(self.len);
        let mut at = 0_usize;
        core::iter::once(self.window()).chain(self.rest.iter().copied()).filter_map(move |part| {
            let start = at;
            at = at.saturating_add(part.len());
            let from = off.saturating_sub(start).min(part.len());
            let to = end.saturating_sub(start).min(part.len());
            part.get(from..to).filter(|p| !p.is_empty())
        })
    }

    /// Moves the start `n` bytes forward into the headroom's favour: the first `n` bytes leave the packet.
    /// `false`, with nothing changed, when the window does not hold them.
    #[must_use]
    pub fn shrink_front(&mut self, n: usize) -> bool {
        if n > self.window().len() {
            return false;
        }
        let (Some(head), Some(len)) = (self.head.checked_add(n), self.len.checked_sub(n)) else { return false };
        (self.head, self.len) = (head, len);
        true
    }

    /// Moves the start `n` bytes back into the headroom: `n` bytes of unspecified content come first.
    /// `false`, with nothing changed, when the headroom is smaller.
    #[must_use]
    pub fn grow_front(&mut self, n: usize) -> bool {
        let (Some(head), Some(len)) = (self.head.checked_sub(n), self.len.checked_add(n)) else { return false };
        (self.head, self.len) = (head, len);
        true
    }

    /// Cuts the packet to `len` bytes. `false`, with nothing changed, when it is shorter.
    #[must_use]
    pub fn set_len(&mut self, len: usize) -> bool {
        let fits = len <= self.len;
        if fits {
            self.len = len;
        }
        fits
    }

    /// Copies the whole packet to the front of `out` and says how much of `out` it took.
    #[must_use]
    pub fn copy_to(&self, out: &mut [u8]) -> Option<usize> {
        let dst = out.get_mut(..self.len)?;
        self.read(0, dst).then_some(self.len)
    }
}

/// Copies equal lengths; does nothing when they differ.
fn copy(dst: &mut [u8], src: &[u8]) {
    if dst.len() == src.len() {
        dst.copy_from_slice(src);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_do_not_depend_on_the_split() {
        let all: [u8; 9] = core::array::from_fn(|i| u8::try_from(i).unwrap());
        for a in 0..=9 {
            for b in a..=9 {
                let mut window = [&[0xee; 4][..], &all[..a]].concat();
                let rest = [&all[a..b], &[], &all[b..]];
                let p = Packet::new(&mut window, 4, &rest).unwrap();
                for off in 0..=9 {
                    for len in 0..=10 - off {
                        let mut out = [0; 16];
                        let ok = p.read(off, &mut out[..len]);
                        assert_eq!(ok, off + len <= 9);
                        assert!(!ok || out[..len] == all[off..off + len]);
                    }
                }
            }
        }
    }

    #[test]
    fn writes_stay_in_the_window() {
        let mut window = [0, 0, 1, 2, 3];
        let rest: [&[u8]; 1] = [&[4, 5]];
        let mut p = Packet::new(&mut window, 2, &rest).unwrap();
        assert!(p.write(1, &[9, 9]));
        assert!(!p.write(2, &[7, 7]) && !p.write(usize::MAX, &[7]));
        assert!(p.grow_front(2) && !p.grow_front(1));
        assert_eq!(p.array::<7>(0), Some([0, 0, 1, 9, 9, 4, 5]));
        assert!(p.shrink_front(5) && !p.shrink_front(1));
        assert_eq!((p.len(), p.u16(0)), (2, Some(0x0405)));
        assert!(p.set_len(1) && !p.set_len(2));
        assert_eq!(p.u16(0), None);
    }

    #[test]
    fn cutting_inside_the_window_hides_the_rest() {
        let mut window = [1, 2, 3, 4];
        let rest: [&[u8]; 1] = [&[5]];
        let mut p = Packet::new(&mut window, 0, &rest).unwrap();
        assert!(p.set_len(2));
        assert_eq!(p.window(), &[1, 2]);
        assert!(!p.write(2, &[0]));
        assert_eq!(p.chunks(1, 99).map(<[u8]>::len).sum::<usize>(), 1);
    }
}

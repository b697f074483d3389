//! Sorting that cannot panic: heapsort, in place.
//!
//! The standard library's sort may panic on an order that contradicts itself, and the linker cannot see that ours do not.

/// Sorts by `before`. Equal items may change places; an order that contradicts itself gives some order.
pub fn sort_by<T>(items: &mut [T], before: impl Fn(&T, &T) -> bool) {
    let len = items.len();
    for root in (0..len / 2).rev() {
        sift(items, root, len, &before);
    }
    for end in (1..len).rev() {
        swap(items, 0, end);
        sift(items, 0, end, &before);
    }
}

/// Lets an item sink below those that come after it.
fn sift<T>(items: &mut [T], root: usize, end: usize, before: &impl Fn(&T, &T) -> bool) {
    let mut at = root;
    // A heap of all memory is no deeper than that.
    for _ in 0..usize::BITS {
        let left = at.saturating_mul(2).saturating_add(1);
        if left >= end {
            return;
        }
        let right = left.saturating_add(1);
        let less = |a: usize, b: usize| match (items.get(a), items.get(b)) {
            (Some(a), Some(b)) => before(a, b),
            _ => false,
        };
        let last = if right < end && less(left, right) { right } else { left };
        if !less(at, last) {
            return;
        }
        swap(items, at, last);
        at = last;
    }
}

fn swap<T>(items: &mut [T], a: usize, b: usize) {
    if let Ok([x, y]) = items.get_disjoint_mut([a, b]) {
        core::mem::swap(x, y);
    }
}

#[cfg(test)]
mod tests {
    use super::sort_by;

    #[test]
    fn whatever_comes_is_sorted() {
        let mut seed = 7_u32;
        for len in 0..200_usize {
            let mut items: Vec<u32> = (0..len)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    seed >> 24
                })
                .collect();
            let mut want = items.clone();
            want.sort_unstable();
            sort_by(&mut items, |a, b| a < b);
            assert_eq!(items, want);
        }
    }
}

//! Counting that cannot overflow, for iterators of which the compiler cannot see that they are short.

/// How many items there are.
#[must_use]
pub fn of(items: impl Iterator) -> usize {
    items.fold(0, |n: usize, _| n.saturating_add(1))
}

/// How many items there are, as a number of records.
#[must_use]
pub fn number(items: impl Iterator) -> u32 {
    items.fold(0, |n: u32, _| n.saturating_add(1))
}

/// The place of the first item for which `is` holds.
#[must_use]
pub fn place<T>(items: impl Iterator<Item = T>, is: impl Fn(&T) -> bool) -> Option<usize> {
    let mut at = 0_usize;
    for item in items {
        if is(&item) {
            return Some(at);
        }
        at = at.saturating_add(1);
    }
    None
}

/// Items with their places.
pub fn numbered<I: Iterator>(items: I) -> impl Iterator<Item = (usize, I::Item)> {
    (0..=usize::MAX).zip(items)
}

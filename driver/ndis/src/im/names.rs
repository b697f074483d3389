//! Names of devices in a configuration: several in a row, each ended by a zero.

/// The first of several. `None` when there is none.
#[must_use]
pub fn first(several: &[u16]) -> Option<&[u16]> {
    several.split(|c| *c == 0).next().filter(|name| !name.is_empty())
}

/// Whether two names are one: letters of either case are the same. Device names are of ASCII alone.
#[must_use]
pub fn same(a: &[u16], b: &[u16]) -> bool {
    let folded = |c: &u16| u8::try_from(*c).map_or(*c, |b| u16::from(b.to_ascii_lowercase()));
    a.iter().map(folded).eq(b.iter().map(folded))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    #[test]
    fn the_first_name_is_taken() {
        assert_eq!(first(&wide("\\Device\\{A}\0\\Device\\{B}\0\0")), Some(&wide("\\Device\\{A}")[..]));
        assert_eq!(first(&wide("\\Device\\{A}")), Some(&wide("\\Device\\{A}")[..]));
        assert_eq!((first(&[]), first(&[0, 0]), first(&wide("\0a"))), (None, None, None));
    }

    #[test]
    fn case_is_nothing_to_a_name() {
        assert!(same(&wide("\\DEVICE\\{aB}"), &wide("\\Device\\{Ab}")));
        assert!(!same(&wide("\\Device\\{A}"), &wide("\\Device\\{A}1")) && !same(&wide("a"), &[0x141]));
    }
}

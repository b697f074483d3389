//! What becomes of a binding path.
//!
//! Source: netcfgx.h and netcfgn.h's `NCN_…` and `NCF_…`.

/// The protocol's identifier in its INF.
pub const PROTOCOL: &str = "planb_im";
/// The virtual miniport's identifier in its INF.
pub const MINIPORT: &str = "planb_immp";

/// `NCN_ADD`.
const ADD: u32 = 1;
/// `NCN_REMOVE`.
const REMOVE: u32 = 2;
/// `NCN_ENABLE`.
const ENABLE: u32 = 0x10;
/// `NCF_PHYSICAL`.
const PHYSICAL: u32 = 4;
/// `NCF_FILTER | NCF_LW_FILTER`: these stand on an adapter, they do not use it.
const FILTER: u32 = 0x400 | 0x4_0000;

/// One end of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Identifier.
    pub id: String,
    /// `NCF_…`.
    pub characteristics: u32,
}

/// What is done about a path of the protocol's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// The adapter gets its miniport.
    Add,
    /// The adapter's miniport goes.
    Remove,
    /// Nothing.
    Nothing,
}

fn is(end: &End, id: &str) -> bool {
    end.id.eq_ignore_ascii_case(id)
}

/// What is done when a path from `upper` to `lower` changes.
#[must_use]
pub fn deed(change: u32, upper: &End, lower: &End) -> Deed {
    if !is(upper, PROTOCOL) || lower.characteristics & PHYSICAL == 0 {
        return Deed::Nothing;
    }
    match (change & ADD != 0, change & REMOVE != 0, change & ENABLE != 0) {
        (true, false, true) => Deed::Add,
        (false, true, _) => Deed::Remove,
        _ => Deed::Nothing,
    }
}

/// Whether a path is refused when it is to be enabled.
#[must_use]
pub fn refused(change: u32, upper: &End, lower: &End) -> bool {
    if change & ENABLE == 0 {
        return false;
    }
    let physical = lower.characteristics & PHYSICAL != 0;
    if is(upper, PROTOCOL) {
        // Over anything but an adapter there is no miniport; over its own it would filter twice.
        return !physical;
    }
    physical && upper.characteristics & FILTER == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(id: &str, characteristics: u32) -> End {
        End { id: id.to_owned(), characteristics }
    }

    #[test]
    fn an_adapter_that_is_bound_gets_a_miniport_and_loses_it() {
        let (ours, card) = (end("PlanB_IM", 0), end("pci\\ven_8086", 0x84));
        assert_eq!(deed(ADD | ENABLE, &ours, &card), Deed::Add);
        assert_eq!(deed(REMOVE | ENABLE, &ours, &card), Deed::Remove);
        assert_eq!(deed(REMOVE | 0x20, &ours, &card), Deed::Remove);
        // Disabled at once, enabled again, disabled: the miniport stays what it is.
        assert_eq!([ADD | 0x20, ENABLE, 0x20].map(|c| deed(c, &ours, &card)), [Deed::Nothing; 3]);
        assert_eq!(deed(ADD | ENABLE, &ours, &end("planb_immp", 0x29)), Deed::Nothing);
        assert_eq!(deed(ADD | ENABLE, &end("ms_tcpip", 0), &card), Deed::Nothing);
    }

    #[test]
    fn nothing_goes_around_the_filter() {
        let (ours, tcpip, card) = (end(PROTOCOL, 0), end("ms_tcpip", 0xA0), end("card", 4));
        let miniport = end(MINIPORT, 0x29);
        assert!(refused(ENABLE, &tcpip, &card) && refused(ADD | ENABLE, &end("ms_lltdio", 0), &card));
        assert!(refused(ENABLE, &ours, &miniport), "not over its own");
        assert!(!refused(ENABLE, &tcpip, &miniport) && !refused(ENABLE, &ours, &card));
        assert!(!refused(ENABLE, &end("ms_wfplwf_lower", 0x4_0000), &card), "filters stand on the adapter");
        assert!(!refused(0x20, &tcpip, &card), "only what is to be enabled");
    }
}

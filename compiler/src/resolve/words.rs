//! Words of the language that stand for numbers: ICMP types and codes, TOS values, TCP flags, log levels, limits.
//!
//! Holds tables and their lookups in both directions; the first entry wins where a number or name stands twice, which
//! is what decides how a type prints. Source: `pfctl_parser.c`, `parse.y map_tos`, `<syslog.h>`.

use pfvm::rule::Af;

/// ICMP types.
const ICMP_TYPES: &[(&str, u8)] = &[
    ("echoreq", 8),
    ("echorep", 0),
    ("unreach", 3),
    ("squench", 4),
    ("redir", 5),
    ("althost", 6),
    ("routeradv", 9),
    ("routersol", 10),
    ("timex", 11),
    ("paramprob", 12),
    ("timereq", 13),
    ("timerep", 14),
    ("inforeq", 15),
    ("inforep", 16),
    ("maskreq", 17),
    ("maskrep", 18),
    ("trace", 30),
    ("dataconv", 31),
    ("mobredir", 32),
    ("ipv6-where", 33),
    ("ipv6-here", 34),
    ("mobregreq", 35),
    ("mobregrep", 36),
    ("skip", 39),
    ("photuris", 40),
];

/// ICMPv6 types.
const ICMP6_TYPES: &[(&str, u8)] = &[
    ("unreach", 1),
    ("toobig", 2),
    ("timex", 3),
    ("paramprob", 4),
    ("echoreq", 128),
    ("echorep", 129),
    ("groupqry", 130),
    ("listqry", 130),
    ("grouprep", 131),
    ("listenrep", 131),
    ("groupterm", 132),
    ("listendone", 132),
    ("routersol", 133),
    ("routeradv", 134),
    ("neighbrsol", 135),
    ("neighbradv", 136),
    ("redir", 137),
    ("routrrenum", 138),
    ("wrureq", 139),
    ("wrurep", 140),
    ("fqdnreq", 139),
    ("fqdnrep", 140),
    ("niqry", 139),
    ("nirep", 140),
    ("mtraceresp", 200),
    ("mtrace", 201),
    ("listenrepv2", 143),
];

/// ICMP codes: name, type, code.
const ICMP_CODES: &[(&str, u8, u8)] = &[
    ("net-unr", 3, 0),
    ("host-unr", 3, 1),
    ("proto-unr", 3, 2),
    ("port-unr", 3, 3),
    ("needfrag", 3, 4),
    ("srcfail", 3, 5),
    ("net-unk", 3, 6),
    ("host-unk", 3, 7),
    ("isolate", 3, 8),
    ("net-prohib", 3, 9),
    ("host-prohib", 3, 10),
    ("net-tos", 3, 11),
    ("host-tos", 3, 12),
    ("filter-prohib", 3, 13),
    ("host-preced", 3, 14),
    ("cutoff-preced", 3, 15),
    ("redir-net", 5, 0),
    ("redir-host", 5, 1),
    ("redir-tos-net", 5, 2),
    ("redir-tos-host", 5, 3),
    ("normal-adv", 9, 0),
    ("common-adv", 9, 16),
    ("transit", 11, 0),
    ("reassemb", 11, 1),
    ("badhead", 12, 0),
    ("optmiss", 12, 1),
    ("badlen", 12, 2),
    ("unknown-ind", 40, 1),
    ("auth-fail", 40, 2),
    ("decrypt-fail", 40, 3),
];

/// ICMPv6 codes: name, type, code.
const ICMP6_CODES: &[(&str, u8, u8)] = &[
    ("admin-unr", 1, 1),
    ("noroute-unr", 1, 0),
    ("beyond-unr", 1, 2),
    ("addr-unr", 1, 3),
    ("port-unr", 1, 4),
    ("transit", 3, 0),
    ("reassemb", 3, 1),
    ("badhead", 4, 0),
    ("nxthdr", 4, 1),
    ("redironlink", 137, 0),
    ("redirrouter", 137, 1),
];

/// TOS and DSCP names.
const TOS: &[(&str, u8)] = &[
    ("af11", 0x28),
    ("af12", 0x30),
    ("af13", 0x38),
    ("af21", 0x48),
    ("af22", 0x50),
    ("af23", 0x58),
    ("af31", 0x68),
    ("af32", 0x70),
    ("af33", 0x78),
    ("af41", 0x88),
    ("af42", 0x90),
    ("af43", 0x98),
    ("critical", 0xa0),
    ("cs0", 0x00),
    ("cs1", 0x20),
    ("cs2", 0x40),
    ("cs3", 0x60),
    ("cs4", 0x80),
    ("cs5", 0xa0),
    ("cs6", 0xc0),
    ("cs7", 0xe0),
    ("ef", 0xb8),
    ("inetcontrol", 0xc0),
    ("lowdelay", 0x10),
    ("netcontrol", 0xe0),
    ("reliability", 0x04),
    ("throughput", 0x08),
];

/// Syslog levels with their other names.
const LEVELS: &[(&str, u8)] = &[
    ("alert", 1),
    ("crit", 2),
    ("debug", 7),
    ("emerg", 0),
    ("err", 3),
    ("error", 3),
    ("info", 6),
    ("notice", 5),
    ("panic", 0),
    ("warn", 4),
    ("warning", 4),
];

/// Profiles of `set optimization`: seconds of tcp.first, opening, established, closing, finwait, closed, tsdiff.
pub(crate) const PROFILES: &[(&str, [u32; 7])] = &[
    ("normal", [120, 30, 86_400, 900, 45, 90, 30]),
    ("satellite", [180, 35, 86_400, 905, 50, 95, 60]),
    ("high-latency", [180, 35, 86_400, 905, 50, 95, 60]),
    ("conservative", [3600, 900, 432_000, 3600, 600, 180, 60]),
    ("aggressive", [30, 5, 18_000, 60, 30, 30, 10]),
];

/// Letters of TCP flags from bit 0.
pub(crate) const TCP_FLAGS: &str = "FSRPAUEW";

fn types(af: Af) -> &'static [(&'static str, u8)] {
    match af {
        Af::Inet => ICMP_TYPES,
        Af::Inet6 => ICMP6_TYPES,
    }
}

fn codes(af: Af) -> &'static [(&'static str, u8, u8)] {
    match af {
        Af::Inet => ICMP_CODES,
        Af::Inet6 => ICMP6_CODES,
    }
}

/// Names of ICMP types.
pub(crate) fn icmp_type_names(af: Af) -> impl Iterator<Item = &'static str> {
    types(af).iter().map(|(name, _)| *name)
}

/// Names of the codes of an ICMP type.
pub(crate) fn icmp_code_names(kind: u8, af: Af) -> impl Iterator<Item = &'static str> {
    codes(af).iter().filter(move |(_, t, _)| *t == kind).map(|(name, ..)| *name)
}

/// Names of TOS values.
pub(crate) fn tos_names() -> impl Iterator<Item = &'static str> {
    TOS.iter().map(|(name, _)| *name)
}

/// Names of log levels.
pub(crate) fn log_level_names() -> impl Iterator<Item = &'static str> {
    LEVELS.iter().map(|(name, _)| *name)
}

/// Number of an ICMP type name.
pub(crate) fn icmp_type(name: &str, af: Af) -> Option<u8> {
    types(af).iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

/// Name of an ICMP type.
pub(crate) fn icmp_type_name(kind: u8, af: Af) -> Option<&'static str> {
    types(af).iter().find(|(_, v)| *v == kind).map(|(n, _)| *n)
}

/// Number of a code name of an ICMP type.
pub(crate) fn icmp_code(kind: u8, name: &str, af: Af) -> Option<u8> {
    codes(af).iter().find(|(n, t, _)| *t == kind && *n == name).map(|(_, _, c)| *c)
}

/// Name of a code of an ICMP type.
pub(crate) fn icmp_code_name(kind: u8, code: u8, af: Af) -> Option<&'static str> {
    codes(af).iter().find(|(_, t, c)| *t == kind && *c == code).map(|(n, ..)| *n)
}

/// Value of a TOS name.
pub(crate) fn tos(name: &str) -> Option<u8> {
    TOS.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| *v)
}

/// TCP flag letters as bits; no letters are all flags. `None` for a letter that is none.
pub(crate) fn tcp_flags(text: &str) -> Option<u8> {
    let bits = text.chars().try_fold(0u8, |bits, c| {
        let at = TCP_FLAGS.chars().position(|f| f == c)?;
        Some(bits | 1u8.checked_shl(u32::try_from(at).ok()?)?)
    })?;
    Some(if bits == 0 { 0xff } else { bits })
}

/// A log level by name or digit.
#[must_use]
pub fn log_level(name: &str) -> Option<u8> {
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return super::number::strtonum(name, 0, 7).ok().and_then(|v| u8::try_from(v).ok());
    }
    LEVELS.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| *v)
}

/// Name a log level prints as.
#[must_use]
pub fn log_level_name(level: u8) -> &'static str {
    LEVELS.iter().find(|(_, v)| *v == level).map_or("unknown", |(n, _)| *n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_entry_prints() {
        assert_eq!(icmp_type_name(139, Af::Inet6), Some("wrureq"));
        assert_eq!(icmp_type("nirep", Af::Inet6), Some(140));
        assert_eq!(icmp_code(3, "redir-net", Af::Inet), None);
        assert_eq!(icmp_code_name(1, 4, Af::Inet6), Some("port-unr"));
    }

    #[test]
    fn flags_and_levels() {
        assert_eq!(tcp_flags("SA"), Some(0x12));
        assert_eq!(tcp_flags(""), Some(0xff));
        assert_eq!(tcp_flags("sx"), None);
        assert_eq!(tos("AF11"), Some(0x28));
        assert_eq!(log_level("ERR"), Some(3));
        assert_eq!(log_level("8"), None);
    }
}

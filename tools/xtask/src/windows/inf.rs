//! What must hold of the INF, since InfVerif runs on Windows alone.

use super::run::Failure;

/// Sections and their lines, comments and quotes' surroundings off; names in lower case.
fn sections(text: &str) -> Vec<(String, Vec<String>)> {
    let mut out: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines() {
        let line = line.split(';').next().unwrap_or_default().trim();
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            out.push((name.to_lowercase(), Vec::new()));
        } else if let (false, Some((_, lines))) = (line.is_empty(), out.last_mut()) {
            lines.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    out
}

/// What each section must say, without regard to case.
const WANTED: &[(&str, &str)] = &[
    ("version", "Class = NetService"),
    ("version", "ClassGUID = {4D36E974-E325-11CE-BFC1-08002BE10318}"),
    ("version", "PnpLockdown = 1"),
    ("version", "CatalogFile = planb.cat"),
    ("install", "Characteristics = 0x40000"),
    ("install", "NetCfgInstanceId = \"{6E3A4C2B-6B1D-4B6F-9B57-2C5B1B8F3D10}\""),
    ("install.services", "AddService = planb,,Service"),
    ("install.remove.services", "DelService = planb,0x200"),
    ("service", "ServiceType = 1"),
    ("service", "StartType = 1"),
    ("service", "LoadOrderGroup = NDIS"),
    ("filter.addreg", "HKR, Ndi, Service, 0x00000000, \"planb\""),
    ("filter.addreg", "HKR, Ndi, FilterClass, 0x00000000, \"custom\""),
    ("filter.addreg", "HKR, Ndi, FilterType, 0x00010001, 2"),
    ("filter.addreg", "HKR, Ndi\\Interfaces, UpperRange, 0x00000000, \"noupper\""),
    ("filter.addreg", "HKR, Ndi\\Interfaces, LowerRange, 0x00000000, \"nolower\""),
    ("filter.addreg", "HKR, Ndi\\Interfaces, FilterMediaTypes, 0x00000000, \"ethernet, wlan\""),
];

/// Holds an INF to the rules for a lightweight filter.
///
/// # Errors
/// What does not hold.
pub(crate) fn lint(text: &str) -> Result<(), Failure> {
    let sections = sections(text);
    let lines = |name: &str| sections.iter().filter(|s| s.0 == name).flat_map(|s| &s.1).collect::<Vec<_>>();
    for (section, wanted) in WANTED {
        if !lines(section).iter().any(|line| line.eq_ignore_ascii_case(wanted)) {
            return Err(format!("[{section}] does not say: {wanted}"));
        }
    }
    for platform in ["ntamd64", "ntarm64"] {
        if !sections.iter().any(|s| s.0.starts_with(&format!("models.{platform}"))) {
            return Err(format!("no models for {platform}"));
        }
    }
    // Every %name% is a string, every string is used.
    let strings: Vec<&str> = lines("strings").iter().filter_map(|l| l.split(' ').next()).collect();
    for line in sections.iter().filter(|s| s.0 != "strings").flat_map(|s| &s.1) {
        for name in line.split('%').skip(1).step_by(2) {
            let directory = name.bytes().all(|b| b.is_ascii_digit());
            if !directory && !strings.contains(&name) {
                return Err(format!("%{name}% is not among the strings"));
            }
        }
    }
    match strings.iter().find(|name| !text.contains(&format!("%{name}%"))) {
        Some(unused) => Err(format!("nothing uses the string {unused}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: &str = include_str!("../../../../driver/ndis/package/planb.inf");

    #[test]
    fn ours_holds_and_what_is_changed_does_not() {
        assert_eq!(lint(INF), Ok(()));
        let changes = [
            ("NetService", "Net"),
            ("0x40000", "0x400"),
            ("PnpLockdown = 1", "PnpLockdown = 0"),
            ("%Disk%", "%Disc%"),
            ("NTarm64", "NTia64"),
            ("FilterType,     0x00010001, 2", "FilterType, 0x00010001, 1"),
        ];
        for (old, new) in changes {
            assert!(INF.contains(old), "{old}");
            assert!(lint(&INF.replace(old, new)).is_err(), "{old}");
        }
    }
}

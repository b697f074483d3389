//! An interface's settings under `/proc/sys/net`: moved with its name, and what an adapter must not do on its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Families with settings.
const FAMILIES: [&str; 2] = ["ipv4", "ipv6"];
/// Settings that are no settings but secrets, statistics or actions.
const LEFT_OUT: [&str; 3] = ["ipv6/stable_secret", "ipv6/mc_forwarding", "ipv4/mc_forwarding"];
/// While addresses are given none is made up.
const GENERATE: &str = "ipv6/addr_gen_mode";
/// What keeps an adapter quiet: no IPv6, no answers to ARP, nothing accepted.
const QUIET: [(&str, &str); 6] = [
    ("ipv6/disable_ipv6", "1"),
    ("ipv6/accept_ra", "0"),
    ("ipv4/arp_ignore", "8"),
    ("ipv4/rp_filter", "1"),
    ("ipv4/forwarding", "0"),
    ("ipv4/accept_redirects", "0"),
];

/// Settings by `family/name`.
pub(crate) type Settings = BTreeMap<String, String>;

fn path(name: &str, setting: &str) -> Option<PathBuf> {
    let (family, leaf) = setting.split_once('/')?;
    let plain = |part: &str| !part.contains('/') && part != ".." && !part.is_empty();
    (FAMILIES.contains(&family) && plain(leaf) && plain(name))
        .then(|| PathBuf::from(format!("/proc/sys/net/{family}/conf/{name}/{leaf}")))
}

/// All settings of an interface.
pub(crate) fn read(name: &str) -> Settings {
    let mut found = Settings::new();
    for family in FAMILIES {
        let Ok(list) = fs::read_dir(format!("/proc/sys/net/{family}/conf/{name}")) else { continue };
        for entry in list.flatten() {
            let setting = format!("{family}/{}", entry.file_name().to_string_lossy());
            if LEFT_OUT.contains(&&*setting) {
                continue;
            }
            if let Ok(value) = fs::read_to_string(entry.path()) {
                found.insert(setting, value.trim().to_owned());
            }
        }
    }
    found
}

/// Gives an interface settings; `hold` keeps it from making up addresses for now.
pub(crate) fn write(name: &str, settings: &Settings, hold: bool) {
    for (setting, value) in settings {
        let Some(path) = path(name, setting) else { continue };
        let value = if hold && setting == GENERATE { "1" } else { value };
        let now = fs::read_to_string(&path).unwrap_or_default();
        if now.trim() != value {
            // A setting this kernel will not take is left as it is.
            let _refused = fs::write(&path, value);
        }
    }
}

/// Keeps an adapter quiet.
pub(crate) fn quiet(name: &str) {
    for (setting, value) in QUIET {
        if let Some(path) = path(name, setting) {
            let _absent = fs::write(path, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stay_under_their_folder() {
        assert_eq!(path("eth0", "ipv4/rp_filter").unwrap().to_str(), Some("/proc/sys/net/ipv4/conf/eth0/rp_filter"));
        for (name, setting) in [("eth0", "ipv4/../x"), ("eth0", "core/x"), ("../lo", "ipv4/x"), ("eth0", "ipv4")] {
            assert_eq!(path(name, setting), None);
        }
        assert!(read("lo").contains_key("ipv4/forwarding"));
        assert!(read("no such interface").is_empty());
    }
}

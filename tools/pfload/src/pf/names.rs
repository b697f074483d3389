//! Host names for addresses (`-r`), and addresses for host names (`-k`, `-K`).

use std::net::IpAddr;

use pfc::facts::Facts;
use pfc::resolve::strtonum;
use pfvm::api::Net;
use pfvm::rule::{Addr, Af};

use crate::link::{Outcome, Trouble};

/// The name of an address, from the machine's own list of hosts. Nobody outside is asked.
pub(crate) fn name_of(addr: IpAddr) -> Option<String> {
    let file = if cfg!(windows) { r"C:\Windows\System32\drivers\etc\hosts" } else { "/etc/hosts" };
    let text = std::fs::read_to_string(file).ok()?;
    find_name(&text, addr)
}

fn find_name(hosts: &str, addr: IpAddr) -> Option<String> {
    hosts.lines().find_map(|line| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let first: IpAddr = words.next()?.parse().ok()?;
        if first == addr { words.next().map(str::to_owned) } else { None }
    })
}

/// Networks a host or network stands for: all addresses of a name, one network for `a/n`.
///
/// # Errors
/// A name nobody knows, a prefix that is too long.
pub(crate) fn networks(text: &str, facts: &Facts, numeric: bool) -> Outcome<Vec<Net>> {
    let (host, bits) = match text.split_once('/') {
        Some((host, bits)) => (host, Some(bits)),
        None => (text, None),
    };
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let found: Vec<IpAddr> = match bare.parse() {
        Ok(addr) => vec![addr],
        Err(_) if numeric || bits.is_some() => {
            return Err(Trouble::Here("getaddrinfo: name or service is not known".into()));
        }
        Err(_) => facts.resolve(bare),
    };
    if found.is_empty() {
        return Err(Trouble::Here("getaddrinfo: no address associated with name".into()));
    }
    found.into_iter().map(|addr| network(addr, bits)).collect()
}

fn network(addr: IpAddr, bits: Option<&str>) -> Outcome<Net> {
    let full: u8 = if addr.is_ipv4() { 32 } else { 128 };
    let prefix = match bits {
        None => full,
        Some(bits) => match strtonum(bits, 0, full.into()).map(u8::try_from) {
            Ok(Ok(n)) => n,
            Err(what) => return Err(Trouble::Here(format!("prefix is {what}: {bits}"))),
            Ok(Err(_)) => full,
        },
    };
    let (af, addr) = octets(addr);
    Ok(Net { af, addr, prefix, not: false })
}

/// Family and network order.
pub(crate) fn octets(addr: IpAddr) -> (Af, Addr) {
    match addr {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            (Af::Inet, Addr([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
        }
        IpAddr::V6(v6) => (Af::Inet6, Addr(v6.octets())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_a_word() {
        let facts = Facts {
            hosts: [("two".to_owned(), vec!["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()])].into(),
            ..Facts::default()
        };
        let list =
            |text: &str| networks(text, &facts, false).map(|n| n.iter().map(|n| (n.af, n.prefix)).collect::<Vec<_>>());
        assert_eq!(list("two").unwrap(), [(Af::Inet, 32), (Af::Inet6, 128)]);
        assert_eq!(list("0.0.0.0/0").unwrap(), [(Af::Inet, 0)]);
        assert_eq!(list("10.0.0.0/33").unwrap_err().to_string(), "prefix is too large: 33");
        let said = |text, numeric| networks(text, &facts, numeric).unwrap_err().to_string();
        assert_eq!(said("nowhere", false), "getaddrinfo: no address associated with name");
        assert_eq!(said("two/8", false), "getaddrinfo: name or service is not known");
        assert_eq!(said("two", true), "getaddrinfo: name or service is not known");
    }

    #[test]
    fn the_first_name_of_a_line() {
        let hosts = "127.0.0.1 localhost lo # x\n::1 six\n";
        assert_eq!(find_name(hosts, "127.0.0.1".parse().unwrap()).as_deref(), Some("localhost"));
        assert_eq!(find_name(hosts, "127.0.0.2".parse().unwrap()), None);
    }
}

//! Facts as text that reads back as the same facts.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use super::{Address, Facts, Interface, Transport};

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A section of names with numbers or texts, left out when empty.
fn section<V>(out: &mut String, name: &str, map: &BTreeMap<String, V>, value: impl Fn(&V) -> String) {
    if map.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n[{name}]");
    for (key, entry) in map {
        let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let key = if bare { key.clone() } else { quoted(key) };
        let _ = writeln!(out, "{key} = {}", value(entry));
    }
}

impl Facts {
    /// The facts as a file [`Facts::parse`] reads.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "dns = {}", self.dns);
        let _ = writeln!(out, "rtables = {}", list(self.rtables.iter().map(u8::to_string)));
        if self.name_limit != 0 {
            let _ = writeln!(out, "name_limit = {}", self.name_limit);
        }
        for interface in &self.interfaces {
            interface_text(&mut out, interface);
        }
        section(&mut out, "hosts", &self.hosts, |addresses| list(addresses.iter().map(|a| quoted(&a.to_string()))));
        section(&mut out, "users", &self.users, u32::to_string);
        section(&mut out, "groups", &self.groups, u32::to_string);
        section(&mut out, "services", &self.services, |(port, transport)| {
            let transport = match transport {
                Transport::Tcp => "tcp",
                Transport::Udp => "udp",
            };
            quoted(&format!("{port}/{transport}"))
        });
        section(&mut out, "files", &self.files, |text| quoted(text));
        section(&mut out, "folders", &self.folders, |path| quoted(&path.to_string_lossy()));
        let names = self.os.triples();
        if !names.is_empty() {
            let _ = writeln!(out, "\n[os]\nfingerprints = {}", self.os.fingerprints);
            let _ = writeln!(out, "names = {}", list(names.iter().map(|name| quoted(name))));
        }
        out
    }
}

fn interface_text(out: &mut String, interface: &Interface) {
    let _ = writeln!(out, "\n[[interface]]\nname = {}\nindex = {}", quoted(&interface.name), interface.index);
    let flags = interface.flags;
    let named = [
        (flags.broadcast, "broadcast"),
        (flags.loopback, "loopback"),
        (flags.point_to_point, "point-to-point"),
        (flags.dhcp, "dhcp"),
    ];
    let row = |out: &mut String, name: &str, items: Vec<String>| {
        if !items.is_empty() {
            let _ = writeln!(out, "{name} = {}", list(items.into_iter()));
        }
    };
    row(out, "flags", named.iter().filter(|(set, _)| *set).map(|(_, name)| quoted(name)).collect());
    row(out, "groups", interface.groups.iter().map(|g| quoted(g)).collect());
    row(out, "addresses", interface.addresses.iter().map(|a| address_text(a, flags.broadcast)).collect());
    row(out, "ids", interface.ids.iter().map(|id| quoted(id)).collect());
}

fn address_text(address: &Address, computed: bool) -> String {
    let network = quoted(&format!("{}/{}", address.addr, address.prefix));
    let field = |name: &str, value: &dyn Display| format!(", {name} = \"{value}\"");
    let peer = address.peer.map(|peer| field("peer", &peer)).unwrap_or_default();
    // The reader computes the broadcast address where the interface has the flag.
    let broadcast = address.broadcast.filter(|_| !computed).map(|b| field("broadcast", &b)).unwrap_or_default();
    if peer.is_empty() && broadcast.is_empty() {
        return network;
    }
    format!("{{ addr = {network}{broadcast}{peer} }}")
}

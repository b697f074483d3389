//! A step as recorded against ours, field by field.

use serde_json::Value;

use super::fields::{differences, find, quoted_at, unhex};

/// What a comparison leaves out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fuzzy<'a>(pub &'a [String]);

impl Fuzzy<'_> {
    /// Whether a path, or anything it lies in, depends on chance.
    fn covers(self, path: &str) -> bool {
        self.0.iter().any(|f| path == f || path.strip_prefix(f.as_str()).is_some_and(|r| r.starts_with(['.', '['])))
    }

    /// Names of packet parts that depend on chance under a prefix such as `out` or `emitted[0]`.
    fn parts(&self, prefix: &str) -> Vec<&str> {
        self.0.iter().filter_map(|f| f.strip_prefix(prefix)?.strip_prefix(':')).collect()
    }
}

/// Fields of a step that are packets, and the name their parts have in `fuzzy`.
const PACKETS: &[(&str, &str)] = &[("out_hex", "out"), ("in_hex", "in")];

/// Differences of a step. `want` and `got` are objects of the same shape; fields `got` lacks are absent in ours.
#[must_use]
pub(super) fn step(
    want: &serde_json::Map<String, Value>,
    got: &Value,
    fuzzy: Fuzzy<'_>,
    fields: &[&str],
) -> Vec<String> {
    let mut out = Vec::new();
    for &field in fields {
        let (w, g) = (want.get(field).unwrap_or(&Value::Null), got.get(field).unwrap_or(&Value::Null));
        if let Some((_, name)) = PACKETS.iter().find(|(f, _)| *f == field) {
            packet(field, w, g, &fuzzy.parts(name), fuzzy, &mut out);
        } else if field == "emitted" {
            emitted(w, g, fuzzy, &mut out);
        } else {
            value(field, w, g, fuzzy, &mut out);
        }
    }
    out
}

fn packet(path: &str, w: &Value, g: &Value, names: &[&str], fuzzy: Fuzzy<'_>, out: &mut Vec<String>) {
    if fuzzy.covers(path) {
        return;
    }
    match (w.as_str(), g.as_str()) {
        (Some(a), Some(b)) => {
            let (a, b) = (unhex(a), unhex(b));
            let mut names = names.to_vec();
            // Between two runs pf leaves the IPv4 header checksum of a rewritten packet to the output path; here it
            // is right at once.
            if !path.starts_with("emitted") && !header_sum_right(&a) && header_sum_right(&b) {
                names.push("ip.sum");
            }
            // Likewise of a packet on its way that an error quotes.
            let quotes = |p: &[u8]| quoted_at(p).map(|at| header_sum_right(&p[at..]));
            if path.starts_with("emitted") && quotes(&a) == Some(false) && quotes(&b) == Some(true) {
                names.extend(["inner.ip.sum", "icmp.sum"]);
            }
            // The recording calls a quoted TCP header that is cut short a payload; the port in it is the proxy's.
            if names.contains(&"inner.payload") && find(&a, "inner.tcp.win").is_none() {
                names.push("inner.tcp.sport");
            }
            out.extend(differences(&a, &b, &names).into_iter().map(|d| format!("{path} {d}")));
        }
        (None, None) => {}
        (a, b) => out.push(format!("{path}: want {} got {}", a.unwrap_or("none"), b.unwrap_or("none"))),
    }
}

/// Whether an IPv4 packet's header checksum is right.
fn header_sum_right(pkt: &[u8]) -> bool {
    let hlen = pkt.first().map_or(0, |b| usize::from(b & 15) * 4);
    pkt.first().is_some_and(|b| b >> 4 == 4) && pkt.get(..hlen).is_some_and(|h| pfvm::wire::checksum::of(h) == 0)
}

fn emitted(w: &Value, g: &Value, fuzzy: Fuzzy<'_>, out: &mut Vec<String>) {
    if fuzzy.covers("emitted") {
        return;
    }
    let none = Vec::new();
    let (a, b) = (w.as_array().unwrap_or(&none), g.as_array().unwrap_or(&none));
    if a.len() != b.len() {
        let vias = |v: &[Value]| v.iter().map(|e| e["via"].as_str().unwrap_or("?").to_owned()).collect::<Vec<_>>();
        out.push(format!("emitted: want {:?} got {:?}", vias(a), vias(b)));
        return;
    }
    for (i, (x, y)) in a.iter().zip(b).enumerate() {
        let path = format!("emitted[{i}]");
        for f in ["via", "if", "nexthop"] {
            value(&format!("{path}.{f}"), &x[f], &y[f], fuzzy, out);
        }
        packet(&format!("{path}.hex"), &x["hex"], &y["hex"], &fuzzy.parts(&path), fuzzy, out);
    }
}

fn value(path: &str, w: &Value, g: &Value, fuzzy: Fuzzy<'_>, out: &mut Vec<String>) {
    if fuzzy.covers(path) || w == g {
        return;
    }
    match (w, g) {
        (Value::Object(a), Value::Object(b)) => {
            for k in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                let null = Value::Null;
                value(&format!("{path}.{k}"), a.get(k).unwrap_or(&null), b.get(k).unwrap_or(&null), fuzzy, out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                value(&format!("{path}[{i}]"), x, y, fuzzy, out);
            }
        }
        _ => out.push(format!("{path}: want {} got {}", short(w), short(g))),
    }
}

fn short(v: &Value) -> String {
    let s = v.to_string();
    if s.len() > 400 { format!("{}…", s.chars().take(400).collect::<String>()) } else { s }
}

//! `-s states`, `-k`, `-S`, `-L`; `-s Sources`, `-K`.
//!
//! Source: `pf_print_state.c`; `pfctl.c pfctl_net_kill_states`, `pfctl_key_kill_states`, `pfctl_id_kill_states`,
//! `pfctl_state_store`, `pfctl_state_load`; `pfctl_parser.c print_src_node`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;

use pfc::print;
use pfshow::states::{Key as ShownKey, Peer, StateLine, Style};
use pfvm::api::{self, Key, Net, Request, SourceFilter, SourceRow, StateFilter, StateRow};
use pfvm::rule::Direction;
use pfvm::state::record::StatePeer;
use serde_json::{Value, json};

use super::{Pf, addresses, names};
use crate::link::{Outcome, Sources, States, Trouble, reason};
use crate::out::clock;

/// First bytes of a file of states: what it is and the version of its rows.
const MAGIC: [u8; 8] = *b"PFSTATE\x01";
/// Bytes a label may have.
const MAX_LABEL: usize = 63;
/// Path of the ticket for states on their way in: of two clients the later counts.
const TICKET: &str = "_states";
/// `PFSTATE_SLOPPY`, `PFSTATE_PFLOW`.
const SLOPPY: u16 = 0x0002;
const PFLOW: u16 = 0x0004;

fn peer(p: &StatePeer) -> Peer {
    Peer { state: p.state.0, seq: [p.seqlo, p.seqhi], seqdiff: p.seqdiff, wscale: p.wscale }
}

fn key(k: &Key) -> ShownKey {
    ShownKey { addr: k.addr.map(|a| addresses::ip(k.af, &a)), port: k.port }
}

/// A row as the printer wants it.
fn line<'r>(row: &'r StateRow<'_>) -> StateLine<'r> {
    let number = |n: u32| (n != u32::MAX).then_some(n);
    let family = |a| addresses::ip(if row.dir == Direction::Out { row.wire.af } else { row.stack.af }, a);
    StateLine {
        iface: row.iface,
        proto: row.wire.proto,
        out: row.dir == Direction::Out,
        wire: key(&row.wire),
        stack: key(&row.stack),
        src: peer(&row.src),
        dst: peer(&row.dst),
        next_hop: row.route.as_ref().map(|(_, addr)| family(addr)),
        age: row.age.into(),
        expires: row.expires.into(),
        packets: row.packets,
        bytes: row.bytes,
        anchor: number(row.anchor_rule),
        rule: number(row.rule).filter(|_| row.live),
        sloppy: row.flags & SLOPPY != 0,
        pflow: row.flags & PFLOW != 0,
        source_track: row.sources != 0,
        id: row.id,
        creator: row.creator,
    }
}

impl Pf<'_> {
    /// `-s states`.
    pub(super) fn show_states(&mut self) -> Outcome {
        let command = self.command;
        let services = if command.options.port_names { Some(self.facts()?.clone()) } else { None };
        let port = |proto: u8, port: u16| {
            let transport = if proto == 6 { pfc::facts::Transport::Tcp } else { pfc::facts::Transport::Udp };
            services.as_ref()?.service_name(port, transport).map(str::to_owned)
        };
        let host = |addr: IpAddr| names::name_of(addr);
        let style = Style {
            verbose: command.options.verbose.min(2),
            port: services.is_some().then_some(&port as _),
            host: command.names.then_some(&host as _),
        };
        let filter = StateFilter {
            iface: command.interface.as_deref().unwrap_or_default(),
            rule: command.rule_number.filter(|_| command.show != Some("all")).and_then(|n| u32::try_from(n).ok()),
            ..StateFilter::default()
        };
        let (out, mut titled, all) = (&mut self.out, false, command.show == Some("all"));
        let mut documents = Vec::new();
        self.link.each::<States>(
            |cursor| Request::States { filter, cursor },
            |row| {
                if out.json {
                    documents.push(state_json(&row));
                    return Ok(());
                }
                if all && !titled {
                    out.put("\nSTATES:\n");
                    titled = true;
                }
                out.put(&pfshow::states::line(&line(&row), &style));
                Ok(())
            },
        )?;
        if self.out.json {
            self.document("states", Value::Array(documents));
        }
        Ok(())
    }

    /// `-k`.
    pub(super) fn kill_states(&mut self) -> Outcome {
        let command = self.command;
        let wanted = |what: &str| Trouble::Usage(format!("no {what} specified"));
        let iface = self.interface()?;
        let rdomain = command.rdomain.into();
        let base = StateFilter { iface, rdomain, ..StateFilter::default() };
        let words: Vec<&str> = command.kill.iter().map(String::as_str).collect();
        let n = match words.as_slice() {
            ["label", label] if label.len() > MAX_LABEL => {
                return Err(Trouble::Here(format!("label too long: {label}")));
            }
            ["label", label] if !label.is_empty() => self.kill_by(StateFilter { label, ..base })?,
            ["key", text] if !text.is_empty() => self.kill_by(StateFilter { key: Some(parse_key(text)?), ..base })?,
            ["id", text] if !text.is_empty() => {
                let (id, creator) = parse_id(text)?;
                self.kill_by(StateFilter { id: Some(id), creator, ..StateFilter::default() })?
            }
            ["label", ..] => return Err(wanted("label")),
            ["key", ..] => return Err(wanted("key")),
            ["id", ..] => return Err(wanted("id")),
            hosts => return self.kill_by_hosts(hosts, base),
        };
        self.killed("states", n, None);
        Ok(())
    }

    fn kill_by(&mut self, filter: StateFilter<'_>) -> Outcome<u64> {
        self.link.change(&Request::KillStates { filter })
    }

    fn killed(&mut self, what: &str, n: u64, from: Option<(usize, usize)>) {
        if self.out.json {
            self.document("killed", json!({ "what": what, "count": n }));
            return;
        }
        self.out.confirm(&match from {
            Some((sources, dests)) => {
                format!("killed {n} {what} from {sources} sources and {dests} destinations")
            }
            None => format!("killed {n} {what}"),
        });
    }

    fn kill_by_hosts(&mut self, words: &[&str], base: StateFilter<'_>) -> Outcome {
        let (pairs, counts) = self.pairs(words)?;
        let mut killed = 0u64;
        for (src, dst) in pairs {
            killed = killed.saturating_add(self.kill_by(StateFilter { src: Some(src), dst, ..base })?);
        }
        self.killed("states", killed, Some(counts));
        Ok(())
    }

    /// Sources and destinations that go together, and how many of each pfctl counts.
    fn pairs(&mut self, words: &[&str]) -> Outcome<Ends> {
        let numeric = self.command.options.numeric;
        let facts = self.facts()?;
        let sources = names::networks(words.first().copied().unwrap_or_default(), facts, numeric)?;
        let dests = words.get(1).map(|w| names::networks(w, facts, numeric)).transpose()?;
        let (mut pairs, mut counted) = (Vec::new(), 0);
        for src in &sources {
            match &dests {
                None => pairs.push((*src, None)),
                Some(dests) => {
                    let same: Vec<&Net> = dests.iter().filter(|d| d.af == src.af).collect();
                    counted = same.len();
                    pairs.extend(same.into_iter().map(|d| (*src, Some(*d))));
                }
            }
        }
        Ok((pairs, (sources.len(), counted)))
    }

    /// `-S`.
    pub(super) fn save_states(&mut self, file: &str) -> Outcome {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(api::API_VERSION.to_le_bytes());
        let mut row_bytes = vec![0; api::MAX_MESSAGE];
        self.link.each::<States>(
            |cursor| Request::States { filter: StateFilter::default(), cursor },
            |row| {
                let n = api::encode(&row, &mut row_bytes).map_err(|_| Trouble::Nonsense("a state that is too long"))?;
                bytes.extend(u32::try_from(n).unwrap_or(0).to_le_bytes());
                bytes.extend_from_slice(row_bytes.get(..n).unwrap_or_default());
                Ok(())
            },
        )?;
        let bad = |why: std::io::Error| Trouble::Here(format!("open: {file}: {}", reason(&why)));
        if file == "-" {
            self.out.flush();
            std::io::stdout().write_all(&bytes).map_err(bad)
        } else {
            std::fs::write(file, bytes).map_err(bad)
        }
    }

    /// `-L`.
    pub(super) fn load_states(&mut self, file: &str) -> Outcome {
        let bytes =
            addresses::contents(file).map_err(|why| Trouble::Here(format!("open: {file}: {}", reason(&why))))?;
        let rows = read_states(&bytes).map_err(|what| Trouble::Here(format!("{file}: {what}; nothing was loaded")))?;
        let ticket = self.link.upload(TICKET, &rows.concat())?;
        let taken = self.link.change(&Request::ImportUploaded { ticket }).map_err(|why| match why {
            Trouble::Refused { what, .. } => Trouble::Here(format!("{file}: {what}; nothing was loaded")),
            other => other,
        })?;
        let all = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        if taken < all {
            let left = all.saturating_sub(taken);
            self.out.warn(&format!("{left} of {all} states were not taken: their rules are not loaded, or they exist"));
        }
        Ok(())
    }

    /// `-s Sources`.
    pub(super) fn show_sources(&mut self) -> Outcome {
        let (verbose, json) = (self.command.options.verbose, self.out.json);
        let (mut out, mut documents) = (String::new(), Vec::new());
        self.link.each::<Sources>(
            |cursor| Request::Sources { cursor },
            |row| {
                if json {
                    documents.push(source_json(&row));
                } else {
                    out.push_str(&source_line(&row, verbose));
                }
                Ok(())
            },
        )?;
        if json {
            self.document("sources", Value::Array(documents));
        } else {
            self.section("SOURCE TRACKING NODES:", &out);
        }
        Ok(())
    }

    /// `-K`.
    pub(super) fn kill_sources(&mut self) -> Outcome {
        let words: Vec<&str> = self.command.kill_sources.iter().map(String::as_str).collect();
        let (pairs, counts) = self.pairs(&words)?;
        let mut killed = 0u64;
        for (src, dst) in pairs {
            let filter = SourceFilter { src: Some(src), dst };
            killed = killed.saturating_add(self.link.change(&Request::KillSources { filter })?);
        }
        self.killed("src nodes", killed, Some(counts));
        Ok(())
    }
}

/// Pairs of ends, and how many sources and destinations there were.
type Ends = (Vec<(Net, Option<Net>)>, (usize, usize));

/// Rows of a file of states, each checked to be one.
fn read_states(bytes: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut rest = bytes.strip_prefix(&MAGIC).ok_or("no file of states")?;
    let number = |rest: &mut &[u8]| -> Result<u32, String> {
        let (head, tail) = rest.split_first_chunk().ok_or("the file ends too early")?;
        *rest = tail;
        Ok(u32::from_le_bytes(*head))
    };
    let version = number(&mut rest)?;
    if version != api::API_VERSION {
        return Err(format!("states of version {version}, this reads {}", api::API_VERSION));
    }
    let mut rows = Vec::new();
    while !rest.is_empty() {
        let len = usize::try_from(number(&mut rest)?).unwrap_or(usize::MAX);
        let (row, tail) = rest.split_at_checked(len).ok_or("the file ends too early")?;
        let nr = rows.len().saturating_add(1);
        api::decode::<StateRow<'_>>(row).map_err(|_| format!("state {nr} is damaged"))?;
        rows.push(row);
        rest = tail;
    }
    Ok(rows)
}

/// `proto a:p -> b:p`, or with `<-`.
fn parse_key(text: &str) -> Outcome<Key> {
    let bad = |what: &str, word: &str| Trouble::Here(format!("invalid {what}: {word}"));
    let words: Vec<&str> = text.split_whitespace().collect();
    let [proto, left, arrow, right] = words.as_slice() else {
        let wanted = "\"protocol host1:port1 direction host2:port2\" format";
        return Err(Trouble::Here(format!("pfctl_key_kill_states: key must be {wanted}")));
    };
    let number = pfc::facts::Facts::default().protocol(proto).ok_or_else(|| bad("protocol", proto))?;
    let (src, dst) = match *arrow {
        "->" => (left, right),
        "<-" => (right, left),
        _ => return Err(bad("direction", arrow)),
    };
    let ends = [src, dst].map(|word| end(word).ok_or_else(|| bad("host", word)));
    let [(src, src_port), (dst, dst_port)] = match ends {
        [Ok(src), Ok(dst)] => [src, dst],
        [Err(why), _] | [_, Err(why)] => return Err(why),
    };
    let ((af, a), (other, b)) = (names::octets(src), names::octets(dst));
    if af != other {
        return Err(Trouble::Here(format!("two address families in key \"{text}\"")));
    }
    Ok(Key { af, proto: number, addr: [a, b], port: [src_port, dst_port] })
}

/// `1.2.3.4:80` or `::1[80]`; an IPv6 address may stand without a port, as states of ICMPv6 show it.
fn end(text: &str) -> Option<(IpAddr, u16)> {
    if let Some((host, port)) = text.strip_suffix(']').and_then(|t| t.rsplit_once('[')) {
        return Some((host.parse().ok()?, port.parse().ok()?));
    }
    if let Ok(addr) = text.parse() {
        return Some((addr, 0));
    }
    let (host, port) = text.rsplit_once(':')?;
    Some((host.parse().ok()?, port.parse().ok()?))
}

/// `id[/creator]`, both hexadecimal; what follows is nobody's business. No creator, or 0, is this host.
fn parse_id(text: &str) -> Outcome<(u64, Option<u32>)> {
    let (id, rest) = hexadecimal(text).ok_or_else(|| Trouble::Usage("wrong id format specified".into()))?;
    if id == 0 {
        return Err(Trouble::Usage("cannot kill id 0".into()));
    }
    let creator = rest.strip_prefix('/').and_then(hexadecimal).and_then(|(n, _)| u32::try_from(n).ok());
    Ok((id, creator.filter(|n| *n != 0)))
}

/// A number at the beginning of a text, as `scanf` reads it, and what is behind it.
fn hexadecimal(text: &str) -> Option<(u64, &str)> {
    let text = text.trim_start();
    let bare = text.strip_prefix("0x").filter(|rest| rest.starts_with(|c: char| c.is_ascii_hexdigit())).unwrap_or(text);
    let (digits, rest) = bare.split_at(bare.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(bare.len()));
    Some((u64::from_str_radix(digits, 16).ok()?, rest))
}

/// A source node: one line, with `-v` its age and counters.
fn source_line(row: &SourceRow<'_>, verbose: u8) -> String {
    let address = |(af, addr)| print::address(addresses::ip(af, &addr));
    let mut out = address(row.source);
    if row.given.1.0 != [0; 16] {
        let word = match row.kind {
            1 => "nat-to",
            2 => "rdr-to",
            3 => "route-to",
            _ => "??? (0)",
        };
        let _ = write!(out, " {word} {}", address(row.given));
    }
    let (count, seconds) = row.rate;
    let _ = writeln!(
        out,
        " ( states {}, connections {}, rate {}.{}/{seconds}s )",
        row.states,
        row.connections,
        count / 1000,
        count % 1000 / 100
    );
    if verbose > 0 {
        let _ = write!(out, "   age {}", clock(row.age.into()));
        if row.states == 0 {
            let _ = write!(out, ", expires in {}", clock(row.expires.into()));
        }
        let sum = |[a, b]: [u64; 2]| a.wrapping_add(b);
        let _ = write!(out, ", {} pkts, {} bytes", sum(row.packets), sum(row.bytes));
        if row.rule != u32::MAX {
            let _ = write!(out, ", rule {}", row.rule);
        }
        out.push('\n');
    }
    out
}

fn key_json(k: &Key) -> Value {
    let end = |i: usize| {
        let addr = k.addr.get(i).map(|a| print::address(addresses::ip(k.af, a)));
        json!({ "address": addr, "port": k.port.get(i) })
    };
    json!({ "ends": [end(0), end(1)] })
}

fn peer_json(p: &StatePeer) -> Value {
    json!({ "state": p.state.0, "seq_low": p.seqlo, "seq_high": p.seqhi, "seq_diff": p.seqdiff, "wscale": p.wscale & 0x0f })
}

fn state_json(row: &StateRow<'_>) -> Value {
    let number = |n: u32| (n != u32::MAX).then_some(n);
    let text = pfshow::states::line(&line(row), &Style::default());
    json!({
        "id": format!("{:016x}", row.id),
        "creator": format!("{:08x}", row.creator),
        "interface": row.iface,
        "protocol": row.wire.proto,
        "direction": if row.dir == Direction::Out { "out" } else { "in" },
        "text": text.trim_end(),
        "wire": key_json(&row.wire),
        "stack": key_json(&row.stack),
        "src": peer_json(&row.src),
        "dst": peer_json(&row.dst),
        "age": row.age,
        "expires": row.expires,
        "packets": row.packets,
        "bytes": row.bytes,
        "rule": number(row.rule),
        "rule_id": format!("{:016x}", row.stable_id),
        "anchor": row.anchor,
        "rule_live": row.live,
        "tag": (!row.tag.is_empty()).then_some(row.tag),
    })
}

fn source_json(row: &SourceRow<'_>) -> Value {
    let address = |(af, addr)| print::address(addresses::ip(af, &addr));
    let kind = ["limit", "nat-to", "rdr-to", "route-to"].get(usize::from(row.kind)).copied().unwrap_or("unknown");
    json!({
        "kind": kind,
        "source": address(row.source),
        "given": (row.given.1.0 != [0; 16]).then(|| address(row.given)),
        "states": row.states,
        "connections": row.connections,
        "rate": { "per_mille": row.rate.0, "seconds": row.rate.1 },
        "age": row.age,
        "expires": row.expires,
        "packets": row.packets,
        "bytes": row.bytes,
        "rule": (row.rule != u32::MAX).then_some(row.rule),
        "anchor": row.anchor,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfvm::rule::{Addr, Af};

    #[test]
    fn keys_of_both_families() {
        let ends = |text: &str| {
            parse_key(text).map(|k| (k.proto, k.addr.map(|a| addresses::ip(k.af, &a).to_string()), k.port))
        };
        let v4 = ends("tcp 10.0.0.1:1024 -> 192.0.2.1:80").unwrap();
        assert_eq!(v4, (6, ["10.0.0.1".to_owned(), "192.0.2.1".to_owned()], [1024, 80]));
        assert_eq!(ends("tcp 192.0.2.1:80 <- 10.0.0.1:1024").unwrap(), v4);
        let v6 = ends("udp fe80::1[53] -> ::1[9]").unwrap();
        assert_eq!(v6, (17, ["fe80::1".to_owned(), "::1".to_owned()], [53, 9]));
        for (bad, why) in [
            ("tcp 10.0.0.1:1 192.0.2.1:80", "pfctl_key_kill_states: key must be "),
            ("what 1.1.1.1:1 -> 2.2.2.2:2", "invalid protocol: what"),
            ("6 1.1.1.1:1 -> 2.2.2.2:2", "invalid protocol: 6"),
            ("tcp 1.1.1.1:1 to 2.2.2.2:2", "invalid direction: to"),
            ("tcp 1.1.1.1:1 -> b", "invalid host: b"),
            ("tcp 1.1.1.1:1 -> 2.2.2.2:99999", "invalid host: 2.2.2.2:99999"),
            ("tcp ::1[1] -> 1.1.1.1:1", "two address families"),
        ] {
            let said = parse_key(bad).unwrap_err().to_string();
            assert!(said.starts_with(why), "{bad}: {said}");
        }
    }

    #[test]
    fn identifiers() {
        assert_eq!(parse_id("4823e84500000018/fa51").unwrap(), (0x4823_e845_0000_0018, Some(0xfa51)));
        assert_eq!(parse_id("1f").unwrap(), (0x1f, None));
        assert_eq!(parse_id(" 0x1fg/2").unwrap(), (0x1f, None));
        assert_eq!(parse_id("1f/0").unwrap(), (0x1f, None), "this host");
        assert_eq!(parse_id("1f/zz").unwrap(), (0x1f, None));
        for bad in ["", "0", "xyz", "/1"] {
            assert!(parse_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_damaged_file_of_states_is_refused_whole() {
        assert_eq!(read_states(b"something else").unwrap_err(), "no file of states");
        let mut bytes = MAGIC.to_vec();
        bytes.extend(api::API_VERSION.to_le_bytes());
        assert_eq!(read_states(&bytes).unwrap(), Vec::<&[u8]>::new());
        bytes.extend(5u32.to_le_bytes());
        assert_eq!(read_states(&bytes).unwrap_err(), "the file ends too early");
        bytes.extend([0xff; 5]);
        assert_eq!(read_states(&bytes).unwrap_err(), "state 1 is damaged");
    }

    #[test]
    fn a_source_node() {
        let addr = |last| (Af::Inet, Addr([10, 0, 0, last, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        let row = SourceRow {
            kind: 1,
            source: addr(1),
            given: addr(9),
            states: 0,
            connections: 1,
            rate: (2500, 10),
            age: 61,
            expires: 3,
            packets: [1, 2],
            bytes: [10, 20],
            rule: 7,
            anchor: "",
        };
        assert_eq!(
            source_line(&row, 1),
            "10.0.0.1 nat-to 10.0.0.9 ( states 0, connections 1, rate 2.5/10s )\n   \
             age 00:01:01, expires in 00:00:03, 3 pkts, 30 bytes, rule 7\n"
        );
    }
}

//! Control: sequences of messages from several clients, with packets and time in between.
//!
//! An input is a list of steps, each a byte and what it asks for: `m` a message of a client (client, length of two bytes,
//! bytes), `o` a client that comes (rights), `c` one that goes, `t` seconds that pass, `p` a packet (interface, direction,
//! length of two bytes, bytes). Whatever else stands there is skipped.

use pfdriver::filter::By;
use pfdriver::lock::Lock;
use pfvm::api::{
    API_VERSION, After, FactRow, Key, MAX_MESSAGE, Net, Request, Rights, SetOption, SourceFilter, StateFilter, TableOp,
    TableTouch, encode, read_reply,
};
use pfvm::image::{Bulk, Entry};
use pfvm::rule::{Addr, Af, Direction, Syncookies};

use crate::desk::{Desk, image, rows, small, two, udp, v4};

/// Most steps of an input.
const STEPS: usize = 64;

/// What a refusal must leave as it was.
pub(super) fn standing(desk: &Desk) -> impl PartialEq + std::fmt::Debug + use<> {
    desk.filter.with(|f| {
        let e = &f.engine;
        let names: Vec<_> =
            e.tables.names().iter().map(|n| (n.path.clone(), n.name.clone(), n.flags.0, n.active)).collect();
        let counts = (e.table.len(), e.nodes.len(), e.tables.all.used(), e.programs().len(), f.units.len());
        (f.generation, e.running, e.options, f.checksum, counts, names, f.loginterface.clone())
    })
}

/// Takes bytes off the front.
pub(super) fn take<'d>(data: &mut &'d [u8], len: usize) -> &'d [u8] {
    let (head, rest) = data.split_at(len.min(data.len()));
    *data = rest;
    head
}

pub(super) fn byte(data: &mut &[u8]) -> u8 {
    take(data, 1).first().copied().unwrap_or(0)
}

pub(super) fn sized<'d>(data: &mut &'d [u8]) -> &'d [u8] {
    let len = u16::from_le_bytes([byte(data), byte(data)]);
    take(data, len.into())
}

/// Answers whatever comes.
///
/// # Panics
/// When an answer is malformed, a refusal has changed something, or the filter falls apart.
pub fn api(data: &[u8]) {
    let mut desk = Desk::new(small());
    let mut clients = vec![desk.client];
    let mut data = data;
    for _ in 0..STEPS {
        if data.is_empty() {
            break;
        }
        match byte(&mut data) {
            b'm' => {
                let client = usize::from(byte(&mut data)) % clients.len();
                let message = sized(&mut data);
                let before = standing(&desk);
                let refused = {
                    let reply = desk.send(clients[client], message);
                    assert!(reply.len() <= MAX_MESSAGE);
                    read_reply(reply).expect("an answer is well formed").is_err()
                };
                assert!(!refused || standing(&desk) == before, "a refusal has changed something");
            }
            b'o' => {
                let rights = [Rights::None, Rights::Read, Rights::Write][usize::from(byte(&mut data)) % 3];
                clients.extend(desk.control.open(rights, By::default()));
            }
            b'c' => {
                let client = usize::from(byte(&mut data)) % clients.len();
                desk.control.close(clients[client]);
            }
            b't' => desk.pass(u64::from(byte(&mut data) % 32)),
            b'p' => {
                let (iface, dir) = (u16::from(byte(&mut data) % 4), byte(&mut data));
                let dir = if dir & 1 == 0 { Direction::In } else { Direction::Out };
                desk.packet(iface, dir, sized(&mut data));
            }
            _ => {}
        }
    }
    whole(&desk);
}

/// What must always hold.
pub(super) fn whole(desk: &Desk) {
    desk.filter.with(|f| {
        let e = &f.engine;
        assert_eq!(f.units.len(), e.programs().len(), "every program has its unit");
        let sum: u32 = e.tables.names().iter().map(|n| e.tables.all.len(n.slot)).sum();
        assert_eq!(sum, e.tables.all.used(), "every entry is in a table that has a name");
        assert!(e.table.iter().count() <= usize::try_from(e.table.len()).unwrap_or(0));
        for slot in e.table.iter() {
            let rule = e.table.get(slot).map(|s| s.rule);
            assert!(rule.is_some_and(|r| e.rules.get(r).is_some()), "a state's rule is there");
        }
    });
}

/// One of every request.
#[must_use]
pub fn samples() -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    Entry { addr: v4(10, 1, 0, 0).0, prefix: 16, flags: 0, weight: 0 }.write(&mut records);
    let net = Net { af: Af::Inet, addr: v4(10, 0, 0, 0), prefix: 8, not: false };
    let key = Key { af: Af::Inet, proto: 17, addr: [v4(10, 0, 0, 2), v4(192, 0, 2, 9)], port: [5353, 53] };
    let which = StateFilter { src: Some(net), key: Some(key), iface: "em0", id: Some(3), ..StateFilter::default() };
    let (path, name, cursor) = ("a/b", "t", 0);
    let requests = [
        Request::Hello { version: API_VERSION },
        Request::Status,
        Request::Enable,
        Request::Disable,
        Request::Begin { path },
        Request::Upload { ticket: 1, offset: 0, bytes: b"PFBIN" },
        Request::Commit {
            tickets: &[1, 0, 0, 0, 0, 0, 0, 0],
            after: After::Reevaluate,
            confirm: 30,
            checksum: [1; 16],
        },
        Request::Rollback { ticket: 1 },
        Request::Confirm { generation: 1 },
        Request::Revert { generation: 1 },
        Request::Rulesets { under: "", cursor },
        Request::Section { path: "", section: Some(4), offset: 0 },
        Request::Rules { path: "", cursor },
        Request::ZeroRules { path: "" },
        Request::FlushRules { path },
        Request::Tables { path: "", below: true, cursor },
        Request::Table { path: "", name, touch: TableTouch::Create, dry: false },
        Request::FlushTables { path: "", dry: true },
        Request::Addresses { path: "", name, op: TableOp::Add, dry: false, entries: &records },
        Request::ReplaceAddresses { path: "", name, dry: false, ticket: 1 },
        Request::Entries { path: "", name, cursor },
        Request::States { filter: which, cursor },
        Request::KillStates { filter: StateFilter { label: "x", ..StateFilter::default() } },
        Request::ImportStates { rows: &[1, 2, 3] },
        Request::Sources { cursor },
        Request::KillSources { filter: SourceFilter { src: Some(net), dst: None } },
        Request::Ifaces { name: "", cursor },
        Request::Options,
        Request::Set { option: SetOption::Syncookies(Syncookies::Adaptive { start: 25, end: 12 }) },
        Request::ResetOptions,
        Request::ClearStatus { iface: "" },
        Request::Prints { cursor },
        Request::FlushPrints,
        Request::Log { cursor },
        Request::Trace { cursor },
        Request::SetTrace { filter: &[0, 0, 0, 1] },
        Request::Facts { cursor },
        Request::SetFacts { ticket: 1 },
        Request::Host,
        Request::HostFile { offset: 7 },
        Request::ChangeAddresses { path: "", name, op: TableOp::Replace, dry: false, ticket: 1 },
        Request::Feedback { ticket: 1, offset: 0 },
        Request::ImportUploaded { ticket: 1 },
    ];
    requests.iter().map(message).collect()
}

/// A request as a message.
///
/// # Panics
/// When it is too long for one.
#[must_use]
pub fn message(request: &Request<'_>) -> Vec<u8> {
    let mut room = vec![0; MAX_MESSAGE];
    let len = encode(request, &mut room).expect("a request fits");
    room[..len].to_vec()
}

fn step(message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).expect("a short message");
    [&[b'm', 0][..], &len.to_le_bytes(), message].concat()
}

/// The inputs to begin with: every request alone, and stories of several.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = samples().iter().map(|m| step(m)).collect();
    all.push(samples().iter().flat_map(|m| step(m)).collect());
    let rules = "table <t> persist { 10.0.0.0/8 }\nanchor \"a\" {\nblock in proto tcp\n}\nblock in\n\
                 pass in proto udp from <t> to any port 53 keep state (source-track rule, max-src-states 3) label \"dns\"\n\
                 pass out from (em0) to any\n";
    let load = |ticket: u64, path: &str, bytes: &[u8], after, confirm| {
        let tickets = ticket.to_le_bytes();
        let commit = Request::Commit { tickets: &tickets, after, confirm, checksum: [2; 16] };
        let begin = message(&Request::Begin { path });
        let upload = message(&Request::Upload { ticket, offset: 0, bytes });
        [step(&begin), step(&upload), step(&message(&commit))].concat()
    };
    let datagram = udp(v4(10, 0, 0, 2), 5353, v4(192, 0, 2, 9), 53);
    let mut packet = vec![b'p', 2, 0];
    packet.extend(u16::try_from(datagram.len()).unwrap_or(0).to_le_bytes());
    packet.extend(datagram);
    let main = load(1, "", &image("", rules), After::Keep, 0);
    let list = [Request::States { filter: StateFilter::default(), cursor: 0 }, Request::Rules { path: "", cursor: 0 }];
    let list: Vec<u8> = list.iter().flat_map(|r| step(&message(r))).collect();
    all.push([main.clone(), packet.clone(), list.clone()].concat());
    let again = load(2, "", &image("", "block in\n"), After::KillChanged, 9);
    all.push([main.clone(), packet.clone(), again, vec![b't', 20], list.clone()].concat());
    let anchor = load(2, "a", &image("a", "pass in proto tcp to port 22\n"), After::Reevaluate, 0);
    let flush = step(&message(&Request::FlushRules { path: "a" }));
    all.push([main, packet, anchor, flush, list].concat());
    let mut more = two();
    more.push(FactRow::Port { proto: 17, port: 53 });
    more.push(FactRow::Address { af: Af::Inet6, addr: Addr([0xfe; 16]), prefix: 64, broadcast: None, peer: None });
    let facts = rows(&two());
    let upload = Request::Upload { ticket: 1, offset: 0, bytes: &facts };
    let steps = [Request::Begin { path: "" }, upload, Request::SetFacts { ticket: 1 }, Request::Facts { cursor: 0 }];
    let story = |steps: &[Request<'_>]| steps.iter().flat_map(|r| step(&message(r))).collect::<Vec<u8>>();
    all.push(story(&steps));
    let mut records = Vec::new();
    for (last, flags) in [(1, 0), (2, Entry::NOT), (1, 0)] {
        Entry { addr: v4(10, 9, 0, last).0, prefix: 32, flags, weight: 0 }.write(&mut records);
    }
    let (path, name, dry) = ("", "t", false);
    let mut steps = vec![Request::Table { path, name, touch: TableTouch::Create, dry }];
    for (ticket, op) in [(1, TableOp::Add), (2, TableOp::Delete), (3, TableOp::Replace), (4, TableOp::Zero)] {
        let upload = Request::Upload { ticket, offset: 0, bytes: &records };
        let change = Request::ChangeAddresses { path, name, op, dry, ticket };
        steps.extend([Request::Begin { path }, upload, change, Request::Feedback { ticket, offset: 0 }]);
        steps.extend([change, Request::Rollback { ticket }]);
    }
    all.push(story(&steps));
    let upload = Request::Upload { ticket: 1, offset: 0, bytes: &[1, 2, 3] };
    all.push(story(&[Request::Begin { path }, upload, Request::ImportUploaded { ticket: 1 }]));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The corpus is what this file makes.
    #[test]
    fn the_corpus_is_current() {
        let folder = crate::project("fuzz/corpus/api");
        for (number, seed) in seeds().iter().enumerate() {
            let path = folder.join(format!("seed-{number:02}"));
            if std::env::var_os("PF_BLESS").is_some() {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(&path, seed).unwrap();
            }
            assert!(std::fs::read(&path).ok().as_ref() == Some(seed), "{}: run with PF_BLESS=1", path.display());
        }
    }
}

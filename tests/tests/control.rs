//! The control protocol: what it looks like, what it refuses, what is left when a client fails.

use pfdriver::control::MOST_CLIENTS;
use pfdriver::filter::By;
use pfdriver::lock::Lock;
use pfvm::api::{
    API_VERSION, AddressRow, After, Code, FeedbackRow, MAX_MESSAGE, OptionsReply, PAGE_HEADER, Page, Refusal, Request,
    Rights, RuleRow, RulesetRow, SectionBytes, SetOption, StateFilter, StateRow, Status, TableOp, TableRow, TableTouch,
    Ticket, Welcome, decode, encode, feedback, read_reply, refuse,
};
use pfvm::engine::Verdict;
use pfvm::image::{Bulk, Entry, Image, TableFlags};
use pfvm::packet::tcp_flags::{ACK, SYN};
use pfvm::rule::{Af, Timeout};
use tests::desk::{Desk, image, small, tcp, udp, v4};
use tests::fuzz::api::{message, samples};

/// Requests there are: as many first bytes as do not fail when zeros follow.
fn requests() -> usize {
    let known = |number: &u8| {
        let bytes = [&[*number][..], &[0; 64]].concat();
        decode::<Request<'_>>(&bytes) != Err(pfvm::api::DecodeError::Malformed)
    };
    (0..=127_u8).take_while(known).count()
}

#[test]
fn every_request_has_its_sample() {
    let firsts: Vec<usize> = samples().iter().map(|m| usize::from(m[0])).collect();
    assert_eq!(firsts, (0..requests()).collect::<Vec<_>>(), "a new request needs a sample in tests/src/fuzz/api.rs");
}

#[test]
fn requests_and_replies_have_the_bytes_they_always_had() {
    use std::fmt::Write;
    let mut text = String::new();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    for m in samples() {
        let name = format!("{:?}", decode::<Request<'_>>(&m).unwrap());
        let name = name.split([' ', '{']).next().unwrap_or_default().to_owned();
        writeln!(text, "{name} {}", hex(&m)).unwrap();
    }
    let mut room = [0; 256];
    let len = refuse(&Refusal::new(Code::Busy, "busy").at(300), &mut room);
    writeln!(text, "refusal {}", hex(&room[..len])).unwrap();
    let welcome =
        Welcome { version: API_VERSION, rights: Rights::Read, host: pfvm::api::HostKind::Daemon, generation: 9 };
    let len = pfvm::api::encode_reply(&welcome, &mut room).unwrap();
    writeln!(text, "welcome {}", hex(&room[..len])).unwrap();
    let mut page = pfvm::api::PageWriter::new(&mut room).unwrap();
    assert!(page.row(&FeedbackRow { code: feedback::ADDED, entry: Some((Af::Inet, v4(10, 0, 0, 1), 32, true)) }));
    let len = page.end(pfvm::api::END, 9, 1);
    writeln!(text, "page {}", hex(&room[..len])).unwrap();
    let path = tests::project("tests/corpus/api.golden");
    if std::env::var_os("PF_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "the form of a message changed: raise API_VERSION, run with PF_BLESS=1 and read the diff");
}

#[test]
fn damaged_requests_are_refused_and_change_nothing() {
    let mut desk = Desk::default();
    desk.load("", "table <t> persist { 10.0.0.0/8 }\nblock in\n").unwrap();
    let standing =
        |desk: &Desk| desk.filter.with(|f| (f.generation, f.engine.running, f.engine.options, f.units.len()));
    let before = standing(&desk);
    let client = desk.client;
    for m in samples() {
        for cut in 0..m.len() {
            let no = read_reply(desk.send(client, &m[..cut])).unwrap().map(|_| ()).map_err(|no| no.code);
            assert_eq!(no, Err(Code::Message), "{cut} bytes of {m:02x?}");
        }
        let long = [&m[..], &[0]].concat();
        let no = read_reply(desk.send(client, &long)).unwrap().map(|_| ()).map_err(|no| no.code);
        assert_eq!(no, Err(Code::Message), "a byte behind {m:02x?}");
        let huge = [&m[..], &vec![0; MAX_MESSAGE]].concat();
        let no = read_reply(desk.send(client, &huge)).unwrap().map(|_| ()).map_err(|no| no.code);
        assert_eq!(no, Err(Code::TooLong), "{m:02x?}");
    }
    assert_eq!(standing(&desk), before);
}

#[test]
fn a_buffer_too_small_changes_nothing() {
    let mut desk = Desk::default();
    let mut record = Vec::new();
    Entry { addr: v4(10, 1, 0, 0).0, prefix: 16, flags: 0, weight: 0 }.write(&mut record);
    desk.change(&Request::Table { path: "", name: "t", touch: TableTouch::Create, dry: false }).unwrap();
    let add = message(&Request::Addresses { path: "", name: "t", op: TableOp::Add, dry: false, entries: &record });
    // Two bytes are the shortest row.
    for size in 0..PAGE_HEADER + 2 {
        let mut reply = vec![0; size];
        let len = desk.control.handle(desk.client, &add, &mut reply, &desk.filter);
        assert!(len <= size && (len == 0 || reply[0] == 1), "{size}");
    }
    assert_eq!(desk.filter.with(|f| f.engine.tables.all.used()), 0);
}

#[test]
fn the_first_word_is_a_greeting_of_the_same_version() {
    let mut desk = Desk::default();
    let client = desk.control.open(Rights::Write, By::default()).unwrap();
    let code = |r: Result<Status<'_>, (Code, String)>| r.map(|_| ()).map_err(|no| no.0);
    assert_eq!(code(desk.ask_as(client, &Request::Status)), Err(Code::Hello));
    for version in [0, API_VERSION + 1, u32::MAX] {
        let no = desk.ask_as::<Welcome>(client, &Request::Hello { version }).unwrap_err();
        assert_eq!(no.0, Code::Version);
        assert!(no.1.ends_with(&API_VERSION.to_string()), "{}", no.1);
    }
    assert_eq!(code(desk.ask_as(client, &Request::Status)), Err(Code::Hello));
    desk.ask_as::<Welcome>(client, &Request::Hello { version: API_VERSION }).unwrap();
    assert_eq!(code(desk.ask_as(client, &Request::Status)), Ok(()));
}

#[test]
fn rights_are_kept_apart() {
    let mut desk = Desk::default();
    let reader = desk.greet(Rights::Read);
    let nobody = desk.control.open(Rights::None, By::default()).unwrap();
    let no = desk.ask_as::<Welcome>(nobody, &Request::Hello { version: API_VERSION }).unwrap_err();
    assert_eq!(no.0, Code::Denied);
    assert!(!desk.control.may_ask(nobody));
    let before = desk.filter.with(|f| (f.generation, f.engine.running, f.engine.options));
    let mut denied = 0;
    for m in samples().iter().skip(1) {
        let needs = decode::<Request<'_>>(m).unwrap().needs();
        let no = read_reply(desk.send(reader, m)).unwrap().map(|_| ()).map_err(|no| no.code);
        assert_eq!(no == Err(Code::Denied), needs == Rights::Write, "{m:02x?}");
        denied += usize::from(needs == Rights::Write);
    }
    assert!(denied > 15, "{denied}");
    assert_eq!(desk.filter.with(|f| (f.generation, f.engine.running, f.engine.options)), before);
}

#[test]
fn tickets_are_good_once_and_only_the_last_of_a_path() {
    let mut desk = Desk::default();
    let (pass, block) = (image("", "pass no state\n"), image("", "block\n"));
    let client = desk.client;
    let other = desk.greet(Rights::Write);
    let commit = |desk: &mut Desk, client, ticket: u64| {
        let tickets = ticket.to_le_bytes();
        let r = Request::Commit { tickets: &tickets, after: After::Keep, confirm: 0, checksum: [0; 16] };
        desk.ask_as::<Ticket>(client, &r).map(|t| t.number).map_err(|no| no.0)
    };
    let first = desk.upload(client, "", &block).unwrap();
    assert_eq!(commit(&mut desk, other, first), Err(Code::Busy), "another's");
    let second = desk.upload(other, "", &pass).unwrap();
    assert_eq!(commit(&mut desk, client, first), Err(Code::Busy), "overtaken");
    assert_eq!(commit(&mut desk, other, second), Ok(1));
    assert_eq!(commit(&mut desk, other, second), Err(Code::Busy), "used up");
    let third = desk.upload(other, "", &block).unwrap();
    let upload = Request::Upload { ticket: third, offset: 1, bytes: b"x" };
    assert_eq!(desk.ask_as::<Ticket>(other, &upload).map_err(|no| no.0).map(|_| ()), Err(Code::Invalid));
    desk.control.close(other);
    assert_eq!(desk.filter.with(|f| f.generation), 1, "who dies before the commit has changed nothing");
    assert_eq!(desk.comes(1, &udp(v4(192, 0, 2, 9), 1, v4(192, 0, 2, 1), 2)).verdict, Verdict::Pass);
    let anew = desk.upload(client, "", &block).unwrap();
    assert_eq!(commit(&mut desk, client, anew), Ok(2), "the path is free again");
}

#[test]
fn images_that_are_cut_off_damaged_or_misplaced_leave_the_old_rules() {
    let mut desk = Desk::default();
    desk.load("", "block\n").unwrap();
    let good = image("", "pass no state\n");
    for end in [0, 1, 40, good.len() / 2, good.len() - 1] {
        let no = desk.commit("", &good[..end], After::Keep, 0).unwrap_err();
        assert_eq!(no.0, Code::Image, "{end}: {}", no.1);
    }
    let mut bad = good.clone();
    bad[good.len() - 3] ^= 1;
    assert_eq!(desk.commit("", &bad, After::Keep, 0).unwrap_err().0, Code::Image);
    assert_eq!(desk.commit("a", &good, After::Keep, 0).unwrap_err().0, Code::Invalid, "compiled for another path");
    for path in ["/a", "a/", "a//b", "/"] {
        let no = desk.ask::<Ticket>(&Request::Begin { path }).map(|_| ()).unwrap_err();
        assert_eq!(no.0, Code::Invalid, "{path}");
    }
    assert_eq!(desk.filter.with(|f| f.generation), 1);
    assert_eq!(desk.comes(1, &udp(v4(192, 0, 2, 9), 1, v4(192, 0, 2, 1), 2)).verdict, Verdict::Drop);
}

#[test]
fn several_images_go_in_together_or_not_at_all() {
    let mut desk = Desk::default();
    let client = desk.client;
    let main = image("", "block\nanchor \"a\"\n");
    let both = |desk: &mut Desk, second: &[u8]| {
        let tickets = [desk.upload(client, "", &main).unwrap(), desk.upload(client, "a", second).unwrap()];
        let tickets: Vec<u8> = tickets.iter().flat_map(|t| t.to_le_bytes()).collect();
        let r = Request::Commit { tickets: &tickets, after: After::Keep, confirm: 0, checksum: [3; 16] };
        desk.ask::<Ticket>(&r).map(|t| t.number).map_err(|no| no.0)
    };
    assert_eq!(both(&mut desk, b"no image"), Err(Code::Image));
    assert_eq!(desk.filter.with(|f| (f.generation, f.units.len(), f.checksum)), (0, 0, [0; 16]));
    assert_eq!(both(&mut desk, &image("a", "pass proto udp no state\n")), Ok(1));
    assert_eq!(desk.filter.with(|f| (f.units.len(), f.checksum)), (2, [3; 16]));
    assert_eq!(desk.comes(1, &udp(v4(192, 0, 2, 9), 1, v4(192, 0, 2, 1), 2)).verdict, Verdict::Pass);
}

#[test]
fn ten_thousand_clients() {
    let mut desk = Desk::default();
    let mut clients: Vec<u32> = (0..10_000).map(|_| desk.greet(Rights::Write)).collect();
    for (n, client) in clients.iter().enumerate() {
        let path = format!("p{}", n % 50);
        desk.ask_as::<Ticket>(*client, &Request::Begin { path: &path }).unwrap();
    }
    // Half of them die, each with a ticket in hand.
    for client in clients.split_off(5000) {
        desk.control.close(client);
    }
    assert_eq!(desk.control.clients(), 5001);
    desk.load("", "block\n").unwrap();
    for client in clients {
        assert!(desk.ask_as::<Status<'_>>(client, &Request::Status).is_ok_and(|s| s.generation == 1));
    }
    let opened = (0..).take_while(|_| desk.control.open(Rights::Read, By::default()).is_ok()).count();
    assert_eq!(opened, MOST_CLIENTS - 5001);
    assert_eq!(desk.control.open(Rights::Write, By::default()).unwrap_err().code, Code::TooMany);
}

#[test]
fn status_and_switches() {
    let mut desk = Desk::default();
    desk.load("", "set debug info\nset hostid 77\nset loginterface em0\nblock in proto udp\n").unwrap();
    assert_eq!(desk.change(&Request::Enable).unwrap_err(), (Code::Exists, "pf already enabled".to_owned()));
    desk.comes(1, &udp(v4(192, 0, 2, 9), 1, v4(192, 0, 2, 1), 2));
    desk.pass(5);
    let s: Status<'_> = desk.ask(&Request::Status).unwrap();
    assert_eq!((s.running, s.since, s.debug, s.hostid, s.checksum), (true, 5, 6, 77, [7; 16]));
    assert_eq!((s.loginterface, s.if_packets[0][0], s.if_bytes[0][0]), ("em0", [0, 1], [0, 28]));
    assert_eq!((s.reasons[0], s.state_counters[0]), (1, 1));
    assert_eq!(desk.change(&Request::Disable), Ok(1));
    assert_eq!(desk.change(&Request::Disable).unwrap_err(), (Code::NotFound, "pf not enabled".to_owned()));
    assert_eq!(desk.comes(1, &udp(v4(192, 0, 2, 9), 1, v4(192, 0, 2, 1), 2)).verdict, Verdict::Pass);
    desk.change(&Request::Enable).unwrap();
    desk.change(&Request::ClearStatus { iface: "" }).unwrap();
    let s: Status<'_> = desk.ask(&Request::Status).unwrap();
    assert_eq!(
        (s.reasons, s.state_counters, s.if_packets[0][0]),
        ([0; 17], [0; 3], [0, 1]),
        "an interface has its own"
    );
    desk.change(&Request::ClearStatus { iface: "em0" }).unwrap();
    let s: Status<'_> = desk.ask(&Request::Status).unwrap();
    assert_eq!(s.if_packets[0][0], [0, 0]);
}

#[test]
fn options_are_set_read_and_reset() {
    let mut desk = Desk::default();
    let set = |desk: &mut Desk, option| desk.change(&Request::Set { option }).map_err(|no| no.0);
    assert_eq!(set(&mut desk, SetOption::Timeout(Timeout::UdpFirst as u8, 5)), Ok(1));
    assert_eq!(set(&mut desk, SetOption::Limit(0, 500)), Ok(1));
    assert_eq!(set(&mut desk, SetOption::LogInterface("em1")), Ok(1));
    assert_eq!(set(&mut desk, SetOption::Skip("egress", true)), Ok(1));
    for bad in [SetOption::Timeout(20, 5), SetOption::Limit(7, 5), SetOption::Debug(8), SetOption::HostId(0)] {
        assert_eq!(set(&mut desk, bad), Err(Code::Invalid), "{bad:?}");
    }
    let o: OptionsReply<'_> = desk.ask(&Request::Options).unwrap();
    assert_eq!((o.timeouts[Timeout::UdpFirst as usize], o.limits.states, o.loginterface), (5, 500, "em1"));
    desk.load("", "block\n").unwrap();
    desk.change(&Request::Set { option: SetOption::Skip("em0", true) }).unwrap();
    assert_eq!(desk.comes(1, &udp(v4(192, 0, 2, 9), 1, v4(192, 0, 2, 1), 2)).verdict, Verdict::Pass, "skipped");
    desk.change(&Request::ResetOptions).unwrap();
    assert_eq!(desk.comes(1, &udp(v4(192, 0, 2, 9), 1, v4(192, 0, 2, 1), 2)).verdict, Verdict::Drop);
    let o: OptionsReply<'_> = desk.ask(&Request::Options).unwrap();
    assert_eq!((o.timeouts[Timeout::UdpFirst as usize], o.loginterface), (60, ""));
}

fn records(addrs: &[(u8, u8, bool)]) -> Vec<u8> {
    let mut all = Vec::new();
    for (last, prefix, not) in addrs {
        let flags = if *not { Entry::NOT } else { 0 };
        Entry { addr: v4(10, 0, 0, *last).0, prefix: *prefix, flags, weight: 0 }.write(&mut all);
    }
    all
}

fn addresses(desk: &mut Desk, op: TableOp, dry: bool, list: &[(u8, u8, bool)]) -> Result<String, Code> {
    let entries = records(list);
    let request = message(&Request::Addresses { path: "", name: "t", op, dry, entries: &entries });
    let client = desk.client;
    let body = read_reply(desk.send(client, &request)).unwrap().map_err(|no| no.code)?;
    let mut page = Page::read(body).unwrap();
    let mut out = String::new();
    while let Some(row) = page.row::<FeedbackRow>().unwrap() {
        out.push(if row.code == feedback::NONE { '-' } else { char::from(row.code) });
    }
    Ok(out)
}

#[test]
fn addresses_of_tables() {
    let mut desk = Desk::default();
    assert_eq!(addresses(&mut desk, TableOp::Add, false, &[(1, 32, false)]), Err(Code::NoSuch));
    let create = Request::Table { path: "", name: "t", touch: TableTouch::Create, dry: false };
    assert_eq!((desk.change(&create), desk.change(&create)), (Ok(1), Ok(0)));
    let (a, b, c) = ((1, 32, false), (2, 32, false), (3, 32, true));
    assert_eq!(addresses(&mut desk, TableOp::Add, true, &[a, b]).as_deref(), Ok("AA"), "dry");
    assert_eq!(desk.filter.with(|f| f.engine.tables.all.used()), 0);
    assert_eq!(addresses(&mut desk, TableOp::Add, false, &[a, b, a, c]).as_deref(), Ok("AAXA"));
    assert_eq!(addresses(&mut desk, TableOp::Add, false, &[a, (3, 32, false)]).as_deref(), Ok("-Y"));
    assert_eq!(addresses(&mut desk, TableOp::Test, false, &[a, (3, 32, false), (9, 32, false)]).as_deref(), Ok("MN-"));
    assert_eq!(addresses(&mut desk, TableOp::Delete, false, &[b, (3, 32, false)]).as_deref(), Ok("DY"));
    assert_eq!(addresses(&mut desk, TableOp::Replace, true, &[(3, 32, false), (4, 31, false)]).as_deref(), Ok("CAD"));
    assert_eq!(addresses(&mut desk, TableOp::Replace, false, &[(3, 32, false), (4, 31, false)]).as_deref(), Ok("CAD"));
    let mut shown = Vec::new();
    desk.list(&|cursor| Request::Entries { path: "", name: "t", cursor }, &mut |mut page| {
        while let Some(row) = page.row::<AddressRow>().unwrap() {
            shown.push((row.addr.0[3], row.prefix, row.not));
        }
    })
    .unwrap();
    assert_eq!(shown, [(3, 32, false), (4, 31, false)]);
    for bad in [vec![0; 19], vec![7; 20]] {
        let r = Request::Addresses { path: "", name: "t", op: TableOp::Add, dry: false, entries: &bad };
        assert_eq!(desk.change(&r).unwrap_err().0, Code::Invalid);
    }
    let flags =
        |set, clear| Request::Table { path: "", name: "t", touch: TableTouch::Flags { set, clear }, dry: false };
    assert_eq!(desk.change(&flags(TableFlags::CONST.0, 0)), Ok(1));
    assert_eq!(addresses(&mut desk, TableOp::Add, false, &[a]), Err(Code::NotPermitted));
    assert_eq!(desk.change(&flags(0, TableFlags::CONST.0)), Ok(1));
    desk.pass(10);
    addresses(&mut desk, TableOp::Add, false, &[a]).unwrap();
    let expire = Request::Table { path: "", name: "t", touch: TableTouch::Expire(5), dry: false };
    assert_eq!(desk.change(&expire), Ok(2), "the one just added stays");
    let kill = Request::Table { path: "", name: "t", touch: TableTouch::Kill, dry: false };
    assert_eq!(desk.change(&kill), Ok(1));
    assert_eq!(desk.change(&kill), Ok(0), "one there is not is none to kill");
    assert_eq!(desk.filter.with(|f| (f.engine.tables.all.used(), f.engine.tables.names().len())), (0, 0));
}

#[test]
fn a_large_replacement_is_all_or_nothing() {
    let mut desk = Desk::default();
    desk.change(&Request::Table { path: "", name: "t", touch: TableTouch::Create, dry: false }).unwrap();
    let large = |count: u16| {
        let mut all = Vec::new();
        for n in 0..count {
            let [a, b] = n.to_be_bytes();
            Entry { addr: v4(10, 1, a, b).0, prefix: 32, flags: 0, weight: 0 }.write(&mut all);
        }
        all
    };
    let client = desk.client;
    let replace = |desk: &mut Desk, bytes: &[u8]| {
        let ticket = desk.upload(client, "", bytes).unwrap();
        let r = Request::ReplaceAddresses { path: "", name: "t", dry: false, ticket };
        desk.ask::<pfvm::api::Counted>(&r).map(|c| (c.added, c.deleted, c.changed)).map_err(|no| no.0)
    };
    assert_eq!(replace(&mut desk, &large(4000)), Ok((4000, 0, 0)));
    assert_eq!(replace(&mut desk, &large(6000)), Err(Code::NoMemory), "the limit is 5000");
    assert_eq!(desk.filter.with(|f| f.engine.tables.all.used()), 4000);
    assert_eq!(replace(&mut desk, &large(10)), Ok((0, 3990, 0)));
}

/// Uploads addresses, has something done to them, fetches what came of it: letters, and how many entries went.
fn many(desk: &mut Desk, op: TableOp, dry: bool, bytes: &[u8]) -> Result<(String, usize), Code> {
    let client = desk.client;
    let ticket = desk.upload(client, "_table/t", bytes).unwrap();
    let change = Request::ChangeAddresses { path: "", name: "t", op, dry, ticket };
    let len = desk.change(&change).map_err(|no| no.0);
    let mut answer = Vec::new();
    if let Ok(len) = len {
        assert_eq!(desk.change(&change).unwrap_err().0, Code::Busy, "a ticket does one thing");
        while u64::try_from(answer.len()).unwrap() < len {
            let offset = u32::try_from(answer.len()).unwrap();
            let reply = desk.send(client, &message(&Request::Feedback { ticket, offset }));
            let piece: SectionBytes<'_> = decode(read_reply(reply).unwrap().unwrap()).unwrap();
            assert!(u64::from(piece.total) == len && !piece.bytes.is_empty());
            answer.extend_from_slice(piece.bytes);
        }
    }
    assert_eq!(desk.change(&Request::Rollback { ticket }), Ok(0), "refused or done, it can be given back");
    assert_eq!(desk.change(&Request::Feedback { ticket, offset: 0 }).unwrap_err().0, Code::Busy);
    len?;
    let (codes, gone) = answer.split_at(bytes.len() / Entry::SIZE);
    assert_eq!(gone.len() % Entry::SIZE, 0);
    Ok((codes.iter().map(|c| if *c == 0 { '-' } else { char::from(*c) }).collect(), gone.len() / Entry::SIZE))
}

#[test]
fn any_number_of_addresses_is_one_operation_with_a_letter_for_each() {
    let mut desk = Desk::default();
    let list = |from: u16, to: u16| {
        let mut all = Vec::new();
        for n in from..to {
            let [a, b] = n.to_be_bytes();
            Entry { addr: v4(10, 1, a, b).0, prefix: 32, flags: 0, weight: 0 }.write(&mut all);
        }
        all
    };
    assert_eq!(many(&mut desk, TableOp::Add, false, &list(0, 3)), Err(Code::NoSuch));
    desk.change(&Request::Table { path: "", name: "t", touch: TableTouch::Create, dry: false }).unwrap();
    let used = |desk: &Desk| desk.filter.with(|f| f.engine.tables.all.used());
    let letters = |letter: char, count: usize| std::iter::repeat_n(letter, count).collect::<String>();
    assert_eq!(many(&mut desk, TableOp::Add, true, &list(0, 4000)), Ok((letters('A', 4000), 0)));
    assert_eq!(used(&desk), 0, "dry");
    // What comes twice is said to, however far apart.
    let twice = [list(0, 4000), list(0, 1)].concat();
    assert_eq!(many(&mut desk, TableOp::Add, false, &twice), Ok((letters('A', 4000) + "X", 0)));
    assert_eq!(many(&mut desk, TableOp::Add, false, &list(3990, 6000)), Err(Code::NoMemory), "the limit is 5000");
    assert_eq!(used(&desk), 4000, "none of them");
    assert_eq!(
        many(&mut desk, TableOp::Add, false, &list(3990, 4500)).unwrap().0,
        letters('-', 10) + &letters('A', 500)
    );
    let bad = [list(0, 3000), vec![7; 20]].concat();
    assert_eq!(many(&mut desk, TableOp::Delete, false, &bad), Err(Code::Invalid));
    assert_eq!(used(&desk), 4500);
    assert_eq!(many(&mut desk, TableOp::Zero, false, &list(0, 3000)), Ok((letters('Z', 3000), 0)));
    assert_eq!(
        many(&mut desk, TableOp::Replace, true, &list(4490, 4510)),
        Ok((letters('-', 10) + &letters('A', 10), 4490))
    );
    assert_eq!(
        many(&mut desk, TableOp::Replace, false, &list(4490, 4510)),
        Ok((letters('-', 10) + &letters('A', 10), 4490))
    );
    assert_eq!(used(&desk), 20);
    assert_eq!(
        many(&mut desk, TableOp::Delete, false, &list(0, 4500)).unwrap().0,
        letters('-', 4490) + &letters('D', 10)
    );
    assert_eq!(many(&mut desk, TableOp::Test, false, &list(0, 1)), Err(Code::Invalid), "needs no ticket");
    // A replacement by a message says what went only where the answer holds it; else it is not done.
    many(&mut desk, TableOp::Add, false, &list(0, 4480)).unwrap();
    assert_eq!(addresses(&mut desk, TableOp::Replace, false, &[(1, 32, false)]), Err(Code::TooLong));
    assert_eq!(used(&desk), 4490);
}

fn states(desk: &mut Desk) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    desk.list(&|cursor| Request::States { filter: StateFilter::default(), cursor }, &mut |mut page| {
        while let Some(row) = page.row::<StateRow<'_>>().unwrap() {
            let mut room = [0; 512];
            let len = encode(&row, &mut room).unwrap();
            all.push(room[..len].to_vec());
        }
    })
    .unwrap();
    all
}

#[test]
fn states_are_listed_stored_and_restored() {
    let rules = "block\npass in on em0 proto udp to port 53 label dns tag T\npass in proto tcp to port 22\n";
    let mut desk = Desk::default();
    desk.load("", rules).unwrap();
    for port in 1000..1400 {
        assert_eq!(desk.comes(1, &udp(v4(192, 0, 2, 9), port, v4(192, 0, 2, 1), 53)).verdict, Verdict::Pass);
    }
    desk.comes(2, &tcp(v4(10, 0, 0, 5), 7, v4(192, 0, 2, 1), 22, SYN, 100, 0));
    desk.pass(3);
    let stored = states(&mut desk);
    assert_eq!(stored.len(), 401);
    let first: StateRow<'_> = decode(&stored[0]).unwrap();
    assert_eq!(
        (first.iface, first.rule, first.anchor, first.tag, first.age, first.expires),
        ("all", 1, "", "T", 3, 57)
    );
    assert_eq!((first.wire.port, first.packets, first.bytes), ([1000, 53], [1, 0], [28, 0]));
    let kill = |filter| Request::KillStates { filter };
    assert_eq!(desk.change(&kill(StateFilter { label: "other", ..StateFilter::default() })), Ok(0));
    assert_eq!(desk.change(&kill(StateFilter { id: Some(first.id), ..StateFilter::default() })), Ok(1));
    assert_eq!(desk.change(&kill(StateFilter { label: "dns", ..StateFilter::default() })), Ok(399));
    assert_eq!(desk.change(&kill(StateFilter::default())), Ok(1));

    // Another filter with the same rules takes them in and follows the connections.
    let mut desk = Desk::new(small());
    desk.load("", rules).unwrap();
    let mut bad = stored[0].clone();
    bad.truncate(20);
    let all: Vec<u8> = stored.concat();
    let no = desk.change(&Request::ImportStates { rows: &[&all[..], &bad].concat() }).unwrap_err();
    assert_eq!((no.0, no.1.ends_with("401")), (Code::Invalid, true), "{}", no.1);
    assert!(states(&mut desk).is_empty(), "verified before any is taken in");
    let client = desk.client;
    let upload = |desk: &mut Desk, bytes: &[u8]| desk.upload(client, "_states", bytes).unwrap();
    let ticket = upload(&mut desk, &[&all[..], &bad].concat());
    let no = desk.change(&Request::ImportUploaded { ticket }).unwrap_err();
    assert_eq!((no.0, no.1.ends_with("401"), states(&mut desk).len()), (Code::Invalid, true, 0), "{}", no.1);
    let ticket = upload(&mut desk, &all[..stored[0].len()]);
    assert_eq!(desk.change(&Request::ImportUploaded { ticket }), Ok(1));
    assert_eq!(desk.change(&Request::ImportUploaded { ticket }).unwrap_err().0, Code::Busy);
    assert_eq!(desk.change(&Request::ImportStates { rows: &all }), Ok(400));
    assert_eq!(desk.change(&Request::ImportStates { rows: &all }), Ok(0), "they are there already");
    let again = states(&mut desk);
    for (a, b) in stored.iter().zip(&again) {
        let (a, b): (StateRow<'_>, StateRow<'_>) = (decode(a).unwrap(), decode(b).unwrap());
        assert_eq!(StateRow { id: b.id, creator: b.creator, ..a }, b);
    }
    let answer = tcp(v4(192, 0, 2, 1), 22, v4(10, 0, 0, 5), 7, SYN | ACK, 500, 101);
    let out = desk.packet(2, pfvm::rule::Direction::Out, &answer);
    assert_eq!((out.verdict, out.state.is_some()), (Verdict::Pass, true));
}

#[test]
fn rulesets_rules_and_images_read_back() {
    let mut desk = Desk::default();
    desk.load("", "anchor \"in\" {\nblock proto tcp\npass proto udp no state\n}\nanchor \"ext/*\"\npass\n").unwrap();
    desk.load("ext/x", "block in proto icmp\n").unwrap();
    let mut found = Vec::new();
    desk.list(&|cursor| Request::Rulesets { under: "", cursor }, &mut |mut page| {
        while let Some(r) = page.row::<RulesetRow<'_>>().unwrap() {
            found.push((r.path.to_owned(), r.rules, r.children, r.loaded));
        }
    })
    .unwrap();
    let row = |p: &str, r, c, l| (p.to_owned(), r, c, l);
    assert_eq!(found, [row("", 3, 2, true), row("ext", 0, 1, false), row("ext/x", 1, 0, true), row("in", 2, 0, true)]);
    desk.comes(1, &udp(v4(192, 0, 2, 9), 1, v4(192, 0, 2, 1), 2));
    let mut rules = Vec::new();
    desk.list(&|cursor| Request::Rules { path: "in", cursor }, &mut |mut page| {
        while let Some(r) = page.row::<RuleRow>().unwrap() {
            rules.push((r.nr, r.packets, r.by));
        }
    })
    .unwrap();
    assert_eq!(rules, [(0, [0, 0], (1000, 7)), (1, [0, 0], (1000, 7))], "the last rule of main decides");
    let section = Request::Section { path: "ext/x", section: None, offset: 0 };
    let got: pfvm::api::SectionBytes<'_> = desk.ask(&section).unwrap();
    assert_eq!(got.bytes, image("ext/x", "block in proto icmp\n"));
    let parsed = Image::parse(got.bytes).unwrap();
    assert_eq!(parsed.text(parsed.rules().next().unwrap().text), "block drop in proto icmp all");
    assert_eq!(desk.change(&Request::FlushRules { path: "in" }), Ok(2));
    assert_eq!(desk.change(&Request::FlushRules { path: "absent" }), Ok(0));
    assert_eq!(desk.filter.with(|f| f.engine.ruleset("in").map(|c| c.unit.0)), Some(2), "shadowed by an empty one");
    desk.change(&Request::FlushRules { path: "" }).unwrap();
    assert_eq!(desk.filter.with(|f| f.units.len()), 3, "the anchors keep theirs");
}

#[test]
fn tables_are_listed_with_their_standing() {
    let mut desk = Desk::default();
    desk.load(
        "",
        "table <a> persist { 10.0.0.0/8 }\ntable <b> { 10.1.0.0/16 }\npass from <b> to <ghost>\npass from (em0)\n",
    )
    .unwrap();
    let mut rows = Vec::new();
    desk.list(&|cursor| Request::Tables { path: "", below: true, cursor }, &mut |mut page| {
        while let Some(t) = page.row::<TableRow<'_>>().unwrap() {
            rows.push((t.path.to_owned(), t.name.to_owned(), t.active, t.referenced, t.addresses, t.references[0]));
        }
    })
    .unwrap();
    let row = |p: &str, n: &str, active, referenced, addresses, refs| {
        (p.to_owned(), n.to_owned(), active, referenced, addresses, refs)
    };
    assert_eq!(
        rows,
        [
            row("", "a", true, false, 1, 0),
            row("", "b", true, true, 1, 1),
            row("", "ghost", false, true, 0, 1),
            row("_pf", "em0", false, true, 1, 1)
        ]
    );
    assert_eq!(desk.change(&Request::FlushTables { path: "", dry: false }), Ok(2));
}

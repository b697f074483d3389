//! A filter with its control desk, in one process: a clock that is set, chance that repeats, a lock.

use std::sync::Mutex;

use pfc::compile::{BUDGET, Options, compile};
use pfc::facts::Facts;
use pfc::source::Sources;
use pfdriver::control::Control;
use pfdriver::facts::{HostFacts, flag};
use pfdriver::filter::{By, Filter};
use pfdriver::lock::Lock;
use pfdriver::platform::Platform;
use pfvm::api::{
    API_VERSION, After, Changed, Code, FactRow, HostKind, MAX_CHUNK, MAX_MESSAGE, Page, Request, Rights, Ticket,
    Welcome, decode, encode, read_reply,
};
use pfvm::engine::{Carried, Outcome, Seen, default_options};
use pfvm::host::Random;
use pfvm::packet::{Packet, PktMeta};
use pfvm::rule::{Addr, Af, Direction, Limits};
use serde::Deserialize;

/// A platform whose time is set and whose chance is the same in every run.
#[derive(Debug)]
pub struct Clock {
    /// Milliseconds.
    pub ms: u64,
    seed: u64,
}

impl Clock {
    /// A clock that says so many milliseconds.
    #[must_use]
    pub const fn new(ms: u64) -> Self {
        Self { ms, seed: 1 }
    }
}

impl Random for Clock {
    fn random_u32(&mut self) -> u32 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.seed >> 32).unwrap_or(0)
    }
}

impl Platform for Clock {
    fn now_ms(&self) -> u64 {
        self.ms
    }
    fn wall_seconds(&self) -> u64 {
        1_700_000_000 + self.ms / 1000
    }
}

/// A filter behind a lock.
#[derive(Debug)]
pub struct Locked(pub Mutex<Filter<Clock>>);

impl Lock<Clock> for Locked {
    fn with<T>(&self, f: impl FnOnce(&mut Filter<Clock>) -> T) -> T {
        f(&mut self.0.lock().expect("no test holds it while it fails"))
    }
}

/// Why a request was refused.
pub type No = (Code, String);

/// The desk.
#[derive(Debug)]
pub struct Desk {
    /// Clients and tickets.
    pub control: Control,
    /// The filter.
    pub filter: Locked,
    /// A client with all rights.
    pub client: u32,
    reply: Vec<u8>,
}

/// An IPv4 address.
#[must_use]
pub fn v4(a: u8, b: u8, c: u8, d: u8) -> Addr {
    let mut all = [0; 16];
    all[..4].copy_from_slice(&[a, b, c, d]);
    Addr(all)
}

/// Rows as they are given to a filter.
#[must_use]
pub fn rows(facts: &[FactRow<'_>]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut room = [0; 1024];
    for row in facts {
        let len = encode(row, &mut room).unwrap_or(0);
        all.extend_from_slice(&room[..len]);
    }
    all
}

/// An interface with a network.
#[must_use]
pub fn iface(index: u16, name: &'static str, addr: Addr) -> Vec<FactRow<'static>> {
    let head = FactRow::Iface { index, name, flags: flag::UP | flag::BROADCAST, mtu: 1500, mac: [2, 0, 0, 0, 0, 1] };
    let address = FactRow::Address { af: Af::Inet, addr, prefix: 24, broadcast: None, peer: None };
    vec![head, address]
}

/// The interfaces a desk begins with: `em0` (1, outside, group egress) and `em1` (2, inside).
#[must_use]
pub fn two() -> Vec<FactRow<'static>> {
    let mut all = iface(1, "em0", v4(192, 0, 2, 1));
    all.push(FactRow::Group("egress"));
    all.push(FactRow::Route { af: Af::Inet, addr: Addr::default(), prefix: 0, hop: None, metric: 0 });
    all.extend(iface(2, "em1", v4(10, 0, 0, 1)));
    all
}

/// Rules as an image; for an anchor, where a path is given.
///
/// # Panics
/// When they do not compile.
#[must_use]
pub fn image(path: &str, rules: &str) -> Vec<u8> {
    let mut sources = Sources::disk();
    let file = sources.add("test", rules.as_bytes().to_vec());
    let facts = Facts::parse(
        "[[interface]]\nname='em0'\nflags=['broadcast']\ngroups=['egress']\naddresses=['192.0.2.1/24']\n\
         [[interface]]\nname='em1'\nflags=['broadcast']\naddresses=['10.0.0.1/24']",
    )
    .expect("the facts read");
    let options = Options { anchor: path.to_owned(), ..Options::default() };
    let outcome = compile(&mut sources, file, &facts, &options);
    outcome.compiled.unwrap_or_else(|| panic!("{rules}: {:?}", outcome.diagnostics)).image
}

/// Limits that keep a desk small.
#[must_use]
pub fn small() -> Limits {
    Limits { states: 1000, src_nodes: 100, frags: 50, tables: 100, table_entries: 5000, ..default_options().limits }
}

impl Default for Desk {
    fn default() -> Self {
        Self::new(small())
    }
}

impl Desk {
    /// A filter with room for `limits`, two interfaces, no rules and one client.
    ///
    /// # Panics
    /// When memory is short.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let facts = HostFacts::read(&rows(&two())).expect("the facts are good");
        let filter = Filter::new(&limits, facts, Clock { ms: 1_000_000, seed: 1 }).expect("there is memory");
        let mut desk = Self {
            control: Control::new(HostKind::Test, BUDGET),
            filter: Locked(Mutex::new(filter)),
            client: 0,
            reply: vec![0; MAX_MESSAGE],
        };
        desk.client = desk.greet(Rights::Write);
        desk
    }

    /// A client that has said hello.
    ///
    /// # Panics
    /// When it is turned away.
    pub fn greet(&mut self, rights: Rights) -> u32 {
        let client = self.control.open(rights, By { uid: 1000, pid: 7 }).expect("there is room for a client");
        let hello = self.ask_as::<Welcome>(client, &Request::Hello { version: API_VERSION });
        assert_eq!(hello.map(|w| w.rights), Ok(rights));
        client
    }

    /// The answer to any bytes.
    pub fn send(&mut self, client: u32, message: &[u8]) -> &[u8] {
        let len = self.control.handle(client, message, &mut self.reply, &self.filter);
        &self.reply[..len]
    }

    /// The answer to a request, one record.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// When the answer is malformed.
    pub fn ask_as<'d, T: Deserialize<'d>>(&'d mut self, client: u32, request: &Request<'_>) -> Result<T, No> {
        let body = self.body(client, request)?;
        Ok(decode(body).expect("a good answer"))
    }

    fn body(&mut self, client: u32, request: &Request<'_>) -> Result<&[u8], No> {
        let mut message = vec![0; MAX_MESSAGE + 64];
        let len = encode(request, &mut message).expect("a request fits");
        let reply = self.send(client, &message[..len]);
        read_reply(reply).expect("a good answer").map_err(|no| (no.code, no.to_string()))
    }

    /// The same of the desk's own client.
    ///
    /// # Errors
    /// The refusal.
    pub fn ask<'d, T: Deserialize<'d>>(&'d mut self, request: &Request<'_>) -> Result<T, No> {
        self.ask_as(self.client, request)
    }

    /// A change: how much.
    ///
    /// # Errors
    /// The refusal.
    pub fn change(&mut self, request: &Request<'_>) -> Result<u64, No> {
        self.ask::<Changed>(request).map(|c| c.count)
    }

    /// All rows of a list: `request` is asked at every cursor, `each` is shown the pages.
    ///
    /// # Errors
    /// The refusal.
    ///
    /// # Panics
    /// When a page is malformed.
    pub fn list(
        &mut self,
        request: &dyn Fn(u64) -> Request<'static>,
        each: &mut dyn FnMut(Page<'_>),
    ) -> Result<(), No> {
        let mut cursor = 0;
        loop {
            let client = self.client;
            let page = Page::read(self.body(client, &request(cursor))?).expect("a good page");
            each(page);
            if page.next == pfvm::api::END {
                return Ok(());
            }
            cursor = page.next;
        }
    }

    /// Opens a ticket and uploads bytes for a path.
    ///
    /// # Errors
    /// The refusal.
    pub fn upload(&mut self, client: u32, path: &str, bytes: &[u8]) -> Result<u64, No> {
        let ticket = self.ask_as::<Ticket>(client, &Request::Begin { path })?.number;
        let mut offset = 0;
        for bytes in bytes.chunks(MAX_CHUNK) {
            let upload = Request::Upload { ticket, offset, bytes };
            offset = u32::try_from(self.ask_as::<Changed>(client, &upload)?.count).expect("small");
        }
        Ok(ticket)
    }

    /// Uploads an image and puts it in force; gives the generation.
    ///
    /// # Errors
    /// The refusal.
    pub fn commit(&mut self, path: &str, image: &[u8], after: After, confirm: u32) -> Result<u64, No> {
        let ticket = self.upload(self.client, path, image)?;
        let tickets = ticket.to_le_bytes();
        let commit = Request::Commit { tickets: &tickets, after, confirm, checksum: [7; 16] };
        self.ask::<Ticket>(&commit).map(|t| t.number)
    }

    /// Compiles rules and puts them in force.
    ///
    /// # Errors
    /// The refusal.
    pub fn load(&mut self, path: &str, rules: &str) -> Result<u64, No> {
        self.commit(path, &image(path, rules), After::Keep, 0)
    }

    /// Lets seconds pass.
    pub fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.filter.with(|f| {
                f.platform.ms += 1000;
                f.tick();
            });
        }
    }

    /// A packet that comes in by an interface.
    pub fn comes(&mut self, iface: u16, bytes: &[u8]) -> Outcome {
        self.packet(iface, Direction::In, bytes)
    }

    /// A packet.
    pub fn packet(&mut self, iface: u16, dir: Direction, bytes: &[u8]) -> Outcome {
        let mut window = [&[0; Packet::HEADROOM][..], bytes].concat();
        let mut room = vec![0; 70_000];
        self.filter.with(|f| {
            let mut packet = Packet::new(&mut window, Packet::HEADROOM, &[]).expect("the headroom fits");
            let seen = Seen { af: Af::Inet, dir, iface, forwarded: false };
            f.process(&mut packet, &PktMeta::default(), seen, Carried::default(), &mut room)
        })
    }
}

/// A UDP datagram without payload.
#[must_use]
pub fn udp(src: Addr, sport: u16, dst: Addr, dport: u16) -> Vec<u8> {
    let mut b = vec![0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0];
    b.extend(&src.0[..4]);
    b.extend(&dst.0[..4]);
    b.extend(sport.to_be_bytes());
    b.extend(dport.to_be_bytes());
    b.extend([0, 8, 0, 0]);
    b
}

/// A TCP segment without payload.
#[must_use]
pub fn tcp(src: Addr, sport: u16, dst: Addr, dport: u16, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    let mut b = vec![0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0];
    b.extend(&src.0[..4]);
    b.extend(&dst.0[..4]);
    b.extend(sport.to_be_bytes());
    b.extend(dport.to_be_bytes());
    b.extend(seq.to_be_bytes());
    b.extend(ack.to_be_bytes());
    b.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    b
}

//! The driver's portable half in one process: adapters of the mock, the edge and the filter, the device in front.

use std::fmt::Debug;

use ndismock::numbers::Numbers;
use ndismock::stack::{One, Stack, handle};
use ndismock::sys;
use ndismock::world::{DISPATCH, Event, Mock, PASSIVE, Place, Whose, at_level};
use pfdriver::edge::port::Side;
use pfdriver::filter::By;
use pfdriver::lock::Lock;
use pfndis::device::{Device, Message, Word};
use pfndis::frames::Supply;
use pfndis::gateway::{Boot, Gateway};
use pfndis::message::TELL;
use pfndis::sys::code::{SUCCESS, info};
use pfndis::sys::layout::NetBufferList;
use pfvm::api::{API_VERSION, After, FactRow, MAX_MESSAGE, Request, encode, read_reply};
use pfvm::rule::{Addr, Af};

use crate::desk::{Clock, iface, rows, small, v4};
use crate::sys::driver_granted;

/// A driver with two adapters: `em0` (1, outside, 192.0.2.1/24) and `em1` (2, inside, 10.0.0.1/24).
#[derive(Debug)]
pub struct Host {
    /// NDIS, the driver in it.
    pub stack: Stack<Gateway<Clock>>,
    /// Chance.
    pub random: Numbers,
    front: Front,
}

/// A list that left the driver for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The adapter it left by.
    pub adapter: usize,
    /// Whether it went up.
    pub up: bool,
    /// Whether it is one of the driver's.
    pub own: bool,
    /// The list itself.
    pub list: *mut NetBufferList,
    /// Its frames.
    pub frames: Vec<Vec<u8>>,
    /// Its out-of-band data.
    pub info: [usize; info::COUNT],
    /// Its bits.
    pub flags: u32,
}

impl Left {
    pub(crate) fn of(list: *mut NetBufferList, adapter: usize, up: bool, own: bool) -> Self {
        let (info, flags) = (sys::info(list), sys::nbl_flags(list));
        Self { adapter, up, own, list, frames: sys::bytes(list), info, flags }
    }
}

/// A driver with two adapters over a mock, whichever binding it has.
pub trait Driven: Sized {
    /// A driver that was started, without adapters. `None` when memory was short.
    fn begin(boot: Boot, supply: Supply) -> Option<Self>;
    /// Its adapters come and run, as far as memory goes.
    fn go(&mut self);
    /// A request through the device: the number it was answered with when it was done, else nothing.
    fn ask(&mut self, request: &Request<'_>) -> Option<u64>;
    /// Does something with what decides, alone.
    fn gathered<T>(&self, f: impl FnOnce(&mut Gateway<Clock>) -> T) -> T;
    /// Lists that come in by an adapter, spoiled before: the lists, and what left for good. Nothing when there is no adapter.
    fn give_spoiled(
        &mut self,
        at: (usize, Side),
        lists: &[One],
        lent: bool,
        spoil: &dyn Fn(*mut NetBufferList),
    ) -> (Vec<*mut NetBufferList>, Vec<Left>);
    /// Every frame that was indicated since this was asked last, by the adapter it came up by.
    fn indicated(&mut self) -> Vec<Vec<u8>>;
    /// Everything that is out comes back.
    fn settle(&mut self);
    /// A second's work.
    fn tick(&mut self);
    /// A request of NDIS through an adapter, answered.
    fn request(&mut self, n: usize, kind: i32, oid: u32, direct: bool);
    /// The handle is closed, the adapters go; then nothing is left.
    fn end(self);

    /// Lists that come in by an adapter.
    fn give(&mut self, at: (usize, Side), lists: &[One], lent: bool) -> (Vec<*mut NetBufferList>, Vec<Left>) {
        self.give_spoiled(at, lists, lent, &|_| ())
    }

    /// A driver whose modules run, with facts and rules.
    ///
    /// # Panics
    /// When anything of that fails.
    #[must_use]
    fn running(boot: Boot, supply: Supply, image: &[u8]) -> Self {
        let mut host = Self::begin(boot, supply).expect("there is memory");
        host.go();
        host.greet();
        host.set_facts(&facts()).expect("the facts are good");
        host.load(image).expect("the rules load");
        host
    }

    /// The first request of a handle.
    fn greet(&mut self) -> Option<u64> {
        self.ask(&Request::Hello { version: API_VERSION })
    }

    /// Bytes behind a ticket.
    fn upload(&mut self, bytes: &[u8]) -> Option<u64> {
        let ticket = self.ask(&Request::Begin { path: "" })?;
        self.ask(&Request::Upload { ticket, offset: 0, bytes })?;
        Some(ticket)
    }

    /// Facts put in force.
    fn set_facts(&mut self, rows: &[u8]) -> Option<u64> {
        let ticket = self.upload(rows)?;
        self.ask(&Request::SetFacts { ticket })
    }

    /// Rules put in force; their generation.
    fn load(&mut self, image: &[u8]) -> Option<u64> {
        let ticket = self.upload(image)?;
        let tickets = ticket.to_le_bytes();
        self.ask(&Request::Commit { tickets: &tickets, after: After::Keep, confirm: 0, checksum: [1; 16] })
    }
}

/// The device in front of a driver, and its one handle that is open.
#[derive(Debug)]
pub(crate) struct Front {
    device: Device,
    word: Word,
    buffer: Vec<u8>,
}

impl Front {
    pub(crate) fn new() -> Self {
        Self { device: Device::new(4096), word: Word::default(), buffer: vec![0; MAX_MESSAGE] }
    }

    pub(crate) fn ask(&mut self, request: &Request<'_>, driver: &impl Lock<Clock>) -> Option<u64> {
        let len = encode(request, &mut self.buffer).expect("a request fits");
        let Self { device, word, buffer } = self;
        let (status, len) = at_level(PASSIVE, || match Message::take(TELL, buffer, len, MAX_MESSAGE) {
            Ok(message) => device.answer(word, &message, buffer, By::default(), driver),
            Err(status) => (status, 0),
        });
        if status != SUCCESS {
            assert!(status < 0);
            return None;
        }
        let answer = read_reply(&self.buffer[..len]).expect("an answer is well formed").ok()?;
        // Tickets, counts and generations alike are one number.
        Some(pfvm::api::decode_row::<u64>(answer).map_or(0, |(n, _)| n))
    }

    pub(crate) fn close(&mut self) {
        at_level(PASSIVE, || self.device.cleanup(&mut self.word));
        assert_eq!(self.device.control.clients(), 0);
    }
}

/// Facts of the two adapters: everything else is behind `em0`.
#[must_use]
pub fn facts() -> Vec<u8> {
    let mut facts = iface(1, "em0", v4(192, 0, 2, 1));
    facts.push(FactRow::Route { af: Af::Inet, addr: Addr::default(), prefix: 0, hop: None, metric: 0 });
    facts.extend(iface(2, "em1", v4(10, 0, 0, 1)));
    rows(&facts)
}

impl Host {
    /// One frame received by an adapter, cut somewhere; what came of it.
    pub fn comes(&mut self, n: usize, frame: &[u8], lent: bool) -> Vec<Event> {
        let list: One = (vec![(frame.to_vec(), vec![20, 50], 3)], vec![]);
        self.stack.receive(n, &[list], lent, &mut self.random);
        self.stack.os().events()
    }

    /// One frame the host sends by an adapter, with out-of-band data; what came of it.
    pub fn goes(&mut self, n: usize, frame: &[u8], info: Vec<(usize, usize)>) -> Vec<Event> {
        let list: One = (vec![(frame.to_vec(), vec![60], 3)], info);
        self.stack.send(n, &[list], &mut self.random);
        self.stack.os().events()
    }
}

impl Driven for Host {
    fn begin(boot: Boot, supply: Supply) -> Option<Self> {
        let mock = Mock::default();
        mock.choose(driver_granted);
        let gateway = at_level(PASSIVE, || Gateway::with_room(Clock::new(1_000_000), boot, &small()).ok())?;
        let stack = Stack::over(mock, gateway, supply, 2)?;
        Some(Self { stack, front: Front::new(), random: Numbers(3) })
    }

    fn go(&mut self) {
        for n in 0..2 {
            self.stack.attach(n);
            self.stack.restart(n);
        }
    }

    fn ask(&mut self, request: &Request<'_>) -> Option<u64> {
        self.front.ask(request, &*self.stack.driver)
    }

    fn gathered<T>(&self, f: impl FnOnce(&mut Gateway<Clock>) -> T) -> T {
        self.stack.driver.gathered(f)
    }

    fn give_spoiled(
        &mut self,
        (n, side): (usize, Side),
        lists: &[One],
        lent: bool,
        spoil: &dyn Fn(*mut NetBufferList),
    ) -> (Vec<*mut NetBufferList>, Vec<Left>) {
        let (stack, random) = (&self.stack, &mut self.random);
        stack.os().world().left.clear();
        let lists = match side {
            Side::Stack => stack.send_with(n, lists, random, spoil),
            Side::Wire => stack.receive_with(n, lists, lent, random, spoil),
        };
        let world = stack.os().world();
        let left = |at: &usize| {
            let (whose, place) = world.lists[at];
            let adapter = usize::from(world.via[at] != handle(0));
            let list = std::ptr::with_exposed_provenance_mut(*at);
            Left::of(list, adapter, place == Place::Above, whose == Whose::Own)
        };
        (lists.unwrap_or_default(), world.left.iter().map(left).collect())
    }

    fn indicated(&mut self) -> Vec<Vec<u8>> {
        let frames = |e| if let Event::Indicated(_, _, frames) = e { frames } else { vec![] };
        self.stack.os().events().into_iter().flat_map(frames).collect()
    }

    fn settle(&mut self) {
        while self.stack.bring_back(&mut self.random, 99) > 0 {}
        self.stack.os().events();
    }

    fn tick(&mut self) {
        at_level(DISPATCH, || self.stack.driver.tick());
    }

    fn request(&mut self, n: usize, kind: i32, oid: u32, direct: bool) {
        self.stack.ask(n, (kind, oid, direct));
        while self.stack.answer(&mut self.random) {}
    }

    fn end(mut self) {
        self.front.close();
        self.stack.end(&mut self.random);
    }
}

/// A frame of IPv4 from a peer.
#[must_use]
pub fn ether(to: [u8; 6], packet: &[u8]) -> Vec<u8> {
    [&to[..], &[2, 0, 0, 0, 9, 9, 8, 0], packet].concat()
}

//! The driver's portable half in one process: adapters of the mock, the edge and the filter, the device in front.

use std::fmt::Debug;

use ndismock::numbers::Numbers;
use ndismock::stack::{One, Stack};
use ndismock::world::{Event, Mock, PASSIVE, at_level};
use pfdriver::filter::By;
use pfndis::device::{Device, Message, Word};
use pfndis::frames::Supply;
use pfndis::gateway::{Boot, Gateway};
use pfndis::message::TELL;
use pfndis::sys::code::SUCCESS;
use pfvm::api::{API_VERSION, After, FactRow, MAX_MESSAGE, Request, encode, read_reply};
use pfvm::rule::{Addr, Af};

use crate::desk::{Clock, iface, rows, small, v4};

/// A driver with two adapters: `em0` (1, outside, 192.0.2.1/24) and `em1` (2, inside, 10.0.0.1/24).
#[derive(Debug)]
pub struct Host {
    /// NDIS, the driver in it.
    pub stack: Stack<Gateway<Clock>>,
    /// The device.
    pub device: Device,
    /// The word of the one handle that is open.
    pub word: Word,
    /// Chance.
    pub random: Numbers,
    buffer: Vec<u8>,
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
    /// A driver that was started, without modules. `None` when memory was short.
    #[must_use]
    pub fn begin(mock: Mock, boot: Boot, supply: Supply) -> Option<Self> {
        let gateway = at_level(PASSIVE, || Gateway::with_room(Clock::new(1_000_000), boot, &small()).ok())?;
        let stack = Stack::over(mock, gateway, supply, 2)?;
        let (device, buffer) = (Device::new(4096), vec![0; MAX_MESSAGE]);
        Some(Self { stack, device, word: Word::default(), random: Numbers(3), buffer })
    }

    /// A driver whose modules run, with facts and rules.
    ///
    /// # Panics
    /// When anything of that fails.
    #[must_use]
    pub fn running(boot: Boot, supply: Supply, image: &[u8]) -> Self {
        let mut host = Self::begin(Mock::default(), boot, supply).expect("there is memory");
        for n in 0..2 {
            assert_eq!(host.stack.attach(n), Some(SUCCESS));
            host.stack.restart(n);
        }
        host.greet();
        host.set_facts(&facts()).expect("the facts are good");
        host.load(image).expect("the rules load");
        host
    }

    /// A request through the device: the number it was answered with when it was done, else nothing.
    ///
    /// # Panics
    /// When the answer is malformed.
    pub fn ask(&mut self, request: &Request<'_>) -> Option<u64> {
        let len = encode(request, &mut self.buffer).expect("a request fits");
        let (buffer, word, device, driver) = (&mut self.buffer, &mut self.word, &mut self.device, &self.stack.driver);
        let (status, len) = at_level(PASSIVE, || match Message::take(TELL, buffer, len, MAX_MESSAGE) {
            Ok(message) => device.answer(word, &message, buffer, By::default(), &**driver),
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

    /// The first request of a handle.
    pub fn greet(&mut self) -> Option<u64> {
        self.ask(&Request::Hello { version: API_VERSION })
    }

    /// Bytes behind a ticket.
    pub fn upload(&mut self, bytes: &[u8]) -> Option<u64> {
        let ticket = self.ask(&Request::Begin { path: "" })?;
        self.ask(&Request::Upload { ticket, offset: 0, bytes })?;
        Some(ticket)
    }

    /// Facts put in force.
    pub fn set_facts(&mut self, rows: &[u8]) -> Option<u64> {
        let ticket = self.upload(rows)?;
        self.ask(&Request::SetFacts { ticket })
    }

    /// Rules put in force; their generation.
    pub fn load(&mut self, image: &[u8]) -> Option<u64> {
        let ticket = self.upload(image)?;
        let tickets = ticket.to_le_bytes();
        self.ask(&Request::Commit { tickets: &tickets, after: After::Keep, confirm: 0, checksum: [1; 16] })
    }

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

    /// Everything that is out comes back.
    pub fn settle(&mut self) {
        while self.stack.bring_back(&mut self.random, 99) > 0 {}
        self.stack.os().events();
    }

    /// The handle is closed, the modules go; then nothing is left.
    ///
    /// # Panics
    /// When something is.
    pub fn end(mut self) {
        at_level(PASSIVE, || self.device.cleanup(&mut self.word));
        assert_eq!(self.device.control.clients(), 0);
        self.stack.end(&mut self.random);
    }
}

/// A frame of IPv4 from a peer.
#[must_use]
pub fn ether(to: [u8; 6], packet: &[u8]) -> Vec<u8> {
    [&to[..], &[2, 0, 0, 0, 9, 9, 8, 0], packet].concat()
}

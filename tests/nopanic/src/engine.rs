//! The engine: a program put in force, packets decided, time passing.

use crate::memory;
use pfvm::engine::ifaces::Live;
use pfvm::engine::{Carried, Engine, LogRecord, Seen, default_options};
use pfvm::host::{Hop, Host, Random};
use pfvm::image::Image;
use pfvm::packet::{Packet, PktMeta};
use pfvm::rule::{Addr, Af, Direction};
use pfvm::table::Entry;
use pfvm::verify::{DRIVER_BUDGET, Program};

/// Makes an engine, loads an image, decides a packet, lets time pass.
#[unsafe(no_mangle)]
pub extern "C" fn engine(bytes: *const u8, len: usize, packet: *mut u8, packet_len: usize) -> u32 {
    let mut host = Chance;
    let Ok(mut engine) = Engine::new(&default_options().limits, &mut host) else { return 1 };
    let Ok(image) = Image::parse(memory::bytes(bytes, len)) else { return 2 };
    let Ok(program) = Program::verify(&image, DRIVER_BUDGET) else { return 3 };
    let mut units = alloc::vec::Vec::new();
    if units.try_reserve_exact(1).is_err() || units.len() == units.capacity() {
        return 4;
    }
    units.push(program);
    let live = [Live { index: 1, name: "a", groups: &["g"], loopback: memory::coin() }];
    if engine.load(units, None, &live, &|_, _, add| add(Entry::new(Af::Inet, Addr::default(), 8)), &mut host).is_err() {
        return 5;
    }
    let rest: [&[u8]; 1] = [memory::bytes(bytes, len)];
    let Some(mut packet) = Packet::new(memory::bytes_mut(packet, packet_len), 0, &rest) else { return 6 };
    let af = if memory::coin() { Af::Inet } else { Af::Inet6 };
    let dir = if memory::coin() { Direction::In } else { Direction::Out };
    let seen = Seen { af, dir, iface: 1, forwarded: memory::coin() };
    let mut room = [0; 4096];
    let outcome = engine.process(&mut packet, &PktMeta::default(), seen, Carried::default(), &mut room, &mut host);
    engine.tick(&mut host);
    outcome.rule
}

/// A host of which nothing is known at compile time.
struct Chance;

impl Random for Chance {
    fn random_u32(&mut self) -> u32 {
        memory::number()
    }
}

impl Host for Chance {
    fn now_ms(&self) -> u64 {
        memory::number().into()
    }
    fn route(&self, _: Af, _: &Addr) -> Option<Hop> {
        memory::coin().then(|| Hop { iface: 1, mtu: memory::number() })
    }
    fn answers_for(&self, _: Af, addr: &Addr) -> Option<Addr> {
        memory::coin().then_some(*addr)
    }
    fn own_address(&self, _: Af, _: u16, toward: &Addr) -> Option<Addr> {
        memory::coin().then_some(*toward)
    }
    fn port_in_use(&self, _: u8, _: u16) -> bool {
        memory::coin()
    }
    fn send(&mut self, packet: &[u8], _: Af, _: bool, _: u16) {
        memory::take(packet);
    }
    fn log(&mut self, record: &LogRecord, packet: &Packet<'_>) {
        let mut head = [0; 128];
        let kept = packet.len().min(head.len());
        if let Some(kept) = head.get_mut(..kept)
            && packet.read(0, kept)
        {
            memory::take(kept);
        }
        memory::take(&record.nr.to_le_bytes());
        memory::take(&record.src.0.0);
    }
}

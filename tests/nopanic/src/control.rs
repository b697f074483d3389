//! The driver core: any message of any client, packets and time in between.

use crate::memory;
use pfdriver::control::Control;
use pfdriver::facts::HostFacts;
use pfdriver::filter::{By, Filter};
use pfdriver::lock::Lock;
use pfdriver::platform::Platform;
use pfvm::api::{HostKind, Rights};
use pfvm::engine::{Arriving, Carried, Engine, Scratch, Seen, default_options};
use pfvm::host::Random;
use pfvm::packet::{Packet, PktMeta};
use pfvm::rule::{Af, Direction};
use pfvm::verify::DRIVER_BUDGET;

/// A platform of which nothing is known at compile time.
#[derive(Debug)]
struct Chance;

impl Random for Chance {
    fn random_u32(&mut self) -> u32 {
        memory::number()
    }
}

impl Platform for Chance {
    fn now_ms(&self) -> u64 {
        memory::number().into()
    }
    fn wall_seconds(&self) -> u64 {
        memory::number().into()
    }
}

/// One thread needs no lock; a filter that is lent already is not lent again.
struct One(core::cell::Cell<Option<Filter<Chance>>>);

impl Lock<Chance> for One {
    fn with<T>(&self, f: impl FnOnce(&mut Filter<Chance>) -> T) -> T {
        loop {
            if let Some(mut filter) = self.0.take() {
                let out = f(&mut filter);
                self.0.set(Some(filter));
                return out;
            }
        }
    }
}

/// Answers messages, decides a packet, lets time pass.
#[unsafe(no_mangle)]
pub extern "C" fn control(bytes: *const u8, len: usize, reply: *mut u8, reply_len: usize) -> usize {
    let Ok(facts) = HostFacts::read(memory::bytes(bytes, len)) else { return 1 };
    let limits = default_options().limits;
    let Some(engine) = Engine::new(&limits, &mut Chance).ok().and_then(memory::boxed) else { return 2 };
    let Ok(mut filter) = Filter::over(engine, facts, Chance) else { return 2 };
    if filter.begin(&limits).is_err() {
        return 2;
    }
    let filter = One(core::cell::Cell::new(Some(filter)));
    let mut control = Control::new(HostKind::Driver, DRIVER_BUDGET);
    let rights = if memory::coin() { Rights::Write } else { Rights::Read };
    let Ok(client) = control.open(rights, By { uid: memory::number(), pid: memory::number() }) else { return 3 };
    let Ok(mut scratch) = Scratch::new() else { return 5 };
    let mut sum = 0;
    while memory::coin() {
        sum ^= control.handle(client, memory::bytes(bytes, len), memory::bytes_mut(reply, reply_len), &filter);
        filter.with(Filter::tick);
        let Some(mut packet) = Packet::new(memory::bytes_mut(reply, reply_len), 0, &[]) else { return 4 };
        let seen = Seen { af: Af::Inet, dir: Direction::In, iface: 1, forwarded: memory::coin() };
        let (meta, carried) = (PktMeta::default(), Carried::default());
        let mut room = [0; 4096];
        if memory::coin() {
            filter.with(|f| {
                if f.pass_untold(&mut packet, &meta, seen, carried, &mut scratch).is_none() {
                    f.process(&mut packet, &meta, seen, carried, &mut room);
                }
                f.engine.tell(&mut scratch);
            });
        } else {
            let mut batch = [Arriving { pkt: &mut packet, meta: &meta, seen, carried }];
            filter.with(|f| f.process_batch(&mut batch, &mut room, |i, _, _| sum ^= i));
        }
        filter.with(|f| {
            while let Some(made) = f.outbox.take() {
                memory::take(made.bytes());
            }
        });
    }
    control.close(client);
    sum
}

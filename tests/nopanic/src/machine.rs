//! Entry points of the machine, called with what nobody knows at compile time.

use crate::memory;
use pfvm::exec::{Context, DEFAULT_FUEL, Grove, Hit, Machine, Site, Step, UnitId, run};
use pfvm::image::Image;
use pfvm::isa::Op;
use pfvm::packet::{Packet, PktMeta, describe};
use pfvm::rule::{Addr, Af, Direction, IfaceId, TableId, TagId};
use pfvm::verify::{Body, DRIVER_BUDGET, Program};

/// Decodes one word.
#[unsafe(no_mangle)]
pub extern "C" fn decode(word: u64) -> u64 {
    Op::decode(word).map_or(0, Op::encode)
}

/// Reads and verifies an image, binds it, runs it on a packet.
#[unsafe(no_mangle)]
pub extern "C" fn load_and_run(bytes: *const u8, len: usize, packet: *mut u8, packet_len: usize) -> u32 {
    let Ok(image) = Image::parse(memory::bytes(bytes, len)) else { return 1 };
    let Ok(program) = Program::verify(&image, DRIVER_BUDGET) else { return 2 };
    let mut units = alloc::vec::Vec::new();
    if units.try_reserve_exact(1).is_err() || units.len() == units.capacity() {
        return 3;
    }
    units.push(program);
    let Ok(grove) = Grove::bind(units) else { return 3 };
    let rest: [&[u8]; 1] = [memory::bytes(bytes, len)];
    let Some(packet) = Packet::new(memory::bytes_mut(packet, packet_len), 0, &rest) else { return 4 };
    let af = if memory::coin() { Af::Inet } else { Af::Inet6 };
    let desc = describe(&packet, &PktMeta::default(), af, Direction::In, 0);
    let Ok(desc) = desc else { return 5 };
    let mut machine = Machine::new();
    machine.reset(Body::Code, DEFAULT_FUEL);
    loop {
        match run(&grove, &desc, &mut machine, &mut World) {
            Step::Done => return 6,
            Step::Drop(_) => return 7,
            Step::Suspend(_) => machine.answer(memory::coin()),
        }
    }
}

/// Answers the optimiser knows nothing about.
struct World;

impl Context for World {
    fn in_table(&mut self, _: UnitId, _: TableId, _: Af, _: &Addr) -> bool {
        memory::coin()
    }
    fn is_iface(&mut self, _: UnitId, _: IfaceId, _: u16) -> bool {
        memory::coin()
    }
    fn tag(&mut self, _: UnitId, tag: TagId) -> u16 {
        tag.0
    }
    fn random(&mut self) -> u32 {
        u32::from(memory::coin())
    }
    fn under_rate(&mut self, _: Site) -> bool {
        memory::coin()
    }
    fn is_live(&mut self, _: Site) -> bool {
        memory::coin()
    }
    fn use_up(&mut self, _: Site) -> bool {
        memory::coin()
    }
    fn log(&mut self, _: Hit, _: Option<Site>) {
        memory::coin();
    }
}

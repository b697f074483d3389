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
    let Ok(mut machine) = Machine::new() else { return 3 };
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

/// A source of numbers the optimiser knows nothing about.
struct Chance;

impl pfvm::host::Random for Chance {
    fn random_u32(&mut self) -> u32 {
        memory::coin().into()
    }
}

/// Normalises packets one after the other, scrubs what comes out, answers it, fragments it again.
#[unsafe(no_mangle)]
pub extern "C" fn normalise(bytes: *mut u8, len: usize, room: *mut u8, room_len: usize, now: u32) -> u32 {
    use pfvm::norm::{frag, scrub, tcp};
    use pfvm::state::record::PeerScrub;
    let Ok(mut cache) = frag::FragCache::new(now, now, (1, 2)) else { return 1 };
    let set = frag::Reassembly { on: memory::coin(), no_df: memory::coin(), timeout: now };
    let af = if memory::coin() { Af::Inet } else { Af::Inet6 };
    let meta = PktMeta::default();
    let mut done = 0;
    while memory::coin() {
        let (whole, room) = (memory::bytes_mut(bytes, len), memory::bytes_mut(room, room_len));
        let (window, rest) = whole.split_at_mut_checked(usize::from(memory::coin())).unwrap_or_default();
        let pieces: [&[u8]; 1] = [rest];
        let Some(mut packet) = Packet::new(window, 0, &pieces) else { return 2 };
        let Ok(mut desc) = describe(&packet, &meta, af, Direction::In, 0) else { return 3 };
        let made = frag::normalize(&mut cache, &mut packet, &meta, &desc, &set, now, room);
        cache.purge(now, now, 9);
        let mut sides = [PeerScrub::default(); 2];
        sides[0] = tcp::begin(&packet, &desc, 0, &mut Chance);
        let [a, b] = &mut sides;
        let conn = tcp::Connection { src: 4, dst: 4, age_ms: now.into(), now_ms: now.into(), ts_diff: now };
        let what = scrub::Scrub { no_df: true, random_id: memory::coin(), min_ttl: 9, set_tos: Some(8) };
        done ^= u32::from(tcp::sanity(&mut packet, &meta, &mut desc).is_ok());
        done |= u32::from(tcp::clamp_mss(&mut packet, &meta, &desc, 99).is_ok());
        done |= u32::from(tcp::follow(&mut packet, &meta, &mut desc, a, b, &conn).is_ok());
        done |= u32::from(scrub::scrub(&mut packet, &meta, af, &what, &mut Chance).is_ok());
        let error = pfvm::reply::Error { kind: 3, code: 3, param: now, from: Addr([7; 16]), id: 1 };
        done |= u32::from(pfvm::reply::error(&packet, &desc, &error, room).is_some());
        if let frag::Normalized::Whole { tag: Some(tag), .. } = made {
            let count = frag::refragment6(&packet, &tag, now, room, |f| done ^= u32::from(f.is_empty()));
            done ^= count.unwrap_or(0);
        }
    }
    cache.clear();
    done
}

/// Changes and asks address tables.
#[unsafe(no_mangle)]
pub extern "C" fn tables(at: *const u8, count: u32, limit: u16) -> u32 {
    use pfvm::table::{Counted, Entry, Op, Tables};
    let Some(mut tables) = Tables::new(limit, count, count) else { return 1 };
    let Ok(slot) = tables.create(memory::coin()) else { return 2 };
    let bytes = memory::bytes(at, 20);
    let mut found = 0;
    while memory::coin() {
        let Some(addr) = bytes.first_chunk::<16>().copied().map(Addr) else { return 3 };
        let prefix = bytes.last().copied().unwrap_or(0);
        let af = if memory::coin() { Af::Inet } else { Af::Inet6 };
        let entry = Entry { af, addr, prefix, not: memory::coin(), weight: limit };
        found ^= u32::from(tables.add(slot, &entry).is_ok());
        found ^= u32::from(tables.delete(slot, &entry).is_ok());
        found ^= u32::from(tables.replace(slot, &[entry, entry]).is_ok());
        found ^= u32::from(tables.holds(slot, af, &addr));
        found ^= u32::from(tables.lookup(slot, af, &addr).is_some());
        found ^= u32::from(tables.nth_positive(slot, af, count).is_some());
        found ^= u32::from(tables.count_state(slot, af, &addr, memory::coin()));
        tables.count(slot, af, &addr, Counted { dir: Direction::In, op: Op::Pass, not: memory::coin(), bytes: count });
        tables.zero(slot, memory::coin());
        found ^= tables.clear(slot);
    }
    tables.destroy(slot);
    found
}

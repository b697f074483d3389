//! Loading: tickets, images, confirmation, flushing.

use alloc::vec::Vec;

use pfvm::api::{Code, MAX_CHUNK, MAX_PATH, MAX_TICKETS, Refusal, SectionBytes, encode_reply};
use pfvm::image::{self, Image, ImageError};
use pfvm::state::pool::{copied, room};
use pfvm::verify::{Program, Reject};

use super::ticket::Why;
use super::{BUSY, Control, MEMORY, Reply, changed, memory, refused, small, ticketed};
use crate::filter::{By, How, Loading, Unit};
use crate::lock::Lock;
use crate::platform::Platform;

impl Control {
    pub(super) fn begin(&mut self, client: u32, path: &str, reply: &mut [u8]) -> Reply {
        good_path(path)?;
        match self.tickets.begin(client, path.as_bytes()) {
            Ok(number) => ticketed(number, reply),
            Err(_) => Err(Refusal::new(Code::TooMany, "there are too many tickets")),
        }
    }

    pub(super) fn upload(&mut self, client: u32, ticket: u64, offset: u32, bytes: &[u8], reply: &mut [u8]) -> Reply {
        if bytes.len() > MAX_CHUNK {
            return Err(Refusal::new(Code::TooLong, "a piece is too long"));
        }
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        match self.tickets.append(client, ticket, offset, bytes) {
            Ok(all) => changed(u64::try_from(all).unwrap_or(u64::MAX), reply),
            Err(Why::Busy) => Err(BUSY),
            Err(Why::Full) => Err(MEMORY),
            Err(Why::Offset(have)) => {
                let have = u64::try_from(have).unwrap_or(u64::MAX);
                Err(Refusal::new(Code::Invalid, "the piece belongs elsewhere; bytes that have come:").at(have))
            }
        }
    }

    pub(super) fn rollback(&mut self, client: u32, ticket: u64, reply: &mut [u8]) -> Reply {
        if self.tickets.give_back(client, ticket) { changed(0_u64, reply) } else { Err(BUSY) }
    }

    /// A piece of what a ticket's operation answered.
    pub(super) fn feedback(&self, client: u32, ticket: u64, offset: u32, reply: &mut [u8]) -> Reply {
        let all = self.tickets.answered(client, ticket).ok_or(BUSY)?;
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = all.get(at..).unwrap_or_default();
        let bytes = rest.get(..MAX_CHUNK.min(reply.len().saturating_sub(64))).unwrap_or(rest);
        let total = u32::try_from(all.len()).unwrap_or(u32::MAX);
        encode_reply(&SectionBytes { total, records: 0, generation: 0, bytes }, reply).map_err(small)
    }

    /// Parses and verifies with only control locked, then swaps.
    #[inline(never)]
    pub(super) fn commit<P: Platform, L: Lock<P>>(
        &mut self,
        client: u32,
        tickets: &[u8],
        how: How,
        by: By,
        reply: &mut [u8],
        filter: &L,
    ) -> Reply {
        let (numbers, rest) = tickets.as_chunks::<8>();
        if !rest.is_empty() || numbers.is_empty() || numbers.len() > MAX_TICKETS {
            return Err(Refusal::new(Code::Invalid, "tickets are 8 bytes each, one at least"));
        }
        let numbers = || numbers.iter().map(|n| u64::from_le_bytes(*n));
        if !numbers().all(|n| self.tickets.holds(client, n)) {
            return Err(BUSY);
        }
        if let Some(waiting) = filter.with(|f| f.unconfirmed()) {
            return Err(Refusal::new(Code::Busy, "a load waits for its confirmation: generation").at(waiting.0));
        }
        // From here on the tickets are used up, whatever comes.
        let mut programs = room("programs", pfvm::count::number(numbers())).map_err(memory)?;
        for number in numbers() {
            let open = self.tickets.take(client, number).ok_or(BUSY)?;
            add(&mut programs, (open.path, open.bytes), self.budget, by)?;
        }
        let (generation, old) = filter.with(|f| f.load(programs, how)).map_err(refused)?;
        drop(old);
        ticketed(generation, reply)
    }

    /// `-F rules`: the image of no rules takes the place of the rules.
    #[inline(never)]
    pub(super) fn flush<P: Platform, L: Lock<P>>(&self, path: &str, by: By, reply: &mut [u8], filter: &L) -> Reply {
        good_path(path)?;
        let count = filter.with(|f| super::rules::count(f, path));
        let Some(count) = count else { return changed(0_u64, reply) };
        let image = image::empty(path).map_err(memory)?;
        let path = copied("names", path.as_bytes()).map_err(memory)?;
        let mut programs = room("programs", 1).map_err(memory)?;
        add(&mut programs, (path, image), self.budget, by)?;
        let how = How { checksum: Some([0; 16]), ..How::default() };
        let old = filter.with(|f| f.load(programs, how)).map_err(refused)?;
        drop(old);
        changed(count, reply)
    }
}

/// Paths are relative to the main ruleset and have no empty part.
fn good_path(path: &str) -> Result<(), Refusal<'static>> {
    if path.len() > MAX_PATH {
        return Err(Refusal::new(Code::TooLong, "the path is too long"));
    }
    let next = path.bytes().skip(1).chain([b'/']);
    if path.starts_with('/') || (!path.is_empty() && path.bytes().zip(next).any(|pair| pair == (b'/', b'/'))) {
        return Err(Refusal::new(Code::Invalid, "a part of the path is empty"));
    }
    Ok(())
}

/// An image becomes a program, among those to be loaded. A program is large: it lies on this function's stack alone.
#[inline(never)]
pub(crate) fn add(
    programs: &mut Vec<Loading>,
    (path, image): (Vec<u8>, Vec<u8>),
    budget: u32,
    by: By,
) -> Result<(), Refusal<'static>> {
    let program = verified(&image, budget)?;
    let root = program.rulesets().iter().map(|r| program.text(r.path)).find(|p| p.as_bytes() == path);
    if root.is_none() {
        return Err(Refusal::new(Code::Invalid, "the image was compiled for another anchor"));
    }
    if programs.len() < programs.capacity() {
        programs.push(Loading { program, unit: Unit { path, image, generation: 0, inserted: 0, by } });
    }
    Ok(())
}

/// The image lies on this function's stack, and on that of none that goes on with the program.
#[inline(never)]
fn verified(image: &[u8], budget: u32) -> Result<Program, Refusal<'static>> {
    let parsed = Image::parse(image).map_err(damaged)?;
    Program::verify(&parsed, budget).map_err(rejected)
}

/// Where an image is damaged: the number of the section and the record, as one number.
fn damaged(why: ImageError) -> Refusal<'static> {
    let place = |place: pfvm::image::Place| u64::from(place.section as u8) << 32 | u64::from(place.record);
    match why {
        ImageError::Truncated { found, .. } => {
            Refusal::new(Code::Image, "the image is cut off at byte").at(u64::try_from(found).unwrap_or(0))
        }
        ImageError::TooLarge { .. } => Refusal::new(Code::TooLong, "the image is too large"),
        ImageError::Magic => Refusal::new(Code::Image, "this is no image: wrong magic"),
        ImageError::Format { found } => Refusal::new(Code::Version, "the image has another format:").at(found.into()),
        ImageError::Isa { found } => {
            Refusal::new(Code::Version, "the image has another instruction set:").at(found.into())
        }
        ImageError::Digest => Refusal::new(Code::Image, "the digest does not match: the image is damaged"),
        ImageError::Sections { .. } | ImageError::Length { .. } => {
            Refusal::new(Code::Image, "the sections do not fill the image")
        }
        ImageError::TooMany { section, .. } | ImageError::Size { section, .. } => {
            Refusal::new(Code::Image, "the records do not fill section").at(section as u64)
        }
        ImageError::Record { place: at }
        | ImageError::Index { place: at, .. }
        | ImageError::Value { place: at, .. }
        | ImageError::Text { place: at, .. } => {
            Refusal::new(Code::Image, "a record is wrong, section and number:").at(place(at))
        }
    }
}

fn rejected(why: Reject) -> Refusal<'static> {
    match why {
        Reject::NoMemory { .. } => MEMORY,
        Reject::Budget { bound, .. } => {
            Refusal::new(Code::NoMemory, "a packet may take too many steps through these rules:").at(bound.into())
        }
        _ => Refusal::new(Code::Image, "the image does not verify"),
    }
}

pub(super) fn confirm<P: Platform, L: Lock<P>>(generation: u64, reply: &mut [u8], filter: &L) -> Reply {
    let old = filter.with(|f| f.confirm(generation)).map_err(refused)?;
    drop(old);
    changed(0_u64, reply)
}

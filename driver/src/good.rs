//! The last good rules: what is in force and waits for no confirmation, with the interfaces it is in force on, as bytes that
//! a host keeps for its next start.
//!
//! ```text
//! 0   8   "PlanBgd" and the format, 2
//! 8  32   SHA-256 of everything from byte 40 on
//! 40 16   what `Checksum:` shows
//! 56  4   number of programs
//! 60  4   bytes of the host's facts
//! 64      programs, each: length of path, length of image (4 bytes each), path, image; then the facts, as rows
//! ```
//! Numbers are little-endian. Kept are the programs as they were loaded, in their order, and of the host's facts those of
//! interfaces ([`HostFacts::lasting`]; without routes where they take more than [`MOST_FACTS`] with them); not what was
//! changed by hand since (addresses of tables, options), states, or ports in use.
//!
//! **Invariant:** bytes that are not whole, not ours, hold a program that does not verify or a fact that means nothing give
//! no rules and no facts at all.
//! **Invariant:** a kept interface means no adapter before the same one is met ([`Filter::meet`]).

use alloc::vec::Vec;

use pfvm::api::{FactRow, MAX_PATH, encode};
use pfvm::state::pool::{OutOfMemory, copied, filled, room};
use sha2::{Digest, Sha256};

use crate::control::add;
use crate::facts::{FactsError, HostFacts};
use crate::filter::{By, Filter, How, Loading, Refused};
use crate::lock::Lock;
use crate::platform::Platform;

const MAGIC: [u8; 8] = *b"PlanBgd\x02";
/// Where what the digest is over begins.
const BODY: usize = 40;
/// Where the number of programs stands.
const COUNT: usize = 56;
/// Where the length of the facts stands.
const FACTS: usize = 60;
/// Where programs begin.
const PROGRAMS: usize = 64;
/// Bytes of facts at most.
pub const MOST_FACTS: usize = 1 << 18;
/// Bytes at most.
pub const MOST: usize = 64 << 20;
/// Programs at most.
const MOST_PROGRAMS: u32 = 4096;

/// Why there are no last good rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The bytes are not whole, or not ours.
    Damaged,
    /// A program does not verify here.
    Program,
    /// There is no memory.
    Memory,
    /// The filter refuses them.
    Refused(Refused),
}

impl Unfit {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Program => "not verified",
            Self::Memory => "no memory",
            Self::Refused(_) => "refused",
        }
    }
}

impl From<OutOfMemory> for Unfit {
    fn from(_: OutOfMemory) -> Self {
        Self::Memory
    }
}

/// What is to be kept, and the generation it was.
#[derive(Debug)]
pub struct Good {
    /// Generation.
    pub generation: u64,
    /// Which interfaces were told ([`Filter::told`]).
    pub told: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What is in force.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Generation.
    pub generation: u64,
    /// Which interfaces were told ([`Filter::told`]).
    pub told: u64,
    /// Whether it waits for its confirmation.
    pub waits: bool,
    /// Who loaded what came last.
    pub by: By,
    /// Digest of the main program's image; zero when there is none.
    pub digest: [u8; 32],
}

/// What is in force.
pub fn now<P: Platform, L: Lock<P>>(filter: &L) -> Now {
    filter.with(|f| {
        let generation = f.generation;
        let last = f.units.iter().find(|u| u.generation == generation);
        let digest = f.engine.main().map_or([0; 32], |main| *main.digest());
        Now {
            generation,
            told: f.told,
            waits: f.unconfirmed().is_some(),
            by: last.map_or_else(By::default, |u| u.by),
            digest,
        }
    })
}

/// Generation and facts in force, where nothing waits for a confirmation.
fn settled<P: Platform, L: Lock<P>>(filter: &L) -> Option<(u64, u64)> {
    filter.with(|f| f.unconfirmed().is_none().then_some((f.generation, f.told)))
}

/// Writes facts, without routes where all of them do not fit; gives their length, 0 when those do not, either.
fn put_facts<P: Platform>(f: &Filter<P>, into: &mut [u8]) -> usize {
    let all = rows(f, into, |_| true);
    all.or_else(|| rows(f, into, |row| !matches!(row, FactRow::Route { .. }))).unwrap_or(0)
}

/// Writes facts that are wanted, interfaces numbered anew; gives their length, if they fit.
fn rows<P: Platform>(f: &Filter<P>, into: &mut [u8], wanted: fn(&FactRow<'_>) -> bool) -> Option<usize> {
    let (mut end, mut number) = (0_usize, 0_u16);
    for mut row in f.facts.lasting().filter(wanted) {
        if let FactRow::Iface { index, .. } = &mut row {
            number = number.saturating_add(1);
            *index = number;
        }
        end = end.saturating_add(encode(&row, into.get_mut(end..)?).ok()?);
    }
    Some(end)
}

/// Collects what is in force; `None` when it waits for its confirmation, or another load was faster.
///
/// The lock is held for one program, or the facts, at a time.
///
/// # Errors
/// [`OutOfMemory`].
pub fn collect<P: Platform, L: Lock<P>>(filter: &L) -> Result<Option<Good>, OutOfMemory> {
    let Some(now @ (generation, told)) = settled(filter) else { return Ok(None) };
    let (checksum, length) = filter.with(|f| {
        let programs = f.units.iter().map(|u| u.path.len().saturating_add(u.image.len()).saturating_add(8));
        (f.checksum, programs.fold(PROGRAMS.saturating_add(MOST_FACTS), usize::saturating_add))
    });
    let mut bytes = filled("the last good rules", u32::try_from(length).unwrap_or(u32::MAX), 0_u8)?;
    let (mut count, mut end) = (0_u32, PROGRAMS);
    put(&mut bytes, 0, &MAGIC);
    put(&mut bytes, BODY, &checksum);
    for at in 0_usize.. {
        let more = filter.with(|f| {
            let unit = f.units.get(at).filter(|_| f.generation == generation && f.unconfirmed().is_none())?;
            if !unit.image.is_empty() {
                count = count.saturating_add(1);
                let length = |of: &[u8]| u32::try_from(of.len()).unwrap_or(u32::MAX).to_le_bytes();
                for part in [&length(&unit.path)[..], &length(&unit.image), &unit.path, &unit.image] {
                    put(&mut bytes, end, part);
                    end = end.saturating_add(part.len());
                }
            }
            Some(())
        });
        if more.is_none() {
            break;
        }
    }
    let most = bytes.len().min(end.saturating_add(MOST_FACTS));
    let facts = bytes.get_mut(end..most).map_or(0, |to| filter.with(|f| put_facts(f, to)));
    end = end.saturating_add(facts);
    if settled(filter) != Some(now) || end > bytes.len() {
        return Ok(None);
    }
    bytes.truncate(end);
    put(&mut bytes, COUNT, &count.to_le_bytes());
    put(&mut bytes, FACTS, &u32::try_from(facts).unwrap_or(0).to_le_bytes());
    let sum: [u8; 32] = Sha256::digest(bytes.get(BODY..).unwrap_or_default()).into();
    put(&mut bytes, 8, &sum);
    Ok(Some(Good { generation, told, bytes }))
}

/// Writes bytes to a place, if they end within.
fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(to) = bytes.get_mut(at..).and_then(|b| b.get_mut(..value.len())) {
        to.copy_from_slice(value);
    }
}

/// Takes a number of bytes off the front.
fn take<'b>(rest: &mut &'b [u8], count: usize) -> Result<&'b [u8], Unfit> {
    let (taken, left) = rest.split_at_checked(count).ok_or(Unfit::Damaged)?;
    *rest = left;
    Ok(taken)
}

fn number(rest: &mut &[u8]) -> Result<u32, Unfit> {
    let (taken, left) = rest.split_first_chunk::<4>().ok_or(Unfit::Damaged)?;
    *rest = left;
    Ok(u32::from_le_bytes(*taken))
}

/// What bytes hold, verified.
#[derive(Debug)]
pub struct Kept {
    /// Programs in their order.
    pub programs: Vec<Loading>,
    /// What `Checksum:` shows.
    pub checksum: [u8; 16],
    /// Interfaces, none of them met yet.
    pub facts: HostFacts,
}

/// Reads and verifies bytes.
///
/// # Errors
/// [`Unfit`].
pub fn read(bytes: &[u8], budget: u32) -> Result<Kept, Unfit> {
    if bytes.len() > MOST {
        return Err(Unfit::Damaged);
    }
    let mut rest = bytes;
    if take(&mut rest, 8)? != MAGIC {
        return Err(Unfit::Damaged);
    }
    let sum = take(&mut rest, 32)?;
    if <[u8; 32]>::from(Sha256::digest(rest)) != sum {
        return Err(Unfit::Damaged);
    }
    let checksum = <[u8; 16]>::try_from(take(&mut rest, 16)?).map_err(|_| Unfit::Damaged)?;
    let of = |n: u32| usize::try_from(n).map_err(|_| Unfit::Damaged);
    let (count, facts) = (number(&mut rest)?, of(number(&mut rest)?)?);
    if count > MOST_PROGRAMS || facts > MOST_FACTS {
        return Err(Unfit::Damaged);
    }
    let mut programs: Vec<Loading> = room("programs", count)?;
    for _ in 0..count {
        let lengths = (number(&mut rest)?, number(&mut rest)?);
        let path = take(&mut rest, of(lengths.0)?)?;
        let image = take(&mut rest, of(lengths.1)?)?;
        if path.len() > MAX_PATH || programs.len() >= programs.capacity() {
            return Err(Unfit::Damaged);
        }
        let copy = |bytes| copied("the last good rules", bytes);
        add(&mut programs, (copy(path)?, copy(image)?), budget, By::default()).map_err(|_| Unfit::Program)?;
    }
    if rest.len() != facts {
        return Err(Unfit::Damaged);
    }
    let facts = HostFacts::read_from_before(rest).map_err(|why| match why {
        FactsError::Memory(why) => why.into(),
        FactsError::Row { .. } => Unfit::Damaged,
    })?;
    Ok(Kept { programs, checksum, facts })
}

/// Loads what bytes hold into a filter without rules and facts; gives the generation, which stays 0 when there were none.
/// The bytes are read and verified with nothing locked.
///
/// # Errors
/// [`Unfit`]: nothing has changed.
pub fn load<P: Platform, L: Lock<P>>(filter: &L, bytes: &[u8], budget: u32) -> Result<u64, Unfit> {
    let Kept { programs, checksum, facts } = read(bytes, budget)?;
    if programs.is_empty() {
        return Ok(filter.with(|f| f.generation));
    }
    let before = filter.with(|f| f.set_facts(facts)).map_err(|why| Unfit::Refused(why.into()))?;
    let how = How { checksum: Some(checksum), ..How::default() };
    match filter.with(|f| f.load(programs, how)) {
        Ok((generation, _none)) => Ok(generation),
        Err(why) => {
            let _kept = filter.with(|f| f.set_facts(before));
            Err(Unfit::Refused(why))
        }
    }
}

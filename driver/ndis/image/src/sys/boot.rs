//! The rules that were good last: kept in a file, in force again when the system starts; and what the event log is told.
//!
//! With the policy `last good` every load that stays in force is written down, with the interfaces there are, in the thread
//! of the request that loaded or confirmed it, before that request is answered; so it is when other interfaces are told. That
//! it could not be written takes nothing back: the event log says so.
//!
//! IRQL: `PASSIVE_LEVEL`. Locks: control's is held around [`after`], which is what orders it.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pfdriver::good;
use pfdriver::lock::Lock;
use pfndis::event::{Entry, What};
use pfndis::gateway::Boot;
use pfndis::sys::code::{RESOURCES, SUCCESS};

use crate::platform::Windows;
use crate::sys::device::BUDGET;
use crate::sys::eventlog::{self, User};
use crate::sys::file::{self, Path};
use crate::sys::registry::Settings;

/// What was seen of the filter, and where its rules are kept.
struct Kept {
    /// Whether they are.
    on: AtomicBool,
    /// The generation the event log knows.
    told: AtomicU64,
    /// The generation the file holds, and which facts.
    written: AtomicU64,
    facts: AtomicU64,
    path: UnsafeCell<Option<Path>>,
}

// SAFETY: the path is written before the device is there, and only read from then on.
unsafe impl Sync for Kept {}

static KEPT: Kept = Kept {
    on: AtomicBool::new(false),
    told: AtomicU64::new(0),
    written: AtomicU64::new(0),
    facts: AtomicU64::new(0),
    path: UnsafeCell::new(None),
};

/// Bytes of a digest the event log shows.
const SHOWN: usize = 16;

fn shown(digest: &[u8; 32]) -> &[u8] {
    digest.get(..SHOWN).unwrap_or_default()
}

/// The beginning, before the device is there: loads the last good rules when the policy says so.
#[inline(never)]
pub fn start<L: Lock<Windows>>(settings: &Settings, filter: &L) {
    KEPT.told.store(0, Ordering::Release);
    KEPT.written.store(0, Ordering::Release);
    KEPT.facts.store(0, Ordering::Release);
    let keeps = settings.boot == Boot::LastGood;
    KEPT.on.store(keeps, Ordering::Release);
    if !keeps {
        return;
    }
    // SAFETY: nothing reads it yet.
    unsafe { *KEPT.path.get() = Some(settings.last_good) };
    let bytes = match file::read(&settings.last_good, good::MOST) {
        Ok(bytes) => bytes,
        Err(status) => {
            let mut entry = Entry::new(What::NoLastGood, status);
            entry.hex(&status.to_be_bytes());
            return eventlog::write(&entry);
        }
    };
    match good::load(filter, &bytes, BUDGET) {
        Ok(generation) => {
            KEPT.told.store(generation, Ordering::Release);
            let now = good::now(filter);
            KEPT.written.store(generation, Ordering::Release);
            KEPT.facts.store(now.told, Ordering::Release);
            let mut entry = Entry::new(What::LastGood, SUCCESS);
            entry.number(generation);
            entry.hex(shown(&now.digest));
            eventlog::write(&entry);
        }
        Err(unfit) => {
            let mut entry = Entry::new(What::NoLastGood, SUCCESS);
            entry.ascii(unfit.name().as_bytes());
            eventlog::write(&entry);
        }
    }
}

/// After a request that may have changed the rules, in its thread.
#[inline(never)]
pub fn after<L: Lock<Windows>>(filter: &L) {
    let now = good::now(filter);
    if KEPT.told.swap(now.generation, Ordering::AcqRel) != now.generation {
        let mut entry = Entry::new(What::Loaded, SUCCESS);
        entry.number(now.generation);
        entry.number(now.by.pid.into());
        entry.text(User::asking().units());
        entry.hex(shown(&now.digest));
        eventlog::write(&entry);
    }
    let held = (KEPT.written.load(Ordering::Acquire), KEPT.facts.load(Ordering::Acquire));
    let due = now.generation != 0 && !now.waits && held != (now.generation, now.told);
    if KEPT.on.load(Ordering::Acquire) && due {
        // What cannot be written is not tried again before the next load, or other interfaces.
        KEPT.written.store(now.generation, Ordering::Release);
        KEPT.facts.store(now.told, Ordering::Release);
        if let Err(status) = keep(filter) {
            let mut entry = Entry::new(What::NotKept, status);
            entry.hex(&status.to_be_bytes());
            eventlog::write(&entry);
        }
    }
}

/// Writes down what is in force.
fn keep<L: Lock<Windows>>(filter: &L) -> Result<(), i32> {
    // SAFETY: written before the device was there.
    let Some(path) = (unsafe { *KEPT.path.get() }) else { return Ok(()) };
    match good::collect(filter) {
        Ok(Some(good)) => file::write(&path, &good.bytes),
        // Another load was faster: its own request writes it down.
        Ok(None) => Ok(()),
        Err(_) => Err(RESOURCES),
    }
}

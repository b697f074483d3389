//! What a process gives a filter: clocks, chance, a lock.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use pfdriver::filter::Filter;
use pfdriver::lock::Lock;
use pfdriver::platform::Platform;
use pfvm::host::Random;
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, clock_gettime};

/// Random words fetched at a time.
const WORDS: usize = 1024;

/// This process.
#[derive(Debug)]
pub(crate) struct Unix {
    words: Vec<u32>,
}

impl Unix {
    /// With chance of the kernel's.
    pub(crate) const fn new() -> Self {
        Self { words: Vec::new() }
    }

    fn fill(&mut self) {
        let mut bytes = [0; WORDS * 4];
        let mut got = 0;
        while got < bytes.len() {
            match getrandom(&mut bytes[got..], GetRandomFlags::empty()) {
                Ok(n) => got += n,
                Err(rustix::io::Errno::INTR) => {}
                // Without chance the filter's keys could be foretold.
                Err(why) => {
                    eprintln!("pfd: the kernel gives no random numbers: {why}");
                    std::process::abort();
                }
            }
        }
        self.words.extend(bytes.as_chunks::<4>().0.iter().map(|b| u32::from_ne_bytes(*b)));
    }
}

impl Random for Unix {
    fn random_u32(&mut self) -> u32 {
        loop {
            if let Some(word) = self.words.pop() {
                return word;
            }
            self.fill();
        }
    }
}

impl Platform for Unix {
    fn now_ms(&self) -> u64 {
        let t = clock_gettime(ClockId::Boottime);
        u64::try_from(t.tv_sec).unwrap_or(0) * 1000 + u64::try_from(t.tv_nsec).unwrap_or(0) / 1_000_000
    }

    fn wall_seconds(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
    }
}

/// A filter that threads share.
#[derive(Debug)]
pub(crate) struct Shared(Mutex<Filter<Unix>>);

impl Shared {
    /// Puts a filter behind a lock.
    pub(crate) fn new(filter: Filter<Unix>) -> Self {
        Self(Mutex::new(filter))
    }
}

impl Lock<Unix> for Shared {
    fn with<T>(&self, f: impl FnOnce(&mut Filter<Unix>) -> T) -> T {
        // A thread that panicked has left the filter between two packets at worst.
        let mut filter = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        f(&mut filter)
    }
}

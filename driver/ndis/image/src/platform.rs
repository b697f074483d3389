//! Time and chance of this host.

use pfdriver::platform::Platform;
use pfndis::random::Stream;
use pfvm::host::Random;

use crate::sys::nt;

/// The system's clocks, and a generator the system seeded.
#[derive(Debug)]
pub struct Windows {
    stream: Stream,
}

impl Windows {
    /// Seeded by the system; `None` when it has no random bytes. At `PASSIVE_LEVEL`.
    #[must_use]
    pub fn new() -> Option<Self> {
        nt::find_clock();
        let mut seed = [0; 32];
        nt::random(&mut seed).then(|| Self { stream: Stream::new(seed) })
    }
}

impl Random for Windows {
    fn random_u32(&mut self) -> u32 {
        self.stream.random_u32()
    }
}

impl Platform for Windows {
    fn now_ms(&self) -> u64 {
        nt::up_time()
    }

    fn wall_seconds(&self) -> u64 {
        nt::wall_seconds()
    }
}

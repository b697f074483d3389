//! The driver is told of its host, and again when something has changed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pfvm::api::{HostReply, Request};
use pfwin::sys::Changes;

use crate::link::{Link, Outcome};
use crate::verbs::facts::tell;

/// Ports in use come and go without word: the machine is read this often at least.
const OFTEN: Duration = Duration::from_secs(10);
/// Changes come in crowds: this long after the first the machine is read.
const SETTLE: Duration = Duration::from_millis(200);

/// What was told last.
#[derive(Debug, Default)]
struct Told {
    rows: Vec<u8>,
    interfaces: u64,
}

impl Told {
    /// Reads the machine and tells the driver unless it knows. The handle is closed again, so that it never keeps the
    /// driver from being stopped.
    fn once(&mut self, device: Option<&str>) -> Outcome<Option<u64>> {
        let rows = super::machine()?.rows();
        let mut link = Link::open(device)?;
        let known: HostReply<'_> = link.ask(&Request::Host)?;
        // A driver that was started anew knows none.
        if rows == self.rows && u64::from(known.interfaces) == self.interfaces {
            return Ok(None);
        }
        self.interfaces = tell(&mut link, &rows)?;
        self.rows = rows;
        Ok(Some(self.interfaces))
    }
}

/// Follows the machine until `stop`; what happens goes to `say`, the same thing once.
pub(super) fn follow(device: Option<&str>, stop: &AtomicBool, say: &mut dyn FnMut(&str)) {
    let (mut told, mut last) = (Told::default(), String::new());
    let mut changes = Changes::listen();
    if let Err(why) = &changes {
        say(&format!("no word of changes ({why}): looking every {} s", OFTEN.as_secs()));
    }
    while !stop.load(Ordering::Acquire) {
        let line = match told.once(device) {
            Ok(Some(interfaces)) => format!("told the driver of {interfaces} interfaces"),
            Ok(None) => String::new(),
            Err(why) => {
                told = Told::default();
                why.to_string()
            }
        };
        if !line.is_empty() && (line != last || line.starts_with("told")) {
            say(&line);
            last = line;
        }
        match &mut changes {
            Ok(changes) => {
                if changes.wait(OFTEN) && !stop.load(Ordering::Acquire) {
                    std::thread::sleep(SETTLE);
                }
            }
            Err(_) => std::thread::sleep(OFTEN),
        }
    }
}

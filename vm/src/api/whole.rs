//! Replies that are one record.

use serde::{Deserialize, Serialize};

use super::request::Rights;
use crate::engine::counters::LIMITS;
use crate::packet::REASONS;
use crate::rule::{Limits, Syncookies, TIMEOUTS};

/// What kind of host answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostKind {
    /// The driver.
    Driver,
    /// pfd.
    Daemon,
    /// A test.
    Test,
}

/// The answer to a `Hello` of the same version; others get a [`Refusal`](super::Refusal).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The filter's [`API_VERSION`](super::API_VERSION).
    pub version: u32,
    /// What the peer may do.
    pub rights: Rights,
    /// Who answers.
    pub host: HostKind,
    /// Generation of the rules in force.
    pub generation: u64,
}

/// A ticket, or a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Its number.
    pub number: u64,
}

/// How much has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// A number; the request says of what.
    pub count: u64,
}

/// What a replacement changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Added.
    pub added: u32,
    /// Deleted.
    pub deleted: u32,
    /// Sign changed.
    pub changed: u32,
}

/// A piece of an image or of one of its sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionBytes<'a> {
    /// Bytes it has in all.
    pub total: u32,
    /// Records of the section; 0 for the image.
    pub records: u32,
    /// Generation the image was loaded with.
    pub generation: u64,
    /// The piece that begins at the offset asked for; empty at the end.
    pub bytes: &'a [u8],
}

/// `-s info`. Times are seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status<'a> {
    /// Whether packets are filtered.
    pub running: bool,
    /// Seconds since that was last changed.
    pub since: u64,
    /// The same moment, seconds of 1970.
    pub since_wall: u64,
    /// Generation of the rules in force.
    pub generation: u64,
    /// Generation that waits for confirmation, and the seconds left.
    pub unconfirmed: Option<(u64, u32)>,
    /// Whether everything is dropped because rules could not be taken over.
    pub shut: bool,
    /// `set debug`.
    pub debug: u8,
    /// `set hostid`, or the one drawn.
    pub hostid: u32,
    /// What the loader of the main ruleset gave.
    pub checksum: [u8; 16],
    /// States there are, and half-open TCP ones among them.
    pub states: [u32; 2],
    /// States: searches, inserts, removals.
    pub state_counters: [u64; 3],
    /// Source nodes there are.
    pub sources: u32,
    /// Source nodes: searches, inserts, removals.
    pub source_counters: [u64; 3],
    /// Fragments there are.
    pub frags: u32,
    /// Fragments: searches, inserts, removals.
    pub frag_counters: [u64; 3],
    /// Drops by pf's reasons.
    pub reasons: [u64; REASONS],
    /// Limits reached.
    pub limits: [u64; LIMITS],
    /// `set syncookies`.
    pub syncookies: Syncookies,
    /// Whether cookies are being sent.
    pub cookies_active: bool,
    /// Cookies in flight, of the older and the newer key.
    pub cookies_in_flight: [u32; 2],
    /// States at which adaptive cookies begin and end.
    pub cookie_marks: [u32; 2],
    /// `set loginterface`; empty for none.
    pub loginterface: &'a str,
    /// Its packets: `[family][direction][passed or dropped]`.
    pub if_packets: [[[u64; 2]; 2]; 2],
    /// Its bytes.
    pub if_bytes: [[[u64; 2]; 2]; 2],
}

/// What a host says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReply<'a> {
    /// Version of the software.
    pub version: &'a str,
    /// Milliseconds of its clock: the one log records and traces carry.
    pub now_ms: u64,
    /// What it is bound to, in words; empty when to nothing.
    pub binding: &'a str,
    /// What becomes of packets while no rules are loaded; empty when that is pf's pass.
    pub policy: &'a str,
    /// What went wrong last; empty when nothing did.
    pub trouble: &'a str,
    /// Interfaces it knows.
    pub interfaces: u32,
    /// Log records: there ever were, replaced before anybody read them, too many for their packet.
    pub log: [u64; 3],
    /// Whether a trace is armed.
    pub tracing: bool,
}

/// Options in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionsReply<'a> {
    /// `set timeout`, in the order of [`Timeout`](crate::rule::Timeout).
    pub timeouts: [u32; TIMEOUTS],
    /// `set limit`.
    pub limits: Limits,
    /// What is in use of each: states, source nodes, fragments, tables, entries, delayed packets, anchors.
    pub used: [u32; 7],
    /// What there is room for, likewise; a limit beyond it needs a restart.
    pub room: [u32; 7],
    /// `set reassemble`: on, `no-df`.
    pub reassemble: (bool, bool),
    /// `set syncookies`.
    pub syncookies: Syncookies,
    /// `set debug`.
    pub debug: u8,
    /// `set hostid`, or the one drawn.
    pub hostid: u32,
    /// `set loginterface`; empty for none.
    pub loginterface: &'a str,
}

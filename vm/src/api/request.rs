//! What can be asked of a filter.

use serde::{Deserialize, Serialize};

use crate::rule::{Addr, Af, Syncookies};

/// What a peer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rights {
    /// Nothing at all.
    None,
    /// Look.
    Read,
    /// Look and change.
    Write,
}

/// What becomes of states when rules are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum After {
    /// They stay, with the options of the rules that made them.
    #[default]
    Keep,
    /// Those whose rule is gone or reads differently now are killed.
    KillChanged,
    /// Those whose first packet the new rules would block are killed.
    Reevaluate,
}

/// A network: the first `prefix` bits of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Net {
    /// Family.
    pub af: Af,
    /// Address.
    pub addr: Addr,
    /// Bits that count.
    pub prefix: u8,
    /// Everything but these.
    pub not: bool,
}

impl Net {
    /// Whether an address lies in it.
    #[must_use]
    pub fn holds(&self, af: Af, addr: &Addr) -> bool {
        let bits = |a: &Addr| u128::from_be_bytes(a.0);
        let mask = u128::MAX.checked_shl(128_u32.saturating_sub(self.prefix.into())).unwrap_or(0);
        af == self.af && (((bits(addr) ^ bits(&self.addr)) & mask == 0) != self.not)
    }
}

/// Both ends of a conversation as one side of the filter sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Family.
    pub af: Af,
    /// Protocol.
    pub proto: u8,
    /// Addresses; see `state::key` for their order.
    pub addr: [Addr; 2],
    /// Ports, host order; of ICMP queries identifier and type.
    pub port: [u16; 2],
}

/// Which states are meant: those for which all that is given holds (`struct pfioc_state_kill`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFilter<'a> {
    /// Where the first packet came from.
    pub src: Option<Net>,
    /// Where it went.
    pub dst: Option<Net>,
    /// The label of the rule; empty for any.
    pub label: &'a str,
    /// The interface it is bound to (floating states are on `all`); empty for any.
    pub iface: &'a str,
    /// A key of the state, from its first packet's source to its destination.
    pub key: Option<Key>,
    /// Number of the state.
    pub id: Option<u64>,
    /// Host that made it; with `id`.
    pub creator: Option<u32>,
    /// Routing domain; there is none but 0.
    pub rdomain: u16,
    /// Number of the rule in its ruleset.
    pub rule: Option<u32>,
}

/// Which source nodes are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFilter {
    /// The source.
    pub src: Option<Net>,
    /// The address a pool gave.
    pub dst: Option<Net>,
}

/// What is done to addresses of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableOp {
    /// `-T add`.
    Add,
    /// `-T delete`.
    Delete,
    /// `-T replace`: the table holds these and no others.
    Replace,
    /// `-T test`.
    Test,
    /// `-T zero` with addresses.
    Zero,
}

/// What is done to a table as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TableTouch {
    /// Made, `persist`, when it is not there. Changes: 1 when it was made.
    Create,
    /// `-T kill`.
    Kill,
    /// `-T flush`. Changes: the addresses deleted.
    Flush,
    /// `-T zero` without addresses: the counters of the table and, with `true`, of its addresses.
    Zero(bool),
    /// `-T expire`: addresses that have not been cleared for so many seconds go.
    Expire(u64),
    /// Gets these flags and loses those (`image::TableFlags`).
    Flags {
        /// Set.
        set: u8,
        /// Cleared.
        clear: u8,
    },
}

/// An option that can be set by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetOption<'a> {
    /// `set timeout`: which, seconds.
    Timeout(u8, u32),
    /// `set limit`: which, in the order of `rule::Limits`; how many.
    Limit(u8, u32),
    /// `set debug`, `-x`: syslog level 0–7.
    Debug(u8),
    /// `set hostid`.
    HostId(u32),
    /// `set loginterface`; empty for none.
    LogInterface(&'a str),
    /// `set syncookies`.
    Syncookies(Syncookies),
    /// `set reassemble`: on, `no-df`.
    Reassemble(bool, bool),
    /// `set skip on`: an interface or group, empty for all; on or off.
    Skip(&'a str, bool),
}

/// A request. What it answers stands behind the arrow; lists are pages of rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// The first word → [`Welcome`](super::Welcome).
    Hello {
        /// The peer's [`API_VERSION`](super::API_VERSION).
        version: u32,
    },
    /// → [`Status`](super::Status).
    Status,
    /// `-e` → [`Changed`](super::Changed). [`Code::Exists`](super::Code::Exists) when it is on.
    Enable,
    /// `-d` → [`Changed`](super::Changed). [`Code::NotFound`](super::Code::NotFound) when it is off.
    Disable,
    /// Opens a place for bytes to be loaded into the ruleset of a path → [`Ticket`](super::Ticket).
    Begin {
        /// Anchor path without a leading slash; empty for the main ruleset.
        path: &'a str,
    },
    /// Appends bytes → [`Changed`](super::Changed), the bytes there are now.
    Upload {
        /// Ticket of [`Request::Begin`].
        ticket: u64,
        /// Where they belong: how many came before.
        offset: u32,
        /// Them, at most [`MAX_CHUNK`](super::MAX_CHUNK).
        bytes: &'a [u8],
    },
    /// Puts uploaded images in force, all at once or none → [`Ticket`](super::Ticket), the new generation. Of two that hold
    /// a ruleset of the same path the later one counts.
    Commit {
        /// Tickets, 8 bytes each, little-endian; at most [`MAX_TICKETS`](super::MAX_TICKETS).
        tickets: &'a [u8],
        /// States.
        after: After,
        /// Seconds until it is rolled back unless confirmed; 0 for never.
        confirm: u32,
        /// What `Checksum:` shows when a main ruleset is among them, given by the loader.
        checksum: [u8; 16],
    },
    /// Gives a ticket back → [`Changed`](super::Changed).
    Rollback {
        /// Ticket.
        ticket: u64,
    },
    /// What waits for confirmation stays → [`Changed`](super::Changed).
    Confirm {
        /// Generation of the commit.
        generation: u64,
    },
    /// What waits for confirmation goes at once → [`Ticket`](super::Ticket), the new generation.
    Revert {
        /// Generation of the commit.
        generation: u64,
    },
    /// Rulesets at a path and below it → [`RulesetRow`](super::RulesetRow)s.
    Rulesets {
        /// Where to begin; empty for all.
        under: &'a str,
        /// 0 at first.
        cursor: u64,
    },
    /// The image that holds a ruleset, as it was loaded → [`SectionBytes`](super::SectionBytes).
    Section {
        /// Path of the ruleset.
        path: &'a str,
        /// Number of an [`image::Section`](crate::image::Section); none for the image from its first byte.
        section: Option<u8>,
        /// Where to begin.
        offset: u32,
    },
    /// Live figures of the rules of a ruleset → [`RuleRow`](super::RuleRow)s.
    Rules {
        /// Path of the ruleset.
        path: &'a str,
        /// 0 at first.
        cursor: u64,
    },
    /// `-z`: zeroes the counters of a ruleset's rules → [`Changed`](super::Changed).
    ZeroRules {
        /// Path of the ruleset.
        path: &'a str,
    },
    /// `-F rules`: the ruleset has no rules any more → [`Changed`](super::Changed), the rules that went.
    FlushRules {
        /// Path of the ruleset.
        path: &'a str,
    },
    /// Tables of an anchor → [`TableRow`](super::TableRow)s.
    Tables {
        /// Path of the anchor.
        path: &'a str,
        /// Those of all anchors below it too.
        below: bool,
        /// 0 at first.
        cursor: u64,
    },
    /// Does something to a table → [`Changed`](super::Changed).
    Table {
        /// Path of its anchor.
        path: &'a str,
        /// Its name.
        name: &'a str,
        /// What.
        touch: TableTouch,
        /// Only say what would happen.
        dry: bool,
    },
    /// `-F Tables`: kills the tables of an anchor → [`Changed`](super::Changed), how many.
    FlushTables {
        /// Path of the anchor.
        path: &'a str,
        /// Only say what would happen.
        dry: bool,
    },
    /// Does something to addresses of a table → [`FeedbackRow`](super::FeedbackRow)s, one for each in order; of a
    /// replacement, those it deleted behind them.
    Addresses {
        /// Path of its anchor.
        path: &'a str,
        /// Its name.
        name: &'a str,
        /// What.
        op: TableOp,
        /// Only say what would happen.
        dry: bool,
        /// Records of [`image::Entry`](crate::image::Entry), 20 bytes each, at most
        /// [`MAX_ADDRESSES`](super::MAX_ADDRESSES).
        entries: &'a [u8],
    },
    /// Replaces the contents of a table by uploaded records → [`Counted`](super::Counted).
    ReplaceAddresses {
        /// Path of its anchor.
        path: &'a str,
        /// Its name.
        name: &'a str,
        /// Only say what would happen.
        dry: bool,
        /// Ticket whose bytes are records of [`image::Entry`](crate::image::Entry); it is used up, whatever comes.
        ticket: u64,
    },
    /// `-T show` → [`AddressRow`](super::AddressRow)s.
    Entries {
        /// Path of its anchor.
        path: &'a str,
        /// Its name.
        name: &'a str,
        /// 0 at first.
        cursor: u64,
    },
    /// `-s states` → [`StateRow`](super::StateRow)s.
    States {
        /// Which.
        #[serde(borrow)]
        filter: StateFilter<'a>,
        /// 0 at first.
        cursor: u64,
    },
    /// `-k`, `-F states` → [`Changed`](super::Changed), how many went.
    KillStates {
        /// Which; the default is all.
        #[serde(borrow)]
        filter: StateFilter<'a>,
    },
    /// `-L`: takes states in → [`Changed`](super::Changed), how many. All are verified first.
    ImportStates {
        /// [`StateRow`](super::StateRow)s, one after the other.
        rows: &'a [u8],
    },
    /// `-s Sources` → [`SourceRow`](super::SourceRow)s.
    Sources {
        /// 0 at first.
        cursor: u64,
    },
    /// `-K`, `-F Sources` → [`Changed`](super::Changed), how many went.
    KillSources {
        /// Which; the default is all.
        filter: SourceFilter,
    },
    /// `-s Interfaces` → [`IfaceRow`](super::IfaceRow)s, groups and `all` among them, by name.
    Ifaces {
        /// Only this interface or group; empty for all.
        name: &'a str,
        /// 0 at first.
        cursor: u64,
    },
    /// `-s timeouts`, `-s memory` and the rest → [`OptionsReply`](super::OptionsReply).
    Options,
    /// Sets an option → [`Changed`](super::Changed).
    Set {
        /// Which and to what.
        #[serde(borrow)]
        option: SetOption<'a>,
    },
    /// `-F Reset`: options and `skip` as if nothing had been set → [`Changed`](super::Changed).
    ResetOptions,
    /// `-F info`: zeroes the counters → [`Changed`](super::Changed).
    ClearStatus {
        /// Of this interface or group alone; empty for those of the filter.
        iface: &'a str,
    },
    /// `-s osfp` → [`PrintRow`](super::PrintRow)s.
    Prints {
        /// 0 at first.
        cursor: u64,
    },
    /// `-F osfp`: no fingerprints any more → [`Changed`](super::Changed), how many went.
    FlushPrints,
    /// The log ring → [`LogRow`](crate::watch::LogRow)s. The cursor is the number of the first record wanted, 0 for the
    /// oldest, `u64::MAX` for those to come; the next one is always given. The length of the whole list is how many
    /// records were replaced before anybody read them.
    Log {
        /// See above.
        cursor: u64,
    },
    /// Traced packets → [`TraceRow`](crate::watch::TraceRow)s, each followed by as many
    /// [`MetRow`](crate::watch::MetRow)s as it says; by cursor like [`Request::Log`]. The length of the whole list is how
    /// many packets were left out for the rate or replaced unread. A trace nobody reads for ten seconds ends.
    Trace {
        /// See there.
        cursor: u64,
    },
    /// Says which packets are traced → [`Changed`](super::Changed), the traces there are now. One that was armed ends.
    SetTrace {
        /// Packets a second, `u32` little-endian, then an [`Expr`](crate::watch::Expr) as bytes; nothing to end it.
        filter: &'a [u8],
    },
    /// The host's facts as the filter knows them → [`FactRow`](super::FactRow)s.
    Facts {
        /// 0 at first.
        cursor: u64,
    },
    /// Tells the filter of the host's facts → [`Changed`](super::Changed), the interfaces there are now.
    SetFacts {
        /// Ticket whose bytes are [`FactRow`](super::FactRow)s; it is used up.
        ticket: u64,
    },
    /// What the host says of itself → [`HostReply`](super::HostReply).
    Host,
    /// The facts file the host was started with, as text → [`SectionBytes`](super::SectionBytes); empty when its facts are
    /// those of the system.
    HostFile {
        /// Where to begin.
        offset: u32,
    },
    /// Does something to uploaded addresses of a table, to all of them or to none → [`Changed`](super::Changed), the bytes
    /// of what [`Request::Feedback`] then gives: a letter (see [`feedback`](super::feedback)) for each address in order
    /// and, of a replacement, the records of the entries it deleted. Refused, the ticket is as it was.
    ChangeAddresses {
        /// Path of its anchor.
        path: &'a str,
        /// Its name.
        name: &'a str,
        /// What; tests are not done so.
        op: TableOp,
        /// Only say what would happen.
        dry: bool,
        /// Ticket whose bytes are records of [`image::Entry`](crate::image::Entry). It can be used no more, and is held
        /// until it is given back.
        ticket: u64,
    },
    /// What a ticket's operation answered → [`SectionBytes`](super::SectionBytes).
    Feedback {
        /// Ticket of [`Request::ChangeAddresses`].
        ticket: u64,
        /// Where to begin.
        offset: u32,
    },
    /// `-L` of any number of states → [`Changed`](super::Changed), how many were taken in. All are verified first.
    ImportUploaded {
        /// Ticket whose bytes are [`StateRow`](super::StateRow)s, one after the other; it is used up.
        ticket: u64,
    },
}

impl Request<'_> {
    /// What a peer needs to ask this.
    #[must_use]
    pub const fn needs(&self) -> Rights {
        match self {
            Self::Hello { .. } => Rights::None,
            Self::Status
            | Self::Rulesets { .. }
            | Self::Section { .. }
            | Self::Rules { .. }
            | Self::Tables { .. }
            | Self::Addresses { op: TableOp::Test, .. }
            | Self::Entries { .. }
            | Self::States { .. }
            | Self::Sources { .. }
            | Self::Ifaces { .. }
            | Self::Options
            | Self::Prints { .. }
            | Self::Log { .. }
            | Self::Trace { .. }
            | Self::Facts { .. }
            | Self::Host
            | Self::HostFile { .. } => Rights::Read,
            _ => Rights::Write,
        }
    }
}

//! Filter expressions, compiled: tests and connectives in postfix order.
//!
//! Logs, traces and lists are filtered by the same expressions. The driver decides them for traces, before the packet
//! is looked at and again after; so a test can be *unknown*, and an expression is decided in three values.
//! **Invariant:** [`Expr::decode`] accepts only expressions that leave exactly one value on a stack of [`MAX_OPS`];
//! [`Expr::holds`] is total.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::rule::{Addr, Af, Direction};
use crate::state::pool::{OutOfMemory, copied, room};

/// Most tests and connectives of an expression.
pub const MAX_OPS: usize = 64;
/// Most bytes of names in an expression.
pub const MAX_TEXT: usize = 2048;

/// Which end of a packet a test is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// Either.
    Any,
    /// Source.
    Src,
    /// Destination.
    Dst,
}

/// A name in an expression's text: offset and length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// Offset.
    pub at: u16,
    /// Length.
    pub len: u16,
}

/// What became of a packet, or what its rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// It went on.
    Pass,
    /// It ended.
    Block,
    /// A `match` rule saw it.
    Match,
}

/// A number of a list's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Number {
    /// Bytes, in all.
    Bytes,
    /// Packets, in all.
    Packets,
    /// Bytes a second.
    Rate,
    /// Seconds since it began.
    Age,
    /// Seconds until it ends.
    Expires,
    /// States it has.
    States,
    /// Length of the packet.
    Length,
}

/// How numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Less.
    Less,
    /// Less or equal.
    AtMost,
    /// Equal.
    Equal,
    /// More or equal.
    AtLeast,
    /// More.
    More,
}

impl Order {
    const fn holds(self, a: u64, b: u64) -> bool {
        match self {
            Self::Less => a < b,
            Self::AtMost => a <= b,
            Self::Equal => a == b,
            Self::AtLeast => a >= b,
            Self::More => a > b,
        }
    }
}

/// One test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Test {
    /// An address within a network.
    Net {
        /// Of which end.
        side: Side,
        /// Family.
        af: Af,
        /// Address.
        addr: Addr,
        /// Prefix length.
        prefix: u8,
    },
    /// A port within a range.
    Port {
        /// Of which end.
        side: Side,
        /// Low end.
        lo: u16,
        /// High end.
        hi: u16,
    },
    /// Protocol.
    Proto(u8),
    /// Family.
    Af(Af),
    /// Direction.
    Dir(Direction),
    /// Interface, by its name or that of a group.
    On(Text),
    /// Rule: its number, or that of the anchor rule it was called by and its own.
    Rule {
        /// Number.
        nr: u32,
        /// Number within the anchor.
        sub: Option<u32>,
    },
    /// Anchor path.
    Anchor(Text),
    /// Label.
    Label(Text),
    /// What became of it.
    Action(Action),
    /// Reason, by number.
    Reason(u8),
    /// pflog interface.
    LogIf(u8),
    /// Progress of a state, by a name of either side.
    State(Text),
    /// User.
    User(u32),
    /// A number compared.
    Number {
        /// Which.
        what: Number,
        /// How.
        order: Order,
        /// With what.
        value: u64,
    },
}

/// A part of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// A test.
    Test(Test),
    /// The value before it, turned round.
    Not,
    /// Both values before it.
    And,
    /// Either value before it.
    Or,
}

/// One end: address and port; 0 where there is no port.
pub type End = (Addr, u16);

/// What an expression is asked about. What is `None` is not known (yet).
#[derive(Clone, Copy, Default)]
pub struct Facts<'f> {
    /// Whether what is not known is not so.
    pub complete: bool,
    /// Family.
    pub af: Option<Af>,
    /// Source and destination.
    pub ends: Option<(End, End)>,
    /// The same on the other side of a translation.
    pub other: Option<(Af, End, End)>,
    /// Protocol.
    pub proto: Option<u8>,
    /// Direction.
    pub dir: Option<Direction>,
    /// Whether the interface has a name, or is in a group of it.
    pub on: Option<&'f dyn Fn(&str) -> bool>,
    /// Rule number, and number within the anchor.
    pub rule: Option<(u32, Option<u32>)>,
    /// Anchor path.
    pub anchor: Option<&'f str>,
    /// Label.
    pub label: Option<&'f str>,
    /// What became of it.
    pub action: Option<Action>,
    /// Reason.
    pub reason: Option<u8>,
    /// pflog interface.
    pub log_if: Option<u8>,
    /// Names of the progress of both sides.
    pub state: Option<[&'f str; 2]>,
    /// User.
    pub user: Option<u32>,
    /// A number of its row.
    pub number: Option<&'f dyn Fn(Number) -> Option<u64>>,
}

impl core::fmt::Debug for Facts<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Facts").field("af", &self.af).field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// Why bytes are no expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// They do not decode, or something follows.
    #[error("the filter expression does not decode")]
    Bytes,
    /// It is empty, or its connectives do not fit its tests.
    #[error("the filter expression is not well formed")]
    Shape,
    /// It is too long.
    #[error("the filter expression is too long")]
    Long,
    /// No memory for it.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
}

/// An expression.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expr {
    ops: Vec<Op>,
    text: Vec<u8>,
}

impl Expr {
    /// An expression of these parts; one without any holds always.
    ///
    /// # Errors
    /// The parts do not form one value, or there are too many.
    pub fn new(ops: &[Op], text: &str) -> Result<Self, ExprError> {
        if ops.len() > MAX_OPS || text.len() > MAX_TEXT {
            return Err(ExprError::Long);
        }
        let mut depth = 0_usize;
        for op in ops {
            let takes = match op {
                Op::Test(_) => 0,
                Op::Not => 1,
                Op::And | Op::Or => 2,
            };
            depth = depth.checked_sub(takes).ok_or(ExprError::Shape)?.saturating_add(1);
            if let Op::Test(Test::On(t) | Test::Anchor(t) | Test::Label(t) | Test::State(t)) = op {
                piece(text.as_bytes(), *t).ok_or(ExprError::Shape)?;
            }
        }
        if depth != 1 && !ops.is_empty() {
            return Err(ExprError::Shape);
        }
        Ok(Self { ops: copied("filter", ops)?, text: copied("filter", text.as_bytes())? })
    }

    /// Its parts.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// A name in it.
    #[must_use]
    pub fn name(&self, text: Text) -> &str {
        piece(&self.text, text).unwrap_or_default()
    }

    /// Writes it as bytes; their number, or `None` when `out` is too short.
    #[must_use]
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        let whole = out.len();
        let count = u8::try_from(self.ops.len()).ok()?;
        let (first, mut rest) = out.split_first_mut()?;
        *first = count;
        for op in &self.ops {
            let used = postcard::to_slice(op, rest).ok()?.len();
            rest = rest.get_mut(used..)?;
        }
        let text = core::str::from_utf8(&self.text).ok()?;
        let used = postcard::to_slice(text, rest).ok()?.len();
        whole.checked_sub(rest.len().checked_sub(used)?)
    }

    /// Reads one from bytes, all of them.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Self, ExprError> {
        let (count, mut rest) = bytes.split_first().ok_or(ExprError::Bytes)?;
        if usize::from(*count) > MAX_OPS {
            return Err(ExprError::Long);
        }
        let mut ops = room("filter", u32::from(*count))?;
        for _ in 0..*count {
            let (op, after) = postcard::take_from_bytes::<Op>(rest).map_err(|_| ExprError::Bytes)?;
            if ops.len() < ops.capacity() {
                ops.push(op);
            }
            rest = after;
        }
        let (text, rest) = postcard::take_from_bytes::<&str>(rest).map_err(|_| ExprError::Bytes)?;
        if !rest.is_empty() {
            return Err(ExprError::Bytes);
        }
        Self::new(&ops, text)
    }

    /// Whether it holds; `None` when that cannot be told from what is known.
    #[must_use]
    pub fn holds(&self, facts: &Facts<'_>) -> Option<bool> {
        let mut stack = [Some(true); MAX_OPS];
        let mut depth = 0_usize;
        for op in &self.ops {
            let value = match op {
                Op::Test(test) => self.test(test, facts).or(facts.complete.then_some(false)),
                Op::Not => pop(&stack, &mut depth).map(|v| !v),
                Op::And => {
                    let pair = (pop(&stack, &mut depth), pop(&stack, &mut depth));
                    match pair {
                        (Some(false), _) | (_, Some(false)) => Some(false),
                        (Some(true), Some(true)) => Some(true),
                        _ => None,
                    }
                }
                Op::Or => {
                    let pair = (pop(&stack, &mut depth), pop(&stack, &mut depth));
                    match pair {
                        (Some(true), _) | (_, Some(true)) => Some(true),
                        (Some(false), Some(false)) => Some(false),
                        _ => None,
                    }
                }
            };
            if let Some(slot) = stack.get_mut(depth) {
                *slot = value;
                depth = depth.saturating_add(1);
            }
        }
        if self.ops.is_empty() { Some(true) } else { stack.first().copied().flatten() }
    }

    fn test(&self, test: &Test, facts: &Facts<'_>) -> Option<bool> {
        match *test {
            Test::Net { side, af, addr, prefix } => {
                let near = facts.af.zip(facts.ends).map(|(family, (s, d))| (family, s, d));
                let within = |(family, s, d): (Af, End, End)| {
                    family == af && of_side(side, s.0, d.0, |a| inside(&a, &addr, prefix))
                };
                // The translated side counts too, where there is one.
                near.map(|n| within(n) || facts.other.is_some_and(within))
            }
            Test::Port { side, lo, hi } => {
                let ported = facts.proto.is_some_and(|p| p == 6 || p == 17);
                let within = |(s, d): (End, End)| of_side(side, s.1, d.1, |p| lo <= p && p <= hi);
                facts.ends.map(|e| ported && (within(e) || facts.other.is_some_and(|(_, s, d)| within((s, d)))))
            }
            Test::Proto(p) => facts.proto.map(|q| p == q),
            Test::Af(af) => facts.af.map(|a| a == af || facts.other.is_some_and(|o| o.0 == af)),
            Test::Dir(dir) => facts.dir.map(|d| d == dir),
            Test::On(name) => facts.on.map(|on| on(self.name(name))),
            Test::Rule { nr, sub } => facts.rule.map(|r| r.0 == nr && sub.is_none_or(|sub| r.1 == Some(sub))),
            Test::Anchor(path) => facts.anchor.map(|a| a == self.name(path)),
            Test::Label(label) => facts.label.map(|l| l == self.name(label)),
            Test::Action(action) => facts.action.map(|a| a == action),
            Test::Reason(reason) => facts.reason.map(|r| r == reason),
            Test::LogIf(unit) => facts.log_if.map(|u| u == unit),
            Test::State(name) => facts.state.map(|s| s.iter().any(|s| s.eq_ignore_ascii_case(self.name(name)))),
            Test::User(uid) => facts.user.map(|u| u == uid),
            Test::Number { what, order, value } => facts.number.and_then(|n| n(what)).map(|n| order.holds(n, value)),
        }
    }
}

/// A piece of a text, if it lies within.
fn piece(text: &[u8], t: Text) -> Option<&str> {
    let bytes = text.get(usize::from(t.at)..)?.get(..usize::from(t.len))?;
    core::str::from_utf8(bytes).ok()
}

fn pop(stack: &[Option<bool>; MAX_OPS], depth: &mut usize) -> Option<bool> {
    *depth = depth.saturating_sub(1);
    stack.get(*depth).copied().flatten()
}

fn of_side<T: Copy>(side: Side, src: T, dst: T, f: impl Fn(T) -> bool) -> bool {
    match side {
        Side::Any => f(src) || f(dst),
        Side::Src => f(src),
        Side::Dst => f(dst),
    }
}

/// Whether an address lies within a network; prefix lengths past the family's width mean all bits.
fn inside(addr: &Addr, net: &Addr, prefix: u8) -> bool {
    let bits = |a: &Addr| u128::from_be_bytes(a.0);
    let host = 128_u32.saturating_sub(u32::from(prefix));
    let mask = u128::MAX.checked_shl(host).unwrap_or(0);
    bits(addr) & mask == bits(net) & mask
}

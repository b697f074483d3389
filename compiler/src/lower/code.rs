//! Words with labels instead of distances, until the distances are known.
//!
//! **Invariant:** a label is placed behind every word that refers to it; [`Code::finish`] refuses anything else.

use super::LowerError;
use pfvm::isa::{DispatchId, Field, Jump, Op, Skip};

/// A place in the code that is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Label(usize);

/// A dispatch table: where each interval of a field leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// Field looked at.
    pub field: Field,
    /// First value of each interval, ascending, the first is 0.
    pub starts: Vec<u128>,
    /// Where each leads: distance from the word after the dispatch.
    pub targets: Vec<u32>,
}

/// One word.
#[derive(Clone, Debug)]
enum Slot {
    Op(Op),
    Test(Op, Label),
    TestFar(Op, Vec<Label>),
    Jump(Label),
    Dispatch(Field, Vec<u128>, Vec<Label>),
}

/// Code being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Code {
    slots: Vec<Slot>,
    labels: Vec<Option<usize>>,
}

/// Code whose distances are known.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// The words.
    pub words: Vec<u64>,
    /// Dispatch tables in the order of the words that use them.
    pub dispatches: Vec<Dispatch>,
}

impl Code {
    /// A label, not placed yet.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len().saturating_sub(1))
    }

    /// Places a label here.
    pub(super) fn place(&mut self, label: Label) {
        let here = self.slots.len();
        if let Some(at) = self.labels.get_mut(label.0) {
            *at = Some(here);
        }
    }

    /// A word that goes nowhere else.
    pub(super) fn op(&mut self, op: Op) {
        self.slots.push(Slot::Op(op));
    }

    /// A test; when it fails, control goes to a label.
    pub(super) fn test(&mut self, op: Op, fail: Label) {
        self.slots.push(Slot::Test(op, fail));
    }

    /// A test that may skip to any of several labels, the farthest within reach; each is right.
    pub(super) fn test_far(&mut self, op: Op, fail: Vec<Label>) {
        self.slots.push(Slot::TestFar(op, fail));
    }

    /// A jump.
    pub(super) fn jump(&mut self, to: Label) {
        self.slots.push(Slot::Jump(to));
    }

    /// A dispatch.
    pub(super) fn dispatch(&mut self, field: Field, starts: Vec<u128>, targets: Vec<Label>) {
        self.slots.push(Slot::Dispatch(field, starts, targets));
    }

    /// Fills in the distances. `first_dispatch` is the number of the first dispatch table written here.
    ///
    /// # Errors
    /// A distance that does not fit.
    pub(super) fn finish(self, first_dispatch: usize) -> Result<Words, LowerError> {
        let Self { slots, labels } = self;
        let distance = |pc: usize, label: Label| {
            let to = labels.get(label.0).copied().flatten().ok_or(LowerError::Distance)?;
            to.checked_sub(pc.saturating_add(1)).ok_or(LowerError::Distance)
        };
        let mut out = Words { words: Vec::with_capacity(slots.len()), dispatches: Vec::new() };
        for (pc, slot) in slots.into_iter().enumerate() {
            let word = match slot {
                Slot::Op(op) => op.encode(),
                Slot::Test(op, fail) => {
                    skipping(op, u16::try_from(distance(pc, fail)?).map_err(|_| LowerError::Distance)?)
                }
                Slot::TestFar(op, fail) => {
                    let mut best = None;
                    for label in fail {
                        let d = distance(pc, label)?;
                        best = u16::try_from(d).ok().max(best);
                    }
                    skipping(op, best.ok_or(LowerError::Distance)?)
                }
                Slot::Jump(to) => {
                    let d = u32::try_from(distance(pc, to)?).map_err(|_| LowerError::Distance)?;
                    Op::Jmp { to: Jump(d) }.encode()
                }
                Slot::Dispatch(field, starts, kids) => {
                    let number = first_dispatch.saturating_add(out.dispatches.len());
                    let mut targets = Vec::with_capacity(kids.len());
                    for kid in kids {
                        targets.push(u32::try_from(distance(pc, kid)?).map_err(|_| LowerError::Distance)?);
                    }
                    out.dispatches.push(Dispatch { field, starts, targets });
                    let dispatch = DispatchId(super::names::narrow("dispatch tables", number)?);
                    Op::Dispatch { field, dispatch }.encode()
                }
            };
            out.words.push(word);
        }
        Ok(out)
    }
}

/// A test with its skip, which is at the same place in every one.
fn skipping(op: Op, words: u16) -> u64 {
    op.encode() | (u64::from(Skip(words).0) << 16)
}

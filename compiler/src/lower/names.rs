//! Names and constants of a program: every one gets a number once.
//!
//! **Invariant:** numbers are given in the order of first use, so the same configuration gives the same image.

use super::LowerError;
use crate::ruleset::DynMods;
use pfvm::isa::{LabelId, PairId, SetId};
use pfvm::rule::{Af, AnchorId, IfaceId, QueueId, TableId, TagId};
use std::collections::HashMap;
use std::hash::Hash;

/// Values in the order of their numbers.
#[derive(Clone, Debug)]
pub struct Interner<T> {
    values: Vec<T>,
    numbers: HashMap<T, usize>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { values: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Interner<T> {
    /// The number of a value; a new one gets the next.
    pub fn number(&mut self, value: T) -> usize {
        if let Some(&n) = self.numbers.get(&value) {
            return n;
        }
        let n = self.values.len();
        self.values.push(value.clone());
        self.numbers.insert(value, n);
        n
    }

    /// The number of a value that has one.
    #[must_use]
    pub fn find(&self, value: &T) -> Option<usize> {
        self.numbers.get(value).copied()
    }

    /// All values in order.
    #[must_use]
    pub fn values(&self) -> &[T] {
        &self.values
    }
}

/// What a table of the program is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TableName {
    /// A table by name, and the ruleset the name is written in; where that defines none, the main one's is meant.
    Named {
        /// Anchor path.
        ruleset: String,
        /// Name.
        name: String,
    },
    /// The addresses of an interface or group.
    Dynamic {
        /// Interface or group.
        name: String,
        /// Modifiers.
        mods: DynMods,
        /// Prefix written after it.
        prefix: Option<u8>,
    },
}

/// Two addresses of one family as numbers: a network and its mask, or the ends of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// Family.
    pub af: Af,
    /// Network or low end.
    pub a: u128,
    /// Mask or high end.
    pub b: u128,
}

/// An anchor call's target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnchorName {
    /// Path.
    pub path: String,
    /// Every child of it.
    pub wildcard: bool,
}

/// All names and constants of a program.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Interfaces and groups.
    pub ifaces: Interner<String>,
    /// Tables.
    pub tables: Interner<TableName>,
    /// Tags.
    pub tags: Interner<String>,
    /// Anchor-call targets.
    pub anchors: Interner<AnchorName>,
    /// Route labels.
    pub labels: Interner<String>,
    /// Queues.
    pub queues: Interner<String>,
    /// Address pairs.
    pub pairs: Interner<Pair>,
    /// Sets of intervals.
    pub sets: Interner<Vec<(u32, u32)>>,
}

impl Names {
    /// The table a name written in a ruleset means.
    ///
    /// # Errors
    /// Too many tables.
    pub fn table(&mut self, ruleset: &str, name: &str) -> Result<TableId, LowerError> {
        let (ruleset, name) = (ruleset.to_owned(), name.to_owned());
        narrow("tables", self.tables.number(TableName::Named { ruleset, name })).map(TableId)
    }

    /// The table of a dynamic interface.
    ///
    /// # Errors
    /// Too many tables.
    pub fn dynamic(&mut self, name: &str, mods: DynMods, prefix: Option<u8>) -> Result<TableId, LowerError> {
        narrow("tables", self.tables.number(TableName::Dynamic { name: name.to_owned(), mods, prefix })).map(TableId)
    }

    /// An interface or group.
    ///
    /// # Errors
    /// Too many of them.
    pub fn iface(&mut self, name: &str) -> Result<IfaceId, LowerError> {
        narrow("interfaces", self.ifaces.number(name.to_owned())).map(IfaceId)
    }

    /// A tag.
    ///
    /// # Errors
    /// Too many tags.
    pub fn tag(&mut self, name: &str) -> Result<TagId, LowerError> {
        narrow("tags", self.tags.number(name.to_owned())).map(TagId)
    }

    /// An anchor-call target.
    ///
    /// # Errors
    /// Too many of them.
    pub fn anchor(&mut self, path: &str, wildcard: bool) -> Result<AnchorId, LowerError> {
        narrow("anchors", self.anchors.number(AnchorName { path: path.to_owned(), wildcard })).map(AnchorId)
    }

    /// A queue.
    ///
    /// # Errors
    /// Too many queues.
    pub fn queue(&mut self, name: &str) -> Result<QueueId, LowerError> {
        narrow("queues", self.queues.number(name.to_owned())).map(QueueId)
    }

    /// A route label.
    ///
    /// # Errors
    /// Too many labels.
    pub fn label(&mut self, name: &str) -> Result<LabelId, LowerError> {
        narrow("route labels", self.labels.number(name.to_owned())).map(LabelId)
    }

    /// A pair of addresses.
    ///
    /// # Errors
    /// Too many pairs.
    pub fn pair(&mut self, pair: Pair) -> Result<PairId, LowerError> {
        narrow("addresses", self.pairs.number(pair)).map(PairId)
    }

    /// A set of intervals.
    ///
    /// # Errors
    /// Too many sets.
    pub fn set(&mut self, intervals: Vec<(u32, u32)>) -> Result<SetId, LowerError> {
        narrow("sets", self.sets.number(intervals)).map(SetId)
    }
}

/// A number in the width the image gives it.
pub(crate) fn narrow<T: TryFrom<usize>>(what: &'static str, n: usize) -> Result<T, LowerError> {
    T::try_from(n).map_err(|_| LowerError::TooMany { what, count: n.saturating_add(1) })
}

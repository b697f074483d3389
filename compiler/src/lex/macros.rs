//! Macros: names, texts, and whether they were used.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::Span;

#[derive(Debug)]
struct Macro {
    text: Arc<[u8]>,
    span: Span,
    used: bool,
    fixed: bool,
    order: u64,
}

/// The macros of a compilation.
#[derive(Debug, Default)]
pub(crate) struct Macros {
    by_name: HashMap<Box<[u8]>, Macro>,
    defined: u64,
}

impl Macros {
    /// Defines one; a `fixed` one (`-D`) is never redefined.
    pub(crate) fn define(&mut self, name: &[u8], text: &[u8], span: Span, fixed: bool) {
        if self.by_name.get(name).is_some_and(|old| old.fixed) {
            return;
        }
        self.defined = self.defined.saturating_add(1);
        let entry = Macro { text: text.into(), span, used: false, fixed, order: self.defined };
        self.by_name.insert(name.into(), entry);
    }

    /// The text of one, which is now used.
    pub(crate) fn take(&mut self, name: &[u8]) -> Option<Arc<[u8]>> {
        let entry = self.by_name.get_mut(name)?;
        entry.used = true;
        Some(Arc::clone(&entry.text))
    }

    /// Names and places of those never used, in order of definition.
    pub(crate) fn unused(&self) -> Vec<(&[u8], Span)> {
        let mut list: Vec<_> = self.by_name.iter().filter(|(_, entry)| !entry.used).collect();
        list.sort_by_key(|(_, entry)| entry.order);
        list.into_iter().map(|(name, entry)| (&**name, entry.span)).collect()
    }

    /// All names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.by_name.keys().map(|name| &**name)
    }
}

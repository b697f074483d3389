//! The rules that are loaded, as this side needs them to print: rulesets, the images they came in, live figures.
//!
//! Holds [`Book`], read from the filter once a command. Texts come out of the images, figures from the filter; both are
//! put together by the number a rule has in its image.
//!
//! **Invariant:** an image that does not read back is an error, never a rule without a text.

use std::collections::BTreeMap;
use std::rc::Rc;

use pfc::print::listing::Listing;
use pfvm::api::{Request, RuleRow};
use pfvm::image::Image;
use pfvm::rule::Rule;

use crate::link::{Link, Outcome, Rulesets, Trouble};

/// A ruleset there is.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    /// Path, empty for the main one.
    pub path: String,
    /// Generation its image was loaded with.
    pub generation: u64,
    /// Whether it has rules of its own.
    pub loaded: bool,
}

/// What is fixed of a rule: its texts.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    /// Canonical text.
    pub text: String,
    /// What listings add.
    pub listing: Listing,
    /// Label, empty for none.
    pub label: String,
    /// File and line.
    pub place: (String, u32),
    /// The anchor it calls: path, and whether all its children.
    pub call: Option<(String, bool)>,
}

/// A rule with its live figures.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Texts.
    pub words: Words,
    /// Figures.
    pub row: RuleRow,
}

/// The rules of one image, by number.
type Texts = Rc<Vec<Words>>;

/// All rulesets.
#[derive(Debug, Default)]
pub(crate) struct Book {
    sets: BTreeMap<String, Set>,
    images: BTreeMap<(u64, String), Texts>,
}

impl Book {
    /// Reads which rulesets there are.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(crate) fn read(link: &mut Link) -> Outcome<Self> {
        let mut book = Book::default();
        link.each::<Rulesets>(
            |cursor| Request::Rulesets { under: "", cursor },
            |row| {
                let set = Set { path: row.path.to_owned(), generation: row.generation, loaded: row.loaded };
                book.sets.insert(set.path.clone(), set);
                Ok(())
            },
        )?;
        Ok(book)
    }

    /// Whether a ruleset of this path exists; the main one always does.
    pub(crate) fn exists(&self, path: &str) -> bool {
        let below = |known: &String| known.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        path.is_empty() || self.sets.contains_key(path) || self.sets.keys().any(below)
    }

    /// Whether a ruleset has rules of its own.
    pub(crate) fn is_loaded(&self, path: &str) -> bool {
        self.sets.get(path).is_some_and(|set| set.loaded)
    }

    /// All paths, sorted, the main ruleset's first.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.sets.keys().map(String::as_str)
    }

    /// Names of the anchors right below a path, sorted.
    pub(crate) fn children(&self, path: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for known in self.sets.keys().filter(|known| !known.is_empty()) {
            let rest = if path.is_empty() { Some(known.as_str()) } else { below(known, path) };
            let Some(name) = rest.and_then(|rest| rest.split('/').next()).filter(|name| !name.is_empty()) else {
                continue;
            };
            if !names.iter().any(|n| n == name) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        names
    }

    /// The rules of a ruleset with their figures.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(crate) fn rules(&mut self, link: &mut Link, path: &str) -> Outcome<Vec<Known>> {
        let Some(set) = self.sets.get(path).filter(|set| set.loaded).cloned() else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        link.each::<crate::link::Rules>(
            |cursor| Request::Rules { path, cursor },
            |row| {
                rows.push(row);
                Ok(())
            },
        )?;
        let texts = self.texts(link, &set)?;
        let lost = || Trouble::Nonsense("a rule its image does not hold");
        rows.into_iter()
            .map(|row| {
                let at = usize::try_from(row.rule).map_err(|_| lost())?;
                Ok(Known { words: texts.get(at).ok_or_else(lost)?.clone(), row })
            })
            .collect()
    }

    /// The texts of the image that holds a ruleset.
    fn texts(&mut self, link: &mut Link, set: &Set) -> Outcome<Texts> {
        if let Some(texts) = self.images.get(&(set.generation, set.path.clone())) {
            return Ok(Rc::clone(texts));
        }
        let bytes = link.bytes(|offset| Request::Section { path: &set.path, section: None, offset })?;
        let image = Image::parse(&bytes).map_err(|_| Trouble::Nonsense("an image that does not read back"))?;
        let anchors: Vec<_> = image.anchors().map(|a| (image.text(a.path).to_owned(), a.wildcard)).collect();
        let words = |rule: Rule| Words {
            text: image.text(rule.text).to_owned(),
            listing: Listing::decode(image.text(rule.more)),
            label: image.text(rule.label).to_owned(),
            place: (image.text(rule.file).to_owned(), rule.line),
            call: rule.anchor.and_then(|a| anchors.get(usize::from(a.0)).cloned()),
        };
        let texts: Texts = Rc::new(image.rules().map(words).collect());
        for ruleset in image.rulesets() {
            let path = image.text(ruleset.path).to_owned();
            self.images.insert((set.generation, path), Rc::clone(&texts));
        }
        self.images.insert((set.generation, set.path.clone()), Rc::clone(&texts));
        Ok(texts)
    }
}

/// What is left of a path below another.
fn below<'p>(path: &'p str, root: &str) -> Option<&'p str> {
    path.strip_prefix(root)?.strip_prefix('/')
}

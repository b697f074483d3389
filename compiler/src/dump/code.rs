//! The code of an image, with the names behind its numbers and the rules it came from.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use pfvm::image::{Image, Pair, Run, TableKind};
use pfvm::isa::Op;

use super::{DIM, HEAD, NAME, VALUE, WORD};

/// A rule as it was written and as it is printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleText {
    /// Number within its ruleset.
    pub nr: u32,
    /// Path of its ruleset.
    pub anchor: String,
    /// Canonical text.
    pub text: String,
    /// Label, empty when none.
    pub label: String,
    /// File.
    pub file: String,
    /// Line.
    pub line: u32,
}

/// A ruleset of the image.
#[derive(Clone, Debug)]
struct Part {
    path: String,
    code: Run,
    straight: Run,
}

/// An image's code and the names of what its operands number.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    pub(super) code: Vec<u64>,
    straight: Vec<u64>,
    parts: Vec<Part>,
    rules: Vec<RuleText>,
    ifaces: Vec<String>,
    tables: Vec<String>,
    tags: Vec<String>,
    anchors: Vec<String>,
    labels: Vec<String>,
    pairs: Vec<String>,
    sets: Vec<String>,
    prios: Vec<String>,
    leaves: Vec<String>,
    dispatches: Vec<String>,
    /// Where each dispatch table leads: distances from the word after it.
    pub(super) targets: Vec<Vec<u32>>,
}

/// An index of the image as one of a vector.
fn at(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

fn slice<T>(all: &[T], run: Run) -> &[T] {
    all.get(at(run.at)..).and_then(|rest| rest.get(..at(run.len))).unwrap_or_default()
}

fn v4(number: u128) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::try_from(number & 0xffff_ffff).unwrap_or_default())
}

/// A pair as a network where its second half is a mask, else as its two halves.
fn pair(pair: &Pair) -> String {
    let (a, b): (&dyn std::fmt::Display, &dyn std::fmt::Display) = if pair.af == 4 {
        (&v4(pair.a), &v4(pair.b))
    } else {
        (&Ipv6Addr::from_bits(pair.a), &Ipv6Addr::from_bits(pair.b))
    };
    let width = if pair.af == 4 { 32 } else { 128 };
    let mask = if pair.af == 4 { pair.b << 96 } else { pair.b };
    let ones = mask.leading_ones();
    let is_mask = mask.checked_shl(ones).unwrap_or(0) == 0 && pair.a & !pair.b == 0 && ones <= width;
    if is_mask { format!("{a}/{ones}") } else { format!("{a} - {b}") }
}

fn interval(lo: u32, hi: u32) -> String {
    if lo == hi { lo.to_string() } else { format!("{lo}:{hi}") }
}

/// At most this many parts of a constant are spelled out.
const SPELLED: usize = 8;

fn some<T>(all: &[T], show: impl Fn(&T) -> String) -> String {
    let mut text = all.iter().take(SPELLED).map(show).collect::<Vec<_>>().join(" ");
    if all.len() > SPELLED {
        let _ = write!(text, " … {} in all", all.len());
    }
    text
}

impl Listing {
    /// Takes an image apart.
    #[must_use]
    pub fn of(image: &Image<'_>) -> Self {
        let text = |r| image.text(r).to_owned();
        let ifaces: Vec<String> = image.ifaces().map(text).collect();
        let paths: Vec<String> = image.rulesets().map(|r| text(r.path)).collect();
        let rules: Vec<RuleText> = image
            .rules()
            .map(|r| RuleText {
                nr: r.nr,
                anchor: paths.get(usize::from(r.ruleset.0)).cloned().unwrap_or_default(),
                text: text(r.text),
                label: text(r.label),
                file: text(r.file),
                line: r.line,
            })
            .collect();
        let tables = image.tables().map(|t| match t.kind {
            TableKind::Named => format!("<{}>", image.text(t.name)),
            TableKind::Dynamic { iface, .. } => {
                format!("({})", ifaces.get(usize::from(iface.0)).map_or("", String::as_str))
            }
        });
        let intervals: Vec<_> = image.intervals().collect();
        let sets =
            image.sets().map(|s| some(slice(&intervals, Run { at: s.at, len: s.len }), |i| interval(i.lo, i.hi)));
        let place =
            |id: u32| rules.get(at(id)).map_or_else(String::new, |r: &RuleText| format!("{}:{}", r.file, r.line));
        let all_prios: Vec<u32> = image.prios().collect();
        let boxes: Vec<_> = image.boxes().collect();
        let leaves = image.leaves().map(|leaf| {
            let found = slice(&boxes, Run { at: leaf.at, len: leaf.len });
            some(found, |b| {
                let prio = b.prio & pfvm::image::BoxAttr::PRIO;
                all_prios.get(at(prio)).map_or_else(String::new, |id| format!("#{}", id & 0x7fff_ffff))
            })
        });
        let searches: Vec<_> = image.searches().collect();
        let targets: Vec<u32> = image.targets().collect();
        let dispatches: Vec<_> = image.dispatches().collect();
        let ways = dispatches.iter().map(|d| {
            let cuts = searches.get(at(d.search)).map_or(0, |s| s.len);
            slice(&targets, Run { at: d.targets, len: cuts.saturating_add(1) }).to_vec()
        });
        let ways: Vec<Vec<u32>> = ways.collect();
        let cuts = (
            image.cuts16().collect::<Vec<_>>(),
            image.cuts32().collect::<Vec<_>>(),
            image.cuts128().collect::<Vec<_>>(),
        );
        let dispatch_texts = dispatches.iter().map(|d| {
            searches.get(at(d.search)).map_or_else(String::new, |s| {
                let run = Run { at: s.at, len: s.len };
                let values = match s.width {
                    16 => some(slice(&cuts.0, run), u16::to_string),
                    32 => some(slice(&cuts.1, run), u32::to_string),
                    _ => some(slice(&cuts.2, run), |cut| Ipv6Addr::from_bits(*cut).to_string()),
                };
                format!("cut at {values}")
            })
        });
        Self {
            code: image.code().collect(),
            straight: image.straight().collect(),
            parts: image.rulesets().map(|r| Part { path: text(r.path), code: r.code, straight: r.straight }).collect(),
            tables: tables.collect(),
            tags: image.tags().map(text).collect(),
            anchors: image
                .anchors()
                .map(|a| format!("{}{}", image.text(a.path), if a.wildcard { "/*" } else { "" }))
                .collect(),
            labels: image.labels().map(text).collect(),
            pairs: image.pairs().map(|p| pair(&p)).collect(),
            sets: sets.collect(),
            prios: all_prios.iter().map(|id| place(id & 0x7fff_ffff)).collect(),
            leaves: leaves.collect(),
            dispatches: dispatch_texts.collect(),
            targets: ways,
            ifaces,
            rules,
        }
    }

    /// Every rule, by its number in the image.
    #[must_use]
    pub fn rules(&self) -> &[RuleText] {
        &self.rules
    }

    /// The rules as pfctl numbers and prints them, each ruleset under its name, with where they were written.
    #[must_use]
    pub fn numbered(&self) -> String {
        let mut out = String::new();
        let mut anchor = "";
        for rule in &self.rules {
            if rule.anchor != anchor {
                anchor = &rule.anchor;
                let _ = writeln!(out, "\n{HEAD}anchor \"{anchor}\"{HEAD:#}");
            }
            let place = format!("{}:{}", rule.file, rule.line);
            let _ = writeln!(out, "{DIM}@{:<4}{DIM:#} {NAME}{}{NAME:#}  {DIM}# {place}{DIM:#}", rule.nr, rule.text);
        }
        out
    }

    /// Names behind the numbers of an instruction's operands.
    #[must_use]
    pub fn note(&self, op: &str) -> String {
        let rule_places = |id: usize| self.rules.get(id).map(|r| format!("{}:{}", r.file, r.line));
        let operands = op.split_once(' ').map_or("", |(_, rest)| rest);
        let notes = operands.split(", ").filter_map(|operand| {
            if let Some(id) = operand.strip_prefix('#') {
                return id.parse().ok().and_then(rule_places);
            }
            let (kind, id) = operand.split_once(':')?;
            let id: usize = id.parse().ok()?;
            let names = match kind {
                "if" => &self.ifaces,
                "table" => &self.tables,
                "tag" => &self.tags,
                "anchor" => &self.anchors,
                "label" => &self.labels,
                "pair" => &self.pairs,
                "set" => &self.sets,
                "prio" => &self.prios,
                "leaf" => &self.leaves,
                "dispatch" => &self.dispatches,
                _ => return None,
            };
            names.get(id).cloned()
        });
        notes.collect::<Vec<_>>().join(", ")
    }

    /// One instruction as a line: number, text, names behind its operands.
    #[must_use]
    pub fn line(&self, pc: u32, op: &str) -> String {
        let (mnemonic, operands) = op.split_once(' ').unwrap_or((op, ""));
        let note = self.note(op);
        let gap = 30_usize.saturating_sub(mnemonic.len().max(8) + 1 + operands.len());
        let note = if note.is_empty() { note } else { format!("{:gap$}{DIM}; {note}{DIM:#}", "") };
        format!("{DIM}{pc:>5}{DIM:#}  {WORD}{mnemonic:<8}{WORD:#} {VALUE}{operands}{VALUE:#}{note}")
            .trim_end()
            .to_owned()
    }

    /// The code, the straight one where asked for and there: each ruleset under its name, each rule's words under it.
    #[must_use]
    pub fn code(&self, straight: bool) -> String {
        let straight = straight && !self.straight.is_empty();
        let words = if straight { &self.straight } else { &self.code };
        let mut out = String::new();
        for part in &self.parts {
            let run = if straight { part.straight } else { part.code };
            let name = if part.path.is_empty() { "main ruleset".into() } else { format!("anchor \"{}\"", part.path) };
            let kind = if straight { "straight code" } else { "code" };
            let _ = writeln!(out, "{HEAD}{name}: {} words of {kind}{HEAD:#}", run.len);
            let mut here = None;
            for (pc, word) in (run.at..).zip(slice(words, run)) {
                let op = Op::decode(*word).map_or_else(|_| format!("? {word:#018x}"), |op| op.to_string());
                if let Some(rule) = entered(&op)
                    && here != Some(rule)
                {
                    here = Some(rule);
                    self.heading(&mut out, rule);
                }
                let _ = writeln!(out, "{}", self.line(pc, &op));
            }
            out.push('\n');
        }
        out
    }

    fn heading(&self, out: &mut String, rule: usize) {
        if let Some(row) = self.rules.get(rule) {
            let _ = writeln!(out, "{DIM}{}:{}  @{}{DIM:#} {NAME}{}{NAME:#}", row.file, row.line, row.nr, row.text);
        }
    }
}

/// The rule whose evaluation an instruction begins.
fn entered(op: &str) -> Option<usize> {
    op.strip_prefix("eval #")?.parse().ok()
}

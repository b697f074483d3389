//! What a listing of loaded rules adds to their text: skip steps, counts of addresses, service names, queues.
//!
//! Holds both ends of one small text that travels in the image beside each rule ([`pfvm::rule::Rule::more`]) and that
//! nothing between the compiler and the printing command reads: three lines, `skip steps`, `marks`, `queues`.
//! Source: `pf.c pf_calc_skip_steps`; `pfctl.c pfctl_print_rule_counters`; `pf_print_state.c print_addr`.
//!
//! **Invariant:** [`Listing::decode`] takes any bytes; what it cannot read it leaves out.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::facts::Transport;
use crate::ruleset::{AddrSpec, Endpoint, Op, Rule};

/// Something a listing says at a place inside the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// After the name of a table: how many addresses it has.
    Table,
    /// After an interface in parentheses: how many addresses it has.
    Dynamic,
    /// Before a port that may be named instead.
    Port(Transport),
}

/// What a rule skips to when one of its tests fails (`PF_SKIP_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Skip {
    /// The next rule.
    #[default]
    Next,
    /// The rule with this number.
    To(u32),
    /// The end of the ruleset.
    End,
}

/// Names of the skip steps, in order.
pub const SKIPS: [&str; 9] = ["i", "d", "r", "f", "p", "sa", "da", "sp", "dp"];
/// The same in one letter each.
const LETTERS: [char; 9] = ['i', 'd', 'r', 'f', 'p', 's', 'e', 't', 'u'];

/// A queue a rule names: number and name.
pub type Queue = (u32, String);

/// All a listing adds to one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Skip steps, in the order of [`SKIPS`].
    pub skips: [Skip; 9],
    /// Places in the text, first to last: bytes from its beginning.
    pub marks: Vec<(usize, Mark)>,
    /// The ordinary queue and that for priority packets.
    pub queues: [Option<Queue>; 2],
}

impl Listing {
    /// As it travels.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::new();
        for (letter, skip) in LETTERS.iter().zip(self.skips) {
            match skip {
                Skip::Next => {}
                Skip::End => out.push(*letter),
                Skip::To(nr) => {
                    let _ = write!(out, "{letter}{nr}");
                }
            }
        }
        out.push('\n');
        for (at, mark) in &self.marks {
            let letter = match mark {
                Mark::Table => 't',
                Mark::Dynamic => 'd',
                Mark::Port(Transport::Tcp) => 'c',
                Mark::Port(Transport::Udp) => 'u',
            };
            let _ = write!(out, "{letter}{at}");
        }
        for (id, name) in self.queues.iter().flatten() {
            let _ = write!(out, "\n{id} {name}");
        }
        out
    }

    /// What travelled.
    #[must_use]
    pub fn decode(text: &str) -> Self {
        let mut lines = text.split('\n');
        let mut listing = Listing::default();
        for (letter, nr) in pairs(lines.next().unwrap_or_default()) {
            let slot = LETTERS.iter().position(|l| *l == letter).and_then(|i| listing.skips.get_mut(i));
            if let Some(slot) = slot {
                *slot = nr.map_or(Skip::End, Skip::To);
            }
        }
        for (letter, at) in pairs(lines.next().unwrap_or_default()) {
            let mark = match letter {
                't' => Mark::Table,
                'd' => Mark::Dynamic,
                'c' => Mark::Port(Transport::Tcp),
                'u' => Mark::Port(Transport::Udp),
                _ => continue,
            };
            listing.marks.extend(at.and_then(|at| usize::try_from(at).ok()).map(|at| (at, mark)));
        }
        for (slot, line) in listing.queues.iter_mut().zip(lines) {
            *slot = line.split_once(' ').and_then(|(id, name)| Some((id.parse().ok()?, name.to_owned())));
        }
        listing
    }
}

/// Letters, each with the number after it if there is one.
fn pairs(text: &str) -> impl Iterator<Item = (char, Option<u32>)> {
    let starts = text.char_indices().filter(|(_, c)| !c.is_ascii_digit());
    starts.map(|(at, letter)| {
        let tail = text.get(at.saturating_add(letter.len_utf8())..).unwrap_or_default();
        let end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        (letter, tail.get(..end).and_then(|digits| digits.parse().ok()))
    })
}

/// Skip steps of a ruleset's rules, in their order (`pf_calc_skip_steps`).
#[must_use]
pub fn skips(rules: &[Rule]) -> Vec<[Skip; 9]> {
    let mut all = vec![[Skip::Next; 9]; rules.len()];
    let mut after = [Skip::End; 9];
    let mut next: Option<&Rule> = None;
    for (rule, slots) in rules.iter().zip(&mut all).rev() {
        if let Some(next) = next {
            let nr = next.nr;
            for (slot, same) in after.iter_mut().zip(equal(rule, next)) {
                if !same {
                    *slot = if nr == rule.nr.wrapping_add(1) { Skip::Next } else { Skip::To(nr) };
                } else if *slot == Skip::Next {
                    *slot = Skip::To(nr.wrapping_add(1));
                }
            }
        }
        *slots = after;
        next = Some(rule);
    }
    all
}

/// Whether two rules ask the same, test by test.
fn equal(a: &Rule, b: &Rule) -> [bool; 9] {
    let not = |r: &Rule| r.iface.as_ref().is_some_and(|i| i.not) || r.rdomain.is_some_and(|(not, _)| not);
    let address = |a: &Endpoint, b: &Endpoint| {
        let same = match (wrap(&a.addr), wrap(&b.addr)) {
            (None, None) => a.addr == b.addr,
            (a, b) => a == b,
        };
        a.not == b.not && same
    };
    [
        not(a) == not(b) && a.iface.as_ref().map(|i| &i.name) == b.iface.as_ref().map(|i| &i.name),
        a.direction == b.direction,
        not(a) == not(b) && a.rdomain.map(|(_, id)| id) == b.rdomain.map(|(_, id)| id),
        a.af == b.af,
        a.proto == b.proto,
        address(&a.src, &b.src),
        address(&a.dst, &b.dst),
        port(a.src.port) == port(b.src.port),
        port(a.dst.port) == port(b.dst.port),
    ]
}

/// An address as the kernel compares it: sixteen bytes and a mask where it is a network, or any.
fn wrap(addr: &AddrSpec) -> Option<(u128, u8)> {
    let (addr, prefix) = match addr {
        AddrSpec::Any => return Some((0, 0)),
        AddrSpec::Net { addr, prefix } => (addr, *prefix),
        _ => return None,
    };
    let bits = match addr {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let mask = u128::MAX.checked_shl(128u32.saturating_sub(prefix.into())).unwrap_or(0);
    Some((bits & mask, prefix))
}

/// Operator and operands as the kernel keeps them.
const fn port(op: Option<Op<u16>>) -> (u8, u16, u16) {
    match op {
        None => (0, 0, 0),
        Some(Op::Inside(a, b)) => (1, a, b),
        Some(Op::Eq(a)) => (2, a, a),
        Some(Op::Ne(a)) => (3, a, a),
        Some(Op::Lt(a)) => (4, a, a),
        Some(Op::Le(a)) => (5, a, a),
        Some(Op::Gt(a)) => (6, a, a),
        Some(Op::Ge(a)) => (7, a, a),
        Some(Op::Outside(a, b)) => (8, a, b),
        Some(Op::Range(a, b)) => (9, a, b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::Action;
    use pfvm::rule::{Af, Direction};

    #[test]
    fn travels_and_comes_back() {
        let mut skips = [Skip::Next; 9];
        skips[0] = Skip::End;
        skips[3] = Skip::To(17);
        skips[8] = Skip::To(0);
        let marks = vec![(4, Mark::Table), (40, Mark::Dynamic), (77, Mark::Port(Transport::Udp))];
        for queues in [[None, None], [Some((1, "std q".into())), Some((7, "é".into()))]] {
            let listing = Listing { skips, marks: marks.clone(), queues };
            assert_eq!(Listing::decode(&listing.encode()), listing);
        }
        assert_eq!(Listing::decode(""), Listing::default());
        assert_eq!(Listing::decode("i99999999999x\nq4t\nno number"), {
            let mut odd = Listing::default();
            odd.skips[0] = Skip::End;
            odd
        });
    }

    /// Against `pf_calc_skip_steps` done the slow way: from each rule on to the first that differs from it.
    #[test]
    fn skip_steps_end_where_a_rule_differs() {
        let rule = |nr, direction, af| Rule { nr, direction, af, ..Rule::new(Action::Pass) };
        let (i, o) = (Some(Direction::In), Some(Direction::Out));
        let rules = [
            rule(0, i, None),
            rule(1, i, None),
            rule(2, i, Some(Af::Inet)),
            rule(3, o, Some(Af::Inet)),
            rule(4, o, None),
        ];
        let got = skips(&rules);
        for (at, rule) in rules.iter().enumerate() {
            for test in 0..9 {
                let end = rules[at..].iter().find(|other| !equal(rule, other)[test]);
                let wanted = match end {
                    Some(other) if other.nr == rule.nr + 1 => Skip::Next,
                    Some(other) => Skip::To(other.nr),
                    None => Skip::End,
                };
                assert_eq!(got[at][test], wanted, "rule {at}, {}", SKIPS[test]);
            }
        }
    }
}

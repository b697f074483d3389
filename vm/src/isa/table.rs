//! The instruction set: one table. Everything that knows an instruction comes from it.
//!
//! A word is 64 bits. Bits 0–7 are the opcode; every operand has its place. Bits no operand owns are zero.
//! A *test* goes on when it holds, and skips forward when it does not.

use super::field::Field;
use super::operand::{
    BadOperand, BitSetId, Costs, DispatchId, Env, Half, Imm, Ip4, Jump, LabelId, LeafId, Operand, PairId, Prefix4,
    PrioId, Quick, RouteTest, SetId, Side, Skip, Word,
};
use crate::rule::{AnchorId, IfaceId, RuleId, TableId, TagId};
use core::fmt;

/// How control leaves an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// To the next word.
    Next,
    /// To the next word, or past the skip.
    Test,
    /// Past the jump.
    Jump,
    /// To the next word, or to any target of the dispatch table.
    Fan,
    /// Nowhere in this ruleset.
    End,
}

/// Why a word is no instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadWord {
    /// No instruction has this opcode.
    #[error("unknown opcode {0:#04x}")]
    Opcode(u8),
    /// An operand of this kind has no such value.
    #[error("no {kind} has the value {bits}")]
    Operand {
        /// Kind of operand.
        kind: &'static str,
        /// Bits found.
        bits: u64,
    },
    /// Bits that no operand owns are set.
    #[error("bits set that no operand owns")]
    Padding,
}

/// Why a line of text is no instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadText {
    /// No instruction has this name.
    #[error("unknown instruction")]
    Mnemonic,
    /// An operand that is missing or not of this kind.
    #[error("expected a {0}")]
    Operand(&'static str),
    /// Text after the last operand.
    #[error("text after the last operand")]
    Trailing,
}

/// An operand of an instruction, for the specification and for tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperandRow {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: &'static str,
    /// Its lowest bit in the word.
    pub at: u32,
    /// Its width in bits.
    pub bits: u32,
}

/// A row of the table of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpRow {
    /// Opcode.
    pub code: u8,
    /// Mnemonic.
    pub name: &'static str,
    /// How control leaves.
    pub flow: Flow,
    /// Base weight in steps.
    pub weight: u32,
    /// Operands in the order of the text.
    pub operands: &'static [OperandRow],
    /// What it does.
    pub meaning: &'static str,
}

/// The bits of one operand in place.
const fn place(bits: u64, at: u32) -> u64 {
    bits << at
}

/// The bits of one operand taken out.
const fn take<T: Operand>(word: u64, at: u32) -> u64 {
    (word >> at) & ((1 << T::BITS) - 1)
}

/// The bits an operand owns.
const fn owned<T: Operand>(at: u32) -> u64 {
    ((1 << T::BITS) - 1) << at
}

/// Reads one operand out of a word.
fn operand<T: Operand>(word: u64, at: u32) -> Result<T, BadWord> {
    let bits = take::<T>(word, at);
    T::get(bits).ok_or(BadWord::Operand { kind: T::KIND, bits })
}

/// Reads the next operand of a line.
fn argument<'t, T: Operand>(parts: &mut impl Iterator<Item = &'t str>) -> Result<T, BadText> {
    parts.next().and_then(|t| T::read(t.trim())).ok_or(BadText::Operand(T::KIND))
}

/// Hands the table of instructions to a macro: documentation, opcode, name, mnemonic, flow, base weight, and the
/// operands in the order of the text with the place of their lowest bit.
macro_rules! for_each_op {
    ($m:ident) => {
        $m! {
            // Control.
            /// Goes on past `to`.
            0x01 Jmp "jmp" Jump 1 { to: Jump @ 32 };
            /// Ends the ruleset: back to the caller, or the evaluation is done.
            0x02 Done "done" End 1 {};
            /// Ends the whole evaluation, as a `match quick` rule does.
            0x03 Stop "stop" End 1 {};
            /// Calls the rulesets an anchor rule names: its target, or every child of it in the order of their names. Comes
            /// back here, unless a `quick` rule or a `quick` anchor ends the evaluation inside.
            0x04 Call "call" Next 8 { quick: Quick @ 8, anchor: AnchorId @ 16, rule: RuleId @ 32 };
            /// Counts an evaluation of the rule.
            0x05 Eval "eval" Next 1 { rule: RuleId @ 32 };

            // What a rule that matched does.
            /// Notes the rule as the last match; reports it if log(matches) is on.
            0x08 Note "note" Next 2 { rule: RuleId @ 32 };
            /// Notes the rule as the last match, reports it if log(matches) is on, and ends the whole evaluation (`quick`).
            0x09 End "end" End 2 { rule: RuleId @ 32 };
            /// Adds a `match` rule to the list of hits; a 65th drops the packet (`memory`). Suspends for the translation if
            /// the rule has one, then logs it, turning log(matches) on if the rule says so.
            0x0a Hit "hit" Next 4 { rule: RuleId @ 32 };
            /// Tags the packet.
            0x0b Tag "tag" Next 1 { tag: TagId @ 32 };

            // Tests of word fields.
            /// The field equals `value`.
            0x10 Eq "eq" Test 1 { field: Word @ 8, value: Imm @ 32, skip: Skip @ 16 };
            /// The field is present and differs from `value`.
            0x11 Ne "ne" Test 1 { field: Word @ 8, value: Imm @ 32, skip: Skip @ 16 };
            /// The field is at least `lo` and at most `hi`.
            0x12 In "in" Test 1 { field: Word @ 8, lo: Half @ 32, hi: Half @ 48, skip: Skip @ 16 };
            /// The field is present, and below `lo` or above `hi`.
            0x13 Nin "nin" Test 1 { field: Word @ 8, lo: Half @ 32, hi: Half @ 48, skip: Skip @ 16 };
            /// The field is present and, masked, equals `value`.
            0x14 Mask "mask" Test 1 { field: Word @ 8, mask: Half @ 32, value: Half @ 48, skip: Skip @ 16 };
            /// The field lies in one of the intervals of a set.
            0x15 Among "among" Test 2 { field: Word @ 8, set: SetId @ 32, skip: Skip @ 16 };
            /// The field is present and lies in no interval of a set.
            0x16 Namong "namong" Test 2 { field: Word @ 8, set: SetId @ 32, skip: Skip @ 16 };

            // Tests of addresses.
            /// The address is IPv4 and its first bits are those of `net`.
            0x20 Sub "sub" Test 1 { prefix: Prefix4 @ 8, net: Ip4 @ 32, skip: Skip @ 16 };
            /// The address is IPv4 and its first bits are not those of `net`.
            0x21 Nsub "nsub" Test 1 { prefix: Prefix4 @ 8, net: Ip4 @ 32, skip: Skip @ 16 };
            /// The address is of the pair's family and, masked, equals its network.
            0x22 Net "net" Test 1 { side: Side @ 8, pair: PairId @ 32, skip: Skip @ 16 };
            /// The address is of the pair's family and, masked, differs from its network.
            0x23 Nnet "nnet" Test 1 { side: Side @ 8, pair: PairId @ 32, skip: Skip @ 16 };
            /// The address is of the pair's family and within its two ends.
            0x24 Span "span" Test 1 { side: Side @ 8, pair: PairId @ 32, skip: Skip @ 16 };
            /// The address is of the pair's family and not within its two ends.
            0x25 Nspan "nspan" Test 1 { side: Side @ 8, pair: PairId @ 32, skip: Skip @ 16 };
            /// The table holds the address.
            0x26 Lookup "lookup" Test 16 { side: Side @ 8, table: TableId @ 32, skip: Skip @ 16 };
            /// The table does not hold the address.
            0x27 Nlookup "nlookup" Test 16 { side: Side @ 8, table: TableId @ 32, skip: Skip @ 16 };
            /// The routing table answers yes. Suspends.
            0x28 Route "route" Test 16 { test: RouteTest @ 8, skip: Skip @ 16 };
            /// The routing table answers no. Suspends.
            0x29 Nroute "nroute" Test 16 { test: RouteTest @ 8, skip: Skip @ 16 };
            /// The route to the address carries the label. Suspends.
            0x2a Label "label" Test 16 { side: Side @ 8, label: LabelId @ 32, skip: Skip @ 16 };
            /// The route to the address does not carry the label. Suspends.
            0x2b Nlabel "nlabel" Test 16 { side: Side @ 8, label: LabelId @ 32, skip: Skip @ 16 };

            // Tests of the packet's surroundings.
            /// The packet's interface is this one or in this group.
            0x30 On "on" Test 2 { iface: IfaceId @ 32, skip: Skip @ 16 };
            /// The packet's interface is neither this one nor in this group.
            0x31 Non "non" Test 2 { iface: IfaceId @ 32, skip: Skip @ 16 };
            /// The packet was received on this interface or group; false when it was received on none.
            0x32 Recv "recv" Test 2 { iface: IfaceId @ 32, skip: Skip @ 16 };
            /// The packet was not received on this interface or group; true when it was received on none.
            0x33 Nrecv "nrecv" Test 2 { iface: IfaceId @ 32, skip: Skip @ 16 };
            /// The packet carries the tag, as it came or as a rule has set it since.
            0x34 Tagged "tagged" Test 1 { tag: TagId @ 32, skip: Skip @ 16 };
            /// The packet does not carry the tag.
            0x35 Ntagged "ntagged" Test 1 { tag: TagId @ 32, skip: Skip @ 16 };
            /// The packet is TCP, no fragment, and looks like one of the system's. Suspends.
            0x36 Os "os" Test 16 { os: Imm @ 32, skip: Skip @ 16 };
            /// A rule with log(matches) is among the hits.
            0x37 Logging "logging" Test 1 { skip: Skip @ 16 };

            // Tests that change something.
            /// A number drawn evenly from 1 to 4294967294 is below `share`.
            0x40 Prob "prob" Test 2 { share: Imm @ 32, skip: Skip @ 16 };
            /// Counts the packet against the rule's max-pkt-rate: the rule is not over it.
            0x41 Rate "rate" Test 4 { rule: RuleId @ 32, skip: Skip @ 16 };
            /// The `once` rule is not used up.
            0x42 Live "live" Test 2 { rule: RuleId @ 32, skip: Skip @ 16 };
            /// Uses up the `once` rule: nobody else was faster.
            0x43 Once "once" Test 4 { rule: RuleId @ 32, skip: Skip @ 16 };

            // Classification of a run of rules: see the chapter of that name.
            /// Goes on past the target of the interval the field is in; to the next word when the field is absent.
            0x50 Dispatch "dispatch" Fan 2 { field: Field @ 8, dispatch: DispatchId @ 32 };
            /// Makes the best box of the leaf that matches the candidate, if it is better.
            0x51 Leaf "leaf" Next 2 { leaf: LeafId @ 32 };
            /// Makes the first rule of the classifier that matches the candidate, if it is better.
            0x52 BitAnd "bitand" Next 2 { bits: BitSetId @ 32 };
            /// Makes this priority the candidate, if it is better.
            0x53 Min "min" Next 1 { prio: PrioId @ 32 };
            /// This priority is better than the candidate.
            0x54 Better "better" Test 1 { prio: PrioId @ 32, skip: Skip @ 16 };
            /// Stops collection at the candidate if it is quick, else at the end.
            0x55 StopAt "stopat" Next 1 {};
            /// Hits, in order, every rule of the classifier that matches and stands before the stop. Their translations, if
            /// they have any, are not made.
            0x56 Collect "collect" Next 8 { bits: BitSetId @ 32 };
            /// Tags the packet as the last rule of the classifier does that matches and stands before the stop.
            0x57 MinTag "mintag" Next 4 { bits: BitSetId @ 32 };
            /// Notes the candidate as the last match, if there is one, and forgets it; ends the whole evaluation if it is
            /// quick.
            0x58 Commit "commit" Next 2 {};
        }
    };
}

macro_rules! define_ops { ($($(#[doc = $doc:literal])+ $code:literal $id:ident $name:literal $flow:ident $weight:literal {
    $($f:ident : $t:ident @ $at:literal),* };)*) => {
    /// An instruction.
    ///
    /// **Invariant:** as large as the word it stands for, so that decoded code costs no more cache than encoded code.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[allow(missing_docs, reason = "the operands' kinds say what they are")]
    pub enum Op { $($(#[doc = $doc])+ $id { $($f: $t),* },)* }

    impl Op {
        /// Writes the instruction as one word.
        #[must_use]
        pub fn encode(self) -> u64 { match self { $(Op::$id { $($f),* } => {
            const { assert!(owned_apart(&[0xff $(, owned::<$t>($at))*]), "operands overlap") };
            $code $(| place($f.put(), $at))* } )* } }

        /// Reads the instruction from one word.
        ///
        /// # Errors
        /// What is wrong with it.
        pub fn decode(word: u64) -> Result<Op, BadWord> {
            match word & 0xff {
                $($code => {
                    if word & !(0xff $(| owned::<$t>($at))*) != 0 { return Err(BadWord::Padding); }
                    Ok(Op::$id { $($f: operand::<$t>(word, $at)?),* })
                })*
                other => Err(BadWord::Opcode(u8::try_from(other).unwrap_or(0))),
            }
        }

        /// Reads the instruction from its text: `mnemonic operand, operand`.
        ///
        /// # Errors
        /// What is wrong with it.
        pub fn assemble(line: &str) -> Result<Op, BadText> {
            let line = line.trim();
            let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
            let mut parts = rest.split(',').filter(|_| !rest.is_empty());
            let op = match name {
                $($name => Op::$id { $($f: argument::<$t>(&mut parts)?),* },)*
                _ => return Err(BadText::Mnemonic),
            };
            if parts.next().is_some() { Err(BadText::Trailing) } else { Ok(op) }
        }

        /// How control leaves.
        #[must_use]
        pub const fn flow(self) -> Flow { match self { $(Op::$id { .. } => Flow::$flow,)* } }

        /// Holds every operand to its rule.
        ///
        /// # Errors
        /// The first rule broken.
        #[allow(unused_variables, reason = "instructions without operands")]
        pub fn check(self, env: &Env) -> Result<(), BadOperand> {
            match self { $(Op::$id { $($f),* } => { $(Operand::check($f, env)?;)* Ok(()) })* }
        }

        /// Steps the instruction costs, by its weight and its operands.
        #[allow(unused_variables, reason = "instructions without operands")]
        pub fn cost<C: Costs>(self, costs: &C) -> u32 {
            match self { $(Op::$id { $($f),* } => { let w: u32 = $weight; $(let w = w.saturating_add($f.cost(costs));)* w })* }
        }

        /// How many words past the next one it goes when it skips or jumps.
        #[must_use]
        #[allow(unused_variables, reason = "instructions without operands")]
        pub fn distance(self) -> Option<u32> {
            match self { $(Op::$id { $($f),* } => { let d: Option<u32> = None; $(let d = d.or(Operand::distance($f));)* d })* }
        }

        /// The dispatch table it uses.
        #[must_use]
        #[allow(unused_variables, reason = "instructions without operands")]
        pub fn fan(self) -> Option<DispatchId> {
            match self { $(Op::$id { $($f),* } => { let d: Option<DispatchId> = None; $(let d = d.or($f.fan());)* d })* }
        }
    }

    impl fmt::Display for Op { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { match *self { $(Op::$id { $($f: $f),* } => {
        f.write_str($name)?;
        #[allow(unused_mut, unused_assignments, unused_variables, reason = "instructions without operands")]
        { let mut before = " "; $(f.write_str(before)?; $f.show(f)?; before = ", ";)* }
        Ok(()) })* } } }

    /// The rows of the table of instructions, by opcode.
    pub const OP_ROWS: &[OpRow] = &[$(OpRow {
        code: $code, name: $name, flow: Flow::$flow, weight: $weight,
        operands: &[$(OperandRow { name: stringify!($f), kind: <$t as Operand>::KIND, at: $at, bits: <$t as Operand>::BITS }),*],
        meaning: concat!($($doc),+),
    },)*];
} }

/// Whether no two masks share a bit.
const fn owned_apart(masks: &[u64]) -> bool {
    let mut seen = 0;
    let mut rest = masks;
    while let [first, tail @ ..] = rest {
        if seen & *first != 0 {
            return false;
        }
        seen |= *first;
        rest = tail;
    }
    true
}

for_each_op!(define_ops);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoded_code_is_as_small_as_words() {
        assert_eq!(size_of::<Op>(), 8);
    }

    #[test]
    fn opcodes_ascend() {
        assert!(OP_ROWS.windows(2).all(|w| w[0].code < w[1].code));
    }

    /// A word of this opcode with random operands, every other one small.
    fn word(row: &OpRow, x: &mut u64) -> u64 {
        *x ^= *x << 13;
        *x ^= *x >> 7;
        *x ^= *x << 17;
        let wide = if *x & 1 == 0 { u64::MAX } else { 0xf };
        let kept = row.operands.iter().fold(0, |m, o| m | ((((1 << o.bits) - 1) & wide) << o.at));
        (x.rotate_left(9) & kept) | u64::from(row.code)
    }

    #[test]
    fn words_and_text_say_the_same() {
        let mut seen = std::collections::BTreeSet::new();
        let mut x = 0x9e37_79b9_7f4a_7c15_u64;
        for row in OP_ROWS.iter().cycle().take(100_000) {
            let word = word(row, &mut x);
            let Ok(op) = Op::decode(word) else { continue };
            assert_eq!(op.encode(), word, "{op}");
            let text = op.to_string();
            assert_eq!(Op::assemble(&text), Ok(op), "{text}");
            seen.insert(row.code);
        }
        assert_eq!(seen.len(), OP_ROWS.len());
    }

    #[test]
    fn text() {
        let cases = [
            "jmp +7",
            "done",
            "call quick, anchor:1, #3",
            "note #0",
            "eq proto, 6, +3",
            "in sport, 1, 1024, +0",
            "mask flags, 18, 2, +1",
            "among dport, set:2, +1",
            "sub dst/24, 192.0.2.0, +65535",
            "net src, pair:9, +1",
            "lookup src, table:1, +2",
            "route urpf-failed, +1",
            "label dst, label:0, +1",
            "on if:2, +1",
            "tagged tag:1, +1",
            "os 16777216, +1",
            "logging +1",
            "prob 4294967295, +1",
            "dispatch src6, dispatch:0",
            "leaf leaf:1",
            "bitand bits:2",
            "min prio:3",
            "better prio:3, +1",
            "commit",
        ];
        for text in cases {
            assert_eq!(Op::assemble(text).map(|o| o.to_string()).as_deref(), Ok(text));
        }
        assert_eq!(Op::assemble("frob"), Err(BadText::Mnemonic));
        assert_eq!(Op::assemble("note"), Err(BadText::Operand("rule")));
        assert_eq!(Op::assemble("eq src6, 1, +1"), Err(BadText::Operand("word field")));
        assert_eq!(Op::assemble("note #01"), Err(BadText::Operand("rule")));
        assert_eq!(Op::assemble("done 1"), Err(BadText::Trailing));
    }

    #[test]
    fn bad_words() {
        assert_eq!(Op::decode(0), Err(BadWord::Opcode(0)));
        assert_eq!(Op::decode(0x0102), Err(BadWord::Padding));
        assert_eq!(Op::decode(0x1310), Err(BadWord::Operand { kind: "word field", bits: 0x13 }));
        assert_eq!(Op::decode(0x2120), Err(BadWord::Operand { kind: "prefix", bits: 33 }));
    }
}

//! `pfload trace`: the way of packets through the rules, as they come by.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use pfsim::decide::{RuleRow, Verdict};
use pfsim::line::{Parts, show_ends, show_parts};
use pfsim::way::{self, Decided, Mark, Step, Way};
use pfvm::api::{Page, Request};
use pfvm::rule::Addr;
use pfvm::watch::{By, MetKind, MetRow, TraceRow};

use super::Common;
use super::log::{clock, expression};
use crate::link::{Link, Outcome, Trouble, reason};
use crate::out::{Out, envelope};
use crate::watch::filter::Scope;
use crate::watch::text;
use pfvm::state::record::PeerState;

/// Show which rules packets meet, which one decides, and why; no rule is edited
///
/// FILTER picks packets, as for log: host 192.0.2.1 and port 443, tcp, on em0; and by what became of them: rule 7,
/// label "web", block, reason state-mismatch, state established.
#[derive(Args, Debug)]
pub(crate) struct Trace {
    /// Packets a second at most; the others are only counted.
    #[arg(short, long, value_name = "NUMBER", default_value_t = 20)]
    rate: u32,
    /// Stop after so many packets.
    #[arg(short = 'c', long, value_name = "NUMBER")]
    count: Option<u64>,
    /// Which packets.
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
}

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// A traced packet's way.
fn way_of(row: &TraceRow<'_>, met: &[MetRow<'_>]) -> Way {
    let ported = matches!(row.proto, 6 | 17) && row.fragment.is_none();
    let whole = row.fragment.is_none();
    let [kind, code] = row.detail.to_be_bytes();
    let flags = u8::try_from(row.detail & 0xff).unwrap_or(0);
    let (src, dst) = row.ends;
    let parts = Parts {
        dir: row.dir,
        forwarded: row.forwarded,
        iface: row.iface,
        af: row.af,
        proto: row.proto,
        ends: [src, dst],
        ported,
        flags: (row.proto == 6 && whole).then_some(flags),
        icmp: (matches!(row.proto, 1 | 58) && whole).then_some((kind, code)),
        fragment: row.fragment,
    };
    let described = src.0 != Addr::default() || dst.0 != Addr::default();
    let step = |m: &MetRow<'_>| Step {
        rule: RuleRow {
            nr: m.nr,
            anchor: m.anchor.to_owned(),
            text: m.text.to_owned(),
            label: m.label.to_owned(),
            file: m.file.to_owned(),
            line: m.line,
        },
        mark: match m.kind {
            MetKind::Matches => Mark::Matches,
            MetKind::Applies => Mark::Applies,
            MetKind::Enters => Mark::Enters,
            MetKind::Decides => Mark::Decides,
            MetKind::Made => Mark::Made,
        },
        words: Vec::new(),
    };
    Way {
        packet: if described { show_parts(&parts) } else { format!("a packet on {} that is none", row.iface) },
        translated: (row.to != row.ends).then(|| show_ends(row.naf, [row.to.0, row.to.1], ported)),
        by: match row.by {
            By::Rule => Decided::Rule,
            By::Default => Decided::Default,
            By::State => Decided::State,
            By::Engine => Decided::Engine,
            By::Skip => Decided::Skip,
        },
        verdict: if row.passed { Verdict::Pass } else { Verdict::Block },
        reason: text::reason(row.reason),
        log: row.logged,
        state: row.state.map(|[a, b]| {
            let name = |state| PeerState(state).name(row.proto);
            (row.created, format!("{}:{}", name(a), name(b)))
        }),
        generation: Some(row.generation),
        steps: met.iter().map(step).collect(),
        unseen: row.unseen,
    }
}

impl Trace {
    fn arm(&self, link: &mut Link) -> Outcome {
        let expr = expression(&self.filter, Scope::Trace)?;
        let mut bytes = vec![0; 8192];
        let (rate, rest) = bytes.split_first_chunk_mut::<4>().ok_or(Trouble::Nonsense("no room"))?;
        *rate = self.rate.to_le_bytes();
        let len = expr.encode(rest).ok_or_else(|| Trouble::Here("the filter expression is too long".into()))?;
        let filter = bytes.get(..len + 4).unwrap_or_default();
        link.change(&Request::SetTrace { filter }).map(drop)
    }

    /// Carries it out.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(crate) fn run(&self, common: &Common, out: &mut Out) -> Outcome {
        let mut link = common.link()?;
        let offset = clock(&mut link)?;
        self.arm(&mut link)?;
        if !common.quiet && !common.json {
            out.say(&format!("pfload: tracing, at most {} packets a second; interrupt to end", self.rate));
        }
        let done = self.read(&mut link, offset, common.json, out);
        // Who cannot be told any more forgets the trace by himself.
        let _ = link.change(&Request::SetTrace { filter: &[] });
        done
    }

    fn read(&self, link: &mut Link, offset: u64, json: bool, out: &mut Out) -> Outcome {
        let bad = |_| Trouble::Nonsense("a page that does not decode");
        let (mut cursor, mut left, mut left_out) = (0, self.count.unwrap_or(u64::MAX), 0);
        while left > 0 {
            let body = link.send(&Request::Trace { cursor })?;
            let mut page = Page::read(body).map_err(bad)?;
            let rows = page.rows_left();
            while let Some(row) = page.row::<TraceRow<'_>>().map_err(bad)? {
                let mut met = Vec::new();
                for _ in 0..row.met {
                    met.push(page.row::<MetRow<'_>>().map_err(bad)?.ok_or(Trouble::Nonsense("rules are missing"))?);
                }
                if left == 0 {
                    continue;
                }
                left -= 1;
                let nanos = row.ms.saturating_add(offset).saturating_mul(1_000_000);
                let way = way_of(&row, &met);
                let said = if json {
                    let mut value = way::to_json(&way);
                    if let Some(map) = value.as_object_mut() {
                        map.insert("time".into(), text::stamp(nanos).into());
                    }
                    format!("{}\n", envelope("trace", &value))
                } else {
                    format!("{}\n{}\n", text::stamp(nanos), way::text(&way, false))
                };
                let mut stdout = anstream::stdout();
                match stdout.write_all(said.as_bytes()).and_then(|()| stdout.flush()) {
                    Err(why) if why.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                    done => done.map_err(|why| Trouble::Here(format!("cannot write: {}", reason(&why))))?,
                }
            }
            (cursor, left_out) = (page.next, told(left_out, page.total, out));
            if rows == 0 {
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }
}

/// Says when more packets were left out than before.
fn told(before: u32, now: u32, out: &mut Out) -> u32 {
    if now > before {
        out.say(&format!("pfload: {} packets left out, more than the rate", now - before));
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfvm::packet::addr4;
    use pfvm::rule::{Af, Direction};
    use pfvm::watch::Action;

    #[test]
    fn a_traced_packet_reads_as_one_on_paper() {
        let (src, dst) = ((addr4([10, 0, 0, 5]), 5353), (addr4([198, 51, 100, 1]), 53));
        let row = TraceRow {
            seq: 1,
            ms: 0,
            generation: 7,
            dir: Direction::Out,
            forwarded: false,
            af: Af::Inet,
            naf: Af::Inet,
            proto: 17,
            ends: (src, dst),
            to: ((addr4([203, 0, 113, 9]), 61_000), dst),
            detail: 0,
            fragment: None,
            len: 60,
            passed: true,
            by: By::Rule,
            reason: 0,
            logged: true,
            created: true,
            state: Some([1, 0]),
            iface: "em0",
            met: 1,
            unseen: 0,
        };
        let met = MetRow {
            kind: MetKind::Decides,
            action: Action::Pass,
            stable_id: 1,
            nr: 4,
            anchor: "",
            text: "pass out all",
            label: "dns",
            file: "pf.conf",
            line: 9,
        };
        let said = anstream::adapter::strip_str(&way::text(&way_of(&row, &[met]), false)).to_string();
        assert_eq!(
            said,
            "out on em0 udp 10.0.0.5:5353 > 198.51.100.1:53\nbecomes 203.0.113.9:61000 > 198.51.100.1:53\n\n \
             decides  pf.conf:9  @4 pass out all\n\n\
             pass  by pf.conf:9 label \"dns\", state made (SINGLE:NO_TRAFFIC), logged, generation 7\n"
        );
    }
}

//! What `top` asks the filter: a snapshot of what the view at hand needs.

use pfvm::api::{HostKind, OptionsReply, Request, StateRow, Status};
use pfvm::engine::counters::LimitCounter;
use pfvm::image::Image;
use pfvm::packet::DropReason;
use pfvm::rule::{Addr, Direction};
use pfvm::watch::End;

use super::data::{IfaceLine, QueueLine, RuleLine, Snapshot, SourceLine, StateLine, TableLine};
use super::sheet::View;
use crate::link::{Ifaces, Link, Outcome, Sources, States, Tables, Trouble};
use crate::pf::book::Book;

/// Most states fetched at once: a view of more is no view.
const MOST_STATES: usize = 200_000;

/// Who answers.
pub(crate) const fn host(kind: HostKind) -> &'static str {
    match kind {
        HostKind::Driver => "driver",
        HostKind::Daemon => "pfd",
        HostKind::Test => "test",
    }
}

/// Source and destination of a key: element zero is the far end as the interface sees it.
const fn ends(key: &pfvm::api::Key, dir: Direction) -> (End, End) {
    let [a, b] = key.addr;
    let [p, q] = key.port;
    match dir {
        Direction::In => ((a, p), (b, q)),
        Direction::Out => ((b, q), (a, p)),
    }
}

fn state(s: &StateRow<'_>) -> StateLine {
    let stack = ends(&s.stack, s.dir);
    let wire = ends(&s.wire, s.dir);
    let known = |n: u32| (n != u32::MAX).then_some(n);
    StateLine {
        id: s.id,
        proto: s.stack.proto,
        dir: s.dir,
        iface: s.iface.to_owned(),
        af: s.stack.af,
        ends: stack,
        other: (s.wire != s.stack).then_some((s.wire.af, wire.0, wire.1)),
        progress: [s.src.state.name(s.wire.proto), s.dst.state.name(s.wire.proto)],
        age: s.age.into(),
        expires: s.expires.into(),
        packets: s.packets.iter().sum(),
        bytes: s.bytes.iter().sum(),
        rate: 0,
        rule: known(s.rule),
        anchor: s.anchor.to_owned(),
        rule_id: s.stable_id,
    }
}

fn states(link: &mut Link, all: &mut Snapshot) -> Outcome {
    let found = &mut all.states;
    link.each::<States>(
        |cursor| Request::States { filter: pfvm::api::StateFilter::default(), cursor },
        |row| {
            if found.len() < MOST_STATES {
                found.push(state(&row));
            }
            Ok(())
        },
    )
    .map(drop)
}

fn rules(link: &mut Link, all: &mut Snapshot) -> Outcome {
    let mut book = Book::read(link)?;
    let paths: Vec<String> = book.paths().map(str::to_owned).collect();
    for path in paths {
        for known in book.rules(link, &path)? {
            let (file, line) = &known.words.place;
            all.rules.push(RuleLine {
                id: known.row.stable_id,
                nr: known.row.nr,
                anchor: path.clone(),
                text: known.words.text.clone(),
                label: known.words.label.clone(),
                place: format!("{file}:{line}"),
                evaluations: known.row.evaluations,
                packets: known.row.packets.iter().sum(),
                bytes: known.row.bytes.iter().sum(),
                states: known.row.states.into(),
                rate: 0,
            });
        }
    }
    Ok(())
}

fn queues(link: &mut Link, all: &mut Snapshot) -> Outcome {
    let bytes = link.bytes(|offset| Request::Section { path: "", section: None, offset });
    let bytes = match bytes {
        Err(why) if why.is(pfvm::api::Code::NotFound) => return Ok(()),
        other => other?,
    };
    if bytes.is_empty() {
        return Ok(());
    }
    let image = Image::parse(&bytes).map_err(|_| Trouble::Nonsense("an image that does not read back"))?;
    let line =
        |q: pfvm::image::Queue| QueueLine { name: image.text(q.name).to_owned(), text: image.text(q.text).to_owned() };
    all.queues = image.queues().map(line).collect();
    Ok(())
}

fn tables(link: &mut Link, all: &mut Snapshot) -> Outcome {
    let found = &mut all.tables;
    let sum = |cells: &pfvm::api::Cells| cells.iter().flatten().sum();
    link.each::<Tables>(
        |cursor| Request::Tables { path: "", below: true, cursor },
        |t| {
            found.push(TableLine {
                name: t.name.to_owned(),
                anchor: t.path.to_owned(),
                addresses: t.addresses.into(),
                evaluations: t.evaluations,
                packets: sum(&t.packets),
                bytes: sum(&t.bytes),
            });
            Ok(())
        },
    )
    .map(drop)
}

fn sources(link: &mut Link, all: &mut Snapshot) -> Outcome {
    let found = &mut all.sources;
    link.each::<Sources>(
        |cursor| Request::Sources { cursor },
        |s| {
            found.push(SourceLine {
                source: s.source,
                kind: ["limit", "nat", "rdr", "route"].get(usize::from(s.kind)).copied().unwrap_or("?"),
                given: (s.given.1 != Addr::default()).then_some(s.given),
                states: s.states.into(),
                connections: s.connections.into(),
                packets: s.packets.iter().sum(),
                bytes: s.bytes.iter().sum(),
                age: s.age.into(),
                expires: s.expires.into(),
                rule: (s.rule != u32::MAX).then_some(s.rule),
                anchor: s.anchor.to_owned(),
            });
            Ok(())
        },
    )
    .map(drop)
}

/// Both families together: in passed, in dropped, out passed, out dropped.
fn cells(counts: &[[[u64; 2]; 2]; 2]) -> [u64; 4] {
    let mut sum = [0; 4];
    for family in counts {
        for (to, n) in sum.iter_mut().zip(family.iter().flatten()) {
            *to += n;
        }
    }
    sum
}

fn ifaces(link: &mut Link, all: &mut Snapshot) -> Outcome {
    let found = &mut all.ifaces;
    link.each::<Ifaces>(
        |cursor| Request::Ifaces { name: "", cursor },
        |i| {
            if i.present {
                found.push(IfaceLine {
                    name: i.name.to_owned(),
                    group: i.group,
                    skip: i.skip,
                    packets: cells(&i.packets),
                    bytes: cells(&i.bytes),
                    rate: [0; 4],
                });
            }
            Ok(())
        },
    )
    .map(drop)
}

/// A snapshot with what a view needs.
///
/// # Errors
/// [`Trouble`].
pub(crate) fn fetch(link: &mut Link, view: View, at: u64) -> Outcome<Snapshot> {
    let mut all = Snapshot { at, host: host(link.welcome.host).to_owned(), ..Snapshot::default() };
    {
        let s: Status<'_> = link.ask(&Request::Status)?;
        (all.running, all.since, all.generation) = (s.running, s.since, s.generation);
        all.state_count = s.states[0].into();
        let reasons = DropReason::ALL.iter().map(|r| r.name().to_owned()).zip(s.reasons);
        let limits = LimitCounter::ALL.iter().map(|l| l.name().to_owned()).zip(s.limits);
        all.counters = reasons.chain(limits).collect();
    }
    {
        let options: OptionsReply<'_> = link.ask(&Request::Options)?;
        all.most_states = options.limits.states.into();
    }
    match view {
        View::States => {
            states(link, &mut all)?;
            rules(link, &mut all)?;
        }
        View::Nat => states(link, &mut all)?,
        View::Rules => rules(link, &mut all)?,
        View::Queues => queues(link, &mut all)?,
        View::Tables => tables(link, &mut all)?,
        View::Sources => sources(link, &mut all)?,
        View::Ifaces => ifaces(link, &mut all)?,
        View::Counters => {}
    }
    Ok(all)
}

//! The screen: a line about the filter, the views, the rows, the keys. Works from 40 by 6.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table, Wrap};

use super::app::App;
use super::data::Snapshot;
use super::sheet::{self, View, span};

/// Whether colours are used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    /// Whether colours are used.
    pub colours: bool,
}

impl Paint {
    fn colour(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }
    fn head(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }
    fn bad(self) -> Style {
        if self.colours { Style::new().fg(Color::Red) } else { Style::new().add_modifier(Modifier::BOLD) }
    }
}

/// Keys, for the last line: as many as fit.
const KEYS: &[(&str, &str)] = &[
    ("q", "quit"),
    ("1-8", "view"),
    ("s", "sort"),
    ("r", "reverse"),
    ("/", "filter"),
    ("p", "pause"),
    ("+-", "interval"),
    ("?", "keys"),
];

/// All keys.
const HELP: &[&str] = &[
    "1 … 8, Tab, ← →   views: states, rules, queues, tables,",
    "                  sources, nat, interfaces, counters",
    "s  S              sort by the next, the previous column",
    "r                 reverse",
    "/  f              filter: host 10.0.0.1 and port 443,",
    "                  tcp, on em0, rule 7, label \"x\",",
    "                  state established, rate > 1k …",
    "Esc               no filter",
    "p  Space          pause",
    "+  -              fetch less, more often",
    "Enter             fetch now",
    "↑ ↓ PgUp PgDn g G scroll",
    "q                 quit",
];

/// Draws all; `trouble` is why nothing could be fetched. Gives the offset that was possible.
pub(crate) fn draw(frame: &mut Frame<'_>, app: &App, all: &Snapshot, trouble: Option<&str>, paint: Paint) -> usize {
    let area = frame.area();
    let [title, tabs, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)])
            .areas(area);
    frame.render_widget(Paragraph::new(heading(app, all, trouble, paint)), title);
    frame.render_widget(Paragraph::new(views(app, paint)), tabs);
    let offset = table(frame, body, app, all, paint);
    frame.render_widget(Paragraph::new(last(app, paint)), foot);
    if let Some(error) = app.edit.as_ref().and_then(|edit| edit.error.as_ref()) {
        popup(frame, body, "filter", &error.lines().map(str::to_owned).collect::<Vec<_>>());
    }
    if app.help {
        popup(frame, body, "keys", &HELP.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
    }
    offset
}

fn heading(app: &App, all: &Snapshot, trouble: Option<&str>, paint: Paint) -> Line<'static> {
    if let Some(trouble) = trouble {
        return Line::styled(format!("pfload top: {trouble}"), paint.bad());
    }
    let state = if all.running { "on" } else { "OFF" };
    let pause = if app.paused { "  PAUSED" } else { "" };
    Line::from(vec![
        Span::styled(format!("{} {state} {}", all.host, span(all.since)), paint.head()),
        Span::raw(format!(
            "  gen {}  states {}/{}  sort {}{}  every {}s{pause}",
            all.generation,
            all.state_count,
            sheet::short(all.most_states),
            app.sort(),
            if app.reverse { " reversed" } else { "" },
            app.seconds()
        )),
    ])
}

fn views(app: &App, paint: Paint) -> Line<'static> {
    let mut spans = Vec::new();
    for (n, view) in (1..).zip(View::ALL) {
        let style =
            if view == app.view { Style::new().add_modifier(Modifier::REVERSED) } else { paint.colour(Color::Gray) };
        spans.push(Span::styled(format!("{n} {}", view.name()), style));
        spans.push(Span::raw(" "));
    }
    Line::from(spans)
}

fn last(app: &App, paint: Paint) -> Line<'static> {
    if let Some(edit) = &app.edit {
        return Line::from(vec![Span::styled("filter: ", paint.head()), Span::raw(format!("{}_", edit.text))]);
    }
    let mut spans = Vec::new();
    for (key, what) in KEYS {
        spans.push(Span::styled((*key).to_owned(), paint.head()));
        spans.push(Span::raw(format!(" {what}  ")));
    }
    if !app.filter.is_empty() {
        spans.insert(0, Span::raw(format!("[{}]  ", app.filter)));
    }
    Line::from(spans)
}

/// The columns that are shown, by their places, and how wide each is: what is left over is shared among those without a
/// width of their own; where that is too little, spare columns go.
fn layout(view: View, rows: &[sheet::Row], room: u16) -> (Vec<usize>, Vec<Constraint>) {
    let columns = view.columns();
    let longest = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.cells.get(at)).map(|cell| cell.chars().count());
        let head = columns.get(at).map_or(0, |c| c.head.len());
        cells.max().unwrap_or(0).max(head)
    };
    let wanted: Vec<usize> =
        columns.iter().enumerate().map(|(at, c)| if c.width == 0 { longest(at) } else { 0 }).collect();
    let all: usize = wanted.iter().sum();
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let rest = |shown: &[usize]| {
        let fixed: usize = shown.iter().filter_map(|at| columns.get(*at)).map(|c| usize::from(c.width)).sum();
        usize::from(room).saturating_sub(fixed).saturating_sub(shown.len().saturating_sub(1))
    };
    while rest(&shown) < all {
        let spare = shown.iter().filter(|at| columns.get(**at).is_some_and(|c| c.spare > 0));
        let Some(first) = spare.max_by_key(|at| columns.get(**at).map_or(0, |c| c.spare)).copied() else { break };
        shown.retain(|at| *at != first);
    }
    let rest = rest(&shown);
    let width = |at: &usize| {
        let own = columns.get(*at).map_or(0, |c| c.width);
        let mine = wanted.get(*at).copied().unwrap_or(0);
        let share = if all <= rest { mine } else { rest * mine / all.max(1) };
        Constraint::Length(if own > 0 { own } else { u16::try_from(share).unwrap_or(room).max(4) })
    };
    let widths = shown.iter().map(width).collect();
    (shown, widths)
}

fn table(frame: &mut Frame<'_>, area: Rect, app: &App, all: &Snapshot, paint: Paint) -> usize {
    let rows = sheet::rows(app.view, all, &app.expr, app.sort(), app.reverse);
    let room = usize::from(area.height.saturating_sub(1));
    let offset = app.offset.min(rows.len().saturating_sub(room));
    let columns = app.view.columns();
    let lines: Vec<_> = rows.iter().skip(offset).take(room).cloned().collect();
    let (shown, widths) = layout(app.view, &lines, area.width);
    let cell = |text: &str, at: usize| {
        let line = Line::from(text.to_owned());
        Cell::from(if columns.get(at).is_some_and(|c| c.right) { line.right_aligned() } else { line })
    };
    let head = shown.iter().map(|at| cell(columns.get(*at).map_or("", |c| c.head), *at));
    let head = Row::new(head).style(Style::new().add_modifier(Modifier::UNDERLINED | Modifier::BOLD));
    let lines = lines.iter().map(|row| {
        let cells = shown.iter().map(|at| cell(row.cells.get(*at).map_or("", String::as_str), *at));
        Row::new(cells).style(if row.bad { paint.bad() } else { Style::new() })
    });
    frame.render_widget(Table::new(lines, widths).header(head).column_spacing(1), area);
    if rows.is_empty() && area.height > 1 {
        let what = if app.filter.is_empty() { "nothing here" } else { "nothing matches the filter" };
        let below = Rect { y: area.y + 1, height: 1, ..area };
        frame.render_widget(Paragraph::new(what), below);
    }
    offset
}

fn popup(frame: &mut Frame<'_>, area: Rect, title: &str, lines: &[String]) {
    let widest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let width = u16::try_from(widest + 4).unwrap_or(u16::MAX).min(area.width);
    let wrapped = lines.iter().map(|line| 1 + line.chars().count() / usize::from(width.saturating_sub(2).max(1)));
    let height = u16::try_from(wrapped.sum::<usize>() + 2).unwrap_or(u16::MAX).min(area.height);
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let text: Vec<Line<'_>> = lines.iter().map(|line| Line::from(format!(" {line}"))).collect();
    frame.render_widget(Clear, place);
    frame.render_widget(
        Paragraph::new(text).wrap(Wrap { trim: false }).block(Block::bordered().title(format!(" {title} "))),
        place,
    );
}

#[cfg(test)]
mod tests {
    use super::super::app::Key;
    use super::super::sample::snapshot;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn terminal(app: &App, size: (u16, u16), trouble: Option<&str>, colours: bool) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        terminal.draw(|frame| _ = draw(frame, app, &snapshot(), trouble, Paint { colours })).unwrap();
        terminal
    }

    fn screen(app: &App, size: (u16, u16)) -> Vec<String> {
        let terminal = terminal(app, size, None, true);
        let buffer = terminal.backend().buffer();
        (0..size.1)
            .map(|y| {
                let line: String = (0..size.0).map(|x| buffer[(x, y)].symbol().to_owned()).collect();
                line.trim_end().to_owned()
            })
            .collect()
    }

    fn app() -> App {
        App::new(View::States, "", 2).unwrap()
    }

    #[test]
    fn states_at_80_by_24() {
        let lines = screen(&app(), (80, 24));
        assert_eq!(lines[0], "pfd on 62m  gen 5  states 3/100k  sort rate  every 2s");
        assert_eq!(lines[1], "1 states 2 rules 3 queues 4 tables 5 sources 6 nat 7 interfaces 8 counters");
        assert_eq!(lines[2], "PR    D   SOURCE          DESTINATION      STATE         AGE BYTES  RATE RULE");
        assert_eq!(lines[3], "udp   out 10.0.0.5:5353   198.51.100.1:53  MULTI:SINGL    3s   900 12.0k    -");
        assert_eq!(lines[23], "q quit  1-8 view  s sort  r reverse  / filter  p pause  +- interval  ? keys");
    }

    #[test]
    fn addresses_are_whole_where_there_is_room() {
        let lines = screen(&app(), (120, 24));
        assert!(lines[4].contains("192.0.2.7:40000"), "{}", lines[4]);
        assert!(lines[4].contains("10.0.0.1:22"), "{}", lines[4]);
    }

    #[test]
    fn every_view_fits_a_small_screen() {
        for view in View::ALL {
            for size in [(80, 24), (40, 6), (1, 1), (200, 3)] {
                let mut app = app();
                app.view = view;
                app.help = size.0 == 40;
                let lines = screen(&app, size);
                if size == (80, 24) {
                    assert!(lines[3].len() > 10, "{view:?}: {lines:?}");
                }
            }
        }
    }

    #[test]
    fn scrolling_ends_where_the_rows_end() {
        let mut app = app();
        app.key(Key::Last);
        let mut terminal = Terminal::new(TestBackend::new(80, 5)).unwrap();
        let mut offset = 99;
        terminal.draw(|frame| offset = draw(frame, &app, &snapshot(), None, Paint { colours: true })).unwrap();
        assert_eq!(offset, 2, "one row fits, three there are");
        assert!(screen(&app, (80, 5))[3].contains("10.0.0.9"));
    }

    #[test]
    fn filters_trouble_and_errors_are_shown() {
        let mut app = app();
        for c in "/port 99999".chars() {
            app.key(Key::Char(c));
        }
        assert_eq!(screen(&app, (80, 24))[23], "filter: port 99999_");
        app.key(Key::Enter);
        let lines = screen(&app, (80, 24)).join("\n");
        assert!(lines.contains("found `99999`, wanted a port or a range") && lines.contains("^^^^^"), "{lines}");
        app.key(Key::Control('u'));
        for c in "udp".chars() {
            app.key(Key::Char(c));
        }
        app.key(Key::Enter);
        let lines = screen(&app, (80, 24));
        assert!(lines[23].starts_with("[udp]  q quit"), "{}", lines[23]);
        assert_eq!(lines[4], "", "one row is left");
        let broken = terminal(&app, (80, 24), Some("the filter closed the connection"), true);
        assert!(broken.backend().to_string().contains("pfload top: the filter closed the connection"));
    }

    #[test]
    fn without_colours_nothing_is_coloured() {
        for (colours, want) in [(true, true), (false, false)] {
            let mut app = app();
            app.view = View::Counters;
            let terminal = terminal(&app, (80, 24), None, colours);
            let cells = terminal.backend().buffer().content();
            let coloured = cells.iter().any(|c| c.fg != Color::Reset || c.bg != Color::Reset);
            assert_eq!(coloured, want);
        }
    }
}

//! The loop of the terminal view: keys, fetches, draws.

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::app::{App, Key, Step};
use super::data::Snapshot;
use super::draw::{Paint, draw};
use super::fetch::fetch;
use crate::link::{Link, Outcome, Trouble};

/// Rows a page key moves by.
const PAGE: usize = 20;

/// What a key of the terminal is to us.
const fn key_of(key: KeyEvent) -> Option<Key> {
    Some(match key.code {
        KeyCode::Char(c) if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Control(c),
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Tab | KeyCode::Right => Key::Next,
        KeyCode::BackTab | KeyCode::Left => Key::Previous,
        KeyCode::Up => Key::Up(1),
        KeyCode::Down => Key::Down(1),
        KeyCode::PageUp => Key::Up(PAGE),
        KeyCode::PageDown => Key::Down(PAGE),
        KeyCode::Home => Key::First,
        KeyCode::End => Key::Last,
        _ => return None,
    })
}

/// What is shown, and where it comes from.
struct Watch<'a> {
    open: &'a dyn Fn() -> Outcome<Link>,
    link: Option<Link>,
    all: Snapshot,
    trouble: Option<String>,
    begun: Instant,
    next: Instant,
}

impl Watch<'_> {
    /// Fetches anew; a connection that broke is opened again the next time.
    fn fetch(&mut self, app: &App) {
        let at = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let link = match self.link.take() {
            Some(link) => Ok(link),
            None => (self.open)(),
        };
        let fetched = link.and_then(|mut link| {
            let all = fetch(&mut link, app.view, at)?;
            self.link = Some(link);
            Ok(all)
        });
        match fetched {
            Ok(mut all) => {
                all.since(&self.all);
                (self.all, self.trouble) = (all, None);
            }
            Err(why) => self.trouble = Some(why.to_string()),
        }
        self.next = Instant::now() + Duration::from_secs(app.seconds());
    }
}

/// Shows the view until `q`.
///
/// # Errors
/// [`Trouble`] of the first connection, and of the terminal.
pub(crate) fn run(mut app: App, open: &dyn Fn() -> Outcome<Link>, paint: Paint) -> Outcome {
    let now = Instant::now();
    let link = Some(open()?);
    let mut watch = Watch { open, link, all: Snapshot::default(), trouble: None, begun: now, next: now };
    watch.fetch(&app);
    let broken = |why: std::io::Error| Trouble::Here(format!("the terminal: {}", crate::link::reason(&why)));
    let mut terminal = ratatui::try_init().map_err(broken)?;
    let done = (|| loop {
        terminal
            .draw(|frame| app.offset = draw(frame, &app, &watch.all, watch.trouble.as_deref(), paint))
            .map_err(broken)?;
        let wait =
            if app.paused { Duration::from_secs(3600) } else { watch.next.saturating_duration_since(Instant::now()) };
        if !event::poll(wait).map_err(broken)? {
            watch.fetch(&app);
            continue;
        }
        let before = app.view;
        let step = match event::read().map_err(broken)? {
            Event::Key(key) if key.kind != KeyEventKind::Release => key_of(key).map_or(Step::Draw, |key| app.key(key)),
            _ => Step::Draw,
        };
        match step {
            Step::Quit => return Ok(()),
            Step::Fetch => watch.fetch(&app),
            Step::Draw if app.view != before => watch.fetch(&app),
            Step::Draw => {}
        }
    })();
    ratatui::restore();
    done
}

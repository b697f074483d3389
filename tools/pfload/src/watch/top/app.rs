//! What the keys do: the view, its order, its filter, its place.

use pfvm::watch::Expr;

use super::super::filter::{Scope, parse};
use super::sheet::View;

/// A key that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A character.
    Char(char),
    /// Control and a character.
    Control(char),
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Backspace.
    Backspace,
    /// Tab, or the right arrow.
    Next,
    /// Shift and tab, or the left arrow.
    Previous,
    /// Up by so many rows.
    Up(usize),
    /// Down by so many rows.
    Down(usize),
    /// To the first row.
    First,
    /// To the last row.
    Last,
}

/// What is to be done after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Draw again.
    Draw,
    /// Fetch and draw.
    Fetch,
    /// End.
    Quit,
}

/// A filter being typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edit {
    /// What there is so far.
    pub text: String,
    /// What is wrong with it, once it was entered.
    pub error: Option<String>,
}

/// Seconds between fetches, the shortest and the longest.
const INTERVALS: [u64; 7] = [1, 2, 3, 5, 10, 30, 60];

/// The terminal view between two draws.
#[derive(Debug)]
pub(crate) struct App {
    /// What is shown.
    pub view: View,
    /// Of each view, which of its sorts.
    sorts: [usize; 8],
    /// Turned round.
    pub reverse: bool,
    /// The filter as typed.
    pub filter: String,
    /// The filter.
    pub expr: Expr,
    /// A filter being typed.
    pub edit: Option<Edit>,
    /// The first row shown.
    pub offset: usize,
    /// Nothing is fetched.
    pub paused: bool,
    /// Keys are shown.
    pub help: bool,
    interval: usize,
}

impl App {
    /// Begins with a view and a filter.
    ///
    /// # Errors
    /// What is wrong with the filter.
    pub(crate) fn new(view: View, filter: &str, seconds: u64) -> Result<Self, super::super::filter::FilterError> {
        let expr = parse(filter, Scope::Top)?;
        let interval = INTERVALS.iter().position(|i| *i >= seconds).unwrap_or(INTERVALS.len() - 1);
        Ok(Self {
            view,
            sorts: [0; 8],
            reverse: false,
            filter: filter.to_owned(),
            expr,
            edit: None,
            offset: 0,
            paused: false,
            help: false,
            interval,
        })
    }

    /// What the view is sorted by.
    pub(crate) fn sort(&self) -> &'static str {
        let at = self.sorts.get(self.view.place()).copied().unwrap_or(0);
        self.view.sorts().get(at).copied().unwrap_or("")
    }

    /// Seconds between fetches.
    pub(crate) fn seconds(&self) -> u64 {
        INTERVALS.get(self.interval).copied().unwrap_or(2)
    }

    fn show(&mut self, view: View) {
        self.view = view;
        self.offset = 0;
        self.reverse = false;
    }

    fn turn(&mut self, by: usize) {
        let at = (self.view.place() + by) % View::ALL.len();
        self.show(View::ALL.get(at).copied().unwrap_or(View::States));
    }

    fn resort(&mut self, by: usize) {
        let many = self.view.sorts().len();
        if let Some(at) = self.sorts.get_mut(self.view.place()) {
            *at = (*at + by) % many;
        }
        self.offset = 0;
    }

    /// Does what a key says.
    pub(crate) fn key(&mut self, key: Key) -> Step {
        if key == Key::Control('c') {
            return Step::Quit;
        }
        if self.edit.is_some() {
            self.typed(key);
            return Step::Draw;
        }
        if self.help {
            self.help = false;
            return if key == Key::Char('q') { Step::Quit } else { Step::Draw };
        }
        match key {
            Key::Char('q') => return Step::Quit,
            Key::Char(digit @ '1'..='8') => {
                let at = usize::try_from(u32::from(digit) - u32::from('1')).unwrap_or(0);
                self.show(View::ALL.get(at).copied().unwrap_or(View::States));
            }
            Key::Next => self.turn(1),
            Key::Previous => self.turn(View::ALL.len() - 1),
            Key::Char('s' | '>') => self.resort(1),
            Key::Char('S' | '<') => self.resort(self.view.sorts().len() - 1),
            Key::Char('r') => self.reverse = !self.reverse,
            Key::Char('/' | 'f') => self.edit = Some(Edit { text: self.filter.clone(), error: None }),
            Key::Char('p' | ' ') => self.paused = !self.paused,
            Key::Char('+') => self.interval = (self.interval + 1).min(INTERVALS.len() - 1),
            Key::Char('-') => self.interval = self.interval.saturating_sub(1),
            Key::Char('h' | '?') => self.help = true,
            Key::Enter => return Step::Fetch,
            Key::Escape => {
                self.filter.clear();
                self.expr = Expr::default();
                self.offset = 0;
            }
            Key::Up(by) => self.offset = self.offset.saturating_sub(by),
            Key::Down(by) => self.offset = self.offset.saturating_add(by),
            Key::Char('k') => self.offset = self.offset.saturating_sub(1),
            Key::Char('j') => self.offset = self.offset.saturating_add(1),
            Key::First | Key::Char('g') => self.offset = 0,
            Key::Last | Key::Char('G') => self.offset = usize::MAX,
            _ => {}
        }
        Step::Draw
    }

    fn typed(&mut self, key: Key) {
        let Some(edit) = self.edit.as_mut() else { return };
        match key {
            Key::Char(c) => {
                edit.text.push(c);
                edit.error = None;
            }
            Key::Backspace => {
                edit.text.pop();
                edit.error = None;
            }
            Key::Control('u') => *edit = Edit::default(),
            Key::Escape => self.edit = None,
            Key::Enter => match parse(&edit.text, Scope::Top) {
                Ok(expr) => {
                    self.filter.clone_from(&edit.text);
                    self.expr = expr;
                    self.offset = 0;
                    self.edit = None;
                }
                Err(error) => edit.error = Some(error.to_string()),
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(app: &mut App, keys: &str) -> Step {
        keys.chars().fold(Step::Draw, |_, c| app.key(if c == '\n' { Key::Enter } else { Key::Char(c) }))
    }

    #[test]
    fn keys_choose_view_and_order() {
        let mut app = App::new(View::States, "", 2).unwrap();
        assert_eq!((app.view, app.sort()), (View::States, "rate"));
        press(&mut app, "s");
        assert_eq!(app.sort(), "bytes");
        press(&mut app, "2ss");
        assert_eq!((app.view, app.sort()), (View::Rules, "bytes"));
        press(&mut app, "1");
        assert_eq!(app.sort(), "bytes", "each view keeps its order");
        app.key(Key::Previous);
        assert_eq!(app.view, View::Counters);
        app.key(Key::Next);
        assert_eq!(app.view, View::States);
        assert_eq!(press(&mut app, "q"), Step::Quit);
        assert_eq!(app.key(Key::Control('c')), Step::Quit);
        assert_eq!(app.key(Key::Enter), Step::Fetch);
    }

    #[test]
    fn a_filter_is_typed_and_told_what_is_wrong() {
        let mut app = App::new(View::States, "", 2).unwrap();
        press(&mut app, "/tcp prot\n");
        assert!(app.edit.as_ref().unwrap().error.as_ref().unwrap().starts_with("found `prot`"));
        for _ in 0.."prot".len() {
            app.key(Key::Backspace);
        }
        assert_eq!(press(&mut app, "port 22\n"), Step::Draw);
        assert_eq!((app.filter.as_str(), app.edit.is_none()), ("tcp port 22", true));
        press(&mut app, "/q");
        app.key(Key::Escape);
        assert_eq!(app.filter, "tcp port 22", "what is not entered is forgotten");
        app.key(Key::Escape);
        assert_eq!((app.filter.as_str(), &app.expr), ("", &Expr::default()));
        assert!(App::new(View::States, "tcp (", 2).is_err());
    }

    #[test]
    fn the_interval_has_ends() {
        let mut app = App::new(View::States, "", 4).unwrap();
        assert_eq!(app.seconds(), 5);
        press(&mut app, "+++++++++");
        assert_eq!(app.seconds(), 60);
        press(&mut app, "-----------");
        assert_eq!(app.seconds(), 1);
    }
}

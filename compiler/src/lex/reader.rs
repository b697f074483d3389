//! Characters: files, line counts, continuations, and macro text pushed back into the stream.
//!
//! This is what lies below pfctl's tokens: bytes come from the innermost of the included files, or from what was pushed
//! back; a backslash before a newline vanishes; the text of a macro comes back as if it stood there, between two marks
//! that keep it from being expanded again; each file ends in a newline of its own.
//!
//! **Invariant:** every character knows the bytes of the file that brought it in; text of a macro has those of its use.
//! **Invariant:** the characters handed out are at most the input's and [`EXPANSION_LIMIT`] more.

use std::sync::Arc;

use crate::ast::{FileId, Span};

/// Files that may include one another. pfctl ends where descriptors do.
pub(crate) const INCLUDE_DEPTH: usize = 64;
/// Characters that macros may add to a compilation in all.
pub(crate) const EXPANSION_LIMIT: u64 = 32 << 20;

/// Starts the text of a macro (`START_EXPAND`).
const START: u8 = 1;
/// Ends it (`DONE_EXPAND`).
const DONE: u8 = 2;

/// A character, or the end of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ch {
    /// The byte; `None` at the end.
    pub(crate) byte: Option<u8>,
    /// First byte of the file that brought it in.
    pub(crate) lo: u32,
    /// One past the last.
    pub(crate) hi: u32,
}

impl Ch {
    pub(crate) fn is(self, byte: u8) -> bool {
        self.byte == Some(byte)
    }
}

/// What waits to be read before the file goes on.
#[derive(Debug)]
enum Pushed {
    Char(Ch),
    Text { text: Arc<[u8]>, next: usize, lo: u32, hi: u32 },
}

#[derive(Debug)]
struct Frame {
    file: FileId,
    bytes: Arc<[u8]>,
    next: usize,
    pushed: Vec<Pushed>,
    line: u32,
    ended: bool,
}

/// The innermost file is the last one.
#[derive(Debug)]
pub(crate) struct Reader {
    frames: Vec<Frame>,
    /// Line of the token being read: pfctl's `yylval.lineno`.
    pub(crate) token_line: u32,
    /// Inside the text of a macro.
    pub(crate) expanding: bool,
    expanded: u64,
    file: FileId,
}

/// Why a file cannot be pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooDeep;

impl Reader {
    pub(crate) fn new(file: FileId, bytes: Arc<[u8]>) -> Self {
        let mut reader = Reader { frames: Vec::new(), token_line: 1, expanding: false, expanded: 0, file };
        reader.enter(file, bytes, 1);
        reader
    }

    fn enter(&mut self, file: FileId, bytes: Arc<[u8]>, line: u32) {
        let next = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        self.frames.push(Frame { file, bytes, next, pushed: Vec::new(), line, ended: false });
        self.file = file;
    }

    /// Goes on with another file, as if a newline stood before it.
    pub(crate) fn include(&mut self, file: FileId, bytes: Arc<[u8]>) -> Result<(), TooDeep> {
        if self.frames.len() >= INCLUDE_DEPTH {
            return Err(TooDeep);
        }
        self.enter(file, bytes, 0);
        self.unget(Ch { byte: Some(b'\n'), lo: 0, hi: 0 });
        Ok(())
    }

    /// The innermost file.
    pub(crate) fn file(&self) -> FileId {
        self.file
    }

    /// Line that is being read in it.
    pub(crate) fn line(&self) -> u32 {
        self.frames.last().map_or(0, |frame| frame.line)
    }

    /// A newline has been taken.
    pub(crate) fn count_line(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            frame.line = frame.line.saturating_add(1);
        }
    }

    /// Whether it is the outermost file.
    fn at_top(&self) -> bool {
        self.frames.len() <= 1
    }

    fn pop_file(&mut self) {
        if !self.at_top() {
            self.frames.pop();
            self.file = self.frames.last().map_or(self.file, |frame| frame.file);
        }
    }

    /// The next byte as it stands, marks taken out (`igetc`).
    fn raw(&mut self) -> Ch {
        loop {
            let Some(frame) = self.frames.last_mut() else { return Ch { byte: None, lo: 0, hi: 0 } };
            let ch = frame.take();
            match ch.byte {
                Some(START) => self.expanding = true,
                Some(DONE) => self.expanding = false,
                _ => return ch,
            }
        }
    }

    /// The next character outside quotes (`lgetc(0)`).
    pub(crate) fn get(&mut self) -> Ch {
        if let Some(ch) = self.frames.last_mut().and_then(Frame::plain) {
            return ch;
        }
        let mut ch = self.raw();
        while ch.is(b'\\') {
            let next = self.raw();
            if !next.is(b'\n') {
                ch = next;
                break;
            }
            self.token_line = self.line();
            self.count_line();
            ch = self.raw();
        }
        if ch.byte.is_some() {
            return ch;
        }
        if let Some(frame) = self.frames.last_mut()
            && !frame.ended
        {
            frame.ended = true;
            return Ch { byte: Some(b'\n'), ..ch };
        }
        // The file that included this one goes on, however it ends itself.
        while ch.byte.is_none() && !self.at_top() {
            self.pop_file();
            ch = self.raw();
        }
        ch
    }

    /// The next character inside quotes. `Err` when the file ends: the complaint is the caller's, and the character is
    /// then the closing quote, or the end when no file is left (`lgetc(quotec)`).
    pub(crate) fn get_quoted(&mut self, quote: u8) -> Result<Ch, Ch> {
        let ch = self.raw();
        if ch.byte.is_some() { Ok(ch) } else { Err(Ch { byte: (!self.at_top()).then_some(quote), ..ch }) }
    }

    /// Leaves an included file that ended inside quotes.
    pub(crate) fn leave(&mut self) {
        self.pop_file();
    }

    /// Takes at most `most` bytes of the file as long as they are of a class that holds no newline, backslash or mark,
    /// and nothing is pushed back before them; the bytes and where they end.
    pub(crate) fn run(&mut self, most: usize, class: impl Fn(u8) -> bool) -> Option<(&[u8], u32)> {
        let frame = self.frames.last_mut()?;
        if !frame.pushed.is_empty() {
            return None;
        }
        let rest = frame.bytes.get(frame.next..)?;
        let rest = rest.get(..most).unwrap_or(rest);
        let count = rest.iter().position(|byte| !class(*byte)).unwrap_or(rest.len());
        frame.next = frame.next.saturating_add(count);
        Some((rest.get(..count)?, u32::try_from(frame.next).unwrap_or(u32::MAX)))
    }

    /// Gives a character back (`lungetc`).
    pub(crate) fn unget(&mut self, ch: Ch) {
        if ch.byte.is_some()
            && let Some(frame) = self.frames.last_mut()
        {
            frame.unget(ch);
        }
    }

    /// Puts the text of a macro before what comes next. False when that is more than all macros may add.
    #[must_use]
    pub(crate) fn expand(&mut self, text: &Arc<[u8]>, site: Span) -> bool {
        self.expanded = self.expanded.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        if self.expanded > EXPANSION_LIMIT {
            return false;
        }
        let Some(frame) = self.frames.last_mut() else { return true };
        let (lo, hi) = (site.lo, site.hi);
        frame.pushed.push(Pushed::Char(Ch { byte: Some(DONE), lo, hi }));
        frame.pushed.push(Pushed::Text { text: Arc::clone(text), next: 0, lo, hi });
        frame.pushed.push(Pushed::Char(Ch { byte: Some(START), lo, hi }));
        true
    }
}

impl Frame {
    /// The next byte of the file, when nothing is pushed back before it and it means no more than itself.
    fn plain(&mut self) -> Option<Ch> {
        let byte = *self.bytes.get(self.next)?;
        if !self.pushed.is_empty() || byte <= DONE || byte == b'\\' || byte == b'\r' {
            return None;
        }
        let lo = u32::try_from(self.next).unwrap_or(u32::MAX);
        self.next = self.next.saturating_add(1);
        Some(Ch { byte: Some(byte), lo, hi: lo.saturating_add(1) })
    }

    fn take(&mut self) -> Ch {
        while let Some(last) = self.pushed.last_mut() {
            match last {
                Pushed::Char(ch) => {
                    let ch = *ch;
                    self.pushed.pop();
                    return ch;
                }
                Pushed::Text { text, next, lo, hi } => {
                    if let Some(byte) = text.get(*next) {
                        let ch = Ch { byte: Some(*byte), lo: *lo, hi: *hi };
                        *next = next.saturating_add(1);
                        return ch;
                    }
                    self.pushed.pop();
                }
            }
        }
        let lo = u32::try_from(self.next).unwrap_or(u32::MAX);
        let Some(&byte) = self.bytes.get(self.next) else { return Ch { byte: None, lo, hi: lo } };
        self.next = self.next.saturating_add(1);
        if byte == b'\r' && self.bytes.get(self.next) == Some(&b'\n') {
            // Lines that end in CR LF.
            self.next = self.next.saturating_add(1);
            return Ch { byte: Some(b'\n'), lo, hi: lo.saturating_add(2) };
        }
        Ch { byte: Some(byte), lo, hi: lo.saturating_add(1) }
    }

    fn unget(&mut self, ch: Ch) {
        // What was just taken from the file need not be stored: the file still has it.
        if self.pushed.is_empty() {
            let width: usize = if ch.is(b'\n') && ch.hi.wrapping_sub(ch.lo) == 2 { 2 } else { 1 };
            if let Some(before) = self.next.checked_sub(width)
                && usize::try_from(ch.lo) == Ok(before)
                && ch.hi > ch.lo
                && (self.bytes.get(before).copied() == ch.byte || width == 2)
                && usize::try_from(ch.hi) == Ok(self.next)
            {
                self.next = before;
                return;
            }
        }
        self.pushed.push(Pushed::Char(ch));
    }
}

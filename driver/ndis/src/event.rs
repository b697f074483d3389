//! Entries of the system's event log: what of a load, and of the rules at boot, an administrator reads there.
//!
//! An entry is one record of the I/O manager (`IO_ERROR_LOG_PACKET`) with texts behind it, [`MOST`] bytes in all; the
//! message file is the driver's image. Texts that do not fit are cut.
//!
//! Source: "Filling in an error log entry", "Defining custom error types" of Microsoft's documentation.

/// Bytes of an entry at most: `ERROR_LOG_MAXIMUM_SIZE`.
pub const MOST: usize = 240;
/// Bytes before the texts: the record, no dump data but the word that is part of it.
const HEAD: usize = 48;
/// Texts behind it; `%1` of a message is the driver's name, which the system puts there.
const TEXTS: usize = 4;

/// What happened. The number is the message's, whose text is in the image: severity, our facility, code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum What {
    /// Rules were loaded: `%2` generation, `%3` process, `%4` user, `%5` digest.
    Loaded = 0x6004_0001,
    /// The last good rules are in force: `%2` generation, `%3` digest.
    LastGood = 0x6004_0002,
    /// The last good rules could not be loaded; the policy holds: `%2` why.
    NoLastGood = 0xE004_0003,
    /// Rules were loaded but could not be kept for the next start: `%2` status.
    NotKept = 0xA004_0004,
}

/// Messages by their numbers, as the event viewer shows them.
pub const MESSAGES: [(What, &str); 4] = [
    (What::Loaded, "Rules were loaded: generation %2, by process %3 of user %4; digest of the main image %5."),
    (What::LastGood, "The last good rules are in force as generation %2; digest of the main image %3."),
    (
        What::NoLastGood,
        "The last good rules could not be loaded (%2). Everything but ARP and EAPOL is blocked until rules are loaded.",
    ),
    (What::NotKept, "Rules were loaded but could not be kept for the next start of the system (status %2)."),
];

/// An entry.
#[derive(Clone, Debug)]
pub struct Entry {
    bytes: [u8; MOST],
    length: usize,
    texts: u16,
}

impl Entry {
    /// An entry about something, with a status that belongs to it.
    #[must_use]
    pub fn new(what: What, status: i32) -> Self {
        let mut entry = Self { bytes: [0; MOST], length: HEAD, texts: 0 };
        entry.set(6, &u16::try_from(HEAD).unwrap_or(0).to_le_bytes());
        entry.set(12, &(what as u32).to_le_bytes());
        entry.set(20, &status.to_le_bytes());
        entry
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    }

    /// Appends a text: characters, cut so that the entry holds it and its end.
    pub fn text(&mut self, text: impl Iterator<Item = u16>) {
        if usize::from(self.texts) >= TEXTS || self.length.saturating_add(2) > MOST {
            return;
        }
        let end = MOST.saturating_sub(2);
        for unit in text.take_while(|unit| *unit != 0) {
            if self.length.saturating_add(2) > end {
                break;
            }
            self.set(self.length, &unit.to_le_bytes());
            self.length = self.length.saturating_add(2);
        }
        // The end of the text is there already: the bytes are zero.
        self.length = self.length.saturating_add(2);
        self.texts = self.texts.saturating_add(1);
        self.set(4, &self.texts.to_le_bytes());
    }

    /// Appends a text of ASCII characters.
    pub fn ascii(&mut self, text: &[u8]) {
        self.text(text.iter().map(|b| u16::from(*b)));
    }

    /// Appends a number.
    pub fn number(&mut self, mut number: u64) {
        let mut digits = [0_u16; 20];
        let mut count = 0_usize;
        for place in digits.iter_mut().rev() {
            *place = u16::from(b'0').saturating_add(u16::try_from(number % 10).unwrap_or(0));
            (number, count) = (number / 10, count.saturating_add(1));
            if number == 0 {
                break;
            }
        }
        self.text(digits.into_iter().skip(digits.len().saturating_sub(count)));
    }

    /// Appends bytes in hexadecimal digits.
    pub fn hex(&mut self, bytes: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |n: u8| DIGITS.get(usize::from(n)).map_or(0, |d| u16::from(*d));
        self.text(bytes.iter().flat_map(|b| [digit(*b >> 4), digit(*b & 15)]));
    }

    /// The record as the system takes it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(entry: &Entry) -> Vec<String> {
        let units: Vec<u16> = entry.bytes()[HEAD..].as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b)).collect();
        let mut out: Vec<String> = units.split(|u| *u == 0).map(String::from_utf16_lossy).collect();
        assert_eq!(out.pop().as_deref(), Some(""), "the last text has an end");
        out
    }

    #[test]
    fn an_entry_is_laid_out_as_the_system_reads_it() {
        let mut entry = Entry::new(What::Loaded, 0);
        entry.number(12);
        entry.number(0);
        entry.ascii(b"S-1-5-18");
        entry.hex(&[0xab, 0x01]);
        assert_eq!(texts(&entry), ["12", "0", "S-1-5-18", "ab01"]);
        let bytes = entry.bytes();
        assert_eq!((bytes[4], bytes[6]), (4, 48), "texts, and where they begin");
        assert_eq!(bytes[12..16], 0x6004_0001_u32.to_le_bytes());
        entry.ascii(b"one too many");
        assert_eq!(texts(&entry).len(), 4);
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        let mut entry = Entry::new(What::NoLastGood, -1);
        entry.ascii(&[b'x'; 300]);
        entry.ascii(b"y");
        assert_eq!(entry.bytes().len(), MOST);
        assert_eq!(texts(&entry)[0].len(), (MOST - HEAD - 2) / 2);
    }

    #[test]
    fn every_message_has_its_number_once_and_its_severity() {
        for (n, (what, text)) in MESSAGES.iter().enumerate() {
            let code = *what as u32;
            assert_eq!(usize::try_from(code & 0xffff).unwrap(), n + 1);
            assert_eq!(code >> 29 & 1, 1, "ours, not the system's");
            assert!(text.is_ascii() && text.contains("%2"));
        }
    }
}

//! One line of a fingerprint file: `window:ttl:df:size:options:class:version:subtype:description`.

use pfvm::image::Print;
use pfvm::osfp::{MAX_OPTIONS, OPTION_BITS, flag, option};

use super::MAX_NAME;

/// What is wrong with a line; the text is pfctl's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A field has nothing in it.
    #[error("empty {0}")]
    Empty(&'static str),
    /// `*` with something behind it.
    #[error("long '*' {0}")]
    Long(&'static str),
    /// `%` with nothing behind it.
    #[error("modulus {0} must have a value")]
    Modulus(&'static str),
    /// A prefix the field does not have.
    #[error("does not allow {prefix}' {field}")]
    Prefix {
        /// What stands there.
        prefix: char,
        /// Where.
        field: &'static str,
    },
    /// Not a number.
    #[error("non-digit character in {0}")]
    Digit(&'static str),
    /// A number too large to hold.
    #[error("{0} overflowed")]
    Overflow(&'static str),
    /// A number larger than the field may be.
    #[error("{field} value {value} > {most}")]
    Large {
        /// Where.
        field: &'static str,
        /// What stands there.
        value: i64,
        /// The most.
        most: i64,
    },
    /// A text shorter than it must be.
    #[error("too short {0}")]
    Short(&'static str),
    /// Something that is no number behind an option.
    #[error("unknown character '{found}' in {option} TCP opt")]
    OptionValue {
        /// What stands there.
        found: char,
        /// Behind which option.
        option: char,
    },
    /// Something behind an option.
    #[error("unknown option to {0} TCP opt")]
    Option(char),
    /// More fields than there are.
    #[error("excess field")]
    Excess,
}

/// A line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The fingerprint, for IPv4, without a name.
    pub print: Print,
    /// Class, without the marks `@` and `*`.
    pub class: String,
    /// Version; may be a range.
    pub version: String,
    /// Subtype; may be a range.
    pub subtype: String,
}

/// What stands before a number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    None,
    Any,
    Mss,
    Mtu,
    Mod,
}

/// The fields that are left of a line. As in pfctl a line that ends early has empty fields.
struct Fields<'a> {
    rest: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> &'a str {
        let Some(rest) = self.rest else { return "" };
        let (field, rest) = match rest.split_once(':') {
            Some((f, r)) => (f, Some(r).filter(|r| !r.is_empty())),
            None => (rest, None),
        };
        self.rest = rest;
        field.trim()
    }

    /// A number with the marks a field allows.
    fn number(&mut self, field: &'static str, allowed: &[Mark], most: i64) -> Result<(u16, Mark), LineError> {
        let text = self.next();
        let first = text.chars().next().ok_or(LineError::Empty(field))?;
        let mark = match first {
            '*' => Mark::Any,
            'S' => Mark::Mss,
            'T' => Mark::Mtu,
            '%' => Mark::Mod,
            _ => Mark::None,
        };
        let alone = text.len() == 1;
        if mark == Mark::None {
            return Ok((digits(field, text, most)?, mark));
        }
        match mark {
            Mark::Any if !alone => return Err(LineError::Long(field)),
            Mark::Mss | Mark::Mtu | Mark::Any if alone && allowed.contains(&mark) => return Ok((0, mark)),
            Mark::Mss | Mark::Mtu if alone => return Ok((0, Mark::None)),
            Mark::Any | Mark::Mod if alone => return Err(LineError::Modulus(field)),
            _ => {}
        }
        if !allowed.contains(&mark) {
            return Err(LineError::Prefix { prefix: first, field });
        }
        Ok((digits(field, text.get(1..).unwrap_or_default(), most)?, mark))
    }

    /// A text of at least `least` bytes.
    fn text(&mut self, field: &'static str, least: usize) -> Result<&'a str, LineError> {
        let text = self.next();
        if text.len() < least { Err(LineError::Short(field)) } else { Ok(text) }
    }
}

fn digits(field: &'static str, text: &str, most: i64) -> Result<u16, LineError> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(LineError::Digit(field));
    }
    let value = text.bytes().try_fold(0_i64, |v, b| v.checked_mul(10)?.checked_add(i64::from(b - b'0')));
    let value = value.ok_or(LineError::Overflow(field))?;
    u16::try_from(value).ok().filter(|_| value <= most).ok_or(LineError::Large { field, value, most })
}

/// A name cut to the room pf has for it.
fn name(text: &str) -> String {
    let mut end = text.len().min(MAX_NAME);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

impl Line {
    /// Reads a line; `None` when it says nothing.
    ///
    /// # Errors
    /// [`LineError`].
    pub fn parse(raw: &str) -> Result<Option<Self>, LineError> {
        let text = raw.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            return Ok(None);
        }
        let mut f = Fields { rest: Some(text) };
        let all = [Mark::Any, Mark::Mss, Mark::Mtu, Mark::Mod];
        let (window, window_mark) = f.number("window size", &all, 0xffff)?;
        let (ttl, _) = f.number("ttl", &[], 0xff)?;
        let (df, _) = f.number("don't fragment frag", &[], 1)?;
        let (size, size_mark) = f.number("overall packet size", &[Mark::Mod, Mark::Any], 8192)?;
        let options = f.text("TCP Options", 1)?;
        let class = f.text("OS class", 1)?;
        let version = f.text("OS version", 0)?;
        let subtype = f.text("OS subtype", 0)?;
        f.text("OS description", 2)?;
        let options = Options::parse(options)?;
        if f.rest.is_some() {
            return Err(LineError::Excess);
        }
        let window_flag = match window_mark {
            Mark::None => 0,
            Mark::Any => flag::WINDOW_ANY,
            Mark::Mss => flag::WINDOW_MSS,
            Mark::Mtu => flag::WINDOW_MTU,
            Mark::Mod => flag::WINDOW_MOD,
        };
        let set = [
            (df != 0, flag::DF),
            (size_mark == Mark::Any, flag::SIZE_ANY),
            (size_mark == Mark::Mod, flag::SIZE_MOD),
            (options.wscale.1 == Mark::Any, flag::WSCALE_ANY),
            (options.wscale.1 == Mark::Mod, flag::WSCALE_MOD),
            (options.mss.1 == Mark::Any, flag::MSS_ANY),
            (options.mss.1 == Mark::Mod, flag::MSS_MOD),
            (options.ts0, flag::TS0),
        ];
        let print = Print {
            os: 0,
            options: options.packed,
            window,
            size,
            mss: options.mss.0,
            flags: set.iter().filter(|(on, _)| *on).fold(window_flag, |f, (_, bit)| f | bit),
            options_len: options.count,
            wscale: u8::try_from(options.wscale.0 & 0xff).unwrap_or(0),
            ttl: u8::try_from(ttl).unwrap_or(0),
            zero: 0,
        };
        let class = class.strip_prefix(['@', '*']).unwrap_or(class);
        Ok(Some(Self { print, class: name(class), version: name(version), subtype: name(subtype) }))
    }
}

/// The options field.
struct Options {
    packed: u64,
    count: u8,
    mss: (u16, Mark),
    wscale: (u16, Mark),
    ts0: bool,
}

impl Options {
    fn parse(text: &str) -> Result<Self, LineError> {
        let mut o = Self { packed: 0, count: 0, mss: (0, Mark::Any), wscale: (0, Mark::Any), ts0: false };
        if text == "." {
            return Ok(o);
        }
        let mut rest = text;
        while o.count < MAX_OPTIONS {
            let Some(kind) = rest.chars().next() else { break };
            rest = o.option(kind.to_ascii_uppercase(), rest.get(kind.len_utf8()..).unwrap_or_default())?;
            o.count += 1;
            if rest.is_empty() {
                break;
            }
            rest = rest.strip_prefix(',').ok_or(LineError::Option(kind.to_ascii_uppercase()))?;
        }
        Ok(o)
    }

    /// Takes one option; gives what stands behind it. A letter that is no option only counts.
    fn option<'a>(&mut self, kind: char, rest: &'a str) -> Result<&'a str, LineError> {
        let number = match kind {
            'N' => option::NOP,
            'S' => option::SACK,
            'W' => option::WSCALE,
            'M' => option::MSS,
            'T' => option::TIMESTAMP,
            _ => return Ok(rest),
        };
        self.packed = (self.packed << OPTION_BITS) | number;
        match kind {
            'W' | 'M' => {
                let (value, mark, rest) = value(kind, rest)?;
                if kind == 'W' {
                    self.wscale = (value, mark);
                } else {
                    self.mss = (value, mark);
                }
                Ok(rest)
            }
            'T' => match rest.strip_prefix('0') {
                Some(rest) => {
                    self.ts0 = true;
                    Ok(rest)
                }
                None => Ok(rest),
            },
            _ => Ok(rest),
        }
    }
}

/// The value of an option: `*`, or a number that `%` may precede; up to a comma or the end.
fn value(kind: char, text: &str) -> Result<(u16, Mark, &str), LineError> {
    if let Some(rest) = text.strip_prefix('*')
        && (rest.is_empty() || rest.starts_with(','))
    {
        return Ok((0, Mark::Any, rest));
    }
    let (mark, text) = text.strip_prefix('%').map_or((Mark::None, text), |t| (Mark::Mod, t));
    let (number, rest) = text.split_at(text.find(',').unwrap_or(text.len()));
    let bad = number.chars().find(|c| !c.is_ascii_digit());
    if let Some(found) = bad.or_else(|| number.is_empty().then(|| rest.chars().next().unwrap_or('\0'))) {
        return Err(LineError::OptionValue { found, option: kind });
    }
    let value = number.bytes().fold(0_u32, |v, b| v.wrapping_mul(10).wrapping_add(u32::from(b - b'0')));
    Ok((u16::try_from(value & 0xffff).unwrap_or(0), mark, rest))
}

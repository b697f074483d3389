//! Why a request was refused.

use serde::{Deserialize, Serialize};

/// Names a code: its number on the wire and the error number pf gives in that case.
macro_rules! codes {
    ($($(#[$doc:meta])* $id:ident $errno:literal $name:literal;)*) => {
        /// Kind of refusal, with the error number pf has for it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum Code { $($(#[$doc])* $id,)* }
        impl Code {
            /// All of them, in order of their numbers.
            pub const ALL: &'static [Code] = &[$(Code::$id,)*];
            /// OpenBSD's error number.
            #[must_use]
            pub const fn errno(self) -> u8 { match self { $(Code::$id => $errno,)* } }
            /// What OpenBSD's `strerror` says.
            #[must_use]
            pub const fn text(self) -> &'static str { match self { $(Code::$id => $name,)* } }
        }
    };
}
codes! {
    /// A `const` table, or a name that is not to be changed.
    NotPermitted 1 "Operation not permitted";
    /// No such thing: a ruleset, a source, filtering that is already off.
    NotFound 2 "No such file or directory";
    /// No such table.
    NoSuch 3 "No such process";
    /// A list or a name too long.
    TooLong 7 "Argument list too long";
    /// No memory, or a limit reached.
    NoMemory 12 "Cannot allocate memory";
    /// No right to write, or to do anything at all.
    Denied 13 "Permission denied";
    /// The ticket is of an older generation, or a load waits for its confirmation.
    Busy 16 "Device busy";
    /// Filtering is already on; a table is already there.
    Exists 17 "File exists";
    /// No such interface.
    NoDevice 6 "Device not configured";
    /// It makes no sense.
    Invalid 22 "Invalid argument";
    /// There is no room for more tickets or clients.
    TooMany 23 "Too many open files in system";
    /// A number is out of range.
    Range 34 "Result too large";
    /// This host does not do that.
    NotSupported 91 "Operation not supported";
    /// The message does not decode.
    Message 92 "Bad message";
    /// Another version of the protocol.
    Version 86 "Program version wrong";
    /// The image is damaged or does not verify.
    Image 79 "Inappropriate file type or format";
    /// A `Hello` has to come first.
    Hello 57 "Socket is not connected";
}

/// A refusal: nothing has been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal<'a> {
    /// Its kind.
    pub code: Code,
    /// What was wrong, in words.
    pub what: &'a str,
    /// Where: a byte of the message, a record of an image's section, a row, a ruleset. What it counts, `what` says.
    pub at: Option<u64>,
}

impl<'a> Refusal<'a> {
    /// A refusal without a place.
    #[must_use]
    pub const fn new(code: Code, what: &'a str) -> Self {
        Self { code, what, at: None }
    }

    /// The same with a place.
    #[must_use]
    pub const fn at(self, at: u64) -> Self {
        Self { at: Some(at), ..self }
    }
}

impl core::fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.what)?;
        match self.at {
            Some(at) => write!(f, " {at}"),
            None => Ok(()),
        }
    }
}

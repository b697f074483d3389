//! Words of the language: the keyword table and the operators.
//!
//! The reader hands over whole words ([`super::reader`]); logos decides which of them are reserved. A word is reserved
//! only as a whole and in exact case; quoted text never comes here.

use logos::Logos;

/// What a token is, without its text.
#[derive(Logos, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[logos(utf8 = false)]
pub enum Tk {
    /// `af-to`.
    #[token(b"af-to")]
    AfTo,
    /// `all`.
    #[token(b"all")]
    All,
    /// `allow-opts`.
    #[token(b"allow-opts")]
    AllowOpts,
    /// `anchor`.
    #[token(b"anchor")]
    Anchor,
    /// `antispoof`.
    #[token(b"antispoof")]
    Antispoof,
    /// `any`.
    #[token(b"any")]
    Any,
    /// `bandwidth`.
    #[token(b"bandwidth")]
    Bandwidth,
    /// `binat-to`.
    #[token(b"binat-to")]
    BinatTo,
    /// `bitmask`.
    #[token(b"bitmask")]
    Bitmask,
    /// `block`.
    #[token(b"block")]
    Block,
    /// `block-policy`.
    #[token(b"block-policy")]
    BlockPolicy,
    /// `burst`.
    #[token(b"burst")]
    Burst,
    /// `code`.
    #[token(b"code")]
    Code,
    /// `debug`.
    #[token(b"debug")]
    Debug,
    /// `default`.
    #[token(b"default")]
    Default,
    /// `delay`.
    #[token(b"delay")]
    Delay,
    /// `divert-packet`.
    #[token(b"divert-packet")]
    DivertPacket,
    /// `divert-reply`.
    #[token(b"divert-reply")]
    DivertReply,
    /// `divert-to`.
    #[token(b"divert-to")]
    DivertTo,
    /// `drop`.
    #[token(b"drop")]
    Drop,
    /// `dup-to`.
    #[token(b"dup-to")]
    DupTo,
    /// `file`.
    #[token(b"file")]
    File,
    /// `fingerprints`.
    #[token(b"fingerprints")]
    Fingerprints,
    /// `flags`.
    #[token(b"flags")]
    Flags,
    /// `floating`.
    #[token(b"floating")]
    Floating,
    /// `flows`.
    #[token(b"flows")]
    Flows,
    /// `flush`.
    #[token(b"flush")]
    Flush,
    /// `for`.
    #[token(b"for")]
    For,
    /// `fragment`.
    #[token(b"fragment")]
    Fragment,
    /// `from`.
    #[token(b"from")]
    From,
    /// `global`.
    #[token(b"global")]
    Global,
    /// `group`.
    #[token(b"group")]
    Group,
    /// `hostid`.
    #[token(b"hostid")]
    Hostid,
    /// `icmp-type`.
    #[token(b"icmp-type")]
    IcmpType,
    /// `icmp6-type`.
    #[token(b"icmp6-type")]
    Icmp6Type,
    /// `if-bound`.
    #[token(b"if-bound")]
    IfBound,
    /// `in`.
    #[token(b"in")]
    In,
    /// `include`.
    #[token(b"include")]
    Include,
    /// `inet`.
    #[token(b"inet")]
    Inet,
    /// `inet6`.
    #[token(b"inet6")]
    Inet6,
    /// `keep`.
    #[token(b"keep")]
    Keep,
    /// `label`.
    #[token(b"label")]
    Label,
    /// `least-states`.
    #[token(b"least-states")]
    LeastStates,
    /// `limit`.
    #[token(b"limit")]
    Limit,
    /// `load`.
    #[token(b"load")]
    Load,
    /// `log`.
    #[token(b"log")]
    Log,
    /// `loginterface`.
    #[token(b"loginterface")]
    Loginterface,
    /// `match`.
    #[token(b"match")]
    Match,
    /// `matches`.
    #[token(b"matches")]
    Matches,
    /// `max`.
    #[token(b"max")]
    Max,
    /// `max-mss`.
    #[token(b"max-mss")]
    MaxMss,
    /// `max-pkt-rate`.
    #[token(b"max-pkt-rate")]
    MaxPktRate,
    /// `max-src-conn`.
    #[token(b"max-src-conn")]
    MaxSrcConn,
    /// `max-src-conn-rate`.
    #[token(b"max-src-conn-rate")]
    MaxSrcConnRate,
    /// `max-src-nodes`.
    #[token(b"max-src-nodes")]
    MaxSrcNodes,
    /// `max-src-states`.
    #[token(b"max-src-states")]
    MaxSrcStates,
    /// `min`.
    #[token(b"min")]
    Min,
    /// `min-ttl`.
    #[token(b"min-ttl")]
    MinTtl,
    /// `modulate`.
    #[token(b"modulate")]
    Modulate,
    /// `nat-to`.
    #[token(b"nat-to")]
    NatTo,
    /// `no`.
    #[token(b"no")]
    No,
    /// `no-df`.
    #[token(b"no-df")]
    NoDf,
    /// `no-route`.
    #[token(b"no-route")]
    NoRoute,
    /// `no-sync`.
    #[token(b"no-sync")]
    NoSync,
    /// `on`.
    #[token(b"on")]
    On,
    /// `once`.
    #[token(b"once")]
    Once,
    /// `optimization`.
    #[token(b"optimization")]
    Optimization,
    /// `os`.
    #[token(b"os")]
    Os,
    /// `out`.
    #[token(b"out")]
    Out,
    /// `overload`.
    #[token(b"overload")]
    Overload,
    /// `parent`.
    #[token(b"parent")]
    Parent,
    /// `pass`.
    #[token(b"pass")]
    Pass,
    /// `pflow`.
    #[token(b"pflow")]
    Pflow,
    /// `port`.
    #[token(b"port")]
    Port,
    /// `prio`.
    #[token(b"prio")]
    Prio,
    /// `probability`.
    #[token(b"probability")]
    Probability,
    /// `proto`.
    #[token(b"proto")]
    Proto,
    /// `qlimit`.
    #[token(b"qlimit")]
    Qlimit,
    /// `quantum`.
    #[token(b"quantum")]
    Quantum,
    /// `queue`.
    #[token(b"queue")]
    Queue,
    /// `quick`.
    #[token(b"quick")]
    Quick,
    /// `random`.
    #[token(b"random")]
    Random,
    /// `random-id`.
    #[token(b"random-id")]
    RandomId,
    /// `rdomain`.
    #[token(b"rdomain")]
    Rdomain,
    /// `rdr-to`.
    #[token(b"rdr-to")]
    RdrTo,
    /// `reassemble`.
    #[token(b"reassemble")]
    Reassemble,
    /// `received-on`.
    #[token(b"received-on")]
    ReceivedOn,
    /// `reply-to`.
    #[token(b"reply-to")]
    ReplyTo,
    /// `return`.
    #[token(b"return")]
    Return,
    /// `return-icmp`.
    #[token(b"return-icmp")]
    ReturnIcmp,
    /// `return-icmp6`.
    #[token(b"return-icmp6")]
    ReturnIcmp6,
    /// `return-rst`.
    #[token(b"return-rst")]
    ReturnRst,
    /// `round-robin`.
    #[token(b"round-robin")]
    RoundRobin,
    /// `route`.
    #[token(b"route")]
    Route,
    /// `route-to`.
    #[token(b"route-to")]
    RouteTo,
    /// `rtable`.
    #[token(b"rtable")]
    Rtable,
    /// `rule`.
    #[token(b"rule")]
    Rule,
    /// `ruleset-optimization`.
    #[token(b"ruleset-optimization")]
    RulesetOptimization,
    /// `scrub`.
    #[token(b"scrub")]
    Scrub,
    /// `set`.
    #[token(b"set")]
    Set,
    /// `skip`.
    #[token(b"skip")]
    Skip,
    /// `sloppy`.
    #[token(b"sloppy")]
    Sloppy,
    /// `source-hash`.
    #[token(b"source-hash")]
    SourceHash,
    /// `source-track`.
    #[token(b"source-track")]
    SourceTrack,
    /// `state`.
    #[token(b"state")]
    State,
    /// `state-defaults`.
    #[token(b"state-defaults")]
    StateDefaults,
    /// `state-policy`.
    #[token(b"state-policy")]
    StatePolicy,
    /// `static-port`.
    #[token(b"static-port")]
    StaticPort,
    /// `sticky-address`.
    #[token(b"sticky-address")]
    StickyAddress,
    /// `syncookies`.
    #[token(b"syncookies")]
    Syncookies,
    /// `synproxy`.
    #[token(b"synproxy")]
    Synproxy,
    /// `table`.
    #[token(b"table")]
    Table,
    /// `tag`.
    #[token(b"tag")]
    Tag,
    /// `tagged`.
    #[token(b"tagged")]
    Tagged,
    /// `timeout`.
    #[token(b"timeout")]
    Timeout,
    /// `to`.
    #[token(b"to")]
    To,
    /// `tos`.
    #[token(b"tos")]
    Tos,
    /// `ttl`.
    #[token(b"ttl")]
    Ttl,
    /// `urpf-failed`.
    #[token(b"urpf-failed")]
    UrpfFailed,
    /// `user`.
    #[token(b"user")]
    User,
    /// `weight`.
    #[token(b"weight")]
    Weight,
    /// `!=`.
    #[token(b"!=")]
    Ne,
    /// `<=`.
    #[token(b"<=")]
    Le,
    /// `>=`.
    #[token(b">=")]
    Ge,
    /// `<>`.
    #[token(b"<>")]
    Outside,
    /// `><`.
    #[token(b"><")]
    Inside,
    /// `=`.
    #[token(b"=")]
    Equal,
    /// `<`.
    #[token(b"<")]
    Lt,
    /// `>`.
    #[token(b">")]
    Gt,
    /// `!`.
    #[token(b"!")]
    Not,
    /// `{`.
    #[token(b"{")]
    BraceOpen,
    /// `}`.
    #[token(b"}")]
    BraceClose,
    /// `(`.
    #[token(b"(")]
    ParenOpen,
    /// `)`.
    #[token(b")")]
    ParenClose,
    /// `,`.
    #[token(b",")]
    Comma,
    /// `/`.
    #[token(b"/")]
    Slash,
    /// `-`.
    #[token(b"-")]
    Minus,
    /// The end of a line.
    #[token(b"\n")]
    Newline,
    /// A run of digits, possibly negative: the reader has checked what follows.
    #[regex(b"-?[0-9]+")]
    Number,
    /// Any other word, and every quoted text.
    Word,
    /// A byte that begins no token.
    Stray,
    /// A token the lexer complained about.
    Error,
    /// The end of the input.
    End,
    /// Before a statement of the file itself; never read.
    Top,
    /// Before a statement of an inline anchor; never read.
    Inner,
}

impl Tk {
    /// What a whole lexeme is: a reserved word, an operator, a number, or [`Tk::Word`].
    #[must_use]
    pub fn classify(lexeme: &[u8]) -> Tk {
        let mut lexer = Tk::lexer(lexeme);
        match lexer.next() {
            Some(Ok(kind)) if lexer.remainder().is_empty() => kind,
            _ => Tk::Word,
        }
    }

    /// Whether it is one of the reserved words.
    #[must_use]
    pub fn is_keyword(self) -> bool {
        KEYWORDS.iter().any(|(_, kind)| *kind == self)
    }
}

/// The reserved words, sorted.
pub const KEYWORDS: [(&str, Tk); 121] = [
    ("af-to", Tk::AfTo),
    ("all", Tk::All),
    ("allow-opts", Tk::AllowOpts),
    ("anchor", Tk::Anchor),
    ("antispoof", Tk::Antispoof),
    ("any", Tk::Any),
    ("bandwidth", Tk::Bandwidth),
    ("binat-to", Tk::BinatTo),
    ("bitmask", Tk::Bitmask),
    ("block", Tk::Block),
    ("block-policy", Tk::BlockPolicy),
    ("burst", Tk::Burst),
    ("code", Tk::Code),
    ("debug", Tk::Debug),
    ("default", Tk::Default),
    ("delay", Tk::Delay),
    ("divert-packet", Tk::DivertPacket),
    ("divert-reply", Tk::DivertReply),
    ("divert-to", Tk::DivertTo),
    ("drop", Tk::Drop),
    ("dup-to", Tk::DupTo),
    ("file", Tk::File),
    ("fingerprints", Tk::Fingerprints),
    ("flags", Tk::Flags),
    ("floating", Tk::Floating),
    ("flows", Tk::Flows),
    ("flush", Tk::Flush),
    ("for", Tk::For),
    ("fragment", Tk::Fragment),
    ("from", Tk::From),
    ("global", Tk::Global),
    ("group", Tk::Group),
    ("hostid", Tk::Hostid),
    ("icmp-type", Tk::IcmpType),
    ("icmp6-type", Tk::Icmp6Type),
    ("if-bound", Tk::IfBound),
    ("in", Tk::In),
    ("include", Tk::Include),
    ("inet", Tk::Inet),
    ("inet6", Tk::Inet6),
    ("keep", Tk::Keep),
    ("label", Tk::Label),
    ("least-states", Tk::LeastStates),
    ("limit", Tk::Limit),
    ("load", Tk::Load),
    ("log", Tk::Log),
    ("loginterface", Tk::Loginterface),
    ("match", Tk::Match),
    ("matches", Tk::Matches),
    ("max", Tk::Max),
    ("max-mss", Tk::MaxMss),
    ("max-pkt-rate", Tk::MaxPktRate),
    ("max-src-conn", Tk::MaxSrcConn),
    ("max-src-conn-rate", Tk::MaxSrcConnRate),
    ("max-src-nodes", Tk::MaxSrcNodes),
    ("max-src-states", Tk::MaxSrcStates),
    ("min", Tk::Min),
    ("min-ttl", Tk::MinTtl),
    ("modulate", Tk::Modulate),
    ("nat-to", Tk::NatTo),
    ("no", Tk::No),
    ("no-df", Tk::NoDf),
    ("no-route", Tk::NoRoute),
    ("no-sync", Tk::NoSync),
    ("on", Tk::On),
    ("once", Tk::Once),
    ("optimization", Tk::Optimization),
    ("os", Tk::Os),
    ("out", Tk::Out),
    ("overload", Tk::Overload),
    ("parent", Tk::Parent),
    ("pass", Tk::Pass),
    ("pflow", Tk::Pflow),
    ("port", Tk::Port),
    ("prio", Tk::Prio),
    ("probability", Tk::Probability),
    ("proto", Tk::Proto),
    ("qlimit", Tk::Qlimit),
    ("quantum", Tk::Quantum),
    ("queue", Tk::Queue),
    ("quick", Tk::Quick),
    ("random", Tk::Random),
    ("random-id", Tk::RandomId),
    ("rdomain", Tk::Rdomain),
    ("rdr-to", Tk::RdrTo),
    ("reassemble", Tk::Reassemble),
    ("received-on", Tk::ReceivedOn),
    ("reply-to", Tk::ReplyTo),
    ("return", Tk::Return),
    ("return-icmp", Tk::ReturnIcmp),
    ("return-icmp6", Tk::ReturnIcmp6),
    ("return-rst", Tk::ReturnRst),
    ("round-robin", Tk::RoundRobin),
    ("route", Tk::Route),
    ("route-to", Tk::RouteTo),
    ("rtable", Tk::Rtable),
    ("rule", Tk::Rule),
    ("ruleset-optimization", Tk::RulesetOptimization),
    ("scrub", Tk::Scrub),
    ("set", Tk::Set),
    ("skip", Tk::Skip),
    ("sloppy", Tk::Sloppy),
    ("source-hash", Tk::SourceHash),
    ("source-track", Tk::SourceTrack),
    ("state", Tk::State),
    ("state-defaults", Tk::StateDefaults),
    ("state-policy", Tk::StatePolicy),
    ("static-port", Tk::StaticPort),
    ("sticky-address", Tk::StickyAddress),
    ("syncookies", Tk::Syncookies),
    ("synproxy", Tk::Synproxy),
    ("table", Tk::Table),
    ("tag", Tk::Tag),
    ("tagged", Tk::Tagged),
    ("timeout", Tk::Timeout),
    ("to", Tk::To),
    ("tos", Tk::Tos),
    ("ttl", Tk::Ttl),
    ("urpf-failed", Tk::UrpfFailed),
    ("user", Tk::User),
    ("weight", Tk::Weight),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_words_are_whole_and_exact() {
        for (word, kind) in KEYWORDS {
            assert_eq!(Tk::classify(word.as_bytes()), kind, "{word}");
            assert_eq!(Tk::classify(format!("{word}x").as_bytes()), Tk::Word, "{word}x");
            assert_eq!(Tk::classify(format!("x{word}").as_bytes()), Tk::Word, "x{word}");
            assert_eq!(Tk::classify(word.to_uppercase().as_bytes()), Tk::Word);
        }
        assert!(KEYWORDS.is_sorted_by_key(|(word, _)| *word));
    }

    #[test]
    fn numbers_and_operators() {
        assert_eq!(Tk::classify(b"-12"), Tk::Number);
        assert_eq!(Tk::classify(b"12a"), Tk::Word);
        assert_eq!(Tk::classify(b"><"), Tk::Inside);
        assert_eq!(Tk::classify(b"\xff"), Tk::Word);
        assert_eq!(Tk::classify(b""), Tk::Word);
    }
}

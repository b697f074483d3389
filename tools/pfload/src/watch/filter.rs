//! The filter language of `log`, `trace` and `top`: text to [`Expr`].
//!
//! ```text
//! host 192.0.2.1 and port 443        src 10.0.0.0/8 or dst port 53
//! proto tcp, on em0                  not (icmp or icmp6)
//! rule 7   rule 3.1   anchor "ftp"   label "web"   block   reason ip-option
//! state established                  bytes > 1M and age < 5m
//! ```
//! Words side by side are joined by `and`. An error names what was found and what was wanted, under a caret.
//! **Invariant:** whatever the text, parsing ends; an expression that parses decodes again ([`Expr::decode`]).

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use pfvm::packet::DropReason;
use pfvm::rule::{Addr, Af, Direction};
use pfvm::watch::{Action, Expr, Number, Op, Order, Side, Test, Text};

/// What an expression is about: some words mean nothing there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Log records.
    Log,
    /// Packets that are traced.
    Trace,
    /// Rows of the lists of `top`.
    Top,
}

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilterError {
    /// The expression.
    pub text: String,
    /// Bytes of it that are wrong.
    pub at: Range<usize>,
    /// What was found and what was wanted.
    pub what: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.text.get(..self.at.start).map_or(0, |t| t.chars().count());
        let width = self.text.get(self.at.clone()).map_or(1, |t| t.chars().count()).max(1);
        write!(f, "{}\n  {}\n  {:before$}{}", self.what, self.text, "", "^".repeat(width))
    }
}

impl std::error::Error for FilterError {}

/// A word, a sign or a quoted name, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    text: String,
    quoted: bool,
    at: Range<usize>,
}

/// Deepest nesting of parentheses and `not`.
const DEEPEST: usize = 32;
/// Signs of their own; all else up to a blank is one word.
const SIGNS: &[&str] = &["&&", "||", "<=", ">=", "==", "!=", "(", ")", "!", "<", ">", "=", ","];

fn tokens(text: &str) -> Result<Vec<Token>, (Range<usize>, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|r| !r.is_empty()) {
        let Some(first) = rest.chars().next() else { break };
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if first == '"' {
            let Some(len) = rest.get(1..).and_then(|r| r.find('"')) else {
                return Err((at..text.len(), "found a name that is not closed, wanted a `\"` after it".into()));
            };
            let name = rest.get(1..=len).unwrap_or_default().to_owned();
            found.push(Token { text: name, quoted: true, at: at..at + len + 2 });
            at += len + 2;
        } else {
            let sign = SIGNS.iter().find(|s| rest.starts_with(**s)).map(|s| s.len());
            let word = || {
                let end = |c: char| c.is_whitespace() || c == '"' || "()!<>=,&|".contains(c);
                rest.find(end).filter(|n| *n > 0)
            };
            let len = sign.or_else(word).unwrap_or(rest.len());
            found.push(Token { text: rest.get(..len).unwrap_or_default().to_owned(), quoted: false, at: at..at + len });
            at += len;
        }
    }
    Ok(found)
}

/// Reads an expression; an empty one holds always.
pub(crate) fn parse(text: &str, scope: Scope) -> Result<Expr, FilterError> {
    let fail = |(at, what): (Range<usize>, String)| FilterError { text: text.to_owned(), at, what };
    let tokens = tokens(text).map_err(fail)?;
    let mut parser =
        Parser { tokens, next: 0, end: text.len(), ops: Vec::new(), names: String::new(), scope, depth: 0 };
    if parser.tokens.is_empty() {
        return Ok(Expr::default());
    }
    let parsed = parser.either().and_then(|()| match parser.peek() {
        None => Ok(()),
        Some(token) => Err((token.at.clone(), format!("found `{}`, wanted `and`, `or` or the end", token.text))),
    });
    parsed.map_err(fail)?;
    Expr::new(&parser.ops, &parser.names).map_err(|error| fail((0..text.len(), error.to_string())))
}

type Parsed<T = ()> = Result<T, (Range<usize>, String)>;

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    end: usize,
    ops: Vec<Op>,
    names: String,
    scope: Scope,
    depth: usize,
}

/// Words that are a test by themselves.
const ALONE: &[(&str, Test)] = &[
    ("tcp", Test::Proto(6)),
    ("udp", Test::Proto(17)),
    ("icmp", Test::Proto(1)),
    ("icmp6", Test::Proto(58)),
    ("inet", Test::Af(Af::Inet)),
    ("ip", Test::Af(Af::Inet)),
    ("inet6", Test::Af(Af::Inet6)),
    ("ip6", Test::Af(Af::Inet6)),
    ("in", Test::Dir(Direction::In)),
    ("out", Test::Dir(Direction::Out)),
    ("pass", Test::Action(Action::Pass)),
    ("block", Test::Action(Action::Block)),
    ("match", Test::Action(Action::Match)),
];

/// Words that take something, for a message.
const WORDS: &str = "host, net, port, src, dst, proto, on, rule, anchor, label, log, action, reason, state, user, \
                     bytes, packets, length, rate, age, expires, states, tcp, udp, icmp, icmp6, inet, inet6, in, out, \
                     pass, block, match";

/// Numbers, and where they are known.
const NUMBERS: &[(&str, Number)] = &[
    ("bytes", Number::Bytes),
    ("packets", Number::Packets),
    ("rate", Number::Rate),
    ("age", Number::Age),
    ("expires", Number::Expires),
    ("states", Number::States),
    ("length", Number::Length),
    ("len", Number::Length),
];

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    /// The next word if it is one of these, taken.
    fn take(&mut self, words: &[&str]) -> bool {
        let hit = self.peek().is_some_and(|t| !t.quoted && words.contains(&t.text.as_str()));
        self.next += usize::from(hit);
        hit
    }

    fn token(&mut self, wanted: &str) -> Parsed<Token> {
        let token = self.peek().cloned();
        self.next += 1;
        token.ok_or_else(|| (self.end..self.end, format!("found the end, wanted {wanted}")))
    }

    fn either(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err((self.here(), format!("nested more than {DEEPEST} deep")));
        }
        self.both()?;
        while self.take(&["or", "||"]) {
            self.both()?;
            self.ops.push(Op::Or);
        }
        self.depth -= 1;
        Ok(())
    }

    fn here(&self) -> Range<usize> {
        self.peek().map_or(self.end..self.end, |t| t.at.clone())
    }

    fn both(&mut self) -> Parsed {
        self.turned()?;
        loop {
            let joined = self.take(&["and", "&&", ","]);
            let more = self.peek().is_some_and(|t| t.quoted || !matches!(t.text.as_str(), ")" | "or" | "||"));
            if !joined && !more {
                return Ok(());
            }
            self.turned()?;
            self.ops.push(Op::And);
        }
    }

    fn turned(&mut self) -> Parsed {
        if self.take(&["not", "!"]) {
            self.depth += 1;
            if self.depth > DEEPEST {
                return Err((self.here(), format!("nested more than {DEEPEST} deep")));
            }
            self.turned()?;
            self.depth -= 1;
            self.ops.push(Op::Not);
            return Ok(());
        }
        if self.take(&["("]) {
            self.either()?;
            let token = self.token("`)`")?;
            return if token.text == ")" {
                Ok(())
            } else {
                Err((token.at, format!("found `{}`, wanted `)`", token.text)))
            };
        }
        self.test()
    }

    fn push(&mut self, test: Test) {
        self.ops.push(Op::Test(test));
    }

    fn test(&mut self) -> Parsed {
        let token = self.token("a test")?;
        if token.quoted {
            return Err((
                token.at,
                format!("found the name \"{}\", wanted a test such as `label \"{0}\"`", token.text),
            ));
        }
        let word = token.text.as_str();
        // `action block` before `block`, `src port` before `port`.
        match word {
            "src" | "dst" => return self.end_test(if word == "src" { Side::Src } else { Side::Dst }),
            "host" | "net" => return self.network(Side::Any),
            "port" => return self.port(Side::Any),
            "proto" => return self.proto(),
            "on" | "ifname" | "interface" => return self.named("an interface", Test::On),
            "rule" | "rnr" | "rulenum" => return self.rule(),
            "anchor" | "ruleset" | "rset" => return self.named("an anchor path", Test::Anchor),
            "label" => return self.named("a label", Test::Label),
            "action" => return self.action(),
            "reason" => return self.reason(),
            "log" => return self.log_if(),
            "user" => {
                let uid = self.number("a user number")?;
                self.push(Test::User(uid));
                return Ok(());
            }
            "state" => {
                self.only(&token, &[Scope::Trace, Scope::Top], "state")?;
                return self.named("a name such as `established`", Test::State);
            }
            _ => {}
        }
        if let Some((_, test)) = ALONE.iter().find(|(name, _)| *name == word) {
            self.push(*test);
            return Ok(());
        }
        if let Some((name, what)) = NUMBERS.iter().find(|(name, _)| *name == word) {
            return self.compare(&token, name, *what);
        }
        if address(word).is_some() {
            self.next -= 1;
            return self.network(Side::Any);
        }
        Err((token.at, format!("found `{word}`, wanted a test: {WORDS}")))
    }

    fn only(&self, token: &Token, scopes: &[Scope], word: &str) -> Parsed {
        if scopes.contains(&self.scope) {
            return Ok(());
        }
        let whose = if scopes.contains(&Scope::Trace) { "traces and of the lists of top" } else { "the lists of top" };
        Err((token.at.clone(), format!("`{word}` is known of {whose} only")))
    }

    fn end_test(&mut self, side: Side) -> Parsed {
        if self.take(&["port"]) {
            return self.port(side);
        }
        let _ = self.take(&["host", "net"]);
        self.network(side)
    }

    fn network(&mut self, side: Side) -> Parsed {
        let token = self.token("an address")?;
        let (af, addr, prefix) = address(&token.text)
            .ok_or_else(|| (token.at.clone(), format!("found `{}`, wanted an address or a network", token.text)))?;
        self.push(Test::Net { side, af, addr, prefix });
        Ok(())
    }

    fn port(&mut self, side: Side) -> Parsed {
        let token = self.token("a port")?;
        let (low, high) = token.text.split_once([':', '-']).unwrap_or((&token.text, &token.text));
        let known = |text: &str| {
            text.parse().ok().or_else(|| SERVICES.iter().find(|(name, _)| *name == text).map(|(_, port)| *port))
        };
        let range: Option<(u16, u16)> = known(low).zip(known(high)).filter(|(lo, hi)| lo <= hi);
        let (lo, hi) =
            range.ok_or_else(|| (token.at.clone(), format!("found `{}`, wanted a port or a range", token.text)))?;
        self.push(Test::Port { side, lo, hi });
        Ok(())
    }

    fn proto(&mut self) -> Parsed {
        let token = self.token("a protocol")?;
        let named = PROTOCOLS.iter().find(|(name, _)| *name == token.text).map(|(_, number)| *number);
        let number = named.or_else(|| token.text.parse().ok());
        let number = number.ok_or_else(|| (token.at.clone(), format!("found `{}`, wanted a protocol", token.text)))?;
        self.push(Test::Proto(number));
        Ok(())
    }

    fn named(&mut self, wanted: &str, test: fn(Text) -> Test) -> Parsed {
        let token = self.token(wanted)?;
        if !token.quoted && SIGNS.contains(&token.text.as_str()) {
            return Err((token.at, format!("found `{}`, wanted {wanted}", token.text)));
        }
        let place = (u16::try_from(self.names.len()), u16::try_from(token.text.len()));
        let (Ok(at), Ok(len)) = place else { return Err((token.at, "the names are too long".into())) };
        self.names.push_str(&token.text);
        self.push(test(Text { at, len }));
        Ok(())
    }

    fn rule(&mut self) -> Parsed {
        let token = self.token("a rule number")?;
        let (nr, sub) = match token.text.split_once('.') {
            Some((nr, sub)) => (nr, Some(sub)),
            None => (token.text.as_str(), None),
        };
        let number = |text: &str| text.trim_start_matches('@').parse::<u32>().ok();
        let wrong = || (token.at.clone(), format!("found `{}`, wanted a rule number", token.text));
        let nr = number(nr).ok_or_else(wrong)?;
        let sub = sub.map(|sub| number(sub).ok_or_else(wrong)).transpose()?;
        self.push(Test::Rule { nr, sub });
        Ok(())
    }

    fn action(&mut self) -> Parsed {
        let token = self.token("`pass`, `block` or `match`")?;
        let action = match token.text.as_str() {
            "pass" => Action::Pass,
            "block" | "drop" => Action::Block,
            "match" => Action::Match,
            other => return Err((token.at, format!("found `{other}`, wanted `pass`, `block` or `match`"))),
        };
        self.push(Test::Action(action));
        Ok(())
    }

    fn reason(&mut self) -> Parsed {
        let token = self.token("a reason")?;
        let found = DropReason::ALL.iter().find(|reason| reason.name() == token.text);
        let number = found.and_then(|reason| u8::try_from(reason.index()).ok()).or_else(|| token.text.parse().ok());
        let number = number.ok_or_else(|| {
            let all: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
            (token.at.clone(), format!("found `{}`, wanted a reason: {}", token.text, all.join(", ")))
        })?;
        self.push(Test::Reason(number));
        Ok(())
    }

    fn log_if(&mut self) -> Parsed {
        let token = self.token("a pflog interface")?;
        let number = token.text.strip_prefix("pflog").unwrap_or(&token.text).parse().ok();
        let number =
            number.ok_or_else(|| (token.at.clone(), format!("found `{}`, wanted pflog0 to pflog255", token.text)))?;
        self.push(Test::LogIf(number));
        Ok(())
    }

    fn number(&mut self, wanted: &str) -> Parsed<u32> {
        let token = self.token(wanted)?;
        token.text.parse().map_err(|_| (token.at, format!("found `{}`, wanted {wanted}", token.text)))
    }

    fn compare(&mut self, word: &Token, name: &str, what: Number) -> Parsed {
        if what != Number::Length {
            self.only(word, &[Scope::Top], name)?;
        }
        let sign = self.token("`<`, `<=`, `=`, `>=` or `>`")?;
        let order = match sign.text.as_str() {
            "<" => Order::Less,
            "<=" => Order::AtMost,
            "=" | "==" => Order::Equal,
            ">=" => Order::AtLeast,
            ">" => Order::More,
            other => return Err((sign.at, format!("found `{other}`, wanted `<`, `<=`, `=`, `>=` or `>`"))),
        };
        let token = self.token("a number")?;
        let time = matches!(what, Number::Age | Number::Expires);
        let value = quantity(&token.text, time).ok_or_else(|| {
            let form = if time { "a time such as 90, 5m or 2h" } else { "a number such as 1500, 10k or 2M" };
            (token.at.clone(), format!("found `{}`, wanted {form}", token.text))
        })?;
        self.push(Test::Number { what, order, value });
        Ok(())
    }
}

/// A number with a unit: k, M, G of things; s, m, h, d of seconds.
fn quantity(text: &str, time: bool) -> Option<u64> {
    let units: &[(char, u64)] = if time {
        &[('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)]
    } else {
        &[('k', 1000), ('M', 1_000_000), ('G', 1_000_000_000)]
    };
    let unit = units.iter().find(|(letter, _)| text.ends_with(*letter));
    let digits = unit.map_or(text, |(letter, _)| text.trim_end_matches(*letter));
    digits.parse::<u64>().ok()?.checked_mul(unit.map_or(1, |(_, times)| *times))
}

/// An address or a network, masked.
fn address(text: &str) -> Option<(Af, Addr, u8)> {
    let (addr, prefix) = match text.split_once('/') {
        Some((addr, prefix)) => (addr, Some(prefix.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let (af, bytes, width) = match addr.parse::<IpAddr>().ok()? {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes.first_chunk_mut::<4>()?.copy_from_slice(&v4.octets());
            (Af::Inet, bytes, 32)
        }
        IpAddr::V6(v6) => (Af::Inet6, v6.octets(), 128),
    };
    let prefix = prefix.unwrap_or(width);
    (prefix <= width).then_some((af, Addr(bytes), prefix))
}

/// Protocols by name.
const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("igmp", 2),
    ("ipencap", 4),
    ("tcp", 6),
    ("udp", 17),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmp6", 58),
    ("ipv6-icmp", 58),
    ("ospf", 89),
    ("carp", 112),
    ("pfsync", 240),
    ("sctp", 132),
];

/// Ports by name: those people type.
const SERVICES: &[(&str, u16)] = &[
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("dns", 53),
    ("http", 80),
    ("www", 80),
    ("pop3", 110),
    ("ntp", 123),
    ("imap", 143),
    ("snmp", 161),
    ("bgp", 179),
    ("ldap", 389),
    ("https", 443),
    ("microsoft-ds", 445),
    ("smb", 445),
    ("submission", 587),
    ("imaps", 993),
    ("pop3s", 995),
    ("rdp", 3389),
    ("ms-wbt-server", 3389),
];

#[cfg(test)]
mod tests {
    use super::*;
    use pfvm::watch::Facts;

    fn top(text: &str) -> Expr {
        parse(text, Scope::Top).unwrap_or_else(|e| panic!("{e}"))
    }

    fn wrong(text: &str, scope: Scope) -> String {
        parse(text, scope).unwrap_err().to_string()
    }

    fn v4(a: [u8; 4]) -> Addr {
        pfvm::packet::addr4(a)
    }

    #[test]
    fn expressions_decide() {
        let on = |name: &str| name == "em0" || name == "egress";
        let number = |what: Number| match what {
            Number::Bytes => Some(2_000_000),
            Number::Age => Some(30),
            _ => None,
        };
        let facts = Facts {
            complete: true,
            af: Some(Af::Inet),
            ends: Some(((v4([10, 0, 0, 5]), 50_000), (v4([198, 51, 100, 1]), 443))),
            other: None,
            proto: Some(6),
            dir: Some(Direction::Out),
            on: Some(&on),
            rule: Some((7, Some(1))),
            anchor: Some("ftp/a"),
            label: Some("web out"),
            action: Some(Action::Pass),
            reason: Some(0),
            log_if: Some(1),
            state: Some(["ESTABLISHED", "SYN_SENT"]),
            user: Some(1000),
            number: Some(&number),
        };
        for yes in [
            "",
            "host 10.0.0.5 and port 443",
            "src 10.0.0.0/8 dst port https",
            "10.0.0.5",
            "net 10.0.0.0/8, proto tcp",
            "proto 6 && on em0",
            "on egress out inet",
            "rule 7",
            "rule 7.1",
            "rule @7",
            "anchor ftp/a",
            "label \"web out\"",
            "not block",
            "! udp",
            "udp or (tcp and not port 22)",
            "state established",
            "state SYN_SENT",
            "user 1000 reason match log pflog1",
            "bytes > 1M and age < 1m",
            "bytes>1999k",
            "port 440:450",
        ] {
            assert_eq!(top(yes).holds(&facts), Some(true), "{yes}");
            assert_eq!(top(&format!("not ({yes})").replace("not ()", "block")).holds(&facts), Some(false), "{yes}");
        }
        // `and` binds closer than `or`.
        assert_eq!(top("tcp or udp and block").holds(&facts), Some(true));
        assert_eq!(top("(tcp or udp) and block").holds(&facts), Some(false));
    }

    #[test]
    fn errors_stand_under_their_word() {
        assert_eq!(
            wrong("host 1.2.3 and port 80", Scope::Log),
            "found `1.2.3`, wanted an address or a network\n  host 1.2.3 and port 80\n       ^^^^^"
        );
        assert_eq!(wrong("tcp and", Scope::Log), "found the end, wanted a test\n  tcp and\n         ^");
        assert_eq!(wrong("(tcp or udp", Scope::Log), "found the end, wanted `)`\n  (tcp or udp\n             ^");
        assert!(wrong("tcp frobnicate", Scope::Log).starts_with("found `frobnicate`, wanted a test: host, net"));
        assert_eq!(
            wrong("port 70000", Scope::Log),
            "found `70000`, wanted a port or a range\n  port 70000\n       ^^^^^"
        );
        assert_eq!(
            wrong("label \"web", Scope::Log),
            "found a name that is not closed, wanted a `\"` after it\n  label \"web\n        ^^^^"
        );
        assert_eq!(wrong("tcp)", Scope::Log), "found `)`, wanted `and`, `or` or the end\n  tcp)\n     ^");
        assert_eq!(wrong("rate > 5", Scope::Trace), "`rate` is known of the lists of top only\n  rate > 5\n  ^^^^");
        assert_eq!(
            wrong("state established", Scope::Log),
            "`state` is known of traces and of the lists of top only\n  state established\n  ^^^^^"
        );
        assert!(wrong(&"(".repeat(100), Scope::Log).starts_with("nested more than 32 deep"));
        assert!(wrong(&"not ".repeat(100), Scope::Log).starts_with("nested more than 32 deep"));
        assert!(wrong(&"tcp ".repeat(100), Scope::Log).starts_with("the filter expression is too long"));
    }

    #[test]
    fn any_text_ends() {
        let pieces =
            ["host", "1.2.3.4", "(", ")", "not", "and", "\"a", "port", ">", "&", "|", "é", "rule", "7.", ".", ","];
        for a in pieces {
            for b in pieces {
                for c in pieces {
                    for scope in [Scope::Log, Scope::Trace, Scope::Top] {
                        if let Ok(expr) = parse(&format!("{a} {b}{c}"), scope) {
                            let mut room = [0; 4096];
                            let len = expr.encode(&mut room).unwrap();
                            assert_eq!(Expr::decode(&room[..len]), Ok(expr));
                        }
                    }
                }
            }
        }
    }
}

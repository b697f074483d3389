//! The codes: stable numbers, what each means, how to mend it, and which of pfctl's messages it stands for.
//!
//! PF0xxx are errors pfctl has too; PF2xxx are what Windows cannot; PF3xxx are advice.
//! **Invariant:** a number never changes its meaning and is never used again.

use std::fmt;

/// A diagnostic's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u16);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PF{:04}", self.0)
    }
}

/// What there is to know of a code.
#[derive(Clone, Copy, Debug)]
pub struct CodeInfo {
    /// The code.
    pub code: Code,
    /// Its meaning in a few words.
    pub title: &'static str,
    /// Its meaning at length, with what to do about it.
    pub explanation: &'static str,
    /// Pieces of pfctl's messages it stands for.
    pub messages: &'static [&'static str],
}

impl Code {
    /// What there is to know of it.
    #[must_use]
    pub fn info(self) -> Option<&'static CodeInfo> {
        CODES.iter().find(|info| info.code == self)
    }

    /// Reads `PF0001`, `pf1` or `1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Code> {
        let digits = text.strip_prefix("PF").or_else(|| text.strip_prefix("pf")).unwrap_or(text);
        let code = Code(digits.parse().ok()?);
        code.info().map(|info| info.code)
    }

    /// The code that stands for a message of pfctl: the one with the longest piece in it.
    #[must_use]
    pub fn of_message(message: &str) -> Code {
        let pieces = CODES.iter().flat_map(|info| info.messages.iter().map(move |piece| (*piece, info.code)));
        let hits = pieces.filter(|(piece, _)| message.contains(piece));
        hits.max_by_key(|(piece, _)| piece.len()).map_or(OTHER, |(_, code)| code)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $title:literal, [$($message:literal),* $(,)?], $text:literal;)*) => {
        $($(#[$doc])* #[doc = $title] pub const $name: Code = Code($number);)*
        /// Every code, in order.
        pub const CODES: &[CodeInfo] = &[$(CodeInfo {
            code: $name, title: $title, explanation: $text, messages: &[$($message),*],
        }),*];
    };
}

codes! {
    SYNTAX = 1, "syntax error", ["syntax error"], "\
The word under the caret cannot stand there. The order of a rule is fixed:

    action [in|out] [log] [quick] [on interface] [inet|inet6] [proto name] [from host [port p]] [to host [port p]] [options]

Frequent causes:
- `quick`, `log` or `on` after the addresses: they come before them;
- a newline after a comma in a list: a newline may follow an item, not a comma (end the line with a backslash);
- a comma before the closing brace;
- words of pf before OpenBSD 4.7: `nat on`, `rdr on`, `scrub in`, `altq`. Write `match out on if nat-to (if)`,
  `pass in … rdr-to host`, `match in scrub (no-df)`, `queue name on if bandwidth n`;
- `! { a b }`: a list cannot be negated, its items can: `{ !a !b }`;
- a reserved word used as a name: put it in quotes.

After an error the parser goes on at the next line; errors too near the last one are not repeated.";
    UNDEFINED_MACRO = 2, "macro not defined", ["' not defined"], "\
`$name` stands for the text of a macro, and no macro of that name has been defined before this line.
Define it above: `name = \"text\"`, or on the command line: `-D name=text`. A `$` inside quotes is never replaced.";
    STRING_TOO_LONG = 3, "string too long", ["string too long"], "\
A word or quoted text has more than 8095 bytes. A missing closing quote is the usual cause.";
    BAD_NUMBER = 4, "number out of range", ["invalid number"], "\
The number does not fit into 64 bits with a sign.";
    UNTERMINATED = 5, "quoted text does not end", ["reached end of file while parsing quoted string"], "\
The file ends inside quotes. The caret points at the opening one.";
    INCLUDE = 6, "file cannot be included", ["failed to include file", "pushfile"], "\
`include` needs a readable file; relative names start at the current directory. Files may include each other up to 64 deep.";
    LIMIT = 7, "input too large", ["nested more than", "macros expand to", "statement has more than", "rules expand to more than"], "\
A limit that protects the compiler: 500 000 rules, lists 1000 deep, 1 048 576 words a statement, 32 MB of macro text in all.";
    MACRO_NAME = 8, "macro name with white space", ["macro name cannot contain whitespace"], "\
A macro is used as `$name` with letters, digits and underscores; a name with blanks could never be used.";

    HOST = 101, "host not understood", ["could not parse host specification", "no IP address found for"], "\
The text is no address, network, interface, group or known host name. Interfaces and host names are looked up when the
file is compiled: `(name)` in parentheses is looked up when packets come, and need not exist yet.";
    NETMASK = 102, "netmask does not fit", ["netmask", "bit number too big", "extra netmask given"], "\
The number after `/` is larger than the address has bits (32 for IPv4, 128 for IPv6), or a network was asked for
(`:network`) and given once more.";
    ADDRESS_RANGE = 103, "bad address range", ["invalid address range"], "\
`a - b` needs two plain addresses of the same family, with blanks around the dash.";
    DYNAMIC = 104, "bad interface in parentheses", ["invalid interface name", "has bad modifier", "illegal combination of interface modifiers"], "\
`(name)` takes an interface or group that starts with a letter, with `:network`, `:broadcast` or `:peer`, and `:0`.";
    INTERFACE_NAME = 105, "interface name too long", ["interface name too long"], "\
Interface names have at most 15 bytes.";
    URPF = 106, "urpf-failed as a destination", ["not permitted in a destination address"], "\
`urpf-failed` asks where a packet's source would be routed to: it only makes sense in `from`.";
    NAME_TOO_LONG = 107, "name too long", ["table name", "route label too long", "queuename too long", "qname too long"], "\
Table names have at most 31 bytes, route labels 31, queue names 63.";
    RDOMAIN = 109, "rdomain out of range", ["outside range", "protocol outside range"], "\
The number is outside the range of routing domains or protocols (0–255).";
    NO_COMBINATION = 110, "rule expands to nothing", ["rule expands to no valid combination"], "\
A rule with lists becomes one rule for each combination; combinations of IPv4 with IPv6 are left out, wrong ones are
reported and left out. Here none was left.";
    SKIPPED = 111, "combination left out", ["skipping rule due to errors"], "\
One combination of a rule's lists is wrong for the reason just given.";
    FAMILY_PROTO = 112, "protocol of the other family", ["doesn't match address family"], "\
`icmp` belongs to IPv4, `icmp6` to IPv6. An address, a list or `inet6` made the rule one of the other family.
Split the rule in two, or leave the family open.";

    PORT = 201, "bad port", ["unknown port", "illegal port value", "port is invalid"], "\
A port is a number from 0 to 65535 or a name of the services file; a range is `a:b` in one word.";
    PORT_RANGE = 202, "bad port range", ["invalid port range", "':' cannot be used with an other"], "\
The first port of a range must not be larger than the second; `a:b` cannot be combined with another operator.";
    PORT_PROTO = 203, "port without tcp or udp", ["port only applies to tcp/udp"], "\
Only TCP and UDP have ports: add `proto tcp`, `proto udp` or `proto { tcp udp }`.";
    PROTO = 204, "unknown protocol", ["unknown protocol", "proto 0 cannot be used"], "\
A protocol is a name of the protocols file or a number from 1 to 255.";
    USER = 205, "bad user or group", ["unknown user", "unknown group", "illegal uid", "illegal gid", "unknown requires operator"], "\
A user or group is a name or number; `unknown` can only be compared with `=` and `!=`.";
    USER_PROTO = 206, "user or group without tcp or udp", ["user only applies to tcp/udp", "group only applies to tcp/udp"], "\
Only TCP and UDP packets belong to a socket with an owner: add `proto { tcp udp }`.";
    FLAGS = 207, "bad TCP flags", ["bad flags", "flags always false", "flags only apply to tcp"], "\
`flags a/b` looks at the flags b and wants exactly a of them set: a must be part of b. Letters are F S R P A U E W.
Flags need `proto tcp`, or no protocol at all.";
    ICMP = 208, "bad ICMP type or code", ["icmp-type", "icmp6-type", "icmp-code", "icmp6-code", "icmp code"], "\
Types and codes are names of pf.conf(5) or numbers from 0 to 255. They need the matching `proto icmp` or `proto icmp6`
and an address family.";
    OS = 210, "operating system without tcp", ["os only applies to tcp", "OS fingerprinting only"], "\
The operating system is guessed from a TCP SYN: add `proto tcp`.";
    TOS = 211, "bad tos", ["illegal tos value"], "\
A type of service is a name such as `lowdelay`, `ef` or `af21`, a number from 0 to 255 or hexadecimal with `0x`.";
    FRAGMENT = 212, "fragment with ports", ["fragments can be filtered only on IP header fields"], "\
Later fragments carry no ports, flags or ICMP types: `fragment` excludes them. With reassembly on (the default) rules
never see fragments.";

    REDEFINED = 301, "option given twice", ["cannot be redefined", "cannot be respecified", "cannot respecify", "multiple definitions", "cannot redefine", "multiple 'overload'", "more than one divert option"], "\
This option may stand only once in a rule, list or file.";
    RANGE = 302, "value out of range", ["only positive values permitted", "prio must be", "invalid rtable id", "illegal ttl", "illegal min-ttl", "illegal max-mss", "illegal delay", "weight out of range", "invalid probability", "must be > 0", "maximum rate must be", "illegal percentage value"], "\
The number is outside what the option takes; the message gives the bounds.";
    RTABLE = 303, "routing table does not exist", ["rtable"], "\
A rule can only use a routing table that exists when the file is loaded. Windows has one: 0.";
    LABEL = 304, "label or tag too long", ["label too long", "tag too long"], "\
Labels and tags have at most 63 bytes, macros such as `$if` replaced.";
    LOG = 305, "bad log interface", ["should be a pflog interface", "pflog"], "\
`log (to pflogN)` takes N from 0 to 255.";
    ONCE = 306, "once where it cannot be", ["'once' only applies"], "\
`once` removes a pass or block rule when it first matches; match rules and anchors cannot be removed.";
    ALLOW_OPTS = 307, "allow-opts on a rule that does not pass", ["allow-opts can only"], "\
Only a pass rule can let IP options through.";
    RETURN_RST = 308, "return-rst without tcp", ["return-rst can only"], "\
Only TCP can be answered with a reset: add `proto tcp`, or write `block return`.";
    DIVERT = 310, "bad divert", ["divert"], "\
`divert-to` needs one address of the rule's family and a port, and `in`; `divert-packet` a port. None on match rules.";
    SCRUB = 311, "bad scrub", ["scrub"], "\
IPv6 has no `no-df` and no `random-id`; `reassemble` knows only `tcp`.";

    KEEP = 401, "state on a rule that makes none", ["keep state is great"], "\
Only pass rules create states: remove `keep state` from block and match rules.";
    STATE_OPTION = 402, "state options do not go together", ["source-track", "incompatible with", "'overload' requires", "max-src-nodes requires"], "\
`max-src-nodes`, `max-src-conn` and `max-src-conn-rate` count by rule and exclude `source-track global`;
`overload` needs `max-src-conn` or `max-src-conn-rate`.";
    TIMEOUT = 403, "unknown timeout", ["unknown timeout", "Bad timeout name", "illegal timeout name", "illegal state timeout"], "\
Timeouts are tcp.first, tcp.opening, tcp.established, tcp.closing, tcp.finwait, tcp.closed, tcp.tsdiff, udp.first,
udp.single, udp.multiple, icmp.first, icmp.error, other.first, other.single, other.multiple, frag, interval, src.track,
adaptive.start and adaptive.end. In a rule only those with a dot.";
    SLOPPY = 404, "sloppy with modulate or synproxy", ["sloppy state matching"], "\
Sloppy tracking does not check sequence numbers, modulation and the SYN proxy rewrite them.";
    SYNPROXY_OUT = 405, "synproxy on an outgoing rule", ["synproxy used for inbound"], "\
The SYN proxy stands before a server: it works for `in` only, an `out` rule keeps plain state.";

    TRANSLATION = 501, "translation without state or direction", ["nat-to and rdr-to require"], "\
Answers can only be translated back through a state, and an address is rewritten in one direction:
write `match out … nat-to`, `match in … rdr-to`, or a pass rule with `keep state`.";
    POOL = 502, "pool of the wrong kind", ["pool type", "Bad pool name", "only addresses can be listed", "failed to add host"], "\
Several addresses need `round-robin`, `random`, `source-hash` or `least-states`; tables and interfaces cannot be combined
with every type, and a list of a pool holds addresses only.";
    POOL_FAMILY = 503, "pool of the other family", ["translation spec", "routing spec", "translation address"], "\
The addresses of the pool must have the family of the rule.";
    BINAT = 504, "bad binat-to", ["binat"], "\
`binat-to` maps one network to another of the same size, both ways: it needs a source and a target with equal masks, no
direction, no table, and `(if:0)` for an interface in parentheses.";
    AF_TO = 505, "bad af-to", ["af-to", "target address family", "no address family specified"], "\
`af-to` rewrites IPv4 to IPv6 or back: `pass in inet6 … af-to inet from host`. Incoming pass rules only, the target
family must differ from the rule's.";
    ROUTE_TO = 506, "bad route-to", ["route-to", "routing", "route spec"], "\
`route-to` and `reply-to` need a pass rule with state and a direction; an interface in parentheses needs `:peer`.";
    HASH_KEY = 507, "bad hash key", ["hex key"], "\
A key of `source-hash` is a word, or `0x` with 32 hexadecimal digits.";
    STATIC_PORT = 508, "port option does not fit", ["option can't be used when specifying a port range", "option is only valid with nat rules"], "\
`static-port` keeps the source port of `nat-to`: it excludes a port range and means nothing elsewhere.";

    IN_TABLE = 601, "not allowed inside a table", ["inside tables", "tables cannot contain tables", "unknown address type"], "\
A table holds addresses and networks, and names that are looked up when it is loaded: no ranges, no `(if)`, no tables,
no `no-route`, no route labels.";
    TABLE_OPTION = 602, "unknown table option", ["invalid table option"], "\
Options of a table are `persist`, `const` and `counters`; contents come in braces or from `file \"name\"`.";
    TABLE_FILE = 603, "table file cannot be read", ["cannot load", "contains bad data", "cannot create address buffer"], "\
A table file holds addresses, networks and names separated by white space; `!` negates, `#` begins a comment.";
    TABLE = 604, "table cannot be defined", ["cannot define table", "duplicate table"], "\
The table could not be made.";

    ANCHOR_NAME = 701, "bad anchor name", ["anchor name", "bad anchor name", "anchorrule"], "\
Names of anchors are not empty, do not begin with `_` (reserved) and have at most 1023 bytes as a path, 63 a part.";
    ANCHOR_INLINE = 702, "bad inline anchor", ["inline anchor", "cannot be used for inline anchors", "anchors without explicit", "anchors too deep"], "\
An anchor with a block has a simple name, or none, and each name once; without a block it needs a name.";
    ANCHOR_OPTION = 703, "option not for anchors", ["on anchors"], "\
An anchor only asks whether its rules are looked at: it keeps no state and routes nothing.";
    LOAD_ANCHOR = 704, "anchor cannot be loaded", ["load anchors", "Loading anchor"], "\
The file given to `load anchor` is missing or has errors.";

    SET_VALUE = 801, "unknown value of an option", ["unknown optimization", "unknown ruleset-optimization", "unknown debug level", "error setting", "unable to set limit", "expected 'yes' or 'no'", "is not a number", "hostid must be", "illegal value for syncookies", "illegal syncookie option", "error loading fingerprints", "syncookies start/end", "start must be higher"], "\
The option does not know this value. See pf.conf(5), OPTIONS.";
    SKIP = 802, "bad set skip", ["skip on"], "\
`set skip on` takes interfaces and groups, not negated, no routing domains.";

    QUEUE = 901, "bad queue definition", ["queue", "bandwidth", "unknown unit", "qlimit", "quantum", "flows", "scspec", "not an interface", "no default queue"], "\
A queue tree has one root `on` an existing interface, every other queue a `parent`, exactly one leaf is `default`;
a bandwidth is a number with K, M or G; times are in `ms`; rules name leaf queues only.";

    WIN_USER = 2001, "user and group are unknown to the filter", [], "\
Below the stack of Windows, and to pfd on Linux, no packet has an owner: `user` and `group` see `unknown`. A rule that
passes only what belongs to someone would never match, and is refused when compiling for either.";
    WIN_LOOPBACK = 2002, "redirection to loopback", [], "\
Loopback traffic does not pass the adapter: a service bound to 127.0.0.1 cannot be reached by `rdr-to 127.0.0.1` on
Windows, and on Linux only with `net.ipv4.conf.IF.route_localnet=1`. Bind it to an address of the adapter and redirect
there.";
    WIN_ROUTING_TABLE = 2003, "routing tables and domains", [], "\
Windows has one routing table, and pfd on Linux uses the main one: `rtable 0` only.";
    WIN_DIVERT = 2004, "divert sockets", [], "\
Windows has no divert sockets and no listeners on foreign addresses; pfd on Linux does not hand packets to sockets.";
    WIN_ROUTE_LABEL = 2005, "route labels", [], "\
Routes of Windows and Linux carry no labels: the condition is never true.";
    WIN_QUEUE = 2006, "queueing", [], "\
The filter does not shape traffic on this host; queue assignments are kept and counted only.";
    WIN_ACCEPTED = 2007, "accepted without effect", [], "\
The option is valid and changes nothing on this host.";

    WIN_CARRIED = 2008, "facts a packet does not carry along", [], "\
Neither NDIS nor a TAP carries tag and receiving interface through the host's stack. A packet that leaves inherits them
from the state it made on its way in: keep state on the rule that lets it in.";

    LINT_SHADOWED = 3001, "rule never decides", [], "\
The last matching rule decides, and a later rule matches everything this one does: this rule never decides.
Move it below the other, or make it `quick`.";
    LINT_UNREACHABLE = 3002, "rule cannot be reached", [], "\
An earlier `quick` rule matches everything this one does, so evaluation never gets here.
Move this rule up, or narrow the other.";
    LINT_DUPLICATE = 3003, "rule written twice", [], "\
The same rule stands in the same ruleset already. One of them is enough.";
    LINT_NO_MATCH = 3004, "rule matches nothing", [], "\
No packet can satisfy all of the conditions: family, interface, protocol, ports or flags contradict each other.";
    LINT_NO_BLOCK = 3005, "nothing is blocked", [], "\
What no rule matches passes. A ruleset without a single block filters nothing: start with `block`.";
    LINT_RDR_NO_PASS = 3006, "redirection nothing lets through", [], "\
`match … rdr-to` only rewrites the destination. No later rule passes packets to the new one, so they are blocked: add a
`pass` for it, or write `pass … rdr-to`.";
    LINT_NAT_PORTS = 3007, "nat ports overlap the host's own", [], "\
The port range of `nat-to` overlaps the ports the host takes for its own connections from the same address.
Choose a range below them.";
    LINT_TABLE = 3008, "table empty or unused", [], "\
No rule uses the table and it is not `persist`, so it vanishes at once; or it is `const` and empty, so nothing is ever in it.";
    LINT_MACRO = 3009, "macro not used", ["' not used"], "\
The macro is defined and never used. A misspelt name is the usual cause.";
    LINT_ANY = 3010, "everything let in from outside", [], "\
The rule lets any host reach any other through an external interface.";
    LINT_STATE_OPTIONS = 3011, "state options without effect", [], "\
The rule makes no state of the kind its state options speak of: a timeout of another protocol, connections of UDP.";
    LINT_ANTISPOOF = 3012, "antispoof on an interface whose address changes", [], "\
`antispoof for if` takes the addresses of the moment; with DHCP write `antispoof for (if)`.";
    LINT_REFLECTION = 3013, "redirection the inside cannot use", [], "\
A server is published at an address of this machine, but only to those outside: the rule asks for another interface than
the one the server stands behind. From its own network the published address leads to this machine itself. Where inside
and outside should use the same address, reflect: redirect on the inner interface too, and translate the source on the
way out (`pass out on int to server received-on int nat-to int`), or the answers go past this machine. Where names
resolve to the inner address inside, nothing is needed.";
    OTHER = 9999, "error", [], "\
An error without a code of its own; the message says it all.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_order() {
        assert!(CODES.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert!(CODES.iter().all(|info| !info.explanation.is_empty() && !info.title.is_empty()));
    }

    #[test]
    fn messages_find_their_code() {
        assert_eq!(Code::of_message("syntax error"), SYNTAX);
        assert_eq!(Code::of_message("macro 'x' not defined"), UNDEFINED_MACRO);
        assert_eq!(Code::of_message("proto icmp doesn't match address family inet6"), FAMILY_PROTO);
        assert_eq!(Code::of_message("queue std is not defined"), QUEUE);
        assert_eq!(Code::of_message("nothing known"), OTHER);
    }

    #[test]
    fn codes_are_read_in_any_form() {
        assert_eq!(Code::parse("PF0001"), Some(SYNTAX));
        assert_eq!(Code::parse("pf101"), Some(HOST));
        assert_eq!(Code::parse("7"), Some(LIMIT));
        assert_eq!(Code::parse("PF0100"), None);
    }
}

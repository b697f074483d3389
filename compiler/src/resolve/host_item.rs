//! Interfaces, protocols, hosts, ports, users and groups of a rule: the lists that are multiplied out later.
//!
//! Source: `parse.y`, productions `if_item`, `proto_item`, `host`, `xhost`, `port_item`, `uid_item`, `gid_item`.

use pfvm::rule::Af;

use super::host::{self, Host, Kind, contradict, split_mods};
use super::number::atoul;
use super::{Act, Resolver, Stop};
use crate::ast::{self, Arg, At, BinaryOp, Compare, CompareKind, HostKind, IfItem, IfName, UnaryOp, Value};
use crate::diag::nearest;
use crate::source::text::byte_len;

/// An interface of a list (`node_if`).
#[derive(Clone, Debug, Default)]
pub(crate) struct Iface {
    pub name: String,
    pub not: bool,
    pub rdomain: Option<u8>,
    pub loopback: bool,
    pub dynamic: bool,
}

/// `PF_OP_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OpKind {
    #[default]
    None,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Range,
    Inside,
    Outside,
}

/// A comparison with its operands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cmp<T> {
    pub op: OpKind,
    pub a: T,
    pub b: T,
}

/// A port word: one port, `a:b` or `a:*`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PortWord {
    pub a: u16,
    pub b: u16,
    /// None, Range, or Inside for `a:*`.
    pub op: OpKind,
}

/// What a port word may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortForm {
    Plain,
    Range,
    Star,
}

/// Which names a comparison knows.
#[derive(Clone, Copy)]
pub(crate) enum IdKind {
    User,
    Group,
}

impl OpKind {
    /// `a <op> b` can never match, or always does.
    pub(crate) fn is_empty_range(self, a: u16, b: u16) -> bool {
        match self {
            OpKind::Range | OpKind::Outside => a > b,
            OpKind::Inside => a >= b,
            _ => false,
        }
    }
}

fn unary(op: UnaryOp) -> OpKind {
    match op {
        UnaryOp::Eq => OpKind::Eq,
        UnaryOp::Ne => OpKind::Ne,
        UnaryOp::Le => OpKind::Le,
        UnaryOp::Lt => OpKind::Lt,
        UnaryOp::Ge => OpKind::Ge,
        UnaryOp::Gt => OpKind::Gt,
    }
}

fn binary(op: BinaryOp) -> OpKind {
    match op {
        BinaryOp::Outside => OpKind::Outside,
        BinaryOp::Inside => OpKind::Inside,
    }
}

impl Resolver<'_> {
    /// An interface item.
    pub(crate) fn iface(&mut self, item: &IfItem) -> Act<Iface> {
        match &item.name {
            IfName::Name(word) => {
                if byte_len(&word.text) >= self.facts.name_limit() {
                    return self.fail(item.at, item.span, "interface name too long");
                }
                self.globals.interfaces_known = true;
                let loopback = self.facts.exists(&word.text).is_some_and(|flags| flags.loopback);
                Ok(Iface { name: word.text.to_string(), not: item.not, loopback, ..Iface::default() })
            }
            IfName::Any => Ok(Iface { name: "any".into(), not: item.not, ..Iface::default() }),
            IfName::Rdomain(number) => {
                let value = u8::try_from(number.value);
                if value.is_err() {
                    self.error(item.at, item.span, format!("rdomain {} outside range", number.value));
                }
                Ok(Iface { rdomain: Some(value.unwrap_or(u8::MAX)), not: item.not, ..Iface::default() })
            }
        }
    }

    pub(crate) fn ifaces(&mut self, items: &[IfItem]) -> Act<Vec<Iface>> {
        items.iter().map(|item| self.iface(item)).collect()
    }

    /// A protocol by name or number.
    pub(crate) fn proto(&mut self, arg: &Arg) -> Act<u8> {
        let number = match &arg.value {
            Value::Word(name) => match self.facts.protocol(name) {
                Some(number) => number,
                None => {
                    let names = self.facts.protocol_names();
                    return self.unknown(arg.at, arg.span, format!("unknown protocol {name}"), name, names);
                }
            },
            Value::Number(number) => match u8::try_from(*number) {
                Ok(number) => number,
                Err(_) => return self.fail(arg.at, arg.span, "protocol outside range"),
            },
        };
        if number == 0 {
            return self.fail(arg.at, arg.span, "proto 0 cannot be used");
        }
        Ok(number)
    }

    /// Looks a host up as pfctl's `host()` does, saying what it says.
    pub(crate) fn look_up(&mut self, text: &str) -> Vec<Host> {
        self.look_up_telling(text).0
    }

    /// The same, with the lines said.
    fn look_up_telling(&mut self, text: &str) -> (Vec<Host>, Vec<String>) {
        let mut said = host::Said::default();
        let hosts = host::look_up(text, self.facts, self.options.numeric, &mut said);
        self.globals.interfaces_known |= said.interfaces;
        for line in &said.lines {
            self.line(line);
        }
        (hosts, said.lines)
    }

    fn look_up_or_fail(&mut self, text: &str, host: &ast::Host) -> Act<Vec<Host>> {
        let (hosts, lines) = self.look_up_telling(text);
        if !hosts.is_empty() {
            return Ok(hosts);
        }
        self.error(host.at, host.span, "could not parse host specification");
        for line in lines {
            self.advise(line);
        }
        let name = text.split([':', '/']).next().unwrap_or(text);
        if self.facts.exists(name).is_some() && split_mods(text.split('/').next().unwrap_or(text)).is_none() {
            self.advise("an interface name can be followed by :network, :broadcast, :peer and :0");
        } else if self.facts.exists(name).is_some() {
            self.advise(format!("`{name}` has no such address now; `({text})` follows its addresses"));
        } else if let Some(meant) = nearest(name, self.facts.host_names()) {
            self.advise(format!("there is `{meant}`"));
        }
        Err(Stop::Line(host.at))
    }

    /// A host without its negation.
    pub(crate) fn host(&mut self, host: &ast::Host) -> Act<Vec<Host>> {
        match &host.kind {
            HostKind::Name(word) => self.look_up_or_fail(&word.text, host),
            HostKind::Net(word, bits) => self.look_up_or_fail(&format!("{}/{}", word.text, bits.value), host),
            HostKind::ShortNet(net, bits) => self.look_up_or_fail(&format!("{}/{}", net.value, bits.value), host),
            HostKind::Range(from, to) => self.range(&from.text, &to.text, host),
            HostKind::Dynamic { name, name_at, bits } => {
                let mut found = self.dynamic(&name.text, *name_at, name.span)?;
                if let Some(bits) = bits {
                    match u8::try_from(bits.value).ok().filter(|b| *b <= 128) {
                        Some(bits) => found.wrap.set_mask(bits),
                        None => return self.fail(host.at, bits.span, "bit number too big"),
                    }
                }
                Ok(vec![found])
            }
            HostKind::Table(name) => {
                if byte_len(&name.text) >= super::table::NAME_SIZE {
                    return self.fail(host.at, name.span, format!("table name '{}' too long", name.text));
                }
                Ok(vec![Host::of(Kind::Table, &name.text)])
            }
            HostKind::RouteLabel(name) => {
                if byte_len(&name.text) >= 32 {
                    return self.fail(host.at, name.span, "route label too long, max 31 chars");
                }
                Ok(vec![Host::of(Kind::RouteLabel, &name.text)])
            }
            HostKind::NoRoute => Ok(vec![Host::of(Kind::NoRoute, "")]),
            HostKind::UrpfFailed => Ok(vec![Host::of(Kind::UrpfFailed, "")]),
        }
    }

    fn range(&mut self, from: &str, to: &str, host: &ast::Host) -> Act<Vec<Host>> {
        let first = self.look_up(from);
        let last = if first.is_empty() { Vec::new() } else { self.look_up(to) };
        let (Some(lo), Some(hi)) = (first.first(), last.first()) else {
            return self.fail(host.at, host.span, "could not parse host specification");
        };
        let full = |h: &Host| h.wrap.prefix() == if h.af == Some(Af::Inet) { 32 } else { 128 };
        if lo.af != hi.af || !full(lo) || !full(hi) || first.len() > 1 || last.len() > 1 {
            return self.fail(host.at, host.span, "invalid address range");
        }
        let mut range = lo.clone();
        range.wrap.kind = Kind::Range;
        range.wrap.mask = hi.wrap.addr;
        Ok(vec![range])
    }

    /// `(if:mods)`.
    pub(crate) fn dynamic(&mut self, text: &str, at: At, span: ast::Span) -> Act<Host> {
        if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return self.fail(at, span, format!("invalid interface name '{text}'"));
        }
        let Some((name, mods)) = split_mods(text) else {
            let known = strip_known_mods(text);
            return self.fail(at, span, format!("interface {known} has bad modifier"));
        };
        if contradict(mods) {
            return self.fail(at, span, "illegal combination of interface modifiers");
        }
        if byte_len(name) >= self.facts.name_limit() {
            return self.fail(at, span, "interface name too long");
        }
        Ok(Host::dynamic(name, mods))
    }

    /// A list of hosts; `None` where `any` stands among them.
    pub(crate) fn hosts(&mut self, items: &[ast::HostItem]) -> Act<Option<Vec<Host>>> {
        let mut list = Some(Vec::new());
        for item in items {
            match item {
                ast::HostItem::Any(_) => list = None,
                ast::HostItem::Host(item) => {
                    let mut hosts = self.host(&item.host)?;
                    for host in &mut hosts {
                        host.not = item.not;
                    }
                    if let Some(list) = &mut list {
                        list.append(&mut hosts);
                    }
                }
            }
        }
        Ok(list)
    }

    /// A port or service name.
    fn service(&mut self, text: &str, at: At, span: ast::Span) -> Act<u16> {
        if let Some(number) = atoul(text) {
            return match u16::try_from(number) {
                Ok(port) => Ok(port),
                Err(_) => self.fail(at, span, format!("illegal port value {number}")),
            };
        }
        match self.facts.service(text) {
            Some(port) => Ok(port),
            None => self.unknown(at, span, format!("unknown port {text}"), text, self.facts.service_names()),
        }
    }

    /// A port word in the forms allowed where it stands.
    pub(crate) fn port_word(&mut self, arg: &Arg, form: PortForm) -> Act<PortWord> {
        let text = arg.value.text();
        let Some((first, second)) = text.split_once(':') else {
            return Ok(PortWord { a: self.service(&text, arg.at, arg.span)?, ..PortWord::default() });
        };
        if form == PortForm::Plain {
            return self.fail(arg.at, arg.span, format!("port is invalid: {text}"));
        }
        let a = self.service(first, arg.at, arg.span)?;
        if form == PortForm::Star && second == "*" {
            return Ok(PortWord { a, b: 0, op: OpKind::Inside });
        }
        let b = self.service(second, arg.at, arg.span)?;
        Ok(if a == b { PortWord { a, ..PortWord::default() } } else { PortWord { a, b, op: OpKind::Range } })
    }

    /// An item of a port list.
    pub(crate) fn port_item(&mut self, item: &Compare) -> Act<Cmp<u16>> {
        const MIXED: &str = "':' cannot be used with an other port operator";
        let cmp = match &item.kind {
            CompareKind::Is(arg) => {
                let word = self.port_word(arg, PortForm::Range)?;
                let op = if word.op == OpKind::None { OpKind::Eq } else { OpKind::Range };
                Cmp { op, a: word.a, b: word.b }
            }
            CompareKind::Unary(op, arg) => {
                let word = self.port_word(arg, PortForm::Range)?;
                if word.op != OpKind::None {
                    return self.fail(item.at, item.span, MIXED);
                }
                Cmp { op: unary(*op), a: word.a, b: word.b }
            }
            CompareKind::Binary(first, op, second) => {
                let a = self.port_word(first, PortForm::Range)?;
                let b = self.port_word(second, PortForm::Range)?;
                if a.op != OpKind::None || b.op != OpKind::None {
                    return self.fail(item.at, item.span, MIXED);
                }
                Cmp { op: binary(*op), a: a.a, b: b.a }
            }
        };
        if cmp.op.is_empty_range(cmp.a, cmp.b) {
            return self.fail(item.at, item.span, "invalid port range");
        }
        Ok(cmp)
    }

    /// A user or group.
    pub(crate) fn id(&mut self, arg: &Arg, kind: IdKind) -> Act<u32> {
        let all = self.facts;
        let (facts, noun, short) = match kind {
            IdKind::User => (&all.users, "user", "uid"),
            IdKind::Group => (&all.groups, "group", "gid"),
        };
        match &arg.value {
            Value::Word(name) if &**name == "unknown" => Ok(u32::MAX),
            Value::Word(name) => match facts.get(&**name) {
                Some(id) => Ok(*id),
                None => {
                    let known = facts.keys().map(String::as_str);
                    self.unknown(arg.at, arg.span, format!("unknown {noun} {name}"), name, known)
                }
            },
            Value::Number(number) => match u32::try_from(*number).ok().filter(|id| *id != u32::MAX) {
                Some(id) => Ok(id),
                None => self.fail(arg.at, arg.span, format!("illegal {short} value {number}")),
            },
        }
    }

    /// An item of a user or group list.
    pub(crate) fn id_item(&mut self, item: &Compare, kind: IdKind) -> Act<Cmp<u32>> {
        let (cmp, ordered) = match &item.kind {
            CompareKind::Is(arg) => {
                let id = self.id(arg, kind)?;
                (Cmp { op: OpKind::Eq, a: id, b: id }, false)
            }
            CompareKind::Unary(op, arg) => {
                let id = self.id(arg, kind)?;
                (Cmp { op: unary(*op), a: id, b: id }, !matches!(op, UnaryOp::Eq | UnaryOp::Ne))
            }
            CompareKind::Binary(first, op, second) => {
                let (a, b) = (self.id(first, kind)?, self.id(second, kind)?);
                (Cmp { op: binary(*op), a, b }, true)
            }
        };
        if ordered && (cmp.a == u32::MAX || cmp.b == u32::MAX) {
            let noun = match kind {
                IdKind::User => "user",
                IdKind::Group => "group",
            };
            return self.fail(item.at, item.span, format!("{noun} unknown requires operator = or !="));
        }
        Ok(cmp)
    }
}

/// The text as it stands when pfctl meets the modifier it does not know: known ones after it are cut off.
fn strip_known_mods(text: &str) -> &str {
    let mut rest = text;
    while let Some((front, modifier)) = rest.rsplit_once(':') {
        if !matches!(modifier, "network" | "broadcast" | "peer" | "0") {
            break;
        }
        rest = front;
    }
    rest
}

//! `$if`, `$srcaddr` and the other names in labels and tags, filled in for each rule.
//!
//! `$nr` stays: it is filled in when the rule's number is known, after the optimizer.
//! Source: `parse.y expand_label`.

use pfvm::rule::Af;

use super::{Draft, Pick};
use crate::resolve::host::{Host, Kind, ip_of};
use crate::resolve::{Act, Cmp, OpKind, Resolver};
use crate::ruleset::{Named, Rule};
use crate::source::text::byte_len;

/// Room for a label or tag, with its terminating zero.
const SIZE: usize = 64;

/// Label and tags as written.
pub(super) struct Templates {
    label: Option<String>,
    tag: Option<String>,
    tagged: Option<Named>,
}

impl Templates {
    pub(super) fn of(rule: &Rule) -> Self {
        Templates { label: rule.label.clone(), tag: rule.tag.clone(), tagged: rule.tagged.clone() }
    }

    fn has_names(&self) -> bool {
        let tagged = self.tagged.as_ref().map(|t| &t.name);
        [self.label.as_ref(), self.tag.as_ref(), tagged].into_iter().flatten().any(|text| text.contains('$'))
    }
}

impl Resolver<'_> {
    pub(super) fn expand_labels(&mut self, draft: &mut Draft, pick: &Pick<'_>, names: &Templates) -> Act {
        draft.rule.label.clone_from(&names.label);
        draft.rule.tag.clone_from(&names.tag);
        draft.rule.tagged.clone_from(&names.tagged);
        if !names.has_names() {
            return Ok(());
        }
        let iface = draft.rule.iface.as_ref().map_or("any", |named| named.name.as_str());
        let af = draft.rule.af;
        let proto = self.facts.protocol_name(pick.proto).map_or_else(|| pick.proto.to_string(), str::to_owned);
        let values = [
            ("$if", iface.to_owned()),
            ("$srcaddr", address(pick.src, af)),
            ("$dstaddr", address(pick.dst, af)),
            ("$srcport", port(pick.src_port)),
            ("$dstport", port(pick.dst_port)),
            ("$proto", proto),
        ];
        let rule = &mut draft.rule;
        let texts = [rule.label.as_mut(), rule.tag.as_mut(), rule.tagged.as_mut().map(|t| &mut t.name)];
        for text in texts.into_iter().flatten() {
            for (name, value) in &values {
                if !text.contains(name) {
                    continue;
                }
                *text = text.replace(name, value);
                if byte_len(text) >= SIZE {
                    return self.exit_at(draft.span, "expand_label: label too long");
                }
            }
        }
        Ok(())
    }
}

fn address(host: &Host, af: Option<Af>) -> String {
    let text = match host.wrap.kind {
        Kind::Dynamic => format!("({})", host.wrap.name),
        Kind::Table => format!("<{}>", host.wrap.name),
        Kind::NoRoute => "no-route".into(),
        Kind::UrpfFailed => "urpf-failed".into(),
        Kind::Mask => match af {
            None => "any".into(),
            Some(af) => network(host, af),
        },
        _ => "?".into(),
    };
    if host.not { format!("! {text}") } else { text }
}

fn network(host: &Host, af: Af) -> String {
    let width = if af == Af::Inet { 4 } else { 16 };
    let zero = |bytes: &[u8; 16]| bytes.iter().take(width).all(|b| *b == 0);
    if zero(&host.wrap.addr) && zero(&host.wrap.mask) {
        return "any".into();
    }
    let addr = crate::print::address(ip_of(&host.wrap.addr, af));
    let bits = host.wrap.prefix();
    if bits < if af == Af::Inet { 32 } else { 128 } { format!("{addr}/{bits}") } else { addr }
}

fn port(cmp: Cmp<u16>) -> String {
    let (a, b) = (cmp.a, cmp.b);
    match cmp.op {
        OpKind::None | OpKind::Range => String::new(),
        OpKind::Eq => format!("{a}"),
        OpKind::Ne => format!("!={a}"),
        OpKind::Lt => format!("<{a}"),
        OpKind::Le => format!("<={a}"),
        OpKind::Gt => format!(">{a}"),
        OpKind::Ge => format!(">={a}"),
        OpKind::Inside => format!("{a}><{b}"),
        OpKind::Outside => format!("{a}<>{b}"),
    }
}

/// `$nr` in label and tags, once the number is known.
pub(crate) fn number(rule: &mut Rule, nr: u32) -> Result<(), ()> {
    let texts = [rule.label.as_mut(), rule.tag.as_mut(), rule.tagged.as_mut().map(|t| &mut t.name)];
    for text in texts.into_iter().flatten() {
        if text.contains("$nr") {
            *text = text.replace("$nr", &nr.to_string());
            if byte_len(text) >= SIZE {
                return Err(());
            }
        }
    }
    Ok(())
}

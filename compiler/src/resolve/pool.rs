//! Pools as written: hosts, ports and options of `nat-to`, `rdr-to`, `af-to`, `route-to` and the rest.
//!
//! Source: `parse.y`, productions `redirpool`, `redirspec`, `pool_opt`, `hashkey`.

use md5::{Digest, Md5};
use pfvm::rule::Af;

use super::host::{Host, Kind};
use super::host_item::{PortForm, PortWord};
use super::{Act, Resolver};
use crate::ast::{self, PoolOpt, PoolOptKind, Value, Word};
use crate::ruleset::PoolKind;
use crate::source::text;

/// A pool with what stood around it (`redirspec`).
#[derive(Clone, Debug, Default)]
pub(crate) struct Redir {
    /// `None`: there is no pool; empty: `af-to` without `to`.
    pub hosts: Option<Vec<Host>>,
    pub port: PortWord,
    pub opts: PoolOpts,
    pub af: Option<Af>,
    pub binat: bool,
}

/// Pool options so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PoolOpts {
    pub kind: PoolKind,
    pub sticky: bool,
    pub static_port: bool,
}

impl Resolver<'_> {
    /// A pool of a filter option.
    pub(crate) fn pool(&mut self, pool: &ast::Pool) -> Act<Redir> {
        let mut hosts = Vec::new();
        for (n, item) in pool.hosts.iter().enumerate() {
            hosts.append(&mut self.pool_host(item, pool.list && n == 0)?);
        }
        let port = match &pool.port {
            Some(arg) => self.port_word(arg, PortForm::Star)?,
            None => PortWord::default(),
        };
        let mut opts = PoolOpts::default();
        for opt in &pool.opts {
            self.pool_opt(opt, &mut opts)?;
        }
        Ok(Redir { hosts: Some(hosts), port, opts, ..Redir::default() })
    }

    /// A host of a pool with its weight; `first` of a list must be an address.
    pub(crate) fn pool_host(&mut self, item: &ast::PoolHost, first: bool) -> Act<Vec<Host>> {
        let mut hosts = self.host(&item.host)?;
        let weight = match &item.weight {
            Some(arg) => self.weight(arg)?,
            None => 0,
        };
        if first && hosts.first().is_some_and(|h| !matches!(h.wrap.kind, Kind::Mask)) {
            return self.fail(item.at, item.host.span, "only addresses can be listed for redirection pools ");
        }
        if weight > 0 {
            for host in &mut hosts {
                host.weight = weight;
            }
        }
        Ok(hosts)
    }

    /// `weight n`.
    pub(crate) fn weight(&mut self, arg: &ast::Arg) -> Act<u16> {
        let value = match &arg.value {
            Value::Number(number) => u16::try_from(*number).ok().filter(|w| *w > 0),
            Value::Word(_) => None,
        };
        match value {
            Some(weight) => Ok(weight),
            None => self.fail(arg.at, arg.span, "weight out of range"),
        }
    }

    /// An option of a pool.
    pub(crate) fn pool_opt(&mut self, opt: &PoolOpt, so_far: &mut PoolOpts) -> Act {
        let kind = match &opt.kind {
            PoolOptKind::Bitmask => PoolKind::Bitmask,
            PoolOptKind::Random => PoolKind::Random,
            PoolOptKind::RoundRobin => PoolKind::RoundRobin,
            PoolOptKind::LeastStates => PoolKind::LeastStates,
            PoolOptKind::SourceHash(key) => PoolKind::SourceHash(self.hash_key(key.as_ref(), opt)?),
            PoolOptKind::StaticPort => {
                if so_far.static_port {
                    return self.fail(opt.at, opt.span, "static-port cannot be redefined");
                }
                so_far.static_port = true;
                return Ok(());
            }
            PoolOptKind::StickyAddress => {
                if so_far.sticky {
                    return self.fail(opt.at, opt.span, "sticky-address cannot be redefined");
                }
                so_far.sticky = true;
                return Ok(());
            }
        };
        if so_far.kind != PoolKind::None {
            return self.fail(opt.at, opt.span, "pool type cannot be redefined");
        }
        so_far.kind = kind;
        Ok(())
    }

    fn hash_key(&mut self, key: Option<&Word>, opt: &PoolOpt) -> Act<Option<[u32; 4]>> {
        let Some(word) = key else { return Ok(None) };
        let Some(digits) = word.text.strip_prefix("0x") else { return Ok(Some(digest(&word.text))) };
        if text::byte_len(&word.text) != 34 {
            return self.fail(opt.at, word.span, "hex key must be 128 bits (32 hex digits) long");
        }
        match hex_words(digits) {
            Some(words) => Ok(Some(words)),
            None => self.fail(opt.at, word.span, "invalid hex key"),
        }
    }
}

/// MD5 of a key in words, as they print.
fn digest(key: &str) -> [u32; 4] {
    let bytes: [u8; 16] = Md5::digest(text::encode(key).as_ref()).into();
    let mut words = [0u32; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*chunk);
    }
    words
}

/// Four `%8x` of `sscanf`: each takes up to eight digits, and the next goes on where it stopped.
fn hex_words(digits: &str) -> Option<[u32; 4]> {
    let mut rest = digits;
    let mut words = [0u32; 4];
    for word in &mut words {
        rest = rest.trim_start_matches(|c: char| u8::try_from(c).is_ok_and(super::number::is_space));
        let signed = usize::from(rest.starts_with(['-', '+']));
        let body = rest.get(signed..)?;
        let width = 8usize.saturating_sub(signed);
        let prefix = if body.get(..2).is_some_and(|p| p.eq_ignore_ascii_case("0x")) && width > 2 { 2 } else { 0 };
        let number = body.get(prefix..)?;
        let len = number.bytes().take(width.saturating_sub(prefix)).take_while(u8::is_ascii_hexdigit).count();
        if len == 0 {
            return None;
        }
        let value = u32::from_str_radix(number.get(..len)?, 16).ok()?;
        *word = if rest.starts_with('-') { value.wrapping_neg() } else { value };
        rest = number.get(len..)?;
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        assert_eq!(digest("foobarlicious"), [0x4da8_e393, 0xfd22_f577, 0x426c_fdf7, 0xfe52_d3b0]);
        assert_eq!(hex_words("00000001000000020000000300000004"), Some([1, 2, 3, 4]));
        assert_eq!(hex_words("0000000100000002000000030000000g"), Some([1, 2, 3, 0]));
        assert_eq!(hex_words("zz"), None);
    }
}

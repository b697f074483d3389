//! `set …` and macro definitions.
//!
//! Each option is echoed as soon as it is read, in the form pfctl prints. Source: `parse.y option`, `pfctl.c
//! pfctl_set_*`.

use pfvm::rule::{Syncookies, Timeout};

use super::filter::truncate_u32;
use super::number::{atoul, strtod};
use super::{Act, Resolver, Stop, adaptive, words};
use crate::ast::{Arg, At, BlockPolicy, IfItem, MacroDef, NamedNumber, SetOption, Span, StateOpt, Value, Watermark};
use crate::facts::OsNames;
use crate::osfp::Fingerprints;
use crate::ruleset::{LIMIT_NAMES, OptimizerLevel};
use crate::source::{Sources, text};

/// The machine's own fingerprint file: its names are among the facts.
const FINGERPRINTS: &str = "/etc/pf.os";
/// `PF_SYNCOOKIES_HIWATPCT` and `_LOWATPCT`.
pub(crate) const WATERMARKS: (u32, u32) = (12, 25);

/// `%d` of an unsigned number.
fn signed(value: u32) -> i32 {
    i32::from_ne_bytes(value.to_ne_bytes())
}

impl Resolver<'_> {
    /// `name = value`, which the lexer has taken already.
    pub(crate) fn macro_def(&mut self, def: &MacroDef, at: At, span: Span) -> Act {
        self.echo(|| format!("{} = \"{}\"\n", def.name.text, def.value.text));
        if !def.name_is_legal() {
            return self.fail(at, span, "macro name cannot contain whitespace");
        }
        Ok(())
    }

    /// A `set` statement.
    pub(crate) fn set(&mut self, option: &SetOption, at: At, span: Span, sources: &mut Sources) -> Act {
        match option {
            SetOption::Reassemble { value, no_df } => {
                let on = self.yes_no(value)?;
                self.reassemble = on;
                self.settings.reassemble = Some((on, on && *no_df));
                let (yes, df) = (if on { "yes" } else { "no" }, if *no_df { "no-df" } else { "" });
                self.echo(|| format!("set reassemble {yes} {df}\n"));
            }
            SetOption::Optimization(word) => self.optimization(&word.text, at, span)?,
            SetOption::RulesetOptimization(arg) => {
                let level = self.optimizer_level(arg)?;
                if self.optimize.is_none() {
                    self.optimize = Some(level);
                }
                self.settings.optimization = Some(level);
            }
            SetOption::Timeout(items) => {
                for item in items {
                    self.timeout(item)?;
                }
            }
            SetOption::Limit(items) => {
                for item in items {
                    self.limit(item)?;
                }
            }
            SetOption::LogInterface(word) => {
                self.settings.loginterface = Some((&*word.text != "none").then(|| word.text.to_string()));
                self.echo(|| format!("set loginterface {}\n", word.text));
            }
            SetOption::HostId(arg) => self.host_id(arg, at, span)?,
            SetOption::BlockPolicy(policy) => {
                self.block_returns = *policy == BlockPolicy::Return;
                let word = if self.block_returns { "return" } else { "drop" };
                self.echo(|| format!("set block-policy {word}\n"));
            }
            SetOption::Fingerprints(word) => {
                self.echo(|| format!("set fingerprints \"{}\"\n", word.text));
                self.settings.fingerprints = Some(word.text.to_string());
                if self.anchors.in_main() && !self.fingerprints(&word.text, sources) {
                    return self.fail(at, word.span, format!("error loading fingerprints {}", word.text));
                }
            }
            SetOption::StatePolicy { if_bound } => {
                let word = if *if_bound { "if-bound" } else { "floating" };
                self.echo(|| format!("set state-policy {word}\n"));
                self.globals.if_bound = *if_bound;
            }
            SetOption::Debug(word) => {
                let Some(level) = words::log_level(&word.text) else {
                    self.program(format!("unknown debug level \"{}\"", word.text));
                    let text = format!("error setting debuglevel {}", word.text);
                    return self.unknown(at, word.span, text, &word.text, words::log_level_names());
                };
                self.settings.debug = Some(level);
                self.echo(|| format!("set debug {}\n", word.text));
            }
            SetOption::Skip(items) => self.skip(items, at, span)?,
            SetOption::StateDefaults(items) => self.state_defaults(items, at, span)?,
            SetOption::Syncookies { mode, marks } => self.syncookies(mode, marks.as_deref(), at, span)?,
        }
        Ok(())
    }

    /// `yes` or the keyword `no`.
    pub(crate) fn yes_no(&mut self, arg: &Arg) -> Act<bool> {
        let text = arg.value.text();
        match &*text {
            "yes" => Ok(true),
            "no" => Ok(false),
            other => self.fail(arg.at, arg.span, format!("invalid value '{other}', expected 'yes' or 'no'")),
        }
    }

    fn optimization(&mut self, name: &str, at: At, span: Span) -> Act {
        let Some((_, seconds)) = words::PROFILES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) else {
            self.program("invalid state timeouts optimization");
            let names = words::PROFILES.iter().map(|(known, _)| *known);
            return self.unknown(at, span, format!("unknown optimization {name}"), name, names);
        };
        for (slot, value) in self.settings.timeouts.iter_mut().zip(seconds) {
            *slot = Some(*value);
        }
        self.echo(|| format!("set optimization {name}\n"));
        Ok(())
    }

    /// `none`, `basic`, `profile`.
    pub(crate) fn optimizer_level(&mut self, arg: &Arg) -> Act<OptimizerLevel> {
        let text = arg.value.text();
        match &*text {
            "none" => Ok(OptimizerLevel::None),
            "basic" => Ok(OptimizerLevel::Basic),
            "profile" => Ok(OptimizerLevel::Profile),
            other => {
                let names = ["none", "basic", "profile"];
                self.unknown(arg.at, arg.span, format!("unknown ruleset-optimization {other}"), other, names)
            }
        }
    }

    /// An item of `set timeout`.
    pub(crate) fn timeout(&mut self, item: &NamedNumber) -> Act {
        let Ok(value) = u32::try_from(item.value.value) else {
            return self.fail(item.at, item.value.span, "only positive values permitted");
        };
        let name = &item.name.text;
        let known = Timeout::ALL.iter().position(|t| t.name().eq_ignore_ascii_case(name));
        let Some(slot) = known.and_then(|i| self.settings.timeouts.get_mut(i)) else {
            self.program("Bad timeout name.");
            let names = Timeout::ALL.iter().map(|t| t.name());
            return self.unknown(item.at, item.name.span, format!("unknown timeout {name}"), name, names);
        };
        *slot = Some(value);
        self.echo(|| format!("set timeout {name} {}\n", signed(value)));
        Ok(())
    }

    /// An item of `set limit`.
    pub(crate) fn limit(&mut self, item: &NamedNumber) -> Act {
        let Ok(value) = u32::try_from(item.value.value) else {
            return self.fail(item.at, item.value.span, "only positive values permitted");
        };
        let name = &item.name.text;
        let known = LIMIT_NAMES.iter().position(|l| l.eq_ignore_ascii_case(name));
        let Some(slot) = known.and_then(|i| self.settings.limits.get_mut(i)) else {
            self.program("Bad pool name.");
            let text = format!("unable to set limit {name} {value}");
            return self.unknown(item.at, item.name.span, text, name, LIMIT_NAMES);
        };
        *slot = Some(value);
        self.echo(|| format!("set limit {name} {}\n", signed(value)));
        Ok(())
    }

    /// A number, or a word in any of C's bases.
    pub(crate) fn number(&mut self, arg: &Arg) -> Act<i64> {
        match &arg.value {
            Value::Number(number) => Ok(*number),
            Value::Word(word) => match atoul(word) {
                Some(number) => Ok(i64::from_ne_bytes(number.to_ne_bytes())),
                None => self.fail(arg.at, arg.span, format!("{word} is not a number")),
            },
        }
    }

    fn host_id(&mut self, arg: &Arg, at: At, span: Span) -> Act {
        let number = self.number(arg)?;
        if number == 0 || number > i64::from(u32::MAX) {
            return self.fail(at, span, "hostid must be non-zero");
        }
        let [.., a, b, c, d] = number.to_be_bytes();
        let id = u32::from_be_bytes([a, b, c, d]);
        self.settings.hostid = Some(id);
        self.echo(|| format!("set hostid 0x{id:08x}\n"));
        Ok(())
    }

    /// Reads a fingerprint file; false when it cannot be read.
    pub(crate) fn fingerprints(&mut self, name: &str, sources: &mut Sources) -> bool {
        (self.globals.os, self.globals.prints) = (None, None);
        if name == FINGERPRINTS && self.facts.os.fingerprints > 0 {
            self.loaded_fingerprints(self.facts.os.clone());
            return true;
        }
        match sources.read(name) {
            Err(reason) => {
                self.program(format!("{name}: {reason}"));
                false
            }
            Ok(bytes) => {
                let (prints, complaints) = Fingerprints::parse(name, &text::decode(&bytes));
                for line in complaints {
                    self.line(&line);
                }
                self.loaded_fingerprints(prints.os_names());
                self.globals.prints = Some(prints.prints);
                true
            }
        }
    }

    /// Takes fingerprint names as known, and says how many.
    pub(crate) fn loaded_fingerprints(&mut self, names: OsNames) {
        let count = names.fingerprints;
        self.globals.os = Some(names);
        if self.options.verbose > 1 {
            self.echo(|| format!("Loaded {count} passive OS fingerprints\n"));
        }
    }

    fn skip(&mut self, items: &[IfItem], at: At, span: Span) -> Act {
        let ifaces = self.ifaces(items)?;
        let none = match ifaces.as_slice() {
            [] => true,
            [one] => !one.not && one.name == "none",
            _ => false,
        };
        if none {
            self.echo(|| "set skip on none\n".into());
            self.settings.skip.clear();
            return Ok(());
        }
        let mut wrong = false;
        self.echo(|| "set skip on {".into());
        for iface in &ifaces {
            self.echo(|| format!(" {}", iface.name));
            if iface.not {
                self.error(at, span, "skip on ! <interface> is not supported");
                wrong = true;
            } else if iface.rdomain.is_some() {
                self.error(at, span, "skip on rdomain <num> is not supported");
                wrong = true;
            } else {
                self.settings.skip.push(iface.name.clone());
            }
        }
        self.echo(|| " }\n".into());
        if wrong {
            return self.fail(at, span, "error setting skip interface(s)");
        }
        Ok(())
    }

    fn state_defaults(&mut self, items: &[StateOpt], at: At, span: Span) -> Act {
        let options = self.state_opts(items)?;
        if self.globals.state_defaults.is_some() {
            return self.fail(at, span, "cannot redefine state-defaults");
        }
        self.globals.state_defaults = Some(options);
        Ok(())
    }

    /// `never`, `always`, `adaptive`.
    pub(crate) fn syncookie_mode(&mut self, arg: &Arg) -> Act<Syncookies> {
        match &*arg.value.text() {
            "never" => Ok(Syncookies::Never),
            "always" => Ok(Syncookies::Always),
            "adaptive" => Ok(adaptive(self.watermarks.1, self.watermarks.0)),
            _ => self.fail(arg.at, arg.span, "illegal value for syncookies"),
        }
    }

    /// `start n%` or `end n%` into (end, start).
    pub(crate) fn watermark(&mut self, mark: &Watermark, so_far: &mut (u32, u32)) -> Act {
        let (value, unit) = strtod(&mark.value.text);
        if unit != "%" {
            return Err(Stop::Line(mark.at));
        }
        if value <= 0.0 || value > 100.0 {
            return self.fail(mark.at, mark.value.span, "illegal percentage value");
        }
        match &*mark.name.text {
            "start" => so_far.1 = truncate_u32(value),
            "end" => so_far.0 = truncate_u32(value),
            _ => return self.fail(mark.at, mark.name.span, "illegal syncookie option"),
        }
        Ok(())
    }

    fn syncookies(&mut self, mode: &Arg, marks: Option<&[Watermark]>, at: At, span: Span) -> Act {
        let mut mode = self.syncookie_mode(mode)?;
        let is_adaptive = matches!(mode, Syncookies::Adaptive { .. });
        if let Some(marks) = marks {
            let mut given = (0, 0);
            for mark in marks {
                self.watermark(mark, &mut given)?;
            }
            if !is_adaptive {
                self.program("syncookies start/end only apply to adaptive");
                return self.fail(at, span, "error setting syncookies");
            }
            let start = if given.1 == 0 { WATERMARKS.1 } else { given.1 };
            let end = if given.0 == 0 { start / 2 } else { given.0 };
            if end >= start {
                self.program("start must be higher than end");
                return self.fail(at, span, "error setting syncookies");
            }
            self.watermarks = (end, start);
            self.watermarks_set = true;
            mode = adaptive(start, end);
        }
        let (end, start) = self.watermarks;
        let text = match mode {
            Syncookies::Never => "never".to_owned(),
            Syncookies::Always => "always".to_owned(),
            Syncookies::Adaptive { .. } if self.watermarks_set => format!("adaptive (start {start}%, end {end}%)"),
            Syncookies::Adaptive { .. } => "adaptive".to_owned(),
        };
        self.echo(|| format!("set syncookies {text}\n"));
        self.settings.syncookies = Some(mode);
        Ok(())
    }
}

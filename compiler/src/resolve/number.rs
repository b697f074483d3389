//! Numbers as C's library reads them: pf.conf's words go through `strtoul`, `strtod`, `strtonum` and `inet_pton`.
//!
//! Holds only pure functions. Each accepts and refuses exactly what the function it is named after does, because that
//! decides whether a word is a port or a service name, an address or a host name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `isspace` of the C locale.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn skip_space(text: &str) -> &str {
    text.trim_start_matches(|c: char| u8::try_from(c).is_ok_and(is_space))
}

fn sign(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    }
}

/// What `strtoul` makes of the front of a text: the value (64 bits, saturating with `overflow` set) and the rest.
pub(crate) struct Unsigned<'a> {
    pub value: u64,
    pub overflow: bool,
    pub rest: &'a str,
}

/// `strtoul(text, &rest, base)`; base 0 knows `0x` and a leading 0.
pub(crate) fn strtoul(text: &str, base: u32) -> Unsigned<'_> {
    let (negative, digits) = sign(skip_space(text));
    let hex = |t: &str| {
        t.get(..2).is_some_and(|p| p.eq_ignore_ascii_case("0x"))
            && t.as_bytes().get(2).is_some_and(u8::is_ascii_hexdigit)
    };
    let (base, digits) = match base {
        0 | 16 if hex(digits) => (16, digits.get(2..).unwrap_or_default()),
        0 if digits.starts_with('0') => (8, digits),
        0 => (10, digits),
        given => (given, digits),
    };
    let end = digits.find(|c: char| !c.is_digit(base)).unwrap_or(digits.len());
    let (front, rest) = digits.split_at_checked(end).unwrap_or(("", digits));
    if front.is_empty() {
        return Unsigned { value: 0, overflow: false, rest: text };
    }
    match u64::from_str_radix(front, base) {
        Ok(value) => Unsigned { value: if negative { value.wrapping_neg() } else { value }, overflow: false, rest },
        Err(_) => Unsigned { value: u64::MAX, overflow: true, rest },
    }
}

/// pfctl's `atoul`: a whole word as an unsigned number in any base.
pub(crate) fn atoul(text: &str) -> Option<u64> {
    let parsed = strtoul(text, 0);
    (!text.is_empty() && parsed.rest.is_empty() && !parsed.overflow).then_some(parsed.value)
}

/// `strtonum(text, min, max)`.
///
/// # Errors
/// Its word for what is wrong: `invalid`, `too small`, `too large`.
pub fn strtonum(text: &str, min: i64, max: i64) -> Result<i64, &'static str> {
    let (negative, digits) = sign(skip_space(text));
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err("invalid");
    }
    let magnitude = digits.parse::<i128>().unwrap_or(i128::MAX / 2);
    let value = if negative { -magnitude } else { magnitude };
    if value < i128::from(min) {
        return Err("too small");
    }
    if value > i128::from(max) {
        return Err("too large");
    }
    i64::try_from(value).map_err(|_| "invalid")
}

/// `strtod`: the value of the front of a text and the rest; (0, whole text) when there is no number.
pub(crate) fn strtod(text: &str) -> (f64, &str) {
    let start = skip_space(text);
    let (negative, body) = sign(start);
    let signed = |v: f64| if negative { -v } else { v };
    for (word, value) in [("infinity", f64::INFINITY), ("inf", f64::INFINITY), ("nan", f64::NAN)] {
        if body.get(..word.len()).is_some_and(|p| p.eq_ignore_ascii_case(word)) {
            return (signed(value), body.get(word.len()..).unwrap_or_default());
        }
    }
    if let Some((value, rest)) = hex_float(body) {
        return (signed(value), rest);
    }
    let end = decimal_float_len(body);
    match body.get(..end).and_then(|front| front.parse::<f64>().ok()) {
        Some(value) => (signed(value), body.get(end..).unwrap_or_default()),
        None => (0.0, text),
    }
}

/// Length of the longest front that is a decimal floating-point number, 0 for none.
fn decimal_float_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(0);
    let mut end = whole;
    let mut mantissa = whole;
    if bytes.get(whole) == Some(&b'.') {
        let fraction = digits(whole.saturating_add(1));
        mantissa = mantissa.saturating_add(fraction);
        if mantissa > 0 {
            end = whole.saturating_add(1).saturating_add(fraction);
        }
    }
    if mantissa == 0 {
        return 0;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let signed = usize::from(matches!(bytes.get(end.saturating_add(1)), Some(b'+' | b'-')));
        let from = end.saturating_add(1).saturating_add(signed);
        let exponent = digits(from);
        if exponent > 0 {
            end = from.saturating_add(exponent);
        }
    }
    end
}

/// `0x1f`, `0x1.8p3`.
fn hex_float(text: &str) -> Option<(f64, &str)> {
    let body = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    let (mut value, mut scale, mut seen, mut dot, mut used) = (0.0f64, 1.0f64, false, false, 0usize);
    for c in body.chars() {
        if c == '.' && !dot {
            dot = true;
        } else if let Some(d) = c.to_digit(16) {
            seen = true;
            value = value * 16.0 + f64::from(d);
            if dot {
                scale *= 16.0;
            }
        } else {
            break;
        }
        used = used.saturating_add(1);
    }
    if !seen {
        return None;
    }
    let mut rest = body.get(used..)?;
    let mut power = 0i32;
    if let Some(tail) = rest.strip_prefix(['p', 'P']) {
        let (negative, digits) = sign(tail);
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        if end > 0 {
            let magnitude = digits.get(..end)?.parse::<i32>().unwrap_or(9999);
            power = if negative { magnitude.saturating_neg() } else { magnitude };
            rest = digits.get(end..)?;
        }
    }
    Some((value / scale * f64::powi(2.0, power), rest))
}

/// `printf("%g")`.
pub(crate) fn format_g(value: f64) -> String {
    if value.is_nan() {
        return if value.is_sign_negative() { "-nan".into() } else { "nan".into() };
    }
    if value.is_infinite() {
        return if value < 0.0 { "-inf".into() } else { "inf".into() };
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    let scientific = format!("{value:.5e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |s: &str| {
        if s.contains('.') { s.trim_end_matches('0').trim_end_matches('.').to_owned() } else { s.to_owned() }
    };
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.unsigned_abs());
    }
    let decimals = usize::try_from(5i32.saturating_sub(exponent)).unwrap_or(0);
    trim(&format!("{value:.decimals$}"))
}

/// `inet_pton(AF_INET)` of OpenBSD: four decimal octets, leading zeros allowed.
pub(crate) fn inet4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut count = 0usize;
    for part in text.split('.') {
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let value = part.bytes().try_fold(0u32, |v, b| {
            let v = v.checked_mul(10)?.checked_add(u32::from(b - b'0'))?;
            (v <= 255).then_some(v)
        })?;
        *octets.get_mut(count)? = u8::try_from(value).ok()?;
        count = count.saturating_add(1);
    }
    (count == 4).then(|| Ipv4Addr::from(octets))
}

/// `inet_pton(AF_INET6)` of OpenBSD: groups may have any number of digits as long as the value fits.
pub(crate) fn inet6(text: &str) -> Option<Ipv6Addr> {
    let (head, tail) = match text.split_once("::") {
        Some((head, tail)) => {
            if tail.contains("::") || tail.starts_with(':') {
                return None;
            }
            (groups(head, false)?, Some(groups(tail, true)?))
        }
        None => (groups(text, true)?, None),
    };
    let mut all = [0u16; 8];
    let total = head.len().saturating_add(tail.as_ref().map_or(0, Vec::len));
    match &tail {
        None if total != 8 => return None,
        Some(_) if total > 7 => return None,
        _ => {}
    }
    for (slot, value) in all.iter_mut().zip(&head) {
        *slot = *value;
    }
    for (slot, value) in all.iter_mut().rev().zip(tail.unwrap_or_default().iter().rev()) {
        *slot = *value;
    }
    Some(Ipv6Addr::from(all))
}

/// Colon-separated groups, with a dotted quad as the last one where allowed.
fn groups(text: &str, quad: bool) -> Option<Vec<u16>> {
    let mut out = Vec::new();
    if text.is_empty() {
        return Some(out);
    }
    let mut parts = text.split(':').peekable();
    while let Some(part) = parts.next() {
        if quad && parts.peek().is_none() && part.contains('.') {
            let octets = inet4(part)?.octets();
            out.push(u16::from_be_bytes([octets[0], octets[1]]));
            out.push(u16::from_be_bytes([octets[2], octets[3]]));
            break;
        }
        if part.is_empty() || out.len() >= 8 {
            return None;
        }
        let value = part.chars().try_fold(0u32, |v, c| {
            let v = v.checked_mul(16)?.checked_add(c.to_digit(16)?)?;
            (v <= 0xffff).then_some(v)
        })?;
        out.push(u16::try_from(value).ok()?);
    }
    Some(out)
}

/// `getaddrinfo` with `AI_NUMERICHOST`: an address with its scope; `index` answers `if_nametoindex`.
pub(crate) fn numeric_host(text: &str, index: impl Fn(&str) -> u32) -> Option<(IpAddr, u32)> {
    if let Some(v4) = inet4(text) {
        return Some((v4.into(), 0));
    }
    let (body, scope) = match text.split_once('%') {
        Some((body, scope)) => (body, Some(scope)),
        None => (text, None),
    };
    let v6 = inet6(body)?;
    let Some(scope) = scope else { return Some((v6.into(), 0)) };
    let [a, b, ..] = v6.octets();
    let local = (a == 0xfe && b & 0xc0 == 0x80) || (a == 0xff && matches!(b & 0x0f, 1 | 2));
    if local {
        let found = index(scope);
        if found != 0 {
            return Some((v6.into(), found));
        }
    }
    let number = strtonum(scope, 0, i64::from(u32::MAX)).ok()?;
    Some((v6.into(), u32::try_from(number).ok()?))
}

/// `inet_net_pton(AF_INET)` on a text without `/`: `10`, `172.16`, `0x0a`.
pub(crate) fn inet_net4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
        && hex.starts_with(|c: char| c.is_ascii_hexdigit())
    {
        if hex.len() > 8 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        for (octet, pair) in octets.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let nibble = |at: usize| {
                pair.get(at).and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok()).unwrap_or(0)
            };
            *octet = (nibble(0) << 4) | nibble(1);
        }
        return Some(octets.into());
    }
    let mut count = 0usize;
    for part in text.split('.') {
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let value = part.parse::<u64>().ok().and_then(|v| u8::try_from(v).ok())?;
        *octets.get_mut(count)? = value;
        count = count.saturating_add(1);
    }
    (count > 0).then(|| octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsigned_words() {
        assert_eq!(atoul("010"), Some(8));
        assert_eq!(atoul("0x1f"), Some(31));
        assert_eq!(atoul("0x"), None);
        assert_eq!(atoul("08"), None);
        assert_eq!(atoul(""), None);
        assert_eq!(atoul("-1"), Some(u64::MAX));
        assert_eq!(atoul("18446744073709551616"), None);
        assert_eq!(strtoul("100ms", 10).rest, "ms");
    }

    #[test]
    fn checked_words() {
        assert_eq!(strtonum("200", 0, 128), Err("too large"));
        assert_eq!(strtonum("-1", 0, 128), Err("too small"));
        assert_eq!(strtonum("1x", 0, 128), Err("invalid"));
        assert_eq!(strtonum("", 0, 128), Err("invalid"));
        assert_eq!(strtonum(" 12", 0, 128), Ok(12));
    }

    #[test]
    fn floating_words() {
        assert_eq!(strtod("1.5M"), (1.5, "M"));
        assert_eq!(strtod("12.5%"), (12.5, "%"));
        assert_eq!(strtod("abc"), (0.0, "abc"));
        assert_eq!(strtod(".5e2x"), (50.0, "x"));
        assert_eq!(strtod("1e"), (1.0, "e"));
        assert_eq!(strtod("0x10M"), (16.0, "M"));
        assert_eq!(format_g(2000.0), "2000");
        assert_eq!(format_g(0.5), "0.5");
        assert_eq!(format_g(1e20), "1e+20");
        assert_eq!(format_g(123_456_789.0), "1.23457e+08");
        assert_eq!(format_g(-100.0), "-100");
    }

    #[test]
    fn addresses() {
        let v6 = |t: &str| inet6(t).map(|a| a.to_string());
        assert_eq!(inet4("010.001.002.003"), Some(Ipv4Addr::new(10, 1, 2, 3)));
        assert_eq!(inet4("1.2.3"), None);
        assert_eq!(inet4("1.2.3.256"), None);
        assert_eq!(v6("::"), Some("::".into()));
        assert_eq!(v6("1::2"), Some("1::2".into()));
        assert_eq!(v6("::ffff:1.2.3.4"), Some("::ffff:1.2.3.4".into()));
        assert_eq!(v6("00000001::"), Some("1::".into()));
        assert_eq!(v6("1:2:3:4:5:6:7:8:9"), None);
        assert_eq!(v6(":1::"), None);
        assert_eq!(v6("1:::2"), None);
        assert_eq!(v6("12345::"), None);
        assert_eq!(inet_net4("10"), Some(Ipv4Addr::new(10, 0, 0, 0)));
        assert_eq!(inet_net4("172.16"), Some(Ipv4Addr::new(172, 16, 0, 0)));
        assert_eq!(inet_net4("300"), None);
        assert_eq!(numeric_host("fe80::1%em1", |_| 2), Some((inet6("fe80::1").unwrap().into(), 2)));
        assert_eq!(numeric_host("2001:db8::1%em1", |_| 2), None);
    }
}

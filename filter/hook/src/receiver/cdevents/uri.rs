//! URI references, as lenient as Go's `url.Parse`.

use core::net::Ipv6Addr;
use core::str::FromStr;

/// Whether Go would parse this as a URL. The empty string is one.
pub(super) fn is_reference(text: &str) -> bool {
    let (text, fragment) = cut(text, '#');
    parse(text).is_some() && fragment.is_none_or(is_escaped)
}

fn parse(text: &str) -> Option<()> {
    if text.bytes().any(|b| b.is_ascii_control()) {
        return None;
    }
    let (scheme, rest) = split_scheme(text)?;
    let (rest, _) = cut(rest, '?');
    if !rest.starts_with('/') {
        // Without a scheme a colon would make the first segment look like one.
        let segment = cut(rest, '/').0;
        let good = scheme.is_some() || !segment.contains(':') && is_escaped(rest);
        return good.then_some(());
    }
    let mut path = rest;
    if let Some(rest) = rest.strip_prefix("//")
        && (scheme.is_some() || !rest.starts_with('/'))
    {
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, after) = rest.split_at_checked(end)?;
        is_authority(scheme.unwrap_or_default(), authority).then_some(())?;
        path = after;
    }
    is_escaped(path).then_some(())
}

/// Splits `scheme:` off. Nothing if the scheme is empty.
fn split_scheme(text: &str) -> Option<(Option<&str>, &str)> {
    let is_scheme = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    match text.bytes().position(|b| !is_scheme(b)) {
        Some(end) if text.as_bytes().get(end) == Some(&b':') => {
            let (scheme, rest) = text.split_once(':')?;
            match scheme.bytes().next() {
                None => None,
                Some(b) if b.is_ascii_alphabetic() => Some((Some(scheme), rest)),
                Some(_) => Some((None, text)),
            }
        }
        _ => Some((None, text)),
    }
}

fn is_authority(scheme: &str, authority: &str) -> bool {
    let Some((user, host)) = authority.rsplit_once('@') else {
        return is_host(scheme, authority);
    };
    let is_user = |b: u8| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b);
    let (name, password) = cut(user, ':');
    user.bytes().all(is_user)
        && is_escaped(name)
        && password.is_none_or(is_escaped)
        && is_host(scheme, host)
}

fn is_host(scheme: &str, host: &str) -> bool {
    match host.rfind('[') {
        None => is_name(scheme, host),
        Some(0) => host
            .strip_prefix('[')
            .and_then(|rest| rest.rsplit_once(']'))
            .is_some_and(|(address, port)| is_address(address) && is_port(port)),
        Some(_) => false,
    }
}

fn is_name(scheme: &str, host: &str) -> bool {
    let web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    // Databases list several hosts with ports, so only the web is held to one colon.
    let colon = if web { host.find(':') } else { host.rfind(':') };
    let port = colon.and_then(|at| host.get(at..)).unwrap_or_default();
    is_port(port) && is_host_escaped(host)
}

/// An IPv6 address, maybe with a zone behind `%25`.
fn is_address(text: &str) -> bool {
    let (address, zone) = match text.split_once("%25") {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    Ipv6Addr::from_str(address).is_ok()
        && zone.is_none_or(|zone| !zone.is_empty() && is_zone_escaped(zone))
}

fn is_port(port: &str) -> bool {
    match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_digit()),
        None => port.is_empty(),
    }
}

/// Whether every `%` has its two digits.
pub(super) fn is_escaped(text: &str) -> bool {
    escapes(text, |_| true, |_| true)
}

/// In a host only what is not ASCII may be escaped, and `%` itself.
fn is_host_escaped(text: &str) -> bool {
    escapes(text, |b| !b.is_ascii() || b == b'%', is_host_byte)
}

/// In a zone only what may also stand there as it is, `%` and a blank.
fn is_zone_escaped(text: &str) -> bool {
    let escaped = |b: u8| matches!(b, b'%' | b' ') || b.is_ascii() && is_host_byte(b);
    escapes(text, escaped, is_host_byte)
}

fn is_host_byte(b: u8) -> bool {
    !b.is_ascii() || b.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&b)
}

fn escapes(text: &str, escaped: impl Fn(u8) -> bool, plain: impl Fn(u8) -> bool) -> bool {
    let mut rest = text.as_bytes();
    while let Some((b, tail)) = rest.split_first() {
        rest = tail;
        if *b != b'%' {
            if !plain(*b) {
                return false;
            }
            continue;
        }
        let Some((digits, tail)) = tail.split_at_checked(2) else {
            return false;
        };
        let mut byte = [0];
        if hex::decode_to_slice(digits, &mut byte).is_err() || !byte.into_iter().all(&escaped) {
            return false;
        }
        rest = tail;
    }
    true
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_those_that_go_parses() {
        for good in [
            "",
            "*",
            "/",
            "//",
            "///x",
            "a/b",
            "/event/source/123",
            "https://example.com/a?b=%zz#c",
            "urn:x:%zz",
            "mailto:a@b",
            "a/b:c",
            "./a:b",
            "http://u:p@h:80/",
            "http://p@ss@h",
            "http://h:/",
            "pg://a:1,b:2/db",
            "http://[::1]:80/x",
            "http://[fe80::1%25en0]/",
            "http://[fe80::1%25%20x]/",
            "http://h%C3%A9/",
            "http://h%25/",
            "http://\u{e9}/",
            "x#%41",
            "a b",
            "\u{e9}",
            "1a/b",
            "x?y:z",
            "http:///x",
            "+x/y",
        ] {
            assert!(is_reference(good), "{good}");
        }
        for bad in [
            ":x",
            "a_b:c",
            "1a:b",
            "%",
            "/%zz",
            "/%4",
            "x#%zz",
            "http://%41/",
            "http://h h/",
            "http://h:x/",
            "http://h:1:2/",
            "http://[::1",
            "http://x[::1]/",
            "http://[1.2.3.4]/",
            "http://[x]/",
            "http://[::1]x/",
            "http://[::1%25]/",
            "http://[::1%25%00]/",
            "http://u/%2",
            "http://a\\@h/",
            "http://%zz@h/",
            "a\n",
            "\u{7f}",
            "//h:x",
            "//[",
            "http://a^b/",
        ] {
            assert!(!is_reference(bad), "{bad}");
        }
    }
}

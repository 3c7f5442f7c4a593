//! Package URLs, as the Go package that the CDEvents SDK uses reads them.

use alloc::string::String;

use super::uri::is_escaped;

/// Whether this is a package URL: `pkg:type/namespace/name@version?qualifiers#subpath`.
pub(super) fn is_purl(text: &str) -> bool {
    parse(text).is_some()
}

fn parse(text: &str) -> Option<()> {
    let (rest, subpath) = text.split_once('#').unwrap_or((text, ""));
    subpath.split('/').all(is_subpath_item).then_some(())?;
    let (rest, qualifiers) = match rest.rsplit_once('?') {
        Some((rest, qualifiers)) => (rest, Some(qualifiers)),
        None => (rest, None),
    };
    let mut has_channel = false;
    for item in qualifiers.into_iter().flat_map(|text| text.split('&')) {
        has_channel |= qualifier(item)?;
    }
    let (package_type, path) = rest
        .strip_prefix("pkg:")?
        .trim_start_matches('/')
        .split_once('/')?;
    let (namespace, name) = path.rsplit_once('/').unwrap_or(("", path));
    is_escaped(namespace).then_some(())?;
    let version = match name.split_once('@') {
        Some((name, version)) if is_escaped(name) && is_escaped(version) => {
            (!name.is_empty()).then_some(version)?
        }
        Some(_) => return None,
        None => (!name.is_empty()).then_some("")?,
    };
    let has_namespace = namespace.bytes().any(|b| b != b'/');
    let good = match package_type.to_ascii_lowercase().as_str() {
        "conan" => has_namespace == has_channel,
        "swift" => has_namespace && !version.is_empty(),
        "cran" => !version.is_empty(),
        _ => true,
    };
    good.then_some(())
}

/// The dots of a subpath go before its escapes are read.
fn is_subpath_item(item: &str) -> bool {
    let item: String = item.chars().filter(|c| *c != '.').collect();
    is_escaped(&item)
}

/// Reads a qualifier and says whether it is a channel.
fn qualifier(item: &str) -> Option<bool> {
    let mut parts = item.split('=');
    let key = unescape(parts.next()?)?;
    let value = parts.next()?;
    let is_key = |(i, b): (usize, u8)| {
        b.is_ascii_alphabetic() || matches!(b, b'.' | b'-' | b'_') || i > 0 && b.is_ascii_digit()
    };
    let good = !key.is_empty() && key.bytes().enumerate().all(is_key) && is_escaped(value);
    good.then_some(key == "channel" && !value.is_empty())
}

/// The key in lower case before its escapes are read; a key is ASCII or not one.
fn unescape(key: &str) -> Option<String> {
    if !is_escaped(key) {
        return None;
    }
    let key = key.to_ascii_lowercase();
    let mut parts = key.split('%');
    let mut out = String::from(parts.next()?);
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        out.push(char::from(u8::from_str_radix(digits, 16).ok()?));
        out.push_str(rest);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_urls_are_those_that_the_sdk_takes() {
        for good in [
            "pkg:oci/myapp@sha256%3A0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427",
            "pkg:oci/myapp@sha256:0b31b1c?repository_url=mycr.io/myapp",
            "pkg:golang/github.com/a/b@v1#sub/./dir",
            "pkg://npm/%40angular/x@1",
            "pkg:x/y",
            "pkg:x/y?a=",
            "pkg:x/y?a=b=c",
            "pkg:conan/a/b?channel=c",
            "pkg:conan/b",
            "pkg:swift/a/b@1",
            "pkg:CRAN/b@1",
            "pkg:x//y",
            "pkg:x/%zz",
        ] {
            assert!(is_purl(good), "{good}");
        }
        for bad in [
            "",
            "x",
            "pkg:",
            "pkg:x",
            "pkg:x/",
            "pkg:x/@1",
            "oci/x",
            "PKG:x/y",
            "pkg:x/y@%zz",
            "pkg:x/%zz@1",
            "pkg:x/%z/y",
            "pkg:x/y#%zz",
            "pkg:x/y?",
            "pkg:x/y?a",
            "pkg:x/y?=b",
            "pkg:x/y?1=b",
            "pkg:x/y?a=%z",
            "pkg:x/y?a b=c",
            "pkg:conan/a/b",
            "pkg:conan/b?channel=c",
            "pkg:swift/b@1",
            "pkg:swift/a/b",
            "pkg:cran/b",
            "pkg:x/y?%61%zz=b",
        ] {
            assert!(!is_purl(bad), "{bad}");
        }
    }
}

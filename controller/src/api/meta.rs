//! `metadata`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The parts of `metadata` that Hookgate reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectMeta {
    /// Name.
    pub name: String,
    /// Namespace; `default` if a manifest does not say.
    pub namespace: String,
    /// UID, where there is an API server that gives one.
    pub uid: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Generation.
    pub generation: Option<i64>,
    /// When it was created, RFC 3339: compares as text.
    pub creation_timestamp: Option<String>,
    /// Resource version.
    pub resource_version: Option<String>,
}

/// Whether a name may be that of a Kubernetes object: RFC 1123 subdomain, at most 253 characters.
pub fn is_object_name(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_part)
}

fn is_part(part: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !part.is_empty()
        && part.bytes().all(|b| inside(b) || b == b'-')
        && !part.starts_with('-')
        && !part.ends_with('-')
}

/// Whether a name may be that of a namespace: one RFC 1123 label.
pub fn is_label(name: &str) -> bool {
    name.len() <= 63 && !name.contains('.') && is_part(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_an_api_server_takes() {
        for (name, want) in [
            ("app", true),
            ("a.b-c.0", true),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("a..b", false),
            ("A", false),
            ("a/b", false),
            ("a_b", false),
        ] {
            assert_eq!(is_object_name(name), want, "{name:?}");
        }
        assert!(is_object_name(&"a".repeat(253)) && !is_object_name(&"a".repeat(254)));
        assert!(!is_object_name(&["a"; 127].join(".").repeat(2)));
        assert!(!is_label(&"a".repeat(64)) && is_label(&"a".repeat(63)) && !is_label("a.b"));
    }
}

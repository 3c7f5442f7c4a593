//! A resource: an object that a Receiver names.

use std::fmt;

/// An object that hooks cause to be reconciled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceRef {
    /// `group/version`.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ResourceRef {
    /// Its API group; empty for the core group.
    pub fn group(&self) -> &str {
        group(&self.api_version)
    }

    /// Whether both mean the same kind of object: one group, whatever the version. An API server shows
    /// an object in every version that it serves.
    pub fn is_kind_of(&self, other: &Self) -> bool {
        self.group() == other.group() && self.kind == other.kind
    }
}

/// The group of an `apiVersion`; empty for the core group.
pub fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

impl fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_what_stands_before_the_version() {
        for (api_version, want) in [
            ("source.toolkit.fluxcd.io/v1", "source.toolkit.fluxcd.io"),
            ("v1", ""),
            ("", ""),
        ] {
            assert_eq!(group(api_version), want);
        }
    }
}

//! The digest that names a Receiver's webhook path, and the path itself.

use alloc::format;
use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const PREFIX: &[u8] = b"/hook/";

/// SHA-256 over token, name and namespace; `/hook/<digest>` is the webhook path.
///
/// The path is a secret: for types that sign nothing it is the whole credential. So it has no
/// `Display`, and its `Debug` does not print it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of a Receiver. Plain concatenation, in the order that Flux documents:
    /// the token's raw bytes, `metadata.name`, `metadata.namespace`.
    pub fn of(token: &[u8], name: &str, namespace: &str) -> Self {
        Self(
            Sha256::new()
                .chain_update(token)
                .chain_update(name)
                .chain_update(namespace)
                .finalize()
                .into(),
        )
    }

    /// The digest under which flux-recv (Flux v1) served a key: SHA-256 over the key file's bytes
    /// and the registry host, which most endpoints leave empty.
    pub fn of_flux_recv(key: &[u8], registry_host: &str) -> Self {
        Self(
            Sha256::new()
                .chain_update(key)
                .chain_update(registry_host)
                .finalize()
                .into(),
        )
    }

    /// The digest that a request path names. Only `/hook/` and 64 lower-case hex digits will do:
    /// no query, no trailing slash, no escapes, no upper case.
    pub fn from_path(path: &[u8]) -> Option<Self> {
        let text = path.strip_prefix(PREFIX)?;
        if text.len() != 64 || text.iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The webhook path. Secret; see the type.
    pub fn path(&self) -> String {
        format!("/hook/{}", hex::encode(self.0))
    }

    /// The key under which the table knows this path. It can't be turned back into the path.
    pub fn id(&self) -> HookId {
        HookId(Sha256::digest(self.0).into())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// SHA-256 of the 32 digest bytes: tells a hook's path again without giving it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HookId(#[serde(with = "crate::config::base64_bytes")] pub [u8; 32]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_flux_cli() {
        for (token, name, namespace, want) in [
            (
                "test-token",
                "gcr-secret",
                "my-namespace",
                "/hook/6d6c55e9affb9d1e0d101ce604ae4270880ec1ff24d1bd2d928fcd64243d21a4",
            ),
            (
                "",
                "generic-oidc-receiver",
                "default",
                "/hook/4399e88762a0abe9a87e588d0c42b27f13ac7a4fb04bb1ed28be8cb4b2fb4f31",
            ),
        ] {
            assert_eq!(Digest::of(token.as_bytes(), name, namespace).path(), want);
        }
    }

    #[test]
    fn only_the_exact_path_names_a_digest() {
        let path = Digest::of(b"t", "n", "ns").path();
        assert!(Digest::from_path(path.as_bytes()).is_some());
        let mut odd = alloc::vec![
            format!("/{path}"),
            format!("{path}/"),
            format!("{path}?a=b"),
            format!("{path}#x"),
            path.to_uppercase(),
            path.replace("/hook/", "/Hook/"),
            path.replace("/hook/", "/hook%2f"),
            path.replace("/hook/", "/hook;x=1/"),
            path.replace("/hook/", "/hook//"),
            path.replace("/hook/", "/./hook/"),
            format!("http://host{path}"),
            String::from("/hook"),
            String::from("/hook/"),
            String::new(),
        ];
        odd.push(path.replace("/hook/", "/hook/%30"));
        odd.push(path.replacen(
            |c: char| c.is_ascii_hexdigit() && c.is_ascii_digit(),
            "g",
            1,
        ));
        for path in odd {
            assert_eq!(Digest::from_path(path.as_bytes()), None, "{path:?}");
        }
    }

    #[test]
    fn a_digest_is_never_printed() {
        assert_eq!(format!("{:?}", Digest::of(b"t", "n", "ns")), "Digest(..)");
    }
}

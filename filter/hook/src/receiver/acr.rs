//! `acr`: Azure Container Registry. It signs nothing; the path is the credential.

use super::registry::Registry;
#[cfg(feature = "payload")]
use super::shape::{Shape, TEXT};

pub(super) const ACR: Registry = Registry {
    name: "acr",
    #[cfg(feature = "payload")]
    fields: &[
        ("action", TEXT),
        (
            "target",
            Shape::Struct(&[("repository", TEXT), ("tag", TEXT)]),
        ),
    ],
};

#[cfg(test)]
#[cfg(feature = "payload")]
mod tests {
    use proptest::prelude::*;

    use crate::receiver::shape::testing::{mutated, passes, payload, refuses};

    const BODIES: &[&str] = &[
        r#"{"action":"push","target":{"repository":"hello-world","tag":"v1"}}"#,
        r#"{"id":"cb8c3971","timestamp":"2017-11-17T16:52:01.343145347Z","action":"push","target":{"size":524,"digest":"sha256:80f0","length":524,"repository":"hello-world","tag":"v1"},"request":{"id":"3cbb6949","method":"PUT"}}"#,
    ];

    #[test]
    fn bodies_of_acr_pass() {
        passes("acr", BODIES);
        passes(
            "acr",
            &[
                "{}",
                "null",
                "{} trailing",
                r#"{"push_data":null}"#,
                r#"{"action":null,"target":null}"#,
                r#"{"Action":"ping","TARGET":{}}"#,
            ],
        );
    }

    #[test]
    fn other_bodies_are_refused() {
        refuses(
            "acr",
            &[
                "",
                "[]",
                "\"x\"",
                r#"{"action":1}"#,
                r#"{"target":"x"}"#,
                r#"{"target":{"tag":1}}"#,
                r#"{"target":{"repository":[]}}"#,
            ],
        );
    }

    proptest! {
        #[test]
        fn no_body_panics(body in mutated(BODIES)) {
            let _ = payload("acr", &body);
        }
    }
}

//! `quay`: Quay. It signs nothing; the path is the credential.

use super::registry::Registry;
#[cfg(feature = "payload")]
use super::shape::{TEXT, TEXTS};

pub(super) const QUAY: Registry = Registry {
    name: "quay",
    #[cfg(feature = "payload")]
    fields: &[("docker_url", TEXT), ("updated_tags", TEXTS)],
};

#[cfg(test)]
#[cfg(feature = "payload")]
mod tests {
    use proptest::prelude::*;

    use crate::receiver::shape::testing::{mutated, passes, payload, refuses};

    const BODIES: &[&str] = &[
        r#"{"docker_url":"quay.example/a/b","updated_tags":["v0.0.1","latest"]}"#,
        r#"{"name":"b","repository":"a/b","namespace":"a","docker_url":"q","homepage":"h","updated_tags":["latest"]}"#,
    ];

    #[test]
    fn bodies_of_quay_pass() {
        passes("quay", BODIES);
        passes(
            "quay",
            &[
                "{}",
                "null",
                "{} trailing",
                r#"{"updated_tags":null}"#,
                r#"{"updated_tags":[]}"#,
                r#"{"updated_tags":[null]}"#,
                r#"{"Docker_URL":"x"}"#,
                r#"{"push_data":{"tag":1}}"#,
            ],
        );
    }

    #[test]
    fn other_bodies_are_refused() {
        refuses(
            "quay",
            &[
                "",
                "[]",
                "\"x\"",
                r#"{"docker_url":1}"#,
                r#"{"updated_tags":"latest"}"#,
                r#"{"updated_tags":{"a":"b"}}"#,
                r#"{"updated_tags":["a",1]}"#,
            ],
        );
    }

    proptest! {
        #[test]
        fn no_body_panics(body in mutated(BODIES)) {
            let _ = payload("quay", &body);
        }
    }
}

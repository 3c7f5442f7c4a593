//! `dockerhub`: Docker Hub. It signs nothing; the path is the credential.

use super::registry::Registry;
#[cfg(feature = "payload")]
use super::shape::{Shape, TEXT};

pub(super) const DOCKER_HUB: Registry = Registry {
    name: "dockerhub",
    #[cfg(feature = "payload")]
    fields: &[
        ("push_data", Shape::Struct(&[("tag", TEXT)])),
        ("repository", Shape::Struct(&[("repo_url", TEXT)])),
    ],
};

#[cfg(test)]
#[cfg(feature = "payload")]
mod tests {
    use proptest::prelude::*;

    use crate::receiver::shape::testing::{mutated, passes, payload, refuses};

    const BODIES: &[&str] = &[
        r#"{"push_data":{"tag":"v1.0.0"},"repository":{"repo_url":"https://hub.example/r/a/b"}}"#,
        r#"{"callback_url":"x","push_data":{"pushed_at":1417566161,"pusher":"me","tag":"latest"},"repository":{"comment_count":0,"is_private":true,"repo_url":"u"}}"#,
    ];

    #[test]
    fn bodies_of_docker_hub_pass() {
        passes("dockerhub", BODIES);
        passes(
            "dockerhub",
            &[
                "{}",
                "null",
                r#"{"push_data":null}"#,
                r#"{"push_data":{"tag":null},"repository":{}}"#,
                "{} trailing",
                r#"{"PUSH_DATA":{"Tag":"x"}}"#,
                r#"{"push_data":{"tag":"a"},"push_data":{"tag":"b"}}"#,
                " {}",
            ],
        );
        assert!(payload("dockerhub", b"{\"push_data\":{\"tag\":\"\xff\"}}").is_ok());
    }

    #[test]
    fn other_bodies_are_refused() {
        refuses(
            "dockerhub",
            &[
                "",
                " ",
                "[]",
                "\"x\"",
                "1",
                "true",
                "{",
                "a=b",
                r#"{"push_data":{"tag":1}}"#,
                r#"{"push_data":"x"}"#,
                r#"{"push_data":[]}"#,
                r#"{"Push_Data":{"tag":{}},"push_data":{"tag":"x"}}"#,
                r#"{"repository":{"repo_url":false}}"#,
                r#"{"other":"#,
            ],
        );
    }

    proptest! {
        #[test]
        fn no_body_panics(body in mutated(BODIES)) {
            let _ = payload("dockerhub", &body);
        }
    }
}

//! `zoom`: a message of an incoming webhook of Zoom Team Chat.
//!
//! Its text is plain: nothing in it is markup. Mended: white space around the token is dropped.

use serde_json::{Value, json};

use super::part::subject;
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Target};
use crate::api::event::Event;

/// Zoom.
pub(super) struct Zoom;

impl ProviderType for Zoom {
    fn name(&self) -> &'static str {
        "zoom"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        _: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let mut url = target.url("invalid Zoom incoming webhook URL *****")?;
        let token = target.token("empty Zoom verification token")?;
        if !url.query_pairs().any(|(name, _)| name == "format") {
            url.query_pairs_mut().append_pair("format", "full");
        }
        Ok(Exchange::once(
            HttpRequest::post(url)
                .header("Authorization", token)
                .json(&json!({"content": content(event)})),
        ))
    }
}

fn content(event: &Event) -> Value {
    let mut body = vec![json!({"type": "message", "text": event.message})];
    if !event.metadata.is_empty() {
        let pairs = event.metadata.iter();
        let items: Vec<_> = pairs
            .map(|(key, value)| json!({"key": key, "value": value}))
            .collect();
        body.push(json!({"type": "fields", "items": items}));
    }
    json!({
        "head": {
            "text": subject::object_name(event),
            "sub_head": {"text": event.severity},
        },
        "body": body,
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::provider::testing::{self, check};

    #[test]
    fn an_error_is_a_message_and_its_fields() {
        check(
            &Zoom,
            testing::error(),
            expect![[r#"
            POST https://provider.test/hook/hush-address?format=full
            authorization: hush-token
            content-type: application/json

            {
              "content": {
                "body": [
                  {
                    "text": "validation failed: <Ingress> & more\nsecond line",
                    "type": "message"
                  },
                  {
                    "items": [
                      {
                        "key": "change_request",
                        "value": "7"
                      },
                      {
                        "key": "cluster",
                        "value": "prod"
                      },
                      {
                        "key": "revision",
                        "value": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
                      },
                      {
                        "key": "summary",
                        "value": "prod impacted"
                      }
                    ],
                    "type": "fields"
                  }
                ],
                "head": {
                  "sub_head": {
                    "text": "error"
                  },
                  "text": "kustomization/webapp.apps"
                }
              }
            }

            done
        "#]],
        );
    }

    #[test]
    fn without_metadata_there_are_no_fields() {
        let mut event = testing::info();
        event.metadata.clear();
        let (body, _) = testing::body(&Zoom, &event);
        let want = json!([{"type": "message", "text": "Reconciliation finished"}]);
        assert_eq!(body["content"]["body"], want);
    }

    #[test]
    fn a_format_in_the_address_is_kept() {
        for (address, want) in [
            (
                "https://zoom.test/h?format=message",
                "https://zoom.test/h?format=message",
            ),
            (
                "https://zoom.test/h?a=b",
                "https://zoom.test/h?a=b&format=full",
            ),
            ("https://zoom.test/h", "https://zoom.test/h?format=full"),
        ] {
            let mut target = Zoom.example().target;
            target.address = address.to_owned().into();
            let request = testing::request(&Zoom, &testing::info(), &target);
            assert_eq!(request.url.expose_secret(), want);
        }
    }

    #[test]
    fn a_token_is_needed() {
        let mut target = Zoom.example().target;
        target.token = None;
        assert_eq!(
            testing::refusal(&Zoom, &testing::info(), &target),
            "the Provider cannot be used: empty Zoom verification token; set token in the Secret"
        );
    }
}

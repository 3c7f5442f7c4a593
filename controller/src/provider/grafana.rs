//! `grafana`: an annotation with Flux's tags.
//!
//! Mended: the message is part of the text, which is escaped, as dashboards show it as HTML; `time`
//! in milliseconds stands beside `when`, which only the Graphite endpoint reads; tags keep to the
//! 100 characters of Grafana's columns.

use secrecy::ExposeSecret;
use serde_json::json;

use super::part::{subject, text};
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Target};
use crate::api::event::Event;

/// Characters of either side of a tag.
const TAG: usize = 100;

/// Bytes of a message.
const MESSAGE: usize = 32 * 1024;

/// Grafana.
pub(super) struct Grafana;

impl ProviderType for Grafana {
    fn name(&self) -> &'static str {
        "grafana"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        _: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let request = authorized(
            HttpRequest::post(target.url("invalid Grafana URL *****")?),
            target,
        );
        let message = text::cut_bytes(&event.message, MESSAGE);
        let mut body = json!({
            "text": text::entities(&format!("{}\n{message}", subject::object_name(event))),
            "tags": tags(event),
        });
        if let Some(time) = event.timestamp {
            body["when"] = time.unix().into();
            body["time"] = time.unix().saturating_mul(1000).into();
        }
        Ok(Exchange::once(request.json(&body)))
    }
}

/// A token wins over user and password.
fn authorized(request: HttpRequest, target: &Target) -> HttpRequest {
    match (target.token("a token"), target.login()) {
        (Ok(token), _) => request.bearer(&token),
        (Err(_), Some((user, password))) => request.basic(user, password.expose_secret()),
        (Err(_), None) => request,
    }
}

/// A colon would end the key of a tag.
fn tags(event: &Event) -> Vec<String> {
    let tag = |key: &str, value: &str| {
        let side = |text: &str| text::cut(text, TAG).replace(':', "|");
        format!("{}: {}", side(key), side(value))
    };
    let object = &event.involved_object;
    let mut tags = vec!["flux".to_owned(), event.reporting_controller.clone()];
    tags.extend(event.metadata.iter().map(|(key, value)| tag(key, value)));
    for (key, value) in [
        ("kind", &object.kind),
        ("name", &object.name),
        ("namespace", &object.namespace),
    ] {
        tags.push(format!("{key}: {}", text::cut(value, TAG)));
    }
    tags
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, check};

    #[test]
    fn an_error_is_an_annotation() {
        check(
            &Grafana,
            testing::error(),
            expect![[r#"
            POST https://provider.test/hook/hush-address
            authorization: Bearer hush-token
            content-type: application/json

            {
              "tags": [
                "flux",
                "kustomize-controller",
                "change_request: 7",
                "cluster: prod",
                "revision: main@sha1|5394cb7f48332b2de7c17dd8b8384bbc84b7e738",
                "summary: prod impacted",
                "kind: Kustomization",
                "name: webapp",
                "namespace: apps"
              ],
              "text": "kustomization/webapp.apps\nvalidation failed: &lt;Ingress&gt; &amp; more\nsecond line",
              "time": 1767323045000,
              "when": 1767323045
            }

            done
        "#]],
        );
    }

    #[test]
    fn tags_are_in_order_and_short() {
        let mut event = testing::info();
        event.metadata = [("a:b", "c:d"), ("long", &"x".repeat(200))]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let long = format!("long: {}…", "x".repeat(99));
        assert_eq!(
            tags(&event),
            [
                "flux",
                "kustomize-controller",
                "a|b: c|d",
                &long,
                "kind: Kustomization",
                "name: webapp",
                "namespace: apps"
            ]
        );
    }

    #[test]
    fn a_token_wins_over_user_and_password() {
        let authorization = |target: &Target| {
            let request = testing::request(&Grafana, &testing::info(), target);
            let mut headers = request.headers.into_iter();
            let found = headers.find(|(name, _)| name == "Authorization");
            found.map(|(_, value)| value.expose_secret().to_owned())
        };
        let mut target = Grafana.example().target;
        target.password = Some("p".to_owned().into());
        target.username = "u".to_owned();
        assert_eq!(authorization(&target).unwrap(), "Bearer hush-token");
        target.token = None;
        assert_eq!(authorization(&target).unwrap(), "Basic dTpw");
        target.username.clear();
        assert_eq!(authorization(&target), None);
    }
}

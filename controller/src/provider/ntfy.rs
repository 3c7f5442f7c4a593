//! `ntfy`: a push notification, which Flux's schema does not name: a Provider of type `generic`
//! with the annotation `hookgate.dev/provider-type: ntfy`.
//!
//! The address is the server's, with the topic in `spec.channel`, or the topic's own. The Secret
//! may have a `token`, or `username` and `password`, and `headers`. Errors have priority 4 of 5.

use secrecy::ExposeSecret;
use serde_json::json;
use url::Url;

use super::part::fit::{Limit, fit};
use super::part::{chat, headers, subject, text};
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Target};
use crate::api::event::Event;

const LIMIT: Limit = Limit {
    // A message of more than 4,096 bytes becomes a file.
    total: 4_000,
    message: 4_000,
    pairs: 50,
    key: 100,
    value: 300,
    markup: 3,
    cost: char::len_utf8,
};

/// Characters of a title: what a phone shows.
const TITLE: usize = 250;

/// ntfy.
pub(super) struct Ntfy;

impl ProviderType for Ntfy {
    fn name(&self) -> &'static str {
        "ntfy"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        _: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let (url, topic) = server_and_topic(target)?;
        let event = fit(event, &LIMIT);
        let lines = chat::lines(&event, |key, value| format!("\n{key}: {value}"));
        let (priority, tag) = if event.is_error() {
            (4, "rotating_light")
        } else {
            (3, "information_source")
        };
        let body = json!({
            "topic": topic,
            "title": text::cut(&subject::object_name(&event), TITLE),
            "message": format!("{}{lines}", event.message),
            "priority": priority,
            "tags": [tag],
        });
        let request = authorized(HttpRequest::post(url), target).json(&body);
        Ok(Exchange::once(headers::add(request, target)?))
    }
}

fn authorized(request: HttpRequest, target: &Target) -> HttpRequest {
    match (target.token("a token"), target.login()) {
        (Ok(token), _) => request.bearer(&token),
        (Err(_), Some((user, password))) => request.basic(user, password.expose_secret()),
        (Err(_), None) => request,
    }
}

/// JSON goes to the server, never to a topic.
fn server_and_topic(target: &Target) -> Result<(Url, String), ProviderError> {
    let mut url = target.url("invalid ntfy URL *****")?;
    let mut topic = target.channel.clone();
    if topic.is_empty() {
        let last = url.path_segments().and_then(|mut path| path.next_back());
        topic = last.unwrap_or_default().to_owned();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop();
        }
    }
    let is_legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if topic.is_empty() || topic.len() > 64 || !topic.bytes().all(is_legal) {
        return Err(ProviderError::Config(
            "the topic is not 1 to 64 letters, digits, - and _; set spec.channel".to_owned(),
        ));
    }
    Ok((url, topic))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, check};

    #[test]
    fn an_error_is_urgent() {
        check(
            &Ntfy,
            testing::error(),
            expect![[r#"
            POST https://provider.test/hook/hush-address
            authorization: Bearer hush-token
            content-type: application/json
            x-team: web

            {
              "message": "validation failed: <Ingress> & more\nsecond line\nchange_request: 7\ncluster: prod\nrevision: main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738\nsummary: prod impacted",
              "priority": 4,
              "tags": [
                "rotating_light"
              ],
              "title": "kustomization/webapp.apps",
              "topic": "general"
            }

            done
        "#]],
        );
    }

    #[test]
    fn an_info_is_not() {
        let mut event = testing::info();
        event.metadata.clear();
        check(
            &Ntfy,
            event,
            expect![[r#"
            POST https://provider.test/hook/hush-address
            authorization: Bearer hush-token
            content-type: application/json
            x-team: web

            {
              "message": "Reconciliation finished",
              "priority": 3,
              "tags": [
                "information_source"
              ],
              "title": "kustomization/webapp.apps",
              "topic": "general"
            }

            done
        "#]],
        );
    }

    #[test]
    fn the_topic_is_the_channel_or_the_end_of_the_address() {
        let found = |address: &str, channel: &str| {
            let target = Target {
                address: address.to_owned().into(),
                channel: channel.to_owned(),
                ..Target::default()
            };
            server_and_topic(&target).map(|(url, topic)| (url.to_string(), topic))
        };
        for (address, channel, url, topic) in [
            (
                "https://ntfy.test",
                "alerts",
                "https://ntfy.test/",
                "alerts",
            ),
            (
                "https://ntfy.test/alerts",
                "",
                "https://ntfy.test/",
                "alerts",
            ),
            (
                "https://acme.test/ntfy/a-1",
                "",
                "https://acme.test/ntfy",
                "a-1",
            ),
        ] {
            assert_eq!(
                found(address, channel),
                Ok((url.to_owned(), topic.to_owned()))
            );
        }
        for (address, channel) in [("https://ntfy.test", ""), ("https://ntfy.test", "a/b")] {
            assert_eq!(found(address, channel).unwrap_err().category(), "config");
        }
    }

    #[test]
    fn a_message_keeps_to_4096_bytes() {
        let (body, _) = testing::body(&Ntfy, &testing::huge());
        let length = body["message"].as_str().unwrap().len();
        assert!((3_000..=4_096).contains(&length), "{length}");
    }

    #[test]
    fn a_token_wins_over_a_password_and_a_header_over_both() {
        let mut target = Ntfy.example().target;
        let authorization = |target: &Target| {
            let request = testing::request(&Ntfy, &testing::info(), target);
            let found = request.headers.into_iter();
            found
                .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
                .map(|(_, value)| value.expose_secret().to_owned())
                .collect::<Vec<_>>()
        };
        target.password = Some("p".to_owned().into());
        target.username = "u".to_owned();
        assert_eq!(authorization(&target), ["Bearer hush-token"]);
        target.token = None;
        assert_eq!(authorization(&target), ["Basic dTpw"]);
        target.headers = [("authorization".to_owned(), "x".to_owned().into())].into();
        assert_eq!(authorization(&target), ["x"]);
    }
}

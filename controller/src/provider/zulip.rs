//! `zulip`: a message for a topic of a channel, `channel/topic`.
//!
//! Mended: a message keeps to 10,000 characters and a topic to 60; nobody is mentioned.

use secrecy::ExposeSecret;

use super::part::fit::{Limit, fit};
use super::part::{comment, text};
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Target};
use crate::api::event::Event;
#[cfg(test)]
use crate::provider::testing::Example;

/// Characters of a topic.
const TOPIC: usize = 60;

const LIMIT: Limit = Limit {
    // What remains of 10,000 is for the object's name.
    total: 9_300,
    message: 9_300,
    pairs: 50,
    key: 100,
    value: 500,
    markup: 7,
    cost: |c| match c {
        '&' => 5,
        '<' => 4,
        '@' => 2,
        _ => 1,
    },
};

/// Zulip.
pub(super) struct Zulip;

impl ProviderType for Zulip {
    fn name(&self) -> &'static str {
        "zulip"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        _: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let mut url = target.url("invalid Zulip endpoint URL")?;
        url.set_path("/api/v1/messages");
        let (channel, topic) = channel_and_topic(&target.channel)?;
        let content = comment::markdown(&fit(event, &LIMIT));
        let mut request = HttpRequest::post(url).form(&[
            ("content", &content),
            ("to", channel),
            ("topic", &text::cut(topic, TOPIC)),
            ("type", "stream"),
        ]);
        if let Some((user, password)) = target.login() {
            request = request.basic(user, password.expose_secret());
        }
        Ok(Exchange::once(request))
    }

    #[cfg(test)]
    fn example(&self) -> Example {
        let mut example = Example::default();
        example.target.channel = "general/alerts".to_owned();
        example.target.username = "bot@zulip.test".to_owned();
        example.target.password = Some("hush-password".to_owned().into());
        example
    }
}

fn channel_and_topic(text: &str) -> Result<(&str, &str), ProviderError> {
    text.split_once('/')
        .filter(|(channel, topic)| !channel.is_empty() && !topic.is_empty())
        .ok_or_else(|| {
            ProviderError::Config(format!(
                "invalid Zulip channel format, expected <channel>/<topic>, got '{text}'"
            ))
        })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, check};

    fn content(event: &Event) -> String {
        let request = testing::request(&Zulip, event, &Zulip.example().target);
        let mut pairs = url::form_urlencoded::parse(&request.body);
        let (name, content) = pairs.next().unwrap();
        assert_eq!(name, "content");
        content.into_owned()
    }

    #[test]
    fn an_error_is_a_form() {
        check(
            &Zulip,
            testing::error(),
            expect![[r#"
            POST https://provider.test/api/v1/messages
            authorization: Basic Ym90QHp1bGlwLnRlc3Q6aHVzaC1wYXNzd29yZA==
            content-type: application/x-www-form-urlencoded

            content=%23%23+Flux+Status%0A%0A%E2%9A%A0%EF%B8%8F+Kustomization%2Fapps%2Fwebapp%0A%0Avalidation+failed%3A+%26lt%3BIngress%3E+%26amp%3B+more%0Asecond+line%0A%0AMetadata%3A%0A*+%60cluster%60%3A+prod%0A*+%60revision%60%3A+main%40sha1%3A5394cb7f48332b2de7c17dd8b8384bbc84b7e738%0A*+%60summary%60%3A+prod+impacted%0A&to=general&topic=alerts&type=stream

            done
        "#]],
        );
    }

    #[test]
    fn its_content_is_markdown() {
        let want = "## Flux Status\n\nℹ️ Kustomization/apps/webapp\n\nReconciliation finished\n\n\
                    Metadata:\n* `cluster`: prod\n* `revision`: \
                    main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738\n* `summary`: prod impacted\n";
        assert_eq!(content(&testing::info()), want);
    }

    #[test]
    fn nobody_is_mentioned() {
        let mut event = testing::error();
        event.message = "@**all** @*team*".to_owned();
        assert!(content(&event).contains("\n@\u{200b}**all** @\u{200b}*team*\n"));
    }

    #[test]
    fn a_message_keeps_to_10000_characters() {
        let length = content(&testing::huge()).chars().count();
        assert!((7_000..=10_000).contains(&length), "{length}");
    }

    #[test]
    fn a_channel_is_two_names() {
        assert_eq!(channel_and_topic("a/b/c"), Ok(("a", "b/c")));
        for bad in ["", "a", "a/", "/b", "/"] {
            assert_eq!(
                channel_and_topic(bad).unwrap_err().to_string(),
                format!(
                    "the Provider cannot be used: invalid Zulip channel format, expected \
                     <channel>/<topic>, got '{bad}'"
                )
            );
        }
    }

    #[test]
    fn without_credentials_none_are_sent_and_a_query_is_kept() {
        let mut target = Zulip.example().target;
        target.username.clear();
        target.password = None;
        target.address = "https://zulip.test/some/path?a=b".to_owned().into();
        let request = testing::request(&Zulip, &testing::info(), &target);
        assert_eq!(
            request.url.expose_secret(),
            "https://zulip.test/api/v1/messages?a=b"
        );
        assert!(
            request
                .headers
                .iter()
                .all(|(name, _)| name != "Authorization")
        );
    }
}

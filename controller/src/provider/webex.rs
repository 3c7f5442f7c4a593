//! `webex`: a message in Markdown for a room.
//!
//! Mended: a message keeps to 7,439 bytes; nobody is mentioned and no link hides its address; a
//! missing token is told at once.

use serde_json::json;

use super::part::fit::{Limit, fit};
use super::part::{chat, subject, text};
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Target};
use crate::api::event::Event;

const LIMIT: Limit = Limit {
    // What remains of 7,439 bytes is for the object's name.
    total: 6_900,
    message: 6_900,
    pairs: 50,
    key: 100,
    value: 500,
    markup: 8,
    cost: |c| {
        if matches!(c, '<' | '@' | '(') {
            4
        } else {
            c.len_utf8()
        }
    },
};

/// Webex.
pub(super) struct Webex;

impl ProviderType for Webex {
    fn name(&self) -> &'static str {
        "webex"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        _: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let url = target.url("invalid Webex hook URL *****")?;
        let token = target.token("the bot's token is missing")?;
        let mut body = json!({"markdown": markdown(&fit(event, &LIMIT))});
        if !target.channel.is_empty() {
            body["roomId"] = target.channel.as_str().into();
        }
        Ok(Exchange::once(
            HttpRequest::post(url).bearer(&token).json(&body),
        ))
    }
}

fn markdown(event: &Event) -> String {
    let emoji = if event.is_error() { "💣" } else { "✅" };
    let name = text::inert(&subject::object_name(event));
    let lines = chat::lines(event, |key, value| {
        format!(">**{}**: {}\n", text::inert(key), text::inert(value))
    });
    let message = text::inert(&event.message);
    format!("{emoji} **{name}**\n{message}\n{lines}")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, check};

    #[test]
    fn an_error_is_a_message_in_markdown() {
        check(
            &Webex,
            testing::error(),
            expect![[r#"
                POST https://provider.test/hook/hush-address
                authorization: Bearer hush-token
                content-type: application/json

                {
                  "markdown": "💣 **kustomization/webapp.apps**\nvalidation failed: <\u{200b}Ingress> & more\nsecond line\n>**change_request**: 7\n>**cluster**: prod\n>**revision**: main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738\n>**summary**: prod impacted\n",
                  "roomId": "general"
                }

                done
            "#]],
        );
    }

    #[test]
    fn without_a_room_none_is_named() {
        let mut target = Webex.example().target;
        target.channel.clear();
        let mut event = testing::info();
        event.metadata.clear();
        let request = testing::request(&Webex, &event, &target);
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&request.body).unwrap(),
            json!({"markdown": "✅ **kustomization/webapp.apps**\nReconciliation finished\n"})
        );
    }

    #[test]
    fn a_message_keeps_to_7439_bytes() {
        let (body, _) = testing::body(&Webex, &testing::huge());
        let length = body["markdown"].as_str().unwrap().len();
        assert!((5_000..=7_439).contains(&length), "{length}");
    }

    #[test]
    fn nobody_is_mentioned() {
        let mut event = testing::error();
        event.message = "<@all> [a](https://b)".to_owned();
        let (body, _) = testing::body(&Webex, &event);
        let markdown = body["markdown"].as_str().unwrap();
        assert!(markdown.contains("\n<\u{200b}@\u{200b}all> [a]\u{200b}(https://b)\n"));
    }

    #[test]
    fn a_missing_token_is_told() {
        let mut target = Webex.example().target;
        target.token = None;
        assert_eq!(
            testing::refusal(&Webex, &testing::info(), &target),
            "the Provider cannot be used: the bot's token is missing; set token in the Secret"
        );
    }
}

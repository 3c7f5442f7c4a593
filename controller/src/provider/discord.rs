//! `discord`: Slack's message, at the end of a webhook that takes it.
//!
//! Mended: text keeps to the limits of an embed (description 4,096 characters, 25 fields, 6,000 in
//! all); nobody is mentioned and no link hides its address; `slack` is added to the path where a
//! query follows, and not twice.

use super::part::attachment::{self, Style};
use super::part::fit::{self, Limit};
use super::part::git::below;
use super::part::text;
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Target};
use crate::api::event::Event;

const STYLE: Style = Style {
    colors: ["good", "danger"],
    escape,
    limit: Limit {
        // What remains of 6,000 is for the object's name.
        total: 5_700,
        message: 4_096,
        pairs: 25,
        key: 120,
        value: 500,
        markup: 2,
        cost: fit::inert_chars,
    },
    has_fallback: false,
};

/// Discord.
pub(super) struct Discord;

impl ProviderType for Discord {
    fn name(&self) -> &'static str {
        "discord"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        _: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let mut url = target.url("invalid Discord hook URL *****")?;
        let is_for_slack = url.path_segments().and_then(Iterator::last) == Some("slack");
        if !is_for_slack {
            url = below(&url, ["slack"])?;
        }
        let message = attachment::message(event, "", &target.username, &STYLE);
        Ok(Exchange::once(HttpRequest::post(url).json(&message)))
    }
}

/// An embed has no empty fields.
fn escape(text: &str) -> String {
    if text.is_empty() {
        "\u{200b}".to_owned()
    } else {
        text::inert(text)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::provider::testing::{self, check};

    #[test]
    fn an_error_is_a_red_attachment_of_no_channel() {
        check(
            &Discord,
            testing::error(),
            expect![[r#"
                POST https://provider.test/hook/hush-address/slack
                content-type: application/json

                {
                  "attachments": [
                    {
                      "author_name": "kustomization/webapp.apps",
                      "color": "danger",
                      "fields": [
                        {
                          "short": false,
                          "title": "change_request",
                          "value": "7"
                        },
                        {
                          "short": false,
                          "title": "cluster",
                          "value": "prod"
                        },
                        {
                          "short": false,
                          "title": "revision",
                          "value": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
                        },
                        {
                          "short": false,
                          "title": "summary",
                          "value": "prod impacted"
                        }
                      ],
                      "mrkdwn_in": [
                        "text"
                      ],
                      "text": "validation failed: <\u{200b}Ingress> & more\nsecond line"
                    }
                  ],
                  "username": "kustomize-controller"
                }

                done
            "#]],
        );
    }

    #[test]
    fn the_path_ends_in_slack_once() {
        for (address, want) in [
            (
                "https://discord.test/hooks/1/t",
                "https://discord.test/hooks/1/t/slack",
            ),
            (
                "https://discord.test/hooks/1/t/",
                "https://discord.test/hooks/1/t/slack",
            ),
            (
                "https://discord.test/hooks/1/t/slack",
                "https://discord.test/hooks/1/t/slack",
            ),
            (
                "https://discord.test/hooks/1/t/slack?wait=true",
                "https://discord.test/hooks/1/t/slack?wait=true",
            ),
            (
                "https://discord.test/hooks/1/t?wait=true",
                "https://discord.test/hooks/1/t/slack?wait=true",
            ),
        ] {
            let mut target = Discord.example().target;
            target.address = address.to_owned().into();
            let request = testing::request(&Discord, &testing::info(), &target);
            assert_eq!(request.url.expose_secret(), want);
        }
    }

    #[test]
    fn text_keeps_to_the_limits_of_an_embed() {
        let (body, _) = testing::body(&Discord, &testing::huge());
        let embed = &body["attachments"][0];
        let count = |value: &serde_json::Value| value.as_str().unwrap().chars().count();
        let fields = embed["fields"].as_array().unwrap();
        assert!(fields.len() <= 25 && fields.iter().all(|f| count(&f["title"]) <= 256));
        assert!(fields.iter().all(|field| count(&field["value"]) <= 1024));
        assert!((2_000..=4_096).contains(&count(&embed["text"])));
        let fields = fields
            .iter()
            .map(|f| count(&f["title"]) + count(&f["value"]));
        let all = fields.sum::<usize>() + count(&embed["text"]) + count(&embed["author_name"]);
        assert!(all <= 6_000, "{all}");
    }

    #[test]
    fn nobody_is_mentioned_and_no_field_is_empty() {
        let mut event = testing::error();
        event.message = "@everyone <@1> [a](https://b)".to_owned();
        event.metadata = [("note".to_owned(), String::new())].into();
        let (body, _) = testing::body(&Discord, &event);
        let embed = &body["attachments"][0];
        assert_eq!(
            embed["text"],
            "@\u{200b}everyone <\u{200b}@\u{200b}1> [a]\u{200b}(https://b)"
        );
        assert_eq!(embed["fields"][0]["value"], "\u{200b}");
    }
}

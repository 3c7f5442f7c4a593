//! `rocket`: Slack's message for Rocket.Chat.
//!
//! Mended: the reporting controller signs where no user name is given; no empty channel is sent;
//! nobody is mentioned and no link hides its address.

use super::part::attachment::{self, Style};
use super::part::text;
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Target};
use crate::api::event::Event;

const STYLE: Style = Style {
    colors: ["#0076D7", "#FF0000"],
    escape: text::inert,
    limit: attachment::LIMIT,
    has_fallback: false,
};

/// Rocket.Chat.
pub(super) struct Rocket;

impl ProviderType for Rocket {
    fn name(&self) -> &'static str {
        "rocket"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        _: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let message = attachment::message(event, &target.channel, &target.username, &STYLE);
        Ok(Exchange::once(
            HttpRequest::post(target.url("invalid Rocket hook URL *****")?).json(&message),
        ))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, check};

    #[test]
    fn an_error_is_a_red_attachment() {
        check(
            &Rocket,
            testing::error(),
            expect![[r##"
                POST https://provider.test/hook/hush-address
                content-type: application/json

                {
                  "attachments": [
                    {
                      "author_name": "kustomization/webapp.apps",
                      "color": "#FF0000",
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
                  "channel": "general",
                  "username": "kustomize-controller"
                }

                done
            "##]],
        );
    }

    #[test]
    fn without_channel_and_user_the_controller_signs() {
        let mut target = Rocket.example().target;
        target.channel.clear();
        let request = testing::request(&Rocket, &testing::info(), &target);
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["username"], "kustomize-controller");
        assert_eq!(body.get("channel"), None);
        assert_eq!(body["attachments"][0]["color"], "#0076D7");
    }

    #[test]
    fn nobody_is_mentioned() {
        let mut event = testing::error();
        event.message = "@all [a](https://b)".to_owned();
        let (body, _) = testing::body(&Rocket, &event);
        assert_eq!(
            body["attachments"][0]["text"],
            "@\u{200b}all [a]\u{200b}(https://b)"
        );
    }
}

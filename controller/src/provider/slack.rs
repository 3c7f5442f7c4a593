//! `slack`: an incoming webhook, or `chat.postMessage` with a bot's token.

use secrecy::ExposeSecret;
use serde::Deserialize;

use super::part::attachment;
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Reply, Target};
use crate::api::event::Event;

/// The method that answers 200 to what it refuses.
const POST_MESSAGE: &str = "https://slack.com/api/chat.postMessage";

/// Refusals that pass.
const TRANSIENT: [&str; 6] = [
    "fatal_error",
    "internal_error",
    "rate_limited",
    "ratelimited",
    "request_timeout",
    "service_unavailable",
];

/// Slack.
pub(super) struct Slack;

impl ProviderType for Slack {
    fn name(&self) -> &'static str {
        "slack"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        _: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let style = &attachment::SLACK;
        let message = attachment::message(event, &target.channel, &target.username, style);
        let mut request =
            HttpRequest::post(target.url("invalid Slack hook URL *****")?).json(&message);
        if let Ok(token) = target.token("the bot's token is missing") {
            request = request.bearer(&token);
        }
        if target.address.expose_secret() == POST_MESSAGE {
            return Ok(Exchange::ask(request, accepted));
        }
        Ok(Exchange::once(request))
    }
}

fn accepted(reply: &Reply) -> Result<Exchange, ProviderError> {
    #[derive(Deserialize)]
    struct Answer {
        ok: bool,
        #[serde(default)]
        error: String,
    }
    let answer: Answer = reply.json("one of Slack's API")?;
    if answer.ok {
        return Ok(Exchange::nothing());
    }
    let is_permanent = !TRANSIENT.contains(&answer.error.as_str());
    Err(ProviderError::Refused {
        said: answer.error,
        is_permanent,
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, Example, check};

    #[test]
    fn an_error_is_a_red_attachment() {
        check(
            &Slack,
            testing::error(),
            expect![[r#"
            POST https://provider.test/hook/hush-address
            authorization: Bearer hush-token
            content-type: application/json

            {
              "attachments": [
                {
                  "author_name": "kustomization/webapp.apps",
                  "color": "danger",
                  "fallback": "kustomization/webapp.apps: validation failed: &lt;Ingress&gt; &amp; more",
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
                  "text": "validation failed: &lt;Ingress&gt; &amp; more\nsecond line"
                }
              ],
              "channel": "general",
              "username": "kustomize-controller"
            }

            done
        "#]],
        );
    }

    #[test]
    fn a_refusal_with_status_200_is_a_refusal() {
        for (body, want) in [
            (r#"{"ok":true}"#, Ok(())),
            (r#"{"ok":false,"error":"channel_not_found"}"#, Err(true)),
            (r#"{"ok":false,"error":"ratelimited"}"#, Err(false)),
            ("<html>", Err(false)),
        ] {
            let mut example = Example::answering([(200, body)]);
            example.target.address = POST_MESSAGE.to_owned().into();
            let (_, end) = testing::converse(&Slack, &testing::error(), &example);
            assert_eq!(end.map_err(|error| error.is_permanent()), want, "{body}");
        }
    }
}

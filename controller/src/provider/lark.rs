//! `lark`: a card for a bot of Lark or Feishu.
//!
//! Mended: a refusal, which Lark tells with status 200, is one; a card keeps to 20 KB; nobody is
//! mentioned and no link hides its address.

use std::ops::RangeInclusive;

use serde::Deserialize;
use serde_json::{Value, json};

use super::part::fit::{self, Limit, fit};
use super::part::{chat, subject, text};
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Reply, Target};
use crate::api::event::Event;

/// Codes about the settings of a bot and the form of a message; others may pass, as limits of
/// frequency (11232) do.
const PERMANENT: RangeInclusive<i64> = 19_000..=19_999;

const LIMIT: Limit = Limit {
    total: 17_000,
    message: 17_000,
    pairs: 100,
    key: 200,
    value: 1_000,
    markup: 4,
    cost: fit::json,
};

/// Lark.
pub(super) struct Lark;

impl ProviderType for Lark {
    fn name(&self) -> &'static str {
        "lark"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        _: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        // As notification-controller says it.
        let request = HttpRequest::post(target.url("invalid Slack hook URL *****")?)
            .json(&card(&fit(event, &LIMIT)));
        Ok(Exchange::ask(request, accepted))
    }
}

fn card(event: &Event) -> Value {
    let (emoji, template) = if event.is_error() {
        ("🚨", "red")
    } else {
        ("💫", "turquoise")
    };
    let title = format!("{emoji} {}", subject::object_name(event));
    let lines = chat::lines(event, |key, value| {
        format!("{}: {}\n", text::inert(key), text::inert(value))
    });
    let content = format!("**{}**\n\n{lines}", text::inert(&event.message));
    json!({
        "msg_type": "interactive",
        "card": {
            "config": {"wide_screen_mode": true},
            "header": {
                "title": {"tag": "plain_text", "content": title},
                "template": template,
            },
            "elements": [{"tag": "div", "text": {"tag": "lark_md", "content": content}}],
        },
    })
}

/// A code other than 0 is a refusal; an answer without one is that of something in between.
fn accepted(reply: &Reply) -> Result<Exchange, ProviderError> {
    #[derive(Default, Deserialize)]
    struct Answer {
        #[serde(default)]
        code: i64,
        #[serde(default)]
        msg: String,
    }
    let answer: Answer = reply.json("one of Lark").unwrap_or_default();
    if answer.code == 0 {
        return Ok(Exchange::nothing());
    }
    Err(ProviderError::Refused {
        said: format!("{} {}", answer.code, text::cut(&answer.msg, 300)),
        is_permanent: PERMANENT.contains(&answer.code),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, Example, check};

    #[test]
    fn an_error_is_a_red_card() {
        check(
            &Lark,
            testing::error(),
            expect![[r#"
                POST https://provider.test/hook/hush-address
                content-type: application/json

                {
                  "card": {
                    "config": {
                      "wide_screen_mode": true
                    },
                    "elements": [
                      {
                        "tag": "div",
                        "text": {
                          "content": "**validation failed: <\u{200b}Ingress> & more\nsecond line**\n\nchange_request: 7\ncluster: prod\nrevision: main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738\nsummary: prod impacted\n",
                          "tag": "lark_md"
                        }
                      }
                    ],
                    "header": {
                      "template": "red",
                      "title": {
                        "content": "🚨 kustomization/webapp.apps",
                        "tag": "plain_text"
                      }
                    }
                  },
                  "msg_type": "interactive"
                }

                done
            "#]],
        );
    }

    #[test]
    fn an_info_is_a_turquoise_one() {
        let mut event = testing::info();
        event.metadata.clear();
        check(
            &Lark,
            event,
            expect![[r#"
            POST https://provider.test/hook/hush-address
            content-type: application/json

            {
              "card": {
                "config": {
                  "wide_screen_mode": true
                },
                "elements": [
                  {
                    "tag": "div",
                    "text": {
                      "content": "**Reconciliation finished**\n\n",
                      "tag": "lark_md"
                    }
                  }
                ],
                "header": {
                  "template": "turquoise",
                  "title": {
                    "content": "💫 kustomization/webapp.apps",
                    "tag": "plain_text"
                  }
                }
              },
              "msg_type": "interactive"
            }

            done
        "#]],
        );
    }

    #[test]
    fn a_refusal_with_status_200_is_a_refusal() {
        for (body, want) in [
            (r#"{"code":0,"msg":"success"}"#, Ok(())),
            (r#"{"StatusCode":0,"StatusMessage":"success"}"#, Ok(())),
            ("", Ok(())),
            (r#"{"code":19024,"msg":"Key Words Not Found"}"#, Err(true)),
            (r#"{"code":11232,"msg":"frequency limited"}"#, Err(false)),
        ] {
            let example = Example::answering([(200, body)]);
            let (_, end) = testing::converse(&Lark, &testing::error(), &example);
            assert_eq!(end.map_err(|error| error.is_permanent()), want, "{body}");
        }
    }

    #[test]
    fn a_card_keeps_to_20_kilobytes() {
        let (_, length) = testing::body(&Lark, &testing::huge());
        assert!((8_000..=20_000).contains(&length), "{length}");
    }

    #[test]
    fn nobody_is_mentioned() {
        let mut event = testing::error();
        event.message = "<at id=all></at>".to_owned();
        event.metadata.clear();
        let (body, _) = testing::body(&Lark, &event);
        assert_eq!(
            body["card"]["elements"][0]["text"]["content"],
            "**<\u{200b}at id=all><\u{200b}/at>**\n\n"
        );
    }
}

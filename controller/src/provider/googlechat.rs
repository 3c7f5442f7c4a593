//! `googlechat`: a card for a space of Google Chat.
//!
//! Mended: text is escaped, as Chat reads HTML and mentions in it; a card keeps to 32 KB.

use serde_json::{Value, json};

use super::part::fit::{self, Limit, fit};
use super::part::{subject, text};
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Target};
use crate::api::event::Event;

const LIMIT: Limit = Limit {
    total: 26_000,
    message: 26_000,
    pairs: 100,
    key: 200,
    value: 1_000,
    // The widget around a pair.
    markup: 150,
    cost: fit::json,
};

/// Google Chat.
pub(super) struct GoogleChat;

impl ProviderType for GoogleChat {
    fn name(&self) -> &'static str {
        "googlechat"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        _: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let event = fit(event, &LIMIT);
        Ok(Exchange::once(
            HttpRequest::post(target.url("invalid Google Chat hook URL *****")?)
                .json(&card(&event)),
        ))
    }
}

fn card(event: &Event) -> Value {
    let mut message = text::entities(&event.message);
    if event.is_error() {
        message = format!("<font color=\"#ff0000\">{message}</font>");
    }
    let mut sections = vec![json!({
        "header": "",
        "widgets": [{"textParagraph": {"text": message}, "keyValue": null}],
    })];
    if !event.metadata.is_empty() {
        let widgets: Vec<_> = event.metadata.iter().map(widget).collect();
        sections.push(json!({"header": "", "widgets": widgets}));
    }
    json!({
        "cards": [{
            "header": {
                "title": subject::object_name(event),
                "subtitle": event.reporting_controller,
                "imageUrl": null,
                "imageStyle": null,
            },
            "sections": sections,
        }],
    })
}

fn widget((key, value): (&String, &String)) -> Value {
    json!({
        "textParagraph": null,
        "keyValue": {
            "topLabel": text::entities(key),
            "content": text::entities(value),
            "contentMultiline": false,
            "bottomLabel": null,
            "icon": null,
        },
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, check};

    #[test]
    fn an_error_is_red_and_its_text_is_no_markup() {
        check(
            &GoogleChat,
            testing::error(),
            expect![[r##"
            POST https://provider.test/hook/hush-address
            content-type: application/json

            {
              "cards": [
                {
                  "header": {
                    "imageStyle": null,
                    "imageUrl": null,
                    "subtitle": "kustomize-controller",
                    "title": "kustomization/webapp.apps"
                  },
                  "sections": [
                    {
                      "header": "",
                      "widgets": [
                        {
                          "keyValue": null,
                          "textParagraph": {
                            "text": "<font color=\"#ff0000\">validation failed: &lt;Ingress&gt; &amp; more\nsecond line</font>"
                          }
                        }
                      ]
                    },
                    {
                      "header": "",
                      "widgets": [
                        {
                          "keyValue": {
                            "bottomLabel": null,
                            "content": "7",
                            "contentMultiline": false,
                            "icon": null,
                            "topLabel": "change_request"
                          },
                          "textParagraph": null
                        },
                        {
                          "keyValue": {
                            "bottomLabel": null,
                            "content": "prod",
                            "contentMultiline": false,
                            "icon": null,
                            "topLabel": "cluster"
                          },
                          "textParagraph": null
                        },
                        {
                          "keyValue": {
                            "bottomLabel": null,
                            "content": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738",
                            "contentMultiline": false,
                            "icon": null,
                            "topLabel": "revision"
                          },
                          "textParagraph": null
                        },
                        {
                          "keyValue": {
                            "bottomLabel": null,
                            "content": "prod impacted",
                            "contentMultiline": false,
                            "icon": null,
                            "topLabel": "summary"
                          },
                          "textParagraph": null
                        }
                      ]
                    }
                  ]
                }
              ]
            }

            done
        "##]],
        );
    }

    #[test]
    fn an_info_without_metadata_has_one_section() {
        let mut event = testing::info();
        event.metadata.clear();
        check(
            &GoogleChat,
            event,
            expect![[r#"
            POST https://provider.test/hook/hush-address
            content-type: application/json

            {
              "cards": [
                {
                  "header": {
                    "imageStyle": null,
                    "imageUrl": null,
                    "subtitle": "kustomize-controller",
                    "title": "kustomization/webapp.apps"
                  },
                  "sections": [
                    {
                      "header": "",
                      "widgets": [
                        {
                          "keyValue": null,
                          "textParagraph": {
                            "text": "Reconciliation finished"
                          }
                        }
                      ]
                    }
                  ]
                }
              ]
            }

            done
        "#]],
        );
    }

    #[test]
    fn a_card_keeps_to_32_kilobytes() {
        let (_, length) = testing::body(&GoogleChat, &testing::huge());
        assert!((12_000..=32_000).contains(&length), "{length}");
    }
}

//! `msteams`: an Adaptive Card for a workflow, or the older MessageCard for a connector.
//!
//! Mended: a card keeps to 28 KB; a connector's refusal, which it tells with status 200, is one;
//! facts are in order in both; nobody is mentioned and no link hides its address.

use serde_json::{Value, json};
use url::Url;

use super::part::fit::{self, Limit, fit};
use super::part::{subject, text};
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Reply, Target};
use crate::api::event::Event;

/// How a connector begins to tell the status that Teams itself has answered.
const REFUSAL: &str = "Microsoft Teams endpoint returned HTTP error ";

const LIMIT: Limit = Limit {
    total: 24_000,
    message: 24_000,
    pairs: 100,
    key: 200,
    value: 1_000,
    markup: 30,
    cost: fit::json,
};

/// Microsoft Teams.
pub(super) struct MsTeams;

impl ProviderType for MsTeams {
    fn name(&self) -> &'static str {
        "msteams"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        _: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let url = target.url("invalid MS Teams webhook URL *****")?;
        let event = fit(event, &LIMIT);
        if is_connector(&url) {
            let request = HttpRequest::post(url).json(&message_card(&event));
            return Ok(Exchange::ask(request, accepted));
        }
        Ok(Exchange::once(
            HttpRequest::post(url).json(&adaptive_card(&event)),
        ))
    }
}

fn is_connector(url: &Url) -> bool {
    url.host_str()
        .is_some_and(|host| host.ends_with(".webhook.office.com"))
}

fn message_card(event: &Event) -> Value {
    let name = text::inert(&subject::object_name(event));
    let facts = facts(event).map(|(key, value)| json!({"name": key, "value": value}));
    json!({
        "@type": "MessageCard",
        "@context": "http://schema.org/extensions",
        "themeColor": if event.is_error() { "FF0000" } else { "0076D7" },
        "summary": name,
        "sections": [{
            "activityTitle": text::inert(&event.message),
            "activitySubtitle": name,
            "facts": facts.collect::<Vec<_>>(),
        }],
    })
}

fn adaptive_card(event: &Event) -> Value {
    let mut message = json!({
        "type": "TextBlock",
        "text": text::inert(&event.message),
        "wrap": true,
    });
    if event.is_error() {
        message["color"] = "attention".into();
    }
    let mut fact_set = json!({"type": "FactSet"});
    if !event.metadata.is_empty() {
        let facts = facts(event).map(|(key, value)| json!({"title": key, "value": value}));
        fact_set["facts"] = facts.collect();
    }
    let name = json!({
        "type": "TextBlock",
        "text": text::inert(&subject::object_name(event)),
        "size": "large",
        "weight": "bolder",
        "wrap": true,
    });
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": [{"type": "Container", "items": [name, message, fact_set]}],
                "msteams": {"width": "Full"},
            },
        }],
    })
}

/// The metadata, `summary` first.
fn facts(event: &Event) -> impl Iterator<Item = (String, String)> {
    let is_summary = |(key, _): &(&String, &String)| *key == "summary";
    let summary = event.metadata.iter().filter(is_summary);
    let others = event.metadata.iter().filter(move |pair| !is_summary(pair));
    summary
        .chain(others)
        .map(|(key, value)| (text::inert(key), text::inert(value)))
}

/// A connector answers 200 and `1`, or 200 and what went wrong behind it.
fn accepted(reply: &Reply) -> Result<Exchange, ProviderError> {
    let Reply::Http(reply) = reply else {
        return Ok(Exchange::nothing());
    };
    let said = String::from_utf8_lossy(&reply.body);
    let Some((_, rest)) = said.split_once(REFUSAL) else {
        return Ok(Exchange::nothing());
    };
    let may_pass = rest.starts_with("429") || rest.starts_with('5');
    Err(ProviderError::Refused {
        said: text::cut(&said, 300).into_owned(),
        is_permanent: !may_pass,
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, Example, check, check_with};

    fn connector(answer: &str) -> Example {
        let mut example = Example::answering([(200, answer)]);
        example.target.address = "https://acme.webhook.office.com/x".to_owned().into();
        example
    }

    #[test]
    fn an_error_is_a_card_in_the_colour_of_attention() {
        check(
            &MsTeams,
            testing::error(),
            expect![[r#"
                POST https://provider.test/hook/hush-address
                content-type: application/json

                {
                  "attachments": [
                    {
                      "content": {
                        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                        "body": [
                          {
                            "items": [
                              {
                                "size": "large",
                                "text": "kustomization/webapp.apps",
                                "type": "TextBlock",
                                "weight": "bolder",
                                "wrap": true
                              },
                              {
                                "color": "attention",
                                "text": "validation failed: <\u{200b}Ingress> & more\nsecond line",
                                "type": "TextBlock",
                                "wrap": true
                              },
                              {
                                "facts": [
                                  {
                                    "title": "summary",
                                    "value": "prod impacted"
                                  },
                                  {
                                    "title": "change_request",
                                    "value": "7"
                                  },
                                  {
                                    "title": "cluster",
                                    "value": "prod"
                                  },
                                  {
                                    "title": "revision",
                                    "value": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
                                  }
                                ],
                                "type": "FactSet"
                              }
                            ],
                            "type": "Container"
                          }
                        ],
                        "msteams": {
                          "width": "Full"
                        },
                        "type": "AdaptiveCard",
                        "version": "1.4"
                      },
                      "contentType": "application/vnd.microsoft.card.adaptive"
                    }
                  ],
                  "type": "message"
                }

                done
            "#]],
        );
    }

    #[test]
    fn an_info_without_metadata_has_no_facts_and_no_colour() {
        let mut event = testing::info();
        event.metadata.clear();
        check(
            &MsTeams,
            event,
            expect![[r#"
            POST https://provider.test/hook/hush-address
            content-type: application/json

            {
              "attachments": [
                {
                  "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "body": [
                      {
                        "items": [
                          {
                            "size": "large",
                            "text": "kustomization/webapp.apps",
                            "type": "TextBlock",
                            "weight": "bolder",
                            "wrap": true
                          },
                          {
                            "text": "Reconciliation finished",
                            "type": "TextBlock",
                            "wrap": true
                          },
                          {
                            "type": "FactSet"
                          }
                        ],
                        "type": "Container"
                      }
                    ],
                    "msteams": {
                      "width": "Full"
                    },
                    "type": "AdaptiveCard",
                    "version": "1.4"
                  },
                  "contentType": "application/vnd.microsoft.card.adaptive"
                }
              ],
              "type": "message"
            }

            done
        "#]],
        );
    }

    #[test]
    fn a_connector_gets_the_older_card() {
        check_with(
            &MsTeams,
            testing::error(),
            &connector("1"),
            expect![[r#"
                POST https://acme.webhook.office.com/x
                content-type: application/json

                {
                  "@context": "http://schema.org/extensions",
                  "@type": "MessageCard",
                  "sections": [
                    {
                      "activitySubtitle": "kustomization/webapp.apps",
                      "activityTitle": "validation failed: <\u{200b}Ingress> & more\nsecond line",
                      "facts": [
                        {
                          "name": "summary",
                          "value": "prod impacted"
                        },
                        {
                          "name": "change_request",
                          "value": "7"
                        },
                        {
                          "name": "cluster",
                          "value": "prod"
                        },
                        {
                          "name": "revision",
                          "value": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
                        }
                      ]
                    }
                  ],
                  "summary": "kustomization/webapp.apps",
                  "themeColor": "FF0000"
                }

                done
            "#]],
        );
    }

    #[test]
    fn only_office_hosts_are_connectors() {
        for (address, want) in [
            ("https://xxx.webhook.office.com", true),
            ("https://xxx.webhook.office.com:443/a", true),
            ("https://xxx-webhook.office.com", false),
            (
                "https://prod-01.westus.logic.azure.com:443/workflows/1",
                false,
            ),
        ] {
            assert_eq!(
                is_connector(&Url::parse(address).unwrap()),
                want,
                "{address}"
            );
        }
    }

    #[test]
    fn a_connectors_refusal_with_status_200_is_a_refusal() {
        let says = |status| {
            format!(
                "Webhook message delivery failed with error: {REFUSAL}{status} with ContextId tcid=1"
            )
        };
        for (answer, want) in [
            ("1".to_owned(), Ok(())),
            (says(429), Err(false)),
            (says(502), Err(false)),
            (says(413), Err(true)),
        ] {
            let (_, end) = testing::converse(&MsTeams, &testing::info(), &connector(&answer));
            assert_eq!(end.map_err(|error| error.is_permanent()), want, "{answer}");
        }
    }

    #[test]
    fn a_card_keeps_to_28_kilobytes() {
        let (_, length) = testing::body(&MsTeams, &testing::huge());
        assert!((12_000..=28_000).contains(&length), "{length}");
        let request = testing::request(&MsTeams, &testing::huge(), &connector("1").target);
        assert!((12_000..=28_000).contains(&request.body.len()));
    }

    #[test]
    fn nobody_is_mentioned() {
        let mut event = testing::error();
        event.message = "<at>all</at> [a](https://b)".to_owned();
        let (body, _) = testing::body(&MsTeams, &event);
        assert_eq!(
            body["attachments"][0]["content"]["body"][0]["items"][1]["text"],
            "<\u{200b}at>all<\u{200b}/at> [a]\u{200b}(https://b)"
        );
    }
}

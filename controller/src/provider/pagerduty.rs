//! `pagerduty`: an incident for an error, its end and a change for an info, by the Events API v2.

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use url::Url;

use super::part::{commit, subject, text};
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Target};
use crate::api::event::Event;

/// Characters of a summary.
const SUMMARY: usize = 1024;

/// Bytes of a message: an event has 512 KB at most, in which one character may take six.
const MESSAGE: usize = 64 * 1024;

/// PagerDuty.
pub(super) struct PagerDuty;

impl ProviderType for PagerDuty {
    fn name(&self) -> &'static str {
        "pagerduty"
    }

    fn keeps_incidents(&self) -> bool {
        true
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        _: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        if commit::is_progress(event) {
            return Ok(Exchange::nothing());
        }
        let base = target.url("invalid PagerDuty endpoint URL \"*****\"")?;
        let key = routing_key(target)?;
        let alert = post(&base, "/v2/enqueue", &alert(event, &key));
        if event.severity != "info" {
            return Ok(Exchange::once(alert));
        }
        let change = post(&base, "/v2/change/enqueue", &change(event, &key));
        Ok(Exchange::ask(alert, |_| Ok(Exchange::once(change))))
    }
}

/// The channel or, where it is empty, the Secret's token.
fn routing_key(target: &Target) -> Result<String, ProviderError> {
    if !target.channel.is_empty() {
        return Ok(target.channel.clone());
    }
    let token = target.token("the integration's routing key is missing")?;
    Ok(token.expose_secret().to_owned())
}

/// PagerDuty's paths are its own: one in the address is dropped.
fn post(base: &Url, path: &str, body: &Value) -> HttpRequest {
    let mut url = base.clone();
    url.set_path(path);
    url.set_query(None);
    url.set_fragment(None);
    HttpRequest::post(url).json(body)
}

fn alert(event: &Event, key: &str) -> Value {
    let mut body = json!({"routing_key": key, "dedup_key": subject::incident_key(event)});
    if !event.is_error() {
        body["event_action"] = "resolve".into();
        return body;
    }
    let mut payload = payload(event);
    payload["severity"] = "error".into();
    payload["component"] = event.involved_object.name.as_str().into();
    payload["group"] = event.involved_object.kind.as_str().into();
    body["event_action"] = "trigger".into();
    body["payload"] = payload;
    body
}

fn change(event: &Event, key: &str) -> Value {
    json!({"routing_key": key, "payload": payload(event)})
}

fn payload(event: &Event) -> Value {
    let words = subject::reason_in_words(event);
    let summary = format!("{words}: {}", subject::short_name(event));
    let mut payload = json!({
        "summary": text::cut(&summary, SUMMARY),
        "source": format!("Flux {}", event.reporting_controller),
        "custom_details": {
            "message": text::cut_bytes(&event.message, MESSAGE),
            "metadata": event.metadata,
        },
    });
    if let Some(time) = event.timestamp {
        payload["timestamp"] = time.to_string().into();
    }
    payload
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, check};

    #[test]
    fn an_error_triggers_an_incident() {
        check(
            &PagerDuty,
            testing::error(),
            expect![[r#"
            POST https://provider.test/v2/enqueue
            content-type: application/json

            {
              "dedup_key": "7d0cdc51-ddcf-4743-b223-83ca5c699632",
              "event_action": "trigger",
              "payload": {
                "component": "webapp",
                "custom_details": {
                  "message": "validation failed: <Ingress> & more\nsecond line",
                  "metadata": {
                    "change_request": "7",
                    "cluster": "prod",
                    "revision": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738",
                    "summary": "prod impacted"
                  }
                },
                "group": "Kustomization",
                "severity": "error",
                "source": "Flux kustomize-controller",
                "summary": "validation failed: kustomization/webapp",
                "timestamp": "2026-01-02T03:04:05Z"
              },
              "routing_key": "general"
            }

            done
        "#]],
        );
    }

    #[test]
    fn an_info_ends_it_and_is_a_change() {
        check(
            &PagerDuty,
            testing::info(),
            expect![[r#"
            POST https://provider.test/v2/enqueue
            content-type: application/json

            {
              "dedup_key": "7d0cdc51-ddcf-4743-b223-83ca5c699632",
              "event_action": "resolve",
              "routing_key": "general"
            }

            POST https://provider.test/v2/change/enqueue
            content-type: application/json

            {
              "payload": {
                "custom_details": {
                  "message": "Reconciliation finished",
                  "metadata": {
                    "change_request": "7",
                    "cluster": "prod",
                    "revision": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738",
                    "summary": "prod impacted"
                  }
                },
                "source": "Flux kustomize-controller",
                "summary": "reconciliation succeeded: kustomization/webapp",
                "timestamp": "2026-01-02T03:04:05Z"
              },
              "routing_key": "general"
            }

            done
        "#]],
        );
    }

    #[test]
    fn progress_is_not_told() {
        let mut event = testing::info();
        event.reason = "Progressing".to_owned();
        check(
            &PagerDuty,
            event,
            expect![[r#"
            done
        "#]],
        );
    }
}

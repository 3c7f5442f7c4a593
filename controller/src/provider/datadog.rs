//! `datadog`: an event, by the Events API v1.
//!
//! Mended: text keeps to 4,000 characters and a tag to 200; a time that Datadog finds too old, as
//! after an outage of hours, is left out and the event kept; an answer that is no JSON is no
//! failure.

use url::Url;

use serde_json::json;

use super::part::text;
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Target};
use crate::api::event::Event;
use secrecy::ExposeSecret;

const API: &str = "https://api.datadoghq.com/";

/// Characters of a text and of a tag.
const TEXT: usize = 4_000;
const TAG: usize = 200;

/// Datadog refuses events that are older than 18 hours: seconds, with one hour to spare.
const OLDEST: i64 = 17 * 3600;

/// Datadog.
pub(super) struct DataDog;

impl ProviderType for DataDog {
    fn name(&self) -> &'static str {
        "datadog"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        context: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let key = target.token("token cannot be empty")?;
        let object = &event.involved_object;
        let mut body = json!({
            "title": format!("Events from the {} {}/{}", object.kind, object.name, object.namespace),
            "text": text::cut(&event.message, TEXT),
            "tags": tags(event),
            "source_type_name": "fluxcd",
            "alert_type": if event.is_error() { "error" } else { "info" },
        });
        let now = i64::try_from(context.now).unwrap_or_default();
        let time = event.timestamp.map(|time| time.unix());
        if let Some(time) = time.filter(|time| now.saturating_sub(*time) < OLDEST) {
            body["date_happened"] = time.into();
        }
        Ok(Exchange::once(
            HttpRequest::post(url(target)?)
                .header("Accept", "application/json".to_owned())
                .header("DD-API-KEY", key)
                .json(&body),
        ))
    }
}

/// Datadog's path is its own: one in the address is dropped.
fn url(target: &Target) -> Result<Url, ProviderError> {
    let mut url = if target.address.expose_secret().is_empty() {
        Url::parse(API)
            .map_err(|_| ProviderError::Config("the address of Datadog is none".to_owned()))?
    } else {
        target.url("failed to parse address \"*****\"")?
    };
    url.set_path("/api/v1/events");
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

fn tags(event: &Event) -> Vec<String> {
    let object = &event.involved_object;
    let own = [
        ("flux_reporting_controller", &event.reporting_controller),
        ("flux_reason", &event.reason),
        ("kube_kind", &object.kind),
        ("kube_name", &object.name),
        ("kube_namespace", &object.namespace),
    ];
    let metadata = event.metadata.iter();
    let metadata = metadata.map(|(key, value)| (key.as_str(), value));
    own.into_iter()
        .chain(metadata)
        .map(|(key, value)| format!("{key}:{value}").to_lowercase())
        .map(|tag| text::cut(&tag, TAG).into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::api::event::Timestamp;
    use crate::provider::testing::{self, check, check_with};

    #[test]
    fn an_error_is_an_event() {
        check(
            &DataDog,
            testing::error(),
            expect![[r#"
            POST https://provider.test/api/v1/events
            accept: application/json
            content-type: application/json
            dd-api-key: hush-token

            {
              "alert_type": "error",
              "date_happened": 1767323045,
              "source_type_name": "fluxcd",
              "tags": [
                "flux_reporting_controller:kustomize-controller",
                "flux_reason:validationfailed",
                "kube_kind:kustomization",
                "kube_name:webapp",
                "kube_namespace:apps",
                "change_request:7",
                "cluster:prod",
                "revision:main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738",
                "summary:prod impacted"
              ],
              "text": "validation failed: <Ingress> & more\nsecond line",
              "title": "Events from the Kustomization webapp/apps"
            }

            done
        "#]],
        );
    }

    #[test]
    fn without_an_address_it_goes_to_datadog() {
        let mut example = DataDog.example();
        example.target.address = String::new().into();
        let mut event = testing::info();
        event.metadata.clear();
        check_with(
            &DataDog,
            event,
            &example,
            expect![[r#"
            POST https://api.datadoghq.com/api/v1/events
            accept: application/json
            content-type: application/json
            dd-api-key: hush-token

            {
              "alert_type": "info",
              "date_happened": 1767323045,
              "source_type_name": "fluxcd",
              "tags": [
                "flux_reporting_controller:kustomize-controller",
                "flux_reason:reconciliationsucceeded",
                "kube_kind:kustomization",
                "kube_name:webapp",
                "kube_namespace:apps"
              ],
              "text": "Reconciliation finished",
              "title": "Events from the Kustomization webapp/apps"
            }

            done
        "#]],
        );
    }

    #[test]
    fn texts_keep_to_their_limits() {
        let (body, _) = testing::body(&DataDog, &testing::huge());
        let count = |value: &serde_json::Value| value.as_str().unwrap().chars().count();
        assert_eq!(count(&body["text"]), 4_000);
        assert!(
            body["tags"]
                .as_array()
                .unwrap()
                .iter()
                .all(|tag| count(tag) <= 200)
        );
    }

    #[test]
    fn a_time_that_is_too_old_is_left_out() {
        let mut event = testing::info();
        let now = i64::try_from(testing::NOW).unwrap();
        for (age, is_sent) in [(0, true), (OLDEST - 1, true), (OLDEST, false)] {
            event.timestamp = Some(Timestamp::from_unix(now - age));
            let (body, _) = testing::body(&DataDog, &event);
            assert_eq!(body.get("date_happened").is_some(), is_sent, "{age}");
        }
    }

    #[test]
    fn a_token_is_needed() {
        let mut target = DataDog.example().target;
        target.token = None;
        assert_eq!(
            testing::refusal(&DataDog, &testing::info(), &target),
            "the Provider cannot be used: token cannot be empty; set token in the Secret"
        );
    }
}

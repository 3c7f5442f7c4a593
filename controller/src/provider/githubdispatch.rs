//! `githubdispatch`: a `repository_dispatch` event with the event as its payload.
//!
//! Better than Flux's: an event type and a payload above GitHub's limits are cut, not refused.

use serde_json::json;

use super::part::github::{Api, authorized, signed};
use super::part::text;
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Target};
use crate::api::event::{Event, escape_html};
#[cfg(test)]
use crate::provider::testing::Example;

/// Characters of an event type.
const EVENT_TYPE: usize = 100;

/// Bytes of a payload; GitHub takes 65,535 characters.
const PAYLOAD: usize = 64_000;

/// Bytes that a text keeps while others can be cut.
const ENOUGH: usize = 1_000;

/// GitHub, repository dispatch.
pub(super) struct GitHubDispatch;

impl ProviderType for GitHubDispatch {
    fn name(&self) -> &'static str {
        "githubdispatch"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        context: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let object = &event.involved_object;
        let event_type = format!("{}/{}.{}", object.kind, object.name, object.namespace);
        let body = json!({
            "event_type": text::cut(&event_type, EVENT_TYPE),
            "client_payload": fitting(event),
        });
        let url = Api::of(target)?.repository(&["dispatches"])?;
        authorized(target, context.now, move |token| {
            // GitHub answers 202 to what it has not done yet.
            let request = signed(HttpRequest::post(url), token)
                .json(&body)
                .except(&[202]);
            Ok(Exchange::once(request))
        })
    }

    #[cfg(test)]
    fn example(&self) -> Example {
        let mut example = Example::answering([(204, "")]);
        example.target.address = "https://github.com/acme/web".to_owned().into();
        example
    }
}

/// The event, cut so that the whole stays below the limit: long metadata first, then the message,
/// then whatever metadata there is no room for.
fn fitting(event: &Event) -> Event {
    let mut event = event.clone();
    if event.to_json().len() <= PAYLOAD {
        return event;
    }
    for value in event.metadata.values_mut() {
        *value = text::cut_bytes(value, ENOUGH).into_owned();
    }
    while event.to_json().len() > PAYLOAD && event.message.len() > ENOUGH {
        let half = event.message.len() / 2;
        event.message = text::cut_bytes(&event.message, half).into_owned();
    }
    let metadata = std::mem::take(&mut event.metadata);
    let mut room = PAYLOAD.saturating_sub(event.to_json().len() + "\"metadata\":{},".len());
    for (key, value) in metadata {
        // Quotes, colon and comma, and what is escaped.
        let pair = escape_html(&json!({&key: &value}).to_string());
        if let Some(left) = room.checked_sub(pair.len() + 1) {
            room = left;
            event.metadata.insert(key, value);
        }
    }
    event
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, check, check_with};

    #[test]
    fn the_event_is_the_payload() {
        check(
            &GitHubDispatch,
            testing::error(),
            expect![[r#"
            POST https://api.github.com/repos/acme/web/dispatches
            accept: application/vnd.github+json
            authorization: Bearer hush-token
            content-type: application/json
            x-github-api-version: 2022-11-28

            {
              "client_payload": {
                "involvedObject": {
                  "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
                  "kind": "Kustomization",
                  "name": "webapp",
                  "namespace": "apps",
                  "resourceVersion": "56921",
                  "uid": "7d0cdc51-ddcf-4743-b223-83ca5c699632"
                },
                "message": "validation failed: <Ingress> & more\nsecond line",
                "metadata": {
                  "change_request": "7",
                  "cluster": "prod",
                  "revision": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738",
                  "summary": "prod impacted"
                },
                "reason": "ValidationFailed",
                "reportingController": "kustomize-controller",
                "reportingInstance": "kustomize-controller-abc",
                "severity": "error",
                "timestamp": "2026-01-02T03:04:05Z"
              },
              "event_type": "Kustomization/webapp.apps"
            }

            done
        "#]],
        );
    }

    #[test]
    fn an_enterprise_server_has_its_api_below_its_own_host() {
        let mut example = GitHubDispatch.example();
        example.target.address = "https://ghe.test/acme/web".to_owned().into();
        example.target.token = None;
        example.target.password = Some("hush-password".to_owned().into());
        let mut event = testing::info();
        event.reason = "Progressing".to_owned();
        check_with(
            &GitHubDispatch,
            event,
            &example,
            expect![[r#"
            POST https://ghe.test/api/v3/repos/acme/web/dispatches
            accept: application/vnd.github+json
            authorization: Bearer hush-password
            content-type: application/json
            x-github-api-version: 2022-11-28

            {
              "client_payload": {
                "involvedObject": {
                  "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
                  "kind": "Kustomization",
                  "name": "webapp",
                  "namespace": "apps",
                  "resourceVersion": "56921",
                  "uid": "7d0cdc51-ddcf-4743-b223-83ca5c699632"
                },
                "message": "Reconciliation finished",
                "metadata": {
                  "change_request": "7",
                  "cluster": "prod",
                  "revision": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738",
                  "summary": "prod impacted"
                },
                "reason": "Progressing",
                "reportingController": "kustomize-controller",
                "reportingInstance": "kustomize-controller-abc",
                "severity": "info",
                "timestamp": "2026-01-02T03:04:05Z"
              },
              "event_type": "Kustomization/webapp.apps"
            }

            done
        "#]],
        );
    }

    #[test]
    fn event_type_and_payload_are_cut_to_what_github_takes() {
        let mut event = testing::error();
        event.involved_object.name = "n".repeat(200);
        event.message = "<é>\n".repeat(20_000);
        let (requests, end) = testing::converse(&GitHubDispatch, &event, &GitHubDispatch.example());
        assert_eq!(end, Ok(()));
        let body = requests[0].split("\n\n").nth(1).unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let event_type = body["event_type"].as_str().unwrap();
        assert_eq!(event_type.chars().count(), 100);
        assert!(event_type.starts_with("Kustomization/nnn") && event_type.ends_with('…'));
        let payload = Event::parse(body["client_payload"].to_string().as_bytes()).unwrap();
        assert!(payload.to_json().len() <= PAYLOAD && payload.message.len() > 10_000);
        assert!(payload.message.ends_with('…'));
        let message = payload.message.clone();
        assert_eq!(payload, Event { message, ..event });
    }

    #[test]
    fn metadata_there_is_no_room_for_is_left_out() {
        let mut event = testing::error();
        for number in 0..5_000 {
            let key = format!("z{number:04}");
            event.metadata.insert(key, "<\"".repeat(2_000));
        }
        let fit = fitting(&event);
        let length = fit.to_json().len();
        assert!((50_000..=PAYLOAD).contains(&length), "{length}");
        assert_eq!(fit.metadata["revision"], event.metadata["revision"]);
        assert!(fit.metadata["z0000"].ends_with('…'));
        assert_eq!(fit.message, event.message);
    }
}

//! `incident.io`: an alert that fires for an error and ends with anything else.
//!
//! Mended: an event whose object has no UID has a deduplication key too, so that its alert ends.

use serde_json::json;

use super::part::{commit, subject};
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Target};
use crate::api::event::Event;

/// incident.io.
pub(super) struct IncidentIo;

impl ProviderType for IncidentIo {
    fn name(&self) -> &'static str {
        "incident.io"
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
        let url = target.url("invalid incident.io alert source URL *****")?;
        let token = target.token("empty incident.io API token")?;
        if commit::is_progress(event) {
            return Ok(Exchange::nothing());
        }
        let mut metadata = event.metadata.clone();
        metadata.insert("severity".to_owned(), event.severity.clone());
        metadata.insert("reason".to_owned(), event.reason.clone());
        if !event.reporting_controller.is_empty() {
            let controller = event.reporting_controller.clone();
            metadata.insert("reportingController".to_owned(), controller);
        }
        let mut body = json!({
            "title": format!("{}: {}", subject::object_name(event), event.reason),
            "status": if event.is_error() { "firing" } else { "resolved" },
            "deduplication_key": subject::incident_key(event),
            "metadata": metadata,
        });
        if !event.message.is_empty() {
            body["description"] = event.message.as_str().into();
        }
        Ok(Exchange::once(
            HttpRequest::post(url).bearer(&token).json(&body),
        ))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, check};

    #[test]
    fn an_error_fires() {
        check(
            &IncidentIo,
            testing::error(),
            expect![[r#"
            POST https://provider.test/hook/hush-address
            authorization: Bearer hush-token
            content-type: application/json

            {
              "deduplication_key": "7d0cdc51-ddcf-4743-b223-83ca5c699632",
              "description": "validation failed: <Ingress> & more\nsecond line",
              "metadata": {
                "change_request": "7",
                "cluster": "prod",
                "reason": "ValidationFailed",
                "reportingController": "kustomize-controller",
                "revision": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738",
                "severity": "error",
                "summary": "prod impacted"
              },
              "status": "firing",
              "title": "kustomization/webapp.apps: ValidationFailed"
            }

            done
        "#]],
        );
    }

    #[test]
    fn an_info_ends_it() {
        let mut event = testing::info();
        event.metadata.clear();
        event.message.clear();
        event.reporting_controller.clear();
        check(
            &IncidentIo,
            event,
            expect![[r#"
            POST https://provider.test/hook/hush-address
            authorization: Bearer hush-token
            content-type: application/json

            {
              "deduplication_key": "7d0cdc51-ddcf-4743-b223-83ca5c699632",
              "metadata": {
                "reason": "ReconciliationSucceeded",
                "severity": "info"
              },
              "status": "resolved",
              "title": "kustomization/webapp.apps: ReconciliationSucceeded"
            }

            done
        "#]],
        );
    }

    #[test]
    fn progress_is_not_told() {
        let mut event = testing::info();
        event.reason = "Progressing".to_owned();
        let (requests, end) = testing::converse(&IncidentIo, &event, &IncidentIo.example());
        assert_eq!((requests.len(), end), (0, Ok(())));
    }

    #[test]
    fn an_object_without_a_uid_has_a_key_too() {
        let mut event = testing::error();
        event.involved_object.uid.clear();
        let (body, _) = testing::body(&IncidentIo, &event);
        assert_eq!(body["deduplication_key"], "Kustomization/apps/webapp");
    }

    #[test]
    fn a_token_is_needed() {
        let mut target = IncidentIo.example().target;
        target.token = None;
        assert_eq!(
            testing::refusal(&IncidentIo, &testing::info(), &target),
            "the Provider cannot be used: empty incident.io API token; set token in the Secret"
        );
    }
}

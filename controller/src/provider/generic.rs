//! `generic`: the event as JSON, for a receiver of one's own.
//!
//! Body and headers are nc's, byte for byte. Mended: a line break at the end of a value in the
//! Secret's `headers`, or in the name of the reporting controller, no longer fails the delivery.

use super::part::headers;
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Takes, Target};
use crate::api::event::Event;

/// Any receiver of events.
pub(super) struct Generic;

impl ProviderType for Generic {
    fn name(&self) -> &'static str {
        "generic"
    }

    fn takes(&self) -> Takes {
        Takes::Everything
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        _: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        Ok(Exchange::once(request(event, target)?))
    }
}

/// The event, with the headers that the Secret adds.
pub(super) fn request(event: &Event, target: &Target) -> Result<HttpRequest, ProviderError> {
    let controller = headers::printable(&event.reporting_controller);
    let request = HttpRequest::post(target.url("invalid hook URL *****")?)
        .body("application/json", event.to_json().into_bytes())
        .header("Gotk-Component", controller);
    headers::add(request, target)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::provider::testing::{self, check, check_with};

    #[test]
    fn the_event_is_posted_as_it_is() {
        check(
            &Generic,
            testing::error(),
            expect![[r#"
            POST https://provider.test/hook/hush-address
            content-type: application/json
            gotk-component: kustomize-controller
            x-team: web

            {
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
            }

            done
        "#]],
        );
        let request = testing::request(&Generic, &testing::error(), &Generic.example().target);
        assert_eq!(request.body, testing::error().to_json().into_bytes());
    }

    #[test]
    fn the_secrets_headers_win_over_its_own() {
        let mut example = Generic.example();
        example.target.headers = [
            ("authorization", "Token hush"),
            ("content-type", "application/vnd.acme+json\n"),
            ("gotk-component", "flux"),
            ("Host", "elsewhere.test"),
            ("X-Signature", "preset"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned().into()))
        .into();
        example.target.address = "https://user:pass@provider.test/".to_owned().into();
        let mut event = testing::info();
        event.involved_object = Default::default();
        event.metadata.clear();
        check_with(
            &Generic,
            event,
            &example,
            expect![[r#"
                POST https://provider.test/
                authorization: Token hush
                content-type: application/vnd.acme+json
                gotk-component: flux
                x-signature: preset

                {
                  "involvedObject": {},
                  "message": "Reconciliation finished",
                  "reason": "ReconciliationSucceeded",
                  "reportingController": "kustomize-controller",
                  "reportingInstance": "kustomize-controller-abc",
                  "severity": "info",
                  "timestamp": "2026-01-02T03:04:05Z"
                }

                done
            "#]],
        );
    }

    #[test]
    fn a_controllers_name_cannot_break_the_request() {
        let mut event = testing::info();
        event.reporting_controller = "a\r\nX-Evil: 1é".to_owned();
        let request = testing::request(&Generic, &event, &Generic.example().target);
        let header = request
            .headers
            .iter()
            .find(|(name, _)| name == "Gotk-Component");
        assert_eq!(header.unwrap().1.expose_secret(), "aX-Evil: 1");
    }
}

//! `generic-hmac`: as `generic`, signed.
//!
//! `X-Signature: sha256=<hex>` is the HMAC of the exact body under every byte of the Secret's
//! token, as nc has it.

use ring::hmac;
use secrecy::ExposeSecret;

use super::generic;
use super::{Context, Exchange, ProviderError, ProviderType, Takes, Target};
use crate::api::event::Event;

/// Any receiver of signed events.
pub(super) struct GenericHmac;

impl ProviderType for GenericHmac {
    fn name(&self) -> &'static str {
        "generic-hmac"
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
        let key = target
            .token
            .as_ref()
            .map(|token| token.expose_secret().as_bytes())
            .filter(|key| !key.is_empty())
            .ok_or_else(|| {
                ProviderError::Config("HMAC key is empty; set token in the Secret".to_owned())
            })?;
        let request = generic::request(event, target)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let signature = hex::encode(hmac::sign(&key, &request.body));
        // Last, so that no header of the Secret stands in its place.
        Ok(Exchange::once(
            request.header("X-Signature", format!("sha256={signature}")),
        ))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, check};

    fn signature(key: &str, event: &Event) -> String {
        let mut target = GenericHmac.example().target;
        target.token = Some(key.to_owned().into());
        target.headers = [("x-signature".to_owned(), "preset".to_owned().into())].into();
        let request = testing::request(&GenericHmac, event, &target);
        let (_, value) = request
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("x-signature"))
            .unwrap();
        value.expose_secret().to_owned()
    }

    #[test]
    fn the_event_is_signed() {
        check(
            &GenericHmac,
            testing::info(),
            expect![[r#"
            POST https://provider.test/hook/hush-address
            content-type: application/json
            gotk-component: kustomize-controller
            x-signature: sha256=a3b093b448a538a3f95a6c94d7fb27fb7a0af1c4b8a75cce2dfc12119ca83f1b
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
              "message": "Reconciliation finished",
              "metadata": {
                "change_request": "7",
                "cluster": "prod",
                "revision": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738",
                "summary": "prod impacted"
              },
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
    fn the_signatures_are_those_of_flux() {
        let event = Event::parse(
            br#"{"involvedObject":{"kind":"GitRepository","namespace":"gitops-system","name":"webapp"},"severity":"info","timestamp":"2022-09-30T06:40:29Z","message":"message","reason":"reason","metadata":{"test":"metadata"},"reportingController":"source-controller","reportingInstance":"source-controller-xyz"}"#,
        );
        assert_eq!(
            signature("7152fed34dd6149a7c75a276c510da27cb6f82b0", &event.unwrap()),
            "sha256=65b018549b1254e7226d1c08f9567ee45bc9de0fc4e7b1a40253f9a018b08be7"
        );
        let mut event = testing::error();
        event.metadata.remove("change_request");
        event
            .metadata
            .insert("deploymentID".to_owned(), "e076".to_owned());
        assert_eq!(
            signature("s3cr3t", &event),
            "sha256=ec85532456905bbabbaadd0827564c33f0b57b425cff0cb111cb6662b0ecb612"
        );
        assert_ne!(signature("s3cr3t\n", &event), signature("s3cr3t", &event));
    }

    #[test]
    fn an_empty_key_is_none() {
        for key in [None, Some(String::new())] {
            let mut target = GenericHmac.example().target;
            target.token = key.map(Into::into);
            assert_eq!(
                testing::refusal(&GenericHmac, &testing::info(), &target),
                "the Provider cannot be used: HMAC key is empty; set token in the Secret"
            );
        }
    }
}

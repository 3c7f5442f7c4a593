//! `opsgenie`: an alert, whose alias is Flux's: attempts, and what repeats itself, are one alert.
//!
//! Mended: texts keep to Opsgenie's limits (message 130 characters, description 15,000, details
//! 8,000). An info makes an alert of its own, as with Flux: its alias holds the reason, so it is not
//! that of the error which it ends. With `hookgate.dev/resolve` the alias does not, and an info closes
//! the alert.

use secrecy::ExposeSecret;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::part::fit::{Limit, fit};
use super::part::git::below;
use super::part::{commit, text};
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Target};
use crate::api::event::Event;

/// Characters of a message.
const MESSAGE: usize = 130;

const LIMIT: Limit = Limit {
    // Half of it, the details: 8,000 with the severity.
    total: 15_900,
    message: 15_000,
    pairs: 100,
    key: 200,
    value: 1_000,
    markup: 0,
    cost: |_| 1,
};

/// Opsgenie.
pub(super) struct Opsgenie;

impl ProviderType for Opsgenie {
    fn name(&self) -> &'static str {
        "opsgenie"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        _: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let url = target.url("invalid Opsgenie hook URL *****")?;
        let key = target.token("empty Opsgenie apikey/token")?;
        let key = format!("GenieKey {}", key.expose_secret());
        let alias = alias(event, target);
        if target.resolve && !event.is_error() {
            return close(event, &url, &alias, &key);
        }
        let object = &event.involved_object;
        let message = format!("{}/{}", object.kind, object.name);
        let event = fit(event, &LIMIT);
        let mut details = event.metadata.clone();
        details.insert("severity".to_owned(), event.severity.clone());
        let body = json!({
            "message": text::cut(&message, MESSAGE),
            "alias": alias,
            "description": event.message,
            "details": details,
        });
        Ok(Exchange::once(
            HttpRequest::post(url)
                .header("Authorization", key)
                .json(&body),
        ))
    }
}

/// Closes the alert of an object, if there is one.
fn close(event: &Event, alerts: &Url, alias: &str, key: &str) -> Result<Exchange, ProviderError> {
    if commit::is_progress(event) {
        return Ok(Exchange::nothing());
    }
    let mut url = below(alerts, [alias, "close"])?;
    url.query_pairs_mut().append_pair("identifierType", "alias");
    let note = text::cut(&event.message, LIMIT.message);
    Ok(Exchange::once(
        HttpRequest::post(url)
            .header("Authorization", key.to_owned())
            .json(&json!({"note": note}))
            .also(&[404]),
    ))
}

fn alias(event: &Event, target: &Target) -> String {
    let mut text = format!("{}/{}", target.uid, event.involved_object);
    if !target.resolve {
        text = format!("{text}/{}", event.reason);
    }
    hex::encode(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, check, check_with};

    #[test]
    fn an_error_is_an_alert() {
        check(
            &Opsgenie,
            testing::error(),
            expect![[r#"
            POST https://provider.test/hook/hush-address
            authorization: GenieKey hush-token
            content-type: application/json

            {
              "alias": "68c67e42c9349ec49b94c82fb2df75cb997e9daf1405cafe28280be249e0dc5a",
              "description": "validation failed: <Ingress> & more\nsecond line",
              "details": {
                "change_request": "7",
                "cluster": "prod",
                "revision": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738",
                "severity": "error",
                "summary": "prod impacted"
              },
              "message": "Kustomization/webapp"
            }

            done
        "#]],
        );
    }

    #[test]
    fn an_info_without_metadata_still_has_its_severity() {
        let mut event = testing::info();
        event.metadata.clear();
        check(
            &Opsgenie,
            event,
            expect![[r#"
            POST https://provider.test/hook/hush-address
            authorization: GenieKey hush-token
            content-type: application/json

            {
              "alias": "e319b274fa80ec25f2e7719920449fe884c6d235cb2e186aa1b61ec529ab56ff",
              "description": "Reconciliation finished",
              "details": {
                "severity": "info"
              },
              "message": "Kustomization/webapp"
            }

            done
        "#]],
        );
    }

    #[test]
    fn aliases_are_those_of_flux() {
        let target = Opsgenie.example().target;
        let first = alias(&testing::error(), &target);
        assert_eq!(
            first,
            "68c67e42c9349ec49b94c82fb2df75cb997e9daf1405cafe28280be249e0dc5a"
        );
        let mut same = testing::error();
        same.message = "other".to_owned();
        same.metadata.clear();
        assert_eq!(alias(&same, &target), first);
        let mut other_namespace = testing::error();
        other_namespace.involved_object.namespace = "prod".to_owned();
        let mut other_uid = target.clone();
        other_uid.uid = "x".to_owned();
        for other in [
            alias(&testing::info(), &target),
            alias(&other_namespace, &target),
            alias(&same, &other_uid),
        ] {
            assert_ne!(other, first);
        }
    }

    #[test]
    fn where_alerts_are_resolved_an_info_closes_the_alert_of_its_object() {
        let mut example = Opsgenie.example();
        example.target.resolve = true;
        example.target.address = "https://opsgenie.test/v2/alerts".to_owned().into();
        let error = testing::request(&Opsgenie, &testing::error(), &example.target);
        let error: serde_json::Value = serde_json::from_slice(&error.body).unwrap();
        assert_eq!(error["alias"], alias(&testing::info(), &example.target));
        check_with(
            &Opsgenie,
            testing::info(),
            &example,
            expect![[r#"
            POST https://opsgenie.test/v2/alerts/b545950a6baba94cfb9a7ca18e566e1748cb8443c0ffc3af43df0fb35f673ec5/close?identifierType=alias
            authorization: GenieKey hush-token
            content-type: application/json

            {
              "note": "Reconciliation finished"
            }

            done
        "#]],
        );
        let mut progress = testing::info();
        progress.reason = "Progressing".to_owned();
        let (requests, end) = testing::converse(&Opsgenie, &progress, &example);
        assert_eq!((requests.len(), end), (0, Ok(())));
    }

    #[test]
    fn texts_keep_to_their_limits() {
        let mut event = testing::huge();
        event.involved_object.name = "n".repeat(253);
        let (body, _) = testing::body(&Opsgenie, &event);
        let count = |value: &serde_json::Value| value.as_str().unwrap().chars().count();
        assert_eq!(count(&body["message"]), 130);
        assert!((7_000..=15_000).contains(&count(&body["description"])));
        let details = body["details"].as_object().unwrap().iter();
        let details: usize = details.map(|(k, v)| k.chars().count() + count(v)).sum();
        assert!((5_000..=8_000).contains(&details), "{details}");
    }
}

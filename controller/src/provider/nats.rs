//! `nats`: the event as a message of a subject.

use secrecy::{ExposeSecret, SecretString};

use super::{Context, Exchange, NatsAuth, NatsMessage, ProviderError, ProviderType, Target};
use crate::api::event::Event;
#[cfg(test)]
use crate::provider::testing::Example;

/// NATS.
pub(super) struct Nats;

impl ProviderType for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        context: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        if target.address.expose_secret().is_empty() {
            return Err(ProviderError::Config(
                "NATS server (address) cannot be empty; set spec.address".to_owned(),
            ));
        }
        let subject = target.channel("NATS subject (channel) cannot be empty")?;
        let is_subject = !subject.contains(|c: char| c.is_whitespace() || c.is_control());
        if !is_subject {
            return Err(ProviderError::Config(
                "NATS subject (channel) has white space in it".to_owned(),
            ));
        }
        Ok(Exchange::once(NatsMessage {
            servers: target.address.clone(),
            subject: subject.to_owned(),
            headers: vec![("Nats-Msg-Id", context.key_hex())],
            auth: auth(target),
            payload: event.to_json().into_bytes(),
        }))
    }

    #[cfg(test)]
    fn example(&self) -> Example {
        let mut example = Example::default();
        example.target.address = "nats://nats.test:4222".to_owned().into();
        example
    }
}

/// The strongest that the Secret has.
fn auth(target: &Target) -> NatsAuth {
    let set = |secret: &Option<SecretString>| {
        secret
            .clone()
            .filter(|secret| !secret.expose_secret().is_empty())
    };
    if let Some(creds) = set(&target.creds) {
        NatsAuth::Creds(creds)
    } else if let Some(seed) = set(&target.nkey) {
        NatsAuth::Nkey(seed)
    } else if let Some(password) = set(&target.password).filter(|_| !target.username.is_empty()) {
        NatsAuth::Password(target.username.clone(), password)
    } else {
        NatsAuth::Url
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, check};

    #[test]
    fn the_event_is_published_as_it_is() {
        check(
            &Nats,
            testing::info(),
            expect![[r#"
            PUB general at nats://nats.test:4222
            Nats-Msg-Id: 089f535cbebe99ad316a8c3846d066d1ecfb431df44193734b2f70828892a040
            auth: url

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
    fn the_strongest_credentials_win() {
        let secret = |text: &str| Some(SecretString::from(text.to_owned()));
        let mut target = Target::default();
        assert!(matches!(auth(&target), NatsAuth::Url));
        target.username = "u".to_owned();
        target.password = secret("p");
        assert!(matches!(auth(&target), NatsAuth::Password(user, _) if user == "u"));
        target.nkey = secret("n");
        assert!(matches!(auth(&target), NatsAuth::Nkey(_)));
        target.creds = secret("c");
        assert!(matches!(auth(&target), NatsAuth::Creds(_)));
    }
}

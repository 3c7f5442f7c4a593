//! `googlepubsub`: the event as a message of a topic, by Pub/Sub's REST interface.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use url::Url;

use super::part::git::below;
use super::part::oauth;
use super::{
    Context, Exchange, HttpRequest, Identity, IdentityProvider, ProviderError, ProviderType,
    Target, TokenRequest, TokenSource,
};
use crate::api::event::Event;
#[cfg(test)]
use crate::provider::testing::{self, Example};

const ENDPOINT: &str = "https://pubsub.googleapis.com/v1/";
const SCOPE: &str = "https://www.googleapis.com/auth/pubsub";

/// What Flux asks of an identity, whatever it is for.
const IDENTITY_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform \
                              https://www.googleapis.com/auth/userinfo.email";

/// Google Pub/Sub.
pub(super) struct GooglePubSub;

impl ProviderType for GooglePubSub {
    fn name(&self) -> &'static str {
        "googlepubsub"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        context: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let project = target.address.expose_secret();
        if project.is_empty() {
            return Err(ProviderError::Config(
                "GCP project ID cannot be empty; set spec.address".to_owned(),
            ));
        }
        let topic = target.channel("GCP Pub/Sub topic ID cannot be empty")?;
        let url = publish_url(project, topic)?;
        let attributes: BTreeMap<&str, &str> = target
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose_secret()))
            .collect();
        let data = STANDARD.encode(event.to_json());
        let request = HttpRequest::post(url)
            .json(&json!({"messages": [{"data": data, "attributes": attributes}]}));
        Ok(Exchange::with_token(
            token(target, context.now)?,
            move |token| Ok(Exchange::once(request.bearer(token))),
        ))
    }

    #[cfg(test)]
    fn example(&self) -> Example {
        let mut example = Example::default();
        example.target.address = "acme-prod".to_owned().into();
        example.target.token = Some(testing::service_account());
        example
    }
}

fn publish_url(project: &str, topic: &str) -> Result<Url, ProviderError> {
    let base = Url::parse(ENDPOINT)
        .map_err(|_| ProviderError::Config("the address of Pub/Sub is none".to_owned()))?;
    let method = format!("{topic}:publish");
    below(&base, ["projects", project, "topics", &method])
}

/// A token of the Secret's key or, without one, of the identity of a ServiceAccount.
fn token(target: &Target, now: u64) -> Result<TokenRequest, ProviderError> {
    let is_set = |token: &&SecretString| !token.expose_secret().trim().is_empty();
    if let Some(credentials) = target.token.as_ref().filter(is_set) {
        return oauth::google(credentials, SCOPE, now);
    }
    let account = target.service_account.as_deref().unwrap_or_default();
    Ok(TokenRequest {
        key: TokenRequest::key_of(&[
            "google identity",
            &target.namespace,
            account,
            IDENTITY_SCOPE,
        ]),
        source: TokenSource::Identity(Identity {
            provider: IdentityProvider::Google,
            service_account: target.service_account.clone(),
            namespace: target.namespace.clone(),
            scope: IDENTITY_SCOPE,
        }),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{check, check_with};

    #[test]
    fn a_token_is_fetched_and_the_event_published() {
        check(
            &GooglePubSub,
            testing::info(),
            expect![[r#"
            token:
            POST https://oauth2.test/token
            content-type: application/x-www-form-urlencoded

            grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=<jwt>

            POST https://pubsub.googleapis.com/v1/projects/acme-prod/topics/general:publish
            authorization: Bearer fetched
            content-type: application/json

            {
              "messages": [
                {
                  "attributes": {
                    "x-team": "web"
                  },
                  "data": "eyJpbnZvbHZlZE9iamVjdCI6eyJraW5kIjoiS3VzdG9taXphdGlvbiIsIm5hbWVzcGFjZSI6ImFwcHMiLCJuYW1lIjoid2ViYXBwIiwidWlkIjoiN2QwY2RjNTEtZGRjZi00NzQzLWIyMjMtODNjYTVjNjk5NjMyIiwiYXBpVmVyc2lvbiI6Imt1c3RvbWl6ZS50b29sa2l0LmZsdXhjZC5pby92MSIsInJlc291cmNlVmVyc2lvbiI6IjU2OTIxIn0sInNldmVyaXR5IjoiaW5mbyIsInRpbWVzdGFtcCI6IjIwMjYtMDEtMDJUMDM6MDQ6MDVaIiwibWVzc2FnZSI6IlJlY29uY2lsaWF0aW9uIGZpbmlzaGVkIiwicmVhc29uIjoiUmVjb25jaWxpYXRpb25TdWNjZWVkZWQiLCJtZXRhZGF0YSI6eyJjaGFuZ2VfcmVxdWVzdCI6IjciLCJjbHVzdGVyIjoicHJvZCIsInJldmlzaW9uIjoibWFpbkBzaGExOjUzOTRjYjdmNDgzMzJiMmRlN2MxN2RkOGI4Mzg0YmJjODRiN2U3MzgiLCJzdW1tYXJ5IjoicHJvZCBpbXBhY3RlZCJ9LCJyZXBvcnRpbmdDb250cm9sbGVyIjoia3VzdG9taXplLWNvbnRyb2xsZXIiLCJyZXBvcnRpbmdJbnN0YW5jZSI6Imt1c3RvbWl6ZS1jb250cm9sbGVyLWFiYyJ9"
                }
              ]
            }

            done
        "#]],
        );
    }

    #[test]
    fn without_a_key_an_identity_is_asked_for_its_token() {
        let mut example = GooglePubSub.example();
        example.target.token = None;
        example.target.service_account = Some("notifier".to_owned());
        check_with(
            &GooglePubSub,
            testing::info(),
            &example,
            expect![[r#"
            token:
            Identity { provider: Google, service_account: Some("notifier"), namespace: "apps", scope: "https://www.googleapis.com/auth/cloud-platform https://www.googleapis.com/auth/userinfo.email" }

            POST https://pubsub.googleapis.com/v1/projects/acme-prod/topics/general:publish
            authorization: Bearer fetched
            content-type: application/json

            {
              "messages": [
                {
                  "attributes": {
                    "x-team": "web"
                  },
                  "data": "eyJpbnZvbHZlZE9iamVjdCI6eyJraW5kIjoiS3VzdG9taXphdGlvbiIsIm5hbWVzcGFjZSI6ImFwcHMiLCJuYW1lIjoid2ViYXBwIiwidWlkIjoiN2QwY2RjNTEtZGRjZi00NzQzLWIyMjMtODNjYTVjNjk5NjMyIiwiYXBpVmVyc2lvbiI6Imt1c3RvbWl6ZS50b29sa2l0LmZsdXhjZC5pby92MSIsInJlc291cmNlVmVyc2lvbiI6IjU2OTIxIn0sInNldmVyaXR5IjoiaW5mbyIsInRpbWVzdGFtcCI6IjIwMjYtMDEtMDJUMDM6MDQ6MDVaIiwibWVzc2FnZSI6IlJlY29uY2lsaWF0aW9uIGZpbmlzaGVkIiwicmVhc29uIjoiUmVjb25jaWxpYXRpb25TdWNjZWVkZWQiLCJtZXRhZGF0YSI6eyJjaGFuZ2VfcmVxdWVzdCI6IjciLCJjbHVzdGVyIjoicHJvZCIsInJldmlzaW9uIjoibWFpbkBzaGExOjUzOTRjYjdmNDgzMzJiMmRlN2MxN2RkOGI4Mzg0YmJjODRiN2U3MzgiLCJzdW1tYXJ5IjoicHJvZCBpbXBhY3RlZCJ9LCJyZXBvcnRpbmdDb250cm9sbGVyIjoia3VzdG9taXplLWNvbnRyb2xsZXIiLCJyZXBvcnRpbmdJbnN0YW5jZSI6Imt1c3RvbWl6ZS1jb250cm9sbGVyLWFiYyJ9"
                }
              ]
            }

            done
        "#]],
        );
    }
}

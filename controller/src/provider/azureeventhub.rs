//! `azureeventhub`: the event as one of a hub, over AMQP; through a proxy over HTTPS.
//!
//! As nc: one event, no properties, no partition key. A SAS policy, an identity, or (deprecated) a JWT
//! signs. Mended: a Provider with a SAS policy does not fail because the controller has a default
//! ServiceAccount; the error says how to give the hub's name; a proxy is used, by Event Hubs' REST
//! interface, as proxies of HTTP rarely let AMQP through. Clouds with other names are meant by the
//! namespace's full name, not by the controller's environment.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::part::git::below;
use super::{
    AmqpAuth, AmqpMessage, Context, Exchange, HttpRequest, Identity, IdentityProvider,
    ProviderError, ProviderType, Request, Target, TokenRequest, TokenSource,
};
use crate::api::event::Event;
#[cfg(test)]
use crate::provider::testing::Example;

/// The two slashes are meant: the resource ends in one.
const SCOPE: &str = "https://eventhubs.azure.net//.default";

const PUBLIC_CLOUD: &str = ".servicebus.windows.net";

/// AMQP in TLS from the first byte.
const AMQPS: u16 = 5671;

/// How long a SAS signature holds, in seconds.
const SIGNATURE: u64 = 3600;

/// What stands in a query as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Azure Event Hubs.
pub(super) struct AzureEventHub;

impl ProviderType for AzureEventHub {
    fn name(&self) -> &'static str {
        "azureeventhub"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        context: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let address = target.address.expose_secret();
        if address.is_empty() {
            return Err(config("endpoint URL cannot be empty"));
        }
        let body = event.to_json().into_bytes();
        let by_http = target.proxy.is_some();
        let jwt = target.token("a JWT").ok();
        if address.contains("SharedAccessKey") {
            if jwt.is_some() {
                return Err(config(
                    "jwt token and SAS authentication cannot be set at the same time",
                ));
            }
            let policy = Policy::parse(address)?;
            return Ok(Exchange::once(if by_http {
                let signature = policy.sign(context.now + SIGNATURE)?;
                policy
                    .hub
                    .post(body)?
                    .header("Authorization", signature)
                    .into()
            } else {
                let auth = AmqpAuth::Policy(policy.name, policy.key);
                policy.hub.send(body, auth)?
            }));
        }
        let hub = Hub::new(namespace_url(&target.channel)?, address)?;
        let request = move |token: &SecretString| -> Result<Request, ProviderError> {
            if by_http {
                Ok(hub.post(body)?.bearer(token).into())
            } else {
                hub.send(body, AmqpAuth::Token(token.clone()))
            }
        };
        if let Some(jwt) = jwt {
            return Ok(Exchange::once(request(&jwt)?));
        }
        Ok(Exchange::with_token(identity(target), move |token| {
            Ok(Exchange::once(request(token)?))
        }))
    }

    #[cfg(test)]
    fn example(&self) -> Example {
        let mut example = Example::default();
        example.target.address = "Endpoint=sb://acme.servicebus.windows.net/;\
                                  SharedAccessKeyName=send;SharedAccessKey=hush-key=;\
                                  EntityPath=flux"
            .to_owned()
            .into();
        example.target.token = None;
        example
    }
}

fn config(text: &str) -> ProviderError {
    ProviderError::Config(format!("invalid authentication options: {text}"))
}

/// A hub of a namespace.
struct Hub {
    /// Of HTTPS; its port, if it has one, is where AMQP is spoken too.
    namespace: Url,
    name: String,
}

impl Hub {
    fn new(namespace: Url, name: &str) -> Result<Self, ProviderError> {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'/');
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(config(
                "the hub's name is no name; set it as the address, or as EntityPath with a SAS policy",
            ));
        }
        Ok(Self {
            namespace,
            name: name.to_owned(),
        })
    }

    fn url(&self) -> Result<Url, ProviderError> {
        below(&self.namespace, self.name.split('/'))
    }

    /// One event, over AMQP.
    fn send(&self, body: Vec<u8>, auth: AmqpAuth) -> Result<Request, ProviderError> {
        let host = self.namespace.host_str();
        let host = host.ok_or_else(|| config("the namespace has no host"))?;
        Ok(AmqpMessage {
            host: host.to_owned(),
            port: self.namespace.port().unwrap_or(AMQPS),
            node: self.name.clone(),
            auth,
            payload: body,
        }
        .into())
    }

    /// One event, over HTTPS:
    /// <https://learn.microsoft.com/rest/api/eventhub/send-event>.
    fn post(&self, body: Vec<u8>) -> Result<HttpRequest, ProviderError> {
        let mut url = below(&self.url()?, ["messages"])?;
        url.query_pairs_mut()
            .append_pair("timeout", "60")
            .append_pair("api-version", "2014-01");
        Ok(HttpRequest::post(url).body("application/atom+xml;type=entry;charset=utf-8", body))
    }
}

/// The channel is a namespace, or its full name.
fn namespace_url(channel: &str) -> Result<Url, ProviderError> {
    let suffix = if channel.contains(".servicebus.") {
        ""
    } else {
        PUBLIC_CLOUD
    };
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    Some(channel)
        .filter(|name| !name.is_empty() && name.bytes().all(is_name))
        .and_then(|name| Url::parse(&format!("https://{name}{suffix}/")).ok())
        .ok_or_else(|| config("the namespace is missing or is no name; set spec.channel"))
}

fn identity(target: &Target) -> TokenRequest {
    let account = target.service_account.as_deref().unwrap_or_default();
    TokenRequest {
        key: TokenRequest::key_of(&["azure identity", &target.namespace, account, SCOPE]),
        source: TokenSource::Identity(Identity {
            provider: IdentityProvider::Azure,
            service_account: target.service_account.clone(),
            namespace: target.namespace.clone(),
            scope: SCOPE,
        }),
    }
}

/// A shared access policy, as a connection string has it.
struct Policy {
    hub: Hub,
    name: String,
    key: SecretString,
}

impl Policy {
    /// `Endpoint=sb://…/;SharedAccessKeyName=…;SharedAccessKey=…;EntityPath=…`, in any order.
    fn parse(text: &str) -> Result<Self, ProviderError> {
        let get = |wanted: &str| {
            text.split(';')
                .filter_map(|part| part.trim().split_once('='))
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value)
                .filter(|value| !value.is_empty())
        };
        let missing = |what: &str| {
            config(&format!(
                "connection string does not contain {what}; set it in the Secret's address"
            ))
        };
        let endpoint = get("Endpoint").ok_or_else(|| missing("an Endpoint"))?;
        let name = get("SharedAccessKeyName").ok_or_else(|| missing("a SharedAccessKeyName"))?;
        let key = get("SharedAccessKey").ok_or_else(|| missing("a SharedAccessKey"))?;
        let path = get("EntityPath").ok_or_else(|| missing("an EntityPath, the hub's name"))?;
        let host = endpoint.split_once("://").map(|(_, host)| host);
        let namespace = host
            .and_then(|host| Url::parse(&format!("https://{host}")).ok())
            .ok_or_else(|| missing("an Endpoint that is a URL"))?;
        Ok(Self {
            hub: Hub::new(namespace, path)?,
            name: name.to_owned(),
            key: key.to_owned().into(),
        })
    }

    /// A signature for the hub that holds until `expiry`, in Unix seconds.
    fn sign(&self, expiry: u64) -> Result<String, ProviderError> {
        let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
        let resource = escaped(self.hub.url()?.as_str());
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.expose_secret().as_bytes());
        let signature = hmac::sign(&key, format!("{resource}\n{expiry}").as_bytes());
        let signature = escaped(&STANDARD.encode(signature));
        let name = escaped(&self.name);
        Ok(format!(
            "SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={name}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, check, check_with};

    #[test]
    fn a_policy_logs_in_and_sends_to_its_hub() {
        check(
            &AzureEventHub,
            testing::info(),
            expect![[r#"
            AMQP flux at acme.servicebus.windows.net:5671
            auth: policy send:hush-key=

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
    fn through_a_proxy_a_policy_signs_for_its_hub() {
        let mut example = AzureEventHub.example();
        example.target.proxy = Some("http://proxy.test:3128".to_owned().into());
        check_with(
            &AzureEventHub,
            testing::info(),
            &example,
            expect![[r#"
            POST https://acme.servicebus.windows.net/flux/messages?timeout=60&api-version=2014-01
            authorization: SharedAccessSignature sr=https%3A%2F%2Facme.servicebus.windows.net%2Fflux&sig=cj09YKdW9NR8aGz7UPbEkDcAMUmNlOiQO1DxwFTeztU%3D&se=1767326645&skn=send
            content-type: application/atom+xml;type=entry;charset=utf-8

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
    fn without_a_policy_an_identity_is_asked_for_its_token() {
        let mut example = AzureEventHub.example();
        example.target.address = "flux".to_owned().into();
        example.target.channel = "acme".to_owned();
        check_with(
            &AzureEventHub,
            testing::info(),
            &example,
            expect![[r#"
                token:
                Identity { provider: Azure, service_account: None, namespace: "apps", scope: "https://eventhubs.azure.net//.default" }

                AMQP flux at acme.servicebus.windows.net:5671
                auth: token fetched

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
    fn a_policy_wins_over_a_service_account() {
        let mut target = AzureEventHub.example().target;
        target.service_account = Some("default".to_owned());
        target.proxy = Some("http://proxy.test:3128".to_owned().into());
        let request = testing::request(&AzureEventHub, &testing::info(), &target);
        let (_, value) = &request.headers[1];
        assert!(value.expose_secret().starts_with("SharedAccessSignature "));
    }

    #[test]
    fn a_jwt_is_a_bearer_through_a_proxy() {
        let mut target = AzureEventHub.example().target;
        target.address = "flux".to_owned().into();
        target.channel = "acme.servicebus.chinacloudapi.cn".to_owned();
        target.token = Some("jwt\n".to_owned().into());
        target.proxy = Some("http://proxy.test:3128".to_owned().into());
        let request = testing::request(&AzureEventHub, &testing::info(), &target);
        assert_eq!(
            request.url.expose_secret(),
            "https://acme.servicebus.chinacloudapi.cn/flux/messages?timeout=60&api-version=2014-01"
        );
        let (name, value) = &request.headers[1];
        assert_eq!(
            (name.as_str(), value.expose_secret()),
            ("Authorization", "Bearer jwt")
        );
        assert_eq!(request.body, testing::info().to_json().into_bytes());
    }

    #[test]
    fn what_cannot_be_used_is_told_without_its_key() {
        let policy =
            "Endpoint=sb://acme.servicebus.windows.net/;SharedAccessKeyName=a;SharedAccessKey=hush";
        for (address, channel, token, want) in [
            ("", "acme", None, "endpoint URL cannot be empty"),
            (
                policy,
                "",
                None,
                "connection string does not contain an EntityPath, the hub's name; set it in the Secret's address",
            ),
            (
                policy,
                "",
                Some("jwt"),
                "jwt token and SAS authentication cannot be set at the same time",
            ),
            (
                "flux",
                "",
                None,
                "the namespace is missing or is no name; set spec.channel",
            ),
            (
                "flux",
                "a/b",
                None,
                "the namespace is missing or is no name; set spec.channel",
            ),
        ] {
            let target = Target {
                address: address.to_owned().into(),
                channel: channel.to_owned(),
                token: token.map(|token| token.to_owned().into()),
                ..Target::default()
            };
            assert_eq!(
                testing::refusal(&AzureEventHub, &testing::info(), &target),
                format!("the Provider cannot be used: invalid authentication options: {want}")
            );
        }
    }
}

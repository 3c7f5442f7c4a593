//! Tokens of identities in a cloud, as conversations without I/O.
//!
//! ```text
//!  annotations ──► Federation ──► audience() ──► a ServiceAccount's token ──► exchange() ──► Token
//!  no ServiceAccount ──► machine::own_token() ──► Token
//! ```
//!
//! The driver gets the ServiceAccount and its token from the API server; where the controller runs
//! on GKE, [`machine::gke_cluster`](super::machine::gke_cluster) says which cluster it is.

use std::collections::BTreeMap;

use chrono::DateTime;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::conversation::{Conversation, IdentityProvider, Token};
use super::error::ProviderError;
use super::http::HttpRequest;
use super::machine::GkeCluster;
use super::part::git::below;
use super::part::oauth;
use super::request::Reply;

/// Where Azure gives tokens, unless `AZURE_AUTHORITY_HOST` says otherwise.
const AZURE_AUTHORITY: &str = "https://login.microsoftonline.com/";

const GOOGLE_STS: &str = "https://sts.googleapis.com/v1/token";
const GOOGLE_IAM: &str = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts";

/// What a token is for that only serves to get another.
const GOOGLE_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

/// How a ServiceAccount's token becomes one of a cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Federation {
    /// By a client of Microsoft Entra that trusts the cluster.
    Azure {
        /// `azure.workload.identity/tenant-id`.
        tenant: String,
        /// `azure.workload.identity/client-id`.
        client: String,
    },
    /// By a pool of Google's that trusts the cluster.
    Google {
        /// What the ServiceAccount's token is for.
        audience: String,
        /// The pool and its provider, as the token service names them.
        pool: String,
        /// The account to be, if not the ServiceAccount itself.
        email: Option<String>,
    },
}

impl Federation {
    /// What a ServiceAccount's annotations say; `cluster` is where the controller runs, on GKE.
    ///
    /// # Errors
    /// [`ProviderError::Config`] where one is missing or malformed.
    pub fn of(
        provider: IdentityProvider,
        annotations: &BTreeMap<String, String>,
        cluster: Option<&GkeCluster>,
    ) -> Result<Self, ProviderError> {
        let get = |key: &str| annotations.get(key).filter(|value| !value.is_empty());
        match provider {
            IdentityProvider::Azure => {
                let required = |key: &str| {
                    get(key).cloned().ok_or_else(|| {
                        config(&format!("the ServiceAccount has no annotation {key}"))
                    })
                };
                Ok(Self::Azure {
                    tenant: required("azure.workload.identity/tenant-id")?,
                    client: required("azure.workload.identity/client-id")?,
                })
            }
            IdentityProvider::Google => {
                let email = get("iam.gke.io/gcp-service-account").cloned();
                if email.as_deref().is_some_and(|email| !is_email(email)) {
                    return Err(malformed("iam.gke.io/gcp-service-account"));
                }
                let pool = get("gcp.auth.fluxcd.io/workload-identity-provider");
                let (audience, pool) = match (pool, cluster) {
                    (Some(pool), _) if !is_pool(pool) => {
                        return Err(malformed("gcp.auth.fluxcd.io/workload-identity-provider"));
                    }
                    (Some(pool), _) => {
                        let name = format!("//iam.googleapis.com/{pool}");
                        (name.clone(), name)
                    }
                    (None, Some(cluster)) => cluster.pool(),
                    (None, None) => {
                        return Err(config(
                            "the ServiceAccount has no annotation \
                             gcp.auth.fluxcd.io/workload-identity-provider, and the controller \
                             does not run on GKE",
                        ));
                    }
                };
                Ok(Self::Google {
                    audience,
                    pool,
                    email,
                })
            }
        }
    }

    /// The audience that the ServiceAccount's token must have.
    pub fn audience(&self) -> &str {
        match self {
            Self::Azure { .. } => "api://AzureADTokenExchange",
            Self::Google { audience, .. } => audience,
        }
    }

    /// Exchanges the ServiceAccount's token. `authority` is Azure's authority host, if another
    /// than the usual; `scope` is [`Identity::scope`](super::Identity::scope).
    ///
    /// # Errors
    /// [`ProviderError::Config`] where the authority has no path.
    pub fn exchange(
        &self,
        account_token: &SecretString,
        authority: Option<&Url>,
        scope: &str,
        now: u64,
    ) -> Result<Conversation<Token>, ProviderError> {
        match self {
            Self::Azure { tenant, client } => {
                let base = authority
                    .cloned()
                    .map_or_else(|| url(AZURE_AUTHORITY), Ok)?;
                let request = HttpRequest::post(below(&base, [tenant, "oauth2", "v2.0", "token"])?)
                    .form(&[
                        ("client_id", client),
                        (
                            "client_assertion_type",
                            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                        ),
                        ("client_assertion", account_token.expose_secret()),
                        ("grant_type", "client_credentials"),
                        ("scope", scope),
                    ]);
                Ok(Conversation::ask(request, move |reply| {
                    oauth::token(reply, now)
                }))
            }
            Self::Google { pool, email, .. } => match email {
                None => Ok(Conversation::ask(
                    google_sts(pool, account_token, scope)?,
                    move |reply| oauth::token(reply, now),
                )),
                Some(email) => {
                    let impersonate = google_impersonation(email, scope)?;
                    let sts = google_sts(pool, account_token, GOOGLE_PLATFORM)?;
                    Ok(Conversation::ask(sts, move |reply| {
                        let token = access_token(reply)?;
                        Ok(Conversation::ask(impersonate.bearer(&token), impersonated))
                    }))
                }
            },
        }
    }
}

fn google_sts(
    pool: &str,
    account_token: &SecretString,
    scope: &str,
) -> Result<HttpRequest, ProviderError> {
    Ok(HttpRequest::post(url(GOOGLE_STS)?).form(&[
        ("audience", pool),
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        (
            "requested_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        ),
        ("scope", scope),
        ("subject_token", account_token.expose_secret()),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
    ]))
}

fn google_impersonation(email: &str, scope: &str) -> Result<HttpRequest, ProviderError> {
    let method = format!("{email}:generateAccessToken");
    let scopes: Vec<&str> = scope.split(' ').collect();
    let request = HttpRequest::post(below(&url(GOOGLE_IAM)?, [method.as_str()])?);
    Ok(request.json(&json!({"lifetime": "3600s", "scope": scopes})))
}

fn access_token(reply: &Reply) -> Result<SecretString, ProviderError> {
    #[derive(Deserialize)]
    struct Answer {
        access_token: SecretString,
    }
    let answer: Answer = reply.json("an access token")?;
    Ok(answer.access_token)
}

fn impersonated(reply: &Reply) -> Result<Conversation<Token>, ProviderError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        access_token: SecretString,
        expire_time: String,
    }
    let wanted = "an access token of the account";
    let answer: Answer = reply.json(wanted)?;
    let expires = DateTime::parse_from_rfc3339(&answer.expire_time)
        .ok()
        .and_then(|time| u64::try_from(time.timestamp()).ok())
        .ok_or(ProviderError::Answer { wanted })?;
    Ok(Conversation::done(Token {
        value: answer.access_token,
        expires,
    }))
}

fn is_email(text: &str) -> bool {
    let named = text.strip_suffix(".iam.gserviceaccount.com");
    named
        .and_then(|named| named.split_once('@'))
        .is_some_and(|(name, project)| is_name(name) && is_name(project))
}

fn is_pool(text: &str) -> bool {
    let any = |part: &str| (1..=100).contains(&part.len());
    let parts: Vec<&str> = text.split('/').collect();
    let [
        "projects",
        number,
        "locations",
        "global",
        "workloadIdentityPools",
        pool,
        "providers",
        provider,
    ] = *parts
    else {
        return false;
    };
    let is_number = (1..=30).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    is_number && any(pool) && any(provider)
}

fn is_name(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=100).contains(&text.len()) && text.bytes().all(is_part)
}

fn url(text: &str) -> Result<Url, ProviderError> {
    Url::parse(text).map_err(|_| config("the address of the cloud is none"))
}

fn malformed(annotation: &str) -> ProviderError {
    config(&format!(
        "the ServiceAccount's annotation {annotation} is malformed"
    ))
}

fn config(text: &str) -> ProviderError {
    ProviderError::Config(text.to_owned())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::provider::testing::{NOW, answer, drive};

    const POOL: &str =
        "projects/1234567890/locations/global/workloadIdentityPools/pool/providers/cluster";
    const SCOPE: &str = "https://a.test/one https://a.test/two";

    fn annotated<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    fn cluster() -> GkeCluster {
        GkeCluster {
            project: "acme-prod".to_owned(),
            location: "europe-west1".to_owned(),
            name: "main".to_owned(),
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "reads best in a test")]
    fn check(fetch: Conversation<Token>, answers: &[(u16, &str)], want: Expect) {
        let answers: Vec<_> = answers.iter().map(|(s, body)| answer(*s, body)).collect();
        let mut sent = Vec::new();
        let end = drive(fetch, &answers, &mut sent).map_or_else(
            |error| format!("failed: {error}"),
            |token| {
                format!(
                    "{} for {}",
                    token.value.expose_secret(),
                    token.expires - NOW
                )
            },
        );
        let sent = sent.concat().replace('&', "\n&");
        want.assert_eq(&format!("{sent}{end}\n"));
    }

    fn exchange(federation: &Federation, scope: &str) -> Conversation<Token> {
        let token = SecretString::from("account.token".to_owned());
        federation.exchange(&token, None, scope, NOW).unwrap()
    }

    #[test]
    fn azure_takes_the_token_as_a_clients_assertion() {
        let annotations = annotated([
            ("azure.workload.identity/tenant-id", "11111111-2222"),
            ("azure.workload.identity/client-id", "33333333-4444"),
        ]);
        let azure = Federation::of(IdentityProvider::Azure, &annotations, None).unwrap();
        assert_eq!(azure.audience(), "api://AzureADTokenExchange");
        let answered = r#"{"token_type":"Bearer","expires_in":86399,"ext_expires_in":86399,"access_token":"eyJ0"}"#;
        check(
            exchange(&azure, "499b84ac-1321-427f-aa17-267ca6975798/.default"),
            &[(200, answered)],
            expect![[r#"
                POST https://login.microsoftonline.com/11111111-2222/oauth2/v2.0/token
                content-type: application/x-www-form-urlencoded

                client_id=33333333-4444
                &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer
                &client_assertion=account.token
                &grant_type=client_credentials
                &scope=499b84ac-1321-427f-aa17-267ca6975798%2F.default

                eyJ0 for 86399
            "#]],
        );
        let china = Url::parse("https://login.chinacloudapi.cn").unwrap();
        let token = SecretString::from("account.token".to_owned());
        let fetch = azure.exchange(&token, Some(&china), SCOPE, NOW).unwrap();
        let refused = r#"{"error":"invalid_client","error_description":"AADSTS70021: No matching federated identity record found"}"#;
        check(
            fetch,
            &[(401, refused)],
            expect![[r#"
            POST https://login.chinacloudapi.cn/11111111-2222/oauth2/v2.0/token
            content-type: application/x-www-form-urlencoded

            client_id=33333333-4444
            &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer
            &client_assertion=account.token
            &grant_type=client_credentials
            &scope=https%3A%2F%2Fa.test%2Fone+https%3A%2F%2Fa.test%2Ftwo

            failed: the server answered 401: {"error":"invalid_client","error_description":"AADSTS70021: No matching federated identity record found"}
        "#]],
        );
    }

    #[test]
    fn google_takes_the_token_of_a_pool() {
        let annotations = annotated([("gcp.auth.fluxcd.io/workload-identity-provider", POOL)]);
        // The annotation wins over the cluster's own pool.
        let google =
            Federation::of(IdentityProvider::Google, &annotations, Some(&cluster())).unwrap();
        assert_eq!(google.audience(), format!("//iam.googleapis.com/{POOL}"));
        let answered = r#"{"access_token":"ya29.d","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":3599}"#;
        check(
            exchange(&google, SCOPE),
            &[(200, answered)],
            expect![[r#"
            POST https://sts.googleapis.com/v1/token
            content-type: application/x-www-form-urlencoded

            audience=%2F%2Fiam.googleapis.com%2Fprojects%2F1234567890%2Flocations%2Fglobal%2FworkloadIdentityPools%2Fpool%2Fproviders%2Fcluster
            &grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange
            &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token
            &scope=https%3A%2F%2Fa.test%2Fone+https%3A%2F%2Fa.test%2Ftwo
            &subject_token=account.token
            &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt

            ya29.d for 3599
        "#]],
        );
    }

    #[test]
    fn on_gke_an_account_is_impersonated_with_the_clusters_own_pool() {
        let email = "notifier@acme-prod.iam.gserviceaccount.com";
        let annotations = annotated([("iam.gke.io/gcp-service-account", email)]);
        let google =
            Federation::of(IdentityProvider::Google, &annotations, Some(&cluster())).unwrap();
        assert_eq!(google.audience(), "acme-prod.svc.id.goog");
        let sts = r#"{"access_token":"federated","token_type":"Bearer","expires_in":3599}"#;
        let impersonated = r#"{"accessToken":"ya29.c","expireTime":"2026-01-02T04:04:05Z"}"#;
        check(
            exchange(&google, SCOPE),
            &[(200, sts), (200, impersonated)],
            expect![[r#"
                POST https://sts.googleapis.com/v1/token
                content-type: application/x-www-form-urlencoded

                audience=identitynamespace%3Aacme-prod.svc.id.goog%3Ahttps%3A%2F%2Fcontainer.googleapis.com%2Fv1%2Fprojects%2Facme-prod%2Flocations%2Feurope-west1%2Fclusters%2Fmain
                &grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange
                &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token
                &scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform
                &subject_token=account.token
                &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt

                POST https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/notifier@acme-prod.iam.gserviceaccount.com:generateAccessToken
                authorization: Bearer federated
                content-type: application/json

                {
                  "lifetime": "3600s",
                  "scope": [
                    "https://a.test/one",
                    "https://a.test/two"
                  ]
                }

                ya29.c for 3600
            "#]],
        );
    }

    #[test]
    fn annotations_that_are_missing_or_malformed_are_errors() {
        let tenant = "azure.workload.identity/tenant-id";
        let email = "iam.gke.io/gcp-service-account";
        let pool = "gcp.auth.fluxcd.io/workload-identity-provider";
        let of = |provider, pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            let annotations = pairs
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
            Federation::of(provider, &annotations, None).map_err(|error| error.category())
        };
        for pairs in [&[][..], &[(tenant, "x")], &[(tenant, "")]] {
            assert_eq!(
                of(IdentityProvider::Azure, pairs),
                Err("config"),
                "{pairs:?}"
            );
        }
        let short = "projects/x/locations/global/workloadIdentityPools/a/providers/b";
        let long = format!("{POOL}/more");
        for pairs in [
            &[][..],
            &[(email, "a@b.iam.gserviceaccount.com")],
            &[(pool, short)],
            &[(pool, &long)],
            &[(pool, "//iam.googleapis.com/x")],
            &[(pool, POOL), (email, "a@b.test")],
            &[(pool, POOL), (email, "a/../x@b.iam.gserviceaccount.com")],
        ] {
            assert_eq!(
                of(IdentityProvider::Google, pairs),
                Err("config"),
                "{pairs:?}"
            );
        }
        let fine = [(pool, POOL), (email, "a-1@b-2.iam.gserviceaccount.com")];
        assert!(of(IdentityProvider::Google, &fine).is_ok());
    }
}

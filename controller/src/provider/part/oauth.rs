//! Access tokens by OAuth 2.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::jwt;
use crate::provider::conversation::{Conversation, Token, TokenRequest, TokenSource};
use crate::provider::error::ProviderError;
use crate::provider::http::HttpRequest;
use crate::provider::request::Reply;

/// How long a signed assertion is good for, in seconds.
const ASSERTION: u64 = 3600;

/// A key of a Google service account, as its JSON file has it.
#[derive(Deserialize)]
struct ServiceAccount {
    client_email: String,
    private_key: SecretString,
    token_uri: Option<String>,
}

/// The token of a Google service account's key.
pub(in crate::provider) fn google(
    credentials: &SecretString,
    scope: &'static str,
    now: u64,
) -> Result<TokenRequest, ProviderError> {
    let unusable = |why: &str| ProviderError::Config(format!("token in the Secret {why}"));
    let account: ServiceAccount = serde_json::from_str(credentials.expose_secret())
        .map_err(|_| unusable("is not the JSON key of a service account"))?;
    let uri = account
        .token_uri
        .unwrap_or_else(|| "https://oauth2.googleapis.com/token".to_owned());
    let url = Url::parse(&uri)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| unusable("names a token_uri that is not a URL of http or https"))?;
    let claims = json!({
        "iss": account.client_email,
        "scope": scope,
        "aud": uri,
        "iat": now,
        "exp": now + ASSERTION,
    });
    let assertion = jwt::sign(
        &claims,
        &account.private_key,
        "private_key in the Secret's token",
    )?;
    let request = HttpRequest::post(url).form(&[
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("assertion", assertion.expose_secret()),
    ]);
    let key = TokenRequest::key_of(&[
        "google",
        &account.client_email,
        scope,
        credentials.expose_secret(),
    ]);
    let fetch = Conversation::ask(request, move |reply| token(reply, now));
    Ok(TokenRequest {
        key,
        source: TokenSource::Fetch(Box::new(fetch)),
    })
}

/// The token in a reply as RFC 6749 describes it.
pub(in crate::provider) fn token(
    reply: &Reply,
    now: u64,
) -> Result<Conversation<Token>, ProviderError> {
    /// Azure's metadata server writes the number as a text.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(u64),
        Text(String),
    }
    #[derive(Deserialize)]
    struct Answer {
        access_token: SecretString,
        expires_in: Seconds,
    }
    let wanted = "an access token";
    let answer: Answer = reply.json(wanted)?;
    let seconds = match answer.expires_in {
        Seconds::Number(seconds) => Some(seconds),
        Seconds::Text(text) => text.parse().ok(),
    };
    Ok(Conversation::done(Token {
        value: answer.access_token,
        expires: now.saturating_add(seconds.ok_or(ProviderError::Answer { wanted })?),
    }))
}

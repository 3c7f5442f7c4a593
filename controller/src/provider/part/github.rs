//! What all GitHub types share: the API's address, its headers, and who asks.

use chrono::DateTime;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::git::{Repository, below};
use super::jwt;
use crate::provider::conversation::{Conversation, Exchange, Token, TokenRequest, TokenSource};
use crate::provider::error::ProviderError;
use crate::provider::http::HttpRequest;
use crate::provider::request::Reply;
use crate::provider::target::{GitHubApp, Target};

/// The repository of a Target, and how its API is asked.
#[derive(Clone)]
pub(in crate::provider) struct Api {
    base: Url,
    owner: String,
    name: String,
}

impl Api {
    /// The API of a Target's repository.
    pub(in crate::provider) fn of(target: &Target) -> Result<Self, ProviderError> {
        let repository = Repository::of(target)?;
        let (owner, name) = repository.owner_and_name()?;
        Ok(Self {
            base: api_base(&repository.host)?,
            owner: owner.to_owned(),
            name: name.to_owned(),
        })
    }

    /// `repos/<owner>/<name>/<segments>`.
    pub(in crate::provider) fn repository(&self, segments: &[&str]) -> Result<Url, ProviderError> {
        let own = ["repos", self.owner.as_str(), self.name.as_str()];
        below(&self.base, own.into_iter().chain(segments.iter().copied()))
    }

    /// `user`: who a token belongs to.
    pub(in crate::provider) fn user(&self) -> Result<Url, ProviderError> {
        below(&self.base, ["user"])
    }
}

/// The headers that every request has.
pub(in crate::provider) fn signed(request: HttpRequest, token: &SecretString) -> HttpRequest {
    request
        .header("Accept", "application/vnd.github+json")
        .header("X-GitHub-Api-Version", "2022-11-28")
        .bearer(token)
}

/// Goes on with a token: the Target's own, or its App's.
pub(in crate::provider) fn authorized(
    target: &Target,
    now: u64,
    then: impl FnOnce(&SecretString) -> Result<Exchange, ProviderError> + Send + 'static,
) -> Result<Exchange, ProviderError> {
    match (target.token_or_password("github token"), &target.github_app) {
        (Ok(token), _) => then(&token),
        (Err(_), Some(app)) => Ok(Exchange::with_token(app_token(app, now)?, then)),
        (Err(_), None) => Err(ProviderError::Config(
            "github token or github app details must be specified".to_owned(),
        )),
    }
}

/// `app`: what an App is called.
pub(in crate::provider) fn app_request(
    app: &GitHubApp,
    now: u64,
) -> Result<HttpRequest, ProviderError> {
    let url = below(&app_base(app)?, ["app"])?;
    Ok(signed(HttpRequest::get(url), &app_jwt(app, now)?))
}

fn api_base(host: &Url) -> Result<Url, ProviderError> {
    let name = host.host_str().unwrap_or_default();
    if name == "github.com" {
        return public_api();
    }
    if name.starts_with("api.") || name.contains(".api.") {
        return Ok(host.clone());
    }
    below(host, ["api", "v3"])
}

fn public_api() -> Result<Url, ProviderError> {
    Url::parse("https://api.github.com/")
        .map_err(|_| ProviderError::Config("the address of GitHub's API is none".to_owned()))
}

fn app_base(app: &GitHubApp) -> Result<Url, ProviderError> {
    match app.base_url.as_deref().filter(|url| !url.is_empty()) {
        None => public_api(),
        Some(text) => Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| {
                ProviderError::Config("githubAppBaseURL is not a URL of http or https".to_owned())
            }),
    }
}

/// What an App shows to get a token; GitHub allows ten minutes and clocks that differ.
fn app_jwt(app: &GitHubApp, now: u64) -> Result<SecretString, ProviderError> {
    let issued = now.saturating_sub(30);
    let claims = json!({"iss": app.id, "iat": issued, "exp": issued + 120});
    jwt::sign(&claims, &app.private_key, "githubAppPrivateKey")
}

fn app_token(app: &GitHubApp, now: u64) -> Result<TokenRequest, ProviderError> {
    let base = app_base(app)?;
    let jwt = app_jwt(app, now)?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (owner, id) = (text(&app.installation_owner), text(&app.installation_id));
    let key = TokenRequest::key_of(&[
        "github",
        &app.id,
        &owner,
        &id,
        base.as_str(),
        app.private_key.expose_secret(),
    ]);
    let fetch = match (owner.is_empty(), id.is_empty()) {
        (true, false) => access_token(&base, &id, &jwt)?,
        (false, true) => installation(base, &owner, jwt)?,
        (true, true) => {
            return Err(ProviderError::Config(
                "app installation owner or ID must be provided to use github app authentication"
                    .to_owned(),
            ));
        }
        (false, false) => {
            return Err(ProviderError::Config(
                "only one of app installation owner or ID may be provided to use github app \
                 authentication"
                    .to_owned(),
            ));
        }
    };
    let source = TokenSource::Fetch(Box::new(fetch));
    Ok(TokenRequest { key, source })
}

#[derive(Deserialize)]
struct Installation {
    id: u64,
}

/// Finds the installation of an organisation or, if there is none of that name, of a user.
fn installation(
    base: Url,
    owner: &str,
    jwt: SecretString,
) -> Result<Conversation<Token>, ProviderError> {
    let at = |kind: &str| below(&base, [kind, owner, "installation"]);
    let organisation = signed(HttpRequest::get(at("orgs")?), &jwt).also(&[404]);
    let user = signed(HttpRequest::get(at("users")?), &jwt);
    Ok(Conversation::ask(organisation, move |reply| {
        if reply.status() == Some(404) {
            return Ok(Conversation::ask(user, move |reply| {
                let found: Installation = reply.json("an installation of the App")?;
                access_token(&base, &found.id.to_string(), &jwt)
            }));
        }
        let found: Installation = reply.json("an installation of the App")?;
        access_token(&base, &found.id.to_string(), &jwt)
    }))
}

fn access_token(
    base: &Url,
    id: &str,
    jwt: &SecretString,
) -> Result<Conversation<Token>, ProviderError> {
    let url = below(base, ["app", "installations", id, "access_tokens"])?;
    let request = signed(HttpRequest::post(url), jwt);
    Ok(Conversation::ask(request, token))
}

fn token(reply: &Reply) -> Result<Conversation<Token>, ProviderError> {
    #[derive(Deserialize)]
    struct Answer {
        token: SecretString,
        expires_at: String,
    }
    let wanted = "an access token of the App";
    let answer: Answer = reply.json(wanted)?;
    let expires = DateTime::parse_from_rfc3339(&answer.expires_at)
        .ok()
        .and_then(|time| u64::try_from(time.timestamp()).ok())
        .ok_or(ProviderError::Answer { wanted })?;
    Ok(Conversation::done(Token {
        value: answer.token,
        expires,
    }))
}

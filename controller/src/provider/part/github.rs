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
        let (owner, name) = repository.owner_and_name("invalid repository id: '*****'")?;
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

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::provider::testing::{self, NOW, SECRET, answer, drive};

    const INSTALLATION: &str = r#"{"id":7,"account":{"login":"jane","type":"User"}}"#;
    const TOKEN: &str = r#"{"token":"ghs_x","expires_at":"2026-01-02T04:04:05Z"}"#;

    /// How an App gets its token, from a server that answers so.
    #[expect(clippy::needless_pass_by_value, reason = "reads best in a test")]
    fn check(app: &GitHubApp, answers: &[(u16, &str)], want: Expect) {
        let TokenSource::Fetch(fetch) = app_token(app, NOW).unwrap().source else {
            panic!("an App has no identity in a cloud");
        };
        let answers: Vec<_> = answers.iter().map(|(s, body)| answer(*s, body)).collect();
        let mut sent = Vec::new();
        let end = drive(*fetch, &answers, &mut sent).map_or_else(
            |error| format!("failed: {error}"),
            |token| {
                format!(
                    "{} until {}",
                    token.value.expose_secret(),
                    token.expires - NOW
                )
            },
        );
        let headers = "accept: application/vnd.github+json\nauthorization: Bearer <jwt>\nx-github-api-version: 2022-11-28\n\n";
        assert!(sent.iter().all(|request| request.ends_with(headers)));
        let sent = sent.concat().replace(headers, "");
        want.assert_eq(&format!("{sent}{end}\n"));
    }

    #[test]
    fn the_installation_of_a_user_is_found_where_no_organisation_has_the_name() {
        let mut app = testing::app();
        app.installation_owner = Some("jane".to_owned());
        let answers = [
            (404, r#"{"message":"Not Found"}"#),
            (200, INSTALLATION),
            (201, TOKEN),
        ];
        check(
            &app,
            &answers,
            expect![[r#"
            GET https://api.github.com/orgs/jane/installation
            GET https://api.github.com/users/jane/installation
            POST https://api.github.com/app/installations/7/access_tokens
            ghs_x until 3600
        "#]],
        );
    }

    #[test]
    fn an_owner_without_an_installation_is_an_error() {
        check(
            &testing::app(),
            &[(404, "{}"), (404, "{}")],
            expect![[r#"
            GET https://api.github.com/orgs/acme/installation
            GET https://api.github.com/users/acme/installation
            failed: the server answered 404: {}
        "#]],
        );
    }

    #[test]
    fn an_organisation_that_cannot_be_asked_is_no_user() {
        check(
            &testing::app(),
            &[(401, "bad credentials")],
            expect![[r#"
            GET https://api.github.com/orgs/acme/installation
            failed: the server answered 401: bad credentials
        "#]],
        );
    }

    #[test]
    fn the_installation_of_an_id_on_an_own_server_needs_no_search() {
        let mut app = testing::app();
        app.installation_owner = None;
        app.installation_id = Some("99".to_owned());
        app.base_url = Some("https://ghe.test/api/v3/".to_owned());
        check(
            &app,
            &[(201, TOKEN)],
            expect![[r#"
            POST https://ghe.test/api/v3/app/installations/99/access_tokens
            ghs_x until 3600
        "#]],
        );
    }

    #[test]
    fn credentials_are_complete_or_an_error_without_secrets() {
        let told = |change: fn(&mut Target)| {
            let mut target = testing::Example::default().target;
            target.token = None;
            target.github_app = Some(testing::app());
            change(&mut target);
            let then = |token: &SecretString| {
                assert_eq!(token.expose_secret().trim(), token.expose_secret());
                Ok(Exchange::nothing())
            };
            let end = authorized(&target, NOW, then).map(drop);
            end.map_err(|error| {
                let text = error.to_string();
                assert!(
                    error.category() == "config" && !text.contains(SECRET),
                    "{text}"
                );
                text.replace("the Provider cannot be used: ", "")
            })
        };
        assert_eq!(told(|_| ()), Ok(()));
        assert_eq!(told(|target| target.token = Some("hush\n".into())), Ok(()));
        assert_eq!(
            told(|target| (target.github_app, target.password) = (None, Some("hush ".into()))),
            Ok(())
        );
        for (change, want) in [
            (
                (|target| target.github_app = None) as fn(&mut Target),
                "github token or github app details must be specified",
            ),
            (
                |target| change_app(target, |app| app.installation_owner = None),
                "app installation owner or ID must be provided to use github app authentication",
            ),
            (
                |target| change_app(target, |app| app.installation_id = Some("7".to_owned())),
                "only one of app installation owner or ID may be provided to use github app \
                 authentication",
            ),
            (
                |target| change_app(target, |app| app.private_key = String::new().into()),
                "githubAppPrivateKey is not an RSA key in PEM",
            ),
            (
                |target| change_app(target, |app| app.base_url = Some("hush:hush".to_owned())),
                "githubAppBaseURL is not a URL of http or https",
            ),
        ] {
            assert_eq!(told(change), Err(want.to_owned()));
        }
    }

    fn change_app(target: &mut Target, change: impl FnOnce(&mut GitHubApp)) {
        change(target.github_app.as_mut().unwrap());
    }

    #[test]
    fn the_key_of_an_apps_token_tells_apps_apart_and_holds_no_credential() {
        let key = |app: &GitHubApp| app_token(app, NOW).unwrap().key;
        let app = testing::app();
        let mut other = testing::app();
        other.installation_owner = Some("jane".to_owned());
        assert_eq!(key(&app), key(&testing::app()));
        assert_ne!(key(&app), key(&other));
        assert_eq!(key(&app).len(), 64);
    }

    #[test]
    fn the_api_is_found_on_every_kind_of_host() {
        for (host, want) in [
            ("https://github.com/", "https://api.github.com/"),
            ("https://ghe.test/", "https://ghe.test/api/v3"),
            ("https://api.ghe.test/", "https://api.ghe.test/"),
            ("https://x.api.ghe.test/", "https://x.api.ghe.test/"),
        ] {
            let base = api_base(&Url::parse(host).unwrap()).unwrap();
            assert_eq!(base.as_str(), want, "{host}");
        }
    }
}

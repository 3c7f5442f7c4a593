//! `bitbucket`: the build status of a commit on bitbucket.org.
//!
//! Better than Flux's: a password may hold `:`; the digest of an artifact that is no commit is no
//! failure; a long description is cut; the Provider's proxy and timeout hold.

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use url::Url;

use super::part::commit::{self, State};
use super::part::git::{Repository, below};
use super::part::{subject, text};
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Takes, Target};
use crate::api::event::Event;
#[cfg(test)]
use crate::provider::testing::Example;

const API: &str = "https://api.bitbucket.org/2.0";

/// Characters of name and description.
const TEXT: usize = 255;

/// Bitbucket Cloud, build statuses.
pub(super) struct Bitbucket;

#[derive(Serialize)]
struct Status {
    key: String,
    url: &'static str,
    state: &'static str,
    name: String,
    description: String,
}

/// As Bitbucket has it.
#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    state: String,
    #[serde(default)]
    description: Option<String>,
}

impl ProviderType for Bitbucket {
    fn name(&self) -> &'static str {
        "bitbucket"
    }

    fn takes(&self) -> Takes {
        Takes::CommitStatuses
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        _: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let Some((commit, state)) = commit::sha1_state(event)? else {
            return Ok(Exchange::nothing());
        };
        let status = Status {
            key: commit::status_key(&commit::status_name(event, target)?),
            url: "https://bitbucket.org",
            state: match state {
                State::Success => "SUCCESSFUL",
                State::Failure => "FAILED",
            },
            name: text::cut(&subject::short_name(event), TEXT).into_owned(),
            description: commit::description(event, TEXT),
        };
        let (user, password) = credentials(target)?;
        let repository = Repository::of(target)?;
        let (owner, name) = repository.owner_and_name("invalid repository id \"*****\"")?;
        let base = Url::parse(API)
            .map_err(|_| ProviderError::Config("the address of Bitbucket's API is none".into()))?;
        let builds = [
            "repositories",
            owner,
            name,
            "commit",
            &commit.hash,
            "statuses",
            "build",
        ];
        let builds = below(&base, builds)?;
        let signed = |request: HttpRequest| {
            request
                .header("Accept", "application/json")
                .basic(&user, &password)
        };
        // There is none yet.
        let get = signed(HttpRequest::get(below(&builds, [status.key.as_str()])?)).also(&[404]);
        let post = signed(HttpRequest::post(builds)).json(&status);
        Ok(Exchange::ask(get, move |reply| {
            if reply.status() != Some(404) {
                let found: Found = reply.json("a build status")?;
                let description = found.description.unwrap_or_default();
                if found.state == status.state && description == status.description {
                    return Ok(Exchange::nothing());
                }
            }
            Ok(Exchange::once(post))
        }))
    }

    #[cfg(test)]
    fn example(&self) -> Example {
        let mut example = Example::answering([(404, "{}"), (201, "{}")]);
        example.target.address = "https://bitbucket.org/acme/web.git".to_owned().into();
        example.target.token = Some("flux:hush:password\n".to_owned().into());
        example
    }
}

/// User and password of a token such as `user:password`.
fn credentials(target: &Target) -> Result<(String, String), ProviderError> {
    let token = target.token("invalid token format, expected to be <user>:<password>")?;
    let parts = token.expose_secret().split_once(':');
    parts
        .filter(|(user, password)| !user.is_empty() && !password.is_empty())
        .map(|(user, password)| (user.to_owned(), password.to_owned()))
        .ok_or_else(|| {
            ProviderError::Config(
                "invalid token format, expected to be <user>:<password>".to_owned(),
            )
        })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::provider::testing::{self, check, converse};

    #[test]
    fn a_status_is_posted_where_there_is_none() {
        check(
            &Bitbucket,
            testing::error(),
            expect![[r#"
            GET https://api.bitbucket.org/2.0/repositories/acme/web/commit/5394cb7f48332b2de7c17dd8b8384bbc84b7e738/statuses/build/4abc3ba6f171924ecece234c03192982da12888b
            accept: application/json
            authorization: Basic Zmx1eDpodXNoOnBhc3N3b3Jk

            POST https://api.bitbucket.org/2.0/repositories/acme/web/commit/5394cb7f48332b2de7c17dd8b8384bbc84b7e738/statuses/build
            accept: application/json
            authorization: Basic Zmx1eDpodXNoOnBhc3N3b3Jk
            content-type: application/json

            {
              "description": "validation failed",
              "key": "4abc3ba6f171924ecece234c03192982da12888b",
              "name": "kustomization/webapp",
              "state": "FAILED",
              "url": "https://bitbucket.org"
            }

            done
        "#]],
        );
    }

    #[test]
    fn the_same_status_is_not_posted_again() {
        let posts = |state: &str, description: Option<&str>| {
            let mut example = Bitbucket.example();
            let found = json!({"state": state, "description": description, "key": "x"});
            example.answers[0] = testing::answer(200, &found.to_string());
            let (requests, end) = converse(&Bitbucket, &testing::info(), &example);
            assert_eq!(end, Ok(()));
            requests.len() == 2
        };
        assert!(!posts("SUCCESSFUL", Some("reconciliation succeeded")));
        assert!(posts("FAILED", Some("reconciliation succeeded")));
        assert!(posts("SUCCESSFUL", Some("validation failed")));
        assert!(posts("SUCCESSFUL", None));
    }

    #[test]
    fn a_token_is_user_and_password() {
        let mut target = Bitbucket.example().target;
        for (token, want) in [
            ("user:password", Some(("user", "password"))),
            ("user:pass:word\n", Some(("user", "pass:word"))),
            ("user", None),
            ("user:", None),
            (":password", None),
            ("", None),
        ] {
            target.token = Some(token.to_owned().into());
            let found = credentials(&target).ok();
            let want = want.map(|(user, password)| (user.to_owned(), password.to_owned()));
            assert_eq!(found, want, "{token:?}");
        }
    }
}

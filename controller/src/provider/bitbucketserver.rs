//! `bitbucketserver`: the build status of a commit on Bitbucket Server or Data Center.
//!
//! Better than Flux's: the user name may stand in the Provider and the password in the Secret;
//! credentials within the address are used and not told as the status' URL; the digest of an
//! artifact that is no commit is no failure; long texts are cut; the Provider's proxy is used.

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use url::Url;

use super::http::credentials;
use super::part::commit::{self, State};
use super::part::git::below;
use super::part::{subject, text};
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Takes, Target};
use crate::api::event::Event;
#[cfg(test)]
use crate::provider::testing::Example;

/// What a clone URL over HTTP has between the server's own path and the repository's.
const SCM: &str = "/scm/";

/// Characters of a description.
const DESCRIPTION: usize = 255;

/// Characters of a name.
const NAME: usize = 450;

/// Bitbucket Server, build statuses.
pub(super) struct BitbucketServer;

/// As it is sent, and as it is found.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Status {
    key: String,
    state: String,
    name: String,
    description: String,
    url: String,
}

impl ProviderType for BitbucketServer {
    fn name(&self) -> &'static str {
        "bitbucketserver"
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
        let address = clone_url(target)?;
        let (context, project, repository) = parts(&address)?;
        let description = commit::description(event, DESCRIPTION);
        let name = format!("{} [{description}]", subject::short_name(event));
        let status = Status {
            key: commit::status_key(&commit::status_name(event, target)?),
            state: match state {
                State::Success => "SUCCESSFUL",
                State::Failure => "FAILED",
            }
            .to_owned(),
            name: text::cut(&name, NAME).into_owned(),
            description,
            url: without_credentials(&address).into(),
        };
        let segments = [
            "rest",
            "api",
            "latest",
            "projects",
            &project,
            "repos",
            &repository,
            "commits",
            &commit.hash,
            "builds",
        ];
        let mut base = without_credentials(&address);
        base.set_path(&context);
        let post = below(&base, segments)?;
        let mut get = post.clone();
        get.query_pairs_mut().append_pair("key", &status.key);
        // There is none yet.
        let get = signed(HttpRequest::get(get), &address, target)?.also(&[404]);
        let post = signed(HttpRequest::post(post), &address, target)?.json(&status);
        Ok(Exchange::ask(get, move |reply| {
            if reply.status() != Some(404) {
                let found: Status = reply.json("a build status")?;
                if found.is_same(&status) {
                    return Ok(Exchange::nothing());
                }
            }
            Ok(Exchange::once(post))
        }))
    }

    #[cfg(test)]
    fn example(&self) -> Example {
        let mut example = Example::answering([(404, "{}"), (204, "")]);
        let address = "https://example.com:7990/scm/proj/repo.git";
        example.target.address = address.to_owned().into();
        example
    }
}

impl Status {
    fn is_same(&self, other: &Self) -> bool {
        (&self.key, &self.state, &self.name, &self.description)
            == (&other.key, &other.state, &other.name, &other.description)
    }
}

fn clone_url(target: &Target) -> Result<Url, ProviderError> {
    let scheme = target.address.expose_secret().split_once("://");
    match scheme {
        Some((scheme, _)) if !matches!(scheme, "http" | "https") => Err(ProviderError::Config(
            "could not parse git address: unsupported scheme type in address. Must be http or https"
                .to_owned(),
        )),
        _ => target.url("could not parse git address"),
    }
}

/// The server's own path, the project and the repository of a clone URL.
fn parts(address: &Url) -> Result<(String, String, String), ProviderError> {
    let invalid = |why: &str| ProviderError::Config(format!("could not parse git address: {why}"));
    let path = percent_encoding::percent_decode_str(address.path())
        .decode_utf8()
        .map_err(|_| invalid("its path is not UTF-8"))?;
    let (context, id) = path.rsplit_once(SCM).ok_or_else(|| {
        invalid("supplied provider address is not http(s) git clone url, with /scm/ in it")
    })?;
    let id = id.trim_end_matches('/');
    let id = id.strip_suffix(".git").unwrap_or(id);
    id.split_once('/')
        .filter(|(project, repository)| {
            !project.is_empty() && !repository.is_empty() && !repository.contains('/')
        })
        .map(|(project, repository)| {
            (
                context.to_owned(),
                project.to_owned(),
                repository.to_owned(),
            )
        })
        .ok_or_else(|| invalid("invalid repository id, expected to be <project>/<repository>"))
}

fn without_credentials(address: &Url) -> Url {
    let mut url = address.clone();
    // A URL that can't hold credentials has none to take away.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// With the headers that every request has, and the credentials: a token, user and password, or
/// what the address holds.
fn signed(
    request: HttpRequest,
    address: &Url,
    target: &Target,
) -> Result<HttpRequest, ProviderError> {
    let request = request
        .header("Accept", "application/json")
        .header("x-atlassian-token", "no-check".to_owned())
        .header("x-requested-with", "XMLHttpRequest".to_owned());
    if let Ok(token) = target.token("a token") {
        return Ok(request.bearer(&token));
    }
    let password = target.password.as_ref().map(ExposeSecret::expose_secret);
    match password.filter(|password| !password.is_empty()) {
        Some(password) if !target.username.is_empty() => {
            Ok(request.basic(&target.username, password))
        }
        _ => {
            let (user, password) = credentials(address).ok_or_else(|| {
                ProviderError::Config(
                    "invalid credentials, expected to be one of username/password or API Token"
                        .to_owned(),
                )
            })?;
            Ok(request.basic(&user, &password))
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::provider::testing::{self, check, check_with, converse};

    #[test]
    fn a_status_is_posted_where_there_is_none() {
        check(
            &BitbucketServer,
            testing::error(),
            expect![[r#"
            GET https://example.com:7990/rest/api/latest/projects/proj/repos/repo/commits/5394cb7f48332b2de7c17dd8b8384bbc84b7e738/builds?key=4abc3ba6f171924ecece234c03192982da12888b
            accept: application/json
            authorization: Bearer hush-token
            x-atlassian-token: no-check
            x-requested-with: XMLHttpRequest

            POST https://example.com:7990/rest/api/latest/projects/proj/repos/repo/commits/5394cb7f48332b2de7c17dd8b8384bbc84b7e738/builds
            accept: application/json
            authorization: Bearer hush-token
            content-type: application/json
            x-atlassian-token: no-check
            x-requested-with: XMLHttpRequest

            {
              "description": "validation failed",
              "key": "4abc3ba6f171924ecece234c03192982da12888b",
              "name": "kustomization/webapp [validation failed]",
              "state": "FAILED",
              "url": "https://example.com:7990/scm/proj/repo.git"
            }

            done
        "#]],
        );
    }

    #[test]
    fn user_and_password_are_basic_and_a_server_may_have_a_path() {
        let mut example = BitbucketServer.example();
        let address = "http://example.com/scm/git/scm/~jane/my%20repo.git";
        example.target.address = address.to_owned().into();
        example.target.token = None;
        example.target.username = "jane".to_owned();
        example.target.password = Some("hush".to_owned().into());
        check_with(
            &BitbucketServer,
            testing::info(),
            &example,
            expect![[r#"
            GET http://example.com/scm/git/rest/api/latest/projects/~jane/repos/my%20repo/commits/5394cb7f48332b2de7c17dd8b8384bbc84b7e738/builds?key=4abc3ba6f171924ecece234c03192982da12888b
            accept: application/json
            authorization: Basic amFuZTpodXNo
            x-atlassian-token: no-check
            x-requested-with: XMLHttpRequest

            POST http://example.com/scm/git/rest/api/latest/projects/~jane/repos/my%20repo/commits/5394cb7f48332b2de7c17dd8b8384bbc84b7e738/builds
            accept: application/json
            authorization: Basic amFuZTpodXNo
            content-type: application/json
            x-atlassian-token: no-check
            x-requested-with: XMLHttpRequest

            {
              "description": "reconciliation succeeded",
              "key": "4abc3ba6f171924ecece234c03192982da12888b",
              "name": "kustomization/webapp [reconciliation succeeded]",
              "state": "SUCCESSFUL",
              "url": "http://example.com/scm/git/scm/~jane/my%20repo.git"
            }

            done
        "#]],
        );
    }

    #[test]
    fn credentials_in_the_address_are_not_told() {
        let mut example = BitbucketServer.example();
        let address = "https://jane:hush@example.com/scm/proj/repo.git?hush#hush";
        example.target.address = address.to_owned().into();
        example.target.token = None;
        let (requests, end) = converse(&BitbucketServer, &testing::info(), &example);
        assert_eq!(end, Ok(()));
        for request in requests {
            assert!(!request.contains(testing::SECRET), "{request}");
            assert!(request.contains("authorization: Basic amFuZTpodXNo\n"));
        }
    }

    #[test]
    fn the_last_scm_parts_the_servers_path_from_the_repository() {
        let parts = |address: &str| parts(&Url::parse(address).unwrap());
        let host = "https://example.com:7990";
        for (path, context) in [
            ("/scm/proj/repo.git", ""),
            ("/context/scm/proj/repo.git", "/context"),
            ("/context/path/scm/proj/repo.git", "/context/path"),
            ("/scm/scm/proj/repo.git", "/scm"),
            ("/context/scm/path/scm/proj/repo.git", "/context/scm/path"),
            ("/scm/proj/repo/", ""),
        ] {
            let want = [context, "proj", "repo"].map(str::to_owned);
            let found = parts(&format!("{host}{path}")).unwrap();
            assert_eq!(found, want.into(), "{path}");
        }
        for path in [
            "/context/proj/repo.git",
            "/scm/repo.git",
            "/scm/a/b/c.git",
            "/scm/a/",
            "/scm/",
        ] {
            let error = parts(&format!("{host}{path}")).unwrap_err();
            assert_eq!(error.category(), "config", "{path}");
        }
    }

    #[test]
    fn an_address_of_ssh_and_missing_credentials_are_errors() {
        let mut target = BitbucketServer.example().target;
        target.token = None;
        target.password = Some("hush".to_owned().into());
        let error = testing::begin(&BitbucketServer, &testing::info(), &target);
        assert_eq!(
            error.map(drop).unwrap_err().to_string(),
            "the Provider cannot be used: invalid credentials, expected to be one of \
             username/password or API Token"
        );
        target.address = "ssh://git@example.com:7999/proj/repo.git".to_owned().into();
        let error = testing::begin(&BitbucketServer, &testing::info(), &target);
        assert_eq!(
            error.map(drop).unwrap_err().to_string(),
            "the Provider cannot be used: could not parse git address: unsupported scheme type \
             in address. Must be http or https"
        );
    }

    #[test]
    fn the_same_status_is_not_posted_again() {
        let told = json!({
            "key": "4abc3ba6f171924ecece234c03192982da12888b",
            "state": "FAILED",
            "name": "kustomization/webapp [validation failed]",
            "description": "validation failed",
            "url": "https://elsewhere.test",
            "createdDate": 1,
        });
        let posts = |change: &str| {
            let mut found = told.clone();
            found[change] = "x".into();
            let mut example = BitbucketServer.example();
            example.answers[0] = testing::answer(200, &found.to_string());
            let (requests, end) = converse(&BitbucketServer, &testing::error(), &example);
            assert_eq!(end, Ok(()));
            requests.len() == 2
        };
        assert!(!posts("parent"));
        for field in ["key", "state", "name", "description"] {
            assert!(posts(field), "{field}");
        }
    }

    #[test]
    fn an_answer_that_is_no_status_is_an_error() {
        let mut example = BitbucketServer.example();
        example.answers[0] = testing::answer(200, "<html>");
        let (requests, end) = converse(&BitbucketServer, &testing::error(), &example);
        let wanted = "a build status";
        assert_eq!(
            (requests.len(), end),
            (1, Err(ProviderError::Answer { wanted }))
        );
    }
}

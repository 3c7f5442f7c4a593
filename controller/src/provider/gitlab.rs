//! `gitlab`: the status of a commit.
//!
//! Better than Flux's: commits with SHA-256 hashes have statuses too, and the digest of an artifact
//! that is no commit is no failure; a hundred statuses are looked through, not twenty, and the
//! newest decides whether the status is told already; a long description is cut; the proxy of the
//! Provider is used, as everywhere.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::part::commit::{self, Commit, State};
use super::part::gitlab::{Project, signed};
use super::{
    Context, Exchange, HttpRequest, ProviderError, ProviderType, Reply, Success, Takes, Target,
};
use crate::api::event::Event;
#[cfg(test)]
use crate::provider::testing::Example;

/// Characters of a description.
const DESCRIPTION: usize = 255;

/// GitLab, commit statuses.
pub(super) struct GitLab;

#[derive(Serialize)]
struct Status {
    state: &'static str,
    name: String,
    description: String,
}

/// As GitLab lists it.
#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    id: u64,
    #[serde(default)]
    sha: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    description: Option<String>,
}

impl ProviderType for GitLab {
    fn name(&self) -> &'static str {
        "gitlab"
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
        if commit::is_progress(event) {
            return Ok(Exchange::nothing());
        }
        let commit = Commit::of(event)?;
        let status = Status {
            state: match State::of(event)? {
                State::Success => "success",
                State::Failure => "failed",
            },
            name: commit::status_name(event, target)?,
            description: commit::description(event, DESCRIPTION),
        };
        let project = Project::of(target)?;
        let token = target.token_or_password("gitlab token cannot be empty")?;
        unless_there(&project, commit, status, &token)
    }

    #[cfg(test)]
    fn example(&self) -> Example {
        let mut example = Example::answering([(200, "[]"), (201, "{}")]);
        example.target.address = "https://gitlab.com/acme/shop/web.git".to_owned().into();
        example
    }
}

/// Posts the status, unless the newest one of its name says the same.
fn unless_there(
    project: &Project,
    commit: Commit,
    status: Status,
    token: &SecretString,
) -> Result<Exchange, ProviderError> {
    let mut list = project.at(&["repository", "commits", &commit.hash, "statuses"])?;
    list.query_pairs_mut()
        .append_pair("name", &status.name)
        .append_pair("per_page", "100");
    let post = project.at(&["statuses", &commit.hash])?;
    let post = signed(HttpRequest::post(post), token).json(&status);
    let mut list = signed(HttpRequest::get(list), token);
    if commit.is_sha256() {
        list = list.also(&[404]);
    }
    Ok(Exchange::ask(list, move |reply| {
        if reply.status() == Some(404) {
            return no_such_commit(reply);
        }
        let statuses: Vec<Listed> = reply.json("a list of commit statuses")?;
        Ok(if is_told(&statuses, &commit, &status) {
            Exchange::nothing()
        } else {
            Exchange::once(post)
        })
    }))
}

/// There is nothing to tell of an artifact; that the project is missing is a failure.
fn no_such_commit(reply: &Reply) -> Result<Exchange, ProviderError> {
    #[derive(Deserialize)]
    struct Answer {
        message: String,
    }
    let answer: Option<Answer> = reply.json("a reason").ok();
    if answer.is_some_and(|answer| answer.message.contains("Commit")) {
        return Ok(Exchange::nothing());
    }
    Success::default().judge(reply)?;
    Ok(Exchange::nothing())
}

fn is_told(statuses: &[Listed], commit: &Commit, status: &Status) -> bool {
    let own = |listed: &&Listed| listed.name == status.name && listed.sha == commit.hash;
    // The newest has the highest id, in whatever order they are listed.
    let newest = statuses
        .iter()
        .filter(own)
        .reduce(|a, b| if b.id > a.id { b } else { a });
    newest.is_some_and(|newest| {
        newest.status == status.state
            && newest.description.as_deref() == Some(status.description.as_str())
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::provider::testing::{self, check, check_with, converse};

    const SHA: &str = "5394cb7f48332b2de7c17dd8b8384bbc84b7e738";

    #[test]
    fn a_status_is_posted_to_a_project_in_a_subgroup() {
        check(
            &GitLab,
            testing::error(),
            expect![[r#"
            GET https://gitlab.com/api/v4/projects/acme%2Fshop%2Fweb/repository/commits/5394cb7f48332b2de7c17dd8b8384bbc84b7e738/statuses?name=kustomization%2Fwebapp%2F0c9c2e41&per_page=100
            accept: application/json
            private-token: hush-token

            POST https://gitlab.com/api/v4/projects/acme%2Fshop%2Fweb/statuses/5394cb7f48332b2de7c17dd8b8384bbc84b7e738
            accept: application/json
            content-type: application/json
            private-token: hush-token

            {
              "description": "validation failed",
              "name": "kustomization/webapp/0c9c2e41",
              "state": "failed"
            }

            done
        "#]],
        );
    }

    #[test]
    fn a_project_may_be_a_number_on_an_own_server() {
        let mut example = GitLab.example();
        example.target.address = "https://gitlab.test:8443/1234".to_owned().into();
        example.target.token = None;
        example.target.password = Some("hush-password\n".to_owned().into());
        check_with(
            &GitLab,
            testing::info(),
            &example,
            expect![[r#"
            GET https://gitlab.test:8443/api/v4/projects/1234/repository/commits/5394cb7f48332b2de7c17dd8b8384bbc84b7e738/statuses?name=kustomization%2Fwebapp%2F0c9c2e41&per_page=100
            accept: application/json
            private-token: hush-password

            POST https://gitlab.test:8443/api/v4/projects/1234/statuses/5394cb7f48332b2de7c17dd8b8384bbc84b7e738
            accept: application/json
            content-type: application/json
            private-token: hush-password

            {
              "description": "reconciliation succeeded",
              "name": "kustomization/webapp/0c9c2e41",
              "state": "success"
            }

            done
        "#]],
        );
    }

    #[test]
    fn the_newest_status_decides_whether_it_is_told() {
        let listed = |id: u64, status: &str| {
            json!({"id": id, "sha": SHA, "status": status, "description": "validation failed",
                   "name": "kustomization/webapp/0c9c2e41"})
        };
        let mut other = listed(9, "success");
        other["name"] = "other".into();
        let told = |list: serde_json::Value| {
            let mut example = GitLab.example();
            example.answers[0] = testing::answer(200, &list.to_string());
            let (requests, end) = converse(&GitLab, &testing::error(), &example);
            assert_eq!(end, Ok(()));
            requests.len() == 1
        };
        assert!(told(json!([listed(1, "failed"), other])));
        assert!(told(json!([listed(2, "failed"), listed(1, "success")])));
        assert!(!told(json!([listed(1, "failed"), listed(2, "success")])));
        assert!(!told(json!([other])));
        let mut elsewhere = listed(1, "failed");
        elsewhere["sha"] = "a".repeat(40).into();
        assert!(!told(json!([elsewhere])));
    }

    #[test]
    fn a_sha256_commit_has_a_status_and_an_artifact_has_none() {
        let mut event = testing::error();
        let digest = format!("latest@sha256:{}", "a".repeat(64));
        event.metadata.insert("revision".to_owned(), digest);
        let (requests, end) = converse(&GitLab, &event, &GitLab.example());
        assert_eq!((requests.len(), end), (2, Ok(())));
        let ended = |message: &str| {
            let mut example = GitLab.example();
            let body = json!({"message": message}).to_string();
            example.answers[0] = testing::answer(404, &body);
            let (requests, end) = converse(&GitLab, &event, &example);
            assert_eq!(requests.len(), 1);
            end.map_err(|error| error.is_permanent())
        };
        assert_eq!(ended("404 Commit Not Found"), Ok(()));
        assert_eq!(ended("404 Project Not Found"), Err(true));
    }

    #[test]
    fn progress_is_not_told() {
        let mut event = testing::info();
        event.reason = "Progressing".to_owned();
        let (requests, end) = converse(&GitLab, &event, &GitLab.example());
        assert_eq!((requests.len(), end), (0, Ok(())));
    }
}

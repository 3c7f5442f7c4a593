//! `github`: the status of a commit.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::part::commit::{self, Commit, State};
use super::part::github::{Api, authorized, signed};
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Takes, Target};
use crate::api::event::Event;
#[cfg(test)]
use crate::provider::testing::Example;

/// Characters of a description.
const DESCRIPTION: usize = 140;

/// GitHub, commit statuses.
pub(super) struct GitHub;

/// As it is sent, and as it is found: the newest first.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Status {
    state: String,
    description: Option<String>,
    context: String,
}

impl ProviderType for GitHub {
    fn name(&self) -> &'static str {
        "github"
    }

    fn takes(&self) -> Takes {
        Takes::CommitStatuses
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        context: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let Some((commit, state)) = commit::sha1_state(event)? else {
            return Ok(Exchange::nothing());
        };
        let state = match state {
            State::Success => "success",
            State::Failure => "failure",
        };
        let status = Status {
            state: state.to_owned(),
            description: Some(commit::description(event, DESCRIPTION)),
            context: commit::status_name(event, target)?,
        };
        let api = Api::of(target)?;
        authorized(target, context.now, move |token| {
            unless_there(&api, &commit, status, token)
        })
    }

    #[cfg(test)]
    fn example(&self) -> Example {
        let mut example = Example::answering([(200, "[]"), (201, "{}")]);
        example.target.address = "https://github.com/acme/web.git".to_owned().into();
        example
    }
}

/// Posts the status, unless the newest one of its name says the same.
fn unless_there(
    api: &Api,
    commit: &Commit,
    status: Status,
    token: &SecretString,
) -> Result<Exchange, ProviderError> {
    let mut list = api.repository(&["commits", &commit.hash, "statuses"])?;
    list.set_query(Some("per_page=100"));
    let post = api.repository(&["statuses", &commit.hash])?;
    // GitHub answers 202 to what it has not done yet.
    let post = signed(HttpRequest::post(post), token)
        .json(&status)
        .except(&[202]);
    let list = signed(HttpRequest::get(list), token).except(&[202]);
    Ok(Exchange::ask(list, move |reply| {
        let statuses: Vec<Status> = reply.json("a list of commit statuses")?;
        let newest = statuses
            .into_iter()
            .find(|other| other.context.eq_ignore_ascii_case(&status.context));
        let is_told = newest.is_some_and(|newest| {
            newest.state == status.state && newest.description == status.description
        });
        Ok(if is_told {
            Exchange::nothing()
        } else {
            Exchange::once(post)
        })
    }))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, check, check_with};

    #[test]
    fn a_status_is_posted_where_there_is_none() {
        check(
            &GitHub,
            testing::error(),
            expect![[r#"
            GET https://api.github.com/repos/acme/web/commits/5394cb7f48332b2de7c17dd8b8384bbc84b7e738/statuses?per_page=100
            accept: application/vnd.github+json
            authorization: Bearer hush-token
            x-github-api-version: 2022-11-28

            POST https://api.github.com/repos/acme/web/statuses/5394cb7f48332b2de7c17dd8b8384bbc84b7e738
            accept: application/vnd.github+json
            authorization: Bearer hush-token
            content-type: application/json
            x-github-api-version: 2022-11-28

            {
              "context": "kustomization/webapp/0c9c2e41",
              "description": "validation failed",
              "state": "failure"
            }

            done
        "#]],
        );
    }

    #[test]
    fn the_same_status_is_not_posted_again() {
        let mut example = GitHub.example();
        example.answers = Example::answering([(
            200,
            r#"[{"state":"success","description":"x","context":"other"},
                {"state":"failure","description":"validation failed","context":"kustomization/webapp/0c9c2e41"},
                {"state":"success","description":null,"context":"kustomization/webapp/0c9c2e41"}]"#,
        )])
        .answers;
        check_with(
            &GitHub,
            testing::error(),
            &example,
            expect![[r#"
            GET https://api.github.com/repos/acme/web/commits/5394cb7f48332b2de7c17dd8b8384bbc84b7e738/statuses?per_page=100
            accept: application/vnd.github+json
            authorization: Bearer hush-token
            x-github-api-version: 2022-11-28

            done
        "#]],
        );
    }

    #[test]
    fn an_app_gets_a_token_first() {
        let mut example = GitHub.example();
        example.target.token = None;
        example.target.password = None;
        example.target.github_app = Some(testing::app());
        check_with(
            &GitHub,
            testing::info(),
            &example,
            expect![[r#"
            token:
            GET https://api.github.com/orgs/acme/installation
            accept: application/vnd.github+json
            authorization: Bearer <jwt>
            x-github-api-version: 2022-11-28

            POST https://api.github.com/app/installations/7/access_tokens
            accept: application/vnd.github+json
            authorization: Bearer <jwt>
            x-github-api-version: 2022-11-28

            GET https://api.github.com/repos/acme/web/commits/5394cb7f48332b2de7c17dd8b8384bbc84b7e738/statuses?per_page=100
            accept: application/vnd.github+json
            authorization: Bearer fetched
            x-github-api-version: 2022-11-28

            POST https://api.github.com/repos/acme/web/statuses/5394cb7f48332b2de7c17dd8b8384bbc84b7e738
            accept: application/vnd.github+json
            authorization: Bearer fetched
            content-type: application/json
            x-github-api-version: 2022-11-28

            {
              "context": "kustomization/webapp/0c9c2e41",
              "description": "reconciliation succeeded",
              "state": "success"
            }

            done
        "#]],
        );
    }

    #[test]
    fn an_artifact_that_is_no_commit_has_no_status() {
        let mut event = testing::error();
        let digest = format!("latest@sha256:{}", "a".repeat(64));
        event.metadata.insert("revision".to_owned(), digest);
        check(
            &GitHub,
            event,
            expect![[r#"
            done
        "#]],
        );
    }
}

//! `github`: the status of a commit.
//!
//! Better than Flux's: 400 statuses are looked through, not 50; the digest of an artifact that is
//! no commit is no failure; a description is cut to what GitHub takes; an App's token is fetched
//! within the delivery and its time; the Provider's proxy is used.

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

/// Statuses a page, GitHub's most.
const PAGE: usize = 100;

/// Pages that are looked through: with the status itself, as many requests as a conversation may
/// have.
const PAGES: usize = 4;

/// GitHub, commit statuses.
pub(super) struct GitHub;

/// As it is sent, and as it is found: the newest first.
#[derive(Serialize, Deserialize)]
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
            let token = token.clone();
            Search {
                api,
                token,
                commit,
                status,
            }
            .look(1)
        })
    }

    #[cfg(test)]
    fn example(&self) -> Example {
        let mut example = Example::answering([(200, "[]"), (201, "{}")]);
        example.target.address = "https://github.com/acme/web.git".to_owned().into();
        example
    }
}

/// A status that looks for its predecessor.
struct Search {
    api: Api,
    token: SecretString,
    commit: Commit,
    status: Status,
}

impl Search {
    /// Posts the status, unless the newest one of its name says the same.
    fn look(self, page: usize) -> Result<Exchange, ProviderError> {
        let hash = &self.commit.hash;
        let mut url = self.api.repository(&["commits", hash, "statuses"])?;
        url.query_pairs_mut()
            .append_pair("per_page", &PAGE.to_string());
        if page > 1 {
            url.query_pairs_mut().append_pair("page", &page.to_string());
        }
        // GitHub answers 202 to what it has not done yet.
        let request = signed(HttpRequest::get(url), &self.token).except(&[202]);
        Ok(Exchange::ask(request, move |reply| {
            let listed: Vec<Status> = reply.json("a list of commit statuses")?;
            let name = &self.status.context;
            let newest = listed
                .iter()
                .find(|listed| listed.context.eq_ignore_ascii_case(name));
            match newest {
                Some(newest) if newest.is_same(&self.status) => Ok(Exchange::nothing()),
                None if listed.len() == PAGE && page < PAGES => self.look(page + 1),
                Some(_) | None => self.post(),
            }
        }))
    }

    fn post(&self) -> Result<Exchange, ProviderError> {
        let url = self.api.repository(&["statuses", &self.commit.hash])?;
        let request = signed(HttpRequest::post(url), &self.token);
        Ok(Exchange::once(request.json(&self.status).except(&[202])))
    }
}

impl Status {
    fn is_same(&self, other: &Self) -> bool {
        (&self.state, &self.description) == (&other.state, &other.description)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

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

    #[test]
    fn the_newest_status_decides_whether_it_is_told() {
        let listed = |state: &str, description: Option<&str>, context: &str| json!({"state": state, "description": description, "context": context});
        let (own, words) = ("kustomization/webapp/0c9c2e41", Some("validation failed"));
        let told = |list: serde_json::Value| {
            let mut example = GitHub.example();
            example.answers[0] = testing::answer(200, &list.to_string());
            let (requests, end) = testing::converse(&GitHub, &testing::error(), &example);
            assert_eq!(end, Ok(()));
            requests.len() == 1
        };
        assert!(told(json!([listed("failure", words, own)])));
        assert!(told(json!([listed("failure", words, &own.to_uppercase())])));
        assert!(!told(json!([listed("success", words, own)])));
        assert!(!told(json!([listed("failure", None, own)])));
        assert!(!told(json!([listed("failure", words, "other")])));
        assert!(!told(json!([
            listed("success", words, own),
            listed("failure", words, own)
        ])));
    }

    #[test]
    fn four_full_pages_are_looked_through_and_no_more() {
        let mut example = GitHub.example();
        let other = json!({"state": "success", "description": null, "context": "other"});
        let page = serde_json::Value::from(vec![other; PAGE]).to_string();
        example.answers = [(); 6].map(|()| testing::answer(200, &page)).into();
        let (requests, end) = testing::converse(&GitHub, &testing::error(), &example);
        assert_eq!((requests.len(), end), (5, Ok(())));
        assert!(requests[3].contains("/statuses?per_page=100&page=4\n"));
    }
}

//! `gitea`: the status of a commit, of Gitea and Forgejo.
//!
//! Better than Flux's: the server's version is not asked for; 150 statuses are looked through, not
//! 50, and among those of one second the last counts; commits with SHA-256 hashes have statuses
//! too, and the digest of an artifact that is no commit is no failure; a long description is cut;
//! the Provider's timeout holds.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::part::commit::{self, Commit, State};
use super::part::gitea::{Api, signed};
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Takes, Target};
use crate::api::event::Event;
#[cfg(test)]
use crate::provider::testing::Example;

/// Characters of a description.
const DESCRIPTION: usize = 255;

/// Statuses a page: the most that Gitea gives.
const PAGE: usize = 50;

/// Pages that are looked through: with the question for the commit and the status itself, as many
/// requests as a conversation may have.
const PAGES: usize = 3;

/// Gitea, commit statuses.
pub(super) struct Gitea;

#[derive(Serialize)]
struct Status {
    state: &'static str,
    target_url: &'static str,
    description: String,
    context: String,
}

/// As Gitea lists it, the newest first.
#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    id: u64,
    #[serde(default)]
    status: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    context: String,
}

impl ProviderType for Gitea {
    fn name(&self) -> &'static str {
        "gitea"
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
        let commit = Commit::of(event)?;
        let status = Status {
            state: state(event)?,
            target_url: "",
            description: commit::description(event, DESCRIPTION),
            context: commit::status_name(event, target)?,
        };
        let search = Search {
            api: Api::of(target)?,
            token: target.token_or_password("gitea token cannot be empty")?,
            commit,
            status,
        };
        if search.commit.is_sha256() {
            return search.if_commit();
        }
        search.look(1)
    }

    #[cfg(test)]
    fn example(&self) -> Example {
        let mut example = Example::answering([(200, "[]"), (201, "{}")]);
        example.target.address = "https://gitea.test/acme/web.git".to_owned().into();
        example
    }
}

/// Of all forges, only Gitea is told that work goes on.
fn state(event: &Event) -> Result<&'static str, ProviderError> {
    if commit::is_progress(event) {
        return Ok("pending");
    }
    Ok(match State::of(event)? {
        State::Success => "success",
        State::Failure => "failure",
    })
}

/// A status that looks for its predecessor.
struct Search {
    api: Api,
    token: SecretString,
    commit: Commit,
    status: Status,
}

impl Search {
    /// Goes on if the repository has such a commit.
    fn if_commit(self) -> Result<Exchange, ProviderError> {
        let url = self
            .api
            .repository(&["git", "commits", &self.commit.hash])?;
        // 422 is what a repository with shorter hashes says.
        let request = signed(HttpRequest::get(url), &self.token).also(&[404, 422]);
        Ok(Exchange::ask(request, move |reply| {
            if matches!(reply.status(), Some(404 | 422)) {
                return Ok(Exchange::nothing());
            }
            self.look(1)
        }))
    }

    /// Posts the status, unless the newest one of its name says the same.
    fn look(self, page: usize) -> Result<Exchange, ProviderError> {
        let hash = &self.commit.hash;
        let mut url = self.api.repository(&["commits", hash, "statuses"])?;
        url.query_pairs_mut()
            .append_pair("limit", &PAGE.to_string())
            .append_pair("page", &page.to_string());
        let request = signed(HttpRequest::get(url), &self.token);
        Ok(Exchange::ask(request, move |reply| {
            // Gitea says null where there is none.
            let listed: Option<Vec<Listed>> = reply.json("a list of commit statuses")?;
            let listed = listed.unwrap_or_default();
            match self.newest(&listed) {
                Some(newest) if self.is_told(newest) => Ok(Exchange::nothing()),
                None if listed.len() == PAGE && page < PAGES => self.look(page + 1),
                Some(_) | None => self.post(),
            }
        }))
    }

    /// They are sorted by seconds: of one second, the last has the highest id.
    fn newest<'a>(&self, listed: &'a [Listed]) -> Option<&'a Listed> {
        listed
            .iter()
            .filter(|listed| listed.context == self.status.context)
            .reduce(|a, b| if b.id > a.id { b } else { a })
    }

    fn is_told(&self, newest: &Listed) -> bool {
        newest.status == self.status.state && newest.description == self.status.description
    }

    fn post(&self) -> Result<Exchange, ProviderError> {
        let url = self.api.repository(&["statuses", &self.commit.hash])?;
        let request = signed(HttpRequest::post(url), &self.token);
        Ok(Exchange::once(request.json(&self.status)))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::provider::testing::{self, check, check_with, converse};

    fn listed(id: u64, status: &str, context: &str) -> serde_json::Value {
        json!({"id": id, "status": status, "description": "validation failed",
               "context": context, "target_url": "", "creator": null})
    }

    #[test]
    fn a_status_is_posted_where_there_is_none() {
        check(
            &Gitea,
            testing::error(),
            expect![[r#"
            GET https://gitea.test/api/v1/repos/acme/web/commits/5394cb7f48332b2de7c17dd8b8384bbc84b7e738/statuses?limit=50&page=1
            accept: application/json
            authorization: token hush-token

            POST https://gitea.test/api/v1/repos/acme/web/statuses/5394cb7f48332b2de7c17dd8b8384bbc84b7e738
            accept: application/json
            authorization: token hush-token
            content-type: application/json

            {
              "context": "kustomization/webapp/0c9c2e41",
              "description": "validation failed",
              "state": "failure",
              "target_url": ""
            }

            done
        "#]],
        );
    }

    #[test]
    fn the_origin_revision_is_told_and_progress_is_pending() {
        let mut event = testing::info();
        event.reason = "Progressing".to_owned();
        let origin = format!("main@sha1:{}", "b".repeat(40));
        event.metadata.insert("originRevision".to_owned(), origin);
        check(
            &Gitea,
            event,
            expect![[r#"
            GET https://gitea.test/api/v1/repos/acme/web/commits/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb/statuses?limit=50&page=1
            accept: application/json
            authorization: token hush-token

            POST https://gitea.test/api/v1/repos/acme/web/statuses/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
            accept: application/json
            authorization: token hush-token
            content-type: application/json

            {
              "context": "kustomization/webapp/0c9c2e41",
              "description": "progressing",
              "state": "pending",
              "target_url": ""
            }

            done
        "#]],
        );
    }

    #[test]
    fn the_newest_status_decides_whether_it_is_told() {
        let own = "kustomization/webapp/0c9c2e41";
        let told = |list: serde_json::Value| {
            let mut example = Gitea.example();
            example.answers[0] = testing::answer(200, &list.to_string());
            let (requests, end) = converse(&Gitea, &testing::error(), &example);
            assert_eq!(end, Ok(()));
            requests.len() == 1
        };
        assert!(told(json!([listed(2, "failure", own)])));
        assert!(told(json!([
            listed(3, "success", "other"),
            listed(2, "failure", own),
            listed(1, "success", own)
        ])));
        // Of one second, in whatever order.
        assert!(!told(json!([
            listed(1, "failure", own),
            listed(2, "success", own)
        ])));
        assert!(!told(json!([listed(1, "failure", "other")])));
        assert!(!told(serde_json::Value::Null));
    }

    #[test]
    fn three_full_pages_are_looked_through_and_no_more() {
        let mut example = Gitea.example();
        let page = vec![listed(1, "success", "other"); PAGE];
        let page = serde_json::Value::from(page).to_string();
        example.answers = [(); 5].map(|()| testing::answer(200, &page)).into();
        let (requests, end) = converse(&Gitea, &testing::error(), &example);
        assert_eq!((requests.len(), end), (4, Ok(())));
    }

    #[test]
    fn a_sha256_commit_has_a_status() {
        let mut example = Gitea.example();
        example.answers.insert(0, testing::answer(200, "{}"));
        check_with(
            &Gitea,
            of_sha256(),
            &example,
            expect![[r#"
            GET https://gitea.test/api/v1/repos/acme/web/git/commits/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
            accept: application/json
            authorization: token hush-token

            GET https://gitea.test/api/v1/repos/acme/web/commits/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/statuses?limit=50&page=1
            accept: application/json
            authorization: token hush-token

            POST https://gitea.test/api/v1/repos/acme/web/statuses/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
            accept: application/json
            authorization: token hush-token
            content-type: application/json

            {
              "context": "kustomization/webapp/0c9c2e41",
              "description": "validation failed",
              "state": "failure",
              "target_url": ""
            }

            done
        "#]],
        );
    }

    #[test]
    fn an_artifact_that_is_no_commit_has_none() {
        for status in [404, 422] {
            let mut example = Gitea.example();
            example.answers = vec![testing::answer(status, "{}")];
            let (requests, end) = converse(&Gitea, &of_sha256(), &example);
            assert_eq!((requests.len(), end), (1, Ok(())), "{status}");
        }
    }

    fn of_sha256() -> Event {
        let mut event = testing::error();
        let revision = format!("main@sha256:{}", "a".repeat(64));
        event.metadata.insert("revision".to_owned(), revision);
        event
    }
}

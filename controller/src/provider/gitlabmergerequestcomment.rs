//! `gitlabmergerequestcomment`: one note an object on a merge request, kept up to date.
//!
//! Better than Flux's: the own name is asked for within the delivery and its time; the oldest 200
//! notes and the newest are looked through, not the oldest 100; the own note begins with its
//! marker, so a quotation of it is not taken for it; the event's text is no markup, no quick action
//! such as `/merge`, mentions nobody and is cut; the Provider's proxy is used.

use secrecy::SecretString;
use serde::Deserialize;

use super::part::comment;
use super::part::gitlab::{Project, signed};
use super::part::thread::{Comments, PAGE, Thread};
use super::{Context, Exchange, HttpRequest, Method, ProviderError, ProviderType, Takes, Target};
use crate::api::event::Event;
#[cfg(test)]
use crate::provider::testing::Example;

/// GitLab, notes on merge requests.
pub(super) struct GitLabMergeRequestComment;

impl ProviderType for GitLabMergeRequestComment {
    fn name(&self) -> &'static str {
        "gitlabmergerequestcomment"
    }

    fn takes(&self) -> Takes {
        Takes::ChangeRequests
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        _: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        #[derive(Deserialize)]
        struct User {
            username: String,
        }
        let number = comment::change_request(event)?.to_string();
        let marker = comment::marker("flux-mr-comment-key", event, target)?;
        let body = comment::body(&marker, event);
        let project = Project::of(target)?;
        let token = target.token_or_password("gitlab token cannot be empty")?;
        let who = signed(HttpRequest::get(project.user()?), &token);
        let comments = MergeRequest {
            project,
            number,
            token,
        };
        Ok(Exchange::ask(who, move |reply| {
            let user: User = reply.json("a user")?;
            let login = user.username;
            let thread = Thread {
                comments,
                login,
                marker,
                body,
            };
            thread.write()
        }))
    }

    #[cfg(test)]
    fn example(&self) -> Example {
        let answers = [(200, r#"{"username":"flux"}"#), (200, "[]"), (201, "{}")];
        let mut example = Example::answering(answers);
        example.target.address = "git@gitlab.com:acme/shop/web.git".to_owned().into();
        example
    }
}

struct MergeRequest {
    project: Project,
    number: String,
    token: SecretString,
}

impl MergeRequest {
    fn request(&self, method: Method, segments: &[&str]) -> Result<HttpRequest, ProviderError> {
        let own = ["merge_requests", self.number.as_str(), "notes"];
        let url = self.project.at(&[&own, segments].concat())?;
        Ok(signed(HttpRequest::new(method, url), &self.token))
    }
}

impl Comments for MergeRequest {
    fn list(&self, page: usize) -> Result<HttpRequest, ProviderError> {
        let mut url = self
            .project
            .at(&["merge_requests", &self.number, "notes"])?;
        url.query_pairs_mut()
            .append_pair("order_by", "created_at")
            .append_pair("page", &page.to_string())
            .append_pair("per_page", &PAGE.to_string())
            .append_pair("sort", "asc");
        Ok(signed(HttpRequest::get(url), &self.token))
    }

    fn create(&self) -> Result<HttpRequest, ProviderError> {
        self.request(Method::Post, &[])
    }

    fn change(&self, id: &str) -> Result<HttpRequest, ProviderError> {
        self.request(Method::Put, &[id])
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::provider::testing::{self, check, check_with, converse};

    const MARKER: &str = "<!-- flux-mr-comment-key:0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a/Kustomization/apps/webapp -->";

    #[test]
    fn a_note_is_made_where_there_is_none() {
        check(
            &GitLabMergeRequestComment,
            testing::error(),
            expect![[r#"
            GET https://gitlab.com/api/v4/user
            accept: application/json
            private-token: hush-token

            GET https://gitlab.com/api/v4/projects/acme%2Fshop%2Fweb/merge_requests/7/notes?order_by=created_at&page=1&per_page=100&sort=asc
            accept: application/json
            private-token: hush-token

            POST https://gitlab.com/api/v4/projects/acme%2Fshop%2Fweb/merge_requests/7/notes
            accept: application/json
            content-type: application/json
            private-token: hush-token

            {
              "body": "<!-- flux-mr-comment-key:0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a/Kustomization/apps/webapp -->\n\n## Flux Status\n\n⚠️ Kustomization/apps/webapp\n\nvalidation failed: &lt;Ingress> &amp; more\nsecond line\n\nMetadata:\n* `cluster`: prod\n* `revision`: main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738\n* `summary`: prod impacted\n"
            }

            done
        "#]],
        );
    }

    #[test]
    fn the_own_note_on_the_second_page_is_changed() {
        let mut example = GitLabMergeRequestComment.example();
        let other = json!({"id": 1, "body": MARKER, "author": {"username": "somebody"}});
        let first = serde_json::Value::from(vec![other; PAGE]).to_string();
        let second = json!([
            {"id": 2, "body": format!("> {MARKER}"), "author": {"username": "flux"}},
            {"id": 3, "body": format!("{MARKER}\n\nold"), "author": {"username": "flux"}},
        ]);
        example.answers[1] = testing::answer(200, &first);
        example.answers[2] = testing::answer(200, &second.to_string());
        check_with(
            &GitLabMergeRequestComment,
            testing::info(),
            &example,
            expect![[r#"
                GET https://gitlab.com/api/v4/user
                accept: application/json
                private-token: hush-token

                GET https://gitlab.com/api/v4/projects/acme%2Fshop%2Fweb/merge_requests/7/notes?order_by=created_at&page=1&per_page=100&sort=asc
                accept: application/json
                private-token: hush-token

                GET https://gitlab.com/api/v4/projects/acme%2Fshop%2Fweb/merge_requests/7/notes?order_by=created_at&page=2&per_page=100&sort=asc
                accept: application/json
                private-token: hush-token

                PUT https://gitlab.com/api/v4/projects/acme%2Fshop%2Fweb/merge_requests/7/notes/3
                accept: application/json
                content-type: application/json
                private-token: hush-token

                {
                  "body": "<!-- flux-mr-comment-key:0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a/Kustomization/apps/webapp -->\n\n## Flux Status\n\nℹ️ Kustomization/apps/webapp\n\nReconciliation finished\n\nMetadata:\n* `cluster`: prod\n* `revision`: main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738\n* `summary`: prod impacted\n"
                }

                done
            "#]],
        );
    }

    #[test]
    fn three_full_pages_are_looked_through_and_no_more() {
        let mut example = GitLabMergeRequestComment.example();
        let page = vec![json!({"id": 1, "body": null, "author": null}); PAGE];
        let page = serde_json::Value::from(page).to_string();
        example.answers.truncate(1);
        let pages = [(); 4].map(|()| testing::answer(200, &page));
        example.answers.extend(pages);
        let (requests, end) = converse(&GitLabMergeRequestComment, &testing::info(), &example);
        assert_eq!((requests.len(), end), (5, Ok(())));
    }
}

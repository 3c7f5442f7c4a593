//! `giteapullrequestcomment`: one comment an object on a pull request of Gitea or Forgejo, kept up
//! to date.
//!
//! Better than Flux's: the server's version is not asked for, and the own name within the delivery
//! and its time; the own comment begins with its marker, so a quotation of it is not taken for it;
//! the event's text is no markup, mentions nobody and is cut; pull request 0 is refused.

use secrecy::SecretString;
use serde::Deserialize;

use super::part::comment;
use super::part::gitea::{Api, signed};
use super::part::thread::{Comments, PAGE, Thread};
use super::{Context, Exchange, HttpRequest, Method, ProviderError, ProviderType, Takes, Target};
use crate::api::event::Event;
#[cfg(test)]
use crate::provider::testing::Example;

/// Gitea, comments on pull requests.
pub(super) struct GiteaPullRequestComment;

impl ProviderType for GiteaPullRequestComment {
    fn name(&self) -> &'static str {
        "giteapullrequestcomment"
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
            login: String,
        }
        let number = comment::change_request(event)?.to_string();
        let marker = comment::marker("flux-pr-comment-key", event, target)?;
        let body = comment::body(&marker, event);
        let api = Api::of(target)?;
        let token = target.token_or_password("gitea token cannot be empty")?;
        let who = signed(HttpRequest::get(api.user()?), &token);
        let comments = PullRequest { api, number, token };
        Ok(Exchange::ask(who, move |reply| {
            let user: User = reply.json("a user")?;
            let login = user.login;
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
        let answers = [
            (200, r#"{"login":"flux","username":"flux"}"#),
            (200, "[]"),
            (201, "{}"),
        ];
        let mut example = Example::answering(answers);
        example.target.address = "https://gitea.test/acme/web".to_owned().into();
        example
    }
}

struct PullRequest {
    api: Api,
    number: String,
    token: SecretString,
}

impl Comments for PullRequest {
    fn list(&self, page: usize) -> Result<HttpRequest, ProviderError> {
        let mut url = self.api.repository(&["issues", &self.number, "comments"])?;
        url.query_pairs_mut()
            .append_pair("limit", &PAGE.to_string())
            .append_pair("page", &page.to_string());
        Ok(signed(HttpRequest::get(url), &self.token))
    }

    fn create(&self) -> Result<HttpRequest, ProviderError> {
        let url = self.api.repository(&["issues", &self.number, "comments"])?;
        Ok(signed(HttpRequest::post(url), &self.token))
    }

    fn change(&self, id: &str) -> Result<HttpRequest, ProviderError> {
        let url = self.api.repository(&["issues", "comments", id])?;
        Ok(signed(HttpRequest::new(Method::Patch, url), &self.token))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::provider::testing::{self, check, check_with, converse};

    const MARKER: &str = "<!-- flux-pr-comment-key:0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a/Kustomization/apps/webapp -->";

    #[test]
    fn a_comment_is_made_where_there_is_none() {
        check(
            &GiteaPullRequestComment,
            testing::error(),
            expect![[r#"
            GET https://gitea.test/api/v1/user
            accept: application/json
            authorization: token hush-token

            GET https://gitea.test/api/v1/repos/acme/web/issues/7/comments?limit=100&page=1
            accept: application/json
            authorization: token hush-token

            POST https://gitea.test/api/v1/repos/acme/web/issues/7/comments
            accept: application/json
            authorization: token hush-token
            content-type: application/json

            {
              "body": "<!-- flux-pr-comment-key:0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a/Kustomization/apps/webapp -->\n\n## Flux Status\n\n⚠️ Kustomization/apps/webapp\n\nvalidation failed: &lt;Ingress> &amp; more\nsecond line\n\nMetadata:\n* `cluster`: prod\n* `revision`: main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738\n* `summary`: prod impacted\n"
            }

            done
        "#]],
        );
    }

    #[test]
    fn the_own_comment_is_found_among_all_that_a_server_without_pages_gives() {
        let mut example = GiteaPullRequestComment.example();
        let by = |login: &str| json!({"login": login, "username": login});
        let mut list = vec![json!({"id": 1, "body": MARKER, "user": by("somebody")}); 120];
        list.push(json!({"id": 2, "body": format!("> {MARKER}"), "user": by("flux")}));
        list.push(json!({"id": 3, "body": format!("{MARKER}\n\nold"), "user": by("flux")}));
        let list = serde_json::Value::from(list).to_string();
        example.answers[1] = testing::answer(200, &list);
        check_with(
            &GiteaPullRequestComment,
            testing::info(),
            &example,
            expect![[r#"
                GET https://gitea.test/api/v1/user
                accept: application/json
                authorization: token hush-token

                GET https://gitea.test/api/v1/repos/acme/web/issues/7/comments?limit=100&page=1
                accept: application/json
                authorization: token hush-token

                PATCH https://gitea.test/api/v1/repos/acme/web/issues/comments/3
                accept: application/json
                authorization: token hush-token
                content-type: application/json

                {
                  "body": "<!-- flux-pr-comment-key:0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a/Kustomization/apps/webapp -->\n\n## Flux Status\n\nℹ️ Kustomization/apps/webapp\n\nReconciliation finished\n\nMetadata:\n* `cluster`: prod\n* `revision`: main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738\n* `summary`: prod impacted\n"
                }

                done
            "#]],
        );
    }

    #[test]
    fn a_server_without_pages_is_asked_once() {
        let mut example = GiteaPullRequestComment.example();
        let list = vec![json!({"id": 1, "body": "", "user": null}); 250];
        let list = serde_json::Value::from(list).to_string();
        example.answers[1] = testing::answer(200, &list);
        let (requests, end) = converse(&GiteaPullRequestComment, &testing::info(), &example);
        assert_eq!((requests.len(), end), (3, Ok(())));
    }
}

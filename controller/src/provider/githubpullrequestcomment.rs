//! `githubpullrequestcomment`: one comment an object on a pull request, kept up to date.
//!
//! Better than Flux's: the own name is asked for within the delivery and its time; the oldest 200
//! comments and the newest are looked through, not the oldest 100; the own comment begins with its
//! marker, so a quotation of it is not taken for it; the event's text is no markup, mentions nobody
//! and is cut to what GitHub takes; pull request 0, which would be the whole repository, is refused.

use secrecy::SecretString;
use serde::Deserialize;

use super::part::comment;
use super::part::github::{Api, app_request, authorized, signed};
use super::part::thread::{Comments, PAGE, Thread};
use super::{
    Context, Exchange, HttpRequest, Method, ProviderError, ProviderType, Reply, Takes, Target,
};
use crate::api::event::Event;
#[cfg(test)]
use crate::provider::testing::Example;

/// GitHub, comments on pull requests.
pub(super) struct GitHubPullRequestComment;

impl ProviderType for GitHubPullRequestComment {
    fn name(&self) -> &'static str {
        "githubpullrequestcomment"
    }

    fn takes(&self) -> Takes {
        Takes::ChangeRequests
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        context: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let number = comment::change_request(event)?.to_string();
        let marker = comment::marker("flux-pr-comment-key", event, target)?;
        let body = comment::body(&marker, event);
        let api = Api::of(target)?;
        // Only an App without a token of the Target's own has a name to be asked for elsewhere.
        let app = target
            .github_app
            .as_ref()
            .filter(|_| target.token_or_password("github token").is_err())
            .map(|app| app_request(app, context.now))
            .transpose()?;
        authorized(target, context.now, move |token| {
            let (who, login): (_, Login) = match app {
                Some(request) => (request, app_login),
                None => (signed(HttpRequest::get(api.user()?), token), user_login),
            };
            let comments = PullRequest {
                api,
                number,
                token: token.clone(),
            };
            Ok(Exchange::ask(who, move |reply| {
                Thread {
                    comments,
                    login: login(reply)?,
                    marker,
                    body,
                }
                .write()
            }))
        })
    }

    #[cfg(test)]
    fn example(&self) -> Example {
        let answers = [(200, r#"{"login":"flux-bot"}"#), (200, "[]"), (201, "{}")];
        let mut example = Example::answering(answers);
        example.target.address = "https://github.com/acme/web".to_owned().into();
        example
    }
}

/// Reads the own name.
type Login = fn(&Reply) -> Result<String, ProviderError>;

fn user_login(reply: &Reply) -> Result<String, ProviderError> {
    #[derive(Deserialize)]
    struct User {
        login: String,
    }
    let user: User = reply.json("a user")?;
    Ok(user.login)
}

fn app_login(reply: &Reply) -> Result<String, ProviderError> {
    #[derive(Deserialize)]
    struct App {
        slug: String,
    }
    let app: App = reply.json("an App")?;
    Ok(format!("{}[bot]", app.slug))
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
            .append_pair("per_page", &PAGE.to_string())
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
    use crate::provider::testing::{self, check, check_with};

    #[test]
    fn a_comment_is_made_where_there_is_none() {
        check(
            &GitHubPullRequestComment,
            testing::error(),
            expect![[r#"
            GET https://api.github.com/user
            accept: application/vnd.github+json
            authorization: Bearer hush-token
            x-github-api-version: 2022-11-28

            GET https://api.github.com/repos/acme/web/issues/7/comments?per_page=100&page=1
            accept: application/vnd.github+json
            authorization: Bearer hush-token
            x-github-api-version: 2022-11-28

            POST https://api.github.com/repos/acme/web/issues/7/comments
            accept: application/vnd.github+json
            authorization: Bearer hush-token
            content-type: application/json
            x-github-api-version: 2022-11-28

            {
              "body": "<!-- flux-pr-comment-key:0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a/Kustomization/apps/webapp -->\n\n## Flux Status\n\n⚠️ Kustomization/apps/webapp\n\nvalidation failed: &lt;Ingress> &amp; more\nsecond line\n\nMetadata:\n* `cluster`: prod\n* `revision`: main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738\n* `summary`: prod impacted\n"
            }

            done
        "#]],
        );
    }

    #[test]
    fn the_own_comment_is_changed_and_a_quoted_marker_is_not_it() {
        let mut example = GitHubPullRequestComment.example();
        let marker = "<!-- flux-pr-comment-key:0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a/Kustomization/apps/webapp -->";
        let list = json!([
            {"id": 1, "body": format!("> {marker}"), "user": {"login": "flux-bot"}},
            {"id": 2, "body": marker, "user": {"login": "somebody"}},
            {"id": 3, "body": format!("{marker}\n\nold"), "user": {"login": "flux-bot"}},
        ])
        .to_string();
        example.answers[1] = testing::answer(200, &list);
        check_with(
            &GitHubPullRequestComment,
            testing::info(),
            &example,
            expect![[r#"
                GET https://api.github.com/user
                accept: application/vnd.github+json
                authorization: Bearer hush-token
                x-github-api-version: 2022-11-28

                GET https://api.github.com/repos/acme/web/issues/7/comments?per_page=100&page=1
                accept: application/vnd.github+json
                authorization: Bearer hush-token
                x-github-api-version: 2022-11-28

                PATCH https://api.github.com/repos/acme/web/issues/comments/3
                accept: application/vnd.github+json
                authorization: Bearer hush-token
                content-type: application/json
                x-github-api-version: 2022-11-28

                {
                  "body": "<!-- flux-pr-comment-key:0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a/Kustomization/apps/webapp -->\n\n## Flux Status\n\nℹ️ Kustomization/apps/webapp\n\nReconciliation finished\n\nMetadata:\n* `cluster`: prod\n* `revision`: main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738\n* `summary`: prod impacted\n"
                }

                done
            "#]],
        );
    }

    #[test]
    fn three_full_pages_are_looked_through_and_no_more() {
        let mut example = GitHubPullRequestComment.example();
        let page = vec![json!({"id": 1, "body": null, "user": null}); PAGE];
        let page = serde_json::Value::from(page).to_string();
        let mut answers = vec![testing::answer(200, r#"{"login":"flux-bot"}"#)];
        answers.extend([(); 4].map(|()| testing::answer(200, &page)));
        example.answers = answers;
        let (requests, end) =
            testing::converse(&GitHubPullRequestComment, &testing::info(), &example);
        assert_eq!((requests.len(), end), (5, Ok(())));
    }

    #[test]
    fn an_app_knows_itself_by_its_slug() {
        let mut example = GitHubPullRequestComment.example();
        example.target.token = None;
        example.target.github_app = Some(testing::app());
        let marker = "<!-- flux-pr-comment-key:0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a/Kustomization/apps/webapp -->";
        let list = json!([{"id": 3, "body": marker, "user": {"login": "flux[bot]"}}]);
        example.answers[0] = testing::answer(200, r#"{"slug":"flux"}"#);
        example.answers[1] = testing::answer(200, &list.to_string());
        check_with(
            &GitHubPullRequestComment,
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

                GET https://api.github.com/app
                accept: application/vnd.github+json
                authorization: Bearer <jwt>
                x-github-api-version: 2022-11-28

                GET https://api.github.com/repos/acme/web/issues/7/comments?per_page=100&page=1
                accept: application/vnd.github+json
                authorization: Bearer fetched
                x-github-api-version: 2022-11-28

                PATCH https://api.github.com/repos/acme/web/issues/comments/3
                accept: application/vnd.github+json
                authorization: Bearer fetched
                content-type: application/json
                x-github-api-version: 2022-11-28

                {
                  "body": "<!-- flux-pr-comment-key:0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a/Kustomization/apps/webapp -->\n\n## Flux Status\n\nℹ️ Kustomization/apps/webapp\n\nReconciliation finished\n\nMetadata:\n* `cluster`: prod\n* `revision`: main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738\n* `summary`: prod impacted\n"
                }

                done
            "#]],
        );
    }

    #[test]
    fn a_token_wins_over_an_app_and_names_its_user() {
        let mut example = GitHubPullRequestComment.example();
        example.target.github_app = Some(testing::app());
        let (requests, end) =
            testing::converse(&GitHubPullRequestComment, &testing::info(), &example);
        assert_eq!((requests.len(), end), (3, Ok(())));
        assert!(requests[0].starts_with("GET https://api.github.com/user\n"));
        assert!(
            requests
                .iter()
                .all(|request| request.contains("Bearer hush-token\n"))
        );
    }

    #[test]
    fn where_all_are_too_many_the_own_comment_is_found_among_the_newest() {
        let mut example = GitHubPullRequestComment.example();
        let page = vec![json!({"id": 1, "body": null, "user": null}); PAGE];
        let mut page = testing::answer(200, &serde_json::Value::from(page).to_string());
        let link = r#"<https://api.github.com/repositories/1/issues/7/comments?per_page=100&page=9>; rel="last""#;
        page.headers = vec![("link".to_owned(), link.to_owned())];
        let marker = "<!-- flux-pr-comment-key:0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a/Kustomization/apps/webapp -->";
        let newest = json!([{"id": 812, "body": marker, "user": {"login": "flux-bot"}}]);
        example.answers.truncate(1);
        example.answers.extend([page.clone(), page]);
        example
            .answers
            .push(testing::answer(200, &newest.to_string()));
        let (requests, end) =
            testing::converse(&GitHubPullRequestComment, &testing::info(), &example);
        assert_eq!(end, Ok(()));
        let first_lines: Vec<_> = requests
            .iter()
            .filter_map(|text| text.lines().next())
            .collect();
        let comments = "https://api.github.com/repos/acme/web/issues";
        assert_eq!(
            first_lines,
            [
                "GET https://api.github.com/user".to_owned(),
                format!("GET {comments}/7/comments?per_page=100&page=1"),
                format!("GET {comments}/7/comments?per_page=100&page=2"),
                format!("GET {comments}/7/comments?per_page=100&page=9"),
                format!("PATCH {comments}/comments/812"),
            ]
        );
    }
}

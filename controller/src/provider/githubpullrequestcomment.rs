//! `githubpullrequestcomment`: one comment an object on a pull request, kept up to date.

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::part::comment;
use super::part::github::{Api, app_request, authorized, signed};
use super::{Context, Exchange, HttpRequest, Method, ProviderError, ProviderType, Takes, Target};
use crate::api::event::Event;
#[cfg(test)]
use crate::provider::testing::Example;

/// Comments a page, GitHub's most.
const PAGE: usize = 100;

/// Pages that are looked through: with the question for the own name and the comment itself, as
/// many requests as a conversation may have.
const PAGES: usize = 3;

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
            let token = token.clone();
            let thread = |login| Thread {
                api,
                number,
                marker,
                body,
                login,
                token,
            };
            who_am_i(app, thread)
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

/// The comments of a pull request, as seen by one who looks for an own one.
struct Thread {
    api: Api,
    number: String,
    marker: String,
    body: String,
    login: String,
    token: SecretString,
}

/// Asks for the own login, then looks for the comment.
fn who_am_i(
    app: Option<HttpRequest>,
    thread: impl FnOnce(String) -> Thread + Send + 'static,
) -> Result<Exchange, ProviderError> {
    #[derive(Deserialize)]
    struct User {
        login: String,
    }
    #[derive(Deserialize)]
    struct App {
        slug: String,
    }
    if let Some(request) = app {
        return Ok(Exchange::ask(request, |reply| {
            let app: App = reply.json("an App")?;
            thread(format!("{}[bot]", app.slug)).look(1)
        }));
    }
    // The login is part of the thread, but the question for it needs the token.
    let unnamed = thread(String::new());
    let request = signed(HttpRequest::get(unnamed.api.user()?), &unnamed.token);
    Ok(Exchange::ask(request, |reply| {
        let user: User = reply.json("a user")?;
        let login = user.login;
        Thread { login, ..unnamed }.look(1)
    }))
}

#[derive(Deserialize)]
struct Comment {
    id: u64,
    #[serde(default)]
    body: Option<String>,
    user: Option<Author>,
}

#[derive(Deserialize)]
struct Author {
    login: String,
}

impl Thread {
    /// Looks for the own comment, page by page: it is among the older ones, as it stays.
    fn look(self, page: usize) -> Result<Exchange, ProviderError> {
        let mut url = self.api.repository(&["issues", &self.number, "comments"])?;
        url.query_pairs_mut()
            .append_pair("per_page", &PAGE.to_string())
            .append_pair("page", &page.to_string());
        let request = signed(HttpRequest::get(url), &self.token);
        Ok(Exchange::ask(request, move |reply| {
            let comments: Vec<Comment> = reply.json("a list of comments")?;
            match comments.iter().find(|comment| self.is_own(comment)) {
                Some(comment) => self.write(Some(comment.id)),
                None if comments.len() < PAGE || page == PAGES => self.write(None),
                None => self.look(page + 1),
            }
        }))
    }

    fn is_own(&self, comment: &Comment) -> bool {
        let by = comment.user.as_ref().map(|user| user.login.as_str());
        let text = comment.body.as_deref().unwrap_or_default();
        by == Some(&self.login) && comment::is_marked(text, &self.marker)
    }

    fn write(&self, id: Option<u64>) -> Result<Exchange, ProviderError> {
        let (method, url) = match id.map(|id| id.to_string()) {
            Some(id) => {
                let url = self.api.repository(&["issues", "comments", &id])?;
                (Method::Patch, url)
            }
            None => {
                let url = self.api.repository(&["issues", &self.number, "comments"])?;
                (Method::Post, url)
            }
        };
        let request = signed(HttpRequest::new(method, url), &self.token);
        Ok(Exchange::once(request.json(&json!({"body": self.body}))))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

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
}

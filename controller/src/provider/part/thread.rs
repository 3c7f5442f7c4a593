//! The comments of a change request, looked through for the own one, which is made or changed.

use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::comment;
use crate::provider::conversation::Exchange;
use crate::provider::error::ProviderError;
use crate::provider::http::HttpRequest;
use crate::provider::request::Reply;

/// Comments a page: the most that forges give.
pub(in crate::provider) const PAGE: usize = 100;

/// Pages that are looked through, the oldest two and the newest: with the question for the own name
/// and the comment itself, as many requests as a conversation may have.
const PAGES: usize = 3;

/// The comments of one change request, as its forge's API has them. Its requests are authorised.
pub(in crate::provider) trait Comments: Send + 'static {
    /// Lists a page of [`PAGE`] comments, the oldest first; counted from 1.
    fn list(&self, page: usize) -> Result<HttpRequest, ProviderError>;
    /// Makes a comment.
    fn create(&self) -> Result<HttpRequest, ProviderError>;
    /// Changes the comment of this id.
    fn change(&self, id: &str) -> Result<HttpRequest, ProviderError>;
}

/// What is to stand among the comments.
pub(in crate::provider) struct Thread<C> {
    /// The comments.
    pub(in crate::provider) comments: C,
    /// Who writes.
    pub(in crate::provider) login: String,
    /// How the own comment begins.
    pub(in crate::provider) marker: String,
    /// The own comment, whole.
    pub(in crate::provider) body: String,
}

#[derive(Deserialize)]
struct Comment {
    id: u64,
    #[serde(default)]
    body: Option<String>,
    /// GitHub's and Gitea's.
    #[serde(default)]
    user: Option<Author>,
    /// GitLab's.
    #[serde(default)]
    author: Option<Author>,
}

#[derive(Deserialize)]
struct Author {
    /// GitHub's and Gitea's.
    #[serde(default)]
    login: Option<String>,
    /// GitLab's; Gitea has both.
    #[serde(default)]
    username: Option<String>,
}

impl Comment {
    fn by(&self) -> Option<&str> {
        let author = self.user.as_ref().or(self.author.as_ref())?;
        author.login.as_deref().or(author.username.as_deref())
    }
}

impl<C: Comments> Thread<C> {
    /// Looks for the own comment and writes it.
    pub(in crate::provider) fn write(self) -> Result<Exchange, ProviderError> {
        self.look(1, 1)
    }

    /// Page by page: it is among the older ones, as it stays, or where all are too many, among the
    /// newest, where it was made.
    fn look(self, asked: usize, page: usize) -> Result<Exchange, ProviderError> {
        let request = self.comments.list(page)?;
        Ok(Exchange::ask(request, move |reply| {
            let comments: Vec<Comment> = reply.json("a list of comments")?;
            let own = comments.iter().find(|comment| self.is_own(comment));
            let request = match own {
                Some(own) => self.comments.change(&own.id.to_string())?,
                // More than a page are all: not every forge counts pages.
                None if comments.len() == PAGE && asked < PAGES => {
                    let last = last_page(reply).filter(|last| asked + 1 == PAGES && *last > page);
                    return self.look(asked + 1, last.unwrap_or(page + 1));
                }
                None => self.comments.create()?,
            };
            Ok(Exchange::once(request.json(&json!({"body": self.body}))))
        }))
    }

    fn is_own(&self, comment: &Comment) -> bool {
        let text = comment.body.as_deref().unwrap_or_default();
        comment.by() == Some(&self.login) && comment::is_marked(text, &self.marker)
    }
}

/// The number of the last page, as GitHub and GitLab tell it in `Link`.
fn last_page(reply: &Reply) -> Option<usize> {
    let Reply::Http(reply) = reply else {
        return None;
    };
    let mut links = reply.header("link")?.split(',');
    let last = links.find(|link| link.contains("rel=\"last\""))?;
    let (_, rest) = last.split_once('<')?;
    let (address, _) = rest.split_once('>')?;
    let url = Url::parse(address).ok()?;
    let (_, page) = url.query_pairs().find(|(name, _)| name == "page")?;
    page.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::testing::answer;

    #[test]
    fn the_last_page_is_read_from_the_links() {
        let last = |link: &str| {
            let mut reply = answer(200, "[]");
            reply.headers = vec![("link".to_owned(), link.to_owned())];
            last_page(&Reply::Http(reply))
        };
        let next = "<https://host.test/x?per_page=100&page=2>; rel=\"next\"";
        let end = "<https://host.test/x?per_page=100&page=9>; rel=\"last\"";
        assert_eq!(last(&format!("{next}, {end}")), Some(9));
        assert_eq!(last(&format!("{end},{next}")), Some(9));
        for link in [
            next,
            "",
            "rel=\"last\"",
            "<>; rel=\"last\"",
            "<https://host.test/x?page=-1>; rel=\"last\"",
            "<https://host.test/x>; rel=\"last\"",
        ] {
            assert_eq!(last(link), None, "{link}");
        }
        assert_eq!(last_page(&Reply::Delivered), None);
    }
}

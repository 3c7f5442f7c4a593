//! What both GitLab types share: the API's address and its headers.

use secrecy::SecretString;
use url::Url;

use super::git::{Repository, below};
use crate::provider::error::ProviderError;
use crate::provider::http::HttpRequest;
use crate::provider::target::Target;

/// A project, and how its API is asked.
pub(in crate::provider) struct Project {
    base: Url,
    id: String,
}

impl Project {
    /// The project of a Target: a path of any depth, or a number.
    pub(in crate::provider) fn of(target: &Target) -> Result<Self, ProviderError> {
        let repository = Repository::of(target)?;
        if repository.id.is_empty() {
            return Err(ProviderError::Config(
                "the address does not end in the path or the number of a project".to_owned(),
            ));
        }
        Ok(Self {
            base: below(&repository.host, ["api", "v4"])?,
            id: repository.id,
        })
    }

    /// `projects/<id>/<segments>`.
    pub(in crate::provider) fn at(&self, segments: &[&str]) -> Result<Url, ProviderError> {
        let own = ["projects", self.id.as_str()];
        below(&self.base, own.into_iter().chain(segments.iter().copied()))
    }

    /// `user`: who a token belongs to.
    pub(in crate::provider) fn user(&self) -> Result<Url, ProviderError> {
        below(&self.base, ["user"])
    }
}

/// The headers that every request has.
pub(in crate::provider) fn signed(request: HttpRequest, token: &SecretString) -> HttpRequest {
    request
        .header("Accept", "application/json")
        .header("PRIVATE-TOKEN", token.clone())
}

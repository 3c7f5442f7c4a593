//! What both Gitea types share: the API's address and its headers.

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::git::{Repository, below};
use crate::provider::error::ProviderError;
use crate::provider::http::HttpRequest;
use crate::provider::target::Target;

/// The repository of a Target, and how its API is asked.
pub(in crate::provider) struct Api {
    base: Url,
    owner: String,
    name: String,
}

impl Api {
    /// The API of a Target's repository.
    pub(in crate::provider) fn of(target: &Target) -> Result<Self, ProviderError> {
        let repository = Repository::of(target)?;
        let (owner, name) = repository.owner_and_name("invalid repository id \"*****\"")?;
        Ok(Self {
            base: below(&repository.host, ["api", "v1"])?,
            owner: owner.to_owned(),
            name: name.to_owned(),
        })
    }

    /// `repos/<owner>/<name>/<segments>`.
    pub(in crate::provider) fn repository(&self, segments: &[&str]) -> Result<Url, ProviderError> {
        let own = ["repos", self.owner.as_str(), self.name.as_str()];
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
        .header("Authorization", format!("token {}", token.expose_secret()))
}

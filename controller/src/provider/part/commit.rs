//! What a commit status says: which commit, how it went, under which name.

use super::subject;
use crate::api::event::Event;
use crate::provider::error::ProviderError;
use crate::provider::target::Target;

/// The hash of the commit that an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::provider) struct Commit {
    /// 40 hexadecimal characters, or 64 of a repository with SHA-256 objects.
    pub(in crate::provider) hash: String,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::provider) enum State {
    /// An info.
    Success,
    /// An error.
    Failure,
}

impl Commit {
    /// The commit of an event, from `commit`, `originRevision` or `revision`.
    pub(in crate::provider) fn of(event: &Event) -> Result<Self, ProviderError> {
        let revision = ["commit", "originRevision", "revision"]
            .into_iter()
            .find_map(|key| event.metadata.get(key).filter(|value| !value.is_empty()))
            .ok_or_else(|| ProviderError::Event("missing revision metadata".to_owned()))?;
        Self::parse(revision).ok_or_else(|| {
            ProviderError::Event(format!(
                "failed to extract commit hash from '{revision}' revision"
            ))
        })
    }

    /// `main@sha1:<hash>`, `main/<hash>` or the hash alone.
    fn parse(revision: &str) -> Option<Self> {
        let hash = revision
            .rsplit_once(':')
            .or_else(|| revision.rsplit_once('/'))
            .map_or(revision, |(_, hash)| hash);
        let is_hash = matches!(hash.len(), 40 | 64) && hash.bytes().all(|b| b.is_ascii_hexdigit());
        is_hash.then(|| Self {
            hash: hash.to_owned(),
        })
    }

    /// Whether it is of SHA-256: of a git repository with such objects, or the digest of an
    /// artifact that is no commit at all.
    pub(in crate::provider) fn is_sha256(&self) -> bool {
        self.hash.len() == 64
    }
}

impl State {
    /// The state of an event's severity.
    pub(in crate::provider) fn of(event: &Event) -> Result<Self, ProviderError> {
        match event.severity.as_str() {
            "info" => Ok(Self::Success),
            "error" => Ok(Self::Failure),
            other => Err(ProviderError::Event(format!(
                "a commit status has no state for the severity {other:?}"
            ))),
        }
    }
}

/// Whether the event only says that work goes on, which most forges are not told.
pub(in crate::provider) fn is_progress(event: &Event) -> bool {
    event.reason == "Progressing"
}

/// The name of a commit status: what the Provider's expression says, or kind, name and the first
/// part of the Provider's UID.
pub(in crate::provider) fn status_name(event: &Event, target: &Target) -> String {
    if let Some(name) = &target.commit_status {
        return name.clone();
    }
    let uid = target.uid.split('-').next().unwrap_or_default();
    format!("{}/{uid}", subject::short_name(event)).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_found_in_every_form_of_a_revision() {
        let sha1 = "5394cb7f48332b2de7c17dd8b8384bbc84b7e738";
        for revision in [
            sha1.to_owned(),
            format!("sha1:{sha1}"),
            format!("main@sha1:{sha1}"),
            format!("feature/a@sha1:{sha1}"),
            format!("main/{sha1}"),
            format!("feature/a/{sha1}"),
        ] {
            let commit = Commit::parse(&revision).unwrap();
            assert!(commit.hash == sha1 && !commit.is_sha256(), "{revision}");
        }
        assert!(Commit::parse(&"a".repeat(64)).unwrap().is_sha256());
        for revision in ["", "main", "main@sha1:5394", &"g".repeat(40)] {
            assert_eq!(Commit::parse(revision), None, "{revision:?}");
        }
    }
}

//! What a commit status says: which commit, how it went, under which name.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::{subject, text};
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

/// Commit and state, for a forge whose commits have SHA-1 hashes only. `None` where there is
/// nothing to tell it: work goes on, or the revision is the digest of an artifact.
pub(in crate::provider) fn sha1_state(
    event: &Event,
) -> Result<Option<(Commit, State)>, ProviderError> {
    if is_progress(event) {
        return Ok(None);
    }
    let commit = Commit::of(event)?;
    if commit.is_sha256() {
        return Ok(None);
    }
    Ok(Some((commit, State::of(event)?)))
}

/// The name of a commit status: what the Provider's expression says, or kind, name and the first
/// part of the Provider's UID.
///
/// # Errors
/// [`ProviderError::Config`] where the expression says nothing.
pub(in crate::provider) fn status_name(
    event: &Event,
    target: &Target,
) -> Result<String, ProviderError> {
    match &target.commit_status {
        Some(name) if name.is_empty() => Err(ProviderError::Config(
            "commit status cannot be empty; see spec.commitStatusExpr".to_owned(),
        )),
        Some(name) => Ok(name.clone()),
        None => {
            let uid = target.uid.split('-').next().unwrap_or_default();
            Ok(format!("{}/{uid}", subject::short_name(event)).to_lowercase())
        }
    }
}

/// What Bitbucket calls a status by: the SHA-1 of its name, in hexadecimal.
pub(in crate::provider) fn status_key(name: &str) -> String {
    hex::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, name.as_bytes()))
}

/// What the status says: the reason in words, of at most `limit` characters.
pub(in crate::provider) fn description(event: &Event, limit: usize) -> String {
    text::cut(&subject::reason_in_words(event), limit).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::testing;

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

    #[test]
    fn the_commit_key_comes_before_the_origin_revision_and_that_before_the_revision() {
        let mut event = testing::info();
        let mut found = |key: &str, hash: &str| {
            let revision = hash.repeat(40);
            event.metadata.insert(key.to_owned(), revision.clone());
            assert_eq!(Commit::of(&event), Ok(Commit { hash: revision }), "{key}");
        };
        found("revision", "1");
        found("originRevision", "2");
        found("commit", "3");
        event.metadata.clear();
        let error = Commit::of(&event).unwrap_err().to_string();
        assert_eq!(
            error,
            "the event cannot be sent there: missing revision metadata"
        );
    }

    #[test]
    fn a_status_is_named_after_object_and_provider_unless_an_expression_says_otherwise() {
        let mut target = testing::Example::default().target;
        let name = |target: &Target| status_name(&testing::error(), target);
        assert_eq!(
            name(&target),
            Ok("kustomization/webapp/0c9c2e41".to_owned())
        );
        target.commit_status = Some("Prod/Web".to_owned());
        assert_eq!(name(&target), Ok("Prod/Web".to_owned()));
        target.commit_status = Some(String::new());
        let error = name(&target).unwrap_err().to_string();
        assert_eq!(
            error,
            "the Provider cannot be used: commit status cannot be empty; see spec.commitStatusExpr"
        );
    }

    #[test]
    fn an_event_of_another_severity_has_no_state() {
        let mut event = testing::error();
        event.severity = "trace".to_owned();
        let error = sha1_state(&event).unwrap_err();
        assert_eq!((error.category(), error.is_permanent()), ("event", true));
    }
}

//! Addresses of git repositories.

use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret;
use url::Url;

use crate::provider::error::ProviderError;
use crate::provider::target::Target;

/// A repository on a forge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::provider) struct Repository {
    /// `https://host[:port]`, without a path.
    pub(in crate::provider) host: Url,
    /// The path, without `/` at its ends and without `.git`.
    pub(in crate::provider) id: String,
}

impl Repository {
    /// The repository of a Target's address: a URL, or `user@host:path`. SSH stands for HTTPS.
    pub(in crate::provider) fn of(target: &Target) -> Result<Self, ProviderError> {
        Self::parse(target.address.expose_secret()).ok_or_else(|| {
            ProviderError::Config(
                "the address is not the URL of a git repository, such as https://host/owner/name"
                    .to_owned(),
            )
        })
    }

    fn parse(address: &str) -> Option<Self> {
        let address = address.trim();
        let spelled = match address.split_once("://") {
            Some(("http", rest)) => format!("http://{rest}"),
            // A scheme that a URL library treats like any other drops no port and no slash.
            Some((_, rest)) => format!("https://{rest}"),
            None => {
                let (host, path) = address.split_once(':')?;
                format!("https://{host}/{}", path.trim_start_matches('/'))
            }
        };
        let mut host = Url::parse(&spelled).ok()?;
        let path = host.path().trim_matches('/');
        let id = path.strip_suffix(".git").unwrap_or(path);
        let id = percent_decode_str(id).decode_utf8().ok()?.into_owned();
        host.set_username("").ok()?;
        host.set_password(None).ok()?;
        host.set_path("");
        host.set_query(None);
        host.set_fragment(None);
        Some(Self { host, id })
    }

    /// Owner and name, where the forge knows no deeper paths; `invalid` is what is said of what is neither.
    pub(in crate::provider) fn owner_and_name(
        &self,
        invalid: &str,
    ) -> Result<(&str, &str), ProviderError> {
        self.id
            .split_once('/')
            .filter(|(owner, name)| !owner.is_empty() && !name.is_empty() && !name.contains('/'))
            .ok_or_else(|| {
                ProviderError::Config(format!(
                    "{invalid}: the address does not end in owner and name of a repository"
                ))
            })
    }
}

/// A URL below a base, from segments that are escaped as such.
pub(in crate::provider) fn below<'a>(
    base: &Url,
    segments: impl IntoIterator<Item = &'a str>,
) -> Result<Url, ProviderError> {
    let mut url = base.clone();
    url.path_segments_mut()
        .map_err(|()| ProviderError::Config("the address has no path".to_owned()))?
        .pop_if_empty()
        .extend(segments);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood_as_git_does() {
        for (address, host, id) in [
            (
                "https://github.com/foo/bar",
                "https://github.com/",
                "foo/bar",
            ),
            (
                "https://gitlab.com/foo/bar.git",
                "https://gitlab.com/",
                "foo/bar",
            ),
            (
                "git@gitlab.com:foo/bar.git",
                "https://gitlab.com/",
                "foo/bar",
            ),
            (
                "ssh://git@gitlab.com/foo/bar",
                "https://gitlab.com/",
                "foo/bar",
            ),
            (
                "ssh://git@host.test:2222/foo/bar",
                "https://host.test:2222/",
                "foo/bar",
            ),
            (
                "https://gitlab.com/foo/bar/baz",
                "https://gitlab.com/",
                "foo/bar/baz",
            ),
            (
                "http://u:p@host.test:80/foo/bar/",
                "http://host.test/",
                "foo/bar",
            ),
            (
                "https://host.test/my%20team/bar",
                "https://host.test/",
                "my team/bar",
            ),
        ] {
            let found = Repository::parse(address).unwrap();
            assert_eq!(
                (found.host.as_str(), found.id.as_str()),
                (host, id),
                "{address}"
            );
        }
        for address in ["", "foo/bar", "https://", "a b:c"] {
            assert_eq!(Repository::parse(address), None, "{address:?}");
        }
    }

    #[test]
    fn segments_cannot_leave_the_path() {
        let base = Url::parse("https://host.test/api/").unwrap();
        let url = below(&base, ["a/b", "c?d", "é"]).unwrap();
        assert_eq!(url.as_str(), "https://host.test/api/a%2Fb/c%3Fd/%C3%A9");
    }

    #[test]
    fn owner_and_name_are_all_of_a_path() {
        let of = |address: &str| {
            let found = Repository::parse(address).unwrap();
            let parts = found.owner_and_name("invalid");
            let parts = parts.map(|(owner, name)| format!("{owner} {name}"));
            parts.map_err(|error| error.category())
        };
        assert_eq!(
            of("https://host.test/foo/bar.git"),
            Ok("foo bar".to_owned())
        );
        for path in [
            "",
            "foo",
            "foo/",
            "foo/bar/baz",
            "foo//bar",
            "a%2Fb/c",
            "foo/.git",
        ] {
            let address = format!("https://host.test/{path}");
            assert_eq!(of(&address), Err("config"), "{path}");
        }
    }
}

//! What a machine of a cloud is told by its metadata server: where it is, and a token of its own.

use url::Url;

use super::conversation::{Conversation, Identity, IdentityProvider, Token};
use super::error::ProviderError;
use super::http::HttpRequest;
use super::part::git::below;
use super::part::oauth;
use super::request::Reply;

/// Where a virtual machine of Azure asks for its own token.
const AZURE_METADATA: &str = "http://169.254.169.254/metadata/identity/oauth2/token";

/// Where a virtual machine of Google asks about itself.
const GOOGLE_METADATA: &str = "http://metadata.google.internal/computeMetadata/v1/";

/// A cluster of Google's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GkeCluster {
    /// Its project.
    pub project: String,
    /// Its region or zone.
    pub location: String,
    /// Its name.
    pub name: String,
}

impl GkeCluster {
    /// The audience of a ServiceAccount's token, and the pool that every cluster has.
    pub(super) fn pool(&self) -> (String, String) {
        let Self {
            project,
            location,
            name,
        } = self;
        let audience = format!("{project}.svc.id.goog");
        let pool = format!(
            "identitynamespace:{audience}:https://container.googleapis.com/v1/projects/{project}\
             /locations/{location}/clusters/{name}"
        );
        (audience, pool)
    }
}

/// Asks the metadata server which cluster of GKE this is.
///
/// # Errors
/// None but a fault of this program.
pub fn gke_cluster() -> Result<Conversation<GkeCluster>, ProviderError> {
    let ask = |segments: &[&str]| google_metadata_url(segments).map(google_metadata);
    let project = ask(&["project", "project-id"])?;
    let location = ask(&["instance", "attributes", "cluster-location"])?;
    let name = ask(&["instance", "attributes", "cluster-name"])?;
    Ok(Conversation::ask(project, move |reply| {
        let project = word(reply)?;
        Ok(Conversation::ask(location, move |reply| {
            let location = word(reply)?;
            Ok(Conversation::ask(name, move |reply| {
                Ok(Conversation::done(GkeCluster {
                    project,
                    location,
                    name: word(reply)?,
                }))
            }))
        }))
    }))
}

/// The token of the machine's own identity, from its cloud's metadata server. `client` names one of
/// several identities of Azure's.
///
/// # Errors
/// None but a fault of this program.
pub fn own_token(
    identity: &Identity,
    client: Option<&str>,
    now: u64,
) -> Result<Conversation<Token>, ProviderError> {
    let request = match identity.provider {
        IdentityProvider::Azure => {
            let resource = identity.scope.strip_suffix("/.default");
            let mut url = url(AZURE_METADATA)?;
            url.query_pairs_mut()
                .append_pair("api-version", "2018-02-01")
                .append_pair("resource", resource.unwrap_or(identity.scope))
                .extend_pairs(client.map(|client| ("client_id", client)));
            HttpRequest::get(url).header("Metadata", "true")
        }
        IdentityProvider::Google => {
            let mut url =
                google_metadata_url(&["instance", "service-accounts", "default", "token"])?;
            let scopes = identity.scope.replace(' ', ",");
            url.query_pairs_mut().append_pair("scopes", &scopes);
            google_metadata(url)
        }
    };
    Ok(Conversation::ask(request, move |reply| {
        oauth::token(reply, now)
    }))
}

fn google_metadata(url: Url) -> HttpRequest {
    HttpRequest::get(url).header("Metadata-Flavor", "Google")
}

fn google_metadata_url(segments: &[&str]) -> Result<Url, ProviderError> {
    below(&url(GOOGLE_METADATA)?, segments.iter().copied())
}

/// One word as plain text: it becomes part of an audience.
fn word(reply: &Reply) -> Result<String, ProviderError> {
    let wanted = "a word of the metadata server";
    let Reply::Http(reply) = reply else {
        return Err(ProviderError::Answer { wanted });
    };
    std::str::from_utf8(&reply.body)
        .ok()
        .map(str::trim)
        .filter(|text| is_word(text))
        .map(str::to_owned)
        .ok_or(ProviderError::Answer { wanted })
}

fn is_word(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b".:_-".contains(&b);
    (1..=100).contains(&text.len()) && text.bytes().all(is_part)
}

fn url(text: &str) -> Result<Url, ProviderError> {
    Url::parse(text)
        .map_err(|_| ProviderError::Config("the address of the metadata server is none".to_owned()))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::provider::testing::{NOW, answer, drive};

    const SCOPE: &str = "https://a.test/one https://a.test/two";

    #[expect(clippy::needless_pass_by_value, reason = "reads best in a test")]
    fn check(fetch: Conversation<Token>, answered: &str, want: Expect) {
        let mut sent = Vec::new();
        let token = drive(fetch, &[answer(200, answered)], &mut sent).unwrap();
        let value = token.value.expose_secret();
        let seconds = token.expires - NOW;
        want.assert_eq(&format!("{}{value} for {seconds}\n", sent.concat()));
    }

    #[test]
    fn the_cluster_is_told_by_the_metadata_server() {
        let ask = |answers: [&str; 3]| {
            let answers = answers.map(|body| answer(200, body));
            let mut sent = Vec::new();
            let end = drive(gke_cluster().unwrap(), &answers, &mut sent);
            (sent.concat(), end)
        };
        let (sent, end) = ask(["acme-prod", "europe-west1\n", "main"]);
        let want = GkeCluster {
            project: "acme-prod".to_owned(),
            location: "europe-west1".to_owned(),
            name: "main".to_owned(),
        };
        assert_eq!(end, Ok(want));
        expect![[r#"
            GET http://metadata.google.internal/computeMetadata/v1/project/project-id
            metadata-flavor: Google

            GET http://metadata.google.internal/computeMetadata/v1/instance/attributes/cluster-location
            metadata-flavor: Google

            GET http://metadata.google.internal/computeMetadata/v1/instance/attributes/cluster-name
            metadata-flavor: Google

        "#]].assert_eq(&sent);
        let (_, end) = ask(["acme-prod", "<html>", "main"]);
        assert_eq!(end.map_err(|error| error.category()), Err("answer"));
    }

    #[test]
    fn a_machine_has_a_token_of_its_own() {
        let identity = |provider, scope| Identity {
            provider,
            service_account: None,
            namespace: "apps".to_owned(),
            scope,
        };
        let azure = identity(
            IdentityProvider::Azure,
            "499b84ac-1321-427f-aa17-267ca6975798/.default",
        );
        // Azure's metadata server writes numbers as texts.
        let answered = r#"{"access_token":"eyJ0","client_id":"3333","expires_in":"86399","expires_on":"1767409444","resource":"x","token_type":"Bearer"}"#;
        check(
            own_token(&azure, Some("33333333-4444"), NOW).unwrap(),
            answered,
            expect![[r#"
                GET http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=499b84ac-1321-427f-aa17-267ca6975798&client_id=33333333-4444
                metadata: true

                eyJ0 for 86399
            "#]],
        );
        let google = identity(IdentityProvider::Google, SCOPE);
        let answered = r#"{"access_token":"ya29.c","expires_in":3599,"token_type":"Bearer"}"#;
        check(
            own_token(&google, None, NOW).unwrap(),
            answered,
            expect![[r#"
                GET http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token?scopes=https%3A%2F%2Fa.test%2Fone%2Chttps%3A%2F%2Fa.test%2Ftwo
                metadata-flavor: Google

                ya29.c for 3599
            "#]],
        );
    }
}

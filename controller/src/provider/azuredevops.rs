//! `azuredevops`: the status of a commit in Azure Repos.
//!
//! Better than Flux's: addresses of SSH, of visualstudio.com, of Azure DevOps Server with its
//! collections and of a project's own repository are understood, and the organisation's name is
//! left as it is; the API's locations are not asked for; only the newest status of a name is
//! listed; the digest of an artifact that is no commit is no failure; long texts are cut; the
//! Provider's proxy is used.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::part::commit::{self, State};
use super::part::git::{Repository, below};
use super::part::text;
use super::{
    Context, Exchange, HttpRequest, Identity, IdentityProvider, ProviderError, ProviderType, Takes,
    Target, TokenRequest, TokenSource,
};
use crate::api::event::Event;
#[cfg(test)]
use crate::provider::testing::Example;

/// What tokens of an identity are for: the id of Azure DevOps.
const SCOPE: &str = "499b84ac-1321-427f-aa17-267ca6975798/.default";

/// Characters of description and genre.
const TEXT: usize = 255;

/// Azure DevOps, commit statuses.
pub(super) struct AzureDevOps;

struct Status {
    genre: String,
    name: String,
    state: &'static str,
    description: String,
}

/// As Azure DevOps lists it.
#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    id: u64,
    #[serde(default)]
    state: String,
    #[serde(default)]
    description: Option<String>,
    context: Option<ListedContext>,
}

#[derive(Deserialize)]
struct ListedContext {
    #[serde(default)]
    genre: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

impl ProviderType for AzureDevOps {
    fn name(&self) -> &'static str {
        "azuredevops"
    }

    fn takes(&self) -> Takes {
        Takes::CommitStatuses
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        context: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let Some((commit, state)) = commit::sha1_state(event)? else {
            return Ok(Exchange::nothing());
        };
        let status = Status {
            genre: genre(event),
            name: commit::status_name(event, target)?,
            state: match state {
                State::Success => "succeeded",
                State::Failure => "error",
            },
            description: commit::description(event, TEXT),
        };
        let (base, project, repository) = place(&Repository::of(target)?)?;
        let segments = [
            project.as_str(),
            "_apis",
            "git",
            "repositories",
            &repository,
            "commits",
            &commit.hash,
            "statuses",
        ];
        let url = below(&base, segments)?;
        let session = session(context);
        match target.token("azure devops token") {
            Ok(token) => Ok(unless_there(&url, status, &session, &token)),
            Err(_) => Ok(Exchange::with_token(identity(target), move |token| {
                Ok(unless_there(&url, status, &session, token))
            })),
        }
    }

    #[cfg(test)]
    fn example(&self) -> Example {
        let mut example = Example::answering([(200, r#"{"count":0,"value":[]}"#), (201, "{}")]);
        let address = "https://dev.azure.com/Acme/shop/_git/web";
        example.target.address = address.to_owned().into();
        example
    }
}

/// Posts the status, unless the newest one of its name says the same.
fn unless_there(url: &Url, status: Status, session: &str, token: &SecretString) -> Exchange {
    let signed = |request: HttpRequest| {
        // Azure DevOps takes personal tokens and those of identities alike.
        request
            .basic("", token.expose_secret().trim())
            .header("Accept", "application/json;api-version=6.0".to_owned())
            .header("X-TFS-FedAuthRedirect", "Suppress".to_owned())
            .header("X-TFS-Session", session.to_owned())
    };
    let body = json!({
        "context": {"genre": status.genre, "name": status.name},
        "description": status.description,
        "state": status.state,
    });
    let post = signed(HttpRequest::post(url.clone()))
        .json(&body)
        .header("Content-Type", "application/json;charset=utf-8".to_owned());
    let mut list = url.clone();
    list.query_pairs_mut().append_pair("latestOnly", "true");
    Exchange::ask(signed(HttpRequest::get(list)), move |reply| {
        #[derive(Deserialize)]
        struct Answer {
            value: Vec<Listed>,
        }
        // To a token that is none it answers 203 with a page to sign in.
        let answer: Answer = reply.json("a list of commit statuses")?;
        Ok(if status.is_told(&answer.value) {
            Exchange::nothing()
        } else {
            Exchange::once(post)
        })
    })
}

impl Status {
    fn is_told(&self, listed: &[Listed]) -> bool {
        // The newest has the highest id, in whatever order they are listed.
        let newest = listed
            .iter()
            .filter(|listed| self.is_of(listed))
            .reduce(|a, b| if b.id > a.id { b } else { a });
        newest.is_some_and(|newest| {
            newest.state == self.state
                && newest.description.as_deref() == Some(self.description.as_str())
        })
    }

    fn is_of(&self, listed: &Listed) -> bool {
        listed.context.as_ref().is_some_and(|context| {
            context.genre.as_deref() == Some(self.genre.as_str())
                && context.name.as_deref() == Some(self.name.as_str())
        })
    }
}

fn genre(event: &Event) -> String {
    match event.metadata.get("summary").map(String::as_str) {
        None | Some("") => "fluxcd".to_owned(),
        Some(summary) => text::cut(&format!("fluxcd:{summary}"), TEXT).into_owned(),
    }
}

/// The organisation's or collection's URL, the project and the repository of an address.
fn place(repository: &Repository) -> Result<(Url, String, String), ProviderError> {
    let invalid = || {
        ProviderError::Config(
            "invalid repository id \"*****\": the address is not one of Azure Repos, such as \
             https://dev.azure.com/organization/project/_git/repository"
                .to_owned(),
        )
    };
    let parts: Vec<&str> = repository.id.split('/').collect();
    let host = repository.host.host_str().unwrap_or_default();
    // `v3/organization/project/repository`, on hosts of their own.
    if matches!(host, "ssh.dev.azure.com" | "vs-ssh.visualstudio.com") {
        let ["v3", organization, project, name] = *parts else {
            return Err(invalid());
        };
        return found("https://dev.azure.com/", &[organization], project, name);
    }
    let [ref before @ .., "_git", name] = *parts else {
        return Err(invalid());
    };
    // A project's own repository has its name. An organisation's own host has no other part.
    let is_own_host = host.ends_with(".visualstudio.com");
    let (base, project) = match *before {
        [] if is_own_host => (&before[..0], name),
        [] => return Err(invalid()),
        [project] if is_own_host => (&before[..0], project),
        [_] => (before, name),
        [ref base @ .., project] => (base, project),
    };
    found(repository.host.as_str(), base, project, name)
}

fn found(
    host: &str,
    base: &[&str],
    project: &str,
    name: &str,
) -> Result<(Url, String, String), ProviderError> {
    let empty = || ProviderError::Config("a part of the address' path is empty".to_owned());
    if project.is_empty() || name.is_empty() || base.iter().any(|part| part.is_empty()) {
        return Err(empty());
    }
    let host = Url::parse(host).map_err(|_| empty())?;
    let base = below(&host, base.iter().copied())?;
    Ok((base, project.to_owned(), name.to_owned()))
}

/// A UUID of the delivery, as Azure's own clients have one of the process.
fn session(context: &Context<'_>) -> String {
    let hex = context.key_hex();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)]
        .map(|(from, to)| part(from, to))
        .join("-")
}

/// A token of the identity of a ServiceAccount or of the controller.
fn identity(target: &Target) -> TokenRequest {
    let account = target.service_account.as_deref().unwrap_or_default();
    TokenRequest {
        key: TokenRequest::key_of(&["azure identity", &target.namespace, account, SCOPE]),
        source: TokenSource::Identity(Identity {
            provider: IdentityProvider::Azure,
            service_account: target.service_account.clone(),
            namespace: target.namespace.clone(),
            scope: SCOPE,
        }),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::Value;

    use super::*;
    use crate::provider::testing::{self, check, check_with, converse};

    #[test]
    fn a_status_is_posted_where_there_is_none() {
        check(
            &AzureDevOps,
            testing::error(),
            expect![[r#"
            GET https://dev.azure.com/Acme/shop/_apis/git/repositories/web/commits/5394cb7f48332b2de7c17dd8b8384bbc84b7e738/statuses?latestOnly=true
            accept: application/json;api-version=6.0
            authorization: Basic Omh1c2gtdG9rZW4=
            x-tfs-fedauthredirect: Suppress
            x-tfs-session: 3803d3be-840f-0a6e-52fd-213ceca66867

            POST https://dev.azure.com/Acme/shop/_apis/git/repositories/web/commits/5394cb7f48332b2de7c17dd8b8384bbc84b7e738/statuses
            accept: application/json;api-version=6.0
            authorization: Basic Omh1c2gtdG9rZW4=
            content-type: application/json;charset=utf-8
            x-tfs-fedauthredirect: Suppress
            x-tfs-session: 3803d3be-840f-0a6e-52fd-213ceca66867

            {
              "context": {
                "genre": "fluxcd:prod impacted",
                "name": "kustomization/webapp/0c9c2e41"
              },
              "description": "validation failed",
              "state": "error"
            }

            done
        "#]],
        );
    }

    #[test]
    fn without_a_token_an_identity_is_asked_for_one() {
        let mut example = AzureDevOps.example();
        example.target.token = None;
        example.target.service_account = Some("notifier".to_owned());
        let mut event = testing::info();
        event.metadata.remove("summary");
        let origin = format!("main@sha1:{}", "b".repeat(40));
        event.metadata.insert("originRevision".to_owned(), origin);
        check_with(
            &AzureDevOps,
            event,
            &example,
            expect![[r#"
            token:
            Identity { provider: Azure, service_account: Some("notifier"), namespace: "apps", scope: "499b84ac-1321-427f-aa17-267ca6975798/.default" }

            GET https://dev.azure.com/Acme/shop/_apis/git/repositories/web/commits/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb/statuses?latestOnly=true
            accept: application/json;api-version=6.0
            authorization: Basic OmZldGNoZWQ=
            x-tfs-fedauthredirect: Suppress
            x-tfs-session: 629eedf7-2fb2-75ca-1714-f7fe90bb08a6

            POST https://dev.azure.com/Acme/shop/_apis/git/repositories/web/commits/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb/statuses
            accept: application/json;api-version=6.0
            authorization: Basic OmZldGNoZWQ=
            content-type: application/json;charset=utf-8
            x-tfs-fedauthredirect: Suppress
            x-tfs-session: 629eedf7-2fb2-75ca-1714-f7fe90bb08a6

            {
              "context": {
                "genre": "fluxcd",
                "name": "kustomization/webapp/0c9c2e41"
              },
              "description": "reconciliation succeeded",
              "state": "succeeded"
            }

            done
        "#]],
        );
    }

    #[test]
    fn addresses_of_every_kind_are_understood() {
        let place = |address: &str| {
            let target = Target {
                address: address.to_owned().into(),
                ..Target::default()
            };
            place(&Repository::of(&target)?)
        };
        for (address, base, project, name) in [
            (
                "https://dev.azure.com/Acme/shop/_git/web",
                "https://dev.azure.com/Acme",
                "shop",
                "web",
            ),
            (
                "https://acme@dev.azure.com/acme/my%20shop/_git/web",
                "https://dev.azure.com/acme",
                "my shop",
                "web",
            ),
            (
                "https://dev.azure.com/acme/_git/web",
                "https://dev.azure.com/acme",
                "web",
                "web",
            ),
            (
                "git@ssh.dev.azure.com:v3/acme/shop/web",
                "https://dev.azure.com/acme",
                "shop",
                "web",
            ),
            (
                "ssh://git@ssh.dev.azure.com/v3/acme/shop/web",
                "https://dev.azure.com/acme",
                "shop",
                "web",
            ),
            (
                "acme@vs-ssh.visualstudio.com:v3/acme/shop/web",
                "https://dev.azure.com/acme",
                "shop",
                "web",
            ),
            (
                "https://acme.visualstudio.com/shop/_git/web",
                "https://acme.visualstudio.com/",
                "shop",
                "web",
            ),
            (
                "https://acme.visualstudio.com/DefaultCollection/shop/_git/web",
                "https://acme.visualstudio.com/DefaultCollection",
                "shop",
                "web",
            ),
            (
                "https://acme.visualstudio.com/_git/web",
                "https://acme.visualstudio.com/",
                "web",
                "web",
            ),
            (
                "https://tfs.test:8080/tfs/Main/shop/_git/web",
                "https://tfs.test:8080/tfs/Main",
                "shop",
                "web",
            ),
        ] {
            let (found, of, named) = place(address).unwrap();
            assert_eq!(
                (found.as_str(), &*of, &*named),
                (base, project, name),
                "{address}"
            );
        }
        for address in [
            "https://dev.azure.com/acme/shop/web",
            "https://dev.azure.com/_git/web",
            "https://dev.azure.com/acme/shop/_git/",
            "https://dev.azure.com/acme//_git/web",
            "git@ssh.dev.azure.com:v3/acme/shop",
            "https://dev.azure.com",
        ] {
            assert!(place(address).is_err(), "{address}");
        }
    }

    #[test]
    fn the_newest_status_of_name_and_genre_decides_whether_it_is_told() {
        let listed = |id: u64, genre: &str, state: &str| {
            json!({"id": id, "state": state, "description": "validation failed",
                   "context": {"genre": genre, "name": "kustomization/webapp/0c9c2e41"}})
        };
        let own = "fluxcd:prod impacted";
        let told = |list: Value| {
            let mut example = AzureDevOps.example();
            let body = json!({"count": 1, "value": list}).to_string();
            example.answers[0] = testing::answer(200, &body);
            let (requests, end) = converse(&AzureDevOps, &testing::error(), &example);
            assert_eq!(end, Ok(()));
            requests.len() == 1
        };
        assert!(told(json!([listed(1, own, "error")])));
        assert!(!told(json!([listed(1, own, "succeeded")])));
        assert!(!told(json!([listed(1, "fluxcd", "error")])));
        assert!(!told(json!([
            listed(1, own, "error"),
            listed(2, own, "succeeded")
        ])));
        assert!(told(json!([
            listed(2, own, "error"),
            listed(1, own, "succeeded")
        ])));
        assert!(!told(json!([{"id": 1, "context": null}])));
    }

    #[test]
    fn a_page_to_sign_in_is_no_success() {
        let mut example = AzureDevOps.example();
        example.answers[0] = testing::answer(203, "<html>");
        let (requests, end) = converse(&AzureDevOps, &testing::error(), &example);
        let wanted = "a list of commit statuses";
        assert_eq!(
            (requests.len(), end),
            (1, Err(ProviderError::Answer { wanted }))
        );
    }
}

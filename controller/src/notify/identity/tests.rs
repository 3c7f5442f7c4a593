//! Over a scripted Transport and ServiceAccounts in memory: who is asked what.

use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use expect_test::{Expect, expect};

use super::*;
use crate::provider::{HttpReply, Reply, Request};

const POOL: &str =
    "projects/1234567890/locations/global/workloadIdentityPools/pool/providers/cluster";

/// Answers by the beginning of the URL, and keeps what was sent.
#[derive(Debug, Default)]
struct Cloud {
    answers: Vec<(&'static str, &'static str)>,
    asked: Mutex<Vec<String>>,
}

impl Cloud {
    fn answer(&self, whom: &str, request: Request) -> Result<Reply, TransportError> {
        let Request::Http(request) = request else {
            return Err(TransportError::Config("this wire".to_owned()));
        };
        let url = request.url.expose_secret();
        let body = String::from_utf8_lossy(&request.body).into_owned();
        self.note(format!("{whom} {url} {body}"));
        let found = self.answers.iter().find(|(part, _)| url.contains(part));
        let (_, body) = found.ok_or_else(|| TransportError::Connect("refused".to_owned()))?;
        Ok(Reply::Http(HttpReply {
            status: 200,
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        }))
    }

    fn note(&self, line: String) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(line);
    }
}

impl Transport for Cloud {
    async fn send(&self, request: Request, _target: &Target) -> Result<Reply, TransportError> {
        self.answer("provider", request)
    }

    async fn ask_machine(&self, request: Request) -> Result<Reply, TransportError> {
        self.answer("machine", request)
    }
}

/// ServiceAccounts of the namespace `apps`.
#[derive(Debug, Default)]
struct Accounts(BTreeMap<String, BTreeMap<String, String>>);

impl AccountReader for Accounts {
    async fn annotations(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<BTreeMap<String, String>, ReadError> {
        assert_eq!(namespace, "apps");
        self.0.get(name).cloned().ok_or(ReadError::NotFound)
    }

    async fn account_token(
        &self,
        namespace: &str,
        name: &str,
        audience: &str,
    ) -> Result<SecretString, ReadError> {
        Ok(format!("token-of/{namespace}/{name}/{audience}").into())
    }
}

fn accounts<const N: usize>(annotations: [(&str, &str); N]) -> Accounts {
    let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Accounts([("notifier".to_owned(), annotations.into())].into())
}

fn identity(provider: IdentityProvider, account: Option<&str>) -> Identity {
    Identity {
        provider,
        service_account: account.map(str::to_owned),
        namespace: "apps".to_owned(),
        scope: "https://a.test/.default",
    }
}

async fn check(
    identities: Identities,
    identity: Identity,
    accounts: Accounts,
    answers: &[(&'static str, &'static str)],
    want: Expect,
) {
    let cloud = Cloud {
        answers: answers.to_vec(),
        ..Cloud::default()
    };
    let target = Target::default();
    let mut mask = Mask::of(&target);
    let token = identities
        .token(&identity, &target, &cloud, &accounts, &mut mask)
        .await;
    let end = match token {
        Ok(token) => token.value.expose_secret().to_owned(),
        Err(error) => format!("failed, for good: {}: {error}", error.is_permanent()),
    };
    let asked = cloud.asked.into_inner().unwrap().join("\n");
    let asked = asked.replace('&', "\n  &");
    want.assert_eq(&format!("{asked}\n{end}\n"));
}

const AZURE: (&str, &str) = (
    "login.microsoftonline.com",
    r#"{"token_type":"Bearer","expires_in":3599,"access_token":"of-azure"}"#,
);
const GOOGLE: (&str, &str) = (
    "sts.googleapis.com",
    r#"{"token_type":"Bearer","expires_in":3599,"access_token":"of-google"}"#,
);

fn with_client() -> Accounts {
    accounts([
        ("azure.workload.identity/tenant-id", "tenant"),
        ("azure.workload.identity/client-id", "client"),
    ])
}

#[tokio::test]
async fn azure_takes_a_service_accounts_token() {
    check(
        Identities::default(),
        identity(IdentityProvider::Azure, Some("notifier")),
        with_client(),
        &[AZURE],
        expect![[r#"
            provider https://login.microsoftonline.com/tenant/oauth2/v2.0/token client_id=client
              &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer
              &client_assertion=token-of%2Fapps%2Fnotifier%2Fapi%3A%2F%2FAzureADTokenExchange
              &grant_type=client_credentials
              &scope=https%3A%2F%2Fa.test%2F.default
            of-azure
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_service_accounts_token_is_masked_where_it_is_quoted() {
    let cloud = Cloud {
        answers: vec![AZURE],
        ..Cloud::default()
    };
    let target = Target::default();
    let mut mask = Mask::of(&target);
    let notifier = identity(IdentityProvider::Azure, Some("notifier"));
    let token = Identities::default()
        .token(&notifier, &target, &cloud, &with_client(), &mut mask)
        .await;
    assert!(token.is_ok());
    let quoted = "invalid: token-of/apps/notifier/api://AzureADTokenExchange";
    assert_eq!(mask.apply(quoted), "invalid: *****");
}

#[tokio::test]
async fn a_provider_that_names_no_account_has_the_default_one() {
    let identities = Identities {
        default_account: Some("notifier".to_owned()),
        ..Identities::default()
    };
    let own = identity(IdentityProvider::Azure, None);
    check(
        identities.clone(),
        own.clone(),
        with_client(),
        &[AZURE],
        expect![[r#"
            provider https://login.microsoftonline.com/tenant/oauth2/v2.0/token client_id=client
              &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer
              &client_assertion=token-of%2Fapps%2Fnotifier%2Fapi%3A%2F%2FAzureADTokenExchange
              &grant_type=client_credentials
              &scope=https%3A%2F%2Fa.test%2F.default
            of-azure
        "#]],
    )
    .await;
    check(identities, own, Accounts::default(), &[], expect![[r#"

        failed, for good: false: the default ServiceAccount 'apps/notifier' was not found; multi-tenant workload identity lockdown is in force (--default-service-account): make one, or set spec.serviceAccountName
    "#]]).await;
}

#[tokio::test]
async fn google_takes_a_service_accounts_token_by_the_pool_of_its_annotation_or_of_the_cluster() {
    let notifier = || identity(IdentityProvider::Google, Some("notifier"));
    let annotated = accounts([("gcp.auth.fluxcd.io/workload-identity-provider", POOL)]);
    check(
        Identities::default(),
        notifier(),
        annotated,
        &[GOOGLE],
        expect![[r#"
            provider https://sts.googleapis.com/v1/token audience=%2F%2Fiam.googleapis.com%2Fprojects%2F1234567890%2Flocations%2Fglobal%2FworkloadIdentityPools%2Fpool%2Fproviders%2Fcluster
              &grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange
              &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token
              &scope=https%3A%2F%2Fa.test%2F.default
              &subject_token=token-of%2Fapps%2Fnotifier%2F%2F%2Fiam.googleapis.com%2Fprojects%2F1234567890%2Flocations%2Fglobal%2FworkloadIdentityPools%2Fpool%2Fproviders%2Fcluster
              &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt
            of-google
        "#]],
    )
    .await;
    let gke = [
        ("project/project-id", "acme"),
        ("cluster-location", "europe-west1"),
        ("cluster-name", "main"),
        GOOGLE,
    ];
    check(
        Identities::default(),
        notifier(),
        accounts([]),
        &gke,
        expect![[r#"
            machine http://metadata.google.internal/computeMetadata/v1/project/project-id 
            machine http://metadata.google.internal/computeMetadata/v1/instance/attributes/cluster-location 
            machine http://metadata.google.internal/computeMetadata/v1/instance/attributes/cluster-name 
            provider https://sts.googleapis.com/v1/token audience=identitynamespace%3Aacme.svc.id.goog%3Ahttps%3A%2F%2Fcontainer.googleapis.com%2Fv1%2Fprojects%2Facme%2Flocations%2Feurope-west1%2Fclusters%2Fmain
              &grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange
              &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token
              &scope=https%3A%2F%2Fa.test%2F.default
              &subject_token=token-of%2Fapps%2Fnotifier%2Facme.svc.id.goog
              &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt
            of-google
        "#]],
    )
    .await;
    check(
        Identities::default(),
        notifier(),
        accounts([]),
        &[],
        expect![[r#"
            machine http://metadata.google.internal/computeMetadata/v1/project/project-id 
            failed, for good: true: the Provider cannot be used: the ServiceAccount has no annotation gcp.auth.fluxcd.io/workload-identity-provider, and the controller does not run on GKE
        "#]],
    )
    .await;
}

#[tokio::test]
async fn the_controllers_own_token_comes_from_azures_file_or_from_the_machine() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b" token-of-the-pod\n").unwrap();
    let with_file = Identities {
        azure: Azure {
            tenant: Some("tenant".to_owned()),
            client: Some("client".to_owned()),
            token_file: Some(file.path().to_owned()),
            authority: Some(Url::parse("https://login.microsoftonline.com/").unwrap()),
        },
        ..Identities::default()
    };
    let own = identity(IdentityProvider::Azure, None);
    check(
        with_file.clone(),
        own.clone(),
        Accounts::default(),
        &[AZURE],
        expect![[r#"
            provider https://login.microsoftonline.com/tenant/oauth2/v2.0/token client_id=client
              &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer
              &client_assertion=token-of-the-pod
              &grant_type=client_credentials
              &scope=https%3A%2F%2Fa.test%2F.default
            of-azure
        "#]],
    )
    .await;
    let machine = (
        "169.254.169.254",
        r#"{"access_token":"of-the-machine","expires_in":"3599","token_type":"Bearer"}"#,
    );
    check(
        Identities::default(),
        own.clone(),
        Accounts::default(),
        &[machine],
        expect![[r#"
            machine http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01
              &resource=https%3A%2F%2Fa.test 
            of-the-machine
        "#]],
    )
    .await;
    // The file is for Azure.
    let machine = (
        "metadata.google.internal",
        r#"{"access_token":"of-the-machine","expires_in":3599,"token_type":"Bearer"}"#,
    );
    let google = identity(IdentityProvider::Google, None);
    check(
        with_file.clone(),
        google,
        Accounts::default(),
        &[machine],
        expect![[r#"
            machine http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token?scopes=https%3A%2F%2Fa.test%2F.default 
            of-the-machine
        "#]],
    )
    .await;
    let mut gone = with_file;
    gone.azure.token_file = Some("/nowhere/token".into());
    check(gone, own, Accounts::default(), &[AZURE], expect![[r#"

        failed, for good: false: failed to read the token file of Azure's workload identity: No such file or directory (os error 2)
    "#]]).await;
}

#[tokio::test]
async fn an_account_that_is_missing_or_says_nothing_is_told() {
    let lost = identity(IdentityProvider::Azure, Some("lost"));
    check(
        Identities::default(),
        lost,
        with_client(),
        &[AZURE],
        expect![[r#"

            failed, for good: false: failed to read ServiceAccount 'apps/lost': not found
        "#]],
    )
    .await;
    let mute = identity(IdentityProvider::Azure, Some("notifier"));
    check(
        Identities::default(),
        mute,
        accounts([]),
        &[AZURE],
        expect![[r#"

            failed, for good: true: the Provider cannot be used: the ServiceAccount has no annotation azure.workload.identity/tenant-id
        "#]],
    )
    .await;
}

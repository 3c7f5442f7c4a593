//! What is not sent, and why; and that no provider type shows a secret.

use super::*;

#[tokio::test]
async fn what_keeps_an_event_from_an_alert_is_told() {
    let chat = || World::new("slack", "https://hooks.slack.test/hush-path");
    let commit = EVENT.replace("/revision\"", "/other\"");
    let update = EVENT.replace(
        "\"bare\": \"dropped\"",
        "\"kustomize.toolkit.fluxcd.io/commit_status\": \"update\"",
    );
    let info = EVENT.replace("\"error\"", "\"info\"");
    let other = EVENT.replace("\"namespace\": \"apps\"", "\"namespace\": \"infra\"");
    let named = "eventSources: [{kind: Kustomization, name: '*', namespace: infra}]";
    let elsewhere = || World {
        alert: named.to_owned(),
        ..chat()
    };
    for (world, event, flag, want) in [
        (
            chat().alert("eventSeverity: error"),
            info.as_str(),
            false,
            "no: its severity is not spec.eventSeverity",
        ),
        (
            chat(),
            other.as_str(),
            false,
            "no: none of spec.eventSources is its involved object",
        ),
        (
            chat().alert("inclusionList: [nothing]"),
            EVENT,
            false,
            "no: nothing in spec.inclusionList matches its message",
        ),
        (
            chat().alert("exclusionList: ['^it broke']"),
            EVENT,
            false,
            "no: spec.exclusionList matches its message",
        ),
        (
            chat().alert("suspend: true"),
            EVENT,
            false,
            "no: the Alert is suspended",
        ),
        (
            chat().provider("suspend: true"),
            EVENT,
            false,
            "no: its Provider is suspended",
        ),
        (
            chat(),
            update.as_str(),
            false,
            "no: updates of commit statuses are nothing for the Provider's type",
        ),
        (
            World::new("github", "https://github.test/acme/app"),
            &info,
            false,
            "no: the Provider's type needs \"commit\" in the metadata",
        ),
        (
            World::new("githubpullrequestcomment", "https://github.test/acme/app"),
            &commit,
            false,
            "no: the Provider's type needs \"change_request\" in the metadata",
        ),
        (
            chat().annotated("hookgate.dev/digest: 30s"),
            &info,
            false,
            "yes, and waits 30s for others of revision \"main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738\"",
        ),
        (elsewhere(), other.as_str(), false, "yes"),
        (elsewhere(), other.as_str(), true, "no: see the warning"),
    ] {
        let told = world.ask("apps/on-call", event, flag).await.unwrap();
        let line = told.lines().find(|line| line.starts_with("takes "));
        assert_eq!(line, Some(format!("takes     {want}").as_str()), "{told}");
        assert_eq!(told.contains("\nsends"), want.starts_with("yes"), "{told}");
        assert!(!told.contains("hush"), "{told}");
    }
}

#[tokio::test]
async fn what_can_not_be_shown_is_an_answer() {
    let chat = || World::new("slack", "https://hooks.slack.test/hush-path");
    let unknown = chat().ask("apps/other", EVENT, false).await;
    assert_eq!(
        unknown,
        Err(
            "there is no Alert \"apps/other\"; give its name, and its namespace with -n".to_owned()
        )
    );
    let broken = chat().ask("apps/on-call", "[]", false).await.unwrap_err();
    assert!(
        broken.starts_with("not an event of Flux in JSON: invalid type: sequence"),
        "{broken}"
    );
    let ends = [
        (
            World::new("slack", "hush no url"),
            "sends     nothing: the Provider cannot be used: invalid Slack hook URL *****: 'not a URL of http or https'",
        ),
        (
            World::new("carrier-pigeon", "https://a.test"),
            "provider  apps/target (carrier-pigeon)",
        ),
        (
            chat().provider("certSecretRef: {name: gone}"),
            "provider  not ready: failed to get secret 'apps/gone': not found",
        ),
    ];
    for (world, want) in ends {
        let told = world.tell().await;
        assert_eq!(told.lines().last(), Some(want), "{told}");
    }
}

#[tokio::test]
async fn no_provider_type_shows_a_secret() {
    let account = serde_json::json!({"private_key_id": "hush", "private_key": KEY, "client_email": "a@b.test", "token_uri": "https://oauth2.test/hush"});
    let change = EVENT.replace(
        "\"bare\": \"dropped\"",
        "\"event.toolkit.fluxcd.io/change_request\": \"7\"",
    );
    for found in provider::PROVIDER_TYPES {
        for (address, token) in [
            (
                "https://hush-user:hush-word@host.test/acme/hush-path/1?k=hush-query",
                "hush-token".to_owned(),
            ),
            (
                "Endpoint=sb://hub.test/;SharedAccessKeyName=n;SharedAccessKey=aHVzaC1rZXk=;EntityPath=hub",
                "hush-token".to_owned(),
            ),
            (
                "nats://hush-user:hush-word@host.test",
                "hush-token".to_owned(),
            ),
            (
                "smtps://hush-user:hush-word@host.test?from=a%40b.test",
                "hush-token".to_owned(),
            ),
            ("acme-prod", account.to_string()),
        ] {
            let world = World::new(found.name(), address)
                .provider("channel: hush5678901234567890hush56789012")
                .secret(&format!("token: '{token}', username: user, password: hush-password, headers: 'x-key: hush-header'"));
            for event in [EVENT, &change] {
                let told = world.ask("apps/on-call", event, false).await.unwrap();
                assert!(!told.contains("hush") && !told.contains("aHVza"), "{told}");
            }
        }
    }
}

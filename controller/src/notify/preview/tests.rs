//! Whole previews, and that no secret is in any of them.

use std::path::Path;

use expect_test::{Expect, expect};

use tokio::sync::watch;

use super::*;
use crate::manifests;
use crate::notify::target::SnapshotSecrets;
use crate::provider::EXTRA_TYPES;

mod refused;

/// A key for tests, which guards nothing.
const KEY: &str = include_str!("../../../../tests/harness/forge/rsa-test-key.pem");
/// When everything happens: 2026-01-02T03:04:05Z.
const NOW_MS: u64 = 1_767_323_045_000;

const EVENT: &str = r#"{
    "involvedObject": {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "namespace": "apps", "name": "web"},
    "severity": "error",
    "timestamp": "2026-01-02T03:04:05Z",
    "reason": "BuildFailed",
    "message": "it broke {{ event.reason }} \u001b[31m\nsecond line",
    "metadata": {"kustomize.toolkit.fluxcd.io/revision": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738", "kustomize.toolkit.fluxcd.io/token": "internal", "bare": "dropped"},
    "reportingController": "kustomize-controller"
}"#;

/// An Alert, its Provider, and the Provider's Secret.
struct World {
    alert: String,
    provider: String,
    /// The annotations of the Provider.
    kind: String,
    secret: String,
    annotations: String,
}

impl World {
    fn new(r#type: &str, address: &str) -> Self {
        let (declared, kind) = if EXTRA_TYPES.contains(&r#type) {
            let annotation = format!("hookgate.dev/provider-type: {type}");
            ("generic", annotation)
        } else {
            (r#type, String::new())
        };
        Self {
            alert: "eventSources: [{kind: Kustomization, name: '*'}]".to_owned(),
            provider: format!("type: {declared}, address: '{address}'"),
            kind,
            secret: "none: ''".to_owned(),
            annotations: String::new(),
        }
    }

    fn provider(mut self, more: &str) -> Self {
        self.provider = format!("{}, {more}", self.provider);
        self
    }

    fn secret(mut self, pairs: &str) -> Self {
        pairs.clone_into(&mut self.secret);
        self
    }

    fn alert(mut self, more: &str) -> Self {
        self.alert = format!("{}, {more}", self.alert);
        self
    }

    fn annotated(mut self, pairs: &str) -> Self {
        pairs.clone_into(&mut self.annotations);
        self
    }

    fn write(&self, folder: &Path) {
        let Self {
            alert,
            provider,
            kind,
            secret,
            annotations,
        } = self;
        let text = format!(
            "apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Alert
metadata: {{name: on-call, namespace: apps, annotations: {{{annotations}}}}}
spec: {{providerRef: {{name: target}}, {alert}}}
---
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Provider
metadata: {{name: target, namespace: apps, annotations: {{{kind}}}}}
spec: {{secretRef: {{name: auth}}, {provider}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: auth, namespace: apps}}
stringData: {{{secret}}}
"
        );
        std::fs::write(folder.join("all.yaml"), text).unwrap();
    }

    async fn ask(
        &self,
        alert: &str,
        event: &str,
        no_cross_namespace_refs: bool,
    ) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        self.write(folder.path());
        let snapshot = manifests::read(folder.path()).unwrap();
        assert_eq!(snapshot.problems, []);
        let question = Question {
            alert: alert.to_owned(),
            event: event.to_owned(),
            no_cross_namespace_refs,
        };
        let snapshot = Arc::new(snapshot);
        let secrets = SnapshotSecrets(watch::channel(Some(snapshot.clone())).1);
        let told = preview(&snapshot, &question, &secrets, NOW_MS).await;
        told.map_err(|error| error.to_string())
    }

    async fn tell(&self) -> String {
        self.ask("apps/on-call", EVENT, false).await.unwrap()
    }

    async fn tells(self, want: Expect) {
        let told = self.tell().await;
        assert!(!told.contains("hush"), "{told}");
        assert!(
            told.chars().all(|c| c == '\n' || !c.is_control()),
            "{told:?}"
        );
        want.assert_eq(&told);
    }
}

#[tokio::test]
async fn a_chat_is_shown_without_the_secret_parts_of_its_address() {
    World::new(
        "slack",
        "https://hooks.slack.test/services/T0/B0/hush-path?key=hush-key",
    )
    .provider("channel: general")
    .tells(expect![[r#"
        alert     apps/on-call
        takes     yes
        provider  apps/target (slack)
        sends     first this request

        POST https://hooks.slack.test/*****/*****/*****/*****?*****=*****
        content-type: application/json

        {
          "attachments": [
            {
              "author_name": "kustomization/web.apps",
              "color": "danger",
              "fallback": "kustomization/web.apps: it broke {{ event.reason }} \u001b[31m",
              "fields": [
                {
                  "short": false,
                  "title": "revision",
                  "value": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
                }
              ],
              "mrkdwn_in": [
                "text"
              ],
              "text": "it broke {{ event.reason }} \u001b[31m\nsecond line"
            }
          ],
          "channel": "general",
          "username": "kustomize-controller"
        }
    "#]])
    .await;
}

#[tokio::test]
async fn a_template_is_applied() {
    World::new("generic", "https://sink.test/")
        .secret("token: hush-token, headers: 'x-team: hush-team'")
        .annotated("hookgate.dev/template: '{{ object.name }}: {{ event.message|first_line }}'")
        .alert("eventMetadata: {cluster: prod}")
        .tells(expect![[r#"
            alert     apps/on-call
            takes     yes
            provider  apps/target (generic)
            message   by hookgate.dev/template
            sends     first this request

            POST https://sink.test/
            content-type: application/json
            gotk-component: kustomize-controller
            x-team: HEADER

            {
              "involvedObject": {
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
                "kind": "Kustomization",
                "name": "web",
                "namespace": "apps"
              },
              "message": "web: it broke {{ event.reason }} \u001b[31m",
              "metadata": {
                "cluster": "prod",
                "revision": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
              },
              "reason": "BuildFailed",
              "reportingController": "kustomize-controller",
              "severity": "error",
              "timestamp": "2026-01-02T03:04:05Z"
            }
        "#]])
        .await;
}

#[tokio::test]
async fn a_template_that_fails_is_told_and_the_message_stays() {
    World::new("ntfy", "https://ntfy.test/flux")
        .annotated("hookgate.dev/template: '{{ event.msg }}', hookgate.dev/digest: 30s")
        .tells(expect![[r#"
            alert     apps/on-call
            warning   annotation hookgate.dev/template can't be used, and events are sent with their own messages: line 1: event has no "msg"; it has message, reason, reportingController, severity, timestamp
            takes     yes
            provider  apps/target (ntfy)
            message   as it came: hookgate.dev/template failed: line 1: event has no "msg"; it has message, reason, reportingController, severity, timestamp
            sends     first this request

            POST https://ntfy.test/
            content-type: application/json

            {
              "message": "it broke {{ event.reason }} \u001b[31m\nsecond line\nrevision: main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738",
              "priority": 4,
              "tags": [
                "rotating_light"
              ],
              "title": "kustomization/web.apps",
              "topic": "flux"
            }
        "#]])
        .await;
}

#[tokio::test]
async fn tokens_in_urls_keys_in_channels_and_passwords_are_words() {
    World::new("telegram", "https://telegram.test")
        .secret("token: '12345:hush-token'")
        .provider("channel: '-1234'")
        .tells(expect![[r#"
            alert     apps/on-call
            takes     yes
            provider  apps/target (telegram)
            sends     first this request

            POST https://api.telegram.org/botTOKEN/sendMessage
            content-type: application/json

            {
              "chat_id": "-1234",
              "parse_mode": "MarkdownV2",
              "text": "*🚨 kustomization/web/apps*\nit broke \\{\\{ event\\.reason \\}\\} \u001b\\[31m\nsecond line\n\\- *revision*: main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738\n"
            }
        "#]])
        .await;
    World::new("pagerduty", "https://events.pagerduty.test")
        .provider("channel: hush5678901234567890hush56789012")
        .tells(expect![[r#"
            alert     apps/on-call
            takes     yes
            provider  apps/target (pagerduty)
            sends     first this request

            POST https://events.pagerduty.test/v2/enqueue
            content-type: application/json

            {
              "dedup_key": "Kustomization/apps/web",
              "event_action": "trigger",
              "payload": {
                "component": "web",
                "custom_details": {
                  "message": "it broke {{ event.reason }} \u001b[31m\nsecond line",
                  "metadata": {
                    "revision": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
                  }
                },
                "group": "Kustomization",
                "severity": "error",
                "source": "Flux kustomize-controller",
                "summary": "build failed: kustomization/web",
                "timestamp": "2026-01-02T03:04:05Z"
              },
              "routing_key": "TOKEN"
            }
        "#]])
        .await;
    World::new("grafana", "https://grafana.test/api/annotations")
        .secret("username: user, password: hush-password")
        .tells(expect![[r#"
            alert     apps/on-call
            takes     yes
            provider  apps/target (grafana)
            sends     first this request

            POST https://grafana.test/*****/*****
            authorization: Basic *****
            content-type: application/json

            {
              "tags": [
                "flux",
                "kustomize-controller",
                "revision: main@sha1|5394cb7f48332b2de7c17dd8b8384bbc84b7e738",
                "kind: Kustomization",
                "name: web",
                "namespace: apps"
              ],
              "text": "kustomization/web.apps\nit broke {{ event.reason }} \u001b[31m\nsecond line",
              "time": 1767323045000,
              "when": 1767323045
            }
        "#]])
        .await;
    World::new("sentry", "https://hushkey12345@sentry.test/42")
        .tells(expect![[r#"
            alert     apps/on-call
            takes     yes
            provider  apps/target (sentry)
            sends     first this request

            POST https://sentry.test/api/*****/envelope/
            content-type: application/x-sentry-envelope
            x-sentry-auth: Sentry sentry_version=7, sentry_client=hookgate/0.1.0, sentry_key=*****

            {"event_id":"3117877abdd0cc64ae518a6b294eea40"}
            {"length":466,"type":"event"}
            {"contexts":{"metadata":{"revision":"main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738"}},"event_id":"3117877abdd0cc64ae518a6b294eea40","extra":{"revision":"main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738"},"level":"error","message":"it broke {{ event.reason }} \u001b[31m\nsecond line","platform":"other","sdk":{"name":"hookgate","version":"0.1.0"},"server_name":"kustomize-controller","timestamp":"2026-01-02T03:04:05Z","transaction":"Kustomization: apps/web"}
        "#]])
        .await;
}

#[tokio::test]
async fn mails_and_messages_of_nats_are_shown_too() {
    World::new(
        "smtp",
        "smtps://user:hush-word@mail.test:465?from=flux%40acme.test",
    )
    .provider("channel: ops@acme.test")
    .tells(expect![[r#"
        alert     apps/on-call
        takes     yes
        provider  apps/target (smtp)
        sends     first this request

        MAIL from flux@acme.test to ops@acme.test at mail.test:465
        security: Tls
        login: yes

        From: flux@acme.test
        To: ops@acme.test
        Subject: [error] kustomization/web.apps: BuildFailed
        Date: Fri, 2 Jan 2026 03:04:05 +0000
        Message-ID: <3117877abdd0cc64ae518a6b294eea40c912b358d1dc482ad9748c2c72dd4121@acme.test>
        MIME-Version: 1.0
        Content-Type: text/plain; charset=utf-8
        Content-Transfer-Encoding: base64
        Auto-Submitted: auto-generated

        it broke {{ event.reason }}  [31m
        second line

        revision: main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738

        -- 
        Kustomization/apps/web, kustomize-controller
    "#]])
    .await;
    World::new("nats", "nats://user:hush-word@nats.test:4222")
        .provider("channel: flux.events")
        .tells(expect![[r#"
            alert     apps/on-call
            takes     yes
            provider  apps/target (nats)
            sends     first this request

            PUB flux.events at nats.test:4222
            Nats-Msg-Id: 3117877abdd0cc64ae518a6b294eea40c912b358d1dc482ad9748c2c72dd4121
            login: what the address says

            {
              "involvedObject": {
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
                "kind": "Kustomization",
                "name": "web",
                "namespace": "apps"
              },
              "message": "it broke {{ event.reason }} \u001b[31m\nsecond line",
              "metadata": {
                "revision": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
              },
              "reason": "BuildFailed",
              "reportingController": "kustomize-controller",
              "severity": "error",
              "timestamp": "2026-01-02T03:04:05Z"
            }
        "#]])
        .await;
    World::new("otel", "https://otel.test/v1/traces")
        .tells(expect![[r#"
            alert     apps/on-call
            takes     yes
            provider  apps/target (otel)
            sends     first this request

            POST https://otel.test/*****/*****
            content-type: application/x-protobuf

            (468 bytes that are no text)
        "#]])
        .await;
}

#[tokio::test]
async fn a_commit_status_takes_no_template_and_asks_first() {
    World::new("github", "https://github.test/acme/app")
        .secret("token: hush-token")
        .annotated("hookgate.dev/template: x")
        .tells(expect![[r#"
            alert     apps/on-call
            warning   annotation hookgate.dev/template has no effect: the Provider's type sets commit statuses
            takes     yes
            provider  apps/target (github)
            sends     first this request

            GET https://github.test/api/v3/repos/*****/*****/commits/5394cb7f48332b2de7c17dd8b8384bbc84b7e738/statuses?per_page=100
            accept: application/vnd.github+json
            authorization: Bearer TOKEN
            x-github-api-version: 2022-11-28

        "#]])
        .await;
}

#[tokio::test]
async fn a_token_that_must_be_fetched_is_not_fetched() {
    let account = serde_json::json!({
        "type": "service_account",
        "client_email": "notifier@acme-prod.iam.gserviceaccount.com",
        "private_key_id": "hush",
        "private_key": KEY,
        "token_uri": "https://oauth2.test/token",
    });
    let account = account.to_string().replace('\'', "''");
    World::new("googlepubsub", "acme-prod")
        .provider("channel: flux")
        .secret(&format!("token: '{account}'"))
        .tells(expect![[r#"
            alert     apps/on-call
            takes     yes
            provider  apps/target (googlepubsub)
            token     is fetched first
            sends     first this request

            POST https://pubsub.googleapis.com/v1/projects/acme-prod/topics/flux:publish
            authorization: Bearer TOKEN
            content-type: application/json

            {
              "messages": [
                {
                  "attributes": {},
                  "data": "eyJpbnZvbHZlZE9iamVjdCI6eyJraW5kIjoiS3VzdG9taXphdGlvbiIsIm5hbWVzcGFjZSI6ImFwcHMiLCJuYW1lIjoid2ViIiwiYXBpVmVyc2lvbiI6Imt1c3RvbWl6ZS50b29sa2l0LmZsdXhjZC5pby92MSJ9LCJzZXZlcml0eSI6ImVycm9yIiwidGltZXN0YW1wIjoiMjAyNi0wMS0wMlQwMzowNDowNVoiLCJtZXNzYWdlIjoiaXQgYnJva2Uge3sgZXZlbnQucmVhc29uIH19IFx1MDAxYlszMW1cbnNlY29uZCBsaW5lIiwicmVhc29uIjoiQnVpbGRGYWlsZWQiLCJtZXRhZGF0YSI6eyJyZXZpc2lvbiI6Im1haW5Ac2hhMTo1Mzk0Y2I3ZjQ4MzMyYjJkZTdjMTdkZDhiODM4NGJiYzg0YjdlNzM4In0sInJlcG9ydGluZ0NvbnRyb2xsZXIiOiJrdXN0b21pemUtY29udHJvbGxlciJ9"
                }
              ]
            }
        "#]])
        .await;
}

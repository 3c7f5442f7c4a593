//! `alertmanager`: one firing alert, with Flux's labels, on which routes depend.
//!
//! Mended: `endsAt` of the year 1 is not sent; where an Alertmanager refuses names of labels that
//! Prometheus did not know before UTF-8 (`oci-digest`), they are sent again as `oci_digest`. Infos
//! fire too, as with Flux: their labels hold reason and severity, so they are not the alert that they
//! end. With `hookgate.dev/resolve` labels hold nothing that changes, and an info ends the alert.

use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use super::part::commit;
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Target};
use crate::api::event::{Event, Timestamp};

/// Alertmanager.
pub(super) struct Alertmanager;

impl ProviderType for Alertmanager {
    fn name(&self) -> &'static str {
        "alertmanager"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        context: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let url = target.url("invalid Alertmanager URL *****")?;
        let (alert, labels) = if target.resolve {
            if commit::is_progress(event) {
                return Ok(Exchange::nothing());
            }
            (lasting_alert(event, context), lasting_labels(event))
        } else {
            (alert(event), labels(event))
        };
        let send = |labels: &Labels| {
            let mut alert = alert.clone();
            alert["labels"] = labels.clone().into();
            authorized(HttpRequest::post(url.clone()), target).json(&[alert])
        };
        let plain = with_plain_names(&labels);
        let request = send(&labels);
        if plain == labels {
            return Ok(Exchange::once(request));
        }
        let again = send(&plain);
        Ok(Exchange::ask(request.also(&[400]), |reply| {
            Ok(if reply.status() == Some(400) {
                Exchange::once(again)
            } else {
                Exchange::nothing()
            })
        }))
    }
}

/// Metadata of revisions.
const CHANGING: [&str; 8] = [
    "app-version",
    "change_request",
    "commit",
    "oci-digest",
    "oci-revision",
    "originRevision",
    "revision",
    "summary",
];

type Labels = Map<String, Value>;

/// The alert of an event, but for its labels.
fn alert(event: &Event) -> Value {
    let mut annotations = json!({"message": event.message});
    if let Some(summary) = event.metadata.get("summary") {
        annotations["summary"] = summary.as_str().into();
    }
    let mut alert = json!({"status": "firing", "annotations": annotations});
    if let Some(time) = event.timestamp {
        alert["startsAt"] = time.to_string().into();
    }
    alert
}

/// The alert of an object, but for its labels: what changes is annotated.
fn lasting_alert(event: &Event, context: &Context<'_>) -> Value {
    let mut alert = alert(event);
    alert["annotations"]["reason"] = event.reason.as_str().into();
    for (key, value) in event.metadata.iter().filter(|(key, _)| changes(key)) {
        alert["annotations"][key.replace('-', "_")] = value.as_str().into();
    }
    if !event.is_error() {
        let now = Timestamp::from_unix(i64::try_from(context.now).unwrap_or_default());
        alert["status"] = "resolved".into();
        alert["endsAt"] = event.timestamp.unwrap_or(now).to_string().into();
    }
    alert
}

/// The labels of an object's alert.
fn lasting_labels(event: &Event) -> Labels {
    let mut labels = labels(event);
    labels.retain(|key, _| !changes(key) && key != "reason");
    let name = format!("Flux{}", event.involved_object.kind);
    labels.insert("alertname".to_owned(), name.into());
    labels.insert("severity".to_owned(), "error".into());
    labels
}

/// Whether the value of a metadata key is another with the next revision.
fn changes(key: &str) -> bool {
    CHANGING.contains(&key)
}

/// User and password win over a token.
fn authorized(request: HttpRequest, target: &Target) -> HttpRequest {
    match (target.login(), target.token("a token")) {
        (Some((user, password)), _) => request.basic(user, password.expose_secret()),
        (None, Ok(token)) => request.bearer(&token),
        (None, Err(_)) => request,
    }
}

fn labels(event: &Event) -> Labels {
    let object = &event.involved_object;
    let metadata = event.metadata.iter().filter(|(key, _)| *key != "summary");
    let metadata = metadata.map(|(key, value)| (key.clone(), value.clone()));
    let own = [
        (
            "alertname",
            format!("Flux{}{}", object.kind, title(&event.reason)),
        ),
        ("severity", event.severity.clone()),
        ("reason", event.reason.clone()),
        ("kind", object.kind.clone()),
        ("name", object.name.clone()),
        ("namespace", object.namespace.clone()),
        ("reportingcontroller", event.reporting_controller.clone()),
    ];
    let own = own.map(|(key, value)| (key.to_owned(), value));
    let all = metadata.chain(own);
    all.map(|(key, value)| (key, value.into())).collect()
}

/// A capital at the beginning of a word and nowhere else, as nc writes reasons.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_first = true;
    for c in text.chars() {
        if is_first {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
        // These hold two letters together.
        is_first = !c.is_alphanumeric() && !matches!(c, '_' | '.' | '\'' | ':');
    }
    out
}

/// Names as Prometheus had them first: letters, digits and `_`, no digit in front.
fn with_plain_names(labels: &Labels) -> Labels {
    let plain = |name: &String| {
        let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let name: String = name.chars().map(legal).collect();
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            format!("_{name}")
        } else {
            name
        }
    };
    let labels = labels.iter();
    labels
        .map(|(name, value)| (plain(name), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, Example, check, check_with};

    #[test]
    fn an_error_fires() {
        check(
            &Alertmanager,
            testing::error(),
            expect![[r#"
            POST https://provider.test/hook/hush-address
            authorization: Bearer hush-token
            content-type: application/json

            [
              {
                "annotations": {
                  "message": "validation failed: <Ingress> & more\nsecond line",
                  "summary": "prod impacted"
                },
                "labels": {
                  "alertname": "FluxKustomizationValidationfailed",
                  "change_request": "7",
                  "cluster": "prod",
                  "kind": "Kustomization",
                  "name": "webapp",
                  "namespace": "apps",
                  "reason": "ValidationFailed",
                  "reportingcontroller": "kustomize-controller",
                  "revision": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738",
                  "severity": "error"
                },
                "startsAt": "2026-01-02T03:04:05Z",
                "status": "firing"
              }
            ]

            done
        "#]],
        );
    }

    #[test]
    fn names_of_labels_that_are_refused_are_sent_again_in_plain() {
        let mut event = testing::info();
        event.metadata = [("oci-digest", "sha256:a"), ("1st", "x"), ("plain_1", "y")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let example = Example::answering([(400, "invalid label set"), (200, "")]);
        check_with(
            &Alertmanager,
            event.clone(),
            &example,
            expect![[r#"
            POST https://provider.test/hook/hush-address
            authorization: Bearer hush-token
            content-type: application/json

            [
              {
                "annotations": {
                  "message": "Reconciliation finished"
                },
                "labels": {
                  "1st": "x",
                  "alertname": "FluxKustomizationReconciliationsucceeded",
                  "kind": "Kustomization",
                  "name": "webapp",
                  "namespace": "apps",
                  "oci-digest": "sha256:a",
                  "plain_1": "y",
                  "reason": "ReconciliationSucceeded",
                  "reportingcontroller": "kustomize-controller",
                  "severity": "info"
                },
                "startsAt": "2026-01-02T03:04:05Z",
                "status": "firing"
              }
            ]

            POST https://provider.test/hook/hush-address
            authorization: Bearer hush-token
            content-type: application/json

            [
              {
                "annotations": {
                  "message": "Reconciliation finished"
                },
                "labels": {
                  "_1st": "x",
                  "alertname": "FluxKustomizationReconciliationsucceeded",
                  "kind": "Kustomization",
                  "name": "webapp",
                  "namespace": "apps",
                  "oci_digest": "sha256:a",
                  "plain_1": "y",
                  "reason": "ReconciliationSucceeded",
                  "reportingcontroller": "kustomize-controller",
                  "severity": "info"
                },
                "startsAt": "2026-01-02T03:04:05Z",
                "status": "firing"
              }
            ]

            done
        "#]],
        );
        let (requests, end) =
            testing::converse(&Alertmanager, &event, &Example::answering([(200, "")]));
        assert_eq!((requests.len(), end), (1, Ok(())));
    }

    #[test]
    fn where_alerts_are_resolved_an_info_ends_the_alert_of_its_object() {
        let mut example = Alertmanager.example();
        example.target.resolve = true;
        check_with(
            &Alertmanager,
            testing::info(),
            &example,
            expect![[r#"
            POST https://provider.test/hook/hush-address
            authorization: Bearer hush-token
            content-type: application/json

            [
              {
                "annotations": {
                  "change_request": "7",
                  "message": "Reconciliation finished",
                  "reason": "ReconciliationSucceeded",
                  "revision": "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738",
                  "summary": "prod impacted"
                },
                "endsAt": "2026-01-02T03:04:05Z",
                "labels": {
                  "alertname": "FluxKustomization",
                  "cluster": "prod",
                  "kind": "Kustomization",
                  "name": "webapp",
                  "namespace": "apps",
                  "reportingcontroller": "kustomize-controller",
                  "severity": "error"
                },
                "startsAt": "2026-01-02T03:04:05Z",
                "status": "resolved"
              }
            ]

            done
        "#]],
        );
        assert_eq!(
            lasting_labels(&testing::error()),
            lasting_labels(&testing::info())
        );
        let error = testing::request(&Alertmanager, &testing::error(), &example.target);
        let error: Value = serde_json::from_slice(&error.body).unwrap();
        assert_eq!(
            (&error[0]["status"], error[0].get("endsAt")),
            (&"firing".into(), None)
        );
        let mut progress = testing::info();
        progress.reason = "Progressing".to_owned();
        let (requests, end) = testing::converse(&Alertmanager, &progress, &example);
        assert_eq!((requests.len(), end), (0, Ok(())));
    }

    #[test]
    fn reasons_are_titles_as_in_flux() {
        for (reason, want) in [
            ("ValidationFailed", "Validationfailed"),
            ("event-happened", "Event-Happened"),
            ("two words", "Two Words"),
            ("snake_case", "Snake_case"),
            ("", ""),
        ] {
            assert_eq!(title(reason), want);
        }
    }

    #[test]
    fn user_and_password_win_over_a_token() {
        let authorization = |target: &Target| {
            let request = testing::request(&Alertmanager, &testing::info(), target);
            let mut headers = request.headers.into_iter();
            let found = headers.find(|(name, _)| name == "Authorization");
            found.map(|(_, value)| value.expose_secret().to_owned())
        };
        let mut target = Alertmanager.example().target;
        target.password = Some("p".to_owned().into());
        assert_eq!(authorization(&target).unwrap(), "Bearer hush-token");
        target.username = "u".to_owned();
        assert_eq!(authorization(&target).unwrap(), "Basic dTpw");
        target.password = None;
        target.token = None;
        assert_eq!(authorization(&target), None);
        target.address = "https://u:p@alertmanager.test/api/v2/alerts/"
            .to_owned()
            .into();
        assert_eq!(authorization(&target).unwrap(), "Basic dTpw");
    }
}

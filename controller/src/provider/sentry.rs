//! `sentry`: an error as an event, anything else as a transaction of one span, in an envelope.
//!
//! The address is the DSN, the channel the environment; it is never taken from the controller's
//! own environment. Mended: the delivery has a result; ids stay the same over attempts, so that
//! Sentry drops a second one; other severities are no bogus error; the metadata of an error are in
//! `extra` too, as documented; texts keep to Sentry's limits.

use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use url::Url;

use super::part::fit::{Limit, fit};
use super::part::git::below;
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Target};
use crate::api::event::{Event, Timestamp};
#[cfg(test)]
use crate::provider::testing::Example;

const CLIENT: &str = concat!("hookgate/", env!("CARGO_PKG_VERSION"));

const LIMIT: Limit = Limit {
    total: 200_000,
    message: 8_192,
    pairs: 100,
    key: 200,
    value: 200,
    markup: 0,
    cost: |_| 1,
};

/// Sentry.
pub(super) struct Sentry;

impl ProviderType for Sentry {
    fn name(&self) -> &'static str {
        "sentry"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        context: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let dsn = Dsn::of(target)?;
        let event = fit(event, &LIMIT);
        let (kind, mut item) = if event.is_error() {
            ("event", error(&event))
        } else {
            ("transaction", transaction(&event, context))
        };
        let id = hex::encode(&context.key()[..16]);
        let time = event.timestamp.unwrap_or_else(|| now(context));
        item["event_id"] = id.as_str().into();
        item["timestamp"] = time.to_string().into();
        item["transaction"] = name(&event).into();
        item["message"] = event.message.as_str().into();
        item["platform"] = "other".into();
        item["sdk"] = json!({"name": "hookgate", "version": env!("CARGO_PKG_VERSION")});
        if !target.channel.is_empty() {
            item["environment"] = target.channel.as_str().into();
        }
        let item = item.to_string();
        let header = json!({"type": kind, "length": item.len()});
        let envelope = format!("{}\n{header}\n{item}\n", json!({"event_id": id}));
        Ok(Exchange::once(
            HttpRequest::post(dsn.url)
                .header("X-Sentry-Auth", dsn.auth)
                .body("application/x-sentry-envelope", envelope.into_bytes()),
        ))
    }

    #[cfg(test)]
    fn example(&self) -> Example {
        let mut example = Example::default();
        example.target.address = "https://hush-key@sentry.test/42".to_owned().into();
        example.target.channel = "staging".to_owned();
        example
    }
}

/// Where a DSN leads to.
struct Dsn {
    url: Url,
    auth: String,
}

impl Dsn {
    /// `https://<public>[:<secret>]@<host>[/<path>]/<project>`.
    fn of(target: &Target) -> Result<Self, ProviderError> {
        if target.address.expose_secret().is_empty() {
            return Err(ProviderError::Config(
                "DSN cannot be empty; set spec.address or the Secret's address".to_owned(),
            ));
        }
        let unusable = || {
            ProviderError::Config(
                "the address is not a DSN, such as https://key@host/project".to_owned(),
            )
        };
        let mut url = target.url("invalid DSN").map_err(|_| unusable())?;
        let path = url.path().trim_matches('/').to_owned();
        let (prefix, project) = path.rsplit_once('/').unwrap_or(("", &path));
        if url.username().is_empty() || project.is_empty() {
            return Err(unusable());
        }
        let mut auth = format!(
            "Sentry sentry_version=7, sentry_client={CLIENT}, sentry_key={}",
            url.username()
        );
        if let Some(secret) = url.password() {
            auth += &format!(", sentry_secret={secret}");
        }
        url.set_username("").map_err(|()| unusable())?;
        url.set_password(None).map_err(|()| unusable())?;
        url.set_query(None);
        url.set_path(prefix);
        Ok(Self {
            url: below(&url, ["api", project, "envelope", ""])?,
            auth,
        })
    }
}

fn now(context: &Context<'_>) -> Timestamp {
    Timestamp::from_unix(i64::try_from(context.now).unwrap_or_default())
}

/// `Kustomization: apps/webapp`.
fn name(event: &Event) -> String {
    let object = &event.involved_object;
    format!("{}: {}/{}", object.kind, object.namespace, object.name)
}

fn error(event: &Event) -> Value {
    json!({
        "level": event.severity,
        "server_name": event.reporting_controller,
        "contexts": {"metadata": event.metadata},
        "extra": event.metadata,
    })
}

fn transaction(event: &Event, context: &Context<'_>) -> Value {
    let time = event.timestamp.unwrap_or_else(|| now(context)).to_string();
    let tags = tags(event);
    let trace = json!({
        "trace_id": hex::encode(&context.key()[..16]),
        "span_id": hex::encode(&context.key()[16..24]),
        "op": "event",
    });
    let mut span = trace.clone();
    span["start_timestamp"] = time.as_str().into();
    span["timestamp"] = time.as_str().into();
    span["tags"] = tags.clone();
    json!({
        "type": "transaction",
        "start_timestamp": time,
        "contexts": {"trace": trace},
        "tags": tags,
        "spans": [span],
    })
}

fn tags(event: &Event) -> Value {
    let object = &event.involved_object;
    let own = [
        ("flux_involved_object_kind", &object.kind),
        ("flux_involved_object_namespace", &object.namespace),
        ("flux_involved_object_name", &object.name),
        ("flux_reporting_controller", &event.reporting_controller),
        ("flux_reporting_instance", &event.reporting_instance),
        ("flux_reason", &event.reason),
    ];
    let own = own.map(|(key, value)| (key.to_owned(), value.as_str().into()));
    let metadata = event.metadata.iter();
    let metadata = metadata.map(|(key, value)| (key.clone(), value.as_str().into()));
    own.into_iter()
        .chain(metadata)
        .collect::<Map<_, _>>()
        .into()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, check};

    #[test]
    fn an_error_is_an_event() {
        check(
            &Sentry,
            testing::error(),
            expect![[r#"
            POST https://sentry.test/api/42/envelope/
            content-type: application/x-sentry-envelope
            x-sentry-auth: Sentry sentry_version=7, sentry_client=hookgate/0.1.0, sentry_key=hush-key

            {"event_id":"3803d3be840f0a6e52fd213ceca66867"}
            {"length":618,"type":"event"}
            {"contexts":{"metadata":{"change_request":"7","cluster":"prod","revision":"main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738","summary":"prod impacted"}},"environment":"staging","event_id":"3803d3be840f0a6e52fd213ceca66867","extra":{"change_request":"7","cluster":"prod","revision":"main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738","summary":"prod impacted"},"level":"error","message":"validation failed: <Ingress> & more\nsecond line","platform":"other","sdk":{"name":"hookgate","version":"0.1.0"},"server_name":"kustomize-controller","timestamp":"2026-01-02T03:04:05Z","transaction":"Kustomization: apps/webapp"}


            done
        "#]],
        );
    }

    #[test]
    fn an_info_is_a_transaction_of_one_span() {
        check(
            &Sentry,
            testing::info(),
            expect![[r#"
            POST https://sentry.test/api/42/envelope/
            content-type: application/x-sentry-envelope
            x-sentry-auth: Sentry sentry_version=7, sentry_client=hookgate/0.1.0, sentry_key=hush-key

            {"event_id":"089f535cbebe99ad316a8c3846d066d1"}
            {"length":1401,"type":"transaction"}
            {"contexts":{"trace":{"op":"event","span_id":"ecfb431df4419373","trace_id":"089f535cbebe99ad316a8c3846d066d1"}},"environment":"staging","event_id":"089f535cbebe99ad316a8c3846d066d1","message":"Reconciliation finished","platform":"other","sdk":{"name":"hookgate","version":"0.1.0"},"spans":[{"op":"event","span_id":"ecfb431df4419373","start_timestamp":"2026-01-02T03:04:05Z","tags":{"change_request":"7","cluster":"prod","flux_involved_object_kind":"Kustomization","flux_involved_object_name":"webapp","flux_involved_object_namespace":"apps","flux_reason":"ReconciliationSucceeded","flux_reporting_controller":"kustomize-controller","flux_reporting_instance":"kustomize-controller-abc","revision":"main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738","summary":"prod impacted"},"timestamp":"2026-01-02T03:04:05Z","trace_id":"089f535cbebe99ad316a8c3846d066d1"}],"start_timestamp":"2026-01-02T03:04:05Z","tags":{"change_request":"7","cluster":"prod","flux_involved_object_kind":"Kustomization","flux_involved_object_name":"webapp","flux_involved_object_namespace":"apps","flux_reason":"ReconciliationSucceeded","flux_reporting_controller":"kustomize-controller","flux_reporting_instance":"kustomize-controller-abc","revision":"main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738","summary":"prod impacted"},"timestamp":"2026-01-02T03:04:05Z","transaction":"Kustomization: apps/webapp","type":"transaction"}


            done
        "#]],
        );
    }

    #[test]
    fn another_severity_is_a_transaction_too() {
        let mut event = testing::error();
        event.severity = "trace".to_owned();
        let request = testing::request(&Sentry, &event, &Sentry.example().target);
        let text = String::from_utf8(request.body).unwrap();
        assert_eq!(text.lines().count(), 3);
        let item: Value = serde_json::from_str(text.lines().nth(2).unwrap()).unwrap();
        assert_eq!(item["type"], "transaction");
    }

    #[test]
    fn a_dsn_says_where_and_who() {
        for (address, url, auth) in [
            (
                "https://key@sentry.test/42",
                "https://sentry.test/api/42/envelope/",
                "sentry_key=key",
            ),
            (
                "http://key:secret@sentry.test:9000/a/b/42/",
                "http://sentry.test:9000/a/b/api/42/envelope/",
                "sentry_key=key, sentry_secret=secret",
            ),
        ] {
            let mut target = Sentry.example().target;
            target.address = address.to_owned().into();
            let dsn = Dsn::of(&target).unwrap();
            assert_eq!(dsn.url.as_str(), url);
            assert!(dsn.auth.ends_with(auth), "{}", dsn.auth);
        }
        for (address, want) in [
            (
                "",
                "DSN cannot be empty; set spec.address or the Secret's address",
            ),
            (
                "https://sentry.test/42",
                "the address is not a DSN, such as https://key@host/project",
            ),
            (
                "https://key@sentry.test",
                "the address is not a DSN, such as https://key@host/project",
            ),
        ] {
            let mut target = Sentry.example().target;
            target.address = address.to_owned().into();
            let want = format!("the Provider cannot be used: {want}");
            assert_eq!(testing::refusal(&Sentry, &testing::info(), &target), want);
        }
    }

    #[test]
    fn texts_keep_to_their_limits() {
        let event = fit(&testing::huge(), &LIMIT);
        assert_eq!(event.message.chars().count(), 8_192);
        let pairs = event.metadata.iter();
        assert!(
            pairs.len() == 80
                && pairs
                    .into_iter()
                    .all(|(_, value)| value.chars().count() == 200)
        );
    }
}

//! The name of a commit status, where `spec.commitStatusExpr` makes one. Pure.

use serde::Serialize;
use serde_json::{Value, json};

use crate::api::alert::{API_VERSION, Alert};
use crate::api::event::Event;
use crate::api::provider::Provider;
use crate::cel::{CelError, Declared, Expression, Scope};

/// The expression has no value for the event.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error(
    "failed to create commit status: failed to evaluate the spec.commitStatusExpr CEL expression for the event: {0}"
)]
pub struct CommitStatusError(CelError);

/// Evaluates the Provider's expression, if it has one, on an event whose metadata is merged.
///
/// # Errors
/// [`CommitStatusError`] if it can't be compiled, fails, or makes no string.
pub fn evaluate(
    event: &Event,
    provider: &Provider,
    alert: &Alert,
) -> Result<Option<String>, CommitStatusError> {
    let Some(source) = provider.spec.commit_status_expr.as_deref() else {
        return Ok(None);
    };
    if source.is_empty() {
        return Ok(None);
    }
    let declared = Declared {
        alerting: true,
        ..Declared::default()
    };
    let expression = Expression::text(source, &declared).map_err(CommitStatusError)?;
    let event = json!(event);
    let provider = object("Provider", &provider.metadata, &provider.spec);
    let alert = object("Alert", &alert.metadata, &alert.spec);
    let scope = Scope {
        event: Some(&event),
        provider: Some(&provider),
        alert: Some(&alert),
        ..Scope::default()
    };
    let name = expression.render(&scope).map_err(CommitStatusError)?;
    Ok(Some(name))
}

/// An object as an API server shows it: what is empty is not there.
fn object(kind: &str, metadata: &impl Serialize, spec: &impl Serialize) -> Value {
    let mut object = json!({
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
    });
    prune(&mut object);
    object
}

fn prune(value: &mut Value) {
    if let Value::Object(map) = value {
        map.values_mut().for_each(prune);
        map.retain(|_, value| {
            let is_empty = value.is_null() || *value == json!({}) || *value == json!("");
            !is_empty && *value != json!([]) && *value != json!(false)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluated(source: &str) -> Result<Option<String>, String> {
        let mut event = Event::default();
        event.involved_object.kind = "Kustomization".to_owned();
        event.involved_object.name = "gitops-system".to_owned();
        event.metadata.insert("foo".to_owned(), "bar".to_owned());
        let mut provider = Provider::default();
        provider.metadata.name = "git".to_owned();
        provider.metadata.uid = Some("0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a".to_owned());
        provider.spec.commit_status_expr = Some(source.to_owned());
        let mut alert = Alert::default();
        alert.metadata.name = "on-call".to_owned();
        evaluate(&event, &provider, &alert).map_err(|error| error.to_string())
    }

    #[test]
    fn an_expression_sees_event_provider_and_alert() {
        for (source, want) in [
            ("", None),
            (
                "(event.involvedObject.kind + '/' + event.involvedObject.name + '/' + event.metadata.foo + '/' + provider.metadata.uid.split('-').first().value()).lowerAscii()",
                Some("kustomization/gitops-system/bar/0c9c2e41"),
            ),
            (
                "alert.metadata.name + '/' + provider.metadata.name + '/' + alert.kind",
                Some("on-call/git/Alert"),
            ),
            ("has(alert.spec.summary) ? 'a' : 'b'", Some("b")),
        ] {
            assert_eq!(evaluated(source), Ok(want.map(str::to_owned)), "{source}");
        }
    }

    #[test]
    fn an_expression_that_would_take_too_long_is_given_up() {
        let mut source = "'x'".to_owned();
        for depth in 0..8 {
            let list = "[1,2,3,4,5,6,7,8,9,10]";
            source = format!("{list}.map(v{depth}, {source}).map(w{depth}, 'x')[0]");
        }
        let error = evaluated(&source).unwrap_err();
        assert!(
            error.contains("expression needs more than 2000000 steps on this input"),
            "{error}"
        );
    }

    #[test]
    fn what_makes_no_string_is_refused_with_the_reason() {
        let begins = "failed to create commit status: failed to evaluate the spec.commitStatusExpr CEL expression for the event: ";
        for (source, says) in [
            ("true", "expected string, got bool"),
            ("notification.metadata.name", "notification"),
            ("event.metadata.missing + ''", "no such key: missing"),
            ("event.severity", "expected string, got dyn"),
            ("'a' +", "line 1"),
        ] {
            let error = evaluated(source).unwrap_err();
            let rest = error.strip_prefix(begins).unwrap_or_default();
            assert!(rest.contains(says), "{source}: {error}");
        }
    }
}

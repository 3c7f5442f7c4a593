//! `spec.commitStatusExpr`: the name of a commit status, in CEL.

use serde_json::Value;

use super::error::ProviderError;
use crate::api::event::Event;
use crate::cel::{CelError, Declared, Expression, Scope};

/// What CEL sees here.
const DECLARED: Declared = Declared {
    claims: false,
    vars: false,
    objects: false,
    alerts: true,
};

/// A Provider's expression, compiled once.
#[derive(Debug)]
pub struct CommitStatusExpr(Expression);

impl CommitStatusExpr {
    /// Compiles an expression of type string.
    ///
    /// # Errors
    /// [`ProviderError::Config`] with what is wrong, and where.
    pub fn compile(source: &str) -> Result<Self, ProviderError> {
        Expression::text(source, &DECLARED)
            .map(Self)
            .map_err(|error| ProviderError::Config(failed(&error)))
    }

    /// The name for an event, whose metadata is merged; `provider` and `alert` are the objects as
    /// the API server gives them.
    ///
    /// # Errors
    /// [`ProviderError::Event`] where the expression has no value for it, as where a key is missing.
    pub fn name(
        &self,
        event: &Event,
        provider: &Value,
        alert: &Value,
    ) -> Result<String, ProviderError> {
        // Strings and maps of strings always serialise.
        let event = serde_json::to_value(event).unwrap_or_default();
        let scope = Scope {
            event: Some(&event),
            provider: Some(provider),
            alert: Some(alert),
            ..Scope::default()
        };
        let name = self.0.render(&scope);
        name.map_err(|error| ProviderError::Event(failed(&error)))
    }
}

fn failed(error: &CelError) -> String {
    format!(
        "failed to create commit status: failed to evaluate the spec.commitStatusExpr CEL \
         expression for the event: {error}"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::testing;

    /// The name, or the last words of what is wrong.
    fn name(source: &str) -> Result<String, String> {
        let object = |kind: &str, name: &str, uid: &str, spec: Value| {
            json!({
                "apiVersion": "notification.toolkit.fluxcd.io/v1beta3",
                "kind": kind,
                "metadata": {"name": name, "namespace": "apps", "uid": uid},
                "spec": spec,
            })
        };
        let uid = "0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a";
        let provider = object("Provider", "status", uid, json!({"type": "github"}));
        let uid = "6b1d7a52-0f3e-4a59-8a4b-2f8f0c8b1c11";
        let alert = object("Alert", "on-call", uid, json!({"eventSeverity": "info"}));
        let named = CommitStatusExpr::compile(source)
            .and_then(|name| name.name(&testing::error(), &provider, &alert));
        named.map_err(|error| {
            assert!(error.is_permanent());
            let text = error.to_string();
            text.split_once("for the event: ").unwrap().1.to_owned()
        })
    }

    #[test]
    fn a_name_is_made_of_event_provider_and_alert() {
        for (source, want) in [
            (
                "event.involvedObject.kind + '/' + event.involvedObject.name + '/' + event.metadata.cluster + '/' + provider.metadata.uid",
                "Kustomization/webapp/prod/0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a",
            ),
            (
                "(event.involvedObject.kind + '/' + event.involvedObject.name + '/' + event.metadata.cluster + '/' + provider.metadata.uid.split('-').first().value()).lowerAscii()",
                "kustomization/webapp/prod/0c9c2e41",
            ),
            (
                "alert.metadata.namespace + '/' + alert.metadata.name + '/' + provider.spec.type + '/' + alert.spec.eventSeverity",
                "apps/on-call/github/info",
            ),
            (
                "event.timestamp + ' ' + event.severity",
                "2026-01-02T03:04:05Z error",
            ),
            ("event.metadata[?'missing'].orValue('none') + '!'", "none!"),
            ("''", ""),
        ] {
            assert_eq!(name(source), Ok(want.to_owned()), "{source}");
        }
    }

    #[test]
    fn an_expression_without_a_text_is_an_error_that_says_where() {
        for (source, want) in [
            (
                "event.involvedObject.name + '/' + event.metadata.missing",
                "line 1, column 49: no such key: missing",
            ),
            (
                "event.involvedObject.kind == 'Kustomization'",
                "CEL expression output type mismatch: expected string, got bool",
            ),
            (
                "event.severity",
                "CEL expression output type mismatch: expected string, got dyn",
            ),
            (
                "notification.metadata.name + 'x'",
                "line 1, column 1: undeclared reference to 'notification' (variables here: event, provider, alert)",
            ),
            ("", "expression is empty"),
        ] {
            assert_eq!(name(source), Err(want.to_owned()), "{source}");
        }
    }
}

//! The claims of a `generic-oidc` token: variables and validations, in CEL. Pure.

use serde_json::Value;

use crate::api::receiver::OidcProvider;
use crate::cel::{CelError, Declared, Expression, Scope, Vars};

/// What CEL sees here.
const DECLARED: Declared = Declared {
    claims: true,
    vars: true,
    objects: false,
    alerting: false,
};

/// One issuer's variables and validations, compiled.
#[derive(Debug)]
pub struct Claims {
    variables: Vec<(String, Expression)>,
    validations: Vec<(Expression, String)>,
}

/// Why a token's claims were refused.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// Validations were false; their messages.
    #[error("token validation failed: {}", .0.join("; "))]
    Failed(Vec<String>),
    /// An expression could not be evaluated, as where a claim is missing.
    #[error("failed to evaluate {what}")]
    Evaluate {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: CelError,
    },
}

impl Claims {
    /// Compiles the expressions of one `spec.oidcProviders[]`.
    ///
    /// # Errors
    /// Which expression is wrong, and how.
    pub fn compile(provider: &OidcProvider) -> Result<Self, String> {
        let mut variables = Vec::new();
        for (i, variable) in provider.variables.iter().enumerate() {
            let expression = Expression::value(&variable.expression, &DECLARED)
                .map_err(|error| format!("invalid variables[{i}] expression: {error}"))?;
            variables.push((variable.name.clone(), expression));
        }
        let mut validations = Vec::new();
        for (i, validation) in provider.validations.iter().enumerate() {
            let expression = Expression::filter(&validation.expression, &DECLARED)
                .map_err(|error| format!("invalid validations[{i}] expression: {error}"))?;
            validations.push((expression, validation.message.clone()));
        }
        Ok(Self {
            variables,
            validations,
        })
    }

    /// Evaluates the variables in order, then all validations.
    ///
    /// # Errors
    /// [`ClaimsError`], with the messages of every validation that is false.
    pub fn check(&self, claims: &Value) -> Result<(), ClaimsError> {
        let mut vars = Vars::default();
        for (name, expression) in &self.variables {
            let value = expression
                .evaluate(&Scope {
                    claims: Some(claims),
                    vars: Some(&vars),
                    ..Scope::default()
                })
                .map_err(|source| ClaimsError::Evaluate {
                    what: format!("variable {name:?}"),
                    source,
                })?;
            vars.insert(name.clone(), value);
        }
        let scope = Scope {
            claims: Some(claims),
            vars: Some(&vars),
            ..Scope::default()
        };
        let mut failed = Vec::new();
        for (i, (expression, message)) in self.validations.iter().enumerate() {
            let holds = expression
                .matches(&scope)
                .map_err(|source| ClaimsError::Evaluate {
                    what: format!("validations[{i}]"),
                    source,
                })?;
            if !holds {
                failed.push(message.clone());
            }
        }
        if failed.is_empty() {
            Ok(())
        } else {
            Err(ClaimsError::Failed(failed))
        }
    }
}

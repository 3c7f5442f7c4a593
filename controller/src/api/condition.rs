//! Why a Receiver is not ready: nc's reasons and messages, to the letter.

/// Reason and message of `Ready=False`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The condition's reason.
    pub reason: &'static str,
    /// The condition's message.
    pub message: String,
    /// Whether only a change of the spec can mend it (`Stalled`).
    pub is_terminal: bool,
}

/// The spec breaks a rule.
pub fn validation_failed(text: &str) -> Failure {
    terminal("ValidationFailed", text)
}

/// A CEL expression does not compile.
pub fn invalid_cel(text: &str) -> Failure {
    terminal("InvalidCELExpression", text)
}

/// The Secret or its token is missing.
pub fn token_not_found(text: &str) -> Failure {
    Failure {
        reason: "TokenNotFound",
        message: text.to_owned(),
        is_terminal: false,
    }
}

fn terminal(reason: &'static str, text: &str) -> Failure {
    let message = format!("Reconciliation failed terminally due to configuration error: {text}");
    Failure {
        reason,
        message,
        is_terminal: true,
    }
}

//! Where what an Alert's owner has to know goes: to the log; in a cluster also to Events on the Alert.

use std::fmt;

use super::select::Warning;

/// Tells an Alert's owner.
pub trait Warn: fmt::Debug + Send + Sync + 'static {
    /// Tells of one thing. `alert` is `namespace/name`; the message holds no secret.
    fn warn(&self, alert: &str, warning: &Warning);
}

/// Tells the log only.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogWarnings;

impl Warn for LogWarnings {
    fn warn(&self, alert: &str, warning: &Warning) {
        let Warning { reason, message } = warning;
        tracing::warn!(alert, reason, message, "alert needs attention");
    }
}

//! The one place that asks the system for the time; everything else gets it as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time in milliseconds.
#[expect(clippy::disallowed_methods, reason = "this is where the time comes from")]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

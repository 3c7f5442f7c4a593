//! The one place that asks the system for the time; everything else gets it as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};

/// Unix time in milliseconds.
pub fn now_ms() -> u64 {
    now_ns() / 1_000_000
}

/// Unix time in nanoseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "this is where the time comes from"
)]
pub fn now_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Unix nanoseconds as RFC 3339 in UTC, with all nine digits.
pub fn rfc3339(unix_ns: u64) -> String {
    let nanos = i64::try_from(unix_ns).unwrap_or(i64::MAX);
    DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// Unix milliseconds as RFC 3339 in UTC, in whole seconds: as Kubernetes writes times.
pub fn rfc3339_seconds(unix_ms: u64) -> String {
    let millis = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    DateTime::from_timestamp_millis(millis)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}

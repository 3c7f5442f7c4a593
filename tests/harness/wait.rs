//! Waiting without fixed sleeps: a probe is polled until it answers or a deadline passes.

use std::thread;
use std::time::{Duration, Instant};

/// How often a probe is asked.
pub const POLL: Duration = Duration::from_millis(50);

/// How long a started part, or an effect that was asked for, may take on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The deadline passed before the probe answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("waited {after:?} in vain for {what}")]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub after: Duration,
}

/// Asks `probe` every [`POLL`] until it answers `Some`, for at most `patience`. It is asked at least once.
///
/// # Errors
///
/// [`TimedOut`] when the deadline passes.
pub fn until<T>(
    what: &str,
    patience: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> Result<T, TimedOut> {
    let start = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return Ok(answer);
        }
        if start.elapsed() >= patience {
            return Err(TimedOut {
                what: what.to_owned(),
                after: patience,
            });
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_asked_again_until_it_answers() {
        let mut asked = 0;
        let answer = until("three questions", PATIENCE, || {
            asked += 1;
            (asked == 3).then_some("yes")
        });
        assert_eq!((answer, asked), (Ok("yes"), 3));
    }

    #[test]
    fn a_probe_that_never_answers_times_out_by_name() {
        let error = until::<()>("godot", Duration::ZERO, || None).unwrap_err();
        assert_eq!(error.to_string(), "waited 0ns in vain for godot");
    }
}

//! When an issuer is asked again. Pure: the time is given.

use std::time::Duration;

use tokio::time::Instant;

/// The times of [`super::Settings`].
#[derive(Clone, Debug)]
pub(super) struct Intervals {
    pub(super) refresh: Duration,
    pub(super) bounds: (Duration, Duration),
    pub(super) retry: Duration,
    pub(super) max_age: Duration,
}

/// The attempts made for one issuer, and the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    attempted: Option<Instant>,
    fetched: Option<Instant>,
    failures: u32,
    due: Instant,
}

impl Schedule {
    /// Due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            attempted: None,
            fetched: None,
            failures: 0,
            due: now,
        }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due <= now
    }

    /// Whether an attempt before its time is allowed.
    pub(super) fn may_hurry(&self, now: Instant, intervals: &Intervals) -> bool {
        self.attempted
            .is_none_or(|attempted| now.duration_since(attempted) >= intervals.retry)
    }

    /// Whether the keys were fetched so long ago that they are no longer used.
    pub(super) fn is_too_old(&self, now: Instant, intervals: &Intervals) -> bool {
        self.fetched
            .is_none_or(|fetched| now.duration_since(fetched) >= intervals.max_age)
    }

    /// An attempt that ends without an outcome counts as one failure.
    pub(super) fn begin(&mut self, now: Instant, intervals: &Intervals) {
        self.attempted = Some(now);
        self.due = now + intervals.retry;
    }

    pub(super) fn succeed(
        &mut self,
        now: Instant,
        max_age: Option<Duration>,
        intervals: &Intervals,
    ) {
        let (shortest, longest) = intervals.bounds;
        let age = max_age.map_or(intervals.refresh, |age| age.min(longest).max(shortest));
        self.fetched = Some(now);
        self.failures = 0;
        self.due = now + age;
    }

    /// Waits twice as long after each failure, as long as the longest refresh at most.
    pub(super) fn fail(&mut self, now: Instant, intervals: &Intervals) {
        let factor = 2_u32.saturating_pow(self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.due = now
            + intervals
                .retry
                .saturating_mul(factor)
                .min(intervals.bounds.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn intervals() -> Intervals {
        Intervals {
            refresh: 900 * SECOND,
            bounds: (60 * SECOND, 3600 * SECOND),
            retry: 30 * SECOND,
            max_age: 86_400 * SECOND,
        }
    }

    fn delay(schedule: &Schedule, now: Instant) -> u64 {
        schedule.due().duration_since(now).as_secs()
    }

    #[test]
    fn keys_are_fetched_again_when_the_issuer_says_within_bounds() {
        let now = Instant::now();
        for (max_age, expected) in [
            (None, 900),
            (Some(0), 60),
            (Some(61), 61),
            (Some(3600), 3600),
            (Some(u64::MAX), 3600),
        ] {
            let mut schedule = Schedule::new(now);
            assert!(schedule.is_due(now));
            schedule.succeed(now, max_age.map(Duration::from_secs), &intervals());
            assert_eq!(delay(&schedule, now), expected, "{max_age:?}");
            assert!(!schedule.is_due(now));
        }
    }

    #[test]
    fn a_failing_issuer_is_asked_less_and_less_until_it_answers() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        let delays: Vec<_> = (0..9)
            .map(|_| {
                schedule.fail(now, &intervals());
                delay(&schedule, now)
            })
            .collect();
        assert_eq!(delays, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        schedule.succeed(now, None, &intervals());
        schedule.fail(now, &intervals());
        assert_eq!(delay(&schedule, now), 30);
    }

    #[test]
    fn an_unknown_key_causes_one_attempt_in_thirty_seconds() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        assert!(schedule.may_hurry(now, &intervals()));
        schedule.begin(now, &intervals());
        assert_eq!(delay(&schedule, now), 30);
        assert!(!schedule.may_hurry(now, &intervals()));
        assert!(!schedule.may_hurry(now + 29 * SECOND, &intervals()));
        assert!(schedule.may_hurry(now + 30 * SECOND, &intervals()));
    }

    #[test]
    fn keys_outlive_a_failing_issuer_for_a_day() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        assert!(schedule.is_too_old(now, &intervals()));
        schedule.succeed(now, None, &intervals());
        schedule.fail(now + 1000 * SECOND, &intervals());
        assert!(!schedule.is_too_old(now + 86_399 * SECOND, &intervals()));
        assert!(schedule.is_too_old(now + 86_400 * SECOND, &intervals()));
    }
}

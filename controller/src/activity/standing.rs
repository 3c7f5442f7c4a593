//! Whether a Receiver's hooks work: to tell of the first failure after a success, and of no flood.

/// After one Trouble of a Receiver the next one is told no sooner, in milliseconds. So one who forges
/// a hook after each genuine one causes one Event in that time.
pub(super) const QUIET_MS: u64 = 10 * 60 * 1_000;

/// The hooks of a Receiver begin to fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// `namespace/name`.
    pub receiver: String,
    /// `HookRefused` or `TriggerFailed`.
    pub reason: &'static str,
    /// What failed.
    pub message: String,
}

/// When hooks last worked and last failed, Unix milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    succeeded_at: Option<u64>,
    failed_at: Option<u64>,
    told_at: Option<u64>,
}

impl Standing {
    /// A hook worked.
    pub(super) fn succeeded(&mut self, at: u64) {
        self.succeeded_at = self.succeeded_at.max(Some(at));
    }

    /// A hook failed. Whether that is to be told: it is the first one after a success. A Receiver
    /// that never worked tells nothing, or anybody could make it.
    pub(super) fn refused(&mut self, at: u64, now_ms: u64) -> bool {
        let is_first = self.succeeded_at.is_some()
            && self.succeeded_at <= Some(at)
            && self.failed_at < self.succeeded_at;
        self.failed_at = self.failed_at.max(Some(at));
        let is_quiet = self
            .told_at
            .is_some_and(|told| now_ms < told.saturating_add(QUIET_MS));
        let tells = is_first && !is_quiet;
        if tells {
            self.told_at = Some(now_ms);
        }
        tells
    }

    /// Envoy reported its last success and its last failure.
    pub(super) fn reported(
        &mut self,
        admitted_at: Option<u64>,
        refused_at: Option<u64>,
        now_ms: u64,
    ) -> bool {
        if let Some(at) = admitted_at {
            self.succeeded(at);
        }
        refused_at.is_some_and(|at| self.refused(at, now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_after_a_success_is_told_and_no_other() {
        let mut standing = Standing::default();
        assert!(!standing.refused(10, 10));
        standing.succeeded(20);
        assert!(standing.refused(30, 30));
        assert!(!standing.refused(31, 31));
        let later = 30 + QUIET_MS;
        assert!(!standing.refused(later, later));
        standing.succeeded(later + 1);
        assert!(standing.refused(later + 2, later + 2));
    }

    #[test]
    fn one_who_forges_after_each_genuine_hook_is_told_of_once_in_ten_minutes() {
        let mut standing = Standing::default();
        let hour = 60 * 60 * 1_000;
        let told = (1..hour).step_by(1_000).filter(|at| {
            standing.succeeded(*at);
            standing.refused(*at + 1, *at + 1)
        });
        assert_eq!(told.count(), 6);
    }

    #[test]
    fn what_envoy_reports_late_of_the_time_before_a_success_is_not_told() {
        let mut standing = Standing::default();
        standing.succeeded(50);
        assert!(!standing.reported(None, Some(40), 60));
        assert!(standing.reported(Some(45), Some(55), 60));
        // Both in one report, the success last.
        let later = 60 + QUIET_MS;
        assert!(!standing.reported(Some(later), Some(later - 5), later));
    }
}

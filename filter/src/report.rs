//! Edge reports: what all VMs of this Envoy counted, posted to the controller by one of them at a time.
//!
//! Each VM counts for itself and on its tick adds to a record in shared data. Whoever then finds the
//! last post long enough ago takes the record and posts it. A post that fails is added back.

use std::cell::RefCell;

use hook::gate::{Decision, Verdict};
use hook::report::Report;

use crate::host;

/// Milliseconds between posts.
const INTERVAL_MS: u64 = 2_000;
const RECORD: &str = "hookgate/report";
const LOCK: &str = "hookgate/reporter";

#[derive(Default)]
pub(crate) struct Reporter {
    /// What this VM counted since its last tick.
    counted: RefCell<Report>,
    /// What is on its way.
    posted: RefCell<Option<Report>>,
}

impl Reporter {
    pub(crate) fn count(&self, decision: &Decision, now_ms: u64) {
        if let Some(hook) = &decision.hook {
            let admitted = matches!(decision.verdict, Verdict::Admit(_));
            self.counted
                .borrow_mut()
                .count(&hook.name, decision.reason(), admitted, now_ms);
        }
    }

    pub(crate) fn tick(&self, now_ms: u64) {
        let counted = self.counted.take();
        if !counted.hooks.is_empty() {
            add(&counted);
        }
        if self.posted.borrow().is_some() || !take_turn(now_ms) {
            return;
        }
        let report = take();
        if report.hooks.is_empty() {
            return;
        }
        if host::post_report(&report.to_json()) {
            self.posted.replace(Some(report));
        } else {
            add(&report);
        }
    }

    /// The controller answered, or could not be reached.
    pub(crate) fn answered(&self, taken: bool) {
        if let Some(report) = self.posted.take()
            && !taken
        {
            add(&report);
        }
    }
}

fn add(report: &Report) {
    host::update_shared(RECORD, &mut |bytes| {
        let mut sum = Report::parse(bytes).unwrap_or_default();
        sum.merge(report.clone());
        let json = sum.to_json();
        // A record that has outgrown its bound keeps what it had; this VM's counts are lost to the
        // report, not to the metrics.
        if !json.is_empty() {
            *bytes = json;
        }
    });
}

fn take() -> Report {
    let mut taken = Report::default();
    host::update_shared(RECORD, &mut |bytes| {
        taken = Report::parse(bytes).unwrap_or_default();
        *bytes = Report::default().to_json();
    });
    taken
}

/// Whether it is this VM's turn to post.
fn take_turn(now_ms: u64) -> bool {
    let mut mine = false;
    let done = host::update_shared(LOCK, &mut |bytes| {
        let last = bytes.as_slice().try_into().map_or(0, u64::from_be_bytes);
        // A clock that was set back must not silence the reports.
        mine = now_ms.abs_diff(last) >= INTERVAL_MS;
        if mine {
            *bytes = now_ms.to_be_bytes().to_vec();
        }
    });
    mine && done
}

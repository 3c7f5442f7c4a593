//! Edge reports: what all VMs of this Envoy counted, posted to the controller by one of them at a time.
//!
//! Each VM counts for itself and on its tick adds to a record in shared data. Whoever then finds the
//! last post long enough ago takes the record and posts it. A post that fails is added back.

use std::cell::RefCell;

use hook::gate::{Decision, Verdict};
use hook::report::Report;

use crate::host::{self, Call};

/// Milliseconds between posts.
const INTERVAL_MS: u64 = 2_000;
const RECORD: &str = "hookgate/report";
const TURN: &str = "hookgate/reporter";

#[derive(Default)]
pub(crate) struct Reporter {
    /// What this VM counted since its last tick.
    counted: RefCell<Report>,
    /// What is on its way.
    posted: RefCell<Option<(Call, Report)>>,
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
        if self.posted.borrow().is_some() || !host::take_turn(TURN, now_ms, INTERVAL_MS) {
            return;
        }
        let report = take();
        if report.hooks.is_empty() {
            return;
        }
        match host::post_report(&report.to_json()) {
            Some(call) => {
                self.posted.replace(Some((call, report)));
            }
            None => add(&report),
        }
    }

    /// The controller answered with this status, or, with none, could not be reached.
    pub(crate) fn answered(&self, call: Call, status: Option<u16>) {
        if let Some((posted, report)) = self.posted.take() {
            if posted != call {
                self.posted.replace(Some((posted, report)));
            } else if !status.is_some_and(|status| (200..300).contains(&status)) {
                add(&report);
            }
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

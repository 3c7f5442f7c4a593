//! The edge report: what a filter tells the controller about the hooks it decided on.
//!
//! A hint for status and metrics, never for a decision.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::rejection::{IGNORED, known_reason};

/// Bytes of one report. A filter that has more to say says it next time.
pub const MAX_REPORT: usize = 64 * 1024;
/// Hooks in one report.
pub const MAX_HOOKS: usize = 256;
/// Reason words of one hook in one report.
const MAX_REASONS: usize = 48;

/// Counts since the last report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// By `namespace/name`.
    pub hooks: BTreeMap<String, Counts>,
}

/// What became of the hooks of one Receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// How many, by reason word.
    pub reasons: BTreeMap<String, u64>,
    /// When the last one was admitted, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted_at: Option<u64>,
    /// The reason word of the last refusal, and when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<(String, u64)>,
}

impl Counts {
    fn count(&mut self, reason: &str, admitted: bool, now_ms: u64) {
        match self.reasons.get_mut(reason) {
            Some(n) => *n = n.saturating_add(1),
            None => {
                self.reasons.insert(reason.into(), 1);
            }
        }
        if admitted {
            self.admitted_at = Some(now_ms);
            return;
        }
        // Genuine, and nothing to do: no refusal.
        if reason == IGNORED {
            return;
        }
        match &mut self.refused {
            Some((last, at)) if last == reason => *at = now_ms,
            refused => *refused = Some((reason.into(), now_ms)),
        }
    }
}

impl Report {
    /// Counts one decision. `false` if the report is full.
    pub fn count(&mut self, hook: &str, reason: &str, admitted: bool, now_ms: u64) -> bool {
        // Looked up before it is entered: this runs for each request, and an entry's key is an allocation.
        if !self.hooks.contains_key(hook) {
            if self.hooks.len() >= MAX_HOOKS {
                return false;
            }
            self.hooks.insert(hook.into(), Counts::default());
        }
        if let Some(counts) = self.hooks.get_mut(hook) {
            counts.count(reason, admitted, now_ms);
        }
        true
    }

    /// Adds another report to this one; what does not fit is dropped.
    pub fn merge(&mut self, other: Self) {
        for (name, counts) in other.hooks {
            if self.hooks.len() >= MAX_HOOKS && !self.hooks.contains_key(&name) {
                continue;
            }
            let into = self.hooks.entry(name).or_default();
            for (reason, n) in counts.reasons {
                let sum = into.reasons.entry(reason).or_default();
                *sum = sum.saturating_add(n);
            }
            into.admitted_at = into.admitted_at.max(counts.admitted_at);
            if counts.refused.as_ref().map(|r| r.1) > into.refused.as_ref().map(|r| r.1) {
                into.refused = counts.refused;
            }
        }
    }

    /// Reads a report of at most [`MAX_REPORT`] bytes. Its words are those that are known, or `other`.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let mut report: Self = (json.len() <= MAX_REPORT)
            .then(|| serde_json::from_slice(json).ok())
            .flatten()?;
        let word = |text: &str| {
            (1..=48).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        let bounded = report.hooks.len() <= MAX_HOOKS
            && report.hooks.values().all(|counts| {
                counts.reasons.len() <= MAX_REASONS
                    && counts.reasons.keys().all(|reason| word(reason))
                    && counts
                        .refused
                        .as_ref()
                        .is_none_or(|(reason, _)| word(reason))
            });
        for counts in report.hooks.values_mut() {
            counts.keep_known_words();
        }
        bounded.then_some(report)
    }

    /// The JSON of the report; empty if it is larger than [`MAX_REPORT`].
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self)
            .ok()
            .filter(|json| json.len() <= MAX_REPORT)
            .unwrap_or_default()
    }
}

impl Counts {
    /// Who sends reports chooses their words; metrics have them as labels.
    fn keep_known_words(&mut self) {
        let mut known = BTreeMap::<String, u64>::new();
        for (reason, n) in &self.reasons {
            let sum = known.entry(known_reason(reason).into()).or_default();
            *sum = sum.saturating_add(*n);
        }
        self.reasons = known;
        if let Some((reason, _)) = &mut self.refused {
            *reason = known_reason(reason).into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_read_back() {
        let mut a = Report::default();
        assert!(a.count("ns/a", "admitted", true, 5));
        assert!(a.count("ns/a", "signature", false, 6));
        let mut b = Report::default();
        assert!(b.count("ns/a", "token", false, 4));
        assert!(b.count("ns/a", "admitted", true, 9));
        assert!(b.count("ns/a", "ignored", false, 10));
        a.merge(b);
        let counts = &a.hooks["ns/a"];
        assert_eq!(counts.admitted_at, Some(9));
        assert_eq!(counts.refused, Some(("signature".into(), 6)));
        assert_eq!(counts.reasons["admitted"], 2);
        assert_eq!(Report::parse(&a.to_json()), Some(a));
    }

    #[test]
    fn words_that_are_not_known_add_up_under_one_that_is() {
        let json = r#"{"hooks":{"ns/a":{"reasons":{"made_up":1,"x":18446744073709551615,"token":2},"refused":["made_up",5]}}}"#;
        let report = Report::parse(json.as_bytes()).unwrap();
        let counts = Counts {
            reasons: BTreeMap::from([("other".into(), u64::MAX), ("token".into(), 2)]),
            admitted_at: None,
            refused: Some(("other".into(), 5)),
        };
        assert_eq!(report.hooks, BTreeMap::from([("ns/a".into(), counts)]));
    }

    #[test]
    fn a_report_is_bounded_and_its_words_are_words() {
        let mut report = Report::default();
        for n in 0..MAX_HOOKS {
            assert!(report.count(&alloc::format!("ns/{n}"), "token", false, 1));
        }
        assert!(!report.count("ns/other", "token", false, 1));
        for junk in [
            "",
            "{}x",
            "null",
            r#"{"hooks":{"a":{"reasons":{"Bad Word":1}}}}"#,
            r#"{"hooks":{"a":{"reasons":{},"refused":["\n",1]}}}"#,
            r#"{"hooks":[],"x":1}"#,
        ] {
            assert_eq!(Report::parse(junk.as_bytes()), None, "{junk}");
        }
    }
}

//! Counters with bounded labels.

use std::cell::RefCell;
use std::collections::HashMap;

use hook::gate::{Decision, Verdict};

use crate::host::Counter;

/// Hooks that get counters of their own in one VM. Envoy keeps a counter for the life of the process.
const MAX_HOOKS: usize = 2_000;

/// Counters, defined when first needed and then kept.
#[derive(Default)]
pub(crate) struct Counters {
    outcomes: RefCell<HashMap<(&'static str, &'static str), Counter>>,
    hooks: RefCell<HashMap<String, PerHook>>,
}

#[derive(Default)]
struct PerHook([Option<Counter>; 4]);

impl Counters {
    /// Counts a decision: by reason and receiver type, and by hook and outcome.
    pub(crate) fn count(&self, decision: &Decision) {
        let key = (decision.reason(), decision.receiver_type());
        self.outcomes
            .borrow_mut()
            .entry(key)
            .or_insert_with(|| {
                Counter::define(&format!("hookgate.hooks.outcome.{}.type.{}", key.0, key.1))
            })
            .increment();
        if let Some(hook) = &decision.hook {
            self.count_hook(&hook.name, outcome(decision));
        }
    }

    fn count_hook(&self, name: &str, (index, outcome): (usize, &str)) {
        let mut hooks = self.hooks.borrow_mut();
        if !hooks.contains_key(name) {
            if hooks.len() >= MAX_HOOKS {
                return;
            }
            hooks.insert(name.to_owned(), PerHook::default());
        }
        if let Some(slot) = hooks.get_mut(name).and_then(|hook| hook.0.get_mut(index)) {
            slot.get_or_insert_with(|| {
                Counter::define(&format!("hookgate.hook.{name}.outcome.{outcome}"))
            })
            .increment();
        }
    }
}

fn outcome(decision: &Decision) -> (usize, &'static str) {
    match &decision.verdict {
        Verdict::Admit(_) => (0, "admitted"),
        Verdict::Ignore { .. } => (1, "ignored"),
        Verdict::Reject(rejection) if rejection.status() == 429 => (2, "limited"),
        Verdict::Reject(_) => (3, "refused"),
    }
}

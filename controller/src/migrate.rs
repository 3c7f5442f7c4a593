//! What changes, object by object, when Hookgate takes over from notification-controller. Pure.

mod alerts;
mod receivers;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde_json::Value;

use crate::kubernetes::{Key, Live};
use crate::publish::{Compiled, Options};

/// The API version of Alerts and Providers.
pub const ALERTS_API_VERSION: &str = "notification.toolkit.fluxcd.io/v1beta3";

/// What there is today.
#[derive(Debug)]
pub struct Today<'a> {
    /// Receivers and Secrets, as Hookgate would serve them.
    pub compiled: &'a Compiled,
    /// How the Receivers stand; none where there is no cluster.
    pub lives: &'a BTreeMap<Key, Live>,
    /// The Alerts.
    pub alerts: &'a [Value],
    /// The Providers.
    pub providers: &'a [Value],
}

/// How Hookgate would run.
#[derive(Debug)]
pub struct Plans<'a> {
    /// What its flags say about the table.
    pub options: &'a Options,
    /// Whether OIDC issuers may live where cloud metadata services do.
    pub allow_metadata_addresses: bool,
    /// Whether it sends alerts, and owns the finalizers of Alerts and Providers.
    pub sends_alerts: bool,
}

/// Whether somebody has to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Something would stop working, or pass that should not.
    Act,
    /// It would be another way, and nothing has to be done.
    Note,
}

/// What changes for one object. Holds no secret and no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// Such as `Receiver apps/web (github)`.
    pub object: String,
    /// What changes; empty for nothing.
    pub changes: Vec<(Weight, String)>,
}

/// What changes for each object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report(pub Vec<Outlook>);

/// What holds for every Receiver.
const EVERY: [&str; 5] = [
    "hooks are limited to --hook-rate and --hook-burst; those above get 429 with Retry-After",
    "hooks that come together ask a resource to reconcile once per --trigger-interval; the last is always followed by one",
    "an unknown path gets 404 before its body is read, and /hook and //hook/ are not redirected",
    "a request with two of a security header is refused",
    "a Secret's change holds at once, with the label reconcile.fluxcd.io/watch or without",
];

/// Looks at every object.
pub fn check(today: &Today<'_>, plans: &Plans<'_>) -> Report {
    let snapshot = &today.compiled.snapshot;
    let mut outlooks: Vec<Outlook> = Vec::new();
    for problem in &snapshot.problems {
        outlooks.push(Outlook {
            object: problem.file.clone(),
            changes: vec![(Weight::Act, format!("it can't be used: {problem}"))],
        });
    }
    let mut receivers: Vec<_> = snapshot.receivers.iter().collect();
    receivers.sort_by_key(|receiver| crate::receiver::plan::identity(receiver));
    outlooks.extend(
        receivers
            .iter()
            .map(|receiver| receivers::outlook(receiver, today, plans)),
    );
    outlooks.extend(
        today
            .alerts
            .iter()
            .map(|alert| alerts::alert(alert, today, plans)),
    );
    outlooks.extend(
        today
            .providers
            .iter()
            .map(|provider| alerts::provider(provider, plans)),
    );
    if !receivers.is_empty() {
        let changes = EVERY.map(|text| (Weight::Note, text.to_owned()));
        outlooks.push(Outlook {
            object: "Every Receiver".to_owned(),
            changes: changes.into(),
        });
    }
    Report(outlooks)
}

impl Report {
    /// How many objects somebody has to look after.
    pub fn to_act_on(&self) -> usize {
        let needs = |outlook: &&Outlook| outlook.changes.iter().any(|(w, _)| *w == Weight::Act);
        self.0.iter().filter(needs).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Outlook { object, changes } in &self.0 {
            writeln!(f, "{object}")?;
            for (weight, text) in changes {
                let word = match weight {
                    Weight::Act => "ACT",
                    Weight::Note => "note",
                };
                writeln!(f, "  {word:<5}{text}")?;
            }
            if changes.is_empty() {
                f.write_str("  no change\n")?;
            }
        }
        match self.to_act_on() {
            0 => f.write_str("Nothing has to be done.\n"),
            1 => f.write_str("1 object needs attention.\n"),
            n => writeln!(f, "{n} objects need attention."),
        }
    }
}

/// Collects what changes for one object.
#[derive(Default)]
struct Changes(Vec<(Weight, String)>);

impl Changes {
    fn act(&mut self, text: impl Into<String>) {
        self.0.push((Weight::Act, text.into()));
    }

    fn note(&mut self, text: impl Into<String>) {
        self.0.push((Weight::Note, text.into()));
    }

    fn of(self, object: String) -> Outlook {
        Outlook {
            object,
            changes: self.0,
        }
    }
}

/// Joins words for a sentence: `a, b`.
fn joined<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for word in words {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a String does not fail.
        let _ = write!(text, "{comma}{word}");
    }
    text
}

#[cfg(test)]
mod tests;

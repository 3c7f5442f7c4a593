//! Keeps the table current, and takes what Envoy reports about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hook::report::Report;
use tokio::sync::watch;

use crate::activity::Activities;
use crate::clock;
use crate::health::Readiness;
use crate::metrics::Metrics;
use crate::objects::Snapshot;
use crate::publish::{self, Compiled, Options, Status};
use crate::receiver::jwks::{IssuerKeys, Jwks};
use crate::receiver::plan;
use crate::xds;

/// Keeps the table current.
pub(super) struct Publisher {
    pub(super) current: Arc<ArcSwap<Compiled>>,
    pub(super) options: Options,
    pub(super) code: Arc<[u8]>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) activities: Arc<Activities>,
    pub(super) jwks: Jwks,
    /// Tables, for Envoy.
    pub(super) tables: watch::Sender<Option<Arc<xds::Snapshot>>>,
    /// What is served now, for the reconciler: told after it is served.
    pub(super) published: watch::Sender<Arc<Compiled>>,
    pub(super) readiness: Readiness,
}

impl Publisher {
    /// Publishes each Snapshot, from the first one on.
    pub(super) async fn keep_current(self, mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>) {
        let mut keys = self.jwks.changed();
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            keys.mark_unchanged();
            if let Some(snapshot) = snapshot {
                self.publish(snapshot);
            }
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return },
                changed = keys.changed() => if changed.is_err() { return },
            }
        }
    }

    fn publish(&self, snapshot: Arc<Snapshot>) {
        let problems = snapshot.problems.len();
        let issuers = self.issuers(&snapshot);
        let compiled = publish::compile(snapshot, &issuers, &self.options, &self.code);
        let before = self.current.load_full();
        log_changes(&before.statuses, &compiled.statuses);
        let statuses = compiled.statuses.iter();
        self.activities
            .settle(statuses.map(|(name, status)| (name.as_str(), status.receiver_type.as_str())));
        let not_ready = compiled
            .statuses
            .values()
            .filter(|s| s.failure.is_some())
            .count();
        let ready = compiled.statuses.len() - not_ready;
        self.metrics
            .compiled(ready, not_ready, problems, compiled.table.len());
        if !before.is_complete || before.version != compiled.version {
            tracing::info!(
                version = compiled.version,
                receivers = compiled.statuses.len(),
                not_ready,
                bytes = compiled.table.len(),
                "table compiled"
            );
            self.tables.send_replace(Some(Arc::new(xds::Snapshot {
                version: compiled.version.clone(),
                wasm: self.code.clone(),
                table: compiled.table.clone(),
                hold_headers: self.options.hold_headers,
            })));
        }
        let compiled = Arc::new(compiled);
        self.current.store(compiled.clone());
        self.published.send_replace(compiled);
        self.readiness.has_table();
    }

    /// The keys that are at hand. Others are sent for: when they come, this table is compiled again.
    fn issuers(&self, snapshot: &Snapshot) -> BTreeMap<String, Arc<IssuerKeys>> {
        let urls = publish::issuer_urls(snapshot);
        self.jwks.retain(&urls, urls.contains(plan::GOOGLE));
        let mut keys = BTreeMap::new();
        for url in urls {
            let at_hand = match url.as_str() {
                plan::GOOGLE => self.jwks.cached_google(),
                url => self.jwks.cached(url),
            };
            match at_hand {
                Some(found) => {
                    keys.insert(url, found);
                }
                None => fetch(self.jwks.clone(), url, false),
            }
        }
        keys
    }
}

/// Says what became of each Receiver, when that changes.
fn log_changes(before: &BTreeMap<String, Status>, after: &BTreeMap<String, Status>) {
    for (name, status) in after {
        let said = before
            .get(name)
            .map(|s| (&s.failure, &s.warnings, s.suspended));
        if said == Some((&status.failure, &status.warnings, status.suspended)) {
            continue;
        }
        match &status.failure {
            Some(failure) => tracing::error!(
                receiver = name,
                reason = failure.reason,
                message = failure.message,
                "receiver is not ready"
            ),
            None => tracing::info!(
                receiver = name,
                suspended = status.suspended,
                "receiver is ready"
            ),
        }
        for warning in &status.warnings {
            tracing::warn!(receiver = name, warning, "receiver needs attention");
        }
    }
}

/// Fetches the keys of an issuer; `again` even if there are some, at a limited rate.
fn fetch(jwks: Jwks, issuer: String, again: bool) {
    tokio::spawn(async move {
        // A failure is logged where it happens, and tried again.
        match (issuer.as_str(), again) {
            (plan::GOOGLE, false) => drop(jwks.google().await),
            (plan::GOOGLE, true) => drop(jwks.refresh_google().await),
            (url, false) => drop(jwks.keys(url).await),
            (url, true) => drop(jwks.refresh(url).await),
        }
    });
}

/// What Envoy reports is counted for Receivers that there are, and is a hint to look for new keys.
pub(super) fn report_sink(
    current: Arc<ArcSwap<Compiled>>,
    activities: Arc<Activities>,
    jwks: Jwks,
) -> xds::ReportSink {
    Arc::new(move |bytes: &[u8]| {
        let report = Report::parse(bytes).ok_or_else(|| "not an edge report".to_owned())?;
        let current = current.load();
        activities.reported(&report, clock::now_ms());
        for (name, counts) in &report.hooks {
            let Some(plan) = current.plans.get(name) else {
                continue;
            };
            if counts
                .reasons
                .contains_key(hook::jwt::JwtError::UnknownKey.reason())
            {
                for issuer in &plan.hook.issuers {
                    fetch(jwks.clone(), issuer.issuer.clone(), true);
                }
            }
        }
        Ok(())
    })
}

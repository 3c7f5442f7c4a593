//! The Alerts as they are now, compiled, and the objects that their labels are compared with.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::delivery::Name;
use super::select::{Alerts, Selection, Warning};
use super::warn::Warn;
use crate::api::event::Event;
use crate::api::reference::ResourceRef;
use crate::objects::Snapshot;

/// The Alerts as they are now; none before the first complete list.
#[derive(Debug, Default)]
pub struct CurrentAlerts {
    no_cross_namespace_refs: bool,
    current: ArcSwapOption<Current>,
}

#[derive(Debug)]
struct Current {
    alerts: Arc<Alerts>,
    snapshot: Arc<Snapshot>,
}

impl CurrentAlerts {
    /// Before the first list. `no_cross_namespace_refs` is nc's flag.
    pub fn new(no_cross_namespace_refs: bool) -> Self {
        Self {
            no_cross_namespace_refs,
            current: ArcSwapOption::empty(),
        }
    }

    /// Takes a complete list, and tells what is newly wrong with Alerts.
    pub fn update(&self, snapshot: &Arc<Snapshot>, warn: &impl Warn) {
        let before = self.current.load_full();
        let same = before.as_ref().filter(|before| {
            before.snapshot.alerts == snapshot.alerts
                && before.snapshot.providers == snapshot.providers
        });
        let alerts = match same {
            Some(before) => before.alerts.clone(),
            None => {
                let alerts = Alerts::compile(
                    &snapshot.alerts,
                    &snapshot.providers,
                    self.no_cross_namespace_refs,
                );
                let said = before.as_ref().map(|before| &before.alerts.warnings);
                tell_new(said, &alerts.warnings, warn);
                Arc::new(alerts)
            }
        };
        let snapshot = snapshot.clone();
        self.current
            .store(Some(Arc::new(Current { alerts, snapshot })));
    }

    /// Which Alerts take an event; `None` before the first list, and while the labels that would decide
    /// are still being listed.
    pub fn select(&self, event: &Event) -> Option<Selection> {
        let current = self.current.load_full()?;
        let objects = current.snapshot.objects.load();
        let is_awaited = Cell::new(false);
        let labels = |reference: &ResourceRef| {
            let found = objects.object(reference);
            if found.is_none() && objects.is_awaited(reference) {
                is_awaited.set(true);
            }
            found.map(|object| object.metadata.labels.clone())
        };
        let selection = current.alerts.select(event, &labels);
        (!is_awaited.get()).then_some(selection)
    }
}

fn tell_new(
    said: Option<&BTreeMap<Name, Vec<Warning>>>,
    now: &BTreeMap<Name, Vec<Warning>>,
    warn: &impl Warn,
) {
    for (alert, warnings) in now {
        let said = said.and_then(|said| said.get(alert));
        for warning in warnings {
            if !said.is_some_and(|said| said.contains(warning)) {
                warn.warn(alert, warning);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::api::alert::{Alert, EventSource};

    #[derive(Debug, Default)]
    struct Told(Mutex<Vec<String>>);

    impl Warn for Told {
        fn warn(&self, alert: &str, warning: &Warning) {
            let mut told = self.0.lock().unwrap();
            told.push(format!("{alert} {}", warning.reason));
        }
    }

    #[test]
    fn what_is_wrong_is_told_once_and_nothing_is_selected_before_the_first_list() {
        let current = CurrentAlerts::new(false);
        let mut event = Event::default();
        event.involved_object.kind = "Bucket".to_owned();
        event.involved_object.namespace = "apps".to_owned();
        assert_eq!(current.select(&event), None);
        let mut alert = Alert::default();
        alert.metadata.namespace = "apps".to_owned();
        alert.metadata.name = "a".to_owned();
        alert.spec.event_sources = vec![EventSource {
            kind: "Bucket".to_owned(),
            name: "*".to_owned(),
            ..EventSource::default()
        }];
        let told = Told::default();
        let with = |alert: &Alert| {
            Arc::new(Snapshot {
                alerts: vec![Arc::new(alert.clone())],
                ..Snapshot::default()
            })
        };
        current.update(&with(&alert), &told);
        current.update(&with(&alert), &told);
        assert_eq!(current.select(&event).unwrap().deliveries.len(), 1);
        alert.spec.exclusion_list = vec!["[".to_owned()];
        current.update(&with(&alert), &told);
        // No such Provider, told once; then the pattern.
        let want = ["apps/a InvalidConfig", "apps/a InvalidConfig"];
        assert_eq!(*told.0.lock().unwrap(), want);
    }
}

//! Tells Kubernetes Events: core/v1, as notification-controller's recorder does. A repeated Event is
//! counted up, and one object can't flood the API server.

use std::collections::HashMap;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::api::{Api, ApiError};
use super::live::Live;
use crate::api::alert::{self, Alert};
use crate::api::receiver;
use crate::clock;
use crate::receiver::status::Notice;

/// Events that wait to be told; more are dropped, as what they tell stands in conditions or logs too.
const BACKLOG: usize = 2_000;
/// Events of one object at once, and how long one more takes: client-go's spam filter.
const BURST: u32 = 25;
const REFILL_MS: u64 = 300_000;
/// Objects, and Events of each, that are remembered.
const REMEMBERED: usize = 10_000;
const COMPONENT: &str = "notification-controller";

/// Takes Events and tells them one after the other.
#[derive(Clone, Debug)]
pub struct Recorder {
    notices: mpsc::Sender<(Involved, Notice)>,
}

/// The object that an Event is about.
#[derive(Clone, Debug)]
pub struct Involved {
    api_version: &'static str,
    kind: &'static str,
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
}

impl From<&Live> for Involved {
    fn from(live: &Live) -> Self {
        Self {
            api_version: receiver::API_VERSION,
            kind: "Receiver",
            namespace: live.key.0.clone(),
            name: live.key.1.clone(),
            uid: live.uid.clone(),
            resource_version: live.resource_version.clone(),
        }
    }
}

impl From<&Alert> for Involved {
    fn from(alert: &Alert) -> Self {
        let metadata = alert.metadata.clone();
        Self {
            api_version: alert::API_VERSION,
            kind: "Alert",
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
        }
    }
}

impl Recorder {
    /// A Recorder that tells through `api`.
    pub fn new(api: Api) -> Self {
        let (notices, mut inbox) = mpsc::channel(BACKLOG);
        tokio::spawn(async move {
            let mut teller = Teller::default();
            while let Some((involved, notice)) = inbox.recv().await {
                teller.tell(&api, &involved, &notice).await;
            }
        });
        Self { notices }
    }

    /// Tells of an object, soon.
    pub fn record(&self, involved: Involved, notice: Notice) {
        if self.notices.try_send((involved, notice)).is_err() {
            tracing::warn!("too many Kubernetes Events wait to be told; one is dropped");
        }
    }
}

#[derive(Debug, Default)]
struct Teller {
    told: HashMap<(String, Notice), Told>,
    budgets: HashMap<String, Budget>,
}

/// An Event that was told.
#[derive(Clone, Debug)]
struct Told {
    path: String,
    count: u64,
}

impl Teller {
    async fn tell(&mut self, api: &Api, involved: &Involved, notice: &Notice) {
        let now_ms = clock::now_ms();
        if self.budgets.len() >= REMEMBERED || self.told.len() >= REMEMBERED {
            self.budgets.clear();
            self.told.clear();
        }
        let budget = self.budgets.entry(involved.uid.clone()).or_insert(Budget {
            left: BURST,
            since_ms: now_ms,
        });
        if !budget.take(now_ms) {
            return;
        }
        let key = (involved.uid.clone(), notice.clone());
        if let Some(told) = self.told.get_mut(&key) {
            told.count += 1;
            let patch = json!({"count": told.count, "lastTimestamp": seconds(now_ms)});
            match api.merge(&told.path, &patch).await {
                Ok(_) => return,
                // The API server forgets Events after an hour.
                Err(ApiError::NotFound(_)) => {}
                Err(error) => return failed(&error),
            }
        }
        let list = format!("/api/v1/namespaces/{}/events", involved.namespace);
        let name = event_name(&involved.name, clock::now_ns());
        match api
            .create(&list, &event(involved, notice, &name, now_ms))
            .await
        {
            Ok(_) => {
                let path = format!("{list}/{name}");
                self.told.insert(key, Told { path, count: 1 });
            }
            Err(error) => failed(&error),
        }
    }
}

fn failed(error: &ApiError) {
    tracing::warn!(%error, "failed to write a Kubernetes Event");
}

/// Events that an object may still have told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Budget {
    left: u32,
    since_ms: u64,
}

impl Budget {
    fn take(&mut self, now_ms: u64) -> bool {
        let gained = now_ms.saturating_sub(self.since_ms) / REFILL_MS;
        self.since_ms += gained * REFILL_MS;
        let gained = u32::try_from(gained).unwrap_or(BURST);
        self.left = self.left.saturating_add(gained).min(BURST);
        let has = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has
    }
}

fn event(involved: &Involved, notice: &Notice, name: &str, now_ms: u64) -> Value {
    let at = seconds(now_ms);
    let mut event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": involved.namespace},
        "involvedObject": {
            "apiVersion": involved.api_version,
            "kind": involved.kind,
            "namespace": involved.namespace,
            "name": involved.name,
            "uid": involved.uid,
        },
        "type": if notice.is_warning { "Warning" } else { "Normal" },
        "reason": notice.reason,
        "message": notice.message.chars().take(1_024).collect::<String>(),
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    });
    if !involved.resource_version.is_empty() {
        event["involvedObject"]["resourceVersion"] = involved.resource_version.clone().into();
    }
    event
}

/// The name of an Event: the object's and the time. Together they fit.
fn event_name(object: &str, now_ns: u64) -> String {
    let stem: String = object.chars().take(230).collect();
    format!("{}.{now_ns:x}", stem.trim_end_matches(['.', '-']))
}

fn seconds(now_ms: u64) -> String {
    clock::rfc3339_seconds(now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_tells_so_much_and_no_more() {
        let mut budget = Budget {
            left: BURST,
            since_ms: 0,
        };
        let told = (0..100).filter(|_| budget.take(1_000)).count();
        assert_eq!(told, 25);
        assert!(budget.take(REFILL_MS + 1) && !budget.take(REFILL_MS + 2));
    }

    #[test]
    fn an_event_has_a_name_that_fits_and_the_shape_of_core_v1() {
        assert_eq!(event_name("app", 255), "app.ff");
        assert!(event_name(&"a".repeat(253), u64::MAX).len() <= 253);
        let live = Live {
            key: ("ns".to_owned(), "app".to_owned()),
            uid: "u".to_owned(),
            resource_version: "7".to_owned(),
            ..Live::default()
        };
        let involved = Involved::from(&live);
        let notice = Notice {
            is_warning: true,
            reason: "Failed",
            message: "no".to_owned(),
        };
        assert_eq!(
            event(&involved, &notice, "app.ff", 1_000),
            json!({
                "apiVersion": "v1", "kind": "Event",
                "metadata": {"name": "app.ff", "namespace": "ns"},
                "involvedObject": {"apiVersion": "notification.toolkit.fluxcd.io/v1", "kind": "Receiver",
                    "namespace": "ns", "name": "app", "uid": "u", "resourceVersion": "7"},
                "type": "Warning", "reason": "Failed", "message": "no",
                "source": {"component": "notification-controller"},
                "reportingComponent": "notification-controller",
                "firstTimestamp": "1970-01-01T00:00:01Z", "lastTimestamp": "1970-01-01T00:00:01Z",
                "count": 1,
            })
        );
        let mut alert = Alert::default();
        alert.metadata.name = "on-call".to_owned();
        alert.metadata.namespace = "ns".to_owned();
        assert_eq!(
            event(&Involved::from(&alert), &notice, "on-call.ff", 1_000)["involvedObject"],
            json!({"apiVersion": "notification.toolkit.fluxcd.io/v1beta3", "kind": "Alert",
                "namespace": "ns", "name": "on-call", "uid": ""})
        );
    }
}

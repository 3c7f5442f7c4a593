//! Leader election by a Lease: looks at it, claims it, renews it, gives it away.
//!
//! # Guarantees
//! - Whoever leads has renewed within the renew deadline; without a renewal leading ends before
//!   others may begin, by the clock of this process.
//! - A claim replaces exactly the Lease that was looked at, so that two can't both succeed.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::api::{Api, ApiError, path};
use super::lease::{self, Record, Sighting, Terms};
use crate::clock;

/// What is elected with.
#[derive(Clone, Debug)]
pub struct Election {
    /// Where the Lease is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who we are: unique for each process.
    pub identity: String,
    /// The times.
    pub terms: Terms,
    /// Whether the Lease is given away at the end.
    pub releases: bool,
}

/// Takes part in the election until `stop` turns true. Tells whether this process leads; the handle
/// ends when the Lease has been given away.
pub fn elect(
    api: Api,
    election: Election,
    stop: watch::Receiver<bool>,
) -> (watch::Receiver<bool>, JoinHandle<()>) {
    let (leads, told) = watch::channel(false);
    let candidate = Candidate {
        api,
        election,
        seen: None,
        version: None,
        leads,
    };
    (told, tokio::spawn(candidate.run(stop)))
}

struct Candidate {
    api: Api,
    election: Election,
    seen: Option<Sighting>,
    /// The resourceVersion of what was seen.
    version: Option<String>,
    leads: watch::Sender<bool>,
}

impl Candidate {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut renewed = Instant::now();
        let terms = self.election.terms;
        loop {
            let began = Instant::now();
            // An answer that comes after the deadline must not find us leading.
            let patience = if *self.leads.borrow() {
                (renewed + terms.renew).saturating_duration_since(began)
            } else {
                terms.renew
            };
            let tried = tokio::select! {
                tried = timeout(patience, self.attempt()) => tried,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match tried {
                Ok(Ok(true)) => {
                    renewed = began;
                    self.lead(true);
                }
                Ok(Ok(false)) => self.lead(false),
                Ok(Err(error)) => tracing::warn!(%error, "failed to look at or to renew the Lease"),
                Err(_) => tracing::warn!("no answer about the Lease in time"),
            }
            if *self.leads.borrow() && renewed.elapsed() >= terms.renew {
                self.lead(false);
            }
            tokio::select! {
                () = sleep(self.pause(renewed)) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        self.leave().await;
    }

    /// Until the next attempt; not longer than leading is allowed without one.
    fn pause(&self, renewed: Instant) -> Duration {
        let terms = &self.election.terms;
        let left = (renewed + terms.renew).saturating_duration_since(Instant::now());
        if *self.leads.borrow() {
            terms.retry.min(left)
        } else {
            // Candidates that were started together should not ask together.
            let spread = terms.retry.mul_f64(0.2);
            let share = clock::now_ns() % 1_000;
            #[expect(clippy::cast_precision_loss, reason = "below a thousand")]
            let share = share as f64 / 1_000.0;
            terms.retry + spread.mul_f64(share)
        }
    }

    /// One look and, if it may be, one claim. Whether we lead now.
    async fn attempt(&mut self) -> Result<bool, ApiError> {
        let path = self.path()?;
        match self.api.get(&path).await {
            Ok(lease) => self.see(&lease),
            Err(ApiError::NotFound(_)) => {
                self.seen = None;
                self.version = None;
            }
            Err(error) => return Err(error),
        }
        let now = clock::now_ms();
        let election = &self.election;
        let claim = lease::claim(&election.identity, self.seen.as_ref(), &election.terms, now);
        let Some(record) = claim else {
            return Ok(false);
        };
        match self.write(&path, &record).await {
            Ok(lease) => {
                self.see(&lease);
                Ok(true)
            }
            // Somebody else was faster.
            Err(ApiError::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn see(&mut self, lease: &Value) {
        let record = serde_json::from_value(lease["spec"].clone()).unwrap_or_default();
        self.seen = Some(Sighting::next(self.seen.take(), record, clock::now_ms()));
        let version = lease["metadata"]["resourceVersion"].as_str();
        self.version = version.map(str::to_owned);
    }

    async fn write(&self, path: &str, record: &Record) -> Result<Value, ApiError> {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self.election.name,
                "namespace": self.election.namespace,
                "resourceVersion": self.version,
            },
            "spec": record,
        });
        match &self.version {
            Some(_) => self.api.replace(path, &lease).await,
            None => {
                let list = path.rsplit_once('/').map_or(path, |(list, _)| list);
                self.api.create(list, &lease).await
            }
        }
    }

    fn path(&self) -> Result<String, ApiError> {
        let Election {
            namespace, name, ..
        } = &self.election;
        path("coordination.k8s.io/v1", namespace, "leases", name)
            .ok_or_else(|| ApiError::Refused(format!("{namespace:?} is not a namespace")))
    }

    fn lead(&self, leads: bool) {
        let changed = self
            .leads
            .send_if_modified(|now| std::mem::replace(now, leads) != leads);
        if changed {
            tracing::info!(leads, identity = self.election.identity, "leader election");
        }
    }

    async fn leave(self) {
        let led = *self.leads.borrow();
        self.lead(false);
        if !led || !self.election.releases {
            return;
        }
        let (Some(seen), Ok(path)) = (&self.seen, self.path()) else {
            return;
        };
        let record = lease::release(seen, clock::now_ms());
        if let Err(error) = self.write(&path, &record).await {
            tracing::warn!(%error, "failed to give the Lease away; others wait until it has run out");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    use super::super::script::{Requests, answered_by, refusal};
    use super::*;

    const TERMS: Terms = Terms {
        lease: Duration::from_secs(35),
        renew: Duration::from_secs(30),
        retry: Duration::from_secs(5),
    };

    /// An API server with one Lease that can be away.
    struct Server {
        api: Api,
        requests: Requests,
        is_away: Arc<AtomicBool>,
    }

    fn server(held: Option<Value>) -> Server {
        let is_away = Arc::new(AtomicBool::new(false));
        let (lease, away) = (Mutex::new(held), is_away.clone());
        let (api, requests) = answered_by(move |call, body| {
            let mut lease = lease.lock().unwrap();
            if away.load(Ordering::SeqCst) {
                return refusal(503, "");
            }
            if !call.starts_with("GET") {
                let mut written = body.clone();
                written["metadata"]["resourceVersion"] = json!("7");
                *lease = Some(written);
            }
            lease
                .clone()
                .map_or_else(|| refusal(404, "l"), |lease| (200, lease))
        });
        Server {
            api,
            requests,
            is_away,
        }
    }

    fn election() -> Election {
        Election {
            namespace: "ns".to_owned(),
            name: "l".to_owned(),
            identity: "me".to_owned(),
            terms: TERMS,
            releases: true,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_cannot_renew_stops_leading_before_others_may_begin() {
        let server = server(None);
        let (_stop, stopped) = watch::channel(false);
        let (mut leads, _handle) = elect(server.api, election(), stopped);
        leads.wait_for(|leads| *leads).await.unwrap();
        sleep(Duration::from_secs(60)).await;
        assert!(*leads.borrow());
        server.is_away.store(true, Ordering::SeqCst);
        sleep(Duration::from_secs(24)).await;
        assert!(*leads.borrow(), "a short outage changes nothing");
        sleep(Duration::from_secs(7)).await;
        assert!(!*leads.borrow());
        server.is_away.store(false, Ordering::SeqCst);
        leads.wait_for(|leads| *leads).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_another_holds_is_looked_at_and_left_alone() {
        let spec = json!({"holderIdentity": "other", "leaseDurationSeconds": 35});
        let server = server(Some(
            json!({"metadata": {"resourceVersion": "1"}, "spec": spec}),
        ));
        let (_stop, stopped) = watch::channel(false);
        let (leads, _handle) = elect(server.api, election(), stopped);
        sleep(Duration::from_secs(20)).await;
        assert!(!*leads.borrow());
        let requests = server.requests.lock().unwrap();
        assert!(requests.len() > 2 && requests.iter().all(|(call, _)| call.starts_with("GET")));
    }

    #[tokio::test(start_paused = true)]
    async fn the_lease_is_given_away_at_the_end_and_a_claim_names_what_was_seen() {
        let server = server(None);
        let (stop, stopped) = watch::channel(false);
        let (mut leads, handle) = elect(server.api, election(), stopped);
        leads.wait_for(|leads| *leads).await.unwrap();
        sleep(Duration::from_secs(6)).await;
        stop.send_replace(true);
        handle.await.unwrap();
        let requests = server.requests.lock().unwrap();
        let list = "/apis/coordination.k8s.io/v1/namespaces/ns/leases";
        let writes: Vec<_> = requests
            .iter()
            .filter(|(call, _)| !call.starts_with("GET"))
            .map(|(call, body)| {
                let version = body["metadata"]["resourceVersion"].as_str();
                (
                    call.clone(),
                    version,
                    body["spec"]["holderIdentity"].as_str(),
                )
            })
            .collect();
        assert_eq!(
            writes,
            [
                (format!("POST {list}"), None, Some("me")),
                (format!("PUT {list}/l"), Some("7"), Some("me")),
                (format!("PUT {list}/l"), Some("7"), Some("")),
            ]
        );
    }
}

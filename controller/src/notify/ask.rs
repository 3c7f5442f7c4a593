//! What `hookgate alerts` asks the running process about its spool.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::delivery::{Delivery, DeliveryId};
use super::spool::{Spool, SpoolError};

/// The most deliveries that one answer lists, and one request changes.
pub const MAX_LISTED: usize = 10_000;

/// A question about alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "alerts", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AlertsAsk {
    /// Which deliveries there are.
    List {
        /// Which of them.
        which: Which,
        /// How many at most.
        limit: usize,
    },
    /// One delivery with its event.
    Show {
        /// Which.
        id: DeliveryId,
    },
    /// Send these at once.
    Retry {
        /// Which.
        which: Which,
    },
    /// Forget these.
    Drop {
        /// Which.
        which: Which,
    },
}

/// Which deliveries. What is not given does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Which {
    /// These.
    pub ids: Vec<DeliveryId>,
    /// `pending` or `dead`.
    pub state: Option<String>,
    /// `namespace/name` of the Provider.
    pub provider: Option<String>,
    /// `namespace/name` of the Alert.
    pub alert: Option<String>,
}

impl Which {
    fn takes(&self, delivery: &Delivery) -> bool {
        let is = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|w| w == name);
        is(&self.state, delivery.state.word())
            && is(&self.provider, &delivery.provider)
            && is(&self.alert, &delivery.alert)
    }
}

/// Answers.
pub async fn answer(spool: &Spool, ask: &AlertsAsk, now_ms: u64) -> Value {
    match ask {
        AlertsAsk::List { which, limit } => {
            let limit = (*limit).min(MAX_LISTED);
            let listed = spool.list(limit, |delivery| which.takes(delivery));
            json!({"durable": spool.is_durable(), "now": now_ms, "alerts": listed})
        }
        AlertsAsk::Show { id } => show(spool, *id),
        AlertsAsk::Retry { which } => change(spool, which, Some(now_ms)).await,
        AlertsAsk::Drop { which } => change(spool, which, None).await,
    }
}

fn show(spool: &Spool, id: DeliveryId) -> Value {
    let Some(listed) = spool.find(id) else {
        return json!({"error": SpoolError::Unknown(id).to_string()});
    };
    let event = match spool.event(id) {
        Ok(event) => event,
        Err(error) => return json!({"error": error.to_string()}),
    };
    let event: Value = serde_json::from_slice(&event).unwrap_or_default();
    json!({"alert": listed, "event": event})
}

/// Retries at `retry_at`, or drops.
async fn change(spool: &Spool, which: &Which, retry_at: Option<u64>) -> Value {
    let ids = if which.ids.is_empty() {
        let listed = spool.list(MAX_LISTED, |delivery| which.takes(delivery));
        listed.into_iter().map(|listed| listed.id).collect()
    } else {
        which.ids.clone()
    };
    let changes = ids.iter().map(|id| async move {
        let changed = match retry_at {
            Some(now_ms) => spool.retry(*id, now_ms).await,
            None => spool.drop_delivery(*id).await,
        };
        (*id, changed)
    });
    let mut done = Vec::new();
    let mut failed = Vec::new();
    // All at once, so that they share an fsync.
    for (id, changed) in futures_util::future::join_all(changes).await {
        match changed {
            Ok(()) => done.push(id),
            Err(error) => failed.push(error.to_string()),
        }
    }
    json!({"done": done, "failed": failed})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::delivery::State;
    use crate::notify::queue::Room;
    use crate::notify::spool::{Limits, NewEntry};

    async fn spool() -> Spool {
        let spool = Spool::in_memory(Limits::default(), Room::default());
        for (chain, provider) in [("a", "apps/chat"), ("b", "apps/pager"), ("c", "apps/chat")] {
            let new = NewEntry {
                at_ms: 1_000,
                chain: chain.to_owned(),
                not_before_ms: 0,
                deliveries: vec![("apps/on-call".into(), provider.into())],
                event: format!("{{\"message\":\"{chain}\"}}").into_bytes(),
            };
            spool.append(new).await.unwrap();
        }
        let taken = spool.take(1_000).unwrap();
        let dead = State::Dead {
            attempts: 3,
            at_ms: 2_000,
            reason: "gone".to_owned(),
        };
        spool.settle(taken.id, dead);
        spool
    }

    async fn ids(spool: &Spool, which: Which) -> Vec<String> {
        let ask = AlertsAsk::List { which, limit: 10 };
        let answer = answer(spool, &ask, 5_000).await;
        let alerts = answer["alerts"].as_array().unwrap().iter();
        alerts
            .map(|alert| alert["id"].as_str().unwrap().to_owned())
            .collect()
    }

    fn which(change: impl FnOnce(&mut Which)) -> Which {
        let mut which = Which::default();
        change(&mut which);
        which
    }

    #[tokio::test]
    async fn deliveries_are_listed_by_state_and_provider() {
        let spool = spool().await;
        let dead = which(|w| w.state = Some("dead".to_owned()));
        let chat = which(|w| w.provider = Some("apps/chat".to_owned()));
        assert_eq!(ids(&spool, Which::default()).await, ["1.0", "2.0", "3.0"]);
        assert_eq!(ids(&spool, dead).await, ["1.0"]);
        assert_eq!(ids(&spool, chat).await, ["1.0", "3.0"]);
        let nobody = which(|w| w.alert = Some("apps/nobody".to_owned()));
        assert_eq!(ids(&spool, nobody).await, [""; 0]);
    }

    #[tokio::test]
    async fn one_is_shown_with_its_event() {
        let spool = spool().await;
        let id = DeliveryId { entry: 1, n: 0 };
        let shown = answer(&spool, &AlertsAsk::Show { id }, 5_000).await;
        assert_eq!(
            shown,
            json!({
                "alert": {
                    "id": "1.0", "acceptedMs": 1000, "object": "a",
                    "alert": "apps/on-call", "provider": "apps/chat",
                    "state": {"is": "dead", "attempts": 3, "at_ms": 2000, "reason": "gone"},
                },
                "event": {"message": "a"},
            })
        );
        let gone = DeliveryId { entry: 9, n: 0 };
        let answer = answer(&spool, &AlertsAsk::Show { id: gone }, 5_000).await;
        assert!(
            answer["error"]
                .as_str()
                .unwrap()
                .starts_with("there is no delivery 9.0")
        );
    }

    #[tokio::test]
    async fn dead_letters_are_sent_again_or_dropped() {
        let spool = spool().await;
        let dead = || which(|w| w.state = Some("dead".to_owned()));
        let retried = answer(&spool, &AlertsAsk::Retry { which: dead() }, 5_000).await;
        assert_eq!(retried, json!({"done": ["1.0"], "failed": []}));
        assert_eq!(ids(&spool, dead()).await, [""; 0]);
        let two = which(|w| w.ids = ["2.0", "9.0"].map(|id| id.parse().unwrap()).to_vec());
        let dropped = answer(&spool, &AlertsAsk::Drop { which: two }, 5_000).await;
        assert_eq!(dropped["done"], json!(["2.0"]));
        assert_eq!(dropped["failed"].as_array().unwrap().len(), 1);
        assert_eq!(ids(&spool, Which::default()).await, ["1.0", "3.0"]);
    }

    #[test]
    fn questions_are_read_as_they_are_written() {
        for ask in [
            AlertsAsk::Show {
                id: DeliveryId { entry: 1, n: 2 },
            },
            AlertsAsk::Retry {
                which: which(|w| w.state = Some("dead".to_owned())),
            },
        ] {
            let text = json!(crate::control::Ask::Alerts(ask.clone())).to_string();
            let read = serde_json::from_str(&text).unwrap();
            assert!(
                matches!(read, crate::control::Ask::Alerts(read) if read == ask),
                "{text}"
            );
        }
    }
}

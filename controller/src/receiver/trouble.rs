//! Tells as a Kubernetes Event that a Receiver's hooks begin to fail: each replica, of what it sees, as the hooks and the
//! edge reports of one replica reach no other. Apart from the Events of reconciling, so that neither uses up what the
//! other may tell.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::activity::Trouble;
use crate::kubernetes::{Api, Lives, Recorder};
use crate::receiver::status::Notice;

/// Tells until `stop` turns true.
pub async fn tell(
    api: Api,
    mut troubles: mpsc::Receiver<Trouble>,
    lives: watch::Receiver<Arc<Lives>>,
    mut stop: watch::Receiver<bool>,
) {
    let recorder = Recorder::new(api);
    loop {
        let trouble = tokio::select! {
            trouble = troubles.recv() => trouble,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let Some(trouble) = trouble else {
            return;
        };
        let key = trouble.receiver.split_once('/');
        let key = key.map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
        let live = key.and_then(|key| lives.borrow().receivers.get(&key).cloned());
        if let Some(live) = live.filter(|live| !live.is_deleting) {
            recorder.record(live.as_ref().into(), notice(trouble));
        }
    }
}

fn notice(trouble: Trouble) -> Notice {
    Notice {
        is_warning: true,
        reason: trouble.reason,
        message: trouble.message,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use serde_json::json;
    use tokio::time::sleep;

    use super::*;
    use crate::kubernetes::live_of;
    use crate::kubernetes::script::answered_by;

    fn trouble(receiver: &str) -> Trouble {
        Trouble {
            receiver: receiver.to_owned(),
            reason: "HookRefused",
            message: "hook refused: signature".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_begins_to_fail_is_told_on_a_receiver_that_there_is_and_on_no_other() {
        let (api, requests) = answered_by(|_, _| (201, json!({})));
        let live = live_of(json!({
            "metadata": {"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "1"},
            "spec": {"type": "generic", "resources": []},
        }));
        let lives = Lives {
            receivers: BTreeMap::from([(live.key.clone(), Arc::new(live))]),
            ..Lives::default()
        };
        let (_lives, lives) = watch::channel(Arc::new(lives));
        let (stop, stop_in) = watch::channel(false);
        let (troubles, troubles_in) = mpsc::channel(8);
        let telling = tokio::spawn(tell(api, troubles_in, lives, stop_in));
        let mut told = Vec::new();
        for name in ["ns/gone", "nonsense", "ns/a"] {
            troubles.send(trouble(name)).await.unwrap();
            sleep(Duration::from_secs(1)).await;
            told.push(requests.lock().unwrap().len());
        }
        assert_eq!(told, [0, 0, 1]);
        let (call, event) = requests.lock().unwrap().remove(0);
        assert_eq!(call, "POST /api/v1/namespaces/ns/events");
        assert_eq!(
            (&event["type"], &event["reason"], &event["message"]),
            (
                &json!("Warning"),
                &json!("HookRefused"),
                &json!("hook refused: signature")
            )
        );
        stop.send_replace(true);
        telling.await.unwrap();
    }
}

//! What the sending of alerts needs of a cluster: Secrets and ServiceAccounts as they are now, and Events on Alerts.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::SecretString;
use serde_json::json;
use tokio::sync::watch;

use super::api::{Api, ApiError, path};
use super::convert;
use super::events::Recorder;
use crate::api::secret::Secret;
use crate::notify::identity::AccountReader;
use crate::notify::select::Warning;
use crate::notify::target::{ReadError, SecretReader};
use crate::notify::warn::{LogWarnings, Warn};
use crate::objects::Snapshot;
use crate::receiver::status::Notice;

/// Reads Secrets when they are needed, one GET each.
#[derive(Clone, Debug)]
pub struct KubernetesSecrets(pub Api);

impl SecretReader for KubernetesSecrets {
    async fn read(&self, namespace: &str, name: &str) -> Result<Secret, ReadError> {
        let path = path("v1", namespace, "secrets", name)
            .filter(|_| !name.is_empty())
            .ok_or(ReadError::NotFound)?;
        match self.0.get(&path).await {
            Ok(object) => convert::whole_secret(object).map_err(ReadError::Failed),
            Err(error) => Err(read_error(error)),
        }
    }
}

/// How long a token of a ServiceAccount lives, in seconds: the shortest that an API server makes.
const TOKEN_SECONDS: u32 = 600;

impl AccountReader for KubernetesSecrets {
    async fn annotations(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<BTreeMap<String, String>, ReadError> {
        let path = path("v1", namespace, "serviceaccounts", name)
            .filter(|_| !name.is_empty())
            .ok_or(ReadError::NotFound)?;
        let object = self.0.get(&path).await.map_err(read_error)?;
        let annotations = object["metadata"]["annotations"].as_object();
        let pairs = annotations.into_iter().flatten();
        Ok(pairs
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect())
    }

    async fn account_token(
        &self,
        namespace: &str,
        name: &str,
        audience: &str,
    ) -> Result<SecretString, ReadError> {
        let path = path("v1", namespace, "serviceaccounts", name)
            .filter(|_| !name.is_empty())
            .ok_or(ReadError::NotFound)?;
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [audience], "expirationSeconds": TOKEN_SECONDS},
        });
        let made = self.0.create(&format!("{path}/token"), &request).await;
        let made = made.map_err(read_error)?;
        let token = made["status"]["token"].as_str();
        let token = token.ok_or_else(|| ReadError::Failed("no token was made".to_owned()))?;
        Ok(token.to_owned().into())
    }
}

fn read_error(error: ApiError) -> ReadError {
    match error {
        ApiError::NotFound(_) => ReadError::NotFound,
        error @ (ApiError::Conflict(_)
        | ApiError::Forbidden(_)
        | ApiError::NotServed(_)
        | ApiError::Refused(_)
        | ApiError::Timeout
        | ApiError::Unavailable(_)) => ReadError::Failed(error.to_string()),
    }
}

/// Tells the log, and writes an Event on the Alert. Whichever replica sends tells, since each has events of its own.
#[derive(Clone, Debug)]
pub struct KubernetesWarnings {
    recorder: Recorder,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
}

impl KubernetesWarnings {
    /// Writes through `api` on the Alerts of `snapshots`.
    pub fn new(api: Api, snapshots: watch::Receiver<Option<Arc<Snapshot>>>) -> Self {
        Self {
            recorder: Recorder::new(api),
            snapshots,
        }
    }
}

impl Warn for KubernetesWarnings {
    fn warn(&self, alert: &str, warning: &Warning) {
        LogWarnings.warn(alert, warning);
        let snapshot = self.snapshots.borrow().clone();
        let found = snapshot.as_ref().and_then(|snapshot| {
            let is = |a: &&Arc<crate::api::alert::Alert>| {
                let metadata = &a.metadata;
                alert.split_once('/') == Some((&metadata.namespace, &metadata.name))
            };
            snapshot.alerts.iter().find(is)
        });
        // Nobody looks at the Events of an Alert that is gone.
        if let Some(alert) = found {
            let notice = Notice {
                is_warning: true,
                reason: warning.reason,
                message: warning.message.clone(),
            };
            self.recorder.record(alert.as_ref().into(), notice);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::ExposeSecret as _;
    use serde_json::{Value, json};

    use super::super::script::{refusal, scripted};
    use super::*;
    use crate::api::alert::Alert;
    use crate::notify::select::reason;

    #[tokio::test]
    async fn a_secret_is_read_whole_and_its_absence_is_told_from_trouble() {
        let secret = json!({"data": {"address": "aHR0cHM6Ly9hLnRlc3Q=", "token": "dA=="}});
        let (api, requests) = scripted([
            (200, secret),
            refusal(404, "s"),
            refusal(403, "s"),
            (200, json!({"data": {"token": "!hunter2"}})),
        ]);
        let secrets = KubernetesSecrets(api);
        let read = secrets.read("ns", "s").await.unwrap();
        assert_eq!(read.get("address"), Some(&b"https://a.test"[..]));
        assert_eq!(
            secrets.read("ns", "s").await.err(),
            Some(ReadError::NotFound)
        );
        let refused = ReadError::Failed("no".to_owned());
        assert_eq!(secrets.read("ns", "s").await.err(), Some(refused));
        let error = secrets.read("ns", "s").await.unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert_eq!(
            secrets.read("ns", "../s").await.err(),
            Some(ReadError::NotFound)
        );
        let get = "GET /api/v1/namespaces/ns/secrets/s".to_owned();
        assert_eq!(*requests.lock().unwrap(), vec![(get, Value::Null); 4]);
    }

    #[tokio::test]
    async fn a_service_account_is_read_and_has_a_token_made_for_an_audience() {
        let account = json!({"metadata": {"annotations": {"a": "b", "n": 1}}});
        let made = json!({"status": {"token": "made"}});
        let (api, requests) = scripted([
            (200, account),
            (201, made),
            refusal(404, "notifier"),
            refusal(403, "notifier"),
            (201, json!({})),
        ]);
        let accounts = KubernetesSecrets(api);
        let annotations = accounts.annotations("ns", "notifier").await.unwrap();
        assert_eq!(annotations, [("a".to_owned(), "b".to_owned())].into());
        let token = async || accounts.account_token("ns", "notifier", "aud").await;
        assert_eq!(token().await.unwrap().expose_secret(), "made");
        let errors = [token().await, token().await, token().await];
        let failed = |text: &str| Some(ReadError::Failed(text.to_owned()));
        assert_eq!(
            errors.map(Result::err),
            [
                Some(ReadError::NotFound),
                failed("no"),
                failed("no token was made")
            ]
        );
        let (call, body) = requests.lock().unwrap()[1].clone();
        assert_eq!(
            call,
            "POST /api/v1/namespaces/ns/serviceaccounts/notifier/token"
        );
        let spec = json!({"audiences": ["aud"], "expirationSeconds": 600});
        assert_eq!(body["spec"], spec);
    }

    #[tokio::test]
    async fn a_warning_is_one_event_on_its_alert_counted_up_when_it_repeats() {
        let (api, requests) = scripted([(201, json!({})), (200, json!({}))]);
        let mut alert = Alert::default();
        alert.metadata.namespace = "ns".to_owned();
        alert.metadata.name = "on-call".to_owned();
        alert.metadata.uid = Some("u".to_owned());
        let snapshot = Snapshot {
            alerts: vec![Arc::new(alert)],
            ..Snapshot::default()
        };
        let (_snapshots, watched) = watch::channel(Some(Arc::new(snapshot)));
        let warnings = KubernetesWarnings::new(api, watched);
        let warning = Warning {
            reason: reason::DISPATCH_FAILED,
            message: "no".to_owned(),
        };
        warnings.warn("ns/gone", &warning);
        warnings.warn("ns/on-call", &warning);
        warnings.warn("ns/on-call", &warning);
        for _ in 0..1_000 {
            if requests.lock().unwrap().len() == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let requests = requests.lock().unwrap();
        assert_eq!(requests.len(), 2, "{requests:?}");
        assert_eq!(requests[0].1["involvedObject"]["uid"], "u");
        assert_eq!(requests[0].1["reason"], "NotificationDispatchFailed");
        assert_eq!(requests[1].1["count"], 2);
    }
}

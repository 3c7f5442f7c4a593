//! The Unix socket through which commands ask the running process. Never a network port.
//!
//! One JSON request a line, one JSON answer, then it closes.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::activity::Activities;
use crate::clock;
use crate::notify::ask::{self, AlertsAsk};
use crate::notify::preview;
use crate::notify::spool::Spool;
use crate::notify::target::SecretReader;
use crate::publish::Compiled;
use crate::receiver::plan::Plan;
use crate::trigger::deliver;
use crate::trigger::select::Reach;
use crate::xds::Edges;

/// Where the socket is unless a flag says otherwise.
pub const DEFAULT_SOCKET: &str = "/tmp/hookgate.sock";

/// In place of a path.
const MASKED: &str = "/hook/…";
/// Resources that are named; of more, their number is told.
const MAX_RESOURCES: usize = 100;
/// An event may have 3 MiB, and what is escaped in it grows.
const MAX_REQUEST: u64 = 8 * 1024 * 1024;
const MAX_ANSWER: u64 = 16 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(5);

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// Something about alerts.
    Alerts(AlertsAsk),
    /// What would be sent for an event.
    Preview(preview::Question),
    /// What is known of one Receiver.
    Receiver {
        /// `namespace/name`.
        name: String,
        /// Whether to show its path, which is secret.
        #[serde(default)]
        show_path: bool,
    },
}

/// Why the running process could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens there.
    #[error(
        "failed to reach a running hookgate at {path:?}; is it running, and is --control-socket the same?"
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The socket could not be made.
    #[error("failed to listen on the control socket {path:?}")]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process listens there.
    #[error("another hookgate listens on the control socket {0:?}; give another --control-socket")]
    InUse(PathBuf),
    /// The answer did not come or could not be read.
    #[error("the running hookgate did not answer")]
    NoAnswer,
    /// It answered with an error.
    #[error("{0}")]
    Refused(String),
}

/// What answers.
#[derive(Clone, Debug)]
pub struct Control<S> {
    /// The current table.
    pub current: Arc<ArcSwap<Compiled>>,
    /// What happened to hooks.
    pub activities: Arc<Activities>,
    /// The Envoys.
    pub edges: Arc<Edges>,
    /// Where resources may be.
    pub reach: Reach,
    /// The events that are not delivered.
    pub spool: Arc<Spool>,
    /// The Secrets of Providers.
    pub secrets: S,
}

/// The socket, removed when dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Makes the socket, with mode 0600. One that a dead process left behind is replaced.
    ///
    /// # Errors
    /// [`ControlError::InUse`] or [`ControlError::Bind`].
    pub async fn bind(path: &Path) -> Result<Self, ControlError> {
        if UnixStream::connect(path).await.is_ok() {
            return Err(ControlError::InUse(path.to_owned()));
        }
        let bind = |source| ControlError::Bind {
            path: path.to_owned(),
            source,
        };
        // Anything but a socket is somebody's file: binding fails, and the file stays.
        let is_socket = |metadata: std::fs::Metadata| metadata.file_type().is_socket();
        if std::fs::symlink_metadata(path).is_ok_and(is_socket) {
            std::fs::remove_file(path).map_err(bind)?;
        }
        let listener = UnixListener::bind(path).map_err(bind)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(bind)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Answers until it is dropped.
    pub async fn serve(self, control: Control<impl SecretReader + Clone>) {
        loop {
            if let Ok((stream, _)) = self.listener.accept().await {
                let control = control.clone();
                tokio::spawn(async move {
                    // Whoever asks and goes away gets no answer.
                    let _ = timeout(TIMEOUT, control.answer(stream)).await;
                });
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl<S: SecretReader> Control<S> {
    async fn answer(&self, stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        BufReader::new(read.take(MAX_REQUEST))
            .read_line(&mut line)
            .await?;
        let answer = match serde_json::from_str(&line) {
            Ok(ask) => self.ask(&ask).await,
            Err(error) => json!({"error": format!("not a question that is known here: {error}")}),
        };
        write.write_all(answer.to_string().as_bytes()).await
    }

    async fn ask(&self, ask: &Ask) -> Value {
        match ask {
            Ask::Receiver { name, show_path } => self.receiver(name, *show_path),
            Ask::Alerts(ask) => ask::answer(&self.spool, ask, clock::now_ms()).await,
            Ask::Preview(question) => {
                let snapshot = self.current.load().snapshot.clone();
                if !snapshot.has_alerts {
                    return json!({"error": "Alerts and Providers could not be listed yet; the log says why"});
                }
                match preview::preview(&snapshot, question, &self.secrets, clock::now_ms()).await {
                    Ok(text) => json!({"preview": text}),
                    Err(error) => json!({"error": error.to_string()}),
                }
            }
        }
    }

    fn receiver(&self, name: &str, show_path: bool) -> Value {
        let current = self.current.load();
        let Some(status) = current.statuses.get(name) else {
            return json!({"error": format!("there is no Receiver {name:?}")});
        };
        json!({
            "name": name,
            "type": status.receiver_type,
            "path": status.digest.map(|digest| if show_path { digest.path() } else { MASKED.to_owned() }),
            "suspended": status.suspended,
            "ready": status.failure.is_none(),
            "reason": status.failure.as_ref().map(|failure| failure.reason),
            "message": status.failure.as_ref().map(|failure| failure.message.clone()),
            "warnings": status.warnings,
            "table": {"version": current.version, "envoys": envoys(&self.edges)},
            "resources": current.plans.get(name).map(|plan| self.resources(plan, &current)),
            "activity": self.activities.of(name),
        })
    }

    /// What hooks of this Receiver ask to reconcile.
    fn resources(&self, plan: &Plan, current: &Compiled) -> Value {
        let selected = deliver::candidates(plan, current, &self.reach);
        let shown = selected.resources.iter().take(MAX_RESOURCES);
        json!({
            "count": selected.resources.len(),
            "first": shown.map(ToString::to_string).collect::<Vec<_>>(),
            "filtered": plan.has_filters(),
            "problems": selected.errors.iter().chain(&selected.later).collect::<Vec<_>>(),
        })
    }
}

fn envoys(edges: &Edges) -> Value {
    let described: Vec<_> = edges
        .list()
        .into_iter()
        .map(|edge| {
            json!({
                "node": edge.node,
                "connected": edge.connected_since.is_some(),
                "offered": edge.offered,
                "has": edge.acked,
                "refused": edge.nack.map(|nack| json!({"version": nack.version, "message": nack.message})),
            })
        })
        .collect();
    described.into()
}

/// Asks the running process.
///
/// # Errors
/// [`ControlError`] if it can't be reached, does not answer, or answers with an error.
pub async fn ask(path: &Path, ask: &Ask) -> Result<Value, ControlError> {
    let connect = |source| ControlError::Connect {
        path: path.to_owned(),
        source,
    };
    let mut stream = UnixStream::connect(path).await.map_err(connect)?;
    let exchange = async {
        stream
            .write_all(format!("{}\n", json!(ask)).as_bytes())
            .await
            .ok()?;
        let mut answer = Vec::new();
        (&mut stream)
            .take(MAX_ANSWER)
            .read_to_end(&mut answer)
            .await
            .ok()?;
        serde_json::from_slice::<Value>(&answer).ok()
    };
    let answer = timeout(TIMEOUT, exchange)
        .await
        .ok()
        .flatten()
        .ok_or(ControlError::NoAnswer)?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(ControlError::Refused(error.to_owned())),
        None => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser as _;

    use tokio::sync::watch;

    use super::*;
    use crate::args::RunArgs;
    use crate::notify::queue::Room;
    use crate::notify::spool::Limits;
    use crate::notify::target::SnapshotSecrets;
    use crate::{manifests, publish};

    const MANIFESTS: &str = "apiVersion: notification.toolkit.fluxcd.io/v1\nkind: Receiver\nmetadata: {name: app, namespace: ns}\nspec: {type: github, secretRef: {name: t}, resources: [{kind: GitRepository, name: app}, {kind: Bucket, name: \"*\"}]}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: t, namespace: ns}\nstringData: {token: \"hunter2!\"}\n";

    /// A process with one Receiver, asked through a socket in `folder`.
    async fn running(folder: &Path) -> PathBuf {
        let path = folder.join("control.sock");
        let files = folder.join("manifests");
        std::fs::create_dir(&files).unwrap();
        std::fs::write(files.join("app.yaml"), MANIFESTS).unwrap();
        let snapshot = manifests::read(&files).unwrap();
        let args = RunArgs::try_parse_from(["run", "--manifests=."]).unwrap();
        let compiled = publish::compile(
            Arc::new(snapshot),
            &BTreeMap::new(),
            &crate::run::options(&args, Reach::default()),
            b"",
        );
        let control = Control {
            current: Arc::new(ArcSwap::from_pointee(compiled)),
            activities: Arc::default(),
            edges: Arc::default(),
            reach: Reach::default(),
            spool: Arc::new(Spool::in_memory(Limits::default(), Room::default())),
            secrets: SnapshotSecrets(watch::channel(None).1),
        };
        let receivers = [("ns/app", "github")];
        control.activities.settle(receivers.into_iter());
        control.activities.decided("ns/app", "signature", 7);
        let socket = Socket::bind(&path).await.unwrap();
        tokio::spawn(socket.serve(control));
        path
    }

    fn receiver(name: &str) -> Ask {
        Ask::Receiver {
            name: name.to_owned(),
            show_path: false,
        }
    }

    /// What the socket answers to these bytes.
    async fn raw(path: &Path, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).await.unwrap();
        // The process may have heard enough before all is written.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn what_is_known_of_a_receiver_is_told_and_its_token_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = running(folder.path()).await;
        let answer = ask(&path, &receiver("ns/app")).await.unwrap();
        let version = answer["table"]["version"].clone();
        assert_eq!(
            answer,
            json!({
                "name": "ns/app",
                "type": "github",
                "path": "/hook/…",
                "suspended": false,
                "ready": true,
                "reason": null,
                "message": null,
                "warnings": ["resources[1]: matchLabels field not set when using wildcard '*' as name"],
                "table": {"version": version, "envoys": []},
                "resources": {
                    "count": 1,
                    "first": ["GitRepository/ns/app"],
                    "filtered": false,
                    "problems": ["Bucket/*: matchLabels field not set when using wildcard '*' as name"],
                },
                "activity": {
                    "admittedAt": null,
                    "refused": "signature",
                    "refusedAt": "1970-01-01T00:00:00Z",
                    "deliveries": [],
                    "triggers": {},
                    "weakSignatures": 0,
                    "keysUsed": {},
                    "counts": {"signature": 1},
                    "edgeCounts": {},
                },
            })
        );
        assert_eq!(version.as_str().unwrap().len(), 64);
        let shown = Ask::Receiver {
            name: "ns/app".to_owned(),
            show_path: true,
        };
        let path_of_it = hook::digest::Digest::of(b"hunter2!", "app", "ns").path();
        assert_eq!(ask(&path, &shown).await.unwrap()["path"], path_of_it);
        let error = ask(&path, &receiver("ns/other")).await.unwrap_err();
        assert_eq!(error.to_string(), "there is no Receiver \"ns/other\"");
    }

    #[tokio::test]
    async fn a_question_that_is_none_is_refused_and_the_next_one_answered() {
        let folder = tempfile::tempdir().unwrap();
        let path = running(folder.path()).await;
        let endless = vec![b'x'; 200_000];
        for bytes in [
            &b""[..],
            b"\n",
            b"{}\n",
            b"{\"ask\":\"secrets\"}\n",
            b"{\"ask\":\"receiver\",\"name\":\"ns/app\",\"more\":1}\n",
            &endless,
        ] {
            let answer = raw(&path, bytes).await;
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
            assert!(
                answer.is_empty() || answer.starts_with("{\"error\":\"not a question"),
                "{shown}: {answer}"
            );
        }
        assert!(raw(&path, b"\xff\xfe\n").await.is_empty());
        assert!(ask(&path, &receiver("ns/app")).await.is_ok());
    }

    #[tokio::test]
    async fn only_the_user_may_ask_and_one_process_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = running(folder.path()).await;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = Socket::bind(&path).await.unwrap_err();
        assert!(matches!(error, ControlError::InUse(_)), "{error}");
    }

    #[tokio::test]
    async fn a_socket_that_a_dead_process_left_is_replaced_and_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        // Dropped without being removed, as by a process that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let error = ask(&path, &receiver("ns/app")).await.unwrap_err();
        assert!(matches!(error, ControlError::Connect { .. }), "{error}");
        let socket = Socket::bind(&path).await.unwrap();
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.yaml");
        std::fs::write(&path, "precious").unwrap();
        let error = Socket::bind(&path).await.unwrap_err();
        assert!(matches!(error, ControlError::Bind { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_place_that_cannot_hold_a_socket_is_named() {
        let error = Socket::bind(Path::new("/nowhere/at/all.sock"))
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to listen on the control socket \"/nowhere/at/all.sock\""
        );
    }
}

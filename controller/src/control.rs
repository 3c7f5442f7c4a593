//! The Unix socket through which commands ask the running process. Never a network port.
//!
//! One JSON request a line, one JSON answer, then it closes.

use std::io;
use std::os::unix::fs::PermissionsExt;
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
use crate::publish::Compiled;
use crate::xds::Edges;

/// Where the socket is unless a flag says otherwise.
pub const DEFAULT_SOCKET: &str = "/tmp/hookgate.sock";

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
pub struct Control {
    /// The current table.
    pub current: Arc<ArcSwap<Compiled>>,
    /// What happened to hooks.
    pub activities: Arc<Activities>,
    /// The Envoys.
    pub edges: Arc<Edges>,
    /// The events that are not delivered.
    pub spool: Arc<Spool>,
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
        if let Err(error) = std::fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(bind(error));
        }
        let listener = UnixListener::bind(path).map_err(bind)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(bind)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Answers until it is dropped.
    pub async fn serve(self, control: Control) {
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

impl Control {
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
            Ask::Alerts(ask) => ask::answer(&self.spool, ask, clock::now_ms()).await,
            Ask::Preview(question) => {
                let snapshot = self.current.load().snapshot.clone();
                match preview::preview(&snapshot, question, clock::now_ms()).await {
                    Ok(text) => json!({"preview": text}),
                    Err(error) => json!({"error": error.to_string()}),
                }
            }
            Ask::Receiver { name } => self.receiver(name),
        }
    }

    fn receiver(&self, name: &str) -> Value {
        let current = self.current.load();
        let Some(status) = current.statuses.get(name) else {
            return json!({"error": format!("there is no Receiver {name:?}")});
        };
        json!({
            "name": name,
            "type": status.receiver_type,
            "suspended": status.suspended,
            "ready": status.failure.is_none(),
            "reason": status.failure.as_ref().map(|failure| failure.reason),
            "message": status.failure.as_ref().map(|failure| failure.message.clone()),
            "warnings": status.warnings,
            "table": {"version": current.version, "envoys": envoys(&self.edges)},
            "activity": self.activities.of(name),
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

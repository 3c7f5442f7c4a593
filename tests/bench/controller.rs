//! What the controller takes of memory with many Receivers of a real API server, as it is shipped.

use std::path::Path;
use std::time::{Duration, Instant};

use e2e::hookgate::Hookgate;
use e2e::{Cluster, api, wait};
use serde_json::{Value, json};

use crate::report::Report;

const API_VERSION: &str = "notification.toolkit.fluxcd.io/v1";

/// How long all may take to be ready.
const PATIENCE: Duration = Duration::from_secs(120);

/// The controller with this many Receivers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Controller {
    pub(crate) receivers: usize,
    /// From the first that is created until the last is ready.
    pub(crate) ready_after: Duration,
    /// Resident bytes without any.
    pub(crate) bare: u64,
    /// Resident bytes when all are ready.
    pub(crate) resident: u64,
}

/// Creates them, waits, and looks.
pub(crate) fn measure(binary: &Path, receivers: usize, report: &mut Report) -> Result<(), String> {
    let words = |error: Box<dyn std::error::Error + Send + Sync>| error.to_string();
    let cluster = Cluster::try_start().map_err(words)?;
    let hookgate = Hookgate::try_start_binary(binary, &cluster, "hookgate", &[]).map_err(words)?;
    let bare = hookgate.process.resident_bytes();
    let namespace = cluster.namespace("many");
    let admin = cluster.admin();
    let secret = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "token", "namespace": namespace}, "stringData": {"token": "t"}});
    admin.apply(&secret);
    let begin = Instant::now();
    for n in 0..receivers {
        let name = format!("r-{n}");
        let receiver = json!({"apiVersion": API_VERSION, "kind": "Receiver",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"type": "github", "secretRef": {"name": "token"},
                     "resources": [{"kind": "GitRepository", "name": name}]}});
        let answer = admin.create(&receiver);
        if answer.status != 201 {
            return Err(format!("a Receiver was refused with {}", answer.status));
        }
    }
    let list = api::collection(API_VERSION, "Receiver", Some(&namespace));
    let ready = || {
        let body = admin.get(&list).body;
        let items = body["items"].as_array().map_or(&[][..], Vec::as_slice);
        let has_path = |item: &&Value| item["status"]["webhookPath"].is_string();
        (items.iter().filter(has_path).count() == receivers).then_some(())
    };
    wait::until("all Receivers are ready", PATIENCE, ready).map_err(|error| error.to_string())?;
    report.controller(Controller {
        receivers,
        ready_after: begin.elapsed(),
        bare,
        resident: hookgate.process.resident_bytes(),
    });
    Ok(())
}

//! Watches a folder of manifests.
//!
//! A file that can't be parsed keeps what it last said until it can be again, or is gone: an editor
//! that saves half a file must not take a hook away.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::read::{Folder, ManifestsError};
use crate::objects::Snapshot;

/// Changes come in bursts; one that is over is read once.
const QUIET: Duration = Duration::from_millis(50);
/// What a watcher missed, as on a network file system, is found after this long.
const REREAD: Duration = Duration::from_secs(5);

/// Reads a folder, and again whenever it changes.
///
/// # Errors
/// [`ManifestsError`] if it can't be read.
pub async fn watch(
    folder: &Path,
    stop: watch::Receiver<bool>,
) -> Result<watch::Receiver<Option<Arc<Snapshot>>>, ManifestsError> {
    let (changed, changes) = mpsc::channel(1);
    let watcher = watcher(folder, changed);
    if let Err(error) = &watcher {
        tracing::warn!(%error, "changes of the manifests are found by reading them every few seconds");
    }
    let mut reader = Folder::new(folder);
    let first = reader.read()?.unwrap_or_default();
    log_problems(&first);
    let (snapshots, receiver) = watch::channel(Some(Arc::new(first)));
    tokio::spawn(follow(reader, watcher.ok(), changes, snapshots, stop));
    Ok(receiver)
}

/// Tells of changes until it is dropped.
fn watcher(folder: &Path, changed: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // Our own reading is an access too.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            // A full channel has a change in it already.
            let _ = changed.try_send(());
        }
    })?;
    watcher.watch(folder, RecursiveMode::Recursive)?;
    Ok(watcher)
}

async fn follow(
    mut folder: Folder,
    _watcher: Option<RecommendedWatcher>,
    mut changes: mpsc::Receiver<()>,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            _ = timeout(REREAD, changed(&mut changes)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        while timeout(QUIET, changes.recv())
            .await
            .is_ok_and(|change| change.is_some())
        {}
        let read = tokio::task::spawn_blocking(move || {
            let next = folder.read();
            (folder, next)
        });
        let Ok((returned, next)) = read.await else {
            return;
        };
        folder = returned;
        match next {
            Ok(None) => {}
            Ok(Some(next)) => {
                log_problems(&next);
                snapshots.send_replace(Some(Arc::new(next)));
            }
            Err(error) => tracing::error!(%error, "the manifests stay as they were"),
        }
    }
}

/// The next change; never, without a watcher.
async fn changed(changes: &mut mpsc::Receiver<()>) {
    if changes.recv().await.is_none() {
        std::future::pending().await
    }
}

fn log_problems(snapshot: &Snapshot) {
    for problem in &snapshot.problems {
        tracing::error!(%problem, "a manifest can't be used");
    }
}

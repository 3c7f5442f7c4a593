//! Watches a folder of manifests.
//!
//! A file that can't be parsed keeps what it last said until it can be again, or is gone: an editor
//! that saves half a file must not take a hook away.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
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
/// [`ManifestsError`] if it can't be read or watched.
pub async fn watch(
    folder: &Path,
    stop: watch::Receiver<bool>,
) -> Result<watch::Receiver<Arc<Snapshot>>, ManifestsError> {
    let (changed, changes) = mpsc::channel(1);
    let mut watcher = notify::recommended_watcher(move |_| {
        // A full channel has a change in it already.
        let _ = changed.try_send(());
    })
    .map_err(|source| ManifestsError::Watch {
        path: folder.to_owned(),
        source,
    })?;
    watcher
        .watch(folder, RecursiveMode::Recursive)
        .map_err(|source| ManifestsError::Watch {
            path: folder.to_owned(),
            source,
        })?;
    let mut reader = Folder::new(folder);
    let first = reader.read()?.unwrap_or_default();
    log_problems(&first);
    let (snapshots, receiver) = watch::channel(Arc::new(first));
    tokio::spawn(follow(reader, watcher, changes, snapshots, stop));
    Ok(receiver)
}

async fn follow(
    mut folder: Folder,
    _watcher: notify::RecommendedWatcher,
    mut changes: mpsc::Receiver<()>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            _ = timeout(REREAD, changes.recv()) => {}
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
                snapshots.send_replace(Arc::new(next));
            }
            Err(error) => tracing::error!(%error, "the manifests stay as they were"),
        }
    }
}

fn log_problems(snapshot: &Snapshot) {
    for problem in &snapshot.problems {
        tracing::error!(%problem, "a manifest can't be used");
    }
}

//! `hookgate run`: starts everything, keeps the table current, stops in order.

mod alerts;
mod listeners;
mod parts;
mod publisher;
mod running;
mod signals;
mod source;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use hook::bucket::Limit;
use tokio::sync::watch;

use self::parts::Parts;
use self::running::Running;
use self::signals::Signals;
use crate::annotations::Defaults;
use crate::args::RunArgs;
use crate::authz;
use crate::control::ControlError;
use crate::kubernetes::ConnectError;
use crate::manifests::ManifestsError;
use crate::notify::spool::OpenError;
use crate::publish::Options;
use crate::trigger::select::Reach;
use crate::xds::XdsError;

/// Why the controller could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A port is taken, or may not be.
    #[error("failed to listen on {address} for {what}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// For what.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The filter could not be read.
    #[error("failed to read the filter {path:?}; give --filter FILE")]
    Filter {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not WebAssembly.
    #[error("{0:?} is not a WebAssembly module; give --filter FILE")]
    NotWasm(PathBuf),
    /// The folder of accepted events.
    #[error(transparent)]
    Spool(#[from] OpenError),
    /// The folder of manifests.
    #[error(transparent)]
    Manifests(#[from] ManifestsError),
    /// The cluster.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Flags that do not go together.
    #[error("{0}")]
    Flags(String),
    /// The xDS port.
    #[error(transparent)]
    Xds(#[from] XdsError),
    /// The `ext_authz` port.
    #[error(transparent)]
    Authz(#[from] authz::Exposed),
    /// The server of that port.
    #[error("failed to serve ext_authz")]
    ServeAuthz(#[source] tonic::transport::Error),
    /// Something ended that should go on until the end of the process.
    #[error("{0} ended")]
    Ended(&'static str),
    /// Signals can't be handled.
    #[error("failed to wait for signals")]
    Signal(#[source] io::Error),
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// [`RunError`] if something needed can't be had at the start, or if the server of the table or of ext_authz ends while it
/// runs: Envoy would keep an old table unnoticed, or refuse every hook. Other later failures are logged and mended.
pub async fn run(args: RunArgs) -> Result<(), RunError> {
    // The process may be a test's second: the first provider stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (stop, stopped) = watch::channel(false);
    let parts = Parts::open(&args, stopped.clone()).await?;
    let mut signals = Signals::new()?;
    let mut running = Running::start(&args, parts, stop, stopped);
    tracing::info!(
        hooks = %args.receiver_addr, events = %args.events.events_addr, xds = %args.xds_addr,
        metrics = %args.metrics_addr, health = %args.health_addr,
        ext_authz = args.ext_authz_addr.map(tracing::field::display), "listening"
    );

    let result = tokio::select! {
        () = signals.next() => Ok(()),
        failure = running.failure() => Err(failure),
    };
    tracing::info!("stopping");
    running.stop(&mut signals).await;
    tracing::info!("stopped");
    result
}

/// What the flags say about the table.
pub(crate) fn options(args: &RunArgs, reach: Reach) -> Options {
    Options {
        max_body: args.max_hook_bytes,
        allow_any_method: args.allow_any_method,
        hold_headers: args.hold_headers,
        failures: Limit::per_second(args.failure_rate, args.failure_burst),
        defaults: Defaults {
            limit: Limit::per_second(args.hook_rate, args.hook_burst),
            max_limit: Limit::per_second(
                args.max_hook_rate.max(args.hook_rate),
                args.max_hook_burst.max(args.hook_burst),
            ),
            filtered_status: args.filtered_hook_status,
            replay_window: args.replay_window,
            min_signature_hash: args.min_signature_hash,
            deny_sha1: args.deny_sha1,
            trigger_interval: args.trigger_interval,
        },
        reach,
        any_kind: args.manifests.is_none(),
    }
}

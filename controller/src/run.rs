//! `hookgate run`: starts everything, keeps the table current, stops in order.

mod alerts;
mod listeners;
mod publisher;
mod source;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use hook::bucket::Limit;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use self::listeners::{Listeners, serve};
use self::publisher::{Publisher, report_sink};
use self::source::{Source, shutdown_delay};
use crate::activity::Activities;
use crate::annotations::Defaults;
use crate::args::RunArgs;
use crate::control::{Control, ControlError, Socket};
use crate::health::{self, Readiness};
use crate::kubernetes::ConnectError;
use crate::manifests::ManifestsError;
use crate::metrics::Metrics;
use crate::notify::service;
use crate::notify::spool::OpenError;
use crate::publish::{Compiled, Options};
use crate::receiver::jwks::{self, Jwks};
use crate::trigger::annotate::Annotator;
use crate::trigger::deliver::Deliverer;
use crate::trigger::select::Reach;
use crate::trigger::server::HookServer;
use crate::xds::{self, Edges, XdsError};

/// A wasm module larger than this is not ours.
const MAX_FILTER: usize = 16 * 1024 * 1024;

/// Why the controller could not start.
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
    /// Signals can't be handled.
    #[error("failed to wait for signals")]
    Signal(#[source] io::Error),
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// [`RunError`] if something needed can't be had at the start. Later failures are logged and mended.
pub async fn run(args: RunArgs) -> Result<(), RunError> {
    // The process may be a test's second: the first provider stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tls = xds_tls(&args);
    xds::bind_policy(args.xds_addr, tls.as_ref(), args.xds_insecure)?;
    let tls = match tls {
        Some(files) => Some(files.load().await?),
        None => None,
    };
    let code = read_filter(&filter_path(&args))?;
    let (stop, stopped) = watch::channel(false);

    let mut signals = Signals::new()?;
    let (source, reach) = Source::open(&args, stopped.clone()).await?;
    let (activities, troubles) = Activities::telling();
    let activities = Arc::new(activities);
    let metrics = Arc::new(Metrics::new(activities.clone()));
    let jwks = Jwks::new(jwks::Settings {
        allow_metadata_addresses: args.allow_metadata_addresses,
        google_certs: args.gcr_certs_url.clone(),
        google_iap: args.gcr_iap_keys_url.clone(),
        ..jwks::Settings::default()
    });
    let refreshing = tokio::spawn({
        let jwks = jwks.clone();
        async move { jwks.run().await }
    });
    let edges = Arc::new(Edges::default());
    let options = options(&args, reach.clone());
    let incomplete = Arc::new(Compiled::incomplete(&options));
    let current = Arc::new(ArcSwap::new(incomplete.clone()));
    let (tables, offered) = watch::channel(None);
    let (published, compiled) = watch::channel(incomplete);
    let readiness = Readiness::default();

    let spool = service::open_spool(&args.events)?;
    let listeners = Listeners::bind(&args).await?;
    let socket = Socket::bind(&args.control_socket).await?;
    let deliverer = Arc::new(Deliverer::new(
        Annotator::new(source.requester.clone()),
        metrics.clone(),
        activities.clone(),
        reach.clone(),
    ));
    let server = Arc::new(HookServer::new(
        current.clone(),
        deliverer.clone(),
        args.trusted_proxies.clone(),
    ));
    let hooks = tokio::spawn(server.serve(listeners.hooks, stopped.clone()));
    let sink = report_sink(current.clone(), activities.clone(), jwks.clone());
    let xds = tokio::spawn({
        let (edges, mut stop) = (edges.clone(), stopped.clone());
        let shutdown = async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        async move { xds::serve(listeners.xds, tls, offered, edges, sink, shutdown).await }
    });
    let events = alerts::start(
        &args,
        listeners.events,
        spool.clone(),
        &source,
        metrics.clone(),
        stopped.clone(),
    );
    serve(
        listeners.metrics,
        health::metrics_routes(metrics.clone(), edges.clone(), spool.clone()),
        stopped.clone(),
    );
    serve(
        listeners.health,
        health::routes(readiness.clone(), source.requester.kept()),
        stopped.clone(),
    );
    tokio::spawn(socket.serve(Control {
        current: current.clone(),
        activities: activities.clone(),
        edges,
        spool,
        reach,
    }));
    let publisher = Publisher {
        current,
        options,
        code,
        metrics: metrics.clone(),
        activities,
        jwks,
        tables,
        published,
        readiness: readiness.clone(),
    };
    let publishing = tokio::spawn(publisher.keep_current(source.snapshots));
    let (leave, leaving) = watch::channel(false);
    let reconciling = source
        .cluster
        .map(|cluster| cluster.reconcile(&args.cluster, compiled, metrics, troubles, leaving));
    tracing::info!(
        hooks = %args.receiver_addr, events = %args.events.events_addr, xds = %args.xds_addr,
        metrics = %args.metrics_addr, health = %args.health_addr, "listening"
    );

    signals.next().await;
    tracing::info!("stopping");
    readiness.stop();
    // Another replica may lead from now on, while this one still takes the hooks that come.
    let _ = leave.send(true);
    let delay = shutdown_delay(&args);
    if timeout(delay, signals.next()).await.is_ok() {
        tracing::warn!("stopping at once");
    }
    let _ = stop.send(true);
    let _ = hooks.await;
    deliverer.drain().await;
    events.stopped().await;
    for handle in reconciling.into_iter().flatten() {
        let _ = handle.await;
    }
    publishing.abort();
    refreshing.abort();
    if let Ok(Err(error)) = xds.await {
        tracing::error!(%error, "the xDS server failed");
    }
    tracing::info!("stopped");
    Ok(())
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

fn xds_tls(args: &RunArgs) -> Option<xds::XdsTls> {
    let (cert, key) = (args.xds_cert.clone()?, args.xds_key.clone()?);
    Some(xds::XdsTls {
        cert,
        key,
        client_ca: args.xds_client_ca.clone()?,
    })
}

fn filter_path(args: &RunArgs) -> PathBuf {
    args.filter.clone().unwrap_or_else(|| {
        let beside = std::env::current_exe().ok();
        beside
            .and_then(|exe| Some(exe.parent()?.join("filter.wasm")))
            .unwrap_or_default()
    })
}

fn read_filter(path: &Path) -> Result<Arc<[u8]>, RunError> {
    let code = std::fs::read(path).map_err(|source| RunError::Filter {
        path: path.to_owned(),
        source,
    })?;
    if !code.starts_with(b"\0asm") || code.len() > MAX_FILTER {
        return Err(RunError::NotWasm(path.to_owned()));
    }
    Ok(code.into())
}

/// The signals that stop the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, RunError> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(RunError::Signal)?,
            interrupt: signal(SignalKind::interrupt()).map_err(RunError::Signal)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

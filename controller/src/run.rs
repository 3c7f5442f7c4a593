//! `hookgate run`: starts everything, keeps the table current, stops in order.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use hook::bucket::Limit;
use hook::report::Report;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::activity::Activities;
use crate::annotations::Defaults;
use crate::args::RunArgs;
use crate::control::{Control, ControlError, Socket};
use crate::health::{self, Readiness};
use crate::manifests::requester::ManifestRequester;
use crate::manifests::{self, ManifestsError};
use crate::metrics::Metrics;
use crate::notify::service::{self, Service};
use crate::notify::spool::OpenError;
use crate::notify::target::SnapshotSecrets;
use crate::notify::transport::Sockets;
use crate::notify::warn::LogWarnings;
use crate::objects::Snapshot;
use crate::publish::{self, Compiled, Options, Status};
use crate::receiver::jwks::{self, IssuerKeys, Jwks};
use crate::receiver::plan;
use crate::trigger::annotate::Annotator;
use crate::trigger::deliver::Deliverer;
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
    let code = read_filter(&filter_path(&args))?;
    let (stop, stopped) = watch::channel(false);

    let snapshots = manifests::watch(&args.manifests, stopped.clone()).await?;
    let metrics = Arc::new(Metrics::default());
    let activities = Arc::new(Activities::default());
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
    let requester = Arc::new(ManifestRequester::new(snapshots.clone()));
    let edges = Arc::new(Edges::default());
    let options = options(&args);
    let first = publish::compile(
        snapshots.borrow().clone(),
        &BTreeMap::new(),
        &options,
        &code,
    );
    let (publisher, tables) = watch::channel(None);
    let publisher = Publisher {
        current: Arc::new(ArcSwap::from_pointee(first)),
        options,
        code,
        metrics: metrics.clone(),
        activities: activities.clone(),
        jwks: jwks.clone(),
        tables: publisher,
    };
    let current = publisher.current.clone();
    publisher.publish(snapshots.borrow().clone(), true);

    let spool = service::open_spool(&args.events)?;
    let listeners = Listeners::bind(&args).await?;
    let socket = Socket::bind(&args.control_socket).await?;
    let readiness = Readiness::default();
    let deliverer = Arc::new(Deliverer::new(
        Annotator::new(requester.clone()),
        metrics.clone(),
        activities.clone(),
        args.no_cross_namespace_refs,
    ));
    let server = Arc::new(HookServer::new(
        current.clone(),
        deliverer.clone(),
        args.trusted_proxies.clone(),
    ));
    let hooks = tokio::spawn(server.serve(listeners.hooks, stopped.clone()));
    let sink = report_sink(
        current.clone(),
        metrics.clone(),
        activities.clone(),
        jwks.clone(),
    );
    let xds = tokio::spawn({
        let (edges, mut stop) = (edges.clone(), stopped.clone());
        let shutdown = async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        async move { xds::serve(listeners.xds, tls.as_ref(), tables, edges, sink, shutdown).await }
    });
    let events = Service::start(
        &args.events,
        args.no_cross_namespace_refs,
        listeners.events,
        spool.clone(),
        snapshots.clone(),
        SnapshotSecrets(snapshots.clone()),
        Sockets::new(args.allow_metadata_addresses),
        LogWarnings,
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
        health::routes(readiness.clone(), requester),
        stopped.clone(),
    );
    tokio::spawn(socket.serve(Control {
        current,
        activities,
        edges,
        spool,
    }));
    let publishing = tokio::spawn(publisher.keep_current(snapshots));
    readiness.set(true);
    tracing::info!(
        hooks = %args.receiver_addr, events = %args.events.events_addr, xds = %args.xds_addr, metrics = %args.metrics_addr,
        health = %args.health_addr, "ready"
    );

    wait_for_signal().await?;
    tracing::info!("stopping");
    readiness.set(false);
    let _ = stop.send(true);
    let _ = hooks.await;
    deliverer.drain().await;
    events.stopped().await;
    publishing.abort();
    refreshing.abort();
    if let Ok(Err(error)) = xds.await {
        tracing::error!(%error, "the xDS server failed");
    }
    tracing::info!("stopped");
    Ok(())
}

struct Listeners {
    hooks: TcpListener,
    events: TcpListener,
    xds: TcpListener,
    metrics: TcpListener,
    health: TcpListener,
}

impl Listeners {
    async fn bind(args: &RunArgs) -> Result<Self, RunError> {
        Ok(Self {
            hooks: bind(args.receiver_addr, "hooks").await?,
            events: bind(args.events.events_addr, "events").await?,
            xds: bind(args.xds_addr, "xDS").await?,
            metrics: bind(args.metrics_addr, "metrics").await?,
            health: bind(args.health_addr, "health").await?,
        })
    }
}

async fn bind(address: SocketAddr, what: &'static str) -> Result<TcpListener, RunError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| RunError::Bind {
            address,
            what,
            source,
        })
}

fn serve(listener: TcpListener, routes: Router, mut stop: watch::Receiver<bool>) {
    tokio::spawn(async move {
        let stopped = async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        if let Err(error) = axum::serve(listener, routes)
            .with_graceful_shutdown(stopped)
            .await
        {
            tracing::error!(%error, "a server failed");
        }
    });
}

/// Keeps the table current.
struct Publisher {
    current: Arc<ArcSwap<Compiled>>,
    options: Options,
    code: Arc<[u8]>,
    metrics: Arc<Metrics>,
    activities: Arc<Activities>,
    jwks: Jwks,
    tables: watch::Sender<Option<Arc<xds::Snapshot>>>,
}

impl Publisher {
    async fn keep_current(self, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
        let mut keys = self.jwks.changed();
        loop {
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return },
                changed = keys.changed() => if changed.is_err() { return },
            }
            let snapshot = snapshots.borrow_and_update().clone();
            keys.mark_unchanged();
            self.publish(snapshot, false);
        }
    }

    fn publish(&self, snapshot: Arc<Snapshot>, is_first: bool) {
        let problems = snapshot.problems.len();
        let issuers = self.issuers(&snapshot);
        let compiled = publish::compile(snapshot, &issuers, &self.options, &self.code);
        let before = self.current.load_full();
        let nothing = BTreeMap::new();
        let said = if is_first { &nothing } else { &before.statuses };
        log_changes(said, &compiled.statuses);
        self.forget(&before, &compiled);
        let not_ready = compiled
            .statuses
            .values()
            .filter(|s| s.failure.is_some())
            .count();
        let ready = compiled.statuses.len() - not_ready;
        self.metrics
            .compiled(ready, not_ready, problems, compiled.table.len());
        if is_first || before.version != compiled.version {
            tracing::info!(
                version = compiled.version,
                receivers = compiled.statuses.len(),
                not_ready,
                bytes = compiled.table.len(),
                "table compiled"
            );
            self.tables.send_replace(Some(Arc::new(xds::Snapshot {
                version: compiled.version.clone(),
                wasm: self.code.clone(),
                table: compiled.table.clone(),
                hold_headers: self.options.hold_headers,
            })));
        }
        self.current.store(Arc::new(compiled));
    }

    /// The keys that are at hand. Others are sent for: when they come, this table is compiled again.
    fn issuers(&self, snapshot: &Snapshot) -> BTreeMap<String, Arc<IssuerKeys>> {
        let urls = publish::issuer_urls(snapshot);
        self.jwks.retain(&urls, urls.contains(plan::GOOGLE));
        let mut keys = BTreeMap::new();
        for url in urls {
            let at_hand = match url.as_str() {
                plan::GOOGLE => self.jwks.cached_google(),
                url => self.jwks.cached(url),
            };
            match at_hand {
                Some(found) => {
                    keys.insert(url, found);
                }
                None => fetch(self.jwks.clone(), url, false),
            }
        }
        keys
    }

    /// What is kept by Receiver goes with it.
    fn forget(&self, before: &Compiled, after: &Compiled) {
        for (name, plan) in &before.plans {
            if !after.statuses.contains_key(name) {
                let activity = self.activities.of(name);
                let outcomes = activity.counts.keys().chain(activity.edge_counts.keys());
                self.metrics
                    .forget(name, plan.receiver_type.name(), outcomes);
            }
        }
        self.activities
            .retain(|name| after.statuses.contains_key(name));
    }
}

/// Says what became of each Receiver, when that changes.
fn log_changes(before: &BTreeMap<String, Status>, after: &BTreeMap<String, Status>) {
    for (name, status) in after {
        let said = before
            .get(name)
            .map(|s| (&s.failure, &s.warnings, s.suspended));
        if said == Some((&status.failure, &status.warnings, status.suspended)) {
            continue;
        }
        match &status.failure {
            Some(failure) => tracing::error!(
                receiver = name,
                reason = failure.reason,
                message = failure.message,
                "receiver is not ready"
            ),
            None => tracing::info!(
                receiver = name,
                suspended = status.suspended,
                "receiver is ready"
            ),
        }
        for warning in &status.warnings {
            tracing::warn!(receiver = name, warning, "receiver needs attention");
        }
    }
}

/// Fetches the keys of an issuer; `again` even if there are some, at a limited rate.
fn fetch(jwks: Jwks, issuer: String, again: bool) {
    tokio::spawn(async move {
        // A failure is logged where it happens, and tried again.
        match (issuer.as_str(), again) {
            (plan::GOOGLE, false) => drop(jwks.google().await),
            (plan::GOOGLE, true) => drop(jwks.refresh_google().await),
            (url, false) => drop(jwks.keys(url).await),
            (url, true) => drop(jwks.refresh(url).await),
        }
    });
}

/// What Envoy reports is counted for Receivers that there are, and is a hint to look for new keys.
fn report_sink(
    current: Arc<ArcSwap<Compiled>>,
    metrics: Arc<Metrics>,
    activities: Arc<Activities>,
    jwks: Jwks,
) -> xds::ReportSink {
    Arc::new(move |bytes: &[u8]| {
        let report = Report::parse(bytes).ok_or_else(|| "not an edge report".to_owned())?;
        let current = current.load();
        activities.reported(&report, |name| current.plans.contains_key(name));
        for (name, counts) in &report.hooks {
            let Some(plan) = current.plans.get(name) else {
                continue;
            };
            for (reason, n) in &counts.reasons {
                metrics.reported(name, plan.receiver_type.name(), reason, *n);
            }
            if counts
                .reasons
                .contains_key(hook::jwt::JwtError::UnknownKey.reason())
            {
                for issuer in &plan.hook.issuers {
                    fetch(jwks.clone(), issuer.issuer.clone(), true);
                }
            }
        }
        Ok(())
    })
}

/// What the flags say about the table.
pub(crate) fn options(args: &RunArgs) -> Options {
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

async fn wait_for_signal() -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signal)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

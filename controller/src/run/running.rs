//! All servers and loops of the process: started together, stopped in order.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::listeners::serve;
use super::parts::Parts;
use super::publisher::{Publisher, report_sink};
use super::signals::Signals;
use super::source::{AnyRequester, shutdown_delay};
use super::{RunError, alerts, options};
use crate::activity::Activities;
use crate::args::RunArgs;
use crate::authz::Authz;
use crate::control::Control;
use crate::health::{self, Readiness};
use crate::metrics::Metrics;
use crate::notify::service::Service;
use crate::publish::Compiled;
use crate::receiver::jwks::{self, Jwks};
use crate::trigger::annotate::Annotator;
use crate::trigger::deliver::Deliverer;
use crate::trigger::server::HookServer;
use crate::xds::{self, Edges, LoadedTls, XdsError};

/// What runs.
pub(super) struct Running {
    readiness: Readiness,
    shutdown_delay: Duration,
    /// Gives the Lease away.
    leave: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    hooks: JoinHandle<()>,
    deliverer: Arc<Deliverer<Arc<AnyRequester>>>,
    events: Service,
    reconciling: Vec<JoinHandle<()>>,
    xds: JoinHandle<Result<(), XdsError>>,
    authz: JoinHandle<Result<(), tonic::transport::Error>>,
    /// Has nothing to finish.
    background: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts everything. `stopped` turns true with `stop`.
    pub(super) fn start(
        args: &RunArgs,
        parts: Parts,
        stop: watch::Sender<bool>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let Parts {
            tls,
            code,
            source,
            reach,
            spool,
            listeners,
            socket,
        } = parts;
        let (activities, troubles) = Activities::telling();
        let activities = Arc::new(activities);
        let metrics = Arc::new(Metrics::new(activities.clone()));
        let jwks = issuers(args);
        let edges = Arc::new(Edges::default());
        let options = options(args, reach.clone());
        let incomplete = Arc::new(Compiled::incomplete(&options));
        let current = Arc::new(ArcSwap::new(incomplete.clone()));
        let (tables, offered) = watch::channel(None);
        let (published, compiled) = watch::channel(incomplete);
        let readiness = Readiness::default();
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
        let acceptor = tls.as_ref().filter(|_| !args.ext_authz_insecure);
        let authz = tokio::spawn({
            let hops = args.ext_authz_trusted_hops.into();
            let authz = Authz::new(current.clone(), deliverer.clone(), hops);
            let (tls, bodies) = (acceptor.map(LoadedTls::acceptor), server.bodies());
            let stopped = stopped.clone();
            async move {
                match listeners.authz {
                    Some(listener) => authz.serve(listener, tls, bodies, stopped).await,
                    None => {
                        is_true(stopped).await;
                        Ok(())
                    }
                }
            }
        });
        let hooks = tokio::spawn(server.serve(listeners.hooks, stopped.clone()));
        let sink = report_sink(current.clone(), activities.clone(), jwks.clone());
        let xds = tokio::spawn({
            let (edges, stopped) = (edges.clone(), is_true(stopped.clone()));
            async move { xds::serve(listeners.xds, tls, offered, edges, sink, stopped).await }
        });
        let events = alerts::start(
            args,
            listeners.events,
            spool.clone(),
            &source,
            metrics.clone(),
            stopped.clone(),
        );
        let routes =
            health::metrics_routes(metrics.clone(), edges.clone(), spool.clone(), code.clone());
        serve(listeners.metrics, routes, stopped.clone());
        let routes = health::routes(readiness.clone(), source.requester.kept());
        serve(listeners.health, routes, stopped);
        tokio::spawn(socket.serve(Control {
            current: current.clone(),
            activities: activities.clone(),
            edges,
            reach,
            spool,
            secrets: alerts::secrets(&source),
        }));
        let refreshing = tokio::spawn({
            let jwks = jwks.clone();
            async move { jwks.run().await }
        });
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
        Self {
            readiness,
            shutdown_delay: shutdown_delay(args),
            leave,
            stop,
            hooks,
            deliverer,
            events,
            reconciling: reconciling.unwrap_or_default(),
            xds,
            authz,
            background: vec![publishing, refreshing],
        }
    }

    /// Waits for the end of what should not end. Safe to drop.
    pub(super) async fn failure(&mut self) -> RunError {
        tokio::select! {
            ended = &mut self.xds => match ended {
                Ok(Err(error)) => RunError::Xds(error),
                Ok(Ok(())) | Err(_) => RunError::Ended("the xDS server"),
            },
            ended = &mut self.authz => match ended {
                Ok(Err(error)) => RunError::ServeAuthz(error),
                Ok(Ok(())) | Err(_) => RunError::Ended("the ext_authz server"),
            },
        }
    }

    /// Readiness off first, then the Lease, then the hooks that are in flight, then the rest. A second signal shortens
    /// the wait for hooks that still come.
    pub(super) async fn stop(self, signals: &mut Signals) {
        self.readiness.stop();
        // Another replica may lead from now on, while this one still takes the hooks that come.
        let _ = self.leave.send(true);
        if timeout(self.shutdown_delay, signals.next()).await.is_ok() {
            tracing::warn!("stopping at once");
        }
        let _ = self.stop.send(true);
        let _ = self.hooks.await;
        if !self.authz.is_finished()
            && let Ok(Err(error)) = self.authz.await
        {
            tracing::error!(%error, "the ext_authz server failed");
        }
        self.deliverer.drain().await;
        self.events.stopped().await;
        for handle in self.reconciling {
            let _ = handle.await;
        }
        for handle in self.background {
            handle.abort();
        }
        // A handle that has told its failure already has nothing more to tell.
        if !self.xds.is_finished()
            && let Ok(Err(error)) = self.xds.await
        {
            tracing::error!(%error, "the xDS server failed");
        }
    }
}

fn issuers(args: &RunArgs) -> Jwks {
    Jwks::new(jwks::Settings {
        allow_metadata_addresses: args.allow_metadata_addresses,
        google_certs: args.gcr_certs_url.clone(),
        google_iap: args.gcr_iap_keys_url.clone(),
        ..jwks::Settings::default()
    })
}

async fn is_true(mut value: watch::Receiver<bool>) {
    let _ = value.wait_for(|value| *value).await;
}

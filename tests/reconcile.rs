//! Kubernetes as the controller meets it: a real API server with the definitions and the rights that are shipped.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a trial fails by panicking"
)]

#[path = "reconcile/alerts.rs"]
mod alerts;
#[path = "reconcile/providers.rs"]
mod providers;
#[path = "reconcile/rbac.rs"]
mod rbac;
#[path = "reconcile/receivers.rs"]
mod receivers;
#[path = "reconcile/schema.rs"]
mod schema;
#[path = "reconcile/server.rs"]
mod server;

use std::process::ExitCode;

use e2e::Cluster;
use e2e::trials::Trials;

fn main() -> ExitCode {
    let trials = Trials::started_by(Cluster::try_start);
    let trials = schema::trials(trials);
    let trials = receivers::trials(trials);
    let trials = alerts::trials(trials);
    let trials = providers::trials(trials);
    let trials = rbac::trials(trials);
    server::trials(trials).run()
}

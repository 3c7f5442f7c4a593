//! Hookgate in a cluster: what a platform team sees that lets it take over from notification-controller.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a trial fails by panicking, tells figures, and looks at the clock"
)]

#[path = "kubernetes/alerts.rs"]
mod alerts;
#[path = "kubernetes/away.rs"]
mod away;
#[path = "kubernetes/commands.rs"]
mod commands;
#[path = "kubernetes/conformance.rs"]
mod conformance;
#[path = "kubernetes/edge.rs"]
mod edge;
#[path = "kubernetes/hookgate.rs"]
mod hookgate;
#[path = "kubernetes/limits.rs"]
mod limits;
#[path = "kubernetes/load.rs"]
mod load;
#[path = "kubernetes/migration.rs"]
mod migration;
#[path = "kubernetes/replicas.rs"]
mod replicas;
#[path = "kubernetes/resources.rs"]
mod resources;
#[path = "kubernetes/scope.rs"]
mod scope;
#[path = "kubernetes/secrets.rs"]
mod secrets;
#[path = "kubernetes/seeing.rs"]
mod seeing;
#[path = "kubernetes/status.rs"]
mod status;

#[path = "receive/table.rs"]
mod table;

use std::process::ExitCode;

use e2e::trials::Trials;

use self::hookgate::Stand;

fn main() -> ExitCode {
    let trials = Trials::started_by(Stand::try_start);
    let trials = status::trials(trials);
    let trials = secrets::trials(trials);
    let trials = resources::trials(trials);
    let trials = scope::trials(trials);
    let trials = seeing::trials(trials);
    let trials = limits::trials(trials);
    let trials = edge::trials(trials);
    let trials = conformance::trials(trials);
    let trials = load::trials(trials);
    let trials = away::trials(trials);
    let trials = migration::trials(trials);
    let trials = commands::trials(trials);
    let trials = alerts::trials(trials);
    replicas::trials(trials).run()
}

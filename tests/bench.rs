//! `cargo bench-gate`: what the filter costs a request through Envoy, beside Envoy's own means, in one run, as ratios.
//!
//! One Envoy with one worker and a listener for each scenario, plain HTTP/1.1 on loopback; the load generator, the upstream and
//! the ext_authz service of the comparison are native and share the other core. The chain is the one that `hookgate edge
//! bootstrap` renders, read back from a running Envoy; only the filter's place differs. Rounds are interleaved, so that
//! what the machine does besides meets all scenarios alike. Rates are requests per second of Envoy's own CPU time.
//! Nothing here passes or fails by time: a wrong status or an unmeasured row does.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a command speaks on its outputs, and a measurement reads the clock"
)]

#[path = "bench/bodies.rs"]
mod bodies;
#[path = "bench/chain.rs"]
mod chain;
#[path = "bench/controller.rs"]
mod controller;
#[path = "bench/edge.rs"]
mod edge;
#[path = "bench/events.rs"]
mod events;
#[path = "bench/flood.rs"]
mod flood;
#[path = "bench/load.rs"]
mod load;
#[path = "bench/report.rs"]
mod report;
#[path = "bench/scenario.rs"]
mod scenario;
#[path = "bench/server.rs"]
mod server;
#[path = "bench/ways.rs"]
mod ways;

// Of the trials behind Contour: what puts a site there.
#[path = "contour/gate.rs"]
#[expect(
    clippy::expect_used,
    clippy::panic,
    reason = "trials ask for more, and fail by panicking"
)]
mod gate;
#[path = "kubernetes/hookgate.rs"]
#[expect(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    reason = "trials ask for more, and fail by panicking"
)]
mod hookgate;
#[path = "contour/overlay.rs"]
#[expect(clippy::expect_used, reason = "trials fail by panicking")]
mod overlay;
#[path = "contour/site.rs"]
#[expect(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    reason = "trials ask for more, and fail by panicking"
)]
mod site;
#[path = "contour/stand.rs"]
#[expect(dead_code, reason = "trials ask for more")]
mod stand;

use std::process::ExitCode;
use std::time::Duration;

use e2e::binaries;

use crate::chain::Parts;
use crate::edge::Edge;
use crate::report::Report;
use crate::scenario::Scenario;

const HELP: &str = "Measure requests through Envoy with the filter, beside Envoy's own means, as ratios.

Usage: cargo bench-gate [-- --brief]

  --brief   one short round of each, with a debug build of the controller: shows that it runs, its figures mean nothing
  --help    this

Takes about eight minutes after the builds and wants a machine with nothing else to do. With taskset (util-linux)
Envoy gets one core and everything else another. Nothing passes or fails by its speed.
Exit codes: 0 measured, 1 something answered wrongly or did not start, 2 wrong arguments.";

/// How long and how often everything is measured.
#[derive(Clone, Copy, Debug)]
struct Plan {
    rounds: usize,
    round: Duration,
    /// Bodies of 25 MiB for each scenario.
    bodies: usize,
    /// How long a flood lasts, and the quiet before it.
    flood: Duration,
    /// Hooks in the tables that are compared.
    tables: [usize; 3],
    /// Receivers of a real API server.
    receivers: usize,
    /// How long events are posted.
    events: Duration,
    /// Requests of each kind by each way behind Contour.
    ways: usize,
    /// Whether the controller is built as it is shipped, which takes minutes.
    is_release: bool,
}

const FULL: Plan = Plan {
    rounds: 9,
    round: Duration::from_millis(1_500),
    bodies: 12,
    flood: Duration::from_secs(10),
    tables: [10, 10_000, 100_000],
    receivers: 1_000,
    events: Duration::from_secs(60),
    ways: 1_500,
    is_release: true,
};

const BRIEF: Plan = Plan {
    rounds: 1,
    round: Duration::from_millis(300),
    bodies: 2,
    flood: Duration::from_millis(500),
    tables: [10, 1_000, 10_000],
    receivers: 50,
    events: Duration::from_secs(1),
    ways: 25,
    is_release: false,
};

fn main() -> ExitCode {
    let mut plan = FULL;
    // `cargo bench-gate -- --brief`: the alias has a `--` already.
    for argument in std::env::args().skip(1).filter(|word| word != "--") {
        match argument.as_str() {
            "--brief" => plan = BRIEF,
            "--help" | "-h" => {
                println!("{HELP}");
                return ExitCode::SUCCESS;
            }
            other => {
                eprintln!("unknown argument {other:?}: cargo bench-gate takes --brief or --help");
                return ExitCode::from(2);
            }
        }
    }
    match measure(plan) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(plan: Plan) -> Result<Report, String> {
    eprintln!("bench: building, and reading the chain from a running Envoy");
    let parts = Parts::collect(plan.is_release)?;
    let binary = if plan.is_release {
        binaries::hookgate_release()
    } else {
        binaries::hookgate()
    };
    let binary = binary.map_err(|error| error.to_string())?;
    let servers = server::start(&parts);
    let scenarios = Scenario::all(&parts, &servers, plan.tables);
    let mut report = Report::new(plan.rounds, parts.filter_bytes);
    {
        let edge = Edge::start(&parts, &servers, &scenarios)?;
        for round in 1..=plan.rounds {
            eprintln!("bench: round {round} of {}", plan.rounds);
            for scenario in &scenarios {
                let sample = load::run(scenario, &edge, plan.round)?;
                report.add(scenario.name, sample);
            }
        }
    }
    eprintln!("bench: bodies of 25 MiB");
    bodies::measure(&parts, &servers, plan.bodies, &mut report)?;
    eprintln!("bench: a genuine hook during a flood of forged ones");
    flood::measure(&parts, &servers, plan.flood, &mut report)?;
    eprintln!("bench: memory of the tables");
    edge::table_memory(&parts, &servers, plan.tables, &mut report)?;
    eprintln!("bench: memory of the controller");
    controller::measure(&binary, plan.receivers, &mut report)?;
    eprintln!("bench: the ways behind Contour");
    ways::measure(&binary, plan.ways, &mut report)?;
    eprintln!("bench: events");
    events::measure(binary, plan.events, &mut report)?;
    Ok(report)
}

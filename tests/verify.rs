//! `cargo verify`: every test of the repository, in order, with progress; stops at the first step that fails and says which.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a command speaks on its outputs and tells how long its steps took"
)]

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use e2e::{binaries, debian, python, servers};

const HELP: &str = "Run every test: unit, table and property tests, documentation, the rules of the house, the README,
and the end-to-end tests with real Envoys and a real API server.

Usage: cargo verify [-- STEP...]

Steps, in order; all of them if none is named:
  parts    get what the tests run: the wasm target, the filter, the controller, the Envoys; with Go etcd, kube-apiserver, kubectl,
           flux, Helm, Contour, NATS, Alertmanager, an OpenTelemetry Collector and Envoy's rate-limit service; with pip aiosmtpd and
           Synapse; from Debian's packages promtool, Redis and RabbitMQ
  core     cargo test of the core and the controller, the README's tables among them
  house    tidy and licences
  e2e      real Envoys, a real API server, real binaries, the README's commands

Needs rustup, Python 3 (with venv) and Go; ENVOY=FILE, ETCD=FILE, KUBE_APISERVER=FILE, KUBECTL=FILE, FLUX=FILE, HELM=FILE,
CONTOUR=FILE, NATS_SERVER=FILE, ALERTMANAGER=FILE, OTEL_COLLECTOR=FILE, RATELIMIT=FILE, PROMTOOL=FILE and REDIS_SERVER=FILE take
those from elsewhere. Where the last two are not on the PATH, apt-get and dpkg-deb take them from Debian, as they do RabbitMQ; nothing is
installed, and nobody has to be root.
Exit codes: 0 all passed, 1 a step failed, 2 wrong arguments.";

/// A step: its name, what it is, and what it does.
struct Step {
    name: &'static str,
    what: &'static str,
    run: fn() -> Result<(), String>,
}

const STEPS: [Step; 4] = [
    Step {
        name: "parts",
        what: "the filter, the controller, the Envoys and the API server",
        run: parts,
    },
    Step {
        name: "core",
        what: "unit, table, property and documentation tests",
        run: core,
    },
    Step {
        name: "house",
        what: "tidy and licences",
        run: house,
    },
    Step {
        name: "e2e",
        what: "end-to-end tests",
        run: e2e,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        // `cargo verify -- core`: the alias has one already.
        .filter(|word| word != "--")
        .collect();
    if arguments
        .iter()
        .any(|word| word == "--help" || word == "-h")
    {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let known = |word: &String| STEPS.iter().any(|step| step.name == word);
    if let Some(unknown) = arguments.iter().find(|word| !known(word)) {
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        eprintln!(
            "unknown step {unknown:?}: the steps are {}",
            names.join(", ")
        );
        return ExitCode::from(2);
    }
    let begin = Instant::now();
    for step in STEPS {
        if !arguments.is_empty() && !arguments.iter().any(|word| word == step.name) {
            continue;
        }
        eprintln!("verify: {} ({})", step.name, step.what);
        let from = Instant::now();
        if let Err(error) = (step.run)() {
            eprintln!(
                "verify: FAILED at {} after {} s: {error}",
                step.name,
                from.elapsed().as_secs()
            );
            return ExitCode::FAILURE;
        }
        eprintln!("verify: {} ok, {} s", step.name, from.elapsed().as_secs());
    }
    eprintln!("verify: all passed, {} s", begin.elapsed().as_secs());
    ExitCode::SUCCESS
}

/// First, so that no test waits for a download or a build in silence.
fn parts() -> Result<(), String> {
    let words = |error: binaries::Error| error.to_string();
    binaries::filter_wasm().map_err(words)?;
    binaries::filter_wasm_trap().map_err(words)?;
    binaries::hookgate().map_err(words)?;
    for version in [binaries::ENVOY, binaries::ENVOY_WITHOUT_WASM]
        .into_iter()
        .chain(binaries::OLDER_ENVOYS)
    {
        binaries::envoy(version).map_err(words)?;
    }
    servers::etcd().map_err(words)?;
    servers::kube_apiserver().map_err(words)?;
    servers::kubectl().map_err(words)?;
    servers::flux().map_err(words)?;
    servers::helm().map_err(words)?;
    servers::contour().map_err(words)?;
    servers::contour_examples().map_err(words)?;
    servers::nats().map_err(words)?;
    servers::alertmanager().map_err(words)?;
    servers::otel_collector().map_err(words)?;
    servers::ratelimit().map_err(words)?;
    python::aiosmtpd().map_err(words)?;
    python::synapse().map_err(words)?;
    debian::promtool().map_err(words)?;
    debian::redis_server().map_err(words)?;
    debian::rabbitmq().map_err(words)?;
    Ok(())
}

fn core() -> Result<(), String> {
    cargo(&[
        "test",
        "--workspace",
        "--exclude",
        "filter",
        "--exclude",
        "e2e",
        "--features",
        "hook/payload",
    ])
}

fn house() -> Result<(), String> {
    cargo(&["test", "-p", "e2e"])
}

fn e2e() -> Result<(), String> {
    cargo(&["test", "-p", "e2e", "--features", "e2e"])
}

/// Runs cargo with its output on the terminal.
fn cargo(arguments: &[&str]) -> Result<(), String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(binaries::workspace())
        .args(arguments)
        .stdin(Stdio::null());
    binaries::as_from_a_shell(&mut cargo);
    let status = cargo.status();
    let command = format!("cargo {}", arguments.join(" "));
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{command}` ended with {status}")),
        Err(error) => Err(format!("`{command}` could not be run: {error}")),
    }
}

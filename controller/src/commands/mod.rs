//! The commands: `run`, and the ones for people and scripts.

mod alerts;
mod crds;
mod edge_check;
mod explain;
mod import;
mod migrate;
mod path;
mod sign;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::args::RunArgs;
use crate::edge;
use crate::telemetry;

/// Flux's webhooks, verified at the edge.
#[derive(Debug, Parser)]
#[command(name = "hookgate", version, about, long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<RunArgs>),
    Path(path::PathArgs),
    Sign(sign::SignArgs),
    Explain(explain::ExplainArgs),
    Crds(crds::CrdsArgs),
    Import(import::ImportArgs),
    Migrate(migrate::MigrateArgs),
    Alerts(alerts::AlertsArgs),
    /// Configure Envoy
    #[command(subcommand)]
    Edge(EdgeCommand),
}

#[derive(Debug, Subcommand)]
enum EdgeCommand {
    /// Print the configuration of a stand-alone Envoy
    #[command(
        after_help = "Example:\n  hookgate edge bootstrap --tls-cert /etc/hookgate/tls.crt --tls-key /etc/hookgate/tls.key > envoy.yaml && envoy -c envoy.yaml"
    )]
    Bootstrap(Box<edge::BootstrapArgs>),
    /// Print what puts the filter into Contour's own Envoy: the overlay of its bootstrap, and the objects around it
    #[command(
        after_help = "Examples:\n  hookgate edge overlay --xds-ca ca.crt --format kustomize --output hookgate-edge\n  hookgate edge overlay --xds-ca ca.crt --format helm > values.yaml\n\nIt is validated by an Envoy before it is printed, where there is one: --envoy FILE, or envoy on the PATH."
    )]
    Overlay(Box<edge::OverlayArgs>),
    /// Print an Envoy of our own behind Contour: Deployment, Services, policies, and the patches that lead hooks there
    #[command(
        after_help = "Examples:\n  hookgate edge gate --xds-secret hookgate-xds-client --format kustomize --output hookgate-gate\n  hookgate edge gate --xds-secret hookgate-xds-client | kubectl apply --server-side -f -\n\nIt is validated by an Envoy before it is printed, where there is one: --envoy FILE, or envoy on the PATH."
    )]
    Gate(Box<edge::GateArgs>),
    Check(Box<edge_check::EdgeCheckArgs>),
}

/// Parses and runs a command line. Without a subcommand it is `run`, so that
/// notification-controller's arguments work as they are.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(with_default_command(args)) {
        Ok(cli) => cli,
        Err(error) => {
            // clap writes help to stdout and mistakes to stderr, and knows the code for each: 0 or 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let result = match cli.command {
        Command::Run(args) => run(*args),
        Command::Path(args) => path::run(&args),
        Command::Sign(args) => sign::run(&args),
        Command::Explain(args) => explain::run(args),
        Command::Crds(args) => crds::run(&args),
        Command::Import(args) => import::run(args),
        Command::Migrate(args) => match migrate::run(&args) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Alerts(args) => alerts::run(args),
        Command::Edge(EdgeCommand::Bootstrap(args)) => {
            edge::run(*args, &mut std::io::stdout()).map_err(Into::into)
        }
        Command::Edge(EdgeCommand::Gate(args)) => {
            edge::gate(&args, &mut std::io::stdout(), &mut std::io::stderr()).map_err(Into::into)
        }
        Command::Edge(EdgeCommand::Check(args)) => match edge_check::run(&args) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Edge(EdgeCommand::Overlay(args)) => {
            edge::overlay(&args, &mut std::io::stdout(), &mut std::io::stderr()).map_err(Into::into)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "hookgate: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Any command's failure.
type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn run(args: RunArgs) -> Result<(), AnyError> {
    telemetry::start(args.log_encoding, args.log_level);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(crate::run(args))?;
    Ok(())
}

fn with_default_command(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<_> = args.into_iter().collect();
    let first = args.get(1).map(|arg| arg.to_string_lossy().into_owned());
    let is_flag = first.is_some_and(|arg| {
        arg.starts_with('-') && !matches!(arg.as_str(), "-h" | "--help" | "-V" | "--version")
    });
    if is_flag || args.len() == 1 {
        args.insert(1.min(args.len()), "run".into());
    }
    args
}

/// An error and its causes on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Writes a command's result to stdout. A reader that has gone away is no failure of ours.
fn print(text: &str) -> Result<(), AnyError> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(args: &[&str]) -> Vec<String> {
        let args = args.iter().map(OsString::from);
        with_default_command(args)
            .into_iter()
            .map(|a| a.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn arguments_without_a_command_are_those_of_run() {
        assert_eq!(
            words(&["hookgate", "--manifests=x"]),
            ["hookgate", "run", "--manifests=x"]
        );
        assert_eq!(words(&["hookgate"]), ["hookgate", "run"]);
        assert_eq!(words(&["hookgate", "--help"]), ["hookgate", "--help"]);
        assert_eq!(
            words(&["hookgate", "path", "--name=x"]),
            ["hookgate", "path", "--name=x"]
        );
    }

    #[test]
    fn every_command_and_flag_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}

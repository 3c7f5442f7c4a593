//! `cargo wasm`: builds the filter as it is shipped, prints where it is and how large, and fails above its budget.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command speaks on its outputs"
)]

use std::fs;
use std::process::ExitCode;

use e2e::binaries;

/// What the filter may weigh with every receiver type in it, after wasm-opt.
const BUDGET: u64 = 300_000;

const HELP: &str = "Build the filter as it is shipped, and print where it is.

Usage: cargo wasm

It goes through wasm-opt where that is on the PATH (Debian: binaryen), and must then be under 300 KB.";

fn main() -> ExitCode {
    match std::env::args()
        .skip(1)
        .find(|word| word != "--")
        .as_deref()
    {
        None => {}
        Some("--help" | "-h") => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some(other) => {
            eprintln!("unknown argument {other:?}: cargo wasm takes --help only");
            return ExitCode::from(2);
        }
    }
    let built = binaries::filter_wasm().map_err(|error| error.to_string());
    let weighed = built.and_then(|path| match fs::metadata(&path) {
        Ok(metadata) => Ok((path, metadata.len())),
        Err(error) => Err(format!("failed to read {path:?}: {error}")),
    });
    let (path, bytes) = match weighed {
        Ok(weighed) => weighed,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    println!("{} {bytes} bytes", path.display());
    if bytes > BUDGET && binaries::on_path("wasm-opt").is_some() {
        eprintln!("the filter is over its budget of {BUDGET} bytes");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

//! `hookgate`: parses the arguments, runs, and turns an error into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    controller::commands::main(std::env::args_os())
}

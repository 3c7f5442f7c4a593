//! `cargo demo`: a whole Hookgate on this machine, played through scene by scene, told in a table.
//!
//! It gets what is missing (the wasm target, Envoy), builds, makes a throw-away certificate, starts controller and Envoy on a
//! folder of example manifests with one Receiver of each type, and sends what senders, forgers and floods send.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a command speaks on its outputs and tells how long it took"
)]

#[path = "demo/alerts.rs"]
mod alerts;
#[path = "demo/keep.rs"]
mod keep;
#[path = "demo/scenes.rs"]
mod scenes;
#[path = "demo/stage.rs"]
mod stage;
#[path = "demo/table.rs"]
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use e2e::client::runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::scenes::SCENES;
use crate::stage::{Outcome, Stage};

const HELP: &str = "Build Hookgate, run it with a real Envoy on this machine, and play scenes: genuine hooks, forged ones,
floods, a rotated token, a controller that is down, alerts for a chat that is down.

Usage: cargo demo [-- --keep]

  --keep   leave everything running afterwards, and print curl lines to try, until Ctrl-C
  --help   this

Needs rustup and Python 3 (with venv). The first run downloads Envoy (125 MB) and builds; later ones take a minute.
Exit codes: 0 every scene went as promised, 1 one did not, 2 wrong arguments, 130 interrupted.";

/// How often Ctrl-C (or SIGTERM, or the end of the terminal) was seen.
static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

fn main() -> ExitCode {
    let mut keep = false;
    // `cargo demo -- --keep`: the alias has a `--` already.
    for argument in std::env::args().skip(1).filter(|word| word != "--") {
        match argument.as_str() {
            "--keep" => keep = true,
            "--help" | "-h" => {
                println!("{HELP}");
                return ExitCode::SUCCESS;
            }
            other => {
                eprintln!("unknown argument {other:?}: cargo demo takes --keep or --help");
                return ExitCode::from(2);
            }
        }
    }
    watch_signals();
    let begin = Instant::now();
    eprintln!("demo: getting ready; the first time this takes some minutes");
    let mut stage = match Stage::build() {
        Ok(stage) => stage,
        Err(error) => {
            eprintln!("demo: {error}");
            return ExitCode::FAILURE;
        }
    };
    eprintln!(
        "demo: controller and Envoy are up after {} s, with {} Receivers from {}\n",
        begin.elapsed().as_secs(),
        stage.world.receivers().len(),
        stage.world.manifests.dir().display()
    );
    let failed = play(&mut stage);
    if interrupted() {
        eprintln!("demo: interrupted; stopping what was started");
        return ExitCode::from(130);
    }
    println!(
        "\n{} scenes, {} as promised, {failed} FAILED, {} s",
        SCENES.len(),
        SCENES.len() - failed,
        begin.elapsed().as_secs()
    );
    if failed > 0 {
        stage.world.keep_files();
    }
    if keep {
        keep::until_interrupted(&stage);
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Plays every scene and prints its row; how many did not go as promised.
fn play(stage: &mut Stage) -> usize {
    println!("{}", table::head());
    let mut failed = 0;
    let mut act = "";
    for (number, scene) in SCENES.iter().enumerate() {
        if interrupted() {
            break;
        }
        if act != scene.act {
            act = scene.act;
            println!("{}", table::act(act));
        }
        let played = catch_unwind(AssertUnwindSafe(|| (scene.play)(stage)));
        let outcome = played.unwrap_or_else(|_| Outcome {
            answer: "none".to_owned(),
            happened: "the scene broke off; the reason stands above".to_owned(),
            ok: false,
        });
        failed += usize::from(!outcome.ok);
        println!(
            "{}",
            table::row(number + 1, scene.title, scene.sent, &outcome)
        );
    }
    failed
}

/// Whether the user has had enough: what was started is stopped by dropping it, not by dying.
pub(crate) fn interrupted() -> bool {
    INTERRUPTS.load(Ordering::SeqCst) > 0
}

/// Counts signals instead of dying of them. The second ends the process at once.
fn watch_signals() {
    let _inside = runtime().enter();
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    for mut signals in kinds.into_iter().filter_map(|kind| signal(kind).ok()) {
        runtime().spawn(async move {
            while signals.recv().await.is_some() {
                if INTERRUPTS.fetch_add(1, Ordering::SeqCst) > 0 {
                    std::process::exit(130);
                }
            }
        });
    }
}

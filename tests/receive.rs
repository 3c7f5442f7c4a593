//! What a sender meets: each receiver type over both versions of HTTP, spoiled in every way, through Envoy and past it.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a trial fails by panicking"
)]

#[path = "receive/body.rs"]
mod body;
#[path = "receive/cases.rs"]
mod cases;
#[path = "receive/path.rs"]
mod path;
#[path = "receive/table.rs"]
mod table;
#[path = "receive/types.rs"]
mod types;
#[path = "receive/unheld.rs"]
mod unheld;

use std::process::ExitCode;

use e2e::trials::{self, Trials};

fn main() -> ExitCode {
    let trials = Trials::on(trials::options());
    let trials = types::trials(trials);
    let trials = cases::trials(trials);
    let trials = body::trials(trials);
    let trials = path::trials(trials);
    unheld::trials(trials).run()
}

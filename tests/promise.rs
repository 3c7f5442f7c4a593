//! What is promised of alerts, at a size at which it is hard to keep: at least once, in order for each object, and nobody
//! waits for another's provider.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a trial fails by panicking, tells figures, and looks at the clock"
)]

#[path = "promise/crash.rs"]
mod crash;
#[path = "promise/dead.rs"]
mod dead;
#[path = "promise/full.rs"]
mod full;
#[path = "promise/replicas.rs"]
mod replicas;
#[path = "promise/stand.rs"]
mod stand;

use std::process::ExitCode;

use e2e::trials::{Trials, options};

fn main() -> ExitCode {
    Trials::on(options())
        .alone(
            "ten_thousand_events_survive_an_outage_and_five_kills_each_in_its_objects_order",
            crash::ten_thousand,
        )
        .alone(
            "a_dead_provider_of_twenty_delays_no_other",
            dead::one_of_twenty,
        )
        .alone(
            "a_full_disk_is_503_loses_nothing_and_mends_itself",
            full::disk,
        )
        .alone(
            "each_replica_delivers_what_it_accepted_in_order",
            replicas::two,
        )
        .run()
}

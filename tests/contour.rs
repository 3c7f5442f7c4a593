//! Behind the real Contour: hooks come in by its Envoy's TLS, and whatever is missing or changed, none passes unverified and
//! no other host of the same Contour is touched.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a trial fails by panicking"
)]

#[path = "contour/address.rs"]
mod address;
#[path = "contour/behind.rs"]
mod behind;
#[path = "contour/change.rs"]
mod change;
#[path = "contour/check.rs"]
mod check;
#[path = "contour/closed.rs"]
mod closed;
#[path = "contour/gate.rs"]
mod gate;
#[path = "kubernetes/hookgate.rs"]
#[expect(dead_code, reason = "the cluster's own trials ask for more than these")]
mod hookgate;
#[path = "contour/installed.rs"]
mod installed;
#[path = "contour/overlay.rs"]
mod overlay;
#[path = "contour/readme.rs"]
mod readme;
#[path = "contour/routes.rs"]
mod routes;
#[path = "contour/site.rs"]
mod site;
#[path = "contour/stand.rs"]
mod stand;

use std::process::ExitCode;

use e2e::trials::Trials;

use self::stand::Stand;

fn main() -> ExitCode {
    let trials = Trials::started_by(Stand::try_start);
    let trials = routes::trials(trials);
    let trials = closed::trials(trials);
    let trials = change::trials(trials);
    let trials = behind::trials(trials);
    let trials = check::trials(trials);
    let trials = readme::trials(trials);
    address::trials(trials).run()
}

//! What the scenes play on: a World with the demo's Receivers and limits, and the questions that scenes ask of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use e2e::client::{Client, Request, Tally};
use e2e::manifests::Receiver;
use e2e::world::Options;
use e2e::{Hook, World, wait};
use tempfile::TempDir;

use crate::alerts::Providers;

/// Hooks a minute from one address, and hooks at once: low, so that a flood of the demo's size meets it.
const ADDRESS_RATE: &str = "3000";
const ADDRESS_BURST: &str = "200";

/// A Receiver whose limit of genuine hooks is low.
pub(crate) const LIMITED: &str = "limited";
/// Its `hookgate.dev/burst`.
pub(crate) const LIMITED_BURST: usize = 5;

/// How long a reconcile request may take to be listed.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a scene shows.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The status, or statuses with their counts.
    pub(crate) answer: String,
    /// What became of it, in words.
    pub(crate) happened: String,
    /// Whether that was promised.
    pub(crate) ok: bool,
}

/// The running World.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) providers: Providers,
    _spool: TempDir,
}

impl Stage {
    /// Gets, builds and starts everything.
    pub(crate) fn build() -> Result<Self, String> {
        let spool = tempfile::Builder::new().prefix("hookgate-spool-").tempdir();
        let spool = spool.map_err(|error| error.to_string())?;
        let options = Options {
            controller_flags: vec![
                "--gcr-certs-url={issuer}/jwks".to_owned(),
                format!("--spool-dir={}", spool.path().display()),
            ],
            edge_flags: vec![
                "--address-rate".to_owned(),
                ADDRESS_RATE.to_owned(),
                "--address-burst".to_owned(),
                ADDRESS_BURST.to_owned(),
            ],
            ..Options::default()
        };
        let world = World::try_start(options).map_err(|error| error.to_string())?;
        let providers = Providers::start();
        world.manifests.write("alerts", &providers.manifests());
        let mut stage = Self {
            world,
            providers,
            _spool: spool,
        };
        let limited = Receiver::new("generic-hmac", LIMITED)
            .annotation("hookgate.dev/rate", "1")
            .annotation("hookgate.dev/burst", &LIMITED_BURST.to_string());
        stage.world.apply(&limited);
        stage.await_served(&limited)?;
        Ok(stage)
    }

    /// Sends from an address of its own: to a limit per address, another client than all others.
    pub(crate) fn client(&self, last: u8) -> Client {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 1, last));
        self.world.client().from(address)
    }

    /// Sends from this machine's own address; the status, if there was an answer.
    pub(crate) fn status(&self, request: impl Into<Request>) -> Option<u16> {
        let answer = self.world.client().send(request);
        answer.ok().map(|response| response.status)
    }

    /// Sends a hook that must be admitted, and ask Flux for the Receiver's resource.
    pub(crate) fn admit(&self, name: &str, hook: Hook) -> Outcome {
        let resource = self.resource(name);
        let before = self.world.requested(&resource);
        let status = self.status(hook);
        let asked = || (self.world.requested(&resource) > before).then_some(());
        let asked = status == Some(200) && wait::until("the request", PATIENCE, asked).is_ok();
        Outcome {
            answer: said(status),
            happened: if asked {
                format!("admitted; asked Flux to reconcile {resource}")
            } else {
                format!("no reconcile request of {resource}")
            },
            ok: asked,
        }
    }

    /// Sends a request that must end at the gate with this status, for this reason, and ask nothing of Flux.
    pub(crate) fn end_at_gate(
        &self,
        request: impl Into<Request>,
        status: u16,
        reason: &str,
    ) -> Outcome {
        let before = self.reasons();
        let asked_before = self.all_requested();
        let answer = self.status(request);
        let now = self.reasons();
        let gave: Vec<String> = now
            .into_iter()
            .filter(|(held, count)| before.get(held).copied().unwrap_or(0) < *count)
            .map(|(held, _)| held)
            .collect();
        let asked = self.all_requested() != asked_before;
        let word = if answer.is_some_and(|status| status < 300) {
            "ignored"
        } else {
            "refused"
        };
        Outcome {
            answer: said(answer),
            happened: if asked {
                "Flux was asked to reconcile something".to_owned()
            } else {
                format!(
                    "{word} at the gate: {}; Flux was not asked",
                    gave.join(", ")
                )
            },
            ok: answer == Some(status) && gave == [reason] && !asked,
        }
    }

    /// Waits until Envoy's table has this Receiver: a forged hook tells a known path (400) from others (404, 503).
    pub(crate) fn await_served(&self, receiver: &Receiver) -> Result<(), String> {
        let probe = self.world.forge.hook(receiver).forged();
        let served = || (self.status(&probe)? == 400).then_some(());
        let what = format!("the gate to serve {}", receiver.name);
        wait::until(&what, wait::PATIENCE, served).map_err(|error| error.to_string())
    }

    /// `GitRepository/namespace/name` of a Receiver's only resource.
    pub(crate) fn resource(&self, name: &str) -> String {
        self.world.receiver(name).resource_names().concat()
    }

    /// What the filter has decided so far, by reason word.
    fn reasons(&self) -> BTreeMap<String, u64> {
        let mut reasons = BTreeMap::new();
        for (name, count) in self.world.envoy().stats("hookgate.hooks.outcome.") {
            let reason = name
                .split_once("hookgate.hooks.outcome.")
                .and_then(|(_, rest)| rest.split_once(".type."))
                .map(|(reason, _)| reason.to_owned());
            *reasons.entry(reason.unwrap_or(name)).or_default() += count;
        }
        reasons
    }

    /// How often Flux was asked to reconcile each Receiver's resource.
    fn all_requested(&self) -> Vec<usize> {
        let receivers = self.world.receivers().iter();
        receivers
            .map(|receiver| self.world.requested(&receiver.resource_names().concat()))
            .collect()
    }
}

/// A status in words.
pub(crate) fn said(status: Option<u16>) -> String {
    status.map_or_else(|| "none".to_owned(), |status| status.to_string())
}

/// `200 5x 429 25x`.
pub(crate) fn counted(tally: &Tally) -> String {
    let mut parts: Vec<String> = tally
        .statuses
        .iter()
        .map(|(status, count)| format!("{status} {count}x"))
        .collect();
    if tally.failed > 0 {
        parts.push(format!("none {}x", tally.failed));
    }
    parts.join(" ")
}

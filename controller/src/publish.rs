//! All Receivers → the table, and everything else that is decided from them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hook::bucket::Limit;
use hook::config::{Config, Hook, VERSION};
use hook::gate::Gate;
use sha2::{Digest as _, Sha256};

use crate::annotations::Defaults;
use crate::api::condition::Failure;
use crate::api::receiver::Receiver;
use crate::objects::Snapshot;
use crate::receiver::jwks::IssuerKeys;
use crate::receiver::plan::{self, Inputs, Plan, Planned};

/// What the operator's flags say about the table.
#[derive(Clone, Debug)]
pub struct Options {
    /// The largest body, in bytes.
    pub max_body: u64,
    /// Whether any method is taken.
    pub allow_any_method: bool,
    /// Whether Envoy holds heads.
    pub hold_headers: bool,
    /// The limit of refused hooks.
    pub failures: Limit,
    /// Defaults and caps of annotations.
    pub defaults: Defaults,
}

/// One state of the world, compiled.
#[derive(Debug)]
pub struct Compiled {
    /// Decides on hooks.
    pub gate: Gate,
    /// The Receivers that are served, by `namespace/name`.
    pub plans: BTreeMap<String, Arc<Plan>>,
    /// What became of each Receiver.
    pub statuses: BTreeMap<String, Status>,
    /// The table, as Envoy gets it.
    pub table: String,
    /// Names the table and the filter's code: equal inputs give equal versions.
    pub version: String,
    /// What it was compiled from.
    pub snapshot: Arc<Snapshot>,
}

/// Whether a Receiver is served, and what an operator should know.
#[derive(Clone, Debug)]
pub struct Status {
    /// `spec.type`.
    pub receiver_type: String,
    /// Why it is not served.
    pub failure: Option<Failure>,
    /// Whether it is suspended.
    pub suspended: bool,
    /// What else there is to say.
    pub warnings: Vec<String>,
}

/// The issuers whose keys the Receivers need; Google's among them where a `gcr` Receiver is.
pub fn issuer_urls(snapshot: &Snapshot) -> BTreeSet<String> {
    let mut urls = BTreeSet::new();
    for receiver in &snapshot.receivers {
        match receiver.spec.r#type.as_str() {
            "gcr" => {
                urls.insert(plan::GOOGLE.to_owned());
            }
            "generic-oidc" => urls.extend(
                receiver
                    .spec
                    .oidc_providers
                    .iter()
                    .map(|provider| provider.issuer_url.clone()),
            ),
            _ => {}
        }
    }
    urls
}

/// Compiles a state of the world. `code` is the filter's, for the version.
pub fn compile(
    snapshot: Arc<Snapshot>,
    issuers: &BTreeMap<String, Arc<IssuerKeys>>,
    options: &Options,
    code: &[u8],
) -> Compiled {
    let inputs = Inputs {
        secrets: &snapshot.secrets,
        issuers,
        defaults: &options.defaults,
    };
    let mut compiler = Compiler::default();
    for receiver in oldest_first(&snapshot.receivers) {
        compiler.add(receiver, plan::plan(receiver, &inputs));
    }
    let Compiler {
        hooks,
        plans,
        statuses,
        ..
    } = compiler;
    let config = Config {
        version: VERSION,
        max_body: options.max_body,
        allow_any_method: options.allow_any_method,
        hold_headers: options.hold_headers,
        failures: options.failures,
        hooks: hooks.into_values().collect(),
    };
    // This form always serialises: every key is a string.
    let table = config.to_json().unwrap_or_default();
    let version = hex::encode(
        Sha256::new()
            .chain_update(code)
            .chain_update(&table)
            .finalize(),
    );
    Compiled {
        gate: Gate::new(config),
        plans,
        statuses,
        table,
        version,
        snapshot,
    }
}

#[derive(Default)]
struct Compiler {
    hooks: BTreeMap<String, Hook>,
    plans: BTreeMap<String, Arc<Plan>>,
    statuses: BTreeMap<String, Status>,
    taken: BTreeMap<[u8; 32], String>,
}

impl Compiler {
    fn add(&mut self, receiver: &Receiver, planned: Planned) {
        let name = plan::identity(receiver);
        let mut status = Status {
            receiver_type: receiver.spec.r#type.clone(),
            failure: None,
            suspended: receiver.spec.suspend,
            warnings: Vec::new(),
        };
        match planned {
            Planned::Ready(mut plan) => {
                self.claim(&mut plan.hook, &mut status);
                status.warnings.extend(plan.warnings.iter().cloned());
                self.hooks.insert(name.clone(), plan.hook.clone());
                self.plans.insert(name.clone(), Arc::from(plan));
            }
            Planned::NotReady { failure, hook } => {
                if let Some(mut hook) = hook {
                    self.claim(&mut hook, &mut status);
                    self.hooks.insert(name.clone(), *hook);
                }
                status.failure = Some(failure);
            }
        }
        self.statuses.insert(name, status);
    }

    /// Two Receivers may come to one path, since token, name and namespace are joined without a
    /// separator: the older keeps it, the other says so.
    fn claim(&mut self, hook: &mut Hook, status: &mut Status) {
        hook.paths.retain(|path| match self.taken.get(&path.id.0) {
            Some(owner) if *owner != hook.name => {
                status.warnings.push(format!(
                    "its path is that of the older Receiver {owner:?}, which is served there; change the token"
                ));
                false
            }
            Some(_) => false,
            None => {
                self.taken.insert(path.id.0, hook.name.clone());
                true
            }
        });
    }
}

fn oldest_first(receivers: &[Receiver]) -> Vec<&Receiver> {
    let mut sorted: Vec<_> = receivers.iter().collect();
    sorted.sort_by_key(|receiver| {
        (
            receiver.metadata.creation_timestamp.clone(),
            plan::identity(receiver),
        )
    });
    sorted
}

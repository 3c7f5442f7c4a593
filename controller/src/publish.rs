//! All Receivers → the table, and everything else that is decided from them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hook::bucket::Limit;
use hook::config::{Config, Hook, VERSION};
use hook::digest::Digest;
use hook::gate::Gate;
use sha2::{Digest as _, Sha256};

use crate::annotations::Defaults;
use crate::api::condition::Failure;
use crate::api::receiver::Receiver;
use crate::objects::Snapshot;
use crate::receiver::jwks::IssuerKeys;
use crate::receiver::plan::{self, Inputs, Plan, Planned};
use crate::trigger::select::Reach;

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
    /// Where resources may be.
    pub reach: Reach,
    /// Whether resources may be of any kind that an API server takes.
    pub any_kind: bool,
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
    /// Whether that was a complete list. Before there is one, nothing is known of any path.
    pub is_complete: bool,
}

/// Whether a Receiver is served, and what an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `spec.type`.
    pub receiver_type: String,
    /// `metadata.generation` of the spec that this is about.
    pub generation: Option<i64>,
    /// Names its path, where the token is known.
    pub digest: Option<Digest>,
    /// How often it is reconciled; zero for never.
    pub interval: Duration,
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
        secret_errors: &snapshot.secret_errors,
        defaults: &options.defaults,
        reach: &options.reach,
        any_kind: options.any_kind,
    };
    let mut compiler = Compiler::default();
    for receiver in oldest_first(&snapshot.receivers) {
        let digest = plan::digest(receiver, &inputs);
        compiler.add(receiver, plan::plan(receiver, &inputs), digest);
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
        is_complete: true,
    }
}

impl Compiled {
    /// Nothing, until there is a complete list.
    pub fn incomplete(options: &Options) -> Self {
        Self {
            is_complete: false,
            ..compile(Arc::default(), &BTreeMap::new(), options, &[])
        }
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
    fn add(&mut self, receiver: &Receiver, planned: Planned, digest: Option<Digest>) {
        let name = plan::identity(receiver);
        let mut status = Status {
            receiver_type: receiver.spec.r#type.clone(),
            generation: receiver.metadata.generation,
            digest,
            interval: receiver.interval(),
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

fn oldest_first(receivers: &[Arc<Receiver>]) -> Vec<&Receiver> {
    let mut sorted: Vec<_> = receivers.iter().map(AsRef::as_ref).collect();
    sorted.sort_by_key(|receiver| {
        (
            receiver.metadata.creation_timestamp.clone(),
            plan::identity(receiver),
        )
    });
    sorted
}

#[cfg(test)]
mod tests {
    use hook::config::{Slot, State};
    use hook::mac::Hash;

    use super::*;
    use crate::api::meta::ObjectMeta;
    use crate::api::receiver::{ReceiverSpec, SecretRef};
    use crate::api::secret::Secret;

    fn options() -> Options {
        Options {
            max_body: 1024,
            allow_any_method: false,
            hold_headers: true,
            failures: Limit::per_second(10, 100),
            defaults: Defaults {
                limit: Limit::per_second(100, 3000),
                max_limit: Limit::per_second(1000, 30_000),
                filtered_status: 200,
                replay_window: Duration::ZERO,
                min_signature_hash: Hash::Sha1,
                deny_sha1: false,
                trigger_interval: Duration::from_secs(1),
            },
            reach: Reach::default(),
            any_kind: false,
        }
    }

    fn receiver(receiver_type: &str, name: &str) -> Receiver {
        Receiver {
            metadata: ObjectMeta {
                name: name.to_owned(),
                namespace: "ns".to_owned(),
                ..ObjectMeta::default()
            },
            spec: ReceiverSpec {
                r#type: receiver_type.to_owned(),
                secret_ref: Some(SecretRef {
                    name: "secret".to_owned(),
                }),
                ..ReceiverSpec::default()
            },
        }
    }

    fn compiled(receivers: Vec<Receiver>, keys: &[(&str, &str)]) -> Compiled {
        let keys = keys
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
        let secrets = [(("ns".to_owned(), "secret".to_owned()), Secret::new(keys))];
        let snapshot = Snapshot {
            receivers: receivers.into_iter().map(Arc::new).collect(),
            secrets: secrets.into(),
            ..Snapshot::default()
        };
        compile(Arc::new(snapshot), &BTreeMap::new(), &options(), b"code")
    }

    fn slots(hook: &Hook) -> Vec<(Slot, Vec<Hash>)> {
        let keys = hook.keys.iter();
        keys.map(|key| (key.slot, key.macs.iter().map(|mac| mac.hash).collect()))
            .collect()
    }

    fn annotated(mut receiver: Receiver, name: &str, value: &str) -> Receiver {
        receiver
            .metadata
            .annotations
            .insert(format!("hookgate.dev/{name}"), value.to_owned());
        receiver
    }

    #[test]
    fn equal_inputs_make_equal_tables_and_versions_and_other_code_another_version() {
        let snapshot = |names: [&str; 2]| {
            compiled(
                names.map(|name| receiver("github", name)).to_vec(),
                &[("token", "t")],
            )
        };
        let (a, b) = (snapshot(["a", "b"]), snapshot(["b", "a"]));
        assert_eq!((&a.table, &a.version), (&b.table, &b.version));
        let other = compile(
            a.snapshot.clone(),
            &BTreeMap::new(),
            &options(),
            b"other code",
        );
        assert_eq!(a.table, other.table);
        assert_ne!(a.version, other.version);
    }

    #[test]
    fn both_tokens_are_accepted_on_both_paths_while_there_is_a_previous_one() {
        let keys = [("token", "new"), ("token-previous", "old")];
        let compiled = compiled(vec![receiver("github", "a")], &keys);
        let hook = &compiled.plans["ns/a"].hook;
        let path = |token: &str| Digest::of(token.as_bytes(), "a", "ns").id();
        let paths: Vec<_> = hook.paths.iter().map(|p| (p.slot, p.id)).collect();
        assert_eq!(
            paths,
            [
                (Slot::Token, path("new")),
                (Slot::TokenPrevious, path("old"))
            ]
        );
        let all = Hash::ALL.to_vec();
        assert_eq!(
            slots(hook),
            [(Slot::Token, all.clone()), (Slot::TokenPrevious, all)]
        );
    }

    #[test]
    fn an_empty_or_missing_token_serves_nothing() {
        for (keys, message) in [
            (
                &[("token", "")][..],
                "invalid 'ns/secret' secret data: 'token' is empty, so that anybody could compute the path",
            ),
            (
                &[("token-previous", "old")],
                "invalid 'ns/secret' secret data: required fields 'token'",
            ),
        ] {
            let compiled = compiled(vec![receiver("github", "a")], keys);
            let failure = compiled.statuses["ns/a"].failure.clone().unwrap();
            assert_eq!(
                (failure.reason, failure.message.as_str()),
                ("TokenNotFound", message)
            );
            assert!(compiled.gate.hooks().is_empty());
        }
    }

    #[test]
    fn a_receiver_with_a_mistake_keeps_its_path_and_answers_503() {
        let mut broken = receiver("github", "a");
        broken.spec.resource_filter = Some("req.flag".to_owned());
        let compiled = compiled(vec![broken], &[("token", "t")]);
        let failure = compiled.statuses["ns/a"].failure.clone().unwrap();
        assert_eq!(failure.reason, "InvalidCELExpression");
        assert!(failure.message.starts_with("Reconciliation failed terminally due to configuration error: invalid resourceFilter expression: "), "{}", failure.message);
        assert_eq!(compiled.gate.hooks()[0].state, State::NotReady);
    }

    #[test]
    fn weak_hashes_are_left_out_of_the_table_where_they_are_denied() {
        let strict = annotated(receiver("github", "a"), "min-signature-hash", "sha256");
        let nexus = annotated(receiver("nexus", "b"), "min-signature-hash", "sha256");
        let compiled = compiled(vec![strict, nexus], &[("token", "t")]);
        let hook = &compiled.plans["ns/a"].hook;
        assert_eq!(
            slots(hook),
            [(Slot::Token, vec![Hash::Sha256, Hash::Sha512])]
        );
        assert_eq!(
            compiled.statuses["ns/b"].warnings,
            [
                "no hook can pass: nexus signs with sha1 only, and the weakest hash allowed is sha256"
            ]
        );
    }

    #[test]
    fn a_signing_token_takes_the_place_of_the_token_and_a_broken_one_fits_nothing() {
        for (token, macs, warnings) in [
            ("whsec_AAEC", vec![Hash::Sha256], 0),
            ("plain text", vec![], 1),
        ] {
            let keys = [("token", "t"), ("signing-token", token)];
            let compiled = compiled(vec![receiver("gitlab", "a")], &keys);
            assert_eq!(
                slots(&compiled.plans["ns/a"].hook),
                [(Slot::SigningToken, macs)]
            );
            assert_eq!(compiled.statuses["ns/a"].warnings.len(), warnings);
        }
    }

    #[test]
    fn the_path_of_flux_recv_is_served_too_where_asked_for() {
        let nexus = annotated(receiver("nexus", "a"), "flux-recv", "registry.example");
        let compiled = compiled(vec![nexus], &[("token", "t")]);
        let ids: Vec<_> = compiled.plans["ns/a"]
            .hook
            .paths
            .iter()
            .map(|path| path.id)
            .collect();
        let old = Digest::of_flux_recv(b"t", "registry.example").id();
        assert_eq!(ids, [Digest::of(b"t", "a", "ns").id(), old]);
    }

    #[test]
    fn of_two_receivers_on_one_path_the_older_keeps_it_and_the_other_says_so() {
        // "t" + "a" + "ans" and "t" + "aa" + "ns" are joined to the same text.
        let mut older = receiver("generic", "aa");
        older.metadata.creation_timestamp = Some("2026-01-01T00:00:00Z".to_owned());
        let mut younger = receiver("generic", "a");
        younger.metadata.namespace = "ans".to_owned();
        younger.metadata.creation_timestamp = Some("2026-02-01T00:00:00Z".to_owned());
        let secret = || Secret::new([("token".to_owned(), b"t".to_vec())]);
        let secrets = ["ns", "ans"].map(|ns| ((ns.to_owned(), "secret".to_owned()), secret()));
        let receivers = vec![younger, older];
        let snapshot = Snapshot {
            receivers: receivers.into_iter().map(Arc::new).collect(),
            secrets: secrets.into(),
            ..Snapshot::default()
        };
        let compiled = compile(Arc::new(snapshot), &BTreeMap::new(), &options(), b"");
        assert_eq!(compiled.plans["ns/aa"].hook.paths.len(), 1);
        assert!(compiled.plans["ans/a"].hook.paths.is_empty());
        assert_eq!(
            compiled.statuses["ans/a"].warnings,
            [
                "its path is that of the older Receiver \"ns/aa\", which is served there; change the token"
            ]
        );
    }

    #[test]
    fn what_a_hook_would_find_out_is_told_at_once() {
        let mut wildcard = receiver("gcr", "a");
        wildcard.spec.resources = vec![crate::api::receiver::ResourceSpec {
            kind: "GitRepository".to_owned(),
            name: "*".to_owned(),
            ..Default::default()
        }];
        let compiled = compiled(vec![wildcard], &[("token", "t"), ("email", "a@b")]);
        assert_eq!(
            compiled.statuses["ns/a"].warnings,
            [
                "no hook can pass: the Secret lacks audience",
                "resources[0]: matchLabels field not set when using wildcard '*' as name"
            ]
        );
    }
}

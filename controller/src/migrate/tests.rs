//! Objects, and what is said of them.

use std::sync::Arc;

use clap::Parser as _;
use serde_json::json;

use super::*;
use crate::args::RunArgs;
use crate::kubernetes::{Condition, LiveStatus};
use crate::objects::Snapshot;
use crate::publish;
use crate::trigger::select::Reach;

/// What a test looks at: manifests, how Receivers stand, flags.
#[derive(Default)]
struct Scene<'a> {
    manifests: &'a str,
    lives: Vec<Live>,
    flags: &'a [&'a str],
}

impl Scene<'_> {
    fn report(&self) -> Report {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("all.yaml"), self.manifests).unwrap();
        let snapshot: Snapshot = crate::manifests::read(folder.path()).unwrap();
        let objects = |kind| crate::manifests::objects(folder.path(), ALERTS_API_VERSION, kind);
        let words = ["run", "--manifests=x"].iter().chain(self.flags);
        let args = RunArgs::try_parse_from(words).unwrap();
        let reach = Reach {
            no_cross_namespace_refs: args.no_cross_namespace_refs,
            only_namespace: None,
        };
        let options = crate::run::options(&args, reach);
        let compiled = publish::compile(Arc::new(snapshot), &BTreeMap::new(), &options, &[]);
        let lives = self
            .lives
            .iter()
            .map(|live| (live.key.clone(), live.clone()));
        let today = Today {
            compiled: &compiled,
            lives: &lives.collect(),
            alerts: &objects("Alert").unwrap(),
            providers: &objects("Provider").unwrap(),
        };
        let plans = Plans {
            options: &options,
            allow_metadata_addresses: args.allow_metadata_addresses,
        };
        check(&today, &plans)
    }

    /// What is said, what holds for every Receiver apart.
    fn said(&self) -> String {
        let mut report = self.report();
        report
            .0
            .retain(|outlook| outlook.object != "Every Receiver");
        report.to_string()
    }
}

/// A Receiver `apps/web` and its Secret.
fn receiver(receiver_type: &str, spec: &str, secret: &str) -> String {
    format!(
        "apiVersion: notification.toolkit.fluxcd.io/v1
kind: Receiver
metadata: {{name: web, namespace: apps}}
spec:
  type: {receiver_type}
  secretRef: {{name: web-token}}
  resources: [{{kind: GitRepository, name: web}}]
{spec}
---
apiVersion: v1
kind: Secret
metadata: {{name: web-token, namespace: apps}}
stringData: {{{secret}}}
"
    )
}

fn said(receiver_type: &str, spec: &str, secret: &str, flags: &[&str]) -> String {
    let scene = Scene {
        manifests: &receiver(receiver_type, spec, secret),
        flags,
        ..Scene::default()
    };
    scene.said()
}

fn live(path: &str, is_ready: bool) -> Live {
    let status = if is_ready { "True" } else { "False" };
    Live {
        key: ("apps".to_owned(), "web".to_owned()),
        status: LiveStatus {
            conditions: vec![Condition {
                r#type: "Ready".to_owned(),
                status: status.to_owned(),
                ..Condition::default()
            }],
            webhook_path: Some(path.to_owned()),
            ..LiveStatus::default()
        },
        ..Live::default()
    }
}

#[test]
fn a_receiver_that_stays_as_it_is_needs_nothing() {
    let said = said("gitlab", "", "token: t", &[]);
    assert_eq!(
        said,
        "Receiver apps/web (gitlab)\n  no change\nNothing has to be done.\n"
    );
}

#[test]
fn what_is_another_way_is_noted() {
    let events = "  events: [push]\n  suspend: true";
    assert_eq!(
        said("github", events, "token: t", &[]),
        "Receiver apps/web (github)
  note a genuine hook whose event is not in spec.events gets 200, not 400; --filtered-hook-status or the annotation hookgate.dev/filtered-hook-status change that
  note it takes signatures with SHA-1, which are weak: they are counted
  note it stays suspended: hooks get 503
Nothing has to be done.
"
    );
    assert_eq!(
        said("nexus", "", "token: t", &[]),
        "Receiver apps/web (nexus)
  note it takes signatures with SHA-1, which are weak, and has no other: they are counted
Nothing has to be done.
"
    );
    assert_eq!(
        said("generic", "", "token: t", &[]),
        "Receiver apps/web (generic)
  note POST and PUT trigger, and other methods get 405; --allow-any-method lets GET through, too
Nothing has to be done.
"
    );
}

#[test]
fn flags_that_restore_the_old_way_leave_nothing_to_say() {
    let flags = ["--filtered-hook-status=400", "--allow-any-method"];
    for (receiver_type, spec) in [("gitlab", "  events: [Push Hook]"), ("generic", "")] {
        let want =
            format!("Receiver apps/web ({receiver_type})\n  no change\nNothing has to be done.\n");
        assert_eq!(said(receiver_type, spec, "token: t", &flags), want);
    }
}

#[test]
fn an_empty_token_needs_attention() {
    assert_eq!(
        said("gitlab", "", "token: ''", &[]),
        "Receiver apps/web (gitlab)
  ACT  it would not be ready: TokenNotFound: invalid 'apps/web-token' secret data: 'token' is empty, so that anybody could compute the path
1 object needs attention.
"
    );
}

#[test]
fn keys_that_gain_a_meaning_need_attention() {
    assert_eq!(
        said("gitlab", "", "token: t, token-previous: hunter2, signing-token: whsec_AAEC", &[]),
        "Receiver apps/web (gitlab)
  ACT  its Secret has the key token-previous: hooks with that token pass, too, on a path of their own; remove the key if that is not meant
  ACT  its Secret has the key signing-token: hooks must have a Standard Webhooks signature, and the token alone is refused
1 object needs attention.
"
    );
    assert_eq!(
        said("quay", "", "token: t, token-previous: hunter2, signing-token: x", &[]),
        "Receiver apps/web (quay)
  ACT  its Secret has the key token-previous: hooks with that token pass, too, on a path of their own; remove the key if that is not meant
1 object needs attention.
"
    );
}

#[test]
fn weak_signatures_that_are_refused_need_attention() {
    assert_eq!(
        said("github", "", "token: t", &["--min-signature-hash=sha256"]),
        "Receiver apps/web (github)
  ACT  hooks that are signed with sha1 are refused; see that its sender signs with sha256 or stronger
1 object needs attention.
"
    );
    assert_eq!(
        said("nexus", "", "token: t", &["--deny-sha1"]),
        "Receiver apps/web (nexus)
  ACT  no hook can pass: nexus signs with sha1 only, and the weakest hash allowed is sha256
1 object needs attention.
"
    );
}

#[test]
fn what_a_hook_would_find_out_needs_attention() {
    let manifests = receiver("quay", "", "token: t")
        .replace("name: web, namespace: apps}\nspec", "name: web, namespace: apps, annotations: {hookgate.dev/rates: '1'}}\nspec")
        .replace(
            "[{kind: GitRepository, name: web}]",
            "[{kind: GitRepository, name: '*'}, {kind: HelmRelease, name: web}, {kind: Bucket, name: b, namespace: other}]",
        );
    let scene = Scene {
        manifests: &manifests,
        flags: &["--no-cross-namespace-refs"],
        ..Scene::default()
    };
    assert_eq!(
        scene.said(),
        "Receiver apps/web (quay)
  ACT  annotation hookgate.dev/rates is not known
  ACT  resources[0]: matchLabels field not set when using wildcard '*' as name
  ACT  resources[1]: apiVersion must be specified for kind \"HelmRelease\"
  ACT  resources[2]: cross-namespace references are not allowed
1 object needs attention.
"
    );
}

#[test]
fn two_receivers_on_one_path_need_attention() {
    let twin = receiver("generic", "", "token: t")
        .replace("name: web, namespace: apps", "name: we, namespace: bapps")
        .replace("namespace: apps", "namespace: bapps");
    let older = receiver("generic", "", "token: t");
    let manifests = format!("{older}---\n{twin}");
    let scene = Scene {
        manifests: &manifests,
        flags: &["--allow-any-method"],
        ..Scene::default()
    };
    assert_eq!(
        scene.said(),
        "Receiver apps/web (generic)
  no change
Receiver bapps/we (generic)
  ACT  its path is that of the older Receiver \"apps/web\", which is served there; change the token
1 object needs attention.
"
    );
}

#[test]
fn a_receiver_is_held_against_how_it_stands() {
    let manifests = receiver("gitlab", "", "token: t");
    let path = hook::digest::Digest::of(b"t", "web", "apps").path();
    let said = |manifests: &str, live: Live| {
        let scene = Scene {
            manifests,
            lives: vec![live],
            ..Scene::default()
        };
        scene.said()
    };
    assert_eq!(
        said(&manifests, live(&path, true)),
        "Receiver apps/web (gitlab)\n  no change\nNothing has to be done.\n"
    );
    let other = said(&manifests, live("/hook/abc", true));
    assert_eq!(
        other,
        "Receiver apps/web (gitlab)
  ACT  its URL changes: its status still has that of another token; give senders the new one, or put the old token into token-previous
1 object needs attention.
"
    );
    let deleted = Live {
        is_deleting: true,
        ..live(&path, true)
    };
    assert_eq!(
        said(&manifests, deleted),
        "Receiver apps/web (gitlab)
  note it is being deleted: its finalizer is taken off
Nothing has to be done.
"
    );
    let empty = receiver("gitlab", "", "other: t");
    assert_eq!(
        said(&empty, live("", false)),
        "Receiver apps/web (gitlab)
  note it is not ready now either: TokenNotFound: invalid 'apps/web-token' secret data: required fields 'token'
Nothing has to be done.
"
    );
}

#[test]
fn an_issuer_at_a_metadata_address_needs_attention() {
    let manifests = "apiVersion: notification.toolkit.fluxcd.io/v1
kind: Receiver
metadata: {name: ci, namespace: apps}
spec:
  type: generic-oidc
  resources: []
  oidcProviders:
  - {issuerURL: 'http://169.254.169.254/issuer', validations: [{expression: 'true', message: m}]}
";
    let said = |flags| {
        let scene = Scene {
            manifests,
            flags,
            ..Scene::default()
        };
        scene.said()
    };
    assert_eq!(
        said(&["--allow-any-method"]),
        "Receiver apps/ci (generic-oidc)
  ACT  oidcProviders[0].issuerURL is at a link-local or cloud metadata address, where no keys are fetched; --allow-metadata-addresses allows it
1 object needs attention.
"
    );
    assert_eq!(
        said(&["--allow-any-method", "--allow-metadata-addresses"]),
        "Receiver apps/ci (generic-oidc)\n  no change\nNothing has to be done.\n"
    );
}

const ALERTS: &str = "apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Alert
metadata: {name: on-call, namespace: apps, finalizers: [finalizers.fluxcd.io]}
spec:
  providerRef: {name: chat}
  inclusionList: ['a(?=b)', 'fine']
  eventSources: [{kind: GitRepository, name: '*', namespace: other}]
---
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Alert
metadata: {name: quiet, namespace: apps}
spec:
  suspend: true
  providerRef: {name: chat}
  eventSources: [{kind: GitRepository, name: '*'}]
---
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Provider
metadata:
  name: chat
  namespace: elsewhere
  finalizers: [finalizers.fluxcd.io]
spec: {type: slack}
";

#[test]
fn alerts_that_are_sent_are_looked_at_one_by_one() {
    let scene = Scene {
        manifests: ALERTS,
        flags: &["--no-cross-namespace-refs"],
        ..Scene::default()
    };
    assert_eq!(
        scene.said(),
        "Alert apps/on-call
  note alerts are tried for hours where they were tried for seconds, and may arrive twice
  ACT  its Provider \"chat\" is not there
  ACT  spec.inclusionList[0]: not a regular expression of Go: a group with something else than a name or the flags i, m, s and U
  ACT  spec.eventSources[0] is in another namespace, which --no-cross-namespace-refs does not allow
Alert apps/quiet
  no change
Provider elsewhere/chat (slack)
  no change
1 object needs attention.
"
    );
}

#[test]
fn what_cannot_be_read_needs_attention_and_no_secret_is_told() {
    let manifests = format!(
        "{}---\nkind: [\n",
        receiver(
            "github",
            "  events: [push]",
            "token: hunter2, token-previous: hunter3"
        )
    );
    let scene = Scene {
        manifests: &manifests,
        ..Scene::default()
    };
    let report = scene.report();
    assert_eq!(report.to_act_on(), 2);
    assert_eq!(report.0[0].object, "all.yaml");
    let text = report.to_string();
    let path = hook::digest::Digest::of(b"hunter2", "web", "apps").path();
    assert!(
        !text.contains("hunter") && !text.contains(&path[6..]),
        "{text}"
    );
    let every: Vec<_> = EVERY.iter().map(|text| json!(text)).collect();
    let last = &report.0[report.0.len() - 1].changes;
    assert_eq!(
        last.iter().map(|(_, text)| json!(text)).collect::<Vec<_>>(),
        every
    );
}

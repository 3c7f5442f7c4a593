//! Configurations, and what they come to.

use std::sync::Arc;

use clap::Parser as _;
use hook::config::Slot;
use hook::gate::{Step, Verdict};
use hook::mac::{Hash, Midstates};
use hook::request::Request;

use super::*;
use crate::args::RunArgs;
use crate::cel::Scope;
use crate::publish::{self, Compiled};
use crate::trigger::deliver;
use crate::trigger::select::Reach;
use crate::trigger::server::{Ledgers, Lender};

fn names() -> Names {
    Names {
        namespace: "flux-system".to_owned(),
        git_repository: "flux-system".to_owned(),
        image_repository: "*".to_owned(),
        gcr_email: None,
    }
}

/// Imports with a key of its name in every key file, but `empty.key`.
fn imported(config: &str, names: &Names) -> Result<Imported, String> {
    let config = parse(config).map_err(|error| error.to_string())?;
    let key = |path: &str| match path {
        "empty.key" => Vec::new(),
        path => path.as_bytes().to_vec(),
    };
    let keys = config.endpoints.iter().map(Endpoint::key_path);
    let keys = keys.map(|path| (path.to_owned(), key(path))).collect();
    import(&config, &keys, names).map_err(|error| error.to_string())
}

/// What hookgate makes of the manifests.
fn served(imported: &Imported) -> Compiled {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("all.yaml"), &imported.manifests).unwrap();
    let snapshot = crate::manifests::read(folder.path()).unwrap();
    assert_eq!(snapshot.problems, []);
    let args = RunArgs::try_parse_from(["run", "--manifests=x"]).unwrap();
    let options = crate::run::options(&args, Reach::default());
    publish::compile(Arc::new(snapshot), &BTreeMap::new(), &options, &[])
}

const ALL: &str = "
fluxRecvVersion: 1
api: http://localhost:3030/api/flux
endpoints:
- {source: GitHub, keyPath: a.key}
- {source: GitHub, keyPath: b.key}
- {source: GitLab, keyPath: c.key}
- {source: BitbucketCloud, keyPath: d.key}
- {source: BitbucketServer, keyPath: e.key}
- {source: DockerHub, keyPath: f.key}
- {source: Quay, keyPath: g.key}
- {source: Harbor, keyPath: h.key, registryHost: harbor.example}
- {source: GoogleContainerRegistry, keyPath: i.key, gcr: {audience: hooks}}
- {source: GoogleContainerRegistry, keyPath: j.key}
- {source: Nexus, keyPath: keys/k.key, registryHost: 'nexus.example:8443', other: ignored}
";

#[test]
fn an_endpoint_becomes_a_secret_and_a_receiver() {
    let config = "
fluxRecvVersion: 1
endpoints:
- source: Nexus
  keyPath: nexus.key
  registryHost: nexus.example
- source: GitHub
  keyPath: github.key
";
    let imported = imported(config, &names()).unwrap();
    assert_eq!(
        imported.manifests,
        r#"---
apiVersion: v1
kind: Secret
metadata:
  name: nexus-token
  namespace: "flux-system"
  labels:
    reconcile.fluxcd.io/watch: Enabled
data:
  token: bmV4dXMua2V5
---
apiVersion: notification.toolkit.fluxcd.io/v1
kind: Receiver
metadata:
  name: nexus
  namespace: "flux-system"
  annotations:
    hookgate.dev/flux-recv: "nexus.example"
spec:
  type: nexus
  secretRef:
    name: nexus-token
  resourceFilter: "has(req.component) && has(req.component.format) && req.component.format == 'docker' && has(req.action) && req.action == 'CREATED'"
  resources:
  - kind: ImageRepository
    name: "*"
    matchLabels: {}
---
apiVersion: v1
kind: Secret
metadata:
  name: github-token
  namespace: "flux-system"
  labels:
    reconcile.fluxcd.io/watch: Enabled
data:
  token: Z2l0aHViLmtleQ==
---
apiVersion: notification.toolkit.fluxcd.io/v1
kind: Receiver
metadata:
  name: github
  namespace: "flux-system"
  annotations:
    hookgate.dev/flux-recv: "true"
spec:
  type: github
  secretRef:
    name: github-token
  events:
  - "ping"
  - "push"
  resources:
  - kind: GitRepository
    name: "flux-system"
"#
    );
    assert_eq!(
        imported.notes,
        [
            "what a hook says about a repository, branch or image is not looked at any more: it asks the named resources to reconcile, and those find out",
            "refused hooks get 400 where flux-recv said 401, and /health is on the health port as /healthz",
            "endpoints[0]: Nexus becomes the Receiver nexus, for all ImageRepository objects of its namespace",
            "endpoints[0]: X-Nexus-Webhook-Id is not looked at; hooks about anything but a new docker component get 200 and trigger nothing, where flux-recv said 400",
            "endpoints[1]: GitHub becomes the Receiver github, for GitRepository/flux-system",
        ]
    );
}

#[test]
fn every_source_is_served_on_its_old_path_and_on_that_of_its_receiver() {
    let names = Names {
        gcr_email: Some("push@example.iam.gserviceaccount.com".to_owned()),
        ..names()
    };
    let compiled = served(&imported(ALL, &names).unwrap());
    let mut got = Vec::new();
    for (name, status) in &compiled.statuses {
        assert_eq!(
            (&status.failure, &*status.warnings),
            (&None, &[][..]),
            "{name}"
        );
        let hook = &compiled.plans[name].hook;
        let paths: Vec<_> = hook.paths.iter().map(|path| (path.slot, path.id)).collect();
        got.push((name.as_str(), hook.receiver_type.as_str(), paths));
    }
    let want = [
        ("bitbucket-cloud", "generic", "d.key", ""),
        ("bitbucket-server", "bitbucket", "e.key", ""),
        ("docker-hub", "dockerhub", "f.key", ""),
        ("github", "github", "a.key", ""),
        ("github-2", "github", "b.key", ""),
        ("gitlab", "gitlab", "c.key", ""),
        ("google-container-registry", "gcr", "i.key", ""),
        ("google-container-registry-2", "generic", "j.key", ""),
        ("harbor", "harbor", "h.key", "harbor.example"),
        ("nexus", "nexus", "keys/k.key", "nexus.example:8443"),
        ("quay", "quay", "g.key", ""),
    ];
    let want: Vec<_> = want
        .iter()
        .map(|(name, receiver_type, key, host)| {
            let own = Digest::of(key.as_bytes(), name, "flux-system").id();
            let old = Digest::of_flux_recv(key.as_bytes(), host).id();
            let paths = vec![(Slot::Token, own), (Slot::Token, old)];
            (format!("flux-system/{name}"), *receiver_type, paths)
        })
        .collect();
    let want: Vec<_> = want
        .iter()
        .map(|(n, t, p)| (n.as_str(), *t, p.clone()))
        .collect();
    assert_eq!(got, want);
}

/// The verdict's reason word, or how many resources a hook with this body would ask to reconcile.
fn sent(compiled: &Compiled, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
    headers.push(("content-type", b"application/json"));
    let request = Request {
        method: b"POST",
        path: path.as_bytes(),
        headers,
    };
    let ledgers = Ledgers::default();
    let lender = Lender {
        peer: Some(std::net::Ipv4Addr::LOCALHOST.into()),
        ledgers: &ledgers,
    };
    let decision = match compiled.gate.headers(&request, body.is_empty(), 0, &lender) {
        Step::Done(decision) => decision,
        Step::Body(mut pending) => match pending.chunk(body.as_bytes(), 0, &lender) {
            Ok(()) => pending.end(0, &lender),
            Err(decision) => decision,
        },
    };
    let Verdict::Admit(admission) = &decision.verdict else {
        return format!("{:?}", decision.verdict);
    };
    let plan = &compiled.plans[&decision.hook.as_ref().unwrap().name];
    let prepared = deliver::prepare(plan, admission, &request, body.as_bytes()).unwrap();
    let selected = deliver::selected(plan, compiled, &prepared, &Reach::default());
    assert_eq!((selected.errors, selected.later), (vec![], vec![]));
    selected
        .resources
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_hook_on_the_old_path_passes_and_asks_for_what_flux_recv_took() {
    let config = "
fluxRecvVersion: 1
endpoints:
- {source: Harbor, keyPath: h.key}
- {source: BitbucketCloud, keyPath: d.key}
- {source: Nexus, keyPath: k.key, registryHost: nexus.example}
";
    let mut imported = imported(config, &names()).unwrap();
    for (kind, version) in [("GitRepository", "source"), ("ImageRepository", "image")] {
        imported.manifests += &format!(
            "---\napiVersion: {version}.toolkit.fluxcd.io/v1\nkind: {kind}\nmetadata: {{name: flux-system, namespace: flux-system}}\n"
        );
    }
    let compiled = served(&imported);
    let path = |key: &str, host: &str| Digest::of_flux_recv(key.as_bytes(), host).path();
    let (harbor, cloud) = (path("h.key", ""), path("d.key", ""));
    let key = [("authorization", "h.key")];
    let image = "ImageRepository/flux-system/flux-system";
    let git = "GitRepository/flux-system/flux-system";
    for (path, headers, body, want) in [
        (&harbor, &key[..], r#"{"type":"PUSH_ARTIFACT"}"#, image),
        (&harbor, &key[..], r#"{"type":"pushImage"}"#, image),
        (&harbor, &key[..], r#"{"type":"DELETE_ARTIFACT"}"#, ""),
        (&harbor, &key[..], "{}", ""),
        (&cloud, &[], r#"{"push":{"changes":[]}}"#, git),
        (&cloud, &[], r#"{"pullrequest":{}}"#, ""),
    ] {
        assert_eq!(sent(&compiled, path, headers, body), want, "{body}");
    }
    let nexus = path("k.key", "nexus.example");
    for (body, want) in [
        (
            r#"{"action":"CREATED","component":{"format":"docker"}}"#,
            image,
        ),
        (r#"{"action":"CREATED","component":{"format":"npm"}}"#, ""),
        (
            r#"{"action":"DELETED","component":{"format":"docker"}}"#,
            "",
        ),
        (r#"{"action":"CREATED"}"#, ""),
    ] {
        let mut mac = Midstates::of(Hash::Sha1, b"k.key").start().unwrap();
        mac.update(body.as_bytes());
        let signature = hex::encode(mac.finish());
        let headers = [("x-nexus-webhook-signature", signature.as_str())];
        assert_eq!(sent(&compiled, &nexus, &headers, body), want, "{body}");
    }
    let forged = sent(&compiled, &harbor, &[("authorization", "other")], "{}");
    assert!(forged.starts_with("Reject("), "{forged}");
}

#[test]
fn google_hooks_ask_for_inserts_only() {
    let names = Names {
        gcr_email: Some("push@example.com".to_owned()),
        ..names()
    };
    let compiled = served(&imported(ALL, &names).unwrap());
    let plan = &compiled.plans["flux-system/google-container-registry"];
    let filter = plan.resource_filter.as_ref().unwrap();
    for (action, want) in [("INSERT", true), ("insert", true), ("DELETE", false)] {
        let request = serde_json::json!({"action": action, "digest": "", "tag": ""});
        let scope = Scope {
            req: Some(&request),
            ..Scope::default()
        };
        assert_eq!(filter.matches(&scope).unwrap(), want, "{action}");
    }
}

#[test]
fn the_old_path_and_the_key_are_in_no_note_and_the_path_is_nowhere() {
    let names = Names {
        gcr_email: Some("push@example.com".to_owned()),
        ..names()
    };
    let config = parse(ALL).unwrap();
    let secret = b"hunter2-hunter2\n".to_vec();
    let keys: BTreeMap<_, _> = config
        .endpoints
        .iter()
        .map(|endpoint| {
            let key = [endpoint.key_path.as_bytes(), &secret].concat();
            (endpoint.key_path.clone(), key)
        })
        .collect();
    let imported = import(&config, &keys, &names).unwrap();
    assert!(!imported.notes.concat().contains("hunter2"));
    for endpoint in &config.endpoints {
        let digest = Digest::of_flux_recv(&keys[&endpoint.key_path], &endpoint.registry_host);
        let path = digest.path();
        let hex = path.trim_start_matches("/hook/");
        assert!(!imported.manifests.contains(hex) && !imported.notes.concat().contains(hex));
    }
    let newline = |at: &str| {
        let start = format!("{at}.keyPath: the key ends with a newline");
        imported.notes.iter().any(|note| note.starts_with(&start))
    };
    assert!(newline("endpoints[2]") && newline("endpoints[7]") && !newline("endpoints[0]"));
}

#[test]
fn bad_input_names_the_field_and_what_is_wrong() {
    let endpoint = |fields: &str| format!("fluxRecvVersion: 1\nendpoints:\n- {{{fields}}}\n");
    let twice = "fluxRecvVersion: 1\nendpoints:\n- {source: Quay, keyPath: k}\n- {source: GitLab, keyPath: k}\n";
    for (config, want) in [
        ("endpoints: []".to_owned(), "fluxRecvVersion: must be 1"),
        (
            "fluxRecvVersion: '1'".to_owned(),
            "fluxRecvVersion: must be 1",
        ),
        (
            "fluxRecvVersion: 2".to_owned(),
            "fluxRecvVersion: must be 1",
        ),
        ("- a".to_owned(), "fluxRecvVersion: must be 1"),
        (
            "fluxRecvVersion: 1\nendpoints: x".to_owned(),
            "endpoints: must be a list",
        ),
        (
            "fluxRecvVersion: 1\napi: 7".to_owned(),
            "api: must be a string",
        ),
        (
            endpoint("keyPath: k"),
            "endpoints[0].source: must be given, and not be empty",
        ),
        (
            endpoint("source: github, keyPath: k"),
            "endpoints[0].source: \"github\" is not one of GitHub, GitLab, BitbucketCloud, BitbucketServer, DockerHub, Quay, Harbor, GoogleContainerRegistry, Nexus",
        ),
        (
            endpoint("source: Quay"),
            "endpoints[0].keyPath: must be given, and not be empty",
        ),
        (
            endpoint("source: Quay, keyPath: [k]"),
            "endpoints[0].keyPath: must be a string",
        ),
        (
            endpoint("source: Quay, keyPath: a/../../k"),
            "endpoints[0].keyPath: must be a relative path without ..; copy the keys into one folder and give it as --keys",
        ),
        (
            endpoint("source: Quay, keyPath: /etc/k"),
            "endpoints[0].keyPath: must be a relative path without ..; copy the keys into one folder and give it as --keys",
        ),
        (
            endpoint("source: Quay, keyPath: empty.key"),
            "endpoints[0].keyPath: the file is empty, so that anybody could compute the path; make a new key",
        ),
        (
            endpoint("source: Nexus, keyPath: k, registryHost: 'a b'"),
            "endpoints[0].registryHost: must be a host, or host:port: another can't be carried over",
        ),
        (
            endpoint("source: Nexus, keyPath: k, registryHost: 'true'"),
            "endpoints[0].registryHost: must be a host, or host:port: another can't be carried over",
        ),
        (
            endpoint("source: GoogleContainerRegistry, keyPath: k, gcr: {}"),
            "endpoints[0].gcr.audience: must be given: without one every token of Google would do",
        ),
        (
            endpoint("source: GoogleContainerRegistry, keyPath: k, gcr: {audience: a}"),
            "endpoints[0].gcr: its tokens are checked for who they are from, too; give --gcr-email, the service account of the Pub/Sub subscription",
        ),
        (
            twice.to_owned(),
            "endpoints[1]: has the key and registryHost of endpoints[0], and so its path: flux-recv does not start with that; remove one",
        ),
    ] {
        assert_eq!(
            imported(&config, &names()),
            Err(want.to_owned()),
            "{config}"
        );
    }
    let broken = imported("fluxRecvVersion: [", &names()).unwrap_err();
    assert!(broken.starts_with("line "), "{broken}");
    let many = format!(
        "fluxRecvVersion: 1\nendpoints: [{}]",
        "{source: Quay, keyPath: k},".repeat(1_001)
    );
    assert_eq!(
        imported(&many, &names()),
        Err("endpoints: more than 1000".to_owned())
    );
}

#[test]
fn a_configuration_without_endpoints_says_so_and_imports_nothing() {
    let imported = imported("fluxRecvVersion: 1\nendpoints: []\n", &names()).unwrap();
    assert_eq!(
        imported,
        Imported {
            manifests: String::new(),
            notes: vec!["endpoints: there are none, so there is nothing to import".to_owned()],
        }
    );
}

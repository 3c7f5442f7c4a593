//! Kubernetes objects that both ways behind Contour need: names, Services, NetworkPolicies, and the patches of what is Flux's.

use sha2::{Digest as _, Sha256};

use super::error::{EdgeError, shorten};

/// The label `app` of the controller's Pods.
pub const CONTROLLER_APP: &str = "hookgate";

/// The controller's Service for admitted hooks, `:9292`.
pub const CONTROLLER_SERVICE: &str = "hookgate-controller";

/// The controller's Service for Envoy's filter and table, `:18000`.
pub const XDS_SERVICE: &str = "hookgate-xds";

/// The controller's port for hooks, as notification-controller has it.
pub const HOOKS_PORT: u16 = 9292;

/// The controller's port for Envoy.
pub const XDS_PORT: u16 = 18000;

/// Services of Flux and ours that have Pods behind them.
const TAKEN: [&str; 4] = [
    "webhook-receiver",
    "notification-controller",
    CONTROLLER_SERVICE,
    XDS_SERVICE,
];

/// Refuses what is no name of a namespace, or of any object whose name is a DNS label (RFC 1123).
pub(super) fn check_label(flag: &'static str, value: &str) -> Result<(), EdgeError> {
    let refuse = |problem| {
        Err(EdgeError::Name {
            flag,
            value: shorten(value),
            problem,
        })
    };
    if value.len() > 63 {
        return refuse("is longer than 63 characters: give a shorter name");
    }
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let bytes = value.as_bytes();
    if !bytes.iter().all(|&byte| inside(byte))
        || !edge(bytes.first().copied())
        || !edge(bytes.last().copied())
    {
        return refuse("is no Kubernetes name: use lower-case letters, digits and inner dashes");
    }
    Ok(())
}

/// The same for a Service, whose name begins with a letter (RFC 1035).
pub(super) fn check_service(flag: &'static str, value: &str) -> Result<(), EdgeError> {
    check_label(flag, value)?;
    if value.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(EdgeError::Name {
            flag,
            value: shorten(value),
            problem: "is no name of a Service: begin with a letter",
        });
    }
    Ok(())
}

/// Refuses what could leave its line, or is no reference to an image.
pub(super) fn check_image(flag: &'static str, value: &str) -> Result<(), EdgeError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"./:@_-".contains(&byte);
    if value.is_empty() || value.len() > 512 || !value.bytes().all(good) {
        return Err(EdgeError::Name {
            flag,
            value: shorten(value),
            problem: "is no image: give it as REGISTRY/NAME:TAG",
        });
    }
    Ok(())
}

/// Refuses a placeholder that leads to Pods: without the gate, Contour would send hooks there.
pub(super) fn check_is_free(flag: &'static str, value: &str) -> Result<(), EdgeError> {
    if TAKEN.contains(&value) {
        return Err(EdgeError::Name {
            flag,
            value: value.to_owned(),
            problem: "has Pods behind it, so that hooks would pass where the gate is missing: give a name of its own, such as hookgate",
        });
    }
    Ok(())
}

/// The controller's two Services, as the edge needs them.
pub(super) fn controller_services(namespace: &str) -> String {
    format!(
        r#"# Where Envoy sends admitted hooks.
apiVersion: v1
kind: Service
metadata:
  name: {CONTROLLER_SERVICE}
  namespace: {namespace}
  labels:
    app.kubernetes.io/part-of: hookgate
spec:
  selector:
    app: {CONTROLLER_APP}
  ports:
  - name: http-webhook
    port: {HOOKS_PORT}
    targetPort: {HOOKS_PORT}
    protocol: TCP
---
# Where Envoy gets filter and table. A replica that is not ready for hooks may give them.
apiVersion: v1
kind: Service
metadata:
  name: {XDS_SERVICE}
  namespace: {namespace}
  labels:
    app.kubernetes.io/part-of: hookgate
spec:
  publishNotReadyAddresses: true
  selector:
    app: {CONTROLLER_APP}
  ports:
  - name: grpc-xds
    port: {XDS_PORT}
    targetPort: {XDS_PORT}
    protocol: TCP
"#
    )
}

/// A peer of a NetworkPolicy: all Pods of a namespace.
pub(super) fn from_namespace(namespace: &str) -> String {
    format!(
        "- namespaceSelector:\n    matchLabels:\n      kubernetes.io/metadata.name: {namespace}\n"
    )
}

/// A peer of a NetworkPolicy: Pods of its own namespace with this label `app`.
pub(super) fn from_app(app: &str) -> String {
    format!("- podSelector:\n    matchLabels:\n      app: {app}\n")
}

/// A NetworkPolicy that lets `peer` reach these ports of the Pods with the label `app`. Policies add up: it allows, and
/// takes nothing back.
pub(super) fn policy(name: &str, namespace: &str, app: &str, peer: &str, ports: &[u16]) -> String {
    let ports: String = ports
        .iter()
        .map(|port| format!("    - protocol: TCP\n      port: {port}\n"))
        .collect();
    format!(
        r#"apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {name}
  namespace: {namespace}
  labels:
    app.kubernetes.io/part-of: hookgate
spec:
  podSelector:
    matchLabels:
      app: {app}
  policyTypes: [Ingress]
  ingress:
  - from:
{peer}    ports:
{ports}"#,
        peer = super::yaml::indent(peer, 4),
    )
}

/// A patch of an object that is not ours, as JSON6902 in YAML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Patch {
    /// Why, in comment lines.
    pub(super) why: String,
    /// The kind of the object.
    pub(super) kind: &'static str,
    /// Its name.
    pub(super) name: String,
    /// Its namespace.
    pub(super) namespace: String,
    /// The operations, each a line of flow YAML that is JSON as well.
    pub(super) operations: Vec<String>,
}

impl Patch {
    /// The operations as the content of a patch file.
    pub(super) fn file(&self) -> String {
        let operations: String = self
            .operations
            .iter()
            .map(|operation| format!("- {operation}\n"))
            .collect();
        format!("{}{operations}", self.why)
    }

    /// An item of `patches` in a kustomization, for the file of [`Patch::file`].
    pub(super) fn item(&self, path: &str) -> String {
        format!(
            "- path: {path}\n  target:\n    kind: {}\n    name: {}\n    namespace: {}\n",
            self.kind, self.name, self.namespace
        )
    }

    /// The same in one, for a kustomization that has no such file.
    pub(super) fn inline(&self) -> String {
        format!(
            "- target:\n    kind: {}\n    name: {}\n    namespace: {}\n  patch: |\n{}",
            self.kind,
            self.name,
            self.namespace,
            super::yaml::indent(&self.file(), 4)
        )
    }

    /// The command that does the same by hand.
    pub(super) fn command(&self) -> String {
        format!(
            "kubectl -n {} patch {} {} --type=json -p '[{}]'",
            self.namespace,
            self.kind.to_ascii_lowercase(),
            self.name,
            self.operations.join(", ")
        )
    }
}

/// Narrows Flux's policy `allow-webhooks`, which lets every namespace in, to `contour_namespace` and the Pods `app`.
pub(super) fn allow_webhooks(
    namespace: &str,
    contour_namespace: &str,
    app: &str,
    port: u16,
) -> Patch {
    Patch {
        why: "# Flux lets every namespace reach the hook port. Policies add up: as long as this one is open, any Pod of the\n# cluster can go around the gate.\n".to_owned(),
        kind: "NetworkPolicy",
        name: "allow-webhooks".to_owned(),
        namespace: namespace.to_owned(),
        operations: vec![
            format!(r#"{{"op": "replace", "path": "/spec/podSelector/matchLabels/app", "value": "{app}"}}"#),
            format!(
                r#"{{"op": "replace", "path": "/spec/ingress", "value": [{{"from": [{{"namespaceSelector": {{"matchLabels": {{"kubernetes.io/metadata.name": "{contour_namespace}"}}}}}}], "ports": [{{"protocol": "TCP", "port": {port}}}]}}]}}"#
            ),
        ],
    }
}

/// Patches that belong into Flux's kustomization, as a comment.
pub(super) fn commented(patches: &[&Patch]) -> String {
    let text: String = patches.iter().map(|patch| patch.inline()).collect();
    let lines: String = text.lines().map(|line| format!("#   {line}\n")).collect();
    format!(
        "# And under `patches` of Flux's kustomization, beside gotk-components.yaml:\n#\n{lines}"
    )
}

/// A name that changes with the text it stands for: whoever refers to it is rolled out again, and the last one is still
/// there to go back to.
pub(super) fn hashed(name: &str, text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let hash: String = hash
        .iter()
        .take(5)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{name}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_with_what_to_change() {
        let long = "a".repeat(64);
        for (name, want) in [
            ("flux-system", None),
            ("1a", None),
            (
                long.as_str(),
                Some("is longer than 63 characters: give a shorter name"),
            ),
            (
                "",
                Some("is no Kubernetes name: use lower-case letters, digits and inner dashes"),
            ),
            (
                "A",
                Some("is no Kubernetes name: use lower-case letters, digits and inner dashes"),
            ),
            (
                "-a",
                Some("is no Kubernetes name: use lower-case letters, digits and inner dashes"),
            ),
            (
                "a.b",
                Some("is no Kubernetes name: use lower-case letters, digits and inner dashes"),
            ),
            (
                "a\nb",
                Some("is no Kubernetes name: use lower-case letters, digits and inner dashes"),
            ),
        ] {
            let got = check_label("--namespace", name)
                .err()
                .map(|error| error.to_string());
            let want = want.map(|problem| format!("--namespace {name:?} {problem}"));
            assert_eq!(got, want, "{name:?}");
        }
        assert_eq!(
            check_service("--service", "1a").unwrap_err().to_string(),
            "--service \"1a\" is no name of a Service: begin with a letter"
        );
    }

    #[test]
    fn every_operation_of_a_patch_is_json() {
        for operation in
            allow_webhooks("flux-system", "projectcontour", "hookgate", 9292).operations
        {
            let value: serde_json::Value = serde_json::from_str(&operation).unwrap();
            assert_eq!(value["op"], "replace");
        }
    }
}

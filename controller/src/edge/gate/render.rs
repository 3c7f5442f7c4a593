//! The gate's Envoy configuration, its objects, and the three forms in which they are handed over.

use super::{GATE, GATE_PORT, Gate};
use crate::edge::chain::{STATS_CONFIG, clusters, http_connection_manager, overload_manager};
use crate::edge::objects::{
    CONTROLLER_APP, HOOKS_PORT, Patch, XDS_PORT, allow_webhooks, commented, controller_services,
    from_app, from_namespace, hashed, policy,
};
use crate::edge::output::{Files, Format};
use crate::edge::yaml::{indent, quoted};

/// Where the ConfigMap is mounted.
pub(super) const CONFIG_FOLDER: &str = "/etc/envoy";

/// The names of the two secrets of Envoy's discovery service, and the files that they are in.
pub(super) const CERTIFICATE: &str = "hookgate_xds_certificate";
pub(super) const CERTIFICATE_FILE: &str = "xds-certificate.yaml";
pub(super) const AUTHORITY: &str = "hookgate_xds_authority";
pub(super) const AUTHORITY_FILE: &str = "xds-authority.yaml";

/// Where the Secret for the xDS port is mounted.
const SECRET_FOLDER: &str = "/etc/hookgate/xds";

/// Room beside Envoy's heap for the filter's VMs and code, in bytes: V8 takes 24 MiB and each VM up to a table's size.
const BESIDE_HEAP: u64 = 536_870_912;

/// The gate's whole bootstrap.
pub(super) fn configuration(gate: &Gate) -> String {
    format!(
        r#"# Envoy as the gate of Hookgate, behind Contour: only genuine hooks go on to the controller.
# Printed by `hookgate edge gate`; change its flags rather than this text.

# Replicas may share these names; the controller tells Envoys apart by name and address.
node:
  id: "hookgate-gate"
  cluster: "hookgate"

# Loopback only: it shows the table and can stop Envoy. `kubectl port-forward` reaches it.
admin:
  address:
    socket_address: {{address: "127.0.0.1", port_value: 9901}}
  ignore_global_conn_limit: true

{overload_manager}
{STATS_CONFIG}
static_resources:
  listeners:
  - name: hookgate
    address:
      socket_address: {{address: "::", port_value: {GATE_PORT}, ipv4_compat: true}}
    # Small, so that bodies are hashed in small pieces and no request waits for another's.
    per_connection_buffer_limit_bytes: 65536
    filter_chains:
    - filters:
{hcm}
  # Probes and metrics: two pages of the admin interface, and no other.
  - name: health
    address:
      socket_address: {{address: "::", port_value: 8080, ipv4_compat: true}}
    ignore_global_conn_limit: true
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: health
          request_timeout: 5s
          common_http_protocol_options:
            idle_timeout: 60s
          route_config:
            name: health
            virtual_hosts:
            - name: health
              domains: ["*"]
              routes:
              - match:
                  path: /ready
                  headers:
                  - name: ":method"
                    string_match: {{exact: GET}}
                route: {{cluster: hookgate_admin}}
              - match:
                  path: /stats/prometheus
                  headers:
                  - name: ":method"
                    string_match: {{exact: GET}}
                route: {{cluster: hookgate_admin}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: hookgate_admin
    connect_timeout: 1s
    type: STATIC
    load_assignment:
      cluster_name: hookgate_admin
      endpoints:
      - lb_endpoints:
        - endpoint:
            address:
              socket_address: {{address: "127.0.0.1", port_value: 9901}}
{clusters}"#,
        overload_manager = overload_manager(&gate.bounds),
        hcm = indent(&http_connection_manager(&gate.chain), 6),
        clusters = indent(&clusters(&gate.chain), 2),
    )
}

/// The objects in the form that was asked for.
pub(super) fn files(gate: &Gate, format: Format) -> Files {
    let objects = [config_map(gate), deployment(gate), service(gate)].join("---\n");
    let policies = policies(gate);
    let patches = [receiver_patch(gate), narrowing(gate)];
    match format {
        Format::Kustomize => Files(vec![
            ("kustomization.yaml", component(&patches)),
            ("gate.yaml", objects),
            ("network-policy.yaml", policies),
            (RECEIVER_PATCH, patches[0].file()),
            (NARROWING_PATCH, patches[1].file()),
        ]),
        Format::Helm => Files(vec![
            ("Chart.yaml", CHART.to_owned()),
            ("templates/gate.yaml", objects),
            ("templates/network-policy.yaml", policies),
            (
                "templates/NOTES.txt",
                commented(&[&patches[0], &patches[1]]),
            ),
        ]),
        Format::Yaml => Files(vec![(
            "hookgate-gate.yaml",
            format!(
                "{objects}---\n{policies}# These objects change nothing by themselves. What puts the gate in the path is the first of two patches of what is Flux's.\n{}",
                commented(&[&patches[0], &patches[1]])
            ),
        )]),
    }
}

const RECEIVER_PATCH: &str = "webhook-receiver-patch.yaml";
const NARROWING_PATCH: &str = "allow-webhooks-patch.yaml";

/// A chart without values: its flags are those of the command that printed it.
const CHART: &str = r#"# Printed by `hookgate edge gate --format helm`; print it again with other flags to change it.
apiVersion: v2
name: hookgate-gate
description: Envoy as the gate of Hookgate, behind Contour
type: application
version: 0.1.0
"#;

fn data(gate: &Gate) -> String {
    let mut files = vec![("envoy.yaml", configuration(gate))];
    if gate.xds_secret.is_some() {
        files.push((
            CERTIFICATE_FILE,
            format!(
                r#"resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: {CERTIFICATE}
  tls_certificate:
    certificate_chain: {{filename: "{SECRET_FOLDER}/tls.crt"}}
    private_key: {{filename: "{SECRET_FOLDER}/tls.key"}}
    watched_directory: {{path: "{SECRET_FOLDER}"}}
"#
            ),
        ));
        files.push((
            AUTHORITY_FILE,
            format!(
                r#"resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: {AUTHORITY}
  validation_context:
    trusted_ca: {{filename: "{SECRET_FOLDER}/ca.crt"}}
    watched_directory: {{path: "{SECRET_FOLDER}"}}
"#
            ),
        ));
    }
    files
        .iter()
        .map(|(name, text)| format!("  {name}: |\n{}", indent(text, 4)))
        .collect()
}

fn config_map(gate: &Gate) -> String {
    let data = data(gate);
    format!(
        r#"apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
  namespace: {namespace}
  labels:
    app.kubernetes.io/part-of: hookgate
immutable: true
data:
{data}"#,
        name = hashed(GATE, &data),
        namespace = gate.namespace,
    )
}

fn deployment(gate: &Gate) -> String {
    let (mount, volume) = match &gate.xds_secret {
        None => (String::new(), String::new()),
        Some(secret) => (
            format!(
                "        - name: xds\n          mountPath: {SECRET_FOLDER}\n          readOnly: true\n"
            ),
            format!("      - name: xds\n        secret:\n          secretName: {secret}\n"),
        ),
    };
    format!(
        r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: {GATE}
  namespace: {namespace}
  labels:
    app: {GATE}
    app.kubernetes.io/part-of: hookgate
spec:
  replicas: {replicas}
  selector:
    matchLabels:
      app: {GATE}
  # A new Pod serves before an old one goes.
  strategy:
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  template:
    metadata:
      labels:
        app: {GATE}
        app.kubernetes.io/part-of: hookgate
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 60
      securityContext:
        runAsNonRoot: true
        runAsUser: 65534
        runAsGroup: 65534
        fsGroup: 65534
        seccompProfile:
          type: RuntimeDefault
      topologySpreadConstraints:
      - topologyKey: kubernetes.io/hostname
        maxSkew: 1
        whenUnsatisfiable: ScheduleAnyway
        labelSelector:
          matchLabels:
            app: {GATE}
      - topologyKey: topology.kubernetes.io/zone
        maxSkew: 1
        whenUnsatisfiable: ScheduleAnyway
        labelSelector:
          matchLabels:
            app: {GATE}
      containers:
      - name: envoy
        image: {image}
        command: [envoy]
        args:
        - -c
        - {CONFIG_FOLDER}/envoy.yaml
        - --concurrency
        - "2"
        - --log-level
        - warning
        # It is replaced, never restarted in place: nothing is written but the log.
        - --disable-hot-restart
        ports:
        # As notification-controller names its port: the Service webhook-receiver finds it.
        - name: http-webhook
          containerPort: {GATE_PORT}
        - name: http-prom
          containerPort: 8080
        startupProbe:
          httpGet:
            path: /ready
            port: http-prom
          periodSeconds: 1
          failureThreshold: 30
        readinessProbe:
          httpGet:
            path: /ready
            port: http-prom
          periodSeconds: 5
        # A worker that does not come back is found by nothing else.
        livenessProbe:
          httpGet:
            path: /ready
            port: http-prom
          periodSeconds: 10
          timeoutSeconds: 5
          failureThreshold: 6
        lifecycle:
          preStop:
            # Envoy ends at once: first Contour has to hear that this Pod goes, and hooks in flight are answered.
            sleep:
              seconds: 20
        resources:
          requests:
            cpu: 100m
            memory: 256Mi
          limits:
            # --max-heap-bytes, and room for the filter's VMs, which that does not count.
            memory: "{memory}"
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities:
            drop: [ALL]
        volumeMounts:
        - name: config
          mountPath: {CONFIG_FOLDER}
          readOnly: true
{mount}      volumes:
      - name: config
        configMap:
          name: {config}
{volume}"#,
        namespace = gate.namespace,
        replicas = gate.replicas,
        image = quoted(&gate.image),
        memory = gate.bounds.max_heap_bytes.saturating_add(BESIDE_HEAP),
        config = hashed(GATE, &data(gate)),
    )
}

fn service(gate: &Gate) -> String {
    let namespace = &gate.namespace;
    let controller = if gate.own_services {
        format!("---\n{}", controller_services(namespace))
    } else {
        String::new()
    };
    format!(
        r#"# For new routes. Those that name webhook-receiver come to the gate by the patch of that Service.
apiVersion: v1
kind: Service
metadata:
  name: {GATE}
  namespace: {namespace}
  labels:
    app.kubernetes.io/part-of: hookgate
spec:
  selector:
    app: {GATE}
  ports:
  - name: http
    port: 80
    targetPort: http-webhook
    protocol: TCP
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {GATE}
  namespace: {namespace}
  labels:
    app.kubernetes.io/part-of: hookgate
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      app: {GATE}
{controller}"#
    )
}

fn policies(gate: &Gate) -> String {
    let in_gate = policy(
        GATE,
        &gate.namespace,
        GATE,
        &from_namespace(&gate.contour_namespace),
        &[GATE_PORT],
    );
    let in_controller = policy(
        "hookgate-edge",
        &gate.namespace,
        CONTROLLER_APP,
        &from_app(GATE),
        &[HOOKS_PORT, XDS_PORT],
    );
    format!(
        "# Hooks come from Contour only: whoever else reached the gate could choose the sender's address.\n{in_gate}---\n# And only the gate reaches the controller: hooks, and filter and table.\n{in_controller}"
    )
}

fn receiver_patch(gate: &Gate) -> Patch {
    Patch {
        why: "# Routes to webhook-receiver stay as they are, and come to the gate.\n".to_owned(),
        kind: "Service",
        name: "webhook-receiver".to_owned(),
        namespace: gate.namespace.clone(),
        operations: vec![format!(
            r#"{{"op": "replace", "path": "/spec/selector/app", "value": "{GATE}"}}"#
        )],
    }
}

fn narrowing(gate: &Gate) -> Patch {
    allow_webhooks(&gate.namespace, &gate.contour_namespace, GATE, GATE_PORT)
}

fn component([receiver, narrowing]: &[Patch; 2]) -> String {
    format!(
        r#"# Name this folder under `components` of the kustomization that has Flux in it (gotk-components.yaml).
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
resources:
- gate.yaml
- network-policy.yaml
patches:
{}{}"#,
        receiver.item(RECEIVER_PATCH),
        narrowing.item(NARROWING_PATCH),
    )
}

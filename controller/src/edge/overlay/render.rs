//! The overlay as text, the objects around it, and the three forms in which they are handed over.

use super::{Overlay, VARIABLE};
use crate::edge::chain::{STATS_CONFIG, clusters, http_connection_manager};
use crate::edge::contour::stat_name;
use crate::edge::objects::{
    CONTROLLER_APP, HOOKS_PORT, Patch, XDS_PORT, allow_webhooks, commented, controller_services,
    from_namespace, hashed, policy,
};
use crate::edge::output::{Files, Format};
use crate::edge::yaml::{indent, quoted};

/// What is laid over the bootstrap that Contour writes for its Envoy.
pub(super) fn text(overlay: &Overlay) -> String {
    format!(
        r#"# Hookgate in Contour's Envoy: laid over Contour's own bootstrap with --config-yaml. It adds one internal listener,
# which has no port, and three clusters. Nothing of Contour's is changed.
# Printed by `hookgate edge overlay`; change its flags rather than this text.

bootstrap_extensions:
- name: envoy.bootstrap.internal_listener
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener

{STATS_CONFIG}
static_resources:
  listeners:
  - name: hookgate
    internal_listener: {{}}
    # Small, so that bodies are hashed in small pieces and no request waits for another's.
    per_connection_buffer_limit_bytes: 65536
    filter_chains:
    - filters:
{hcm}
  clusters:
  # Contour makes a cluster of this name for Service {namespace}/{service}, port {port}; of two with one name Envoy keeps the
  # static one. So every route to that Service, HTTPProxy, Ingress or HTTPRoute, comes here. Where a setting changes Contour's
  # name, its own cluster has no endpoints and Envoy answers 503.
  - name: {cluster}
    # Statistics and access log name it as Contour's own.
    alt_stat_name: {stat}
    connect_timeout: 2s
    type: STATIC
    load_assignment:
      cluster_name: hookgate_pin
      endpoints:
      - lb_endpoints:
        - endpoint:
            address:
              envoy_internal_address: {{server_listener_name: hookgate}}
    # A hook that was answered is never sent again, whatever a route's retry policy says.
    circuit_breakers:
      thresholds:
      - max_connections: 4096
        max_pending_requests: 4096
        max_requests: 4096
        max_retries: 0
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        # Contour's shutdown-manager waits until no connection is left, and an idle one would hold the Pod for 300 s.
        common_http_protocol_options:
          idle_timeout: 1s
        explicit_http_config:
          http_protocol_options: {{}}
{clusters}"#,
        hcm = indent(&http_connection_manager(&overlay.chain), 6),
        namespace = overlay.namespace,
        service = overlay.service,
        port = overlay.port,
        cluster = quoted(&overlay.cluster()),
        stat = quoted(&stat_name(
            &overlay.namespace,
            &overlay.service,
            overlay.port
        )),
        clusters = indent(&clusters(&overlay.chain), 2),
    )
}

/// The objects in the form that was asked for.
pub(super) fn files(overlay: &Overlay, format: Format) -> Files {
    let config_map = config_map(overlay);
    let placeholder = placeholder(overlay);
    let policy = edge_policy(overlay);
    let narrowing = allow_webhooks(
        &overlay.namespace,
        &overlay.contour_namespace,
        CONTROLLER_APP,
        HOOKS_PORT,
    );
    match format {
        Format::Kustomize => Files(vec![
            ("contour/kustomization.yaml", contour_component(overlay)),
            ("contour/overlay.yaml", config_map),
            ("contour/envoy-patch.yaml", envoy_patch(overlay).file()),
            (
                "hookgate/kustomization.yaml",
                hookgate_component(&narrowing),
            ),
            ("hookgate/service.yaml", placeholder),
            ("hookgate/network-policy.yaml", policy),
            ("hookgate/allow-webhooks-patch.yaml", narrowing.file()),
        ]),
        Format::Helm => Files(vec![(
            "values.yaml",
            values(overlay, &[config_map, placeholder, policy], &narrowing),
        )]),
        Format::Yaml => Files(vec![(
            "hookgate.yaml",
            format!(
                "{config_map}---\n{placeholder}---\n{policy}# These objects change nothing by themselves. What puts the gate in the path is a patch of Contour's Envoy,\n# once: a second time adds the argument twice, and Envoy would not start.\n#\n#   {command}\n#\n{narrowing}",
                command = envoy_patch(overlay).command(),
                narrowing = commented(&[&narrowing]),
            ),
        )]),
    }
}

/// The name changes with the text: a new overlay rolls Envoy's Pods, and the last one is still there to go back to.
fn config_map_name(overlay: &Overlay) -> String {
    hashed("hookgate-overlay", &text(overlay))
}

fn config_map(overlay: &Overlay) -> String {
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
  overlay.yaml: |
{text}"#,
        name = config_map_name(overlay),
        namespace = overlay.contour_namespace,
        text = indent(&text(overlay), 4),
    )
}

fn placeholder(overlay: &Overlay) -> String {
    let Overlay {
        namespace,
        service,
        port,
        ..
    } = overlay;
    let controller = if overlay.own_services {
        format!("---\n{}", controller_services(namespace))
    } else {
        String::new()
    };
    format!(
        r#"# What routes name. It has no selector and must never have endpoints: where the overlay is missing, that is a 503.
apiVersion: v1
kind: Service
metadata:
  name: {service}
  namespace: {namespace}
  labels:
    app.kubernetes.io/part-of: hookgate
spec:
  ports:
  - name: http
    port: {port}
    protocol: TCP
{controller}"#
    )
}

fn edge_policy(overlay: &Overlay) -> String {
    let policy = policy(
        "hookgate-edge",
        &overlay.namespace,
        CONTROLLER_APP,
        &from_namespace(&overlay.contour_namespace),
        &[HOOKS_PORT, XDS_PORT],
    );
    format!("# Contour's Envoy reaches the controller: hooks, and filter and table.\n{policy}")
}

/// Four operations. The first refuses the others where Envoy's container stands elsewhere.
fn envoy_patch(overlay: &Overlay) -> Patch {
    let container = format!("/spec/template/spec/containers/{}", overlay.container_index);
    Patch {
        why: "# Lays the overlay over the bootstrap of Contour's Envoy.\n".to_owned(),
        kind: overlay.workload.kind(),
        name: overlay.workload_name.clone(),
        namespace: overlay.contour_namespace.clone(),
        operations: vec![
            format!(
                r#"{{"op": "test", "path": "{container}/name", "value": "{name}"}}"#,
                name = overlay.container
            ),
            // As Contour has it: a second time the test fails, for Envoy takes --config-yaml once.
            format!(r#"{{"op": "test", "path": "{container}/args/0", "value": "-c"}}"#),
            format!(r#"{{"op": "add", "path": "{container}/args/0", "value": "$({VARIABLE})"}}"#),
            format!(r#"{{"op": "add", "path": "{container}/args/0", "value": "--config-yaml"}}"#),
            format!(
                r#"{{"op": "add", "path": "{container}/env/-", "value": {{"name": "{VARIABLE}", "valueFrom": {{"configMapKeyRef": {{"name": "{name}", "key": "overlay.yaml"}}}}}}}}"#,
                name = config_map_name(overlay)
            ),
        ],
    }
}

fn contour_component(overlay: &Overlay) -> String {
    format!(
        r#"# Name this folder under `components` of the kustomization that has Contour in it.
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
resources:
- overlay.yaml
patches:
{patch}"#,
        patch = envoy_patch(overlay).item("envoy-patch.yaml"),
    )
}

fn hookgate_component(narrowing: &Patch) -> String {
    format!(
        r#"# Name this folder under `components` of the kustomization that has Flux in it (gotk-components.yaml).
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
resources:
- service.yaml
- network-policy.yaml
patches:
{patch}"#,
        patch = narrowing.item("allow-webhooks-patch.yaml"),
    )
}

fn values(overlay: &Overlay, objects: &[String], narrowing: &Patch) -> String {
    let objects: Vec<String> = objects
        .iter()
        .flat_map(|text| text.split("\n---\n"))
        .map(|object| {
            // A string is an object of the chart, too, and keeps the comments.
            format!("- |\n{}", indent(object, 2))
        })
        .collect();
    format!(
        r#"# Values of Contour's Helm chart, beside your own: helm upgrade … -f values.yaml
envoy:
  # Lays the overlay over the bootstrap of Contour's Envoy.
  extraArgs:
  - --config-yaml
  - $({VARIABLE})
  extraEnvVars:
  - name: {VARIABLE}
    valueFrom:
      configMapKeyRef:
        name: {name}
        key: overlay.yaml
extraDeploy:
{objects}{narrowing}"#,
        name = config_map_name(overlay),
        objects = objects.concat(),
        narrowing = commented(&[narrowing]),
    )
}

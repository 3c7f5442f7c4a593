//! Custom resource definitions and policies of others, out of the modules that they publish.

use std::fs;

use serde_json::Value;

use crate::binaries::{Error, workspace};
use crate::go;

/// Manifests in a module.
#[derive(Clone, Copy, Debug)]
pub struct Definitions {
    /// The folder under `tests/servers` whose go.mod pins it.
    folder: &'static str,
    module: &'static str,
    files: &'static [&'static str],
}

/// cert-manager's `Certificate`, `Issuer` and `ClusterIssuer`.
pub const CERT_MANAGER: Definitions = Definitions {
    folder: "definitions",
    module: "github.com/cert-manager/cert-manager",
    files: &[
        "deploy/crds/crd-certificates.yaml",
        "deploy/crds/crd-clusterissuers.yaml",
        "deploy/crds/crd-issuers.yaml",
    ],
};

/// Contour's `HTTPProxy` and what goes with it.
pub const CONTOUR: Definitions = Definitions {
    folder: "definitions",
    module: "github.com/projectcontour/contour",
    files: &["examples/contour/01-crds.yaml"],
};

/// The DaemonSet of Contour's Envoy.
pub const CONTOUR_ENVOY: Definitions = Definitions {
    folder: "definitions",
    module: "github.com/projectcontour/contour",
    files: &["examples/contour/03-envoy.yaml"],
};

/// Envoy Gateway's policies, and the Gateway API as it has it.
pub const ENVOY_GATEWAY: Definitions = Definitions {
    folder: "definitions",
    module: "github.com/envoyproxy/gateway",
    files: &[
        "charts/gateway-helm/charts/crds/crds/gatewayapi-crds.yaml",
        "charts/gateway-helm/charts/crds/crds/generated/gateway.envoyproxy.io_clienttrafficpolicies.yaml",
        "charts/gateway-helm/charts/crds/crds/generated/gateway.envoyproxy.io_envoyextensionpolicies.yaml",
        "charts/gateway-helm/charts/crds/crds/generated/gateway.envoyproxy.io_envoyproxies.yaml",
    ],
};

/// The listener that Envoy Gateway makes of a Gateway with Wasm filters, and its routes: its own test data.
pub const ENVOY_GATEWAY_LISTENER: Definitions = Definitions {
    folder: "definitions",
    module: "github.com/envoyproxy/gateway",
    files: &[
        "internal/xds/translator/testdata/out/xds-ir/wasm.listeners.yaml",
        "internal/xds/translator/testdata/out/xds-ir/wasm.routes.yaml",
    ],
};

/// The Prometheus operator's `ServiceMonitor` and `PrometheusRule`.
pub const PROMETHEUS: Definitions = Definitions {
    folder: "definitions",
    module: "github.com/prometheus-operator/prometheus-operator",
    files: &[
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ],
};

/// The NetworkPolicies that Flux installs.
pub const FLUX_POLICIES: Definitions = Definitions {
    folder: "flux",
    module: "github.com/fluxcd/flux2/v2",
    files: &[
        "manifests/policies/allow-egress.yaml",
        "manifests/policies/allow-scraping.yaml",
        "manifests/policies/allow-webhooks.yaml",
    ],
};

impl Definitions {
    /// The manifests as objects.
    ///
    /// # Errors
    ///
    /// When Go is missing, or the module cannot be had.
    pub fn objects(&self) -> Result<Vec<Value>, Error> {
        let folder = workspace().join("tests/servers").join(self.folder);
        let dir = go::downloaded(&folder, self.module)?;
        let mut objects = Vec::new();
        for file in self.files {
            let path = dir.join(file);
            let text = fs::read_to_string(&path).map_err(|source| Error::Io {
                path: path.clone(),
                source,
            })?;
            let parsed: Vec<Option<Value>> =
                serde_saphyr::from_multiple(&text).map_err(|error| Error::Missing {
                    what: format!("YAML in {} ({error})", path.display()),
                    cure: "remove the module from Go's cache and try again".to_owned(),
                })?;
            objects.extend(parsed.into_iter().flatten().map(bare));
        }
        Ok(objects)
    }
}

/// An object without what is a template in some modules: its labels, which no test looks at.
fn bare(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("labels");
    }
    object
}

//! Programs that are built with Go.

use std::path::PathBuf;

use crate::binaries::Error;
use crate::go::Program;

const ETCD: Program = Program {
    name: "etcd",
    folder: "etcd",
    variable: "ETCD",
    package: "go.etcd.io/etcd/server/v3",
    module: "go.etcd.io/etcd/server/v3",
    version_variable: None,
    embeds: None,
};

const KUBE_APISERVER: Program = Program {
    name: "kube-apiserver",
    folder: "kube-apiserver",
    variable: "KUBE_APISERVER",
    package: "k8s.io/kubernetes/cmd/kube-apiserver",
    module: "k8s.io/kubernetes",
    // Without it clients cannot parse what `/version` says.
    version_variable: Some("k8s.io/component-base/version.gitVersion"),
    embeds: None,
};

const KUBECTL: Program = Program {
    name: "kubectl",
    // Of the API server's version, and most of it is built already.
    folder: "kube-apiserver",
    variable: "KUBECTL",
    package: "k8s.io/kubernetes/cmd/kubectl",
    module: "k8s.io/kubernetes",
    version_variable: Some("k8s.io/component-base/version.gitVersion"),
    embeds: None,
};

const FLUX: Program = Program {
    name: "flux",
    folder: "flux",
    variable: "FLUX",
    package: "github.com/fluxcd/flux2/v2/cmd/flux",
    module: "github.com/fluxcd/flux2/v2",
    version_variable: None,
    // What `flux install` would apply.
    embeds: Some("cmd/flux/manifests/none.yaml"),
};

const ALERTMANAGER: Program = Program {
    name: "alertmanager",
    folder: "alertmanager",
    variable: "ALERTMANAGER",
    package: "github.com/prometheus/alertmanager/cmd/alertmanager",
    module: "github.com/prometheus/alertmanager",
    version_variable: None,
    embeds: None,
};

const CONTOUR: Program = Program {
    name: "contour",
    folder: "contour",
    variable: "CONTOUR",
    package: "github.com/projectcontour/contour/cmd/contour",
    module: "github.com/projectcontour/contour",
    version_variable: None,
    embeds: None,
};

const OTEL_COLLECTOR: Program = Program {
    name: "otel-collector",
    folder: "otel-collector",
    variable: "OTEL_COLLECTOR",
    // The only one that has a main of ours: which parts are in it is up to whoever builds it.
    package: ".",
    module: "go.opentelemetry.io/collector/otelcol",
    version_variable: None,
    embeds: None,
};

const HELM: Program = Program {
    name: "helm",
    folder: "helm",
    variable: "HELM",
    package: "helm.sh/helm/v3/cmd/helm",
    module: "helm.sh/helm/v3",
    version_variable: None,
    embeds: None,
};

const NATS: Program = Program {
    name: "nats",
    folder: "nats",
    variable: "NATS_SERVER",
    package: "github.com/nats-io/nats-server/v2",
    module: "github.com/nats-io/nats-server/v2",
    version_variable: None,
    embeds: None,
};

const RATELIMIT: Program = Program {
    name: "ratelimit",
    folder: "ratelimit",
    variable: "RATELIMIT",
    package: "github.com/envoyproxy/ratelimit/src/service_cmd",
    module: "github.com/envoyproxy/ratelimit",
    version_variable: None,
    embeds: None,
};

/// etcd: the variable `ETCD`, or one in `target/tools`, or a build of the module in `tests/servers/etcd`.
///
/// # Errors
///
/// When Go is missing or too old, or the build fails.
pub fn etcd() -> Result<PathBuf, Error> {
    ETCD.find()
}

/// kube-apiserver: the variable `KUBE_APISERVER`, or one in `target/tools`, or a build of the module in
/// `tests/servers/kube-apiserver`, which takes minutes.
///
/// # Errors
///
/// When Go is missing or too old, or the build fails.
pub fn kube_apiserver() -> Result<PathBuf, Error> {
    KUBE_APISERVER.find()
}

/// The NATS server: the variable `NATS_SERVER`, or one in `target/tools`, or a build of the module in `tests/servers/nats`.
///
/// # Errors
///
/// When Go is missing or too old, or the build fails.
pub fn nats() -> Result<PathBuf, Error> {
    NATS.find()
}

/// kubectl: the variable `KUBECTL`, or one in `target/tools`, or a build of the module in `tests/servers/kube-apiserver`.
///
/// # Errors
///
/// When Go is missing or too old, or the build fails.
pub fn kubectl() -> Result<PathBuf, Error> {
    KUBECTL.find()
}

/// The `flux` command: the variable `FLUX`, or one in `target/tools`, or a build of the module that `tests/servers/flux` names.
///
/// # Errors
///
/// When Go is missing or too old, or the build fails.
pub fn flux() -> Result<PathBuf, Error> {
    FLUX.find()
}

/// Helm: the variable `HELM`, or one in `target/tools`, or a build of the module in `tests/servers/helm`.
///
/// # Errors
///
/// When Go is missing or too old, or the build fails.
pub fn helm() -> Result<PathBuf, Error> {
    HELM.find()
}

/// Contour: the variable `CONTOUR`, or one in `target/tools`, or a build of the module in `tests/servers/contour`, which takes
/// minutes.
///
/// # Errors
///
/// When Go is missing or too old, or the build fails.
pub fn contour() -> Result<PathBuf, Error> {
    CONTOUR.find()
}

/// `examples/` of Contour's module: the manifests that it is installed by, and those of the Gateway API.
///
/// # Errors
///
/// When Go is missing or too old, or the module cannot be fetched.
pub fn contour_examples() -> Result<PathBuf, Error> {
    Ok(CONTOUR.sources()?.join("examples"))
}

/// Alertmanager: the variable `ALERTMANAGER`, or one in `target/tools`, or a build of the module in
/// `tests/servers/alertmanager`.
///
/// # Errors
///
/// When Go is missing or too old, or the build fails.
pub fn alertmanager() -> Result<PathBuf, Error> {
    ALERTMANAGER.find()
}

/// The OpenTelemetry Collector: the variable `OTEL_COLLECTOR`, or one in `target/tools`, or a build of the module in
/// `tests/servers/otel-collector`.
///
/// # Errors
///
/// When Go is missing or too old, or the build fails.
pub fn otel_collector() -> Result<PathBuf, Error> {
    OTEL_COLLECTOR.find()
}

/// Envoy's rate-limit service: the variable `RATELIMIT`, or one in `target/tools`, or a build of the module in
/// `tests/servers/ratelimit`.
///
/// # Errors
///
/// When Go is missing or too old, or the build fails.
pub fn ratelimit() -> Result<PathBuf, Error> {
    RATELIMIT.find()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_required_by_its_module() {
        for program in [
            ALERTMANAGER,
            CONTOUR,
            ETCD,
            FLUX,
            HELM,
            KUBE_APISERVER,
            KUBECTL,
            NATS,
            OTEL_COLLECTOR,
            RATELIMIT,
        ] {
            program.check();
        }
    }
}

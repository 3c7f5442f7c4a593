//! `hookgate edge overlay`: the filter in Contour's own Envoy.
//!
//! ```text
//! Contour's listener ─► cluster of the placeholder Service ─► internal listener in the same Envoy ─► chain ─► controller
//!   TLS, routes          a static one of that name wins       no port, no hop
//! ```
//!
//! The placeholder has no Pods: where the overlay is missing, or the name is not what Contour makes of it, Envoy answers 503.

mod render;

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use super::contour;
use super::error::EdgeError;
use super::host::{DnsName, HostPort};
use super::input::{Authority, Chain, ClientAddress, Discovered, Identity, XdsClientTls};
use super::limits::LimitArgs;
use super::objects::{
    CONTROLLER_SERVICE, HOOKS_PORT, XDS_PORT, XDS_SERVICE, check_is_free, check_label,
    check_service,
};
use super::output::OutputArgs;
use super::validate::{Configuration, EnvoyArgs, Scratch, validate, with_files_of_this_machine};

/// The name of the secret in the file that `contour bootstrap` writes for Envoy's own certificate.
const CONTOUR_CERTIFICATE: &str = "contour_xds_tls_certificate";

/// The variable of the Envoy container that holds the overlay.
const VARIABLE: &str = "HOOKGATE_OVERLAY";

/// Linux's limit of one argument or variable (`MAX_ARG_STRLEN`), in bytes.
const ARGUMENT_LIMIT: usize = 131_072;

/// Arguments of `hookgate edge overlay`.
#[derive(Debug, Clone, clap::Args)]
pub struct OverlayArgs {
    /// Namespace of Hookgate and of the placeholder Service
    #[arg(long, value_name = "NAMESPACE", default_value = "flux-system")]
    pub namespace: String,
    /// The placeholder Service, which routes name and which has no Pods
    #[arg(long, value_name = "NAME", default_value = "hookgate")]
    pub service: String,
    /// Port number of the placeholder Service
    #[arg(long, value_name = "PORT", default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Contour's namespace
    #[arg(long, value_name = "NAMESPACE", default_value = "projectcontour")]
    pub contour_namespace: String,
    /// What runs Contour's Envoy
    #[arg(long, value_enum, default_value_t = Workload::DaemonSet)]
    pub envoy_kind: Workload,
    /// Name of that DaemonSet or Deployment
    #[arg(long, value_name = "NAME", default_value = "envoy")]
    pub envoy_name: String,
    /// Name of Envoy's container in it
    #[arg(long, value_name = "NAME", default_value = "envoy")]
    pub container: String,
    /// Place of Envoy's container in it, from 0; the patch is refused where another one stands there
    #[arg(long, value_name = "INDEX", default_value_t = 1)]
    pub container_index: u8,
    /// The controller's hook port, where admitted hooks go [default: hookgate-controller.NAMESPACE.svc:9292]
    #[arg(long, value_name = "HOST:PORT")]
    pub controller_addr: Option<HostPort>,
    /// The controller's xDS port, where filter and table come from [default: hookgate-xds.NAMESPACE.svc:18000]
    #[arg(long, value_name = "HOST:PORT")]
    pub xds_addr: Option<HostPort>,
    /// CA of the xDS port's certificate, a PEM file here: it becomes part of the overlay
    #[arg(long, value_name = "FILE", conflicts_with = "xds_insecure")]
    pub xds_ca: Option<PathBuf>,
    /// Where Envoy finds the certificate that it shows to the xDS port: Contour's own, which it keeps up to date
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/config/resources/sds/xds-tls-certificate.json"
    )]
    pub xds_client_sds: PathBuf,
    /// DNS name in the xDS port's certificate [default: the host of --xds-addr]
    #[arg(long, value_name = "NAME", requires = "xds_ca")]
    pub xds_server_name: Option<DnsName>,
    /// Get filter and table in plain text. Whoever reads the table can forge signatures of hooks whose path they know
    #[arg(long)]
    pub xds_insecure: bool,
    /// How much a sender may send.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Where the objects go.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Who validates.
    #[command(flatten)]
    pub envoy: EnvoyArgs,
}

/// What runs Contour's Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    /// As in Contour's own manifests
    #[value(name = "daemonset")]
    DaemonSet,
    /// As in Contour's example of a Deployment
    #[value(name = "deployment")]
    Deployment,
}

impl Workload {
    fn kind(self) -> &'static str {
        match self {
            Self::DaemonSet => "DaemonSet",
            Self::Deployment => "Deployment",
        }
    }
}

/// The filter in Contour's Envoy: everything that differs from one cluster to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Namespace of Hookgate and of the placeholder.
    pub namespace: String,
    /// The placeholder Service.
    pub service: String,
    /// Its port number.
    pub port: u16,
    /// Contour's namespace.
    pub contour_namespace: String,
    /// What runs Contour's Envoy.
    pub workload: Workload,
    /// Its name.
    pub workload_name: String,
    /// Envoy's container in it.
    pub container: String,
    /// The place of that container.
    pub container_index: u8,
    /// Whether the controller is reached by the Services that are rendered as well.
    pub own_services: bool,
    /// The chain of filters, and what it needs.
    pub chain: Chain,
}

impl Overlay {
    /// Refuses what would render, but not run or not be safe.
    ///
    /// # Errors
    /// The first input that is out of its limits.
    pub fn check(&self) -> Result<(), EdgeError> {
        check_label("--namespace", &self.namespace)?;
        check_service("--service", &self.service)?;
        check_is_free("--service", &self.service)?;
        check_label("--contour-namespace", &self.contour_namespace)?;
        check_label("--envoy-name", &self.workload_name)?;
        check_label("--container", &self.container)?;
        self.chain.check()?;
        let host = self.chain.controller.host();
        let placeholder = format!("{}.{}", self.service, self.namespace);
        let leads_there = host == placeholder
            || host.starts_with(&format!("{placeholder}."))
            || (host == self.service && self.namespace == self.contour_namespace);
        if leads_there {
            return Err(EdgeError::Loop {
                address: self.chain.controller.to_string(),
            });
        }
        Ok(())
    }

    /// The name of Contour's cluster for the placeholder, which the overlay takes.
    #[must_use]
    pub fn cluster(&self) -> String {
        contour::cluster_name(&self.namespace, &self.service, self.port)
    }
}

impl OverlayArgs {
    fn overlay(&self) -> Result<Overlay, EdgeError> {
        // Before a default is made of it.
        check_label("--namespace", &self.namespace)?;
        let own_services = self.controller_addr.is_none() && self.xds_addr.is_none();
        let at = |given: &Option<HostPort>, service: &str, port: u16| match given {
            Some(address) => Ok(address.clone()),
            None => format!("{service}.{}.svc:{port}", self.namespace).parse(),
        };
        let chain = Chain {
            xds: at(&self.xds_addr, XDS_SERVICE, XDS_PORT)?,
            xds_tls: self.xds_tls()?,
            controller: at(&self.controller_addr, CONTROLLER_SERVICE, HOOKS_PORT)?,
            client_address: ClientAddress::ContourHeader,
            max_hook_bytes: self.limits.max_hook_bytes,
            address_rate: self.limits.address_rate,
            address_burst: self.limits.address_burst,
            shared_limit: self.limits.shared(),
        };
        Ok(Overlay {
            namespace: self.namespace.clone(),
            service: self.service.clone(),
            port: self.port,
            contour_namespace: self.contour_namespace.clone(),
            workload: self.envoy_kind,
            workload_name: self.envoy_name.clone(),
            container: self.container.clone(),
            container_index: self.container_index,
            own_services,
            chain,
        })
    }

    fn xds_tls(&self) -> Result<Option<XdsClientTls>, EdgeError> {
        let Some(file) = &self.xds_ca else {
            if self.xds_insecure {
                return Ok(None);
            }
            return Err(EdgeError::Unprotected {
                cure: "give the CA of the xDS port's certificate with --xds-ca FILE",
            });
        };
        let pem = fs::read_to_string(file).map_err(|source| EdgeError::File {
            path: file.clone(),
            source,
        })?;
        Ok(Some(XdsClientTls {
            identity: Identity::Discovered(Discovered {
                name: CONTOUR_CERTIFICATE,
                file: self.xds_client_sds.clone(),
            }),
            authority: Authority::Inline(pem),
            server_name: self.xds_server_name.clone(),
        }))
    }
}

/// `hookgate edge overlay`: writes the objects to `out` or into the folder. What Envoy says of it goes to `notes`.
///
/// # Errors
/// An input out of its limits, an Envoy that refuses the result, or a failed write.
pub fn overlay(
    args: &OverlayArgs,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), EdgeError> {
    let overlay = args.overlay()?;
    overlay.check()?;
    let files = render::files(&overlay, args.output.format);
    args.output.check(&files)?;
    let text = render::text(&overlay);
    // The variable's name, "=" and the closing NUL count, too.
    let bytes = text.len().saturating_add(VARIABLE.len()).saturating_add(2);
    if bytes > ARGUMENT_LIMIT {
        return Err(EdgeError::TooLarge {
            bytes: text.len(),
            most: ARGUMENT_LIMIT,
        });
    }
    let verdict = accepted(&overlay, &args.envoy)?;
    args.output.deliver(&files, out)?;
    writeln!(notes, "hookgate: {verdict}").map_err(EdgeError::Write)
}

/// What an Envoy like Contour's says of the overlay.
fn accepted(overlay: &Overlay, envoy: &EnvoyArgs) -> Result<String, EdgeError> {
    let folder = Scratch::create();
    let stand_in = folder.and_then(|folder| Ok((folder.file("sds.json", "{}")?, folder)));
    let (file, _folder) = stand_in.map_err(EdgeError::Write)?;
    let here = Overlay {
        chain: with_files_of_this_machine(&overlay.chain, &file),
        ..overlay.clone()
    };
    validate(
        envoy,
        &Configuration::Over {
            base: contour::BOOTSTRAP,
            overlay: &render::text(&here),
        },
    )
}

#[cfg(test)]
mod tests;

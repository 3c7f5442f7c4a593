//! `hookgate edge gate`: an Envoy of our own behind Contour, as an ordinary Service.
//!
//! ```text
//! Contour's listener ─► Service webhook-receiver ─► gate :10080 ─► chain ─► controller
//!   TLS, routes           leads to the gate
//! ```
//!
//! It needs nothing outside its namespace, and what goes wrong in it touches hooks only.

mod render;

use std::io::Write;

use super::error::EdgeError;
use super::host::{DnsName, HostPort};
use super::input::{Authority, Bounds, Chain, ClientAddress, Discovered, Identity, XdsClientTls};
use super::limits::{BoundArgs, LimitArgs};
use super::objects::{
    CONTROLLER_SERVICE, HOOKS_PORT, XDS_PORT, XDS_SERVICE, check_image, check_label,
};
use super::output::OutputArgs;
use super::validate::{Configuration, EnvoyArgs, Scratch, validate, with_files_of_this_machine};

/// The label `app` of the gate's Pods, and the name of its objects.
pub const GATE: &str = "hookgate-gate";

/// Where the gate listens for hooks. Not 8080: Flux's policy `allow-scraping` lets every namespace reach that one.
pub const GATE_PORT: u16 = 10080;

/// The Envoy that everything is tested with, as its project publishes it.
const IMAGE: &str = "docker.io/envoyproxy/envoy:distroless-v1.40.0";

/// Arguments of `hookgate edge gate`.
#[derive(Debug, Clone, clap::Args)]
pub struct GateArgs {
    /// Namespace of Hookgate and of the gate
    #[arg(long, value_name = "NAMESPACE", default_value = "flux-system")]
    pub namespace: String,
    /// Contour's namespace, the only one that may reach the gate
    #[arg(long, value_name = "NAMESPACE", default_value = "projectcontour")]
    pub contour_namespace: String,
    /// Image of Envoy, 1.38 or newer and with a Wasm engine
    #[arg(long, value_name = "IMAGE", default_value = IMAGE)]
    pub image: String,
    /// Pods of the gate
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub replicas: u16,
    /// The controller's hook port, where admitted hooks go [default: hookgate-controller.NAMESPACE.svc:9292]
    #[arg(long, value_name = "HOST:PORT")]
    pub controller_addr: Option<HostPort>,
    /// The controller's xDS port, where filter and table come from [default: hookgate-xds.NAMESPACE.svc:18000]
    #[arg(long, value_name = "HOST:PORT")]
    pub xds_addr: Option<HostPort>,
    /// Secret with tls.crt and tls.key, which Envoy shows to the xDS port, and ca.crt, which signs the xDS port's certificate
    #[arg(long, value_name = "NAME", conflicts_with = "xds_insecure")]
    pub xds_secret: Option<String>,
    /// DNS name in the xDS port's certificate [default: the host of --xds-addr]
    #[arg(long, value_name = "NAME", requires = "xds_secret")]
    pub xds_server_name: Option<DnsName>,
    /// Get filter and table in plain text. Whoever reads the table can forge signatures of hooks whose path they know
    #[arg(long)]
    pub xds_insecure: bool,
    /// How much a sender may send.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// What Envoy may take.
    #[command(flatten)]
    pub bounds: BoundArgs,
    /// Where the objects go.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Who validates.
    #[command(flatten)]
    pub envoy: EnvoyArgs,
}

/// An Envoy of our own behind Contour: everything that differs from one cluster to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Namespace of Hookgate and of the gate.
    pub namespace: String,
    /// Contour's namespace.
    pub contour_namespace: String,
    /// Image of Envoy.
    pub image: String,
    /// How many Pods.
    pub replicas: u16,
    /// Secret with the files for the xDS port.
    pub xds_secret: Option<String>,
    /// Whether the controller is reached by the Services that are rendered as well.
    pub own_services: bool,
    /// The chain of filters, and what it needs.
    pub chain: Chain,
    /// What Envoy may take.
    pub bounds: Bounds,
}

impl Gate {
    /// Refuses what would render, but not run or not be safe.
    ///
    /// # Errors
    /// The first input that is out of its limits.
    pub fn check(&self) -> Result<(), EdgeError> {
        check_label("--namespace", &self.namespace)?;
        check_label("--contour-namespace", &self.contour_namespace)?;
        check_image("--image", &self.image)?;
        if let Some(secret) = &self.xds_secret {
            check_label("--xds-secret", secret)?;
        }
        let host = self.chain.controller.host();
        for service in ["webhook-receiver", GATE] {
            let gate = format!("{service}.{}", self.namespace);
            if host == service || host == gate || host.starts_with(&format!("{gate}.")) {
                return Err(EdgeError::Circle {
                    address: self.chain.controller.to_string(),
                });
            }
        }
        self.chain.check()?;
        self.bounds.check()
    }
}

impl GateArgs {
    fn gate(&self) -> Result<Gate, EdgeError> {
        // Before a default is made of it.
        check_label("--namespace", &self.namespace)?;
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
        Ok(Gate {
            namespace: self.namespace.clone(),
            contour_namespace: self.contour_namespace.clone(),
            image: self.image.clone(),
            replicas: self.replicas,
            xds_secret: self.xds_secret.clone(),
            own_services: self.controller_addr.is_none() && self.xds_addr.is_none(),
            chain,
            bounds: self.bounds.clone().into(),
        })
    }

    fn xds_tls(&self) -> Result<Option<XdsClientTls>, EdgeError> {
        if self.xds_secret.is_none() {
            if self.xds_insecure {
                return Ok(None);
            }
            return Err(EdgeError::Unprotected {
                cure: "give the Secret with tls.crt, tls.key and ca.crt for the xDS port with --xds-secret NAME",
            });
        }
        let discovered = |name, file: &str| Discovered {
            name,
            file: format!("{}/{file}", render::CONFIG_FOLDER).into(),
        };
        Ok(Some(XdsClientTls {
            identity: Identity::Discovered(discovered(
                render::CERTIFICATE,
                render::CERTIFICATE_FILE,
            )),
            authority: Authority::Discovered(discovered(render::AUTHORITY, render::AUTHORITY_FILE)),
            server_name: self.xds_server_name.clone(),
        }))
    }
}

/// `hookgate edge gate`: writes the objects to `out` or into the folder. What Envoy says of it goes to `notes`.
///
/// # Errors
/// An input out of its limits, an Envoy that refuses the result, or a failed write.
pub fn gate(
    args: &GateArgs,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), EdgeError> {
    let gate = args.gate()?;
    gate.check()?;
    let files = render::files(&gate, args.output.format);
    args.output.check(&files)?;
    let folder = Scratch::create();
    let stand_in = folder.and_then(|folder| Ok((folder.file("sds.json", "{}")?, folder)));
    let (file, _folder) = stand_in.map_err(EdgeError::Write)?;
    let here = Gate {
        chain: with_files_of_this_machine(&gate.chain, &file),
        ..gate
    };
    let verdict = validate(
        &args.envoy,
        &Configuration::Whole(&render::configuration(&here)),
    )?;
    args.output.deliver(&files, out)?;
    writeln!(notes, "hookgate: {verdict}").map_err(EdgeError::Write)
}

#[cfg(test)]
mod tests;

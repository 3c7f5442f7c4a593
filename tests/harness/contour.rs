//! A real Contour on a cluster, outside of it, and the Envoy that it feeds: both with the arguments of Contour's own manifests.
//!
//! [`install`] makes the cluster one with Contour: its definitions, its rights, its certificates. Then any number of
//! Contours run on it side by side, each with ports and an Envoy of its own; all of them serve the routes of all trials.
//!
//! ```text
//!  API server ──► contour serve ── mTLS ──► envoy -c $(contour bootstrap) + what a DaemonSet's patch adds
//! ```

use std::error::Error;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binaries::captured;
use crate::client::Client;
use crate::cluster::{Cluster, documents};
use crate::envoy::{Envoy, WORKERS};
use crate::network::Network;
use crate::process::Process;
use crate::wait::{self, PATIENCE};
use crate::{binaries, ports, servers};

/// Where Contour and its Envoys are.
pub const NAMESPACE: &str = "projectcontour";

/// What its manifests grant it, in the order in which they are applied.
const MANIFESTS: [&str; 3] = ["00-common.yaml", "02-rbac.yaml", "02-role-contour.yaml"];

/// The kinds that it watches: its own, and those of the Gateway API.
const DEFINITIONS: [&str; 2] = ["contour/01-crds.yaml", "gateway/00-crds.yaml"];

/// Where a Contour and its Envoy listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Contour's xDS.
    pub xds: SocketAddr,
    /// Contour's health and metrics.
    pub health: SocketAddr,
    /// Contour's pprof.
    pub debug: SocketAddr,
    /// Envoy's listener for plain HTTP.
    pub http: SocketAddr,
    /// Envoy's listener for HTTPS.
    pub https: SocketAddr,
    /// Envoy's `/ready`, which a kubelet asks.
    pub ready: SocketAddr,
    /// The part of Envoy's admin interface that Contour lets be read.
    pub admin: SocketAddr,
}

impl Addresses {
    fn reserve() -> Self {
        Self {
            xds: ports::address(),
            health: ports::address(),
            debug: ports::address(),
            http: ports::address(),
            https: ports::address(),
            ready: ports::address(),
            admin: ports::address(),
        }
    }
}

/// A Contour, which can be stopped and started again. Dropping it stops it.
#[derive(Debug)]
pub struct Contour {
    process: Option<Process>,
    addresses: Addresses,
    /// A field of its Envoy's bootstrap, that says who knows the names of Services.
    resolver: Option<(&'static str, Value)>,
    dir: TempDir,
}

impl Contour {
    /// Starts one with `configuration`, the content of its `contour.yaml`, and waits until it serves.
    ///
    /// # Panics
    ///
    /// When it cannot be had or does not become ready.
    #[must_use]
    pub fn start(cluster: &Cluster, configuration: &Value) -> Self {
        Self::start_at(Addresses::reserve(), cluster, configuration)
    }

    /// The same with a Gateway, which is made of the ports of HTTP and HTTPS as its listeners count them: Contour adds 8000.
    ///
    /// # Panics
    ///
    /// When it cannot be had or does not become ready.
    #[must_use]
    pub fn start_with_gateway(cluster: &Cluster, gateway: impl Fn(u16, u16) -> Value) -> Self {
        let addresses = Addresses::reserve();
        let [http, https] = [addresses.http, addresses.https].map(|address| address.port() - 8_000);
        let gateway = cluster.admin().apply(&gateway(http, https));
        let metadata = &gateway["metadata"];
        let named = json!({"namespace": metadata["namespace"], "name": metadata["name"]});
        let configuration = json!({"gateway": {"gatewayRef": named}});
        Self::start_at(addresses, cluster, &configuration)
    }

    fn start_at(addresses: Addresses, cluster: &Cluster, configuration: &Value) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("hookgate-contour-")
            .tempdir();
        let dir = dir.expect("a folder can be made");
        let mut configuration = configuration.clone();
        configuration["network"]["admin-port"] = json!(addresses.admin.port());
        let token = cluster.admin().service_account_token(NAMESPACE, "contour");
        let token = token.unwrap_or_else(|error| panic!("{error}"));
        for (name, text) in [
            ("contour.yaml", configuration.to_string()),
            ("kubeconfig", cluster.kubeconfig_of(&token)),
        ] {
            fs::write(dir.path().join(name), text).expect("a file can be written");
        }
        for name in ["config", "admin"] {
            fs::create_dir_all(dir.path().join(name)).expect("a folder can be made");
        }
        mount_secret(cluster, "contourcert", &dir.path().join("contourcert"));
        mount_secret(cluster, "envoycert", &dir.path().join("certs"));
        let mut contour = Self {
            process: None,
            addresses,
            resolver: None,
            dir,
        };
        contour.start_again();
        contour
    }

    /// Envoys that are started from now on know the names of this network.
    pub fn join(&mut self, network: &Network) {
        self.resolver = Some(network.resolver());
    }

    /// Where it and its Envoy listen.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Stops it. Its Envoy keeps what it has.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again, on the same ports.
    ///
    /// # Panics
    ///
    /// When it does not become ready.
    pub fn start_again(&mut self) {
        self.stop();
        let Addresses { xds, health, .. } = self.addresses;
        let process = Process::start(self.command(), "contour", self.dir.path(), || {
            let client = Client::plain(health).timeout(Duration::from_secs(2));
            let healthy = client
                .get("/healthz")
                .is_ok_and(|answer| answer.status == 200);
            // It is bound when all objects have been read.
            healthy && TcpStream::connect(xds).is_ok()
        });
        self.process = Some(process.unwrap_or_else(|error| panic!("{error}")));
    }

    /// Its arguments are those of its Deployment; only where the cluster and the ports are is told besides.
    fn command(&self) -> Command {
        let Addresses {
            xds,
            health,
            debug,
            http,
            https,
            ready,
            admin: _,
        } = self.addresses;
        let file = |flag: &str, name: &str| format!("--{flag}={}", self.file(name).display());
        let contour = servers::contour().unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new(contour);
        command
            .arg("serve")
            .args([
                file("contour-cafile", "contourcert/ca.crt"),
                file("contour-cert-file", "contourcert/tls.crt"),
                file("contour-key-file", "contourcert/tls.key"),
                file("config-path", "contour.yaml"),
                file("kubeconfig", "kubeconfig"),
            ])
            .arg("--disable-leader-election");
        for (name, address) in [
            ("xds", xds),
            ("health", health),
            ("http", health),
            ("debug-http", debug),
            ("stats", ready),
            ("envoy-service-http", http),
            ("envoy-service-https", https),
        ] {
            command
                .arg(format!("--{name}-address={}", address.ip()))
                .arg(format!("--{name}-port={}", address.port()));
        }
        command
    }

    /// A file that it or its Envoy reads.
    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// All it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// Starts an Envoy of this version as the Pods of this DaemonSet do, such as [`daemon_set`], and waits until it is ready,
    /// as a kubelet does.
    ///
    /// # Errors
    ///
    /// When it does not start, with the end of its log.
    ///
    /// # Panics
    ///
    /// When the DaemonSet names what is not there.
    pub fn envoy(
        &self,
        cluster: &Cluster,
        version: &str,
        daemon_set: &Value,
    ) -> Result<Envoy, crate::envoy::Error> {
        self.bootstrap(daemon_set);
        let arguments = self.arguments(cluster, daemon_set);
        let mut command = Command::new(binaries::envoy(version)?);
        command
            .args(arguments)
            // Of no concern to who has the machine for himself.
            .args(["--use-dynamic-base-id", "--concurrency"])
            .arg(WORKERS.to_string());
        let ready = self.addresses.ready;
        let process = Process::start(command, "envoy", self.dir.path(), || {
            let client = Client::plain(ready).timeout(Duration::from_secs(2));
            client
                .get("/ready")
                .is_ok_and(|answer| answer.status == 200)
        })?;
        Ok(Envoy::started(process, self.addresses.admin))
    }

    /// `contour bootstrap`, as the DaemonSet's init container calls it.
    fn bootstrap(&self, daemon_set: &Value) {
        let container = &daemon_set["spec"]["template"]["spec"]["initContainers"][0];
        let xds = self.addresses.xds;
        let arguments =
            strings(&container["args"])
                .into_iter()
                .map(|argument| match argument.as_str() {
                    "--xds-address=contour" => format!("--xds-address={}", xds.ip()),
                    "--xds-port=8001" => format!("--xds-port={}", xds.port()),
                    _ => self.mounted(&argument),
                });
        let mut command =
            Command::new(servers::contour().unwrap_or_else(|error| panic!("{error}")));
        command
            .args(arguments)
            .arg(format!("--admin-address={}", self.admin_socket().display()));
        captured(&mut command).unwrap_or_else(|error| panic!("{error}"));
        if let Some((field, resolver)) = &self.resolver {
            let file = self.file("config").join("envoy.json");
            let written = fs::read(&file).expect("Contour writes a bootstrap");
            let mut written: Value = serde_json::from_slice(&written).expect("it is JSON");
            written[*field] = resolver.clone();
            fs::write(&file, written.to_string()).expect("a file can be written");
        }
    }

    /// The arguments of the DaemonSet's container `envoy`.
    fn arguments(&self, cluster: &Cluster, daemon_set: &Value) -> Vec<String> {
        let container = envoy_container(daemon_set);
        let mut arguments = strings(&container["args"]);
        for variable in container["env"].as_array().into_iter().flatten() {
            let name = variable["name"].as_str().unwrap_or_default();
            let value = self.variable(cluster, variable);
            for argument in &mut arguments {
                *argument = argument.replace(&format!("$({name})"), &value);
            }
        }
        let mounted = arguments.iter().map(|argument| self.mounted(argument));
        mounted.collect()
    }

    fn variable(&self, cluster: &Cluster, variable: &Value) -> String {
        let from = &variable["valueFrom"];
        let held = match from["fieldRef"]["fieldPath"].as_str() {
            Some("metadata.namespace") => Some(NAMESPACE.to_owned()),
            Some("metadata.name") => Some("envoy-0".to_owned()),
            Some(_) => None,
            None if from["configMapKeyRef"].is_object() => {
                let of = |field: &str| from["configMapKeyRef"][field].as_str().unwrap_or_default();
                let map = cluster
                    .admin()
                    .object("v1", "ConfigMap", NAMESPACE, of("name"));
                map["data"][of("key")].as_str().map(str::to_owned)
            }
            None => variable["value"].as_str().map(str::to_owned),
        };
        held.unwrap_or_else(|| panic!("no value for {variable}"))
    }

    /// The folders that a Pod's files are mounted at are elsewhere here.
    fn mounted(&self, text: &str) -> String {
        ["config", "certs"]
            .iter()
            .fold(text.to_owned(), |text, name| {
                text.replace(
                    &format!("/{name}/"),
                    &format!("{}/", self.file(name).display()),
                )
            })
    }

    /// Where Envoy's admin interface is, all of it.
    fn admin_socket(&self) -> PathBuf {
        self.file("admin").join("admin.sock")
    }

    /// What a kubelet calls before it stops an Envoy: it ends when Envoy has no connection any more. How long it took.
    ///
    /// # Errors
    ///
    /// When it has not ended in `patience`, with what it said.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn shut_down_envoy(&self, patience: Duration) -> Result<(), String> {
        let drained = self.file("admin").join("ok");
        let mut command =
            Command::new(servers::contour().unwrap_or_else(|error| panic!("{error}")));
        command
            .args(["envoy", "shutdown", "--check-interval=200ms"])
            .arg(format!("--admin-address={}", self.admin_socket().display()))
            .arg(format!("--ready-file={}", drained.display()));
        let mut process = Process::spawn(command, "shutdown-manager", self.dir.path())
            .unwrap_or_else(|error| panic!("{error}"));
        match process.wait(patience) {
            Some(status) if status.success() && drained.is_file() => Ok(()),
            _ => Err(process.log()),
        }
    }
}

/// Contour's DaemonSet of Envoys, as it comes.
///
/// # Panics
///
/// When Contour's module cannot be had.
#[must_use]
pub fn daemon_set() -> Value {
    let objects = example("contour/03-envoy.yaml").unwrap_or_else(|error| panic!("{error}"));
    let mut objects = objects
        .into_iter()
        .filter(|object| object["kind"] == "DaemonSet");
    objects.next().expect("it is in its file")
}

/// The DaemonSet's container `envoy`.
///
/// # Panics
///
/// When it has none.
#[must_use]
pub fn envoy_container(daemon_set: &Value) -> &Value {
    let containers = daemon_set["spec"]["template"]["spec"]["containers"].as_array();
    let mut containers = containers.into_iter().flatten();
    let found = containers.find(|container| container["name"] == "envoy");
    found.expect("the DaemonSet has a container `envoy`")
}

/// The objects of one of Contour's example manifests.
///
/// # Errors
///
/// When Contour's module cannot be had, or it has no such file.
pub fn example(name: &str) -> Result<Vec<Value>, Box<dyn Error + Send + Sync>> {
    documents(&fs::read_to_string(
        servers::contour_examples()?.join(name),
    )?)
}

/// Makes a cluster one with Contour: definitions, rights, and certificates as its Job makes them.
///
/// # Errors
///
/// When Contour cannot be had, or the API server refuses something.
pub fn install(cluster: &Cluster) -> Result<(), Box<dyn Error + Send + Sync>> {
    for name in DEFINITIONS {
        let mut objects = example(name)?;
        objects.retain(|object| object["kind"] == "CustomResourceDefinition");
        cluster.define(&objects)?;
    }
    for name in MANIFESTS {
        for object in example(&format!("contour/{name}"))? {
            cluster.admin().try_apply(&object)?;
        }
    }
    let kubeconfig = cluster.dir().join("contour-certgen.kubeconfig");
    fs::write(&kubeconfig, cluster.kubeconfig_of(cluster.admin().token()))?;
    let mut certgen = Command::new(servers::contour()?);
    certgen
        .args(["certgen", "--kube", "--secrets-format=compact"])
        .arg(format!("--namespace={NAMESPACE}"))
        .arg(format!("--kubeconfig={}", kubeconfig.display()));
    captured(&mut certgen)?;
    Ok(())
}

/// Writes the files of a Secret of Contour's, as a kubelet mounts it.
///
/// # Panics
///
/// When there is none, or they cannot be written.
pub fn mount_secret(cluster: &Cluster, name: &str, to: &Path) {
    let secret = cluster.admin().object("v1", "Secret", NAMESPACE, name);
    fs::create_dir_all(to).expect("a folder can be made");
    for (key, value) in secret["data"].as_object().into_iter().flatten() {
        let value = value.as_str().and_then(|text| STANDARD.decode(text).ok());
        let value = value.expect("a Secret's values are base64");
        fs::write(to.join(key), value).expect("a file can be written");
    }
}

/// Waits until Contour has taken an HTTPProxy as valid, or says why it has not.
///
/// # Panics
///
/// When it has not in time.
pub fn await_valid(cluster: &Cluster, namespace: &str, name: &str) {
    let get = || {
        let kind = "HTTPProxy";
        cluster
            .admin()
            .object("projectcontour.io/v1", kind, namespace, name)
    };
    let probe = || (get()["status"]["currentStatus"] == "valid").then_some(());
    wait::until(&format!("the HTTPProxy {name} is valid"), PATIENCE, probe)
        .unwrap_or_else(|error| panic!("{error}: {}", get()["status"]));
}

fn strings(list: &Value) -> Vec<String> {
    let words = list.as_array().into_iter().flatten();
    words
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect()
}

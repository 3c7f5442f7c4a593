//! A cluster as far as the controller sees one: a real API server with Flux's kinds, Hookgate's definitions and its RBAC.
//!
//! It is shared by trials, each of which has a namespace of its own.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::{Api, collection};
use crate::apiserver::{ApiServer, Call};
use crate::etcd::Etcd;
use crate::trials::Stage;
use crate::tunnel::Tunnel;
use crate::wait::{self, PATIENCE};
use crate::world::chain;
use crate::{binaries, flux};

/// Where Flux and the controller are.
pub const NAMESPACE: &str = "flux-system";

/// The controller's ServiceAccount, of `envoy/controller/rbac.yaml`.
pub const SERVICE_ACCOUNT: &str = "notification-controller";

/// What the API server calls the controller.
pub const USER: &str = "system:serviceaccount:flux-system:notification-controller";

/// A running cluster.
///
/// Fields are dropped from top to bottom: the API server first, its folder last.
#[derive(Debug)]
pub struct Cluster {
    server: ApiServer,
    etcd: Etcd,
    controller: Api,
    namespaces: AtomicUsize,
    dir: TempDir,
}

impl Cluster {
    /// Starts everything.
    ///
    /// # Panics
    ///
    /// When a part cannot be had or does not start, with the line that says why.
    #[must_use]
    pub fn start() -> Self {
        Self::try_start().unwrap_or_else(|error| panic!("{}", chain(&*error)))
    }

    /// Starts everything, or says why not.
    ///
    /// # Errors
    ///
    /// When a part cannot be had, does not start, or refuses what it is given.
    pub fn try_start() -> Result<Self, Box<dyn Error + Send + Sync>> {
        // Builds, if it has to, before anything runs.
        let mut definitions = product_definitions()?;
        definitions.extend(flux::definitions());
        let dir = tempfile::Builder::new()
            .prefix("hookgate-cluster-")
            .tempdir()?;
        let etcd = Etcd::start(dir.path())?;
        let server = ApiServer::start(&etcd, dir.path())?;
        let admin = server.admin();
        for definition in &definitions {
            admin.try_apply(definition)?;
        }
        admin.try_apply(&namespace(NAMESPACE))?;
        for object in shipped("envoy/controller/rbac.yaml")? {
            admin.try_apply(&object)?;
        }
        for definition in &definitions {
            await_served(&admin, definition)?;
        }
        let token = admin.service_account_token(NAMESPACE, SERVICE_ACCOUNT)?;
        let controller = server.client(&token);
        // Its rights hold a moment after they are given.
        await_served(&controller, &definitions[0])?;
        let cluster = Self {
            controller,
            server,
            etcd,
            namespaces: AtomicUsize::new(0),
            dir,
        };
        // Once: who reads it never finds it half written by another who starts.
        fs::write(cluster.kubeconfig(), cluster.kubeconfig_of(&token))?;
        Ok(cluster)
    }

    /// A client that may do everything.
    #[must_use]
    pub fn admin(&self) -> Api {
        self.server.admin()
    }

    /// Where its objects are kept.
    #[must_use]
    pub fn etcd(&self) -> &Etcd {
        &self.etcd
    }

    /// A client that may do what the controller may.
    #[must_use]
    pub fn controller(&self) -> &Api {
        &self.controller
    }

    /// Makes a namespace that no other trial has, called after `trial`.
    ///
    /// # Panics
    ///
    /// When it is refused.
    #[must_use]
    pub fn namespace(&self, trial: &str) -> String {
        let number = self.namespaces.fetch_add(1, Ordering::Relaxed);
        let name = format!("{trial}-{number}");
        self.admin().apply(&namespace(&name));
        name
    }

    /// Where the controller's kubeconfig is, with the rights of `envoy/controller/rbac.yaml`.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig.json")
    }

    /// Applies definitions of other projects, and waits until their objects can be listed.
    ///
    /// # Errors
    ///
    /// When one is refused or not served in time.
    pub fn define(&self, definitions: &[Value]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let admin = self.admin();
        for definition in definitions {
            admin.try_apply(definition)?;
        }
        for definition in definitions {
            await_served(&admin, definition)?;
        }
        Ok(())
    }

    /// The same, by way of a tunnel.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    #[must_use]
    pub fn kubeconfig_through(&self, tunnel: &Tunnel) -> PathBuf {
        let path = self.dir.path().join("kubeconfig-tunnel.json");
        let config = self.kubeconfig_of(self.controller.token());
        let (direct, through) = (self.server.address(), tunnel.address());
        let config = config.replace(&direct.to_string(), &through.to_string());
        fs::write(&path, config).expect("a kubeconfig can be written");
        path
    }

    /// A kubeconfig with this bearer token; JSON is YAML, too.
    #[must_use]
    pub fn kubeconfig_of(&self, token: &str) -> String {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "e2e", "cluster": {
                "server": format!("https://{}", self.server.address()),
                "certificate-authority": self.server.tls().ca_file(),
            }}],
            "users": [{"name": "e2e", "user": {"token": token}}],
            "contexts": [{"name": "e2e", "context": {
                "cluster": "e2e", "user": "e2e", "namespace": NAMESPACE,
            }}],
            "current-context": "e2e",
        });
        config.to_string()
    }

    /// The calls of the controller that were answered, in order, as the API server's audit log has them.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        let mut calls = self.server.calls();
        calls.retain(|call| call.user == USER);
        calls
    }

    /// The API server, to stop it and start it again.
    pub fn server_mut(&mut self) -> &mut ApiServer {
        &mut self.server
    }

    /// The API server.
    #[must_use]
    pub fn server(&self) -> &ApiServer {
        &self.server
    }

    /// Where logs, certificates and tokens are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Stage for Cluster {
    fn keep_files(&mut self) {
        self.dir.disable_cleanup(true);
        eprintln!("the logs are kept in {}", self.dir.path().display());
    }
}

/// A namespace as an object.
fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// What `hookgate crds` prints.
///
/// # Errors
///
/// When the binary cannot be had, fails, or prints no YAML.
pub fn product_definitions() -> Result<Vec<Value>, Box<dyn Error + Send + Sync>> {
    let output = Command::new(binaries::hookgate()?).arg("crds").output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`hookgate crds` failed ({}): {said}", output.status).into());
    }
    documents(&String::from_utf8(output.stdout)?)
}

/// The objects of a manifest that is shipped, by its path in the repository.
///
/// # Errors
///
/// When it cannot be read or is no YAML.
pub fn shipped(path: &str) -> Result<Vec<Value>, Box<dyn Error + Send + Sync>> {
    documents(&fs::read_to_string(binaries::workspace().join(path))?)
}

/// The objects of a manifest.
///
/// # Errors
///
/// When it is no YAML.
pub fn documents(text: &str) -> Result<Vec<Value>, Box<dyn Error + Send + Sync>> {
    Ok(serde_saphyr::from_multiple(text)?)
}

/// Waits until a definition is Established and its objects can be listed, which is a moment later.
fn await_served(admin: &Api, definition: &Value) -> Result<(), Box<dyn Error + Send + Sync>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let spec = &definition["spec"];
    let versions = spec["versions"].as_array().into_iter().flatten();
    let Some(version) = versions
        .into_iter()
        .find(|version| version["served"] == true)
    else {
        return Err(format!("{} is served in no version", definition["metadata"]["name"]).into());
    };
    let api_version = format!("{}/{}", text(&spec["group"]), text(&version["name"]));
    let target = collection(&api_version, &text(&spec["names"]["kind"]), None);
    let list = || (admin.get(&target).status == 200).then_some(());
    wait::until(&format!("GET {target}"), PATIENCE, list)?;
    Ok(())
}

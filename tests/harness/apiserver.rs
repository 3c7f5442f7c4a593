//! A real kube-apiserver on loopback: TLS, RBAC, ServiceAccount tokens, and an audit log of every call.
//!
//! There is no controller-manager: namespaces never end, owners are not looked after, and no ServiceAccount comes by itself.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rcgen::KeyPair;
use rustix::process::Signal;
use serde_json::Value;

use crate::api::Api;
use crate::client::Client;
use crate::etcd::Etcd;
use crate::ports;
use crate::process::{self, Process};
use crate::tls::Tls;
use crate::{binaries, servers};

/// The token of `system:masters`, who may do everything. On loopback, and gone with the server.
const ADMIN: &str = "the-administrator-of-the-tests";

/// Who issues ServiceAccount tokens: the name that a cluster uses, too.
const ISSUER: &str = "https://kubernetes.default.svc";

/// What the audit log holds: every answered call of every client, without bodies.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: [\"system:apiserver\", \"system:anonymous\"]
- level: Metadata
";

/// Why there is no API server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be built or found.
    #[error(transparent)]
    Binary(#[from] binaries::Error),
    /// What it reads could not be written.
    #[error("failed to write {path:?}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It did not start.
    #[error(transparent)]
    Process(#[from] process::Error),
}

/// A call that somebody made.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The user's name; a ServiceAccount's is `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` …
    pub verb: String,
    /// Such as `receivers`, `receivers/status`; empty for what is no resource.
    pub resource: String,
    /// The namespace; empty for all of them, or where there is none.
    pub namespace: String,
    /// The object's name; empty for all of them.
    pub name: String,
    /// The answer's status code.
    pub code: u16,
}

/// An API server, and the files that it is started with. Dropping it stops it.
#[derive(Debug)]
pub struct ApiServer {
    process: Option<Process>,
    binary: PathBuf,
    address: SocketAddr,
    etcd: String,
    dir: PathBuf,
    tls: Tls,
}

impl ApiServer {
    /// Starts it on this etcd and waits until `/readyz` answers 200; its files are in `dir`, its log is
    /// `kube-apiserver.log` there.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(etcd: &Etcd, dir: &Path) -> Result<Self, Error> {
        let key = KeyPair::generate().expect("a key can be generated");
        write(dir, "service-accounts.key", &key.serialize_pem())?;
        write(dir, "service-accounts.pub", &key.public_key_pem())?;
        write(
            dir,
            "tokens.csv",
            &format!("{ADMIN},admin,admin,\"system:masters\"\n"),
        )?;
        write(dir, "audit-policy.yaml", AUDIT_POLICY)?;
        let mut server = Self {
            process: None,
            binary: servers::kube_apiserver()?,
            address: ports::address(),
            etcd: etcd.url(),
            dir: dir.to_owned(),
            tls: Tls::create(dir),
        };
        server.start_again()?;
        Ok(server)
    }

    /// Stops it. What it knew stays in etcd.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again, on the same port.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_again(&mut self) -> Result<(), Error> {
        self.stop();
        let admin = self.admin();
        self.process = Some(Process::start(
            self.command(),
            "kube-apiserver",
            &self.dir,
            || admin.is_ready(),
        )?);
        Ok(())
    }

    /// Sends it a signal: `STOP` hangs it with its connections open, `CONT` lets it go on.
    pub fn signal(&mut self, signal: Signal) {
        if let Some(process) = &mut self.process {
            process.signal(signal);
        }
    }

    /// A client of `system:masters`. The program under test must not be one: Priority and Fairness does not hold for it.
    #[must_use]
    pub fn admin(&self) -> Api {
        self.client(ADMIN)
    }

    /// A client with this bearer token.
    #[must_use]
    pub fn client(&self, token: &str) -> Api {
        Api::new(Client::tls(self.address, &self.tls), token)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its certificate and the CA.
    #[must_use]
    pub fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Its resident memory in bytes; 0 when it is stopped.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.process.as_ref().map_or(0, Process::resident_bytes)
    }

    /// Every call that was answered, in the order of the answers. A watch counts when it begins.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        let Ok(log) = File::open(self.audit_log()) else {
            return Vec::new();
        };
        BufReader::new(log)
            .lines()
            .map_while(Result::ok)
            // The last line may be half written.
            .filter_map(|line| call(&serde_json::from_str(&line).ok()?))
            .collect()
    }

    fn audit_log(&self) -> PathBuf {
        self.dir.join("audit.log")
    }

    fn command(&self) -> Command {
        let file = |flag: &str, name: &str| format!("--{flag}={}", self.dir.join(name).display());
        let mut command = Command::new(&self.binary);
        command
            .arg(format!("--etcd-servers={}", self.etcd))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .arg(format!("--secure-port={}", self.address.port()))
            .arg(format!(
                "--tls-cert-file={}",
                self.tls.cert_file().display()
            ))
            .arg(format!(
                "--tls-private-key-file={}",
                self.tls.key_file().display()
            ))
            // For what it makes by itself, although it is given everything.
            .arg(file("cert-dir", "kube-apiserver"))
            .arg(file("token-auth-file", "tokens.csv"))
            .arg("--authorization-mode=RBAC")
            .arg(format!("--service-account-issuer={ISSUER}"))
            .arg(file("service-account-key-file", "service-accounts.pub"))
            .arg(file(
                "service-account-signing-key-file",
                "service-accounts.key",
            ))
            .arg("--service-cluster-ip-range=10.0.0.0/24")
            // It would want a default ServiceAccount in every namespace, which a controller-manager makes.
            .arg("--disable-admission-plugins=ServiceAccount")
            // Nobody connects to the Service `kubernetes`.
            .arg("--endpoint-reconciler-type=none")
            .arg(file("audit-policy-file", "audit-policy.yaml"))
            .arg(format!("--audit-log-path={}", self.audit_log().display()));
        command
    }
}

impl Api {
    fn is_ready(&self) -> bool {
        self.clone()
            .timeout(Duration::from_secs(2))
            .try_send("GET", "/readyz", None)
            .is_ok_and(|answer| answer.status == 200)
    }
}

/// A call from its line of the audit log; `None` for the end of one whose beginning counted.
fn call(event: &Value) -> Option<Call> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let verb = text(&event["verb"]);
    let code = event["responseStatus"]["code"]
        .as_u64()
        .and_then(|code| u16::try_from(code).ok())?;
    // A watch that was let in is told of twice.
    if verb == "watch" && code == 200 && event["stage"] == "ResponseComplete" {
        return None;
    }
    let object = &event["objectRef"];
    let mut resource = text(&object["resource"]);
    if let Some(part) = object["subresource"].as_str() {
        resource = format!("{resource}/{part}");
    }
    Some(Call {
        user: text(&event["user"]["username"]),
        verb,
        resource,
        namespace: text(&object["namespace"]),
        name: text(&object["name"]),
        code,
    })
}

fn write(dir: &Path, name: &str, text: &str) -> Result<(), Error> {
    let path = dir.join(name);
    fs::write(&path, text).map_err(|source| Error::Io { path, source })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_of_the_audit_log_is_a_call() {
        let event = json!({
            "stage": "ResponseComplete", "verb": "patch",
            "user": {"username": "system:serviceaccount:flux-system:notification-controller"},
            "objectRef": {
                "resource": "receivers", "subresource": "status", "namespace": "apps", "name": "app",
            },
            "responseStatus": {"code": 200},
        });
        let want = Call {
            user: "system:serviceaccount:flux-system:notification-controller".to_owned(),
            verb: "patch".to_owned(),
            resource: "receivers/status".to_owned(),
            namespace: "apps".to_owned(),
            name: "app".to_owned(),
            code: 200,
        };
        assert_eq!(call(&event), Some(want));
    }

    #[test]
    fn a_watch_counts_when_it_begins_and_when_it_is_refused() {
        let counted = |stage: &str, code: u16| {
            let event = json!({"stage": stage, "verb": "watch", "responseStatus": {"code": code}});
            call(&event).is_some()
        };
        assert_eq!(
            [
                counted("ResponseStarted", 200),
                counted("ResponseComplete", 200),
                counted("ResponseComplete", 403),
            ],
            [true, false, true]
        );
    }
}

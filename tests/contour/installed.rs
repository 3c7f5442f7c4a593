//! What an operator has after the README's section "Install": Flux, Contour and the controller in a cluster, and a shell on it.
//!
//! Hooks go by Flux's Service to the controller. Everything that runs was started from the objects in the cluster, as kubelets
//! would, in the cluster's [`Network`]; the certificates are what cert-manager would make of the README's Certificates.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::client::{Client, Request};
use e2e::cluster::{NAMESPACE, SERVICE_ACCOUNT};
use e2e::controller::Addresses;
use e2e::definitions::{CERT_MANAGER, PROMETHEUS};
use e2e::envoy::Envoy;
use e2e::hookgate::Hookgate;
use e2e::manifests::Receiver;
use e2e::network::own_address;
use e2e::process::Process;
use e2e::tls::Tls;
use e2e::trials::statuses;
use e2e::wait::{self, PATIENCE};
use e2e::{Cluster, Contour, Forge, Network, Pod, Shell, Tunnel, binaries, contour, flux, readme};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::hookgate::{ready, requested_at};

/// The host that the README's route serves.
const HOST: &str = "hooks.example.com";

/// Flux's Service, which routes name before and after.
pub(crate) const RECEIVER: &str = "webhook-receiver";

/// What Flux's folder comes to.
pub(crate) const FLUX: &str = "flux-system/kustomization.yaml";

/// The controller's ports, as its Pod names them.
const PORTS: [&str; 5] = ["http", "http-webhook", "http-prom", "healthz", "xds"];

/// A cluster with Flux and Contour, an operator's shell on it, and what runs there. Fields are dropped from top to bottom.
pub(crate) struct Installed {
    pub(crate) hookgate: Option<Running>,
    pub(crate) envoy: Option<Envoy>,
    contour: Contour,
    pub(crate) network: Network,
    pub(crate) shell: Shell,
    pub(crate) receiver: Receiver,
    tls: Tls,
    pub(crate) cluster: Cluster,
    pub(crate) dir: TempDir,
}

/// The controller, how it is reached from outside of loopback, and its files.
pub(crate) struct Running {
    hookgate: Hookgate,
    pub(crate) pod: Pod,
    _tunnel: Tunnel,
}

impl Installed {
    /// After the section "Install", and what it takes as given: hooks go to the controller by Flux's Service, through Contour's
    /// Envoy as it comes. The folder of Flux is as this part of the section has it, but for the lines that are marked.
    pub(crate) fn before(part: &str, marked: &str) -> Self {
        let cluster = Cluster::start();
        contour::install(&cluster).unwrap_or_else(|error| panic!("{error}"));
        for definitions in [CERT_MANAGER, PROMETHEUS] {
            let objects = definitions.objects();
            let objects = objects.unwrap_or_else(|error| panic!("{error}"));
            cluster
                .define(&objects)
                .unwrap_or_else(|error| panic!("{error}"));
        }
        let shell = Shell::on(&cluster);
        write_given(&shell);
        let install = readme::section("Install");
        readme::write_files(&install, shell.dir());
        for command in readme::commands(&install, "kubectl") {
            let _ = shell.succeed(&command);
        }
        readme::write_files(part, shell.dir());
        take_out(&shell, FLUX, marked);
        let _ = shell.succeed("kubectl apply -k flux-system");
        let _ = shell.succeed("kubectl apply -f contour/contour.yaml");
        let dir = TempDir::new().expect("a folder can be made");
        issue(&cluster, dir.path());
        let network = Network::of(&cluster);
        let mut contour = Contour::start(&cluster, &json!({}));
        contour.join(&network);
        let tls = Tls::create_for(dir.path(), &[HOST]);
        let secret =
            json!({"tls.crt": text_of(tls.cert_file()), "tls.key": text_of(tls.key_file())});
        apply_secret(&cluster, "hooks-tls", &secret);
        let mut site = Self {
            hookgate: None,
            envoy: None,
            contour,
            network,
            shell,
            receiver: Receiver::new("github", "readme"),
            tls,
            cluster,
            dir,
        };
        site.start_hookgate();
        site.receiver = ready(&site.cluster, site.receiver.clone());
        site.start_envoy();
        site.route_to(RECEIVER);
        site.serves();
        assert!(site.hears_of_forged_hooks());
        site
    }

    /// Writes the files of a part of the section, and runs its `sh` blocks.
    pub(crate) fn print(&self, part: &str) {
        readme::write_files(part, self.shell.dir());
        for script in readme::blocks(part, "sh") {
            let _ = self.shell.succeed(&script);
        }
    }

    /// The controller's Pod, from its Deployment: in place of the former one, if there is one.
    pub(crate) fn start_hookgate(&mut self) {
        self.hookgate = None;
        let deployment = self.workload("Deployment", NAMESPACE, "hookgate");
        let spec = &deployment["spec"]["template"]["spec"];
        assert_eq!(spec["serviceAccountName"], SERVICE_ACCOUNT);
        let pod = Pod::of(&self.cluster, &deployment, "manager");
        let numbers = PORTS.map(|name| {
            let number = pod.port(name).and_then(|port| u16::try_from(port).ok());
            number.unwrap_or_else(|| panic!("the Pod has no port {name:?}"))
        });
        let address = Network::address(&numbers);
        let [events, receiver, metrics, health, xds] = numbers.map(|port| (address, port).into());
        let addresses = Addresses {
            receiver,
            events,
            xds,
            metrics,
            health,
        };
        let filter = binaries::filter_wasm().unwrap_or_else(|error| panic!("{error}"));
        let binary = binaries::hookgate().unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new(binary);
        command
            .args(pod.arguments().iter().map(|argument| {
                // A Pod has an address of its own, and is bound to all of them.
                argument.replace("=:", &format!("={address}:"))
            }))
            .args(["--receiverAddr", &receiver.to_string()])
            .args(["--events-addr", &events.to_string()])
            .args(["--metrics-addr", &metrics.to_string()])
            .args(["--health-addr", &health.to_string()])
            .arg("--kubeconfig")
            .arg(self.cluster.kubeconfig())
            .arg("--filter")
            .arg(filter)
            .arg("--control-socket")
            .arg(self.cluster.dir().join("hookgate.sock"))
            .env("RUNTIME_NAMESPACE", NAMESPACE);
        let started = Process::start(command, "hookgate", self.cluster.dir(), || {
            let client = Client::plain(health).timeout(Duration::from_secs(2));
            client
                .get("/readyz")
                .is_ok_and(|answer| answer.status == 200)
        });
        let process = started.unwrap_or_else(|error| panic!("{error}"));
        let tunnel = Tunnel::between(own_address(), receiver);
        let endpoint = Some(("http-webhook", tunnel.address()));
        self.network.join(&pod, address, &PORTS, endpoint);
        self.hookgate = Some(Running {
            hookgate: Hookgate { process, addresses },
            pod,
            _tunnel: tunnel,
        });
        self.network.publish(NAMESPACE, RECEIVER);
    }

    /// Contour's Envoy, from its DaemonSet, in place of the former one.
    pub(crate) fn start_envoy(&mut self) {
        self.envoy = None;
        let daemon_set = self.workload("DaemonSet", contour::NAMESPACE, "envoy");
        let started = self
            .contour
            .envoy(&self.cluster, binaries::ENVOY, &daemon_set);
        self.envoy = Some(started.unwrap_or_else(|error| panic!("{error}")));
        self.tell_ready("daemonsets", contour::NAMESPACE, "envoy");
    }

    pub(crate) fn workload(&self, kind: &str, namespace: &str, name: &str) -> Value {
        self.cluster
            .admin()
            .object("apps/v1", kind, namespace, name)
    }

    /// Tells the API server that all Pods of a workload are ready, as kubelets do by way of the controller-manager.
    pub(crate) fn tell_ready(&self, plural: &str, namespace: &str, name: &str) {
        let path = format!("/apis/apps/v1/namespaces/{namespace}/{plural}/{name}");
        let admin = self.cluster.admin();
        let held = admin.get(&path).body;
        let count = held["spec"]["replicas"].as_u64().unwrap_or(1);
        let mut status = json!({"observedGeneration": held["metadata"]["generation"]});
        let fields: &[&str] = match plural {
            "daemonsets" => &[
                "desiredNumberScheduled",
                "currentNumberScheduled",
                "updatedNumberScheduled",
                "numberAvailable",
                "numberReady",
                "numberMisscheduled",
            ],
            _ => &[
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
            ],
        };
        for field in fields {
            status[*field] = json!(if *field == "numberMisscheduled" {
                0
            } else {
                count
            });
        }
        let status = json!({"status": status});
        let answer = admin.send("PATCH", &format!("{path}/status"), Some(&status));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// A route of the host to a Service.
    fn route_to(&self, service: &str) {
        self.cluster.admin().apply(&json!({
            "apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy",
            "metadata": {"name": "hooks", "namespace": NAMESPACE},
            "spec": {
                "virtualhost": {"fqdn": HOST, "tls": {"secretName": "hooks-tls"}},
                "routes": [{
                    "conditions": [{"prefix": "/hook/"}],
                    "services": [{"name": service, "port": 80}],
                }],
            },
        }));
        contour::await_valid(&self.cluster, NAMESPACE, "hooks");
    }

    fn client(&self) -> Client {
        Client::tls(self.contour.addresses().https, &self.tls).server(HOST)
    }

    fn genuine(&self) -> Request {
        Request::from(&Forge::new().hook(&self.receiver)).authority(HOST)
    }

    fn forged(&self) -> Request {
        Request::from(&Forge::new().hook(&self.receiver).forged()).authority(HOST)
    }

    /// Waits until every worker lets genuine hooks through; one more makes Flux reconcile, and a forged one is refused.
    pub(crate) fn serves(&self) {
        let mut seen = Vec::new();
        let waited = wait::until("genuine hooks pass", PATIENCE, || {
            seen = statuses(&self.client(), vec![self.genuine(); 16], 2);
            seen.iter().all(|status| *status == 200).then_some(())
        });
        let log = self
            .hookgate
            .as_ref()
            .map(|held| held.hookgate.process.log());
        waited.unwrap_or_else(|error| panic!("{error}: {seen:?}\n{}", log.unwrap_or_default()));
        let before = self.requested_at();
        assert_eq!(self.status_of(self.genuine()), 200);
        let after = self.requested_at();
        assert!(after.is_some() && after != before, "{before:?}, {after:?}");
        assert_eq!(self.status_of(self.forged()), 400);
        assert_eq!(self.requested_at(), after);
    }

    /// Whether the controller hears of a forged hook: it does not where Envoy refuses it.
    pub(crate) fn hears_of_forged_hooks(&self) -> bool {
        let Running { hookgate, .. } = self.hookgate.as_ref().expect("it runs");
        let heard = || {
            hookgate.explain(&self.cluster, "hookgate", &self.receiver, None)["activity"]["counts"]
                .clone()
        };
        let before = heard();
        for request in [self.forged(), self.forged().http2()] {
            assert_eq!(self.status_of(request), 400);
        }
        heard() != before
    }

    /// Genuine hooks pass, and soon the controller hears of no forged one.
    pub(crate) fn ends_at_the_edge(&self) {
        let waited = wait::until("forged hooks end at the edge", PATIENCE, || {
            self.serves();
            (!self.hears_of_forged_hooks()).then_some(())
        });
        waited.expect("they do");
    }

    fn status_of(&self, request: Request) -> u16 {
        self.client().send(request).expect("Envoy answers").status
    }

    fn requested_at(&self) -> Option<String> {
        let Receiver {
            namespace, name, ..
        } = &self.receiver;
        requested_at(&self.cluster, "GitRepository", namespace, name)
    }

    /// Runs the README's lines of `edge check`, on the admin port that its `port-forward` would lead to.
    pub(crate) fn check(&self, part: &str, port: &str, envoy: &Envoy) {
        let commands = readme::commands(part, "hookgate");
        let [command] = commands.as_slice() else {
            panic!("one line looks, and not {commands:?}");
        };
        let written = format!("127.0.0.1:{port}");
        assert!(command.contains(&written), "{command}");
        let forwarded = envoy.admin_address().to_string();
        let ran = self.shell.run(&command.replace(&written, &forwarded));
        assert_eq!(ran.code, Some(0), "{command}\n{}{}", ran.stdout, ran.stderr);
        assert!(
            !ran.stdout.contains(&self.receiver.path()),
            "{}",
            ran.stdout
        );
    }
}

/// Files that an operator has already: Flux's, as `flux bootstrap` leaves them, and Contour's.
fn write_given(shell: &Shell) {
    let write = |name: &str, objects: &[Value]| {
        let file = shell.dir().join(name);
        fs::create_dir_all(file.parent().expect("it has a folder")).expect("it can be made");
        let texts: Vec<String> = objects.iter().map(Value::to_string).collect();
        fs::write(file, texts.join("\n---\n")).expect("a file can be written");
    };
    write("flux-system/gotk-components.yaml", &flux::components());
    let sync = flux::object("GitRepository", NAMESPACE, NAMESPACE);
    write("flux-system/gotk-sync.yaml", &[sync]);
    let envoys = contour::example("contour/03-envoy.yaml");
    write(
        "contour/contour.yaml",
        &envoys.unwrap_or_else(|error| panic!("{error}")),
    );
}

/// What cert-manager makes of the Certificates in the cluster: their Secrets.
pub(crate) fn issue(cluster: &Cluster, dir: &Path) {
    let certificate = |name: &str| {
        let api_version = "cert-manager.io/v1";
        cluster
            .admin()
            .object(api_version, "Certificate", NAMESPACE, name)["spec"]
            .clone()
    };
    let (server, client) = (
        certificate("hookgate-xds"),
        certificate("hookgate-xds-client"),
    );
    assert_eq!(
        server["issuerRef"], client["issuerRef"],
        "one CA signs both"
    );
    let name = server["dnsNames"][0].as_str().expect("it has a name");
    let tls = Tls::create_for(dir, &[name]);
    let authority = text_of(tls.ca_file());
    for (spec, certificate, key) in [
        (&server, "tls.crt", "tls.key"),
        (&client, "client.crt", "client.key"),
    ] {
        let secret = json!({
            "tls.crt": text_of(&dir.join(certificate)), "tls.key": text_of(&dir.join(key)), "ca.crt": authority,
        });
        apply_secret(
            cluster,
            spec["secretName"].as_str().expect("it has one"),
            &secret,
        );
    }
}

fn apply_secret(cluster: &Cluster, name: &str, data: &Value) {
    cluster.admin().apply(&json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": data,
    }));
}

fn text_of(file: &Path) -> String {
    fs::read_to_string(file).expect("the file can be read")
}

/// Takes lines out of a kustomization.
pub(crate) fn take_out(shell: &Shell, file: &str, marked: &str) {
    let path = shell.dir().join(file);
    let held = text_of(&path);
    let mut kept: Vec<&str> = held.lines().filter(|line| !line.contains(marked)).collect();
    assert!(kept.len() < held.lines().count(), "{file} has no {marked}");
    if kept.last() == Some(&"components:") {
        kept.pop();
    }
    fs::write(path, kept.join("\n")).expect("a file can be written");
}

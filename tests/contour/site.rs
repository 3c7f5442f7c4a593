//! A Contour with its Envoy in front of the gate: a host that hooks come to, and another that has nothing to do with them.

use std::net::{IpAddr, SocketAddr};

use e2e::binaries::ENVOY;
use e2e::client::{Client, Request, Response};
use e2e::cluster::NAMESPACE;
use e2e::controller::Addresses;
use e2e::envoy::Envoy;
use e2e::hookgate::Hookgate;
use e2e::manifests::Receiver;
use e2e::tls::Tls;
use e2e::trials::statuses;
use e2e::wait::{self, PATIENCE};
use e2e::{Cluster, Contour, Forge, contour};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::gate::{self, Gate};
use crate::hookgate::{ready, requested_at};
use crate::overlay::{self, PLACEHOLDER};
use crate::stand::Stand;

/// What the other host answers, whatever becomes of the gate.
const ELSEWHERE: &str = "nothing to do with hooks";

/// How hooks go behind Contour's listener.
pub(crate) enum Way {
    /// To the placeholder, in an Envoy without the overlay.
    Bare,
    /// Through Contour's own Envoy, with these flags of `hookgate edge overlay` as well.
    Pinned(Vec<String>),
    /// Through an Envoy of our own.
    Gate,
}

/// How a site is made.
pub(crate) struct Plan {
    /// The version of Envoy.
    pub(crate) envoy: &'static str,
    /// Where Envoy looks for the controller, if not at the one that all share.
    pub(crate) controller: Option<Addresses>,
    /// Where hooks are verified.
    pub(crate) way: Way,
    /// The content of `contour.yaml`.
    pub(crate) contour: Value,
    /// What is different of the Receiver.
    pub(crate) shape: fn(Receiver) -> Receiver,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            envoy: ENVOY,
            controller: None,
            way: Way::Pinned(vec!["--xds-insecure".to_owned()]),
            contour: json!({}),
            shape: |receiver| receiver,
        }
    }
}

/// It. Fields are dropped from top to bottom.
pub(crate) struct Site<'s> {
    envoy: Option<Envoy>,
    gate: Option<Gate>,
    pub(crate) contour: Contour,
    pub(crate) cluster: &'s Cluster,
    /// A Receiver of type github.
    pub(crate) receiver: Receiver,
    /// The host that hooks come to.
    pub(crate) host: String,
    /// Where routes are, and the Service that they name.
    pub(crate) namespace: String,
    pub(crate) service: &'static str,
    daemon_set: Value,
    version: &'static str,
    name: String,
    other: String,
    tls: Tls,
    _dir: TempDir,
}

impl<'s> Site<'s> {
    /// A site whose hooks come in by an HTTPProxy.
    pub(crate) fn start(stand: &'s Stand, name: &str, plan: &Plan) -> Self {
        let site = Self::without_routes(stand, name, plan);
        site.apply_route(&site.proxy(&json!({})));
        site
    }

    /// A site on which only the other host is served.
    pub(crate) fn without_routes(stand: &'s Stand, name: &str, plan: &Plan) -> Self {
        let contour = Contour::start(&stand.cluster, &plan.contour);
        Self::behind(contour, stand, name, plan)
    }

    /// The same behind a Contour that is there.
    pub(crate) fn behind(contour: Contour, stand: &'s Stand, name: &str, plan: &Plan) -> Self {
        let cluster = &stand.cluster;
        let receiver = (plan.shape)(Receiver::new("github", name));
        let (host, other) = (
            format!("hooks.{name}.example"),
            format!("www.{name}.example"),
        );
        let dir = TempDir::new().expect("a folder can be made");
        let tls = Tls::create_for(dir.path(), &[&host, &other]);
        let controller = plan.controller.unwrap_or(stand.hookgate.addresses);
        let envoys = format!("envoy-{name}");
        let (daemon_set, namespace, service) = match &plan.way {
            Way::Bare => (
                overlay::unpinned(cluster, &envoys),
                NAMESPACE.to_owned(),
                PLACEHOLDER,
            ),
            Way::Pinned(flags) => {
                let pinned = overlay::pinned(cluster, &envoys, controller, flags);
                (pinned, NAMESPACE.to_owned(), PLACEHOLDER)
            }
            Way::Gate => {
                let namespace = cluster.namespace(&format!("{name}-gate"));
                (
                    overlay::unpinned(cluster, &envoys),
                    namespace,
                    gate::SERVICE,
                )
            }
        };
        let gate = matches!(plan.way, Way::Gate)
            .then(|| Gate::start(cluster, &namespace, controller, plan.envoy));
        let mut site = Self {
            envoy: None,
            gate,
            contour,
            cluster,
            receiver: ready(cluster, receiver),
            host,
            namespace,
            service,
            daemon_set,
            version: plan.envoy,
            name: name.to_owned(),
            other,
            tls,
            _dir: dir,
        };
        site.apply_certificate();
        site.apply_route(&site.other_proxy());
        site.start_envoy();
        let waited = wait::until("the other host is served", PATIENCE, || {
            site.elsewhere().ok()
        });
        waited.unwrap_or_else(|error| panic!("{error}: {}", site.contour.log()));
        site
    }

    /// Starts its Envoy, again if there is one.
    pub(crate) fn start_envoy(&mut self) {
        self.envoy = None;
        let started = self
            .contour
            .envoy(self.cluster, self.version, &self.daemon_set);
        self.envoy = Some(started.unwrap_or_else(|error| panic!("{error}")));
    }

    /// The gate behind its Contour.
    pub(crate) fn gate(&mut self) -> &mut Gate {
        self.gate.as_mut().expect("hooks go this way")
    }

    /// The certificate of both hosts, as a Secret.
    fn apply_certificate(&self) {
        let read = |file| std::fs::read_to_string(file).expect("a certificate can be read");
        self.cluster.admin().apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": self.secret(), "namespace": self.namespace},
            "stringData": {
                "tls.crt": read(self.tls.cert_file()), "tls.key": read(self.tls.key_file()),
            },
        }));
    }

    /// Another certificate by another CA; a client that trusts the former one alone.
    pub(crate) fn rotate_certificate(&mut self) -> Client {
        let former = self.client();
        self.tls = Tls::create_for(self._dir.path(), &[&self.host, &self.other]);
        self.apply_certificate();
        former
    }

    pub(crate) fn secret(&self) -> String {
        format!("{}-tls", self.name)
    }

    /// Applies a route, and waits until Contour takes it where it says so.
    pub(crate) fn apply_route(&self, route: &Value) {
        self.cluster.admin().apply(route);
        if route["kind"] == "HTTPProxy" {
            let name = route["metadata"]["name"].as_str().unwrap_or_default();
            contour::await_valid(self.cluster, &self.namespace, name);
        }
    }

    /// An HTTPProxy that leads hooks to the Service, with these fields of its route as well.
    pub(crate) fn proxy(&self, more: &Value) -> Value {
        let mut route = json!({
            "conditions": [{"prefix": "/hook/"}],
            "services": [{"name": self.service, "port": 80}],
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            route[field] = value.clone();
        }
        self.http_proxy(&self.name, &self.host, &route)
    }

    fn other_proxy(&self) -> Value {
        let route = json!({"directResponsePolicy": {"statusCode": 200, "body": ELSEWHERE}});
        self.http_proxy(&format!("{}-other", self.name), &self.other, &route)
    }

    fn http_proxy(&self, name: &str, host: &str, route: &Value) -> Value {
        json!({
            "apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "virtualhost": {"fqdn": host, "tls": {"secretName": self.secret()}},
                "routes": [route],
            },
        })
    }

    /// A client of the hooks' host.
    pub(crate) fn client(&self) -> Client {
        self.client_of(&self.host)
    }

    fn client_of(&self, host: &str) -> Client {
        Client::tls(self.contour.addresses().https, &self.tls).server(host)
    }

    /// Sends to the hooks' host.
    pub(crate) fn send(&self, request: impl Into<Request>) -> Response {
        let request = request.into().authority(&self.host);
        let answer = self.client().send(request);
        answer.unwrap_or_else(|error| panic!("Envoy does not answer: {error}"))
    }

    /// The status of the answer to a request from this address.
    pub(crate) fn status_from(&self, source: IpAddr, request: impl Into<Request>) -> u16 {
        let request = request.into().authority(&self.host);
        let answer = self.client().from(source).send(request);
        answer.expect("Envoy answers").status
    }

    /// A genuine hook.
    pub(crate) fn genuine(&self) -> Request {
        Request::from(&Forge::new().hook(&self.receiver)).authority(&self.host)
    }

    /// A hook whose signature is wrong.
    pub(crate) fn forged(&self) -> Request {
        Request::from(&Forge::new().hook(&self.receiver).forged()).authority(&self.host)
    }

    /// Asks the host that has nothing to do with hooks.
    pub(crate) fn elsewhere(&self) -> Result<(), String> {
        let request = Request::get("/").authority(&self.other);
        match self.client_of(&self.other).send(request) {
            Ok(answer) if (answer.status, answer.text().as_str()) == (200, ELSEWHERE) => Ok(()),
            other => Err(format!("the other host answers {other:?}")),
        }
    }

    /// Waits until this is answered so, many times in a row: each worker has its own table.
    pub(crate) fn await_status(&self, request: &Request, status: u16) {
        let request = request.clone().authority(&self.host);
        let mut seen = Vec::new();
        let waited = wait::until("the expected answer", PATIENCE, || {
            // While a listener changes there may be no answer at all.
            seen = statuses(&self.client(), vec![request.clone(); 16], 2);
            seen.iter().all(|held| *held == status).then_some(())
        });
        waited.unwrap_or_else(|error| panic!("{status}: {error}, but {seen:?}"));
    }

    /// Genuine and forged hooks, and one that claims to be verified, are all refused with 503; the other host is served.
    pub(crate) fn is_closed(&self) {
        self.await_status(&self.genuine(), 503);
        let before = self.requested_at();
        for request in [
            self.genuine(),
            self.genuine().http2(),
            self.forged(),
            self.genuine().header("x-hookgate-verified", "1"),
        ] {
            let answer = self.send(&request);
            assert_eq!(answer.status, 503, "{request:?}: {answer:?}");
        }
        assert_eq!(self.requested_at(), before);
        self.elsewhere().expect("no other host is touched");
    }

    /// A genuine hook makes Flux reconcile; a forged one and an unknown one are refused in Envoy, and the controller hears of
    /// neither; the other host is served.
    pub(crate) fn is_open(&self, hookgate: &Hookgate, name: &str) {
        self.await_status(&self.genuine(), 200);
        let before = self.requested_at();
        let answer = self.send(self.genuine());
        assert_eq!((answer.status, answer.text().as_str()), (200, ""));
        let after = self.requested_at();
        assert!(after.is_some() && after != before, "{before:?}, {after:?}");

        let heard = self.heard_by(hookgate, name);
        for request in [self.forged(), self.forged().http2()] {
            let answer = self.send(&request);
            assert_eq!((answer.status, answer.text().as_str()), (400, ""));
        }
        let unknown = format!("/hook/{}", "0".repeat(64));
        assert_eq!(self.send(self.genuine().target(&unknown)).status, 404);
        assert_eq!(
            self.heard_by(hookgate, name),
            heard,
            "none reached the controller"
        );
        assert_eq!(self.requested_at(), after);
        self.elsewhere().expect("no other host is touched");
    }

    /// When Flux was last asked to reconcile what the Receiver names.
    pub(crate) fn requested_at(&self) -> Option<String> {
        let Receiver {
            namespace, name, ..
        } = &self.receiver;
        requested_at(self.cluster, "GitRepository", namespace, name)
    }

    /// How often the controller had to decide on a hook of the Receiver, by outcome.
    fn heard_by(&self, hookgate: &Hookgate, name: &str) -> Value {
        let shown = hookgate.explain(self.cluster, name, &self.receiver, None);
        shown["activity"]["counts"].clone()
    }

    /// Where plain HTTP is served.
    pub(crate) fn plain(&self) -> SocketAddr {
        self.contour.addresses().http
    }
}

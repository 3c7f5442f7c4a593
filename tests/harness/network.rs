//! A cluster's network, as far as one machine can have it: Pods with an address each, the names of Services, and who is behind
//! them.
//!
//! Pods take addresses of loopback, where ports are free that the machine has in use. The API server takes no such address
//! as an endpoint, so that what has to be one is reached by an address of the machine as well.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Packet, RCODE, ResourceRecord};

use crate::api::Api;
use crate::cluster::Cluster;
use crate::pod::Pod;

/// An address of documentation (RFC 5737). Nothing is sent there; it only asks which address of this machine would send.
const ELSEWHERE: &str = "192.0.2.1:9";

/// How long the server of names waits before it looks whether it is to end.
const TICK: Duration = Duration::from_millis(200);

/// Addresses of loopback that are tried before giving up.
const TRIES: u16 = 200;

/// A Pod in the network.
#[derive(Clone, Debug)]
struct Host {
    labels: Value,
    address: Ipv4Addr,
    /// Its ports by name.
    ports: Vec<(String, u16)>,
    /// The port that a Service's endpoint leads to, and where that is reached from outside of loopback.
    endpoint: Option<(String, SocketAddr)>,
}

/// The network. Dropping it ends its server of names.
#[derive(Debug)]
pub struct Network {
    admin: Api,
    hosts: Arc<Mutex<Vec<Host>>>,
    dns: SocketAddr,
    /// Its server ends when nobody holds this any more.
    _alive: Arc<()>,
    _server: JoinHandle<()>,
}

impl Network {
    /// A network without Pods.
    ///
    /// # Panics
    ///
    /// When no port can be had.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
        socket
            .set_read_timeout(Some(TICK))
            .expect("a timeout can be set");
        let dns = socket.local_addr().expect("it has an address");
        let (admin, hosts) = (cluster.admin(), Arc::default());
        let alive = Arc::new(());
        let (asked, known, held) = (admin.clone(), Arc::clone(&hosts), Arc::downgrade(&alive));
        let server = thread::spawn(move || {
            let mut query = [0; 512];
            while held.strong_count() > 0 {
                let Ok((length, sender)) = socket.recv_from(&mut query) else {
                    continue;
                };
                if let Some(answer) = answer(&asked, &known, &query[..length]) {
                    // Who asked will ask again.
                    let _ = socket.send_to(&answer, sender);
                }
            }
        });
        Self {
            admin,
            hosts,
            dns,
            _alive: alive,
            _server: server,
        }
    }

    /// Where names are asked for.
    #[must_use]
    pub fn dns(&self) -> SocketAddr {
        self.dns
    }

    /// What makes an Envoy ask there, as it would the servers of its Pod's `resolv.conf`: a field of its bootstrap.
    #[must_use]
    pub fn resolver(&self) -> (&'static str, Value) {
        let at = json!({"address": self.dns.ip().to_string(), "port_value": self.dns.port()});
        let config = json!({
            "name": "envoy.network.dns_resolver.cares",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                "resolvers": [{"socket_address": at}],
            },
        });
        ("typed_dns_resolver_config", config)
    }

    /// An address of loopback at which nobody has these ports; none is handed out twice.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn address(ports: &[u16]) -> Ipv4Addr {
        static NEXT: AtomicU8 = AtomicU8::new(2);
        // Parallel test binaries seldom meet.
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let free = |address: &Ipv4Addr| {
            let listeners: io::Result<Vec<_>> = ports
                .iter()
                .map(|port| TcpListener::bind((*address, *port)))
                .collect();
            listeners.is_ok()
        };
        (0..TRIES)
            .map(|_| Ipv4Addr::new(127, high.max(1), low, NEXT.fetch_add(1, Ordering::Relaxed)))
            .find(free)
            .expect("loopback has an address with these ports free")
    }

    /// Brings a Pod in, in place of the one with the same labels, with the address at which its ports are, and what is reached from outside of loopback.
    ///
    /// # Panics
    ///
    /// When it has no port of the endpoint's name.
    pub fn join(
        &self,
        pod: &Pod,
        address: Ipv4Addr,
        ports: &[&str],
        endpoint: Option<(&str, SocketAddr)>,
    ) {
        let number = |name: &str| {
            let found = pod.port(name).and_then(|port| u16::try_from(port).ok());
            found.unwrap_or_else(|| panic!("the Pod has no port {name:?}"))
        };
        let host = Host {
            labels: pod.labels.clone(),
            address,
            ports: ports
                .iter()
                .map(|name| ((*name).to_owned(), number(name)))
                .collect(),
            endpoint: endpoint.map(|(name, at)| (name.to_owned(), at)),
        };
        let mut hosts = lock(&self.hosts);
        hosts.retain(|former| former.labels != host.labels);
        hosts.push(host);
    }

    /// Tells the API server which Pods are behind a Service, as a controller-manager does.
    ///
    /// # Panics
    ///
    /// When the API server refuses it.
    pub fn publish(&self, namespace: &str, name: &str) {
        let service = self.admin.object("v1", "Service", namespace, name);
        let port = &service["spec"]["ports"][0];
        let chosen: Vec<SocketAddr> = lock(&self.hosts)
            .iter()
            .filter(|host| is_selected(&service, &host.labels))
            .filter_map(|host| {
                let (target, at) = host.endpoint.as_ref()?;
                (port["targetPort"] == target.as_str()).then_some(*at)
            })
            .collect();
        let endpoints: Vec<Value> = chosen
            .iter()
            .map(|at| json!({"addresses": [at.ip().to_string()], "conditions": {"ready": true}}))
            .collect();
        let first = chosen.first();
        let kind = first.map_or("IPv4", |at| if at.is_ipv4() { "IPv4" } else { "IPv6" });
        self.admin.apply(&json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{name}-0"), "namespace": namespace,
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": kind,
            "endpoints": endpoints,
            "ports": [{
                "name": port["name"], "port": first.map_or(1, SocketAddr::port), "protocol": "TCP",
            }],
        }));
    }
}

/// An address of this machine that is not loopback: the API server takes no other as an endpoint.
///
/// # Panics
///
/// When it has none, with what to do.
#[must_use]
pub fn own_address() -> IpAddr {
    let asked = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect(ELSEWHERE)?;
        socket.local_addr()
    });
    match asked.map(|address| address.ip()) {
        Ok(address) if !address.is_loopback() => address,
        other => panic!(
            "the API server takes no endpoint on loopback, and this machine has no other address ({other:?}): \
             give it one, such as `ip link add gate type dummy` with an address and a route to {ELSEWHERE}"
        ),
    }
}

fn lock(hosts: &Mutex<Vec<Host>>) -> MutexGuard<'_, Vec<Host>> {
    hosts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a Service selects Pods with these labels.
fn is_selected(service: &Value, labels: &Value) -> bool {
    let selector = service["spec"]["selector"].as_object();
    selector.is_some_and(|selector| {
        let mut wanted = selector.iter();
        wanted.all(|(label, value)| labels[label] == *value)
    })
}

/// The answer to a query, if it is one.
fn answer(admin: &Api, hosts: &Mutex<Vec<Host>>, query: &[u8]) -> Option<Vec<u8>> {
    let query = Packet::parse(query).ok()?;
    let mut reply = query.clone().into_reply();
    reply.answers.clear();
    let question = query.questions.first()?;
    match resolve(admin, hosts, &question.qname.to_string()) {
        Some(address) if question.qtype == simple_dns::QTYPE::TYPE(simple_dns::TYPE::A) => {
            let record = RData::A(A::from(address));
            let name = question.qname.clone();
            reply
                .answers
                .push(ResourceRecord::new(name, CLASS::IN, 1, record));
        }
        // The name is there, without an address of this family.
        Some(_) => {}
        None => *reply.rcode_mut() = RCODE::NameError,
    }
    reply.build_bytes_vec().ok()
}

/// The address behind `SERVICE.NAMESPACE.svc`, where every port of the Service is the Pod's port of the same number.
fn resolve(admin: &Api, hosts: &Mutex<Vec<Host>>, name: &str) -> Option<Ipv4Addr> {
    let mut parts = name.trim_end_matches('.').split('.');
    let (service, namespace, kind) = (parts.next()?, parts.next()?, parts.next()?);
    if kind != "svc" {
        return None;
    }
    let path = format!("/api/v1/namespaces/{namespace}/services/{service}");
    let answer = admin.try_send("GET", &path, None).ok()?;
    if answer.status != 200 {
        return None;
    }
    let hosts = lock(hosts);
    let mut hosts = hosts.iter();
    let host = hosts.find(|host| is_selected(&answer.body, &host.labels))?;
    let ports = answer.body["spec"]["ports"].as_array()?;
    let leads = |port: &Value| {
        let known = host.ports.iter();
        let mut target = known.filter(|(name, _)| port["targetPort"] == name.as_str());
        target.any(|(_, number)| port["port"] == *number)
    };
    ports.iter().all(leads).then_some(host.address)
}

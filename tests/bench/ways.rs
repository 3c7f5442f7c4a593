//! What the two ways behind the real Contour cost a sender, beside a route of Contour's that leads to the controller.
//!
//! One connection of TLS and HTTP/1.1 that is kept, requests one after the other; the rounds of the ways are interleaved. Hooks
//! select no resource, so that no API server is part of the time.

use std::path::Path;
use std::time::{Duration, Instant};

use e2e::client::{Connection, Version};
use e2e::cluster::NAMESPACE;
use e2e::controller::Addresses;
use e2e::hookgate::Hookgate;
use e2e::network::own_address;
use e2e::{Cluster, Forge, Request, client, contour, ports};
use serde_json::json;

use crate::gate;
use crate::report::Report;
use crate::site::{Plan, Site, Way};
use crate::stand::{FLAGS, Stand};

/// Bytes of a hook's body.
const BODY: usize = 8 * 1024;
/// Rounds of each way.
const ROUNDS: usize = 5;

/// How long senders wait for an answer on one way.
#[derive(Clone, Debug)]
pub(crate) struct Waits {
    /// The way.
    pub(crate) way: &'static str,
    /// What is sent.
    pub(crate) what: &'static str,
    /// From short to long.
    pub(crate) waits: Vec<Duration>,
}

/// A way, with what is sent and the status of its answer.
struct Lane {
    way: &'static str,
    what: &'static str,
    request: Request,
    status: u16,
    waits: Vec<Duration>,
}

/// Measures so many requests of each kind on each way.
pub(crate) fn measure(binary: &Path, requests: usize, report: &mut Report) -> Result<(), String> {
    let stand = stand(binary)?;
    let flags = [
        "--xds-insecure",
        "--address-rate=1000000",
        "--address-burst=1000000",
    ];
    let pinned = Way::Pinned(flags.map(str::to_owned).to_vec());
    let sites = [
        ("route", route(&stand)),
        ("pinned", Site::start(&stand, "bench-pinned", &plan(pinned))),
        ("gate", Site::start(&stand, "bench-gate", &plan(Way::Gate))),
    ];
    let mut lanes = Vec::new();
    for (way, site) in &sites {
        for lane in lanes_of(way, site) {
            site.await_status(&lane.request, lane.status);
            lanes.push((site, lane));
        }
    }
    for _ in 0..ROUNDS {
        for (site, lane) in &mut lanes {
            let round = lane.round(site, requests.div_ceil(ROUNDS));
            client::runtime()
                .block_on(round)
                .map_err(|error| format!("{} by {}: {error}", lane.what, lane.way))?;
        }
    }
    for (_, mut lane) in lanes {
        lane.waits.sort_unstable();
        report.ways(Waits {
            way: lane.way,
            what: lane.what,
            waits: lane.waits,
        });
    }
    Ok(())
}

/// A cluster with Contour, and this controller at an address that an endpoint may have.
fn stand(binary: &Path) -> Result<Stand, String> {
    let words = |error: Box<dyn std::error::Error + Send + Sync>| error.to_string();
    let cluster = Cluster::try_start().map_err(words)?;
    contour::install(&cluster).map_err(words)?;
    let addresses = Addresses {
        receiver: (own_address(), ports::reserve()).into(),
        ..Addresses::reserve()
    };
    let mut flags = FLAGS.to_vec();
    flags.extend(["--max-hook-rate=1000000", "--max-hook-burst=1000000"]);
    let hookgate = Hookgate::try_start_binary_at(binary, addresses, &cluster, "hookgate", &flags);
    Ok(Stand {
        hookgate: hookgate.map_err(words)?,
        cluster,
    })
}

fn plan(way: Way) -> Plan {
    Plan {
        way,
        shape: |receiver| {
            receiver
                .annotation("hookgate.dev/rate", "1000000")
                .annotation("hookgate.dev/burst", "1000000")
                .resource_filter("false")
        },
        ..Plan::default()
    }
}

/// Contour's Envoy as it comes, and Flux's Service in front of the controller.
fn route(stand: &Stand) -> Site<'_> {
    let mut site = Site::without_routes(stand, "bench-route", &plan(Way::Bare));
    let to = stand.hookgate.addresses.receiver;
    let admin = stand.cluster.admin();
    admin.apply(&gate::flux_service(NAMESPACE));
    admin.apply(&gate::endpoint(NAMESPACE, to.ip(), to.port()));
    site.service = gate::SERVICE;
    site.apply_route(&site.proxy(&json!({})));
    site
}

fn lanes_of(way: &'static str, site: &Site<'_>) -> [Lane; 3] {
    let mut body = b"{\"ref\":\"refs/heads/main\",\"padding\":\"".to_vec();
    body.resize(BODY - 2, b'x');
    body.extend_from_slice(b"\"}");
    let genuine = Forge::new().github(&site.receiver, "push", &body);
    let forged = Request::from(&genuine.clone().forged());
    let genuine = Request::from(&genuine);
    let unknown = genuine.clone().target(&format!("/hook/{}", "0".repeat(64)));
    let lane = |what, request: Request, status| Lane {
        way,
        what,
        request: request.authority(&site.host),
        status,
        waits: Vec::new(),
    };
    [
        lane("unknown path", unknown, 404),
        lane("forged hook of 8 KB", forged, 400),
        lane("genuine hook of 8 KB", genuine, 200),
    ]
}

impl Lane {
    /// So many requests on a connection that is kept while the server keeps it.
    async fn round(&mut self, site: &Site<'_>, requests: usize) -> Result<(), String> {
        let client = site.client();
        let mut kept: Option<Connection> = None;
        for _ in 0..requests {
            let mut connection = match kept.take().filter(Connection::is_usable) {
                Some(connection) => connection,
                None => {
                    let opened = client.open(Version::Http1).await;
                    opened.map_err(|error| error.to_string())?
                }
            };
            let from = Instant::now();
            let answer = connection.send(&self.request).await;
            self.waits.push(from.elapsed());
            let status = answer.map_err(|error| error.to_string())?.status;
            if status != self.status {
                return Err(format!("{status}, and not {}", self.status));
            }
            kept = Some(connection);
        }
        Ok(())
    }
}

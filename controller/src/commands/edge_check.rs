//! `hookgate edge check`: looks at a running Envoy and at the cluster's objects, and says whether the gate is in the path.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::migrate::{collection, list};
use super::{AnyError, print};
use crate::edge::{self, Objects, Point, Way, Wiring};
use crate::kubernetes::{self, Api, ApiError};
use crate::manifests;

/// Longest answer of an admin interface that is read, in bytes. A dump holds the filter's code and all of Contour's routes.
const LONGEST: u64 = 256 << 20;

/// Longest silence of an admin interface.
const PATIENCE: Duration = Duration::from_secs(30);

/// Say, point by point, whether the gate is in the path, and what to change
///
/// Reads an Envoy's configuration and the cluster's routes, Services and NetworkPolicies, and changes nothing.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl -n projectcontour port-forward ds/envoy 9001:9001 &\n  hookgate edge check --admin-addr 127.0.0.1:9001\n  hookgate edge check --config-dump dump.json --manifests ./manifests\n  hookgate edge check --way gate --no-envoy\n\nExit codes: 0 the gate is in the path, 1 something is to be changed, 2 it could not be looked at, or not at all of it."
)]
pub(super) struct EdgeCheckArgs {
    /// How the filter is put into the path
    #[arg(long, value_enum, default_value_t = Way::Pinned)]
    way: Way,
    /// Envoy's admin interface: IP:PORT, or the path of its Unix socket
    #[arg(long, value_name = "ADDR", required_unless_present_any = ["config_dump", "no_envoy"])]
    admin_addr: Option<String>,
    /// What GET /config_dump answered, saved in a file
    #[arg(long, value_name = "FILE", conflicts_with = "admin_addr")]
    config_dump: Option<PathBuf>,
    /// Look at no Envoy
    #[arg(long, conflicts_with_all = ["admin_addr", "config_dump"])]
    no_envoy: bool,
    /// Folder of manifests, in place of a cluster
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
    /// Configuration of the cluster to read, where hookgate does not run in it
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Look at no objects
    #[arg(long, conflicts_with = "manifests")]
    no_cluster: bool,
    /// Namespace of Hookgate
    #[arg(long, value_name = "NAMESPACE", default_value = "flux-system")]
    namespace: String,
    /// The Service that routes name [default: hookgate, and webhook-receiver for the gate]
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Port number of that Service
    #[arg(long, value_name = "PORT", default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Contour's namespace
    #[arg(long, value_name = "NAMESPACE", default_value = "projectcontour")]
    contour_namespace: String,
}

/// Where it cannot be looked, the code is 2 and not 1.
pub(super) fn run(args: &EdgeCheckArgs) -> Result<ExitCode, AnyError> {
    let points = match look(args) {
        Ok(points) => points,
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "hookgate: {}",
                super::chain(error.as_ref())
            );
            return Ok(ExitCode::from(2));
        }
    };
    let lines: String = points.iter().map(|point| format!("{point}\n")).collect();
    print(&lines)?;
    Ok(
        if points
            .iter()
            .any(|point| point.is_known && point.change.is_some())
        {
            ExitCode::FAILURE
        } else if points.iter().any(|point| !point.is_known) {
            ExitCode::from(2)
        } else {
            ExitCode::SUCCESS
        },
    )
}

fn look(args: &EdgeCheckArgs) -> Result<Vec<Point>, AnyError> {
    let service = args.service.clone().unwrap_or_else(|| match args.way {
        Way::Pinned => "hookgate".to_owned(),
        Way::Gate => "webhook-receiver".to_owned(),
    });
    let wiring = Wiring {
        way: args.way,
        namespace: args.namespace.clone(),
        service,
        port: args.port,
        contour_namespace: args.contour_namespace.clone(),
    };
    let mut points = Vec::new();
    if !args.no_envoy {
        let (dump, stats) = envoy(args)?;
        points.extend(edge::envoy_points(&dump, stats.as_deref(), &wiring));
    }
    if !args.no_cluster {
        points.extend(edge::cluster_points(&objects(args)?, &wiring));
    }
    if args.no_envoy && args.no_cluster {
        return Err("there is nothing to look at: leave --no-envoy or --no-cluster out".into());
    }
    Ok(points)
}

fn envoy(args: &EdgeCheckArgs) -> Result<(Value, Option<String>), AnyError> {
    if let Some(file) = &args.config_dump {
        let text = fs::read(file).map_err(|error| format!("failed to read {file:?}: {error}"))?;
        let dump = serde_json::from_slice(&text)
            .map_err(|error| format!("{file:?} is no JSON, so no config_dump: {error}"))?;
        return Ok((dump, None));
    }
    let at = args.admin_addr.as_deref().unwrap_or_default();
    let ask = |path: &str| {
        get(at, path).map_err(|error| format!("failed to ask the admin interface {at:?}: {error}"))
    };
    let dump = serde_json::from_slice(&ask("/config_dump")?)
        .map_err(|error| format!("{at:?} is no admin interface of an Envoy: {error}"))?;
    let stats = ask("/stats?filter=extension_config_discovery")?;
    Ok((dump, Some(String::from_utf8_lossy(&stats).into_owned())))
}

/// `GET path`, over TCP or a Unix socket; the body of a 200.
fn get(at: &str, path: &str) -> Result<Vec<u8>, AnyError> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n");
    let mut answer = Vec::new();
    if at.starts_with('/') {
        let mut stream = UnixStream::connect(at)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        stream.take(LONGEST).read_to_end(&mut answer)?;
    } else {
        let address: SocketAddr = at
            .parse()
            .map_err(|_| "give IP:PORT, or the path of a Unix socket")?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        stream.take(LONGEST).read_to_end(&mut answer)?;
    }
    body(&answer)
}

/// The body of an HTTP/1.1 answer with status 200, whole or in chunks.
fn body(answer: &[u8]) -> Result<Vec<u8>, AnyError> {
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or("the answer is no HTTP")?;
    let (head, rest) = answer.split_at(end);
    let rest = rest.get(4..).unwrap_or_default();
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return Err(format!("it answers {status:?}").into());
    }
    if !head.contains("transfer-encoding: chunked") {
        return Ok(rest.to_vec());
    }
    let mut whole = Vec::new();
    let mut rest = rest;
    loop {
        let line = rest
            .windows(2)
            .position(|window| window == b"\r\n")
            .ok_or("the answer breaks off")?;
        let (size, after) = rest.split_at(line);
        let size = usize::from_str_radix(String::from_utf8_lossy(size).trim(), 16)
            .map_err(|_| "the answer is no HTTP")?;
        if size == 0 {
            return Ok(whole);
        }
        let chunk = after.get(2..).unwrap_or_default();
        whole.extend_from_slice(chunk.get(..size).ok_or("the answer breaks off")?);
        rest = chunk.get(size.saturating_add(2)..).unwrap_or_default();
    }
}

/// API version, plural and kind of what is read, in the order of [`Objects`].
const KINDS: [(&str, &str, &str); 6] = [
    ("projectcontour.io/v1", "httpproxies", "HTTPProxy"),
    ("networking.k8s.io/v1", "ingresses", "Ingress"),
    ("gateway.networking.k8s.io/v1", "httproutes", "HTTPRoute"),
    ("v1", "services", "Service"),
    ("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"),
    ("discovery.k8s.io/v1", "endpointslices", "EndpointSlice"),
];

fn objects(args: &EdgeCheckArgs) -> Result<Objects, AnyError> {
    let read: Vec<Option<Vec<Value>>> = match &args.manifests {
        Some(folder) => KINDS
            .iter()
            .map(|(version, _, kind)| manifests::objects(folder, version, kind).map(Some))
            .collect::<Result<_, _>>()?,
        None => {
            // The process may have one already.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(from_api(args))?
        }
    };
    let mut read = read.into_iter();
    let mut next = || read.next().flatten();
    Ok(Objects {
        proxies: next(),
        ingresses: next(),
        http_routes: next(),
        services: next(),
        policies: next(),
        endpoints: next(),
    })
}

async fn from_api(args: &EdgeCheckArgs) -> Result<Vec<Option<Vec<Value>>>, AnyError> {
    let api = kubernetes::connect(args.kubeconfig.as_deref()).await?;
    // Whether there is a cluster at all: what a kind's list says later may be about the kind.
    api.get("/version").await?;
    let mut read = Vec::new();
    for (version, plural, kind) in KINDS {
        let listed = listed(&api, version, plural).await;
        // A list's items say neither.
        read.push(listed.map(|mut items| {
            for item in &mut items {
                item["apiVersion"] = version.into();
                item["kind"] = kind.into();
            }
            items
        }));
    }
    Ok(read)
}

/// What there is of a kind: nothing where the kind is not there, `None` where it may not be read.
async fn listed(api: &Api, version: &str, plural: &str) -> Option<Vec<Value>> {
    match api
        .get(&format!("{}?limit=1", collection(version, plural)))
        .await
    {
        Ok(_) => list(api, version, plural, None).await.ok(),
        Err(ApiError::NotFound(_) | ApiError::NotServed(_)) => Some(Vec::new()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_whole_or_in_chunks_and_no_other_way() {
        let plain = b"HTTP/1.1 200 OK\r\nserver: envoy\r\n\r\n{}";
        assert_eq!(body(plain).unwrap(), b"{}");
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(body(chunked).unwrap(), b"abcde");
        for (answer, want) in [
            (&b"HTTP/1.1 404 Not Found\r\n\r\n"[..], "it answers \"404\""),
            (b"", "the answer is no HTTP"),
            (
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
                "the answer breaks off",
            ),
            (
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
                "the answer is no HTTP",
            ),
        ] {
            assert_eq!(body(answer).unwrap_err().to_string(), want);
        }
    }
}

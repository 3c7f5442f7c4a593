//! The server as an Envoy sees it: a real gRPC client over loopback.

mod mutual_tls;

use std::sync::Mutex;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::envoy::service::extension::v3::extension_config_discovery_service_client::ExtensionConfigDiscoveryServiceClient;
use envoy_types::pb::google::rpc;
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::{Service, http};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

use super::resource::TYPE_URL;
use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    address: SocketAddr,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    edges: Arc<Edges>,
    reports: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), XdsError>>,
}

impl Server {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    async fn start_with(tls: Option<LoadedTls>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (snapshots, watching) = watch::channel(None);
        let edges = Arc::new(Edges::default());
        let reports = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let sink: ReportSink = {
            let reports = Arc::clone(&reports);
            Arc::new(move |body| {
                if body == b"bad" {
                    return Err("not a report".to_owned());
                }
                reports.lock().unwrap().push(body.to_vec());
                Ok(())
            })
        };
        let told = Arc::clone(&edges);
        let served = tokio::spawn(async move {
            serve(listener, tls, watching, told, sink, stopped.map(drop)).await
        });
        Self {
            address,
            snapshots,
            edges,
            reports,
            stop: Some(stop),
            served,
        }
    }

    fn publish(&self, version: &str) {
        self.snapshots
            .send_replace(Some(Arc::new(snapshot(version))));
    }

    async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    async fn envoy(&self) -> Envoy {
        Envoy::over(self.channel().await).await
    }

    async fn report(&self, method: http::Method, body: Vec<u8>) -> (u16, usize) {
        let mut channel = self.channel().await;
        std::future::poll_fn(|context| Service::poll_ready(&mut channel, context))
            .await
            .unwrap();
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://{}{REPORT_PATH}", self.address))
            .body(tonic::body::Body::new(axum::body::Body::from(body)))
            .unwrap();
        let response = channel.call(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(axum::body::Body::new(response.into_body()), 1024).await;
        (status, body.unwrap().len())
    }
}

/// The state-of-the-world dialect, as Envoy speaks it.
struct Envoy {
    requests: mpsc::Sender<DiscoveryRequest>,
    pushes: Streaming<DiscoveryResponse>,
}

impl Envoy {
    async fn over(channel: Channel) -> Self {
        let (requests, inbox) = mpsc::channel(8);
        requests.send(subscription()).await.unwrap();
        let pushes = ExtensionConfigDiscoveryServiceClient::new(channel)
            .max_decoding_message_size(usize::MAX)
            .stream_extension_configs(ReceiverStream::new(inbox))
            .await
            .unwrap()
            .into_inner();
        Self { requests, pushes }
    }

    async fn next(&mut self) -> DiscoveryResponse {
        tokio::time::timeout(PATIENCE, self.pushes.message())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    }

    async fn answer(&self, push: &DiscoveryResponse, error: Option<&str>) {
        let request = DiscoveryRequest {
            version_info: if error.is_none() {
                push.version_info.clone()
            } else {
                String::new()
            },
            response_nonce: push.nonce.clone(),
            error_detail: error.map(|message| rpc::Status {
                message: message.to_owned(),
                ..rpc::Status::default()
            }),
            ..subscription()
        };
        self.requests.send(request).await.unwrap();
    }
}

fn subscription() -> DiscoveryRequest {
    DiscoveryRequest {
        node: Some(Node {
            id: "envoy-a".to_owned(),
            ..Node::default()
        }),
        resource_names: vec![RESOURCE.to_owned()],
        type_url: TYPE_URL.to_owned(),
        ..DiscoveryRequest::default()
    }
}

fn snapshot(version: &str) -> Snapshot {
    Snapshot {
        version: version.to_owned(),
        wasm: Arc::from(&b"\0asm"[..]),
        table: format!("{{\"version\":\"{version}\"}}"),
        hold_headers: true,
    }
}

/// Waits until the server has noticed; what it should notice is in `seen`.
async fn until(edges: &Edges, seen: impl Fn(&EdgeStatus) -> bool) {
    let noticed = async {
        while !edges.list().iter().any(&seen) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, noticed).await.unwrap();
}

#[tokio::test]
async fn nothing_is_pushed_before_the_first_snapshot_and_then_it_is_at_once() {
    let server = Server::start().await;
    let mut envoy = server.envoy().await;
    until(&server.edges, |edge| edge.node == "envoy-a").await;
    assert!(envoy.pushes.message().now_or_never().is_none());
    assert_eq!(
        server.edges.counts(),
        Counts {
            streams: 1,
            ..Counts::default()
        }
    );
    server.publish("1");
    assert_eq!(envoy.next().await.version_info, "1");
}

#[tokio::test]
async fn a_push_carries_the_one_resource() {
    let server = Server::start().await;
    server.publish("1");
    let push = server.envoy().await.next().await;
    assert_eq!(
        (push.type_url.as_str(), push.resources.len()),
        (TYPE_URL, 1)
    );
    assert_eq!(push.resources, [snapshot("1").resource()]);
}

#[tokio::test]
async fn a_version_is_pushed_once_and_the_next_one_when_it_comes() {
    let server = Server::start().await;
    server.publish("1");
    let mut envoy = server.envoy().await;
    let push = envoy.next().await;
    envoy.answer(&push, None).await;
    until(&server.edges, |edge| edge.acked.as_deref() == Some("1")).await;
    server.publish("1");
    server.publish("2");
    assert_eq!(envoy.next().await.version_info, "2");
    assert_eq!(server.edges.counts().pushes, 2);
}

#[tokio::test]
async fn a_refusal_is_recorded_and_the_version_not_pushed_again() {
    let server = Server::start().await;
    server.publish("1");
    let mut envoy = server.envoy().await;
    let push = envoy.next().await;
    envoy.answer(&push, Some("bad\ntable")).await;
    until(&server.edges, |edge| edge.nack.is_some()).await;
    server.publish("1");
    server.publish("2");
    let push = envoy.next().await;
    assert_eq!(push.version_info, "2");
    let nack = server.edges.list()[0].nack.clone().unwrap();
    assert_eq!(
        (nack.version.as_str(), nack.message.as_str()),
        ("1", "bad\\ntable")
    );
    envoy.answer(&push, None).await;
    until(&server.edges, |edge| {
        edge.acked.as_deref() == Some("2") && edge.nack.is_none()
    })
    .await;
    assert_eq!(
        server.edges.counts(),
        Counts {
            streams: 1,
            pushes: 2,
            acks: 1,
            nacks: 1,
            ..Counts::default()
        }
    );
}

#[tokio::test]
async fn two_replicas_with_equal_inputs_push_equal_resources() {
    let (one, two) = (Server::start().await, Server::start().await);
    one.publish("1");
    two.publish("1");
    assert_eq!(
        one.envoy().await.next().await,
        two.envoy().await.next().await
    );
}

#[tokio::test]
async fn a_snapshot_of_many_megabytes_arrives_whole() {
    let server = Server::start().await;
    let large = Snapshot {
        table: "x".repeat(16 << 20),
        ..snapshot("1")
    };
    server.snapshots.send_replace(Some(Arc::new(large.clone())));
    assert_eq!(
        server.envoy().await.next().await.resources,
        [large.resource()]
    );
}

#[tokio::test]
async fn an_envoy_that_names_something_else_gets_nothing_and_a_foreign_type_ends_the_stream() {
    let server = Server::start().await;
    server.publish("1");
    let mut envoy = server.envoy().await;
    envoy.next().await;
    let other = DiscoveryRequest {
        resource_names: vec!["other".to_owned()],
        ..subscription()
    };
    envoy.requests.send(other).await.unwrap();
    let foreign = DiscoveryRequest {
        type_url: "type.googleapis.com/x".to_owned(),
        ..subscription()
    };
    envoy.requests.send(foreign).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, envoy.pushes.message())
        .await
        .unwrap();
    assert_eq!(end.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn the_delta_dialect_pushes_acknowledges_and_spares_what_is_held() {
    let server = Server::start().await;
    server.publish("1");
    let (requests, inbox) = mpsc::channel(8);
    let subscribe = DeltaDiscoveryRequest {
        node: Some(Node {
            id: "envoy-d".to_owned(),
            ..Node::default()
        }),
        type_url: TYPE_URL.to_owned(),
        resource_names_subscribe: vec![RESOURCE.to_owned()],
        ..DeltaDiscoveryRequest::default()
    };
    let held = [(RESOURCE.to_owned(), "1".to_owned())].into();
    requests
        .send(DeltaDiscoveryRequest {
            initial_resource_versions: held,
            ..subscribe.clone()
        })
        .await
        .unwrap();
    let mut pushes: Streaming<DeltaDiscoveryResponse> =
        ExtensionConfigDiscoveryServiceClient::new(server.channel().await)
            .delta_extension_configs(ReceiverStream::new(inbox))
            .await
            .unwrap()
            .into_inner();
    until(&server.edges, |edge| edge.acked.as_deref() == Some("1")).await;
    server.publish("2");
    let push = tokio::time::timeout(PATIENCE, pushes.message())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(push.system_version_info, "2");
    assert_eq!(
        (
            push.resources[0].name.as_str(),
            push.resources[0].version.as_str()
        ),
        (RESOURCE, "2")
    );
    assert_eq!(push.resources[0].resource, Some(snapshot("2").resource()));
    let ack = DeltaDiscoveryRequest {
        response_nonce: push.nonce,
        resource_names_subscribe: Vec::new(),
        ..subscribe
    };
    requests.send(ack).await.unwrap();
    until(&server.edges, |edge| edge.acked.as_deref() == Some("2")).await;
    assert_eq!(server.edges.counts().pushes, 1);
}

#[tokio::test]
async fn polling_is_refused() {
    let server = Server::start().await;
    let refused = ExtensionConfigDiscoveryServiceClient::new(server.channel().await)
        .fetch_extension_configs(subscription())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_stop_ends_the_streams_and_the_server() {
    let mut server = Server::start().await;
    server.publish("1");
    let mut envoy = server.envoy().await;
    envoy.next().await;
    server.stop.take().unwrap().send(()).unwrap();
    let end = tokio::time::timeout(PATIENCE, envoy.pushes.message())
        .await
        .unwrap();
    assert_eq!(end.unwrap_err().code(), Code::Unavailable);
    tokio::time::timeout(PATIENCE, &mut server.served)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(server.edges.counts().streams, 0);
    assert_eq!(server.edges.list()[0].connected_since, None);
}

#[tokio::test]
async fn the_table_is_got_once_a_version_and_not_before_there_is_one() {
    let server = Server::start().await;
    let ask = async |tag: Option<&str>| {
        let mut channel = server.channel().await;
        std::future::poll_fn(|context| Service::poll_ready(&mut channel, context))
            .await
            .unwrap();
        let mut request =
            http::Request::builder().uri(format!("http://{}/edge/table", server.address));
        if let Some(tag) = tag {
            request = request.header("if-none-match", tag);
        }
        let request = request.body(tonic::body::Body::empty()).unwrap();
        let answer = channel.call(request).await.unwrap();
        let tag = answer.headers().get("etag").cloned();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(axum::body::Body::new(answer.into_body()), 1024).await;
        let tag = tag.map(|tag| tag.to_str().unwrap().to_owned());
        let body = String::from_utf8(body.unwrap().to_vec()).unwrap();
        (status, tag, body)
    };
    let table = |version: &str| {
        let tag = Some(format!("\"{version}\""));
        (200, tag, snapshot(version).table)
    };
    assert_eq!(ask(None).await, (503, None, String::new()));
    server.publish("1");
    assert_eq!(ask(None).await, table("1"));
    assert_eq!(
        ask(Some("\"1\"")).await,
        (304, Some("\"1\"".to_owned()), String::new())
    );
    server.publish("2");
    assert_eq!(ask(Some("\"1\"")).await, table("2"));
    assert_eq!(ask(Some("2")).await, table("2"));
}

#[tokio::test]
async fn an_edge_report_reaches_the_sink_and_bad_ones_get_a_bare_status() {
    let server = Server::start().await;
    let post = http::Method::POST;
    assert_eq!(server.report(post.clone(), b"{}".to_vec()).await, (204, 0));
    assert_eq!(server.report(post.clone(), b"bad".to_vec()).await, (400, 0));
    assert_eq!(
        server.report(post.clone(), vec![b'x'; 256 * 1024]).await,
        (204, 0)
    );
    assert_eq!(
        server.report(post, vec![b'x'; 256 * 1024 + 1]).await,
        (413, 0)
    );
    assert_eq!(server.report(http::Method::GET, Vec::new()).await, (405, 0));
    let sizes: Vec<_> = server
        .reports
        .lock()
        .unwrap()
        .iter()
        .map(Vec::len)
        .collect();
    assert_eq!(sizes, [2, 256 * 1024]);
}

#[test]
fn only_loopback_or_tls_or_an_explicit_wish_opens_the_port() {
    let tls = XdsTls {
        cert: "/c".into(),
        key: "/k".into(),
        client_ca: "/a".into(),
    };
    let (inside, outside) = (
        SocketAddr::from(([127, 0, 0, 1], 18000)),
        SocketAddr::from(([0, 0, 0, 0], 18000)),
    );
    assert!(bind_policy(inside, None, false).is_ok());
    assert!(
        bind_policy(
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 1)),
            None,
            false
        )
        .is_ok()
    );
    assert!(bind_policy(outside, Some(&tls), false).is_ok());
    assert!(bind_policy(outside, None, true).is_ok());
    assert_eq!(
        bind_policy(outside, None, false).unwrap_err().to_string(),
        "xDS address 0.0.0.0:18000 is not loopback and has no TLS: give --xds-cert, --xds-key and --xds-client-ca, bind 127.0.0.1:18000, or accept readers of the table with --xds-insecure",
    );
}

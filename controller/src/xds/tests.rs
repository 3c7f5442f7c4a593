//! The server as an Envoy sees it: a real gRPC client over loopback.

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

mod mutual_tls {
    use std::path::Path;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tonic::transport::{Certificate, ClientTlsConfig, Identity};

    use super::*;

    type Ca = CertifiedIssuer<'static, KeyPair>;

    fn ca() -> Ca {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// Certificate and key for `localhost`, signed by `ca`.
    fn leaf(ca: &Ca) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (
            params.signed_by(&key, ca).unwrap().pem(),
            key.serialize_pem(),
        )
    }

    fn files(folder: &Path, ca: &Ca) -> XdsTls {
        let (cert, key) = leaf(ca);
        for (name, text) in [("tls.crt", cert), ("tls.key", key), ("ca.crt", ca.pem())] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        XdsTls {
            cert: folder.join("tls.crt"),
            key: folder.join("tls.key"),
            client_ca: folder.join("ca.crt"),
        }
    }

    fn identity(ca: &Ca) -> Option<Identity> {
        let (cert, key) = leaf(ca);
        Some(Identity::from_pem(cert, key))
    }

    async fn subscribe(
        server: &Server,
        ca: &Ca,
        identity: Option<Identity>,
    ) -> Result<String, String> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(ca.pem()))
            .domain_name("localhost");
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        let channel = Endpoint::from_shared(format!("https://{}", server.address))
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect()
            .await
            .map_err(|error| error.to_string())?;
        let (requests, inbox) = mpsc::channel(1);
        requests.send(subscription()).await.unwrap();
        let mut pushes = ExtensionConfigDiscoveryServiceClient::new(channel)
            .stream_extension_configs(ReceiverStream::new(inbox))
            .await
            .map_err(|status| status.to_string())?
            .into_inner();
        let push = pushes
            .message()
            .await
            .map_err(|status| status.to_string())?;
        Ok(push.unwrap().version_info)
    }

    #[tokio::test]
    async fn only_an_envoy_with_a_certificate_of_the_client_ca_gets_the_table() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (ca(), ca());
        let tls = files(folder.path(), &ours).load().await.unwrap();
        let server = Server::start_with(Some(tls)).await;
        server.publish("1");
        assert_eq!(
            subscribe(&server, &ours, identity(&ours)).await,
            Ok("1".to_owned())
        );
        assert!(subscribe(&server, &ours, identity(&theirs)).await.is_err());
        assert!(subscribe(&server, &ours, None).await.is_err());
        assert_eq!(server.edges.counts().pushes, 1);
    }

    #[tokio::test]
    async fn a_client_that_does_not_finish_its_handshake_delays_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let ours = ca();
        let tls = files(folder.path(), &ours).load().await.unwrap();
        let server = Server::start_with(Some(tls)).await;
        server.publish("1");
        let _silent = tokio::net::TcpStream::connect(server.address)
            .await
            .unwrap();
        let got = tokio::time::timeout(
            Duration::from_secs(5),
            subscribe(&server, &ours, identity(&ours)),
        );
        assert_eq!(got.await.unwrap(), Ok("1".to_owned()));
    }

    /// As Kubernetes does it: a new folder, and a symlink that is renamed over the old one.
    fn swap(folder: &Path, name: &str, fill: impl FnOnce(&Path)) {
        let next = folder.join(name);
        std::fs::create_dir(&next).unwrap();
        fill(&next);
        let link = folder.join("..data.tmp");
        std::os::unix::fs::symlink(name, &link).unwrap();
        std::fs::rename(&link, folder.join("..data")).unwrap();
    }

    #[tokio::test]
    async fn renewed_files_come_into_use_and_bad_ones_leave_the_last_good_ones() {
        let folder = tempfile::tempdir().unwrap();
        let mounted = folder.path().join("..data");
        let (old, new) = (ca(), ca());
        swap(folder.path(), "..1", |next| drop(files(next, &old)));
        let names = XdsTls {
            cert: mounted.join("tls.crt"),
            key: mounted.join("tls.key"),
            client_ca: mounted.join("ca.crt"),
        };
        // The server's own looks come too late to count here: the test looks by hand.
        let mut following = names.load().await.unwrap();
        let server = Server::start_with(Some(following.twin())).await;
        server.publish("1");
        let edges = Arc::clone(&server.edges);
        let good = Ok("1".to_owned());
        assert_eq!(subscribe(&server, &old, identity(&old)).await, good);

        swap(folder.path(), "..2", |next| {
            drop(files(next, &new));
            std::fs::write(next.join("tls.key"), leaf(&new).1).unwrap();
        });
        following.look(&edges).await;
        assert_eq!(edges.counts().tls_reload_failures, 0, "read once only");
        following.look(&edges).await;
        following.look(&edges).await;
        assert_eq!(edges.counts().tls_reload_failures, 1, "told once");
        assert_eq!(subscribe(&server, &old, identity(&old)).await, good);

        swap(folder.path(), "..3", |next| drop(files(next, &new)));
        following.look(&edges).await;
        following.look(&edges).await;
        assert_eq!(subscribe(&server, &new, identity(&new)).await, good);
        assert!(subscribe(&server, &new, identity(&old)).await.is_err());
        let counts = edges.counts();
        assert_eq!((counts.tls_reloads, counts.tls_reload_failures), (1, 1));

        std::fs::remove_file(mounted.join("tls.key")).unwrap();
        following.look(&edges).await;
        assert_eq!(edges.counts().tls_reload_failures, 2);
        assert_eq!(subscribe(&server, &new, identity(&new)).await, good);
    }

    #[tokio::test]
    async fn files_that_cannot_be_used_are_named_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let good = files(folder.path(), &ca());
        let text = |error: XdsError| {
            let cause = std::error::Error::source(&error).unwrap().to_string();
            format!("{error}: {cause}")
        };
        let set_up = "failed to set up TLS for xDS: check that --xds-cert, --xds-key and --xds-client-ca are PEM and belong together";
        let missing = XdsTls {
            key: folder.path().join("none.key"),
            ..good.clone()
        };
        let wanted = format!("failed to read xDS TLS file {:?}", missing.key);
        assert_eq!(missing.load().await.unwrap_err().to_string(), wanted);
        let no_key = XdsTls {
            key: good.cert.clone(),
            ..good.clone()
        };
        let wanted = format!(
            "{set_up}: {:?} is not the PEM file that is wanted",
            no_key.key
        );
        assert_eq!(text(no_key.load().await.unwrap_err()), wanted);
        let no_ca = XdsTls {
            client_ca: good.key.clone(),
            ..good.clone()
        };
        let wanted = format!(
            "{set_up}: {:?} holds no CA certificate that can be used",
            no_ca.client_ca
        );
        assert_eq!(text(no_ca.load().await.unwrap_err()), wanted);
        std::fs::write(&good.key, leaf(&ca()).1).unwrap();
        assert_eq!(
            text(good.load().await.unwrap_err()),
            format!("{set_up}: failed to use the certificate with its key")
        );
    }
}

//! The gRPC service: two dialects of one conversation, driven over a stream.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use envoy_types::pb::envoy::service::extension::v3::extension_config_discovery_service_server::{
    ExtensionConfigDiscoveryService, ExtensionConfigDiscoveryServiceServer,
};
use envoy_types::pb::google::protobuf::Any;
use futures_util::Stream;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::conversation::{Answer, Conversation, Heard, Wants};
use super::edges::{Edges, Session};
use super::resource::{RESOURCE, Snapshot, TYPE_URL};

/// An Envoy names its extensions in its first request: some 100 KiB.
const REQUEST_LIMIT: usize = 1 << 20;

type Outbound<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service, shared by all streams.
pub(super) struct Ecds {
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    edges: Arc<Edges>,
    stopping: watch::Receiver<bool>,
    encoded: Arc<Encoded>,
}

impl Ecds {
    /// A service that pushes `snapshots` until `stopping` turns true.
    pub(super) fn new(
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        edges: Arc<Edges>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            snapshots,
            edges,
            stopping,
            encoded: Arc::default(),
        }
    }

    /// The service with its limits, ready to be routed to.
    pub(super) fn into_server(self) -> ExtensionConfigDiscoveryServiceServer<Self> {
        ExtensionConfigDiscoveryServiceServer::new(self).max_decoding_message_size(REQUEST_LIMIT)
    }

    fn open<D: Dialect>(
        &self,
        request: Request<Streaming<D>>,
    ) -> Result<Response<Outbound<D::Response>>, Status> {
        let session = self.edges.connect(request.remote_addr()).ok_or_else(|| {
            tracing::warn!("refused an xDS stream: too many are open");
            Status::resource_exhausted("too many xDS streams, try another replica")
        })?;
        let (outbound, inbox) = mpsc::channel(1);
        let stream = Driver {
            inbound: request.into_inner(),
            outbound,
            snapshots: self.snapshots.clone(),
            stopping: self.stopping.clone(),
            encoded: Arc::clone(&self.encoded),
            session,
            conversation: Conversation::default(),
        };
        tokio::spawn(stream.run());
        Ok(Response::new(Box::pin(ReceiverStream::new(inbox))))
    }
}

#[tonic::async_trait]
impl ExtensionConfigDiscoveryService for Ecds {
    type StreamExtensionConfigsStream = Outbound<DiscoveryResponse>;
    type DeltaExtensionConfigsStream = Outbound<DeltaDiscoveryResponse>;

    async fn stream_extension_configs(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamExtensionConfigsStream>, Status> {
        self.open(request)
    }

    async fn delta_extension_configs(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaExtensionConfigsStream>, Status> {
        self.open(request)
    }

    async fn fetch_extension_configs(
        &self,
        _request: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented(
            "polling is not served: use a gRPC stream (api_type GRPC or DELTA_GRPC)",
        ))
    }
}

/// The resource of the newest snapshot, encoded once for all streams.
#[derive(Default)]
struct Encoded(Mutex<Option<(Arc<Snapshot>, Any)>>);

impl Encoded {
    fn resource(&self, snapshot: &Arc<Snapshot>) -> Any {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((of, resource)) if Arc::ptr_eq(of, snapshot) => resource.clone(),
            Some(_) | None => {
                let resource = snapshot.resource();
                *kept = Some((Arc::clone(snapshot), resource.clone()));
                resource
            }
        }
    }
}

/// State of the world, or delta.
trait Dialect: Sized + Send + 'static {
    type Response: Send + 'static;

    fn type_url(&self) -> &str;
    fn node(&self) -> Option<&Node>;
    fn hear(self) -> Heard;
    fn push(version: &str, nonce: String, resource: Any) -> Self::Response;
}

impl Dialect for DiscoveryRequest {
    type Response = DiscoveryResponse;

    fn type_url(&self) -> &str {
        &self.type_url
    }

    fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// Each request names all that is wanted. What the Envoy ran before is not trusted: it may have
    /// dropped the resource since, and an equal one costs it nothing.
    fn hear(self) -> Heard {
        let named = self.resource_names.iter().any(|name| name == RESOURCE);
        Heard {
            wants: Some(if named { Wants::Named } else { Wants::Nothing }),
            nonce: self.response_nonce,
            error: self.error_detail.map(|status| status.message),
        }
    }

    fn push(version: &str, nonce: String, resource: Any) -> DiscoveryResponse {
        DiscoveryResponse {
            version_info: version.to_owned(),
            resources: vec![resource],
            type_url: TYPE_URL.to_owned(),
            nonce,
            ..DiscoveryResponse::default()
        }
    }
}

impl Dialect for DeltaDiscoveryRequest {
    type Response = DeltaDiscoveryResponse;

    fn type_url(&self) -> &str {
        &self.type_url
    }

    fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    fn hear(mut self) -> Heard {
        let names = |list: &[String]| list.iter().any(|name| name == RESOURCE);
        let wants = if names(&self.resource_names_subscribe) {
            Some(Wants::Subscribe {
                holds: self.initial_resource_versions.remove(RESOURCE),
            })
        } else if names(&self.resource_names_unsubscribe) {
            Some(Wants::Nothing)
        } else {
            None
        };
        Heard {
            wants,
            nonce: self.response_nonce,
            error: self.error_detail.map(|status| status.message),
        }
    }

    fn push(version: &str, nonce: String, resource: Any) -> DeltaDiscoveryResponse {
        DeltaDiscoveryResponse {
            system_version_info: version.to_owned(),
            resources: vec![Resource {
                name: RESOURCE.to_owned(),
                version: version.to_owned(),
                resource: Some(resource),
                ..Resource::default()
            }],
            type_url: TYPE_URL.to_owned(),
            nonce,
            ..DeltaDiscoveryResponse::default()
        }
    }
}

/// One stream, from its first request to its end.
struct Driver<D: Dialect> {
    inbound: Streaming<D>,
    outbound: mpsc::Sender<Result<D::Response, Status>>,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    stopping: watch::Receiver<bool>,
    encoded: Arc<Encoded>,
    session: Session,
    conversation: Conversation,
}

impl<D: Dialect> Driver<D> {
    async fn run(mut self) {
        let mut fed = true;
        // A handle of its own: a permit borrows it while the conversation goes on.
        let outbound = self.outbound.clone();
        loop {
            let due = self
                .snapshots
                .borrow_and_update()
                .clone()
                .filter(|snapshot| self.conversation.owes(&snapshot.version));
            tokio::select! {
                () = stopped(&mut self.stopping) => {
                    let goodbye = Status::unavailable("the controller stops, try another replica");
                    // The client may be gone, or busy with a push: either way the stream ends.
                    let _ = self.outbound.try_send(Err(goodbye));
                    return;
                }
                () = self.outbound.closed() => return,
                request = self.inbound.message() => match request {
                    Ok(Some(request)) => if let Err(status) = self.hear(request) {
                        let _ = self.outbound.send(Err(status)).await;
                        return;
                    },
                    Ok(None) | Err(_) => return,
                },
                changed = self.snapshots.changed(), if fed => fed = changed.is_ok(),
                permit = outbound.reserve(), if due.is_some() => {
                    let (Ok(permit), Some(snapshot)) = (permit, due) else { return };
                    let nonce = self.conversation.tell(&snapshot.version);
                    let resource = self.encoded.resource(&snapshot);
                    permit.send(Ok(D::push(&snapshot.version, nonce, resource)));
                    self.session.pushed(&snapshot.version);
                }
            }
        }
    }

    fn hear(&mut self, request: D) -> Result<(), Status> {
        if !matches!(request.type_url(), "" | TYPE_URL) {
            return Err(Status::invalid_argument(format!(
                "only {TYPE_URL} is served here"
            )));
        }
        if let Some(node) = request.node() {
            self.session.named(&node.id);
        }
        match self.conversation.hear(request.hear()) {
            None => {}
            Some(Answer::Acked(version)) => {
                tracing::debug!(
                    node = self.session.node(),
                    version,
                    "Envoy runs this version"
                );
                self.session.acked(version);
            }
            Some(Answer::Nacked(version, message)) => {
                let message = self.session.nacked(version.clone(), &message);
                tracing::error!(
                    node = self.session.node(),
                    version,
                    message,
                    "Envoy refused this version and keeps the last good one"
                );
            }
        }
        Ok(())
    }
}

/// Completes when the server stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the server is gone already.
    let _ = stopping.wait_for(|stop| *stop).await;
}

//! stub
use crate::args::RunArgs;
use crate::metrics::Metrics;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct XdsError;
#[derive(Debug, Default)]
pub struct Edges;
impl Edges {
    pub fn describe(&self) -> serde_json::Value {
        serde_json::json!([])
    }
}
#[derive(Debug)]
pub struct Snapshot {
    pub version: String,
    pub wasm: Arc<[u8]>,
    pub table: String,
    pub hold_headers: bool,
}
pub struct XdsTls;
impl XdsTls {
    pub fn from_args(_: &RunArgs) -> Result<Option<Self>, XdsError> {
        Ok(None)
    }
}
pub fn bind_policy(_: SocketAddr, _: Option<&XdsTls>, _: bool) -> Result<(), XdsError> {
    Ok(())
}
pub type ReportSink = Arc<dyn Fn(&[u8]) -> Result<(), &'static str> + Send + Sync>;
pub async fn serve(
    _: tokio::net::TcpListener,
    _: watch::Receiver<Option<Arc<Snapshot>>>,
    _: Arc<Edges>,
    _: Arc<Metrics>,
    _: ReportSink,
    _: Option<XdsTls>,
    _: watch::Receiver<bool>,
) -> Result<(), XdsError> {
    Ok(())
}

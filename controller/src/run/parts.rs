//! What has to be had before anything is served.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::RunError;
use super::listeners::Listeners;
use super::source::Source;
use crate::args::RunArgs;
use crate::control::Socket;
use crate::notify::service;
use crate::notify::spool::Spool;
use crate::trigger::select::Reach;
use crate::{authz, xds};

/// A wasm module larger than this is not ours.
const MAX_FILTER: usize = 16 * 1024 * 1024;

/// As notification-controller words it.
const DEFAULT_WITHOUT_GATE: &str = "cannot set default service accounts when the feature gate \
     ObjectLevelWorkloadIdentity is not enabled; give --feature-gates=ObjectLevelWorkloadIdentity=true";

/// Everything that a start can fail for.
pub(super) struct Parts {
    pub(super) tls: Option<xds::LoadedTls>,
    /// The filter's.
    pub(super) code: Arc<[u8]>,
    pub(super) source: Source,
    pub(super) reach: Reach,
    pub(super) spool: Arc<Spool>,
    pub(super) listeners: Listeners,
    pub(super) socket: Socket,
}

impl Parts {
    /// Opens and binds all of it.
    pub(super) async fn open(
        args: &RunArgs,
        stopped: watch::Receiver<bool>,
    ) -> Result<Self, RunError> {
        let is_allowed = args.cluster.gate("ObjectLevelWorkloadIdentity");
        if args.events.default_service_account.is_some() && !is_allowed {
            return Err(RunError::Flags(DEFAULT_WITHOUT_GATE.to_owned()));
        }
        let tls = xds_tls(args);
        xds::bind_policy(args.xds_addr, tls.as_ref(), args.xds_insecure)?;
        if let Some(address) = args.ext_authz_addr {
            authz::bind_policy(address, tls.is_some(), args.ext_authz_insecure)?;
        }
        let tls = match tls {
            Some(files) => Some(files.load().await?),
            None => None,
        };
        let code = read_filter(&filter_path(args))?;
        let (source, reach) = Source::open(args, stopped).await?;
        Ok(Self {
            tls,
            code,
            source,
            reach,
            spool: service::open_spool(&args.events)?,
            listeners: Listeners::bind(args)?,
            socket: Socket::bind(&args.control_socket).await?,
        })
    }
}

fn xds_tls(args: &RunArgs) -> Option<xds::XdsTls> {
    let (cert, key) = (args.xds_cert.clone()?, args.xds_key.clone()?);
    Some(xds::XdsTls {
        cert,
        key,
        client_ca: args.xds_client_ca.clone()?,
    })
}

fn filter_path(args: &RunArgs) -> PathBuf {
    args.filter.clone().unwrap_or_else(|| {
        let beside = std::env::current_exe().ok();
        beside
            .and_then(|exe| Some(exe.parent()?.join("filter.wasm")))
            .unwrap_or_default()
    })
}

fn read_filter(path: &Path) -> Result<Arc<[u8]>, RunError> {
    let code = std::fs::read(path).map_err(|source| RunError::Filter {
        path: path.to_owned(),
        source,
    })?;
    if !code.starts_with(b"\0asm") || code.len() > MAX_FILTER {
        return Err(RunError::NotWasm(path.to_owned()));
    }
    Ok(code.into())
}

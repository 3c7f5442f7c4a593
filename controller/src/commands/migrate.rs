//! `hookgate migrate --check`: what would change when Hookgate takes over from notification-controller.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgAction, Args, Parser as _};
use serde_json::Value;

use super::explain::PATIENCE;
use super::{AnyError, print};
use crate::args::RunArgs;
use crate::kubernetes::{self, Api, Key, Live, WatchSettings};
use crate::manifests;
use crate::migrate::{self, ALERTS_API_VERSION, Plans, Today};
use crate::objects::Snapshot;
use crate::publish;
use crate::trigger::select::Reach;

/// Say, object by object, what would change when hookgate takes over from notification-controller
///
/// Reads Receivers, Alerts, Providers and the Secrets that Receivers name, changes nothing, and prints no secret and no path.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookgate migrate --check\n  hookgate migrate --check --manifests ./manifests\n  hookgate migrate --check -- --no-cross-namespace-refs --min-signature-hash=sha256\n\nExit codes: 0 nothing has to be done, 1 something needs attention or could not be read, 2 wrong arguments."
)]
pub(super) struct MigrateArgs {
    /// Look, and change nothing. There is no other way yet, so it must be given
    #[arg(long, required = true, num_args = 0, default_missing_value = "true", action = ArgAction::Set)]
    check: bool,

    /// Folder of manifests, in place of a cluster
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,

    /// Configuration of the cluster to read, where hookgate does not run in it
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,

    /// The arguments that hookgate will run with, as of notification-controller's Deployment
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

pub(super) fn run(args: &MigrateArgs) -> Result<ExitCode, AnyError> {
    let words = std::iter::once("hookgate run").chain(args.arguments.iter().map(String::as_str));
    let mut flags = match RunArgs::try_parse_from(words) {
        Ok(flags) => flags,
        Err(error) => {
            let _ = error.print();
            return Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)));
        }
    };
    if let Err(error) = flags.cluster.check() {
        let _ = writeln!(std::io::stderr(), "hookgate: {error}");
        return Ok(ExitCode::from(2));
    }
    flags.manifests = args.manifests.clone().or(flags.manifests);
    flags.cluster.kubeconfig = args.kubeconfig.clone().or(flags.cluster.kubeconfig);
    let read = match &flags.manifests {
        Some(folder) => Read::folder(folder)?,
        None => Read::cluster(&flags)?,
    };
    let reach = Reach {
        no_cross_namespace_refs: flags.no_cross_namespace_refs,
        only_namespace: read.only_namespace,
    };
    let options = crate::run::options(&flags, reach);
    let compiled = publish::compile(read.snapshot, &BTreeMap::new(), &options, &[]);
    let today = Today {
        compiled: &compiled,
        lives: &read.lives,
        alerts: &read.alerts,
        providers: &read.providers,
    };
    let plans = Plans {
        options: &options,
        allow_metadata_addresses: flags.allow_metadata_addresses,
    };
    let report = migrate::check(&today, &plans);
    print(&report.to_string())?;
    Ok(match report.to_act_on() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// What there is today.
struct Read {
    snapshot: Arc<Snapshot>,
    lives: BTreeMap<Key, Live>,
    alerts: Vec<Value>,
    providers: Vec<Value>,
    only_namespace: Option<String>,
}

impl Read {
    fn folder(folder: &Path) -> Result<Self, AnyError> {
        Ok(Self {
            snapshot: Arc::new(manifests::read(folder)?),
            lives: BTreeMap::new(),
            alerts: manifests::objects(folder, ALERTS_API_VERSION, "Alert")?,
            providers: manifests::objects(folder, ALERTS_API_VERSION, "Provider")?,
            only_namespace: None,
        })
    }

    fn cluster(flags: &RunArgs) -> Result<Self, AnyError> {
        // The process may have one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(Self::from_api(flags))
    }

    async fn from_api(flags: &RunArgs) -> Result<Self, AnyError> {
        let cluster = &flags.cluster;
        let api = kubernetes::connect(cluster.kubeconfig.as_deref()).await?;
        let only_namespace = (!cluster.watch_all_namespaces).then(|| {
            let given = cluster.runtime_namespace.clone();
            given.unwrap_or_else(|| api.default_namespace().to_owned())
        });
        let settings = WatchSettings {
            reach: Reach {
                no_cross_namespace_refs: flags.no_cross_namespace_refs,
                only_namespace: only_namespace.clone(),
            },
            configs: cluster.watch_configs_label_selector.clone(),
        };
        let read = kubernetes::snapshot(api.clone(), settings, true, PATIENCE).await;
        let snapshot = read.ok_or("the cluster's Receivers, Alerts, Providers and Secrets could not be read in time; may you list and get them?")?;
        let namespace = only_namespace.as_deref();
        let receivers = list(
            &api,
            crate::api::receiver::API_VERSION,
            "receivers",
            namespace,
        );
        let lives = receivers.await?.into_iter().map(kubernetes::live_of);
        Ok(Self {
            snapshot,
            lives: lives.map(|live| (live.key.clone(), live)).collect(),
            alerts: list(&api, ALERTS_API_VERSION, "alerts", namespace).await?,
            providers: list(&api, ALERTS_API_VERSION, "providers", namespace).await?,
            only_namespace,
        })
    }
}

/// Pages that are read at most: half a million objects.
const MAX_PAGES: usize = 1_000;

/// Where the objects of a kind are, of all namespaces.
pub(super) fn collection(api_version: &str, plural: &str) -> String {
    if api_version == "v1" {
        format!("/api/v1/{plural}")
    } else {
        format!("/apis/{api_version}/{plural}")
    }
}

/// All objects of a kind, page by page, in one namespace or all.
pub(super) async fn list(
    api: &Api,
    api_version: &str,
    plural: &str,
    namespace: Option<&str>,
) -> Result<Vec<Value>, AnyError> {
    let path = match namespace {
        Some(namespace) => kubernetes::object_path(api_version, namespace, plural, "")
            .ok_or_else(|| format!("{namespace:?} is not the name of a namespace"))?,
        None => collection(api_version, plural),
    };
    let mut objects = Vec::new();
    let mut at = String::new();
    for _ in 0..MAX_PAGES {
        let page = api.get(&format!("{path}?limit=500{at}")).await;
        let mut page = page.map_err(|error| format!("failed to list {plural}: {error}"))?;
        if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
            objects.extend(items);
        }
        match page["metadata"]["continue"].as_str() {
            None | Some("") => return Ok(objects),
            Some(next) => at = format!("&continue={next}"),
        }
    }
    Err(format!("there are too many {plural} to read them all").into())
}

//! `hookgate explain`: what would happen to a request, and what happened to a Receiver's hooks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use hook::gate::{Admission, Decision, Step, Verdict};
use hook::request::Request;
use serde_json::Value;

use super::{AnyError, print};
use crate::control::{self, Ask};
use crate::kubernetes::{self, WatchSettings};
use crate::manifests;
use crate::objects::Snapshot;
use crate::publish::{self, Compiled, Options};
use crate::receiver::jwks::IssuerKeys;
use crate::receiver::labels::Selector;
use crate::trigger::deliver::{self, Prepared};
use crate::trigger::select::Reach;
use crate::trigger::server::{Ledgers, Lender};
use crate::{args, clock};

/// Say what would happen to a request, or what happened to a Receiver's hooks
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Request(RequestArgs),
    Receiver(ReceiverArgs),
}

/// Say step by step what would happen to a captured request, and why. Prints no secret and no path
#[derive(Debug, Args)]
#[command(
    after_help = "The file holds the request as HTTP/1.1 has it: request line, headers, an empty line, the body.\n\nExamples:\n  hookgate explain request captured.http\n  hookgate explain request captured.http --manifests ./manifests\n\nExit code 0 whatever the verdict: it is the answer."
)]
struct RequestArgs {
    /// File with the request; `-` for stdin
    file: PathBuf,

    /// Folder of manifests, in place of a cluster
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,

    /// Configuration of the cluster to read, where hookgate does not run in it
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,

    /// The client's address
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    client: IpAddr,

    /// When the request came, Unix seconds [default: now]. Signed timestamps are held against it
    #[arg(long, value_name = "SECONDS")]
    at: Option<u64>,

    /// File with a JWKS for the issuers of generic-oidc and gcr: nothing is fetched
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,

    /// Refuse resources in other namespaces than the Receiver's
    #[arg(long)]
    no_cross_namespace_refs: bool,
}

/// Say what the running hookgate knows of a Receiver: whether it is ready, what Envoy has, its last hooks, what they trigger
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hookgate explain receiver app -n flux-system")]
struct ReceiverArgs {
    /// Name of the Receiver
    name: String,

    /// Namespace of the Receiver
    #[arg(long, short, default_value = "flux-system")]
    namespace: String,

    /// Show the path, which is secret: whoever has it can send to types that sign nothing
    #[arg(long)]
    show_path: bool,

    /// Socket of the running hookgate
    #[arg(long, value_name = "FILE", default_value = control::DEFAULT_SOCKET)]
    control_socket: PathBuf,
}

pub(super) fn run(args: ExplainArgs) -> Result<(), AnyError> {
    match args.what {
        What::Request(args) => print(&request(&args)?),
        What::Receiver(args) => receiver(&args),
    }
}

fn receiver(args: &ReceiverArgs) -> Result<(), AnyError> {
    let ask = Ask::Receiver {
        name: format!("{}/{}", args.namespace, args.name),
        show_path: args.show_path,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let answer = runtime.block_on(control::ask(&args.control_socket, &ask))?;
    print(&format!("{}\n", serde_json::to_string_pretty(&answer)?))
}

/// A captured request may be as large as the largest hook, and its head.
const MAX_FILE: u64 = hook::config::MAX_BODY + 256 * 1024;

fn request(args: &RequestArgs) -> Result<String, AnyError> {
    let mut bytes = super::sign::read_file(&args.file, MAX_FILE)?;
    lower_names(&mut bytes);
    let captured = Captured::parse(&bytes)?;
    let snapshot = snapshot(args)?;
    let mut story = Story::default();
    for problem in &snapshot.problems {
        story.say("manifests", &problem.to_string());
    }
    let keys = issuer_keys(args, &snapshot)?;
    let options = default_options(args)?;
    let compiled = publish::compile(snapshot, &keys, &options, &[]);
    let now_ms = args
        .at
        .map_or_else(clock::now_ms, |seconds| seconds.saturating_mul(1000));
    tell(&mut story, args, &captured, &compiled, now_ms);
    Ok(story.0)
}

/// How long the cluster may take to be read.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

fn snapshot(args: &RequestArgs) -> Result<Arc<Snapshot>, AnyError> {
    if let Some(folder) = &args.manifests {
        return Ok(Arc::new(manifests::read(folder)?));
    }
    // The process may have one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let api = kubernetes::connect(args.kubeconfig.as_deref()).await?;
        let settings = WatchSettings {
            reach: reach(args),
            configs: Selector::default(),
        };
        let read = kubernetes::snapshot(api, settings, false, PATIENCE).await;
        read.ok_or_else(|| {
            let seconds = PATIENCE.as_secs();
            format!("the cluster's Receivers and Secrets could not be read within {seconds} s; may you list and get them?").into()
        })
    })
}

/// The flags' defaults, without an own list of them.
fn default_options(given: &RequestArgs) -> Result<Options, AnyError> {
    use clap::Parser as _;
    let mut args = args::RunArgs::try_parse_from(["run"])?;
    args.manifests.clone_from(&given.manifests);
    Ok(crate::run::options(&args, reach(given)))
}

fn reach(args: &RequestArgs) -> Reach {
    Reach {
        no_cross_namespace_refs: args.no_cross_namespace_refs,
        only_namespace: None,
    }
}

fn issuer_keys(
    args: &RequestArgs,
    snapshot: &Snapshot,
) -> Result<BTreeMap<String, Arc<IssuerKeys>>, AnyError> {
    let Some(path) = &args.jwks else {
        return Ok(BTreeMap::new());
    };
    let json = super::sign::read_file(path, 1024 * 1024)?;
    let keys = Arc::new(IssuerKeys::from_jwks(&json)?);
    Ok(publish::issuer_urls(snapshot)
        .into_iter()
        .map(|url| (url, keys.clone()))
        .collect())
}

fn tell(
    story: &mut Story,
    args: &RequestArgs,
    captured: &Captured<'_>,
    compiled: &Compiled,
    now_ms: u64,
) {
    let request = &captured.request;
    let ledgers = Ledgers::default();
    let lender = Lender {
        peer: Some(args.client),
        ledgers: &ledgers,
    };
    let decision = match compiled
        .gate
        .headers(request, captured.body.is_empty(), now_ms, &lender)
    {
        Step::Done(decision) => decision,
        Step::Body(mut pending) => match pending.chunk(captured.body, now_ms, &lender) {
            Ok(()) => pending.end(now_ms, &lender),
            Err(decision) => decision,
        },
    };
    path_and_receiver(story, &decision, compiled);
    match &decision.verdict {
        Verdict::Reject(rejection) => {
            let reason = rejection.reason();
            story.say(
                "verdict",
                &format!("refused with {}: {reason}", rejection.status()),
            );
        }
        Verdict::Ignore { status } => {
            story.say("verdict", &format!("genuine, but spec.events does not list its event: {status}, and nothing is triggered"));
        }
        Verdict::Admit(admission) => {
            story.say(
                "path",
                &format!("made from the Secret's {:?}", admission.path.name()),
            );
            story.say(
                "proof",
                &format!("by the Secret's {:?}", admission.pass.slot.name()),
            );
            if admission.pass.weak {
                story.say("proof", "with SHA-1, which is weak");
            }
            story.say("verdict", "admitted");
            trigger(story, args, captured, compiled, &decision, admission);
        }
    }
}

fn path_and_receiver(story: &mut Story, decision: &Decision, compiled: &Compiled) {
    let Some(hook) = &decision.hook else {
        story.say(
            "path",
            &format!(
                "no Receiver has it ({} are known); it must be exactly /hook/ and 64 lower-case hex digits, without a query",
                compiled.statuses.len()
            ),
        );
        return;
    };
    story.say(
        "receiver",
        &format!("{} ({})", hook.name, hook.receiver_type),
    );
    if let Some(status) = compiled.statuses.get(&hook.name) {
        if let Some(failure) = &status.failure {
            story.say(
                "receiver",
                &format!("not ready: {}: {}", failure.reason, failure.message),
            );
        }
        for warning in &status.warnings {
            story.say("receiver", warning);
        }
    }
}

fn trigger(
    story: &mut Story,
    args: &RequestArgs,
    captured: &Captured<'_>,
    compiled: &Compiled,
    decision: &Decision,
    admission: &Admission,
) {
    let plan = decision
        .hook
        .as_ref()
        .and_then(|hook| compiled.plans.get(&hook.name));
    let Some(plan) = plan else {
        return;
    };
    let prepared = deliver::prepare(plan, admission, &captured.request, captured.body);
    let prepared: Prepared = match prepared {
        Ok(prepared) => prepared,
        Err(rejection) => {
            let reason = rejection.reason();
            story.say(
                "payload",
                &format!("refused with {}: {reason}", rejection.status()),
            );
            return;
        }
    };
    if plan.has_filters() {
        match &prepared.request {
            Ok(Value::Object(map)) if map.is_empty() => {
                story.say(
                    "filters",
                    "req is {}: the content type is not application/json",
                );
            }
            Ok(_) => {}
            Err(error) => story.say("filters", error),
        }
    }
    let selected = deliver::selected(plan, compiled, &prepared, &reach(args));
    for resource in &selected.resources {
        story.say(
            "resource",
            &format!("{resource} would be asked to reconcile"),
        );
    }
    for error in selected.errors.iter().chain(&selected.later) {
        story.say("resource", error);
    }
    let answer = if !selected.errors.is_empty() {
        "500"
    } else if !selected.later.is_empty() {
        "503"
    } else if selected.resources.is_empty() {
        "200, and nothing is triggered"
    } else {
        "200, once they have been asked"
    };
    story.say("answer", answer);
}

/// What is told, a step a line.
#[derive(Debug, Default)]
struct Story(String);

impl Story {
    fn say(&mut self, step: &str, text: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{step:<10}{text}");
    }
}

/// A request as it was captured.
#[derive(Debug)]
struct Captured<'a> {
    request: Request<'a>,
    body: &'a [u8],
}

impl<'a> Captured<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, AnyError> {
        let (head, body) = split_head(bytes).ok_or("no empty line ends the headers")?;
        let mut lines = head.split(|b| *b == b'\n').map(|line| line.trim_ascii());
        let first = lines.next().unwrap_or_default();
        let mut words = first.split(|b| *b == b' ');
        let (Some(method), Some(path), Some(_version)) = (words.next(), words.next(), words.next())
        else {
            return Err(
                "the first line is not a request line such as: POST /hook/… HTTP/1.1".into(),
            );
        };
        let mut headers = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let at = line
                .iter()
                .position(|b| *b == b':')
                .ok_or("a header line has no colon")?;
            let (name, value) = line.split_at(at);
            let name = std::str::from_utf8(name).map_err(|_| "a header name is not ASCII")?;
            headers.push((
                name,
                value.strip_prefix(b":").unwrap_or_default().trim_ascii(),
            ));
        }
        Ok(Self {
            request: Request {
                method,
                path,
                headers,
            },
            body,
        })
    }
}

/// Puts header names into lower case, as HTTP/2 and Envoy have them.
fn lower_names(bytes: &mut [u8]) {
    let Some(end) = split_head(bytes).map(|(head, _)| head.len()) else {
        return;
    };
    let lines = bytes
        .get_mut(..end)
        .unwrap_or_default()
        .split_mut(|b| *b == b'\n');
    for line in lines.skip(1) {
        let name = line.split_mut(|b| *b == b':').next().unwrap_or_default();
        name.make_ascii_lowercase();
    }
}

fn split_head(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    for end in [&b"\r\n\r\n"[..], b"\n\n"] {
        if let Some(at) = bytes.windows(end.len()).position(|window| window == end) {
            let (head, rest) = bytes.split_at(at);
            return Some((head, rest.get(end.len()..)?));
        }
    }
    None
}

//! `hookgate alerts`: what the running hookgate has accepted and not delivered, and what it would send.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;
use tokio::sync::watch;

use super::{AnyError, print};
use crate::control::{self, Ask};
use crate::notify::ask::{AlertsAsk, MAX_LISTED, Which};
use crate::notify::delivery::DeliveryId;
use crate::notify::preview::{self, Question};
use crate::notify::target::SnapshotSecrets;
use crate::{clock, manifests};

/// Bytes of an event, as the event server bounds it.
const MAX_EVENT: u64 = 3 * 1024 * 1024;

/// See, send again or drop the alerts that are not delivered
#[derive(Debug, Args)]
pub(super) struct AlertsArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(ListArgs),
    Show(ShowArgs),
    Retry(ChangeArgs),
    Drop(DropArgs),
    Preview(PreviewArgs),
}

/// List alerts that wait to be sent, and dead letters: those that were given up
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hookgate alerts list --state dead --provider flux-system/slack"
)]
struct ListArgs {
    #[command(flatten)]
    filter: Filter,

    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    socket: SocketArgs,
}

/// Show one alert and its event, as JSON
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hookgate alerts show 12.0")]
struct ShowArgs {
    /// Its ID, as list prints it
    id: DeliveryId,

    #[command(flatten)]
    socket: SocketArgs,
}

/// Send alerts again at once: these, or all dead letters that a filter takes
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookgate alerts retry 12.0 14.1\n  hookgate alerts retry --state dead --provider flux-system/slack\n\nExit code 1 if one of them could not be."
)]
struct ChangeArgs {
    /// Their IDs, as list prints them
    #[arg(required_unless_present = "state", conflicts_with_all = ["state", "provider", "alert"])]
    ids: Vec<DeliveryId>,

    #[command(flatten)]
    filter: Filter,

    #[command(flatten)]
    socket: SocketArgs,
}

/// Forget alerts for good: these, or all that a filter takes
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hookgate alerts drop 12.0\n  hookgate alerts drop --state dead --alert flux-system/on-call\n\nExit code 1 if one of them could not be."
)]
struct DropArgs {
    #[command(flatten)]
    change: ChangeArgs,
}

/// Say whether an Alert takes an event and what its Provider would be sent. Sends nothing, prints no secret
#[derive(Debug, Args)]
#[command(
    after_help = "The file holds the event as Flux posts it, in JSON. Asks the running hookgate, or reads manifests.\nSecrets are shown as TOKEN, PASSWORD, HEADER or *****.\n\nExample:\n  hookgate alerts preview on-call -n flux-system --event event.json --manifests ./manifests\n\nExit code 0 also for an event that the Alert does not take: that is the answer."
)]
struct PreviewArgs {
    /// Name of the Alert
    alert: String,

    /// Namespace of the Alert
    #[arg(long, short, default_value = "flux-system")]
    namespace: String,

    /// File with the event; `-` for stdin
    #[arg(long, value_name = "FILE")]
    event: PathBuf,

    /// Folder of manifests, in place of the running hookgate
    #[arg(long, value_name = "DIR", conflicts_with = "control_socket")]
    manifests: Option<PathBuf>,

    /// As hookgate run has it: Alerts take no events of other namespaces
    #[arg(long)]
    no_cross_namespace_refs: bool,

    #[command(flatten)]
    socket: SocketArgs,
}

#[derive(Debug, Args)]
struct Filter {
    /// Only these
    #[arg(long, value_enum)]
    state: Option<Wanted>,

    /// Only those for this Provider
    #[arg(long, value_name = "NAMESPACE/NAME")]
    provider: Option<String>,

    /// Only those of this Alert
    #[arg(long, value_name = "NAMESPACE/NAME")]
    alert: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Wanted {
    /// What waits to be sent
    Pending,
    /// What was given up
    Dead,
}

#[derive(Debug, Args)]
struct SocketArgs {
    /// Socket of the running hookgate
    #[arg(long, value_name = "FILE", default_value = control::DEFAULT_SOCKET)]
    control_socket: PathBuf,
}

impl Filter {
    fn which(self, ids: Vec<DeliveryId>) -> Which {
        let state = self.state.map(|state| match state {
            Wanted::Pending => "pending".to_owned(),
            Wanted::Dead => "dead".to_owned(),
        });
        Which {
            ids,
            state,
            provider: self.provider,
            alert: self.alert,
        }
    }
}

pub(super) fn run(args: AlertsArgs) -> Result<(), AnyError> {
    match args.what {
        What::List(args) => {
            let limit = args.limit.min(MAX_LISTED);
            let which = args.filter.which(Vec::new());
            let answer = ask(&args.socket, AlertsAsk::List { which, limit })?;
            if args.json {
                return print(&format!("{}\n", serde_json::to_string_pretty(&answer)?));
            }
            print(&table(&answer))
        }
        What::Show(args) => {
            let answer = ask(&args.socket, AlertsAsk::Show { id: args.id })?;
            print(&format!("{}\n", serde_json::to_string_pretty(&answer)?))
        }
        What::Retry(args) => change(args, "to be sent again", |which| AlertsAsk::Retry { which }),
        What::Drop(args) => change(args.change, "dropped", |which| AlertsAsk::Drop { which }),
        What::Preview(args) => print(&preview(&args)?),
    }
}

fn preview(args: &PreviewArgs) -> Result<String, AnyError> {
    let event = super::sign::read_file(&args.event, MAX_EVENT)?;
    let question = Question {
        alert: format!("{}/{}", args.namespace, args.alert),
        event: String::from_utf8_lossy(&event).into_owned(),
        no_cross_namespace_refs: args.no_cross_namespace_refs,
    };
    let Some(folder) = &args.manifests else {
        let ask = Ask::Preview(question);
        let answer = runtime()?.block_on(control::ask(&args.socket.control_socket, &ask))?;
        let text = answer.get("preview").and_then(Value::as_str);
        return Ok(text
            .ok_or("the running hookgate gave no preview")?
            .to_owned());
    };
    let snapshot = Arc::new(manifests::read(folder)?);
    let problems = snapshot.problems.iter();
    let problems: String = problems.map(|p| format!("manifests {p}\n")).collect();
    let secrets = SnapshotSecrets(watch::channel(Some(snapshot.clone())).1);
    let preview = preview::preview(&snapshot, &question, &secrets, clock::now_ms());
    Ok(format!("{problems}{}", runtime()?.block_on(preview)?))
}

fn ask(socket: &SocketArgs, ask: AlertsAsk) -> Result<Value, AnyError> {
    let ask = Ask::Alerts(ask);
    Ok(runtime()?.block_on(control::ask(&socket.control_socket, &ask))?)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn change(
    args: ChangeArgs,
    done: &str,
    ask_of: impl FnOnce(Which) -> AlertsAsk,
) -> Result<(), AnyError> {
    let answer = ask(&args.socket, ask_of(args.filter.which(args.ids)))?;
    let list = |key: &str| answer.get(key).and_then(Value::as_array).cloned();
    let changed = list("done").unwrap_or_default();
    print(&format!("{} {done}\n", changed.len()))?;
    let failed = list("failed").unwrap_or_default();
    let failed: Vec<_> = failed.iter().filter_map(Value::as_str).collect();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join("; ").into()),
    }
}

/// The list for people: a line an alert, the longest text last.
fn table(answer: &Value) -> String {
    let now = number(answer, "now");
    let alerts = answer.get("alerts").and_then(Value::as_array);
    let mut rows = vec![
        [
            "ID", "STATE", "AGE", "TRIES", "NEXT", "PROVIDER", "OBJECT", "ERROR",
        ]
        .map(str::to_owned),
    ];
    for alert in alerts.into_iter().flatten() {
        let state = alert.get("state").unwrap_or(&Value::Null);
        let next = state.get("next_ms").and_then(Value::as_u64);
        let error = state.get("error").or_else(|| state.get("reason"));
        rows.push([
            text(alert, "id"),
            text(state, "is"),
            span(now.saturating_sub(number(alert, "acceptedMs"))),
            number(state, "attempts").to_string(),
            next.map_or_else(|| "-".to_owned(), |at| span(at.saturating_sub(now))),
            text(alert, "provider"),
            text(alert, "object"),
            error.and_then(Value::as_str).unwrap_or("-").to_owned(),
        ]);
    }
    let mut out = String::new();
    if answer.get("durable") == Some(&Value::Bool(false)) {
        out.push_str("in memory only: a restart loses these; run with --spool-dir DIR\n");
    }
    let mut widths = [0_usize; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in &rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            // Writing to a String does not fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn text(value: &Value, key: &str) -> String {
    let text = value.get(key).and_then(Value::as_str).unwrap_or_default();
    // A name comes from whoever posted the event, and must not move the terminal's cursor.
    text.chars()
        .flat_map(char::escape_debug)
        .take(120)
        .collect()
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// A time span in its largest unit.
fn span(ms: u64) -> String {
    match ms / 1000 {
        s @ 0..120 => format!("{s}s"),
        s @ 120..7_200 => format!("{}m", s / 60),
        s @ 7_200..172_800 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use std::collections::BTreeMap;

    use arc_swap::ArcSwap;
    use clap::Parser as _;

    use super::*;
    use crate::control::{Control, Socket};
    use crate::notify::spool::Spool;
    use crate::trigger::select::Reach;
    use crate::{args, publish};

    const MANIFESTS: &str = "apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Alert
metadata: {name: on-call, namespace: flux-system, annotations: {hookgate.dev/template: '{{ object.name }}: {{ event.reason }}'}}
spec: {providerRef: {name: chat}, eventSources: [{kind: Bucket, name: '*'}]}
---
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Provider
metadata: {name: chat, namespace: flux-system}
spec: {type: discord, secretRef: {name: chat}}
---
apiVersion: v1
kind: Secret
metadata: {name: chat, namespace: flux-system}
stringData: {address: 'https://discord.test/api/webhooks/hush'}
";
    const EVENT: &str = r#"{"involvedObject": {"kind": "Bucket", "namespace": "flux-system", "name": "b"}, "severity": "error",
        "reason": "Failed", "message": "m", "reportingController": "source-controller"}"#;
    const PREVIEW: &str = r#"alert     flux-system/on-call
takes     yes
provider  flux-system/chat (discord)
message   by hookgate.dev/template
sends     first this request

POST https://discord.test/*****/*****/*****/slack
content-type: application/json

{
  "attachments": [
    {
      "author_name": "bucket/b.flux-system",
      "color": "danger",
      "fields": [],
      "mrkdwn_in": [
        "text"
      ],
      "text": "b: Failed"
    }
  ],
  "username": "source-controller"
}
"#;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        alerts: AlertsArgs,
    }

    /// What `alerts preview` prints with these arguments besides the event.
    fn previewed(folder: &std::path::Path, more: &[&str]) -> Result<String, String> {
        std::fs::write(folder.join("event.json"), EVENT).unwrap();
        let file = folder.join("event.json").to_string_lossy().into_owned();
        let words = ["alerts", "preview", "--event", &file];
        let line = Line::try_parse_from(words.iter().chain(more)).map_err(|e| e.to_string())?;
        let What::Preview(args) = line.alerts.what else {
            panic!("{line:?}");
        };
        preview(&args).map_err(|error| error.to_string())
    }

    fn manifests_in(folder: &std::path::Path) -> PathBuf {
        let files = folder.join("manifests");
        std::fs::create_dir(&files).unwrap();
        std::fs::write(files.join("all.yaml"), MANIFESTS).unwrap();
        files
    }

    #[test]
    fn a_preview_is_made_of_manifests() {
        let folder = tempfile::tempdir().unwrap();
        let files = manifests_in(folder.path());
        let files = files.to_string_lossy();
        let told = previewed(folder.path(), &["on-call", "--manifests", &files]);
        assert_eq!(told.as_deref(), Ok(PREVIEW));
        let told = previewed(
            folder.path(),
            &["on-call", "-n", "apps", "--manifests", &files],
        );
        let want = "there is no Alert \"apps/on-call\"; give its name, and its namespace with -n";
        assert_eq!(told.unwrap_err(), want);
        std::fs::write(folder.path().join("manifests/broken.yaml"), "{").unwrap();
        let told = previewed(folder.path(), &["on-call", "--manifests", &files]).unwrap();
        assert!(told.starts_with("manifests broken.yaml"), "{told}");
        assert!(told.ends_with(PREVIEW), "{told}");
    }

    #[test]
    fn a_preview_is_made_by_the_running_process() {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = manifests::read(&manifests_in(folder.path())).unwrap();
        let socket = folder.path().join("control.sock");
        let shown = socket.to_string_lossy().into_owned();
        let ask = || previewed(folder.path(), &["on-call", "--control-socket", &shown]);
        assert!(
            ask()
                .unwrap_err()
                .starts_with("failed to reach a running hookgate")
        );
        let args = args::RunArgs::try_parse_from(["run", "--manifests=."]).unwrap();
        let options = crate::run::options(&args, Reach::default());
        let snapshot = Arc::new(snapshot);
        let compiled = publish::compile(snapshot.clone(), &BTreeMap::new(), &options, b"");
        let control = Control {
            current: Arc::new(ArcSwap::from_pointee(compiled)),
            activities: Arc::default(),
            edges: Arc::default(),
            reach: Reach::default(),
            spool: Arc::new(Spool::in_memory(Default::default(), Default::default())),
            secrets: SnapshotSecrets(watch::channel(Some(snapshot)).1),
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let bound = runtime.block_on(Socket::bind(&socket)).unwrap();
        runtime.spawn(bound.serve(control));
        assert_eq!(ask().as_deref(), Ok(PREVIEW));
    }

    #[test]
    fn the_list_is_a_table_that_no_name_can_break() {
        let answer = json!({"durable": false, "now": 10_000_000, "alerts": [
            {"id": "1.0", "acceptedMs": 9_000_000, "object": "Bucket/a/b\u{1b}", "alert": "a/x", "provider": "a/chat",
             "state": {"is": "pending", "attempts": 2, "next_ms": 10_060_000, "since_ms": 0, "error": "busy"}},
            {"id": "12.0", "acceptedMs": 0, "object": "Bucket/a/c", "alert": "a/x", "provider": "a/pager",
             "state": {"is": "dead", "attempts": 1, "at_ms": 1, "reason": "refused"}},
        ]});
        let want = "\
in memory only: a restart loses these; run with --spool-dir DIR
ID    STATE    AGE  TRIES  NEXT  PROVIDER  OBJECT            ERROR
1.0   pending  16m  2      60s   a/chat    Bucket/a/b\\u{1b}  busy
12.0  dead     2h   1      -     a/pager   Bucket/a/c        refused
";
        assert_eq!(table(&answer), want);
    }
}

//! The README's tables are rendered from the code and compared; `UPDATE=1 cargo readme` rewrites them.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::fs;
use std::path::PathBuf;

use clap::{Arg, ArgAction, CommandFactory as _};
use controller::annotations::{ANNOTATIONS, Doc};
use controller::args::RunArgs;
use controller::metrics::{ALERT_DOCS, DOCS};
use controller::notify::select;
use controller::provider::{self, PROVIDER_TYPES, Takes};
use hook::receiver::RECEIVER_TYPES;

/// The mark that a table stands between, and what renders it.
type Table = (&'static str, fn() -> String);

const TABLES: [Table; 6] = [
    ("receivers", receivers),
    ("annotations", annotations),
    ("providers", providers),
    ("alert-annotations", alert_annotations),
    ("flags", flags),
    ("metrics", metrics),
];

#[test]
fn the_readmes_tables_say_what_the_code_says() {
    let path = readme();
    let held = fs::read_to_string(&path).expect("README.md can be read");
    let wanted = TABLES.iter().fold(held.clone(), |text, (name, render)| {
        replaced(&text, name, &render())
    });
    // An environment variable of the test, not of the program.
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, wanted).expect("README.md can be written");
        return;
    }
    for ((name, _), (held, wanted)) in TABLES.iter().zip(tables(&held).zip(tables(&wanted))) {
        assert_eq!(held, wanted, "table {name}: run `UPDATE=1 cargo readme`");
    }
}

#[test]
fn a_table_is_replaced_between_its_marks_only() {
    let text = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n";
    assert_eq!(
        replaced(text, "x", "| new |\n"),
        "a\n<!-- x -->\n| new |\n<!-- /x -->\nb\n"
    );
}

fn receivers() -> String {
    let rows = RECEIVER_TYPES.iter().map(|receiver| {
        let events: Vec<String> = receiver
            .event_headers()
            .iter()
            .map(|name| code(name))
            .collect();
        let events = if events.is_empty() {
            "none".to_owned()
        } else {
            events.join(", ")
        };
        [code(receiver.name()), receiver.proof().to_owned(), events]
    });
    table(
        ["`spec.type`", "what a sender proves", "the event is in"],
        rows,
    )
}

fn annotations() -> String {
    let rows = ANNOTATIONS.iter().map(|doc| {
        let [name, value, default, help] = [doc.name, doc.value, doc.default, doc.help];
        [
            code(name),
            value.to_owned(),
            default.to_owned(),
            help.to_owned(),
        ]
    });
    table(["annotation", "value", "default", "what it does"], rows)
}

fn providers() -> String {
    let rows = PROVIDER_TYPES.iter().map(|provider| {
        let name = provider.name();
        let file = format!("src/provider/{}.rs", name.replace(['-', '.'], "_"));
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
        let source = fs::read_to_string(&path).expect("each provider type has a file of its name");
        let takes = match provider.takes() {
            Takes::Messages => "messages",
            Takes::Everything => "everything",
            Takes::CommitStatuses => "what is about a commit",
            Takes::ChangeRequests => "what is about a change request",
        };
        let (sends, mended) = described(&source, name);
        [code(name), sends, takes.to_owned(), mended]
    });
    table(
        ["type", "what it sends", "takes", "other than Flux's"],
        rows,
    )
}

/// What the first lines of a provider's file say that it is, and what it does better than Flux's.
fn described(source: &str, name: &str) -> (String, String) {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let text: Vec<&str> = lines.map(str::trim).collect();
    let text = text.join("\n");
    let mut paragraphs = text.split("\n\n").map(|text| text.replace('\n', " "));
    let first = paragraphs.next().unwrap_or_default();
    let sends = first
        .strip_prefix(&format!("`{name}`: "))
        .unwrap_or_else(|| panic!("the file of {name} does not open with its name"));
    let rest: Vec<String> = paragraphs.collect();
    let rest = rest.join(" ");
    let mended = ["Mended: ", "Better than Flux's: "]
        .iter()
        .find_map(|mark| Some(rest.split_once(mark)?.1));
    let mended = mended.unwrap_or_default().trim_end_matches('.').to_owned();
    (sends.trim_end_matches('.').to_owned(), mended)
}

fn alert_annotations() -> String {
    let on = |kind: &'static str, docs: &'static [Doc]| docs.iter().map(move |doc| (kind, doc));
    let rows = on("Alert", select::ANNOTATIONS).chain(on("Provider", provider::ANNOTATIONS));
    let rows = rows.map(|(kind, doc)| {
        let [name, value, default, help] = [doc.name, doc.value, doc.default, doc.help];
        [
            code(name),
            kind.to_owned(),
            value.to_owned(),
            default.to_owned(),
            help.to_owned(),
        ]
    });
    table(
        ["annotation", "on", "value", "default", "what it does"],
        rows,
    )
}

fn flags() -> String {
    let command = RunArgs::command();
    let rows = command
        .get_arguments()
        .filter(|arg| arg.get_long().is_some() && !is_help(arg))
        .map(|arg| {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            [flag(arg), default(arg), help]
        });
    table(["flag", "default", "what it does"], rows)
}

fn metrics() -> String {
    let rows = DOCS.iter().chain(ALERT_DOCS).map(|doc| {
        let labels: Vec<String> = doc
            .labels
            .split(", ")
            .filter(|label| !label.is_empty())
            .map(code)
            .collect();
        [code(doc.name), labels.join(", "), doc.help.to_owned()]
    });
    table(["metric", "labels", "what it tells"], rows)
}

fn is_help(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Help | ArgAction::Version)
}

fn flag(arg: &Arg) -> String {
    let long = arg.get_long().expect("only long flags are listed");
    let is_switch = arg
        .get_num_args()
        .is_some_and(|count| count.min_values() == 0);
    match arg.get_value_names() {
        Some([name]) if !is_switch => code(&format!("--{long} {name}")),
        _ => code(&format!("--{long}")),
    }
}

fn default(arg: &Arg) -> String {
    let values: Vec<String> = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy().into_owned())
        .collect();
    if values.is_empty() {
        String::new()
    } else {
        code(&values.join(","))
    }
}

fn table<const N: usize>(heads: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(&heads.map(str::to_owned));
    text.push_str(&line(&heads.map(|_| "---".to_owned())));
    for row in rows {
        text.push_str(&line(
            &row.map(|cell| cell.replace('|', "\\|").replace('<', "&lt;")),
        ));
    }
    text
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// What stands between the marks of each table.
fn tables(readme: &str) -> impl Iterator<Item = String> {
    TABLES
        .iter()
        .map(|(name, _)| parts(readme, name).1.to_owned())
}

fn replaced(readme: &str, name: &str, table: &str) -> String {
    let (before, _, after) = parts(readme, name);
    format!("{before}{table}{after}")
}

/// Up to and with the opening mark, the table, and from the closing mark on.
fn parts<'t>(readme: &'t str, name: &str) -> (&'t str, &'t str, &'t str) {
    let (opening, closing) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let found = readme.find(&opening).and_then(|at| {
        let from = at + opening.len();
        let to = from + readme[from..].find(&closing)?;
        Some((&readme[..from], &readme[from..to], &readme[to..]))
    });
    found.unwrap_or_else(|| panic!("README.md has no table between {opening:?} and {closing:?}"))
}

fn readme() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../README.md")
}

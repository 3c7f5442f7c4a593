//! The README's tables are rendered from the code and compared; `UPDATE=1 cargo readme` rewrites them.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::fs;
use std::path::PathBuf;

use clap::{Arg, ArgAction, CommandFactory as _};
use controller::annotations::ANNOTATIONS;
use controller::args::RunArgs;
use controller::metrics::{ALERT_DOCS, DOCS};
use hook::receiver::RECEIVER_TYPES;

/// A table's name in the README's marks, and what renders it.
/// The mark that a table stands between, and what renders it.
type Table = (&'static str, fn() -> String);

const TABLES: [Table; 4] = [
    ("receivers", receivers),
    ("annotations", annotations),
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

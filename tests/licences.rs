//! What is linked into Hookgate: every licence is one that `deny.toml` allows, and no crate is one that it bans.
//!
//! Reads `cargo metadata` for the platforms that `deny.toml` names, so that no tool has to be installed.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use e2e::binaries::workspace;
use serde_json::Value;

#[test]
fn every_licence_is_one_that_deny_toml_allows() {
    let allowed = list("allow = [");
    let refused: Vec<String> = packages()
        .iter()
        .map(|package| (text(package, "name"), text(package, "license")))
        .filter(|(_, licence)| !is_allowed(licence, &allowed))
        .map(|(name, licence)| format!("{name}: {licence:?}"))
        .collect();
    assert_eq!(
        refused,
        Vec::<String>::new(),
        "replace these, or allow their licence in deny.toml"
    );
}

#[test]
fn no_banned_crate_is_linked() {
    let banned = list("deny = [");
    assert!(!banned.is_empty(), "deny.toml bans nothing");
    let linked: Vec<String> = packages()
        .iter()
        .map(|package| text(package, "name"))
        .filter(|name| banned.contains(name))
        .collect();
    assert_eq!(linked, Vec::<String>::new(), "deny.toml says why not");
}

#[test]
fn every_crate_comes_from_the_registry_or_from_here() {
    let foreign: Vec<String> = packages()
        .iter()
        .filter(|package| {
            let source = package.get("source").and_then(Value::as_str);
            source.is_some_and(|source| !source.starts_with("registry+"))
        })
        .map(|package| text(package, "name"))
        .collect();
    assert_eq!(foreign, Vec::<String>::new());
}

#[test]
fn a_licence_expression_needs_one_alternative_of_which_every_part_is_allowed() {
    let allowed = ["MIT", "ISC"].map(str::to_owned).into();
    for (expression, want) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("MIT AND ISC", true),
        ("(GPL-3.0 OR MIT) AND ISC", true),
        ("MIT AND (GPL-3.0 AND ISC)", false),
        ("GPL-2.0 WITH Classpath-exception-2.0 OR MIT", true),
        ("MIT WITH Some-exception", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), want, "{expression:?}");
    }
}

/// Every package that any of the platforms of `deny.toml` links or builds with.
fn packages() -> Vec<Value> {
    let mut metadata = Command::new(env!("CARGO"));
    metadata
        .current_dir(workspace())
        .args(["metadata", "--locked", "--format-version", "1"]);
    for platform in list("targets = [") {
        metadata.args(["--filter-platform", &platform]);
    }
    let output = metadata.output().expect("cargo can be run");
    if !output.status.success() {
        panic!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let mut metadata: Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON");
    // The resolved graph leaves out what only other platforms need; the list of packages does not.
    let linked: BTreeSet<String> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("cargo metadata resolves")
        .iter()
        .map(|node| text(node, "id"))
        .collect();
    let Value::Array(mut packages) = metadata["packages"].take() else {
        panic!("cargo metadata lists packages");
    };
    packages.retain(|package| linked.contains(&text(package, "id")));
    packages
}

/// The first string of each line of a list of `deny.toml`, or all of them if the list stands on one line.
fn list(opening: &str) -> BTreeSet<String> {
    let deny = fs::read_to_string(workspace().join("deny.toml")).expect("deny.toml can be read");
    let (_, rest) = deny
        .split_once(&format!("\n{opening}"))
        .unwrap_or_else(|| panic!("deny.toml has no {opening:?}"));
    let (list, _) = rest.split_once(']').expect("a list ends");
    let first = |line: &str| line.split('"').nth(1).map(str::to_owned);
    if list.starts_with('\n') {
        list.lines().filter_map(first).collect()
    } else {
        list.split(',').filter_map(first).collect()
    }
}

fn text(value: &Value, key: &str) -> String {
    let text = value.get(key).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// Whether an SPDX expression (or the old form with a slash) can be met with these licences alone.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest, allowed) && rest.is_empty()
}

fn any_of(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut met = all_of(words, allowed);
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        met |= all_of(words, allowed);
    }
    met
}

fn all_of(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut met = one(words, allowed);
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        met &= one(words, allowed);
    }
    met
}

/// A licence, or an expression in parentheses. A licence with an exception is another licence.
fn one(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let met = any_of(words, allowed);
            let [")", rest @ ..] = *words else {
                return false;
            };
            *words = rest;
            met
        }
        [licence, "WITH", exception, rest @ ..] => {
            *words = rest;
            allowed.contains(&format!("{licence} WITH {exception}"))
        }
        [licence, rest @ ..] => {
            *words = rest;
            allowed.contains(*licence)
        }
        [] => false,
    }
}

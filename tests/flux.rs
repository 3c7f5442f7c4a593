//! What notification-controller's tests of events and alerts promise, is promised here, or it is said why not; and the tests
//! that README.md names are there. No process is started.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use e2e::{binaries, readme};
use serde_json::Value;

/// As many as v1.9.3 has: test and fuzz functions of `internal/server` (events), `internal/controller` (Alerts and Providers) and
/// `internal/notifier`, and six tables of what its code decides.
const ALL: usize = 182;

#[test]
fn each_of_notification_controllers_tests_has_its_counterpart_or_a_reason() {
    let (cases, skipped) = (entries("cases.toml"), entries("skipped.toml"));
    let names: BTreeSet<&String> = cases.keys().chain(skipped.keys()).collect();
    assert_eq!(
        names.len(),
        cases.len() + skipped.len(),
        "one stands in both files"
    );
    assert_eq!(names.len(), ALL);
    let tests = cases
        .values()
        .flat_map(|tests| tests.as_array().cloned().unwrap_or_default());
    let missing: Vec<Value> = tests
        .filter(|test| !test.as_str().is_some_and(is_there))
        .collect();
    assert_eq!(missing, Vec::<Value>::new());
    let is_reason = |value: &Value| value.as_str().is_some_and(|text| text.len() > 20);
    assert!(skipped.values().all(is_reason), "{skipped:?}");
}

#[test]
fn the_tests_that_the_readme_names_are_there() {
    let section = readme::section("Alerts");
    let named: Vec<&str> = section
        .split('`')
        .filter(|text| text.contains(".rs#"))
        .collect();
    assert!(named.len() > 30, "{named:?}");
    let missing: Vec<&&str> = named.iter().filter(|test| !is_there(test)).collect();
    assert_eq!(missing, Vec::<&&str>::new());
}

/// Whether a `FILE#NAME` names a test: a function, or a trial by its text.
fn is_there(test: &str) -> bool {
    let Some((file, name)) = test.split_once('#') else {
        return false;
    };
    let below = if file.starts_with("tests/") {
        ""
    } else {
        "controller/src"
    };
    let text = fs::read_to_string(binaries::workspace().join(below).join(file));
    let text = text.unwrap_or_default();
    !name.is_empty()
        && (text.contains(&format!("fn {name}(")) || text.contains(&format!("\"{name}\"")))
}

/// `"name" = VALUE` for each entry, where a value is a string or a list of strings, as in JSON but for a comma at the end.
fn entries(file: &str) -> BTreeMap<String, Value> {
    let path = binaries::workspace().join("tests/flux").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let text: String = lines.map(|line| format!("{}\n", line.trim())).collect();
    let text = text
        .replace(",\n]", "\n]")
        .replace("[\n", "[")
        .replace(",\n", ",")
        .replace("\n]", "]");
    let mut entries = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (key, value) = line
            .split_once(" = ")
            .unwrap_or_else(|| panic!("{path:?}: {line}"));
        let key = serde_json::from_str(key).expect("a key is a string");
        let value = serde_json::from_str(value).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(entries.insert(key, value).is_none(), "{line}: twice");
    }
    entries
}

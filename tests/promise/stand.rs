//! A controller with a spool, and Providers of chats.

use std::path::{Path, PathBuf};

use e2e::client::{Client, Request};
use e2e::controller::{self, Addresses, Controller, control_socket};
use e2e::events::{self, Event};
use e2e::manifests::Manifests;
use e2e::wait::until;
use e2e::{Sink, binaries};
use serde_json::json;
use std::time::Duration;
use tempfile::TempDir;

/// The namespace of everything here.
pub(crate) const NAMESPACE: &str = "apps";

/// How long ten thousand alerts may take on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(120);

pub(crate) fn folder() -> TempDir {
    let dir = tempfile::Builder::new().prefix("hookgate-").tempdir();
    dir.expect("a folder for the trial")
}

/// Writes a Provider of type generic for each name and address, with an Alert of its own; the folder.
pub(crate) fn providers<'a>(dir: &Path, of: impl Iterator<Item = (&'a str, String)>) -> PathBuf {
    let manifests = Manifests::create(&dir.join("manifests"));
    for (name, address) in of {
        let objects = [
            events::provider(
                NAMESPACE,
                name,
                json!({"type": "generic", "address": address}),
            ),
            events::auth(NAMESPACE, name, &json!({"unused": ""})),
            events::alert(NAMESPACE, name),
        ];
        manifests.write(
            name,
            &objects.map(|object| format!("---\n{object}\n")).concat(),
        );
    }
    manifests.dir().to_owned()
}

/// How the controller is started. `name` tells replicas apart.
pub(crate) fn options(
    dir: &Path,
    name: &str,
    manifests: &Path,
    flags: &[&str],
) -> controller::Options {
    let own = dir.join(name);
    std::fs::create_dir_all(&own).expect("a folder can be made");
    let mut all = vec![format!("--spool-dir={}", own.join("spool").display())];
    all.extend(flags.iter().map(|flag| (*flag).to_owned()));
    controller::Options {
        binary: binaries::hookgate().expect("hookgate can be built"),
        manifests: manifests.to_owned(),
        filter: binaries::filter_wasm().expect("the filter can be built"),
        control_socket: control_socket(&own),
        addresses: Addresses::reserve(),
        flags: all,
        log_dir: own,
    }
}

/// An event of an object, whose message is a number.
pub(crate) fn event(object: usize, n: usize) -> Request {
    Event::failed(NAMESPACE, &format!("app-{object}"), &n.to_string()).request()
}

/// Posts as Flux does: what is not accepted is posted again, until it is. A duplicate was accepted before.
pub(crate) fn post(client: &Client, event: &Request) {
    until("the event is accepted", LONG, || {
        let answer = client.send(event.clone()).ok()?;
        [202, 429].contains(&answer.status).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}"));
}

/// Waits until nothing is left to be sent.
pub(crate) fn await_quiet(controller: &Controller) {
    let left = || controller.metric("hookgate_spool_events", &[]);
    until("an empty spool", LONG, || (left() == 0.0).then_some(()))
        .unwrap_or_else(|error| panic!("{error}: {} are left", left()));
}

/// What a sink has taken under a path, as pairs of object and number, in order.
pub(crate) fn taken(sink: &Sink, path: &str) -> Vec<(usize, usize)> {
    let calls = sink.taken(path).into_iter().map(|call| {
        let event = call.json();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let object = text(&event["involvedObject"]["name"]);
        let object = object.strip_prefix("app-").and_then(|n| n.parse().ok());
        (
            object.expect("an object"),
            text(&event["message"]).parse().expect("a number"),
        )
    });
    calls.collect()
}

/// Checks that each object's numbers, as they first came, are 0, 1, 2 …; how many came more than once.
pub(crate) fn in_order(taken: &[(usize, usize)], objects: usize, each: usize) -> usize {
    let mut next = vec![0; objects];
    let mut again = 0;
    for (object, n) in taken {
        match n.cmp(&next[*object]) {
            std::cmp::Ordering::Equal => next[*object] += 1,
            std::cmp::Ordering::Less => again += 1,
            std::cmp::Ordering::Greater => {
                panic!("{n} of object {object} came before {}", next[*object]);
            }
        }
    }
    assert_eq!(next, vec![each; objects], "each event came");
    again
}

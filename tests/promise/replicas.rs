//! Two replicas, each with a spool of its own: events go to either.

use e2e::Sink;
use e2e::client::Client;
use e2e::controller::Controller;

use crate::stand::{await_quiet, event, folder, in_order, options, post, providers, taken};

const EVENTS: usize = 100;

pub(crate) fn two() {
    let dir = folder();
    let mut sink = Sink::start();
    let manifests = providers(
        dir.path(),
        [("chat", format!("{}/chat", sink.url()))].into_iter(),
    );
    sink.go_away();
    let replicas: Vec<_> = ["one", "two"]
        .into_iter()
        .map(|name| {
            let options = options(dir.path(), name, &manifests, &["--provider-rate=100000"]);
            let controller = Controller::start(&options).expect("the controller starts");
            (options, controller)
        })
        .collect();
    // An object's events go to one of them as long as its connection lasts.
    for n in 0..EVENTS {
        for (object, (options, _)) in replicas.iter().enumerate() {
            post(&Client::plain(options.addresses.events), &event(object, n));
        }
    }
    // One is killed, and what it has comes when it is back: no other has it.
    let mut replicas = replicas.into_iter();
    let (options, first) = replicas.next().expect("the first");
    let (_, second) = replicas.next().expect("the second");
    first.kill();
    sink.come_back();
    await_quiet(&second);
    let of_the_second: Vec<_> = taken(&sink, "/chat")
        .into_iter()
        .filter(|(object, _)| *object == 1)
        .collect();
    assert_eq!(of_the_second.len(), EVENTS);
    let first = Controller::start(&options).expect("the controller starts again");
    await_quiet(&first);
    let _came_again = in_order(&taken(&sink, "/chat"), 2, EVENTS);
}

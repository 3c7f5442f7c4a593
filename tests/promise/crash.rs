//! The provider is down while ten thousand events come, and the controller is killed again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use e2e::Sink;
use e2e::client::Client;
use e2e::controller::Controller;
use e2e::wait::until;

use crate::stand::{LONG, await_quiet, event, folder, in_order, options, post, providers, taken};

const OBJECTS: usize = 100;
const EACH: usize = 100;
/// Objects whose events are posted at once.
const SENDERS: usize = 8;

pub(crate) fn ten_thousand() {
    let dir = folder();
    let mut sink = Sink::start();
    let manifests = providers(
        dir.path(),
        [("chat", format!("{}/chat", sink.url()))].into_iter(),
    );
    let flags = ["--provider-rate=100000", "--provider-concurrency=16"];
    let options = options(dir.path(), "one", &manifests, &flags);
    let mut controller = Controller::start(&options).expect("the controller starts");
    let begin = Instant::now();

    sink.go_away();
    let accepted = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let client = Client::plain(options.addresses.events);
            let accepted = accepted.clone();
            thread::spawn(move || {
                for object in (sender..OBJECTS).step_by(SENDERS) {
                    for n in 0..EACH {
                        post(&client, &event(object, n));
                        accepted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    // Three times while events come, and nobody takes them.
    for part in 1..=3 {
        until("a part of the events", LONG, || {
            (accepted.load(Ordering::Relaxed) >= OBJECTS * EACH * part / 4).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
        controller.kill();
        controller = Controller::start(&options).expect("the controller starts again");
    }
    for sender in senders {
        sender.join().expect("all events are accepted");
    }
    let posted = begin.elapsed();
    // Twice while they are delivered.
    sink.come_back();
    for part in 1..=2 {
        until("a part of the alerts", LONG, || {
            (sink.count() >= OBJECTS * EACH * part / 3).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
        controller.kill();
        controller = Controller::start(&options).expect("the controller starts again");
    }
    await_quiet(&controller);

    let taken = taken(&sink, "/chat");
    let again = in_order(&taken, OBJECTS, EACH);
    println!(
        "{} events accepted in {posted:?}, delivered after {:?}; {again} came again",
        OBJECTS * EACH,
        begin.elapsed()
    );
    // What was on its way at each kill, and what had been taken a moment before it.
    assert!(again <= OBJECTS * EACH / 50, "{again} came again");
}

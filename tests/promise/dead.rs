//! One provider takes connections and never answers.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use e2e::Sink;
use e2e::client::Client;
use e2e::controller::Controller;
use e2e::wait::until;

use crate::stand::{LONG, event, folder, in_order, options, post, providers, taken};

const PROVIDERS: usize = 20;
const EVENTS: usize = 50;
const OBJECTS: usize = 5;

/// How long a Provider has for an answer, unless it says otherwise.
const TIMEOUT: Duration = Duration::from_secs(15);

pub(crate) fn one_of_twenty() {
    let dir = folder();
    let sink = Sink::start();
    // Its backlog takes connections; nobody reads from them.
    let dead = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
    let dead = (dead.local_addr().expect("it has an address"), dead);
    let names: Vec<String> = (0..PROVIDERS).map(|n| format!("chat-{n}")).collect();
    let addresses = names.iter().enumerate().map(|(n, name)| {
        let address = match n {
            7 => format!("http://{}/chat-7", dead.0),
            _ => format!("{}/{name}/", sink.url()),
        };
        (name.as_str(), address)
    });
    let manifests = providers(dir.path(), addresses);
    let options = options(dir.path(), "one", &manifests, &["--provider-rate=100000"]);
    let controller = Controller::start(&options).expect("the controller starts");
    let client = Client::plain(options.addresses.events);
    let begin = Instant::now();
    for n in 0..EVENTS / OBJECTS {
        for object in 0..OBJECTS {
            post(&client, &event(object, n));
        }
    }
    let posted = begin.elapsed();
    let want = (PROVIDERS - 1) * EVENTS;
    until("what all others get", LONG, || {
        (sink.count() >= want).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}"));
    let took = begin.elapsed();
    for (n, name) in names.iter().enumerate() {
        if n != 7 {
            let taken = taken(&sink, &format!("/{name}/"));
            assert_eq!(
                in_order(&taken, OBJECTS, EVENTS / OBJECTS),
                0,
                "{name}: none came twice"
            );
        }
    }
    println!(
        "{want} alerts to {} providers in {took:?}, posted in {posted:?}",
        PROVIDERS - 1
    );
    // The dead one has not even been given up on once.
    assert!(took - posted < TIMEOUT, "{took:?}");
    let waiting = controller.metric("hookgate_alerts_pending", &["name=\"chat-7\""]);
    assert_eq!(waiting as usize, EVENTS);
}

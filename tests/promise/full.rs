//! The disk is full: a file system of its own, as small as a spool can be.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::Sink;
use e2e::client::Client;
use e2e::controller::Controller;
use e2e::process::Process;
use e2e::wait::{PATIENCE, until};

use crate::stand::{event, folder, in_order, options, post, providers, taken};

/// What a controller needs to see a file system that nobody else sees. With a user namespace, so that it needs no rights.
const APART: [&str; 4] = ["unshare", "--map-root-user", "--mount", "sh"];

pub(crate) fn disk() {
    let dir = folder();
    let sink = Sink::start();
    let manifests = providers(
        dir.path(),
        [("chat", format!("{}/chat", sink.url()))].into_iter(),
    );
    let options = options(dir.path(), "one", &manifests, &["--provider-rate=100000"]);
    let spool = dir.path().join("one/spool");
    fs::create_dir_all(&spool).expect("a folder can be made");
    let (program, command) = (APART[0], Controller::command(&options));
    let mut apart = Command::new(program);
    let mount = "mount -t tmpfs -o size=8m tmpfs \"$0\" && exec \"$@\"";
    apart.args(&APART[1..]).args(["-c", mount]).arg(&spool);
    apart.arg(command.get_program()).args(command.get_args());
    let health = Client::plain(options.addresses.health).timeout(Duration::from_secs(2));
    let is_ready = || {
        health
            .get("/readyz")
            .is_ok_and(|answer| answer.status == 200)
    };
    let process = Process::start(apart, "controller", dir.path(), is_ready);
    let process = process.unwrap_or_else(|error| {
        panic!("{error}; this needs unshare (util-linux) and user namespaces, or root")
    });
    let seen = inside(&process, &spool);
    let client = Client::plain(options.addresses.events);
    post(&client, &event(0, 0));

    let filler = seen.join("filler");
    fill(&filler);
    let status = |n: usize| client.send(event(0, n)).expect("it answers").status;
    // A segment may have room left for a few.
    let mut accepted = 1;
    until("503", PATIENCE, || match status(accepted) {
        202 => {
            accepted += 1;
            None
        }
        status => {
            assert_eq!(status, 503, "of event {accepted}");
            Some(())
        }
    })
    .expect("a full disk is told");
    assert_eq!(status(accepted), 503);
    assert_eq!(failing(&options.addresses.metrics), "1");

    fs::remove_file(&filler).expect("there is room again");
    post(&client, &event(0, accepted));
    let all = accepted + 1;
    let delivered = || (sink.count() >= all).then_some(());
    until("what was accepted is delivered", PATIENCE, delivered)
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(in_order(&taken(&sink, "/chat"), 1, all), 0);
    assert_eq!(failing(&options.addresses.metrics), "0");
}

/// The folder as the process sees it.
fn inside(process: &Process, folder: &Path) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{}/root", process.id()));
    root.join(folder.strip_prefix("/").expect("it is absolute"))
}

fn fill(file: &Path) {
    let mut file = File::create(file).expect("a file can be made");
    let block = [0; 4096];
    while file.write_all(&block).is_ok() {}
    let byte = [0];
    while file.write_all(&byte).is_ok() {}
}

fn failing(metrics: &std::net::SocketAddr) -> String {
    let text = Client::plain(*metrics)
        .get("/metrics")
        .expect("metrics are served")
        .text();
    let line = text
        .lines()
        .find(|line| line.starts_with("hookgate_spool_failing "));
    line.and_then(|line| line.split(' ').nth(1))
        .unwrap_or_default()
        .to_owned()
}

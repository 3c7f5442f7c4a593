//! The API server goes away and comes back; the process is stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use e2e::manifests::Receiver;
use e2e::trials::{Trials, expect};
use e2e::wait::{self, PATIENCE};
use e2e::{Cluster, Forge, Tunnel};
use rustix::process::Signal;

use crate::hookgate::{Hookgate, Stand, calls, ready, requested_at};

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        .alone(
            "while_the_api_server_is_away_hooks_get_503_and_the_last_known_receivers_stay",
            outage,
        )
        .alone("while_the_api_server_hangs_hooks_get_503_in_time", hung)
        .alone(
            "what_was_deleted_before_a_compaction_is_found_gone_by_a_new_list",
            compacted,
        )
        .alone(
            "a_cut_connection_loses_no_hook_that_was_answered_200_and_no_change",
            cut,
        )
        .alone(
            "a_start_without_an_api_server_answers_503_and_mends_itself",
            late,
        )
        .alone(
            "a_kill_in_the_middle_loses_no_hook_that_was_answered_200",
            killed,
        )
        .alone(
            "a_stop_turns_readiness_off_first_and_loses_no_hook",
            stopped,
        )
}

fn outage() {
    let mut cluster = Cluster::start();
    let hookgate = Hookgate::start(&cluster, "hookgate", &[]);
    let receiver = ready(&cluster, Receiver::new("github", "outage"));
    let forge = Forge::new();
    let send = |hook| hookgate.client().send(hook).expect("hookgate answers");
    assert_eq!(send(forge.hook(&receiver)).status, 200);

    cluster.server_mut().stop();
    let begin = Instant::now();
    expect("a genuine hook", &send(forge.hook(&receiver)), 503);
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(send(forge.hook(&receiver).forged()).status, 400);
    assert_eq!(
        send(forge.hook(&receiver).with_path(&receiver.path_with(b"x"))).status,
        404
    );
    assert!(hookgate.is_ready(), "what was known stays in use");

    cluster
        .server_mut()
        .start_again()
        .expect("the API server starts again");
    wait::until("200", PATIENCE, || {
        (send(forge.hook(&receiver)).status == 200).then_some(())
    })
    .expect("hooks are taken again");
    let another = ready(&cluster, Receiver::new("github", "afterwards"));
    assert_eq!(send(forge.hook(&another)).status, 200);
}

fn hung() {
    let mut cluster = Cluster::start();
    let hookgate = Hookgate::start(&cluster, "hookgate", &[]);
    let receiver = ready(&cluster, Receiver::new("github", "hung"));
    let forge = Forge::new();
    let send = |hook| hookgate.client().send(hook).expect("hookgate answers");
    assert_eq!(send(forge.hook(&receiver)).status, 200);

    cluster.server_mut().signal(Signal::STOP);
    let begin = Instant::now();
    let answer = send(forge.hook(&receiver));
    let took = begin.elapsed();
    let forged = send(forge.hook(&receiver).forged());
    cluster.server_mut().signal(Signal::CONT);
    expect("a genuine hook", &answer, 503);
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(forged.status, 400);

    wait::until("200", PATIENCE, || {
        (send(forge.hook(&receiver)).status == 200).then_some(())
    })
    .expect("hooks are taken again");
}

fn compacted() {
    let mut cluster = Cluster::start();
    let hookgate = Hookgate::start(&cluster, "hookgate", &[]);
    let kept = ready(&cluster, Receiver::new("github", "kept"));
    let lost = ready(&cluster, Receiver::new("github", "lost"));
    let forge = Forge::new();
    let send = |hook| {
        hookgate
            .client()
            .send(hook)
            .expect("hookgate answers")
            .status
    };
    assert_eq!(send(forge.hook(&lost)), 200);
    let lists = |cluster: &Cluster| {
        let calls = calls(cluster, "").into_iter();
        calls.filter(|call| call == "list receivers").count()
    };
    let before = lists(&cluster);

    // No watch will ever tell of it, and none can go on from where it was.
    cluster.server_mut().stop();
    let key = "/registry/notification.toolkit.fluxcd.io/receivers";
    let key = format!("{key}/{}/lost", lost.namespace);
    cluster.etcd().delete_and_compact(&key);
    cluster
        .server_mut()
        .start_again()
        .expect("the API server starts again");
    wait::until("404", PATIENCE, || {
        (send(forge.hook(&lost)) == 404).then_some(())
    })
    .expect("the deleted Receiver goes");
    assert!(lists(&cluster) > before, "only a list can have told");
    wait::until("200", PATIENCE, || {
        (send(forge.hook(&kept)) == 200).then_some(())
    })
    .expect("the other one is served");
}

fn late() {
    let mut cluster = Cluster::start();
    let first = Hookgate::start(&cluster, "first", &[]);
    let receiver = ready(&cluster, Receiver::new("github", "late"));
    drop(first);
    cluster.server_mut().stop();
    let hookgate = Hookgate::spawn(&cluster, "hookgate", &[]);
    let hook = || Forge::new().hook(&receiver);
    let answered = wait::until("an answer", PATIENCE, || {
        hookgate.client().send(hook()).ok()
    });
    expect(
        "before there is a table",
        &answered.expect("it listens"),
        503,
    );
    assert!(!hookgate.is_ready());
    cluster
        .server_mut()
        .start_again()
        .expect("the API server starts again");
    wait::until("200", PATIENCE, || {
        let status = hookgate
            .client()
            .send(hook())
            .expect("hookgate answers")
            .status;
        assert!([200, 503].contains(&status), "{status}");
        (status == 200).then_some(())
    })
    .expect("it mends itself");
    assert!(hookgate.is_ready());
}

fn stopped() {
    let cluster = Cluster::start();
    let mut hookgate = Hookgate::start(&cluster, "hookgate", &["--shutdown-delay=3s"]);
    let receiver = ready(&cluster, Receiver::new("github", "stopped"));
    hookgate.process.signal(Signal::TERM);
    wait::until("readiness off", Duration::from_secs(2), || {
        (!hookgate.is_ready()).then_some(())
    })
    .expect("readiness goes first");
    let answer = hookgate.client().send(Forge::new().hook(&receiver));
    assert_eq!(answer.expect("hooks are still taken").status, 200);
    assert!(hookgate.process.is_running());
    let status = hookgate
        .process
        .wait(Duration::from_secs(20))
        .expect("it ends");
    assert!(status.success());
    let at = requested_at(&cluster, "GitRepository", &receiver.namespace, "stopped");
    assert!(at.is_some());
}

/// Connections to the API server are cut again and again, those of watches among them, while hooks come.
fn cut() {
    let cluster = Cluster::start();
    let tunnel = Tunnel::to(cluster.server().address());
    let kubeconfig = format!(
        "--kubeconfig={}",
        cluster.kubeconfig_through(&tunnel).display()
    );
    let flags = ["--trigger-interval=100ms", &kubeconfig];
    let hookgate = Hookgate::start(&cluster, "hookgate", &flags);
    let receiver = ready(&cluster, Receiver::new("github", "cut"));
    let watches = || {
        let calls = calls(&cluster, "").into_iter();
        calls.filter(|call| call == "watch receivers").count()
    };
    let watched = watches();
    let senders = Senders::start(&hookgate, &receiver, &[200, 503]);
    for round in 1..=5 {
        let before = patches(&cluster, &receiver);
        wait::until("another PATCH", PATIENCE, || {
            (patches(&cluster, &receiver) > before).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {}", hookgate.process.log()));
        assert!(tunnel.cut() > 0, "round {round}");
    }
    let another = ready(&cluster, Receiver::new("github", "afterwards"));
    let answer = hookgate.client().send(Forge::new().hook(&another));
    assert_eq!(answer.expect("hookgate answers").status, 200);
    assert!(watches() > watched, "the watches were taken up again");
    senders.stop();
    followed_by_a_patch(&cluster, &receiver, senders.last());
}

fn killed() {
    let cluster = Cluster::start();
    let hookgate = Hookgate::start(&cluster, "hookgate", &["--trigger-interval=300ms"]);
    let receiver = ready(&cluster, Receiver::new("github", "killed"));
    let senders = Senders::start(&hookgate, &receiver, &[200]);
    // Some have been answered by then, and others wait for the next PATCH.
    wait::until("two PATCHes", PATIENCE, || {
        (patches(&cluster, &receiver) >= 2).then_some(())
    })
    .expect("hooks cause PATCHes");
    hookgate.process.kill();
    followed_by_a_patch(&cluster, &receiver, senders.last());
}

fn patches(cluster: &Cluster, receiver: &Receiver) -> usize {
    let calls = calls(cluster, &receiver.namespace).into_iter();
    calls.filter(|call| call == "patch gitrepositories").count()
}

/// Nothing that was answered 200 came after the last PATCH.
fn followed_by_a_patch(cluster: &Cluster, receiver: &Receiver, last: SystemTime) {
    let last = last
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_nanos();
    let at = requested_at(
        cluster,
        "GitRepository",
        &receiver.namespace,
        &receiver.name,
    );
    let at = nanos(&at.expect("it was asked"));
    assert!(
        at >= last,
        "the last PATCH at {at} was before a hook of {last}"
    );
}

/// Senders that go on until they are stopped, or until nobody listens.
struct Senders {
    is_over: Arc<AtomicBool>,
    senders: Vec<JoinHandle<Option<SystemTime>>>,
}

impl Senders {
    /// Starts them; another status than these is a failure.
    fn start(hookgate: &Hookgate, receiver: &Receiver, allowed: &[u16]) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let client = hookgate.client();
        let senders = (0..8).map(|_| {
            let (client, receiver) = (client.clone(), receiver.clone());
            let (is_over, allowed) = (is_over.clone(), allowed.to_vec());
            thread::spawn(move || {
                let mut last = None;
                while !is_over.load(Ordering::Acquire) {
                    let sent = SystemTime::now();
                    match client.send(Forge::new().hook(&receiver)) {
                        Ok(answer) if answer.status == 200 => last = Some(sent),
                        Ok(answer) if allowed.contains(&answer.status) => {}
                        Ok(answer) => panic!("{answer:?}"),
                        Err(_) => break,
                    }
                }
                last
            })
        });
        let senders = senders.collect();
        Self { is_over, senders }
    }

    fn stop(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// The time before the last hook that got 200.
    fn last(self) -> SystemTime {
        let ended = self.senders.into_iter();
        let ended = ended.map(|sender| sender.join().expect("a sender ends"));
        ended.flatten().max().expect("a hook was answered")
    }
}

/// RFC 3339 in UTC as nanoseconds since 1970.
fn nanos(text: &str) -> u128 {
    let numbers: Vec<u128> = text
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().expect("digits"))
        .collect();
    let [year, month, day, hour, minute, second, fraction] = numbers[..] else {
        panic!("{text:?} has no seven numbers");
    };
    // Days of years that begin in March: the leap day is the last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let seconds = (days - 719_468) * 86_400 + hour * 3_600 + minute * 60 + second;
    seconds * 1_000_000_000 + fraction
}

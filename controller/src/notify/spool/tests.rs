//! The spool on real files: what it promises when it is killed, torn, full, and reopened.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize};

use proptest::prelude::*;
use tempfile::TempDir;

use super::log::Segment;
use super::*;

const SMALL: Limits = Limits {
    max_bytes: 1 << 20,
    max_entries: 1_000,
    max_age: Duration::from_secs(3600),
    segment_bytes: 4_096,
};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap()
}

fn open(folder: &Path) -> Spool {
    Spool::open(folder, SMALL, Room::default()).unwrap().0
}

fn new(chain: &str, event: &str) -> NewEntry {
    NewEntry {
        at_ms: 1_000,
        chain: chain.to_owned(),
        not_before_ms: 0,
        deliveries: vec![("apps/on-call".into(), "apps/slack".into())],
        event: event.as_bytes().to_vec(),
    }
}

fn append(spool: &Spool, event: &str) -> Result<u64, SpoolError> {
    runtime().block_on(spool.append(new("Kustomization/apps/web", event)))
}

fn id(entry: u64) -> DeliveryId {
    DeliveryId { entry, n: 0 }
}

/// Every delivery that is not over: its name, its state's word, and its event.
fn contents(spool: &Spool) -> Vec<(String, &'static str, String)> {
    let all = spool.list(usize::MAX, |_| true).into_iter();
    all.map(|listed| {
        let event = String::from_utf8(spool.event(listed.id).unwrap()).unwrap();
        (listed.id.to_string(), listed.delivery.state.word(), event)
    })
    .collect()
}

fn row(id: &str, word: &'static str, event: &str) -> (String, &'static str, String) {
    (id.to_owned(), word, event.to_owned())
}

fn dead(reason: &str) -> State {
    State::Dead {
        attempts: 1,
        at_ms: 1_000,
        reason: reason.to_owned(),
    }
}

#[test]
fn what_was_accepted_is_there_after_a_restart_and_what_was_delivered_is_not() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path());
    for event in ["one", "two", "three"] {
        append(&spool, event).unwrap();
    }
    assert_eq!(spool.take(1_000).unwrap().id, id(1));
    spool.settle(id(1), State::Delivered);
    assert_eq!(spool.take(1_000).unwrap().id, id(2));
    spool.settle(id(2), dead("refused"));
    drop(spool);
    let spool = open(folder.path());
    assert_eq!(
        contents(&spool),
        [row("2.0", "dead", "two"), row("3.0", "pending", "three")]
    );
    assert_eq!(spool.take(1_000).unwrap().id, id(3));
    assert_eq!(append(&spool, "four"), Ok(4));
}

#[test]
fn a_dead_letter_is_sent_again_when_asked_for_or_dropped_even_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path());
    append(&spool, "one").unwrap();
    append(&spool, "two").unwrap();
    for entry in [1, 2] {
        spool.take(1_000).unwrap();
        spool.settle(id(entry), dead("refused"));
    }
    assert_eq!(spool.take(1_000), None);
    let runtime = runtime();
    runtime.block_on(spool.retry(id(1), 2_000)).unwrap();
    runtime.block_on(spool.drop_delivery(id(2))).unwrap();
    let again = runtime.block_on(spool.drop_delivery(id(2)));
    assert_eq!(again, Err(SpoolError::Unknown(id(2))));
    drop(spool);
    let spool = open(folder.path());
    assert_eq!(contents(&spool), [row("1.0", "pending", "one")]);
    let taken = spool.take(2_000).unwrap();
    assert_eq!(taken.delivery.state, State::new(2_000));
    let in_flight = runtime.block_on(spool.drop_delivery(id(1)));
    assert_eq!(in_flight, Err(SpoolError::InFlight(id(1))));
}

#[test]
fn a_last_write_torn_at_any_byte_costs_itself_only() {
    let folder = TempDir::new().unwrap();
    let spool = open(folder.path());
    append(&spool, "one").unwrap();
    append(&spool, "two").unwrap();
    let file = folder.path().join("000000000001.log");
    let before = fs::metadata(&file).unwrap().len();
    append(&spool, "three").unwrap();
    drop(spool);
    let whole = fs::read(&file).unwrap();
    let before = usize::try_from(before).unwrap();
    for length in before..whole.len() {
        let torn = TempDir::new().unwrap();
        fs::write(torn.path().join("000000000001.log"), &whole[..length]).unwrap();
        let (spool, found) = Spool::open(torn.path(), SMALL, Room::default()).unwrap();
        assert_eq!(found.torn_bytes, (length - before) as u64);
        let kept = [row("1.0", "pending", "one"), row("2.0", "pending", "two")];
        assert_eq!(contents(&spool), kept, "cut at {length}");
        assert_eq!(append(&spool, "four"), Ok(3));
        drop(spool);
        let spool = open(torn.path());
        assert_eq!(contents(&spool).len(), 3, "cut at {length}");
    }
}

#[test]
fn two_processes_never_share_a_spool() {
    let folder = TempDir::new().unwrap();
    let _first = open(folder.path());
    let second = Spool::open(folder.path(), SMALL, Room::default());
    assert!(matches!(second, Err(OpenError::InUse(_))));
}

#[test]
fn the_spool_is_bounded_and_dead_letters_make_room_before_an_event_is_refused() {
    let folder = TempDir::new().unwrap();
    let limits = Limits {
        max_entries: 3,
        ..SMALL
    };
    let (spool, _) = Spool::open(folder.path(), limits, Room::default()).unwrap();
    for event in ["one", "two", "three"] {
        append(&spool, event).unwrap();
    }
    assert_eq!(append(&spool, "four"), Err(SpoolError::Full));
    spool.take(1_000).unwrap();
    spool.settle(id(1), dead("refused"));
    assert_eq!(append(&spool, "five"), Ok(4));
    let rows: Vec<_> = contents(&spool).into_iter().map(|row| row.2).collect();
    assert_eq!(rows, ["two", "three", "five"]);
    let limits = Limits {
        max_bytes: 2_000,
        ..SMALL
    };
    let spool = Spool::in_memory(limits, Room::default());
    assert_eq!(append(&spool, &"x".repeat(1_400)), Ok(1));
    assert_eq!(append(&spool, &"x".repeat(1_400)), Err(SpoolError::Full));
}

#[test]
fn what_is_too_old_is_given_up_and_then_forgotten() {
    let spool = Spool::in_memory(SMALL, Room::default());
    append(&spool, "one").unwrap();
    assert_eq!(spool.tend(1_000 + 3_600_000), 0);
    assert_eq!(spool.tend(1_001 + 3_600_000), 1);
    assert_eq!(contents(&spool), [row("1.0", "dead", "one")]);
    assert_eq!(spool.tend(1_002 + 7_200_000), 1);
    assert_eq!(contents(&spool), []);
}

#[test]
fn old_segments_go_although_an_old_event_still_waits() {
    let folder = TempDir::new().unwrap();
    let room = Room {
        rate: hook::bucket::Limit::per_second(1_000_000, 1_000_000),
        ..Room::default()
    };
    let (spool, _) = Spool::open(folder.path(), SMALL, room).unwrap();
    runtime().block_on(async {
        spool.append(new("slow", "old")).await.unwrap();
        for n in 0..2_000 {
            let event = format!("{n}").repeat(40);
            let entry = spool.append(new("fast", &event)).await.unwrap();
            while let Some(taken) = spool.take(1_000_000) {
                if taken.id == id(entry) {
                    spool.settle(taken.id, State::Delivered);
                } else {
                    let state = State::Pending {
                        attempts: 1,
                        next_ms: 9_000_000,
                        since_ms: 1_000,
                        error: Some("down".to_owned()),
                    };
                    spool.settle(taken.id, state);
                }
            }
        }
    });
    drop(spool);
    let files = fs::read_dir(folder.path()).unwrap();
    let bytes: u64 = files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes < 6 * SMALL.segment_bytes, "{bytes}");
    let spool = open(folder.path());
    assert_eq!(contents(&spool), [row("1.0", "pending", "old")]);
    assert_eq!(spool.wake_at(1_000_000), Some(9_000_000));
}

/// Files that fail when there is no room, and count.
#[derive(Clone, Debug)]
struct Faulty {
    room: Arc<AtomicU64>,
    syncs: Arc<AtomicUsize>,
    sync_fails: Arc<std::sync::atomic::AtomicBool>,
}

impl Faulty {
    fn new() -> Self {
        Self {
            room: Arc::new(AtomicU64::new(u64::MAX)),
            syncs: Arc::default(),
            sync_fails: Arc::default(),
        }
    }

    fn open(&self, folder: &Path) -> Spool {
        let disk = Box::new(self.clone());
        Spool::open_on(disk, folder, SMALL, Room::default())
            .unwrap()
            .0
    }
}

const ORDER: std::sync::atomic::Ordering = std::sync::atomic::Ordering::SeqCst;

impl Disk for Faulty {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Segment>> {
        Ok(Box::new(FaultySegment {
            real: Files.open(path)?,
            faults: self.clone(),
        }))
    }
}

#[derive(Debug)]
struct FaultySegment {
    real: Box<dyn Segment>,
    faults: Faulty,
}

impl Segment for FaultySegment {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = self.faults.room.load(ORDER);
        let fits = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.faults.room.store(room - fits as u64, ORDER);
        self.real.append(&bytes[..fits])?;
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.faults.syncs.fetch_add(1, ORDER);
        std::thread::sleep(Duration::from_millis(2));
        if self.faults.sync_fails.load(ORDER) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.real.sync()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.real.truncate(length)
    }
}

#[test]
fn a_full_disk_is_an_error_to_the_caller_leaves_nothing_and_mends_itself() {
    let folder = TempDir::new().unwrap();
    let disk = Faulty::new();
    let spool = disk.open(folder.path());
    append(&spool, "one").unwrap();
    for room in [0, 1, 20, 100] {
        disk.room.store(room, ORDER);
        let refused = append(&spool, "two");
        assert!(matches!(refused, Err(SpoolError::Write(_))), "{refused:?}");
        assert!(spool.stats().is_failing);
        assert_eq!(contents(&spool), [row("1.0", "pending", "one")]);
    }
    // What became of deliveries meanwhile is written when there is room again.
    spool.take(1_000).unwrap();
    spool.settle(id(1), State::Delivered);
    disk.room.store(u64::MAX, ORDER);
    let entry = append(&spool, "three").unwrap();
    assert!(!spool.stats().is_failing);
    drop(spool);
    let (spool, found) = Spool::open(folder.path(), SMALL, Room::default()).unwrap();
    assert_eq!((found.rotten_bytes, found.torn_bytes), (0, 0));
    assert_eq!(
        contents(&spool),
        [row(&id(entry).to_string(), "pending", "three")]
    );
}

#[test]
fn an_event_whose_fsync_failed_is_refused_and_the_next_segment_is_taken() {
    let folder = TempDir::new().unwrap();
    let disk = Faulty::new();
    let spool = disk.open(folder.path());
    append(&spool, "one").unwrap();
    disk.sync_fails.store(true, ORDER);
    assert!(append(&spool, "two").is_err());
    disk.sync_fails.store(false, ORDER);
    append(&spool, "three").unwrap();
    drop(spool);
    assert!(folder.path().join("000000000002.log").exists());
    let spool = open(folder.path());
    let events: Vec<_> = contents(&spool).into_iter().map(|row| row.2).collect();
    assert_eq!(events, ["one", "three"]);
}

#[test]
fn many_appends_share_few_fsyncs() {
    let folder = TempDir::new().unwrap();
    let disk = Faulty::new();
    let spool = Arc::new(disk.open(folder.path()));
    let before = disk.syncs.load(ORDER);
    runtime().block_on(async {
        let appends: Vec<_> = (0..500)
            .map(|n| {
                let spool = spool.clone();
                tokio::spawn(async move { spool.append(new(&n.to_string(), "event")).await })
            })
            .collect();
        for append in appends {
            append.await.unwrap().unwrap();
        }
    });
    let syncs = disk.syncs.load(ORDER) - before;
    assert!(syncs < 250, "{syncs} fsyncs for 500 events");
    assert_eq!(contents(&spool).len(), 500);
}

#[test]
fn a_hundred_thousand_entries_are_read_back() {
    let folder = TempDir::new().unwrap();
    let limits = Limits {
        max_bytes: 1 << 30,
        max_entries: 200_000,
        segment_bytes: 8 << 20,
        ..SMALL
    };
    let (spool, _) = Spool::open(folder.path(), limits, Room::default()).unwrap();
    let spool = Arc::new(spool);
    let event = "e".repeat(500);
    runtime().block_on(async {
        let tasks: Vec<_> = (0..200)
            .map(|_| {
                let (spool, event) = (spool.clone(), event.clone());
                tokio::spawn(async move {
                    for n in 0..500 {
                        let chain = format!("Kustomization/apps/{n}");
                        spool.append(new(&chain, &event)).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    drop(spool);
    let started = tokio::time::Instant::now();
    let (spool, found) = Spool::open(folder.path(), limits, Room::default()).unwrap();
    let took = started.elapsed();
    assert_eq!(found.records, 100_000);
    assert_eq!(spool.stats().entries, 100_000);
    // A second in a release build; this one is not optimised.
    let limit = if cfg!(debug_assertions) { 20 } else { 1 };
    assert!(took < Duration::from_secs(limit), "{took:?}");
}

const CHILD: &str = "HOOKGATE_TEST_SPOOL";

#[test]
#[ignore = "the child process of the next test"]
fn child_appends_until_it_is_killed() {
    #[expect(
        clippy::disallowed_methods,
        reason = "how a test tells its child where"
    )]
    let folder = std::env::var(CHILD).unwrap();
    let spool = Arc::new(open(Path::new(&folder)));
    runtime().block_on(async {
        for n in 0..100_000 {
            let entry = spool
                .append(new(&n.to_string(), &format!("event {n}")))
                .await;
            println!("\naccepted {}", entry.unwrap());
        }
    });
}

#[test]
fn what_was_accepted_before_a_kill_is_there_after_it() {
    for round in 1..=3_usize {
        let folder = TempDir::new().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture"])
            .arg("notify::spool::tests::child_appends_until_it_is_killed")
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut accepted = BTreeSet::new();
        for line in lines.map_while(Result::ok) {
            if let Some(entry) = line.strip_prefix("accepted ") {
                accepted.insert(format!("{entry}.0"));
            }
            if accepted.len() == 50 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(accepted.len() >= 50 * round, "{}", accepted.len());
        let there: BTreeSet<_> = contents(&open(folder.path()))
            .into_iter()
            .map(|row| row.0)
            .collect();
        let lost: Vec<_> = accepted.difference(&there).collect();
        assert_eq!(lost, Vec::<&String>::new());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(u8, u16),
    Send(bool),
    Drop(u8),
    Reopen,
    Tend,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0_u8..4, 0_u16..2_000).prop_map(|(chain, length)| Step::Append(chain, length)),
        4 => any::<bool>().prop_map(Step::Send),
        1 => any::<u8>().prop_map(Step::Drop),
        1 => Just(Step::Reopen),
        1 => Just(Step::Tend),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_the_spool_knows_what_is_not_done(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = runtime();
        let folder = TempDir::new().unwrap();
        let mut spool = open(folder.path());
        let mut model: Vec<(u64, bool, String)> = Vec::new();
        for step in steps {
            match step {
                Step::Append(chain, length) => {
                    let event = format!("{length}-").repeat(usize::from(length) / 8);
                    let entry = runtime.block_on(spool.append(new(&chain.to_string(), &event))).unwrap();
                    model.push((entry, true, event));
                }
                Step::Send(delivered) => {
                    if let Some(taken) = spool.take(1_000_000) {
                        let at = model.iter().position(|row| row.0 == taken.id.entry).unwrap();
                        if delivered {
                            spool.settle(taken.id, State::Delivered);
                            model.remove(at);
                        } else {
                            spool.settle(taken.id, dead("refused"));
                            model[at].1 = false;
                        }
                    }
                }
                Step::Drop(n) => {
                    if let Some(row) = model.get(usize::from(n)).cloned() {
                        runtime.block_on(spool.drop_delivery(id(row.0))).unwrap();
                        model.remove(usize::from(n));
                    }
                }
                Step::Reopen => {
                    drop(spool);
                    spool = open(folder.path());
                }
                Step::Tend => { spool.tend(1_000); }
            }
            let want: Vec<_> = model
                .iter()
                .map(|(entry, pending, event)| {
                    row(&id(*entry).to_string(), if *pending { "pending" } else { "dead" }, event)
                })
                .collect();
            prop_assert_eq!(contents(&spool), want);
        }
    }
}

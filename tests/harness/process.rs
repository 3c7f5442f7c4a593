//! A process as a value: started, awaited, logged, and stopped when dropped.
//!
//! Children are spawned by one thread that lives as long as the test binary: Envoy asks the kernel to kill it when
//! the *thread* that spawned it ends (`PR_SET_PDEATHSIG`), and test threads end early.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::wait::{PATIENCE, POLL};

/// How long a process may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// How much of a log a failure shows.
const LOG_LINES: usize = 40;
const LINE_CHARS: usize = 500;

/// Why a process is not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It ended before it was ready.
    #[error("{name} exited early ({status}); the end of its log:\n{log}")]
    ExitedEarly {
        /// Its name.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its last lines.
        log: String,
    },
    /// Its log could not be made.
    #[error("failed to make the log of {name} in {dir:?}")]
    Log {
        /// Its name.
        name: String,
        /// Where the log should be.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It could not be started at all.
    #[error("failed to start {name} ({program:?})")]
    Spawn {
        /// Its name.
        name: String,
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It runs, but did not become ready in time.
    #[error("{name} was not ready after {after:?}; the end of its log:\n{log}")]
    TimedOut {
        /// Its name.
        name: String,
        /// How long it had.
        after: Duration,
        /// Its last lines.
        log: String,
    },
}

/// A running process, its log, and the folder it works in.
///
/// Dropping it sends SIGTERM, waits, kills, and waits.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    // Dropped after the child is gone: `Drop for Process` runs before its fields are dropped.
    _dirs: Vec<TempDir>,
}

impl Process {
    /// Starts `command` with both outputs in `log_dir/NAME.log` and polls `ready` for at most [`PATIENCE`].
    ///
    /// # Errors
    ///
    /// Tells a process that *exited early* from one that *timed out*, with the last lines of its log.
    pub fn start(
        command: Command,
        name: &str,
        log_dir: &Path,
        mut ready: impl FnMut() -> bool,
    ) -> Result<Self, Error> {
        Self::start_within(PATIENCE, command, name, log_dir, &mut ready)
    }

    /// As [`Process::start`], for what takes longer than others.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn start_within(
        patience: Duration,
        command: Command,
        name: &str,
        log_dir: &Path,
        mut ready: impl FnMut() -> bool,
    ) -> Result<Self, Error> {
        let mut process = Self::spawn(command, name, log_dir)?;
        process.await_ready(patience, &mut ready)?;
        Ok(process)
    }

    /// Starts `command` and does not wait for anything.
    ///
    /// # Errors
    ///
    /// When its log cannot be made or it cannot be started.
    pub fn spawn(mut command: Command, name: &str, log_dir: &Path) -> Result<Self, Error> {
        let (log, file, copy) = open_log(log_dir, name).map_err(|source| Error::Log {
            name: name.to_owned(),
            dir: log_dir.to_owned(),
            source,
        })?;
        command.stdin(Stdio::null()).stdout(file).stderr(copy);
        let program = PathBuf::from(command.get_program());
        let child = spawn_from_the_long_lived_thread(command).map_err(|source| Error::Spawn {
            name: name.to_owned(),
            program,
            source,
        })?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
            _dirs: Vec::new(),
        })
    }

    /// Keeps `dir` until the process is gone.
    #[must_use]
    pub fn holding(mut self, dir: TempDir) -> Self {
        self._dirs.push(dir);
        self
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Where it writes.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Its resident memory in bytes, 0 when it is gone (`VmRSS` of /proc/PID/status).
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }

    /// Whether it has not ended by itself.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal. One that has ended already is left alone.
    pub fn signal(&mut self, signal: Signal) {
        if !self.is_running() {
            return; // The id may be somebody else's by now.
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _gone_meanwhile = kill_process(pid, signal);
        }
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(None) if start.elapsed() < patience => thread::sleep(POLL),
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
    }

    /// Asks it to end, waits, and kills it if it does not.
    pub fn stop(mut self) -> Option<ExitStatus> {
        self.end()
    }

    /// Kills it, without a chance to clean up.
    pub fn kill(mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }

    fn end(&mut self) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        if let Some(status) = self.wait(GRACE) {
            return Some(status);
        }
        eprintln!("{}: still there {GRACE:?} after SIGTERM, killed", self.name);
        let _gone_already = self.child.kill();
        self.child.wait().ok()
    }

    fn await_ready(
        &mut self,
        patience: Duration,
        ready: &mut dyn FnMut() -> bool,
    ) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                let log = self.last_lines();
                return Err(Error::ExitedEarly {
                    name: self.name.clone(),
                    status,
                    log,
                });
            }
            if ready() {
                return Ok(());
            }
            if start.elapsed() >= patience {
                let log = self.last_lines();
                return Err(Error::TimedOut {
                    name: self.name.clone(),
                    after: patience,
                    log,
                });
            }
            thread::sleep(POLL);
        }
    }

    fn last_lines(&self) -> String {
        let log = self.log();
        last_lines(&log, LOG_LINES)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The last lines of a log, each cut to a length that a terminal shows.
pub(crate) fn last_lines(log: &str, count: usize) -> String {
    let lines: Vec<String> = log
        .lines()
        .map(|line| line.chars().take(LINE_CHARS).collect())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A log of its own for each start: `NAME.log`, then `NAME-2.log`, so that a restart keeps the first one.
fn open_log(dir: &Path, name: &str) -> io::Result<(PathBuf, File, File)> {
    fs::create_dir_all(dir)?;
    let mut number = 1;
    loop {
        let file = if number == 1 {
            format!("{name}.log")
        } else {
            format!("{name}-{number}.log")
        };
        let path = dir.join(file);
        match File::create_new(&path) {
            Ok(file) => {
                let copy = file.try_clone()?;
                return Ok((path, file, copy));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

type Job = (Command, mpsc::Sender<io::Result<Child>>);

fn spawn_from_the_long_lived_thread(command: Command) -> io::Result<Child> {
    static SPAWNER: LazyLock<Mutex<mpsc::Sender<Job>>> = LazyLock::new(|| {
        let (jobs, inbox) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                for (mut command, answer) in inbox {
                    let _nobody_waits = answer.send(command.spawn());
                }
            })
            .expect("the spawner thread starts");
        Mutex::new(jobs)
    });
    let (answer, child) = mpsc::channel();
    SPAWNER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, answer))
        .expect("the spawner thread never ends");
    child.recv().expect("the spawner thread answers every job")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        command
    }

    #[test]
    fn a_process_that_ends_before_it_is_ready_is_told_from_a_slow_one() {
        let dir = TempDir::new().unwrap();
        let error = Process::start(
            shell("echo out of luck; exit 3"),
            "luck",
            dir.path(),
            || false,
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "luck exited early (exit status: 3); the end of its log:\nout of luck"
        );
    }

    #[test]
    fn a_process_that_is_not_ready_in_time_shows_the_end_of_its_log() {
        let dir = TempDir::new().unwrap();
        let mut process =
            Process::spawn(shell("echo busy; exec sleep 60"), "slow", dir.path()).unwrap();
        crate::wait::until("its log", PATIENCE, || {
            (!process.log().is_empty()).then_some(())
        })
        .unwrap();
        let error = process
            .await_ready(Duration::ZERO, &mut || false)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "slow was not ready after 0ns; the end of its log:\nbusy"
        );
    }

    #[test]
    fn a_dropped_process_is_gone_and_a_second_start_keeps_the_first_log() {
        let dir = TempDir::new().unwrap();
        let first = Process::start(shell("exec sleep 60"), "sleeper", dir.path(), || true).unwrap();
        let id = first.id();
        drop(first);
        let second = Process::spawn(shell("true"), "sleeper", dir.path()).unwrap();
        assert_eq!(
            (
                Path::new(&format!("/proc/{id}")).exists(),
                second.log_path()
            ),
            (false, dir.path().join("sleeper-2.log").as_path())
        );
    }

    #[test]
    fn a_process_outlives_the_thread_that_asked_for_it() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().to_owned();
        let mut process = thread::spawn(move || {
            Process::start(shell("exec sleep 60"), "orphan", &path, || true).unwrap()
        })
        .join()
        .unwrap();
        assert!(process.is_running());
    }
}

//! Runs a test target's trials side by side on one stage that outlives them all, and on stages of their own. A stage is
//! a World or a Cluster.
//!
//! One in a `static` would never be dropped, and its processes would outlive the tests. Here `main` owns it: it is
//! started by the first trial that asks for it and dropped before the exit code is returned.
//!
//! Trials that share a World use Receivers of their own ([`World::add`]), those that share a Cluster a namespace of their
//! own ([`crate::Cluster::namespace`]), so that counts do not mix.

use std::error::Error;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Trial};

use crate::client::{Client, Request, Response};
use crate::world::{Options, World, chain};

/// Trials at once, if the command line does not say: most of them wait.
const AT_ONCE: usize = 4;

/// What trials share: started by the first that asks for it, dropped after the last.
pub trait Stage: Send + Sync + 'static {
    /// Keeps its files when it is dropped, and tells where.
    fn keep_files(&mut self);
}

impl Stage for World {
    fn keep_files(&mut self) {
        Self::keep_files(self);
    }
}

/// The trials of a test target.
pub struct Trials<S = World> {
    shared: Arc<Shared<S>>,
    trials: Vec<Trial>,
}

/// Starts a stage, or says why not.
type Start<S> = dyn Fn() -> Result<S, Box<dyn Error + Send + Sync>> + Send + Sync;

struct Shared<S> {
    start: Box<Start<S>>,
    started: OnceLock<Result<S, String>>,
}

impl<S> Shared<S> {
    fn stage(&self) -> &S {
        let started = self
            .started
            .get_or_init(|| (self.start)().map_err(|error| chain(&*error)));
        match started {
            Ok(stage) => stage,
            Err(error) => panic!("what the trials share did not start: {error}"),
        }
    }
}

impl Trials {
    /// No trials yet; the shared World will be started with these options.
    #[must_use]
    pub fn on(options: Options) -> Self {
        Self::started_by(move || World::try_start(options.clone()))
    }
}

impl<S: Stage> Trials<S> {
    /// No trials yet; what they share will be started by `start`.
    #[must_use]
    pub fn started_by(
        start: impl Fn() -> Result<S, Box<dyn Error + Send + Sync>> + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared {
            start: Box::new(start),
            started: OnceLock::new(),
        };
        Self {
            shared: Arc::new(shared),
            trials: Vec::new(),
        }
    }

    /// A trial on what is shared.
    #[must_use]
    pub fn shared(mut self, name: impl Into<String>, trial: impl Fn(&S) + Send + 'static) -> Self {
        let shared = Arc::clone(&self.shared);
        self.trials.push(Trial::test(name, move || {
            trial(shared.stage());
            Ok(())
        }));
        self
    }

    /// A trial that starts what it needs.
    #[must_use]
    pub fn alone(mut self, name: impl Into<String>, trial: impl Fn() + Send + 'static) -> Self {
        self.trials.push(Trial::test(name, move || {
            trial();
            Ok(())
        }));
        self
    }

    /// Runs them as the command line asks, and drops what they shared.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        arguments.test_threads.get_or_insert(AT_ONCE);
        let conclusion = libtest_mimic::run(&arguments, self.trials);
        if conclusion.has_failed()
            && let Some(shared) = Arc::into_inner(self.shared)
            && let Some(Ok(mut stage)) = shared.started.into_inner()
        {
            stage.keep_files();
        }
        conclusion.exit_code()
    }
}

/// Options that trials start from: no waiting between reconcile requests, and Google's keys from the World's issuer.
#[must_use]
pub fn options() -> Options {
    Options {
        controller_flags: [
            "--trigger-interval=10ms",
            "--gcr-certs-url={issuer}/oauth2/v3/certs",
            "--gcr-iap-keys-url={issuer}/oauth2/v3/certs",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..Options::default()
    }
}

/// The statuses of the answers to these requests, `at_once` at a time; 0 where there was none.
#[must_use]
pub fn statuses(client: &Client, requests: Vec<Request>, at_once: usize) -> Vec<u16> {
    let answers = client.send_all(requests, at_once);
    answers
        .into_iter()
        .map(|answer| answer.map_or(0, |response| response.status))
        .collect()
}

/// Checks an answer: its status, that it has no body, and `Retry-After` exactly where it has to be.
///
/// # Panics
///
/// When it is another.
pub fn expect(what: &str, response: &Response, status: u16) {
    let retry_after = response.header("retry-after");
    let seconds = retry_after.map(|text| text.parse::<u32>());
    assert_eq!(
        (
            response.status,
            response.text().as_str(),
            seconds.is_some_and(|seconds| seconds.is_ok_and(|seconds| seconds > 0))
        ),
        (status, "", matches!(status, 429 | 503)),
        "{what}: status, body, Retry-After of {response:?}"
    );
}

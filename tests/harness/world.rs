//! Everything that a test needs, in start order: certificates, manifests, controller, Envoy. Dropped in reverse.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use crate::binaries;
use crate::client::{Client, Request, Response};
use crate::controller::{self, Addresses, Controller, Edge};
use crate::envoy::Envoy;
use crate::forge::{Forge, Hook};
use crate::issuer::Issuer;
use crate::manifests::{self, Manifests, Receiver};
use crate::ports;
use crate::process::last_lines;
use crate::tls::Tls;
use crate::wait::{self, PATIENCE};

/// How many answers in a row show that both workers have what one has: connections are spread by a hash.
const STEADY: usize = 16;

/// What a World is started with. `Options::default()` is Envoy 1.40.0 and the standard Receivers.
#[derive(Clone, Debug)]
pub struct Options {
    /// The version of Envoy.
    pub envoy: String,
    /// More arguments of Envoy.
    pub envoy_arguments: Vec<String>,
    /// More flags of `hookgate run`; `{issuer}` in them is the URL of the World's issuer.
    pub controller_flags: Vec<String>,
    /// More flags of `hookgate edge bootstrap`.
    pub edge_flags: Vec<String>,
    /// What is replaced in the bootstrap that Envoy gets; each must be there.
    pub edit_bootstrap: Vec<(String, String)>,
    /// The Receivers in the folder; the standard ones, which trust the World's issuer, if `None`. An OIDC provider
    /// without an issuer is given the World's.
    pub receivers: Option<Vec<Receiver>>,
    /// The filter that traps on a header, instead of the one that is shipped.
    pub trapping_filter: bool,
    /// The controller as it is shipped, instead of a debug build: for measurements.
    pub release: bool,
    /// Whether to wait until Envoy has taken the first table. Not for an Envoy that never will.
    pub await_table: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            envoy: binaries::ENVOY.to_owned(),
            envoy_arguments: Vec::new(),
            controller_flags: Vec::new(),
            edge_flags: Vec::new(),
            edit_bootstrap: Vec::new(),
            receivers: None,
            trapping_filter: false,
            release: false,
            await_table: true,
        }
    }
}

/// A running Hookgate.
///
/// Fields are dropped from top to bottom: Envoy first, its folder last.
#[derive(Debug)]
pub struct World {
    envoy: Option<Envoy>,
    controller: Option<Controller>,
    options: Options,
    controller_options: controller::Options,
    bootstrap: String,
    listener: SocketAddr,
    receivers: Vec<Receiver>,
    /// Signs hooks; its tokens are the issuer's.
    pub forge: Forge,
    /// The OIDC issuer that the generic-oidc Receiver trusts.
    pub issuer: Arc<Issuer>,
    /// The manifests folder.
    pub manifests: Manifests,
    /// The certificates.
    pub tls: Tls,
    dir: TempDir,
}

impl World {
    /// Starts everything.
    ///
    /// # Panics
    ///
    /// When a part cannot be had or does not start, with the line that says why.
    #[must_use]
    pub fn start(options: Options) -> Self {
        Self::try_start(options).unwrap_or_else(|error| panic!("{}", chain(&*error)))
    }

    /// Starts everything, or says why not.
    ///
    /// # Errors
    ///
    /// When a part cannot be had or does not start.
    pub fn try_start(options: Options) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let dir = tempfile::Builder::new().prefix("hookgate-").tempdir()?;
        let filter = if options.trapping_filter {
            binaries::filter_wasm_trap()?
        } else {
            binaries::filter_wasm()?
        };
        let binary = if options.release {
            binaries::hookgate_release()?
        } else {
            binaries::hookgate()?
        };
        let tls = Tls::create(dir.path());
        let issuer = Arc::new(Issuer::start());
        let manifests = Manifests::create(&dir.path().join("manifests"));
        let mut receivers = options
            .receivers
            .clone()
            .unwrap_or_else(|| manifests::standard(&issuer.url()));
        for receiver in &mut receivers {
            trust(receiver, &issuer);
            manifests.apply(receiver);
            manifests.apply_resources(receiver);
        }
        let controller_options = controller::Options {
            binary,
            manifests: manifests.dir().to_owned(),
            filter,
            control_socket: controller::control_socket(dir.path()),
            addresses: Addresses::reserve(),
            flags: options
                .controller_flags
                .iter()
                .map(|flag| flag.replace("{issuer}", &issuer.url()))
                .collect(),
            log_dir: dir.path().to_owned(),
        };
        let listener = ports::address();
        let edge = Edge {
            listener,
            admin: ports::address(),
            controller: controller_options.addresses,
            flags: options.edge_flags.clone(),
        };
        let mut bootstrap = edge.bootstrap(&controller_options.binary, &tls)?;
        for (from, to) in &options.edit_bootstrap {
            if !bootstrap.contains(from) {
                return Err(format!("the bootstrap does not contain {from:?}").into());
            }
            bootstrap = bootstrap.replace(from, to);
        }
        let mut world = Self {
            envoy: None,
            controller: Some(Controller::start(&controller_options)?),
            forge: Forge::with_issuer(Arc::clone(&issuer)),
            options,
            controller_options,
            bootstrap,
            listener,
            receivers,
            issuer,
            manifests,
            tls,
            dir,
        };
        world.envoy = Some(world.new_envoy()?);
        if world.options.await_table {
            world.await_table()?;
        }
        Ok(world)
    }

    /// The Receiver of this name, as it was last applied.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn receiver(&self, name: &str) -> &Receiver {
        self.receivers
            .iter()
            .find(|receiver| receiver.name == name)
            .unwrap_or_else(|| panic!("this World has no Receiver {name:?}"))
    }

    /// All Receivers, as they were last applied.
    #[must_use]
    pub fn receivers(&self) -> &[Receiver] {
        &self.receivers
    }

    /// Writes a Receiver and its Secret into the folder, new or changed. Envoy has it a moment later:
    /// [`World::await_answer`].
    pub fn apply(&mut self, receiver: &Receiver) {
        self.manifests.apply_resources(receiver);
        self.manifests.apply(receiver);
        self.receivers.retain(|held| held.name != receiver.name);
        self.receivers.push(receiver.clone());
    }

    /// Writes a Receiver that belongs to one trial among several of this World, and waits until both workers of Envoy
    /// know its path. The Receiver as it was written: with the World's issuer, where it named none.
    ///
    /// # Panics
    ///
    /// When they do not in time.
    #[must_use]
    pub fn add(&self, receiver: &Receiver) -> Receiver {
        let mut receiver = receiver.clone();
        trust(&mut receiver, &self.issuer);
        self.manifests.apply_resources(&receiver);
        self.manifests.apply(&receiver);
        // Neither refused nor charged to any limit: the method alone is wrong.
        let status = if receiver.suspend { 503 } else { 405 };
        self.await_everywhere(Request::get(&receiver.path()), status);
        receiver
    }

    /// Deletes a Receiver and its Secret.
    pub fn delete(&mut self, name: &str) {
        self.manifests.delete(name);
        self.receivers.retain(|held| held.name != name);
    }

    /// A genuine hook for the Receiver of this name.
    #[must_use]
    pub fn hook(&self, name: &str) -> Hook {
        self.forge.hook(self.receiver(name))
    }

    /// Sends through Envoy, over TLS and HTTP/1.1 if the request does not say otherwise.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub fn send(&self, request: impl Into<Request>) -> Response {
        self.client()
            .send(request)
            .unwrap_or_else(|error| panic!("Envoy gave no answer: {}", chain(&error)))
    }

    /// A client of Envoy's TLS listener.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::tls(self.listener, &self.tls)
    }

    /// Envoy.
    ///
    /// # Panics
    ///
    /// When it was stopped.
    #[must_use]
    pub fn envoy(&self) -> &Envoy {
        self.envoy.as_ref().expect("Envoy was stopped")
    }

    /// The controller.
    ///
    /// # Panics
    ///
    /// When it was stopped.
    #[must_use]
    pub fn controller(&self) -> &Controller {
        self.controller
            .as_ref()
            .expect("the controller was stopped")
    }

    /// Stops the controller; Envoy keeps its last table.
    pub fn stop_controller(&mut self) {
        self.controller = None;
    }

    /// Kills the controller in the middle of what it does.
    pub fn kill_controller(&mut self) {
        if let Some(controller) = self.controller.take() {
            controller.kill();
        }
    }

    /// Starts the controller again, on the same ports.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start_controller(&mut self) {
        self.controller = None;
        let started = Controller::start(&self.controller_options);
        self.controller = Some(started.unwrap_or_else(|error| panic!("{}", chain(&error))));
    }

    /// Starts the controller again with another filter, on the same ports.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn start_controller_with_filter(&mut self, filter: &Path) {
        filter.clone_into(&mut self.controller_options.filter);
        self.start_controller();
    }

    /// The filter that the controller gives to Envoy.
    #[must_use]
    pub fn filter(&self) -> &Path {
        &self.controller_options.filter
    }

    /// What the controller was started with.
    #[must_use]
    pub fn controller_options(&self) -> &controller::Options {
        &self.controller_options
    }

    /// The controller, to signal it or wait for its end.
    ///
    /// # Panics
    ///
    /// When it was stopped.
    pub fn controller_mut(&mut self) -> &mut Controller {
        self.controller
            .as_mut()
            .expect("the controller was stopped")
    }

    /// Stops Envoy.
    pub fn stop_envoy(&mut self) {
        self.envoy = None;
    }

    /// Starts Envoy again, without any table of before.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn restart_envoy(&mut self) {
        self.envoy = None;
        self.envoy = Some(
            self.new_envoy()
                .unwrap_or_else(|error| panic!("{}", chain(&error))),
        );
    }

    /// Waits until Envoy answers this request with this status: a change has arrived there.
    ///
    /// # Panics
    ///
    /// When it does not in time.
    pub fn await_answer(&self, request: impl Into<Request>, status: u16) -> Response {
        let request = request.into();
        let client = self.client();
        let mut last = "nothing".to_owned();
        let answer = wait::until(&format!("status {status}"), PATIENCE, || {
            let answer = client.send(&request);
            last = format!("{answer:?}");
            answer.ok().filter(|response| response.status == status)
        });
        answer.unwrap_or_else(|error| panic!("{error}; last: {last}"))
    }

    /// The same for both workers of Envoy: this status, many times in a row, each on a connection of its own.
    ///
    /// # Panics
    ///
    /// When they do not in time.
    pub fn await_everywhere(&self, request: impl Into<Request>, status: u16) {
        let request = request.into();
        let client = self.client();
        let mut seen = Vec::new();
        let answer = wait::until(&format!("status {status} everywhere"), PATIENCE, || {
            let answers = client.send_all(vec![request.clone(); STEADY], 4);
            seen = answers
                .iter()
                .map(|answer| answer.as_ref().map_or(0, |response| response.status))
                .collect();
            seen.iter().all(|held| *held == status).then_some(())
        });
        if let Err(error) = answer {
            panic!("{error}; last: {seen:?}");
        }
    }

    /// How often the controller has asked for this resource, `GitRepository/namespace/name`, to be reconciled.
    #[must_use]
    pub fn requested(&self, resource: &str) -> usize {
        count_requests(&self.controller().debug_requests(), resource)
    }

    /// Waits until the controller has asked for this resource, `GitRepository/namespace/name`, to be reconciled.
    ///
    /// # Panics
    ///
    /// When it has not in time.
    pub fn expect_requested(&self, resource: &str) {
        self.expect_requested_more_than(resource, 0);
    }

    /// The same, for at least one request beyond the `before` that [`World::requested`] told.
    ///
    /// # Panics
    ///
    /// When there is none in time.
    pub fn expect_requested_more_than(&self, resource: &str, before: usize) {
        let what = format!("a reconcile request of {resource} beyond {before}");
        let seen = wait::until(&what, PATIENCE, || {
            (self.requested(resource) > before).then_some(())
        });
        if let Err(error) = seen {
            panic!("{error}; requests: {}", self.controller().debug_requests());
        }
    }

    /// Keeps logs, certificates and manifests when the World is dropped, and tells where. A World that is dropped by a
    /// panic does so by itself.
    pub fn keep_files(&mut self) {
        self.dir.disable_cleanup(true);
        eprintln!("the logs are kept in {}", self.dir.path().display());
    }

    /// Where logs, certificates and manifests are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where senders come in.
    #[must_use]
    pub fn listener(&self) -> SocketAddr {
        self.listener
    }

    /// The bootstrap that Envoy runs on.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    fn new_envoy(&self) -> Result<Envoy, crate::envoy::Error> {
        let arguments: Vec<&str> = self
            .options
            .envoy_arguments
            .iter()
            .map(String::as_str)
            .collect();
        Envoy::start_with(
            &self.options.envoy,
            &self.bootstrap,
            self.dir.path(),
            &arguments,
        )
    }

    /// An unknown path is 503 before the first table and 404 after it.
    fn await_table(&self) -> Result<(), String> {
        let client = self.client();
        let path = format!("/hook/{}", "0".repeat(64));
        let mut last = "nothing".to_owned();
        wait::until("Envoy to take the first table", PATIENCE, || {
            let answer = client.send(Request::new("POST", &path).body("{}"));
            last = format!("{answer:?}");
            answer.ok().filter(|response| response.status == 404)
        })
        .map(|_| ())
        .map_err(|error| {
            let end = last_lines(&self.envoy().log(), 20);
            format!("{error}; last answer: {last}; the end of Envoy's log:\n{end}")
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_files();
        }
    }
}

/// Fills in the issuer where a Receiver names none.
fn trust(receiver: &mut Receiver, issuer: &Issuer) {
    for provider in &mut receiver.oidc_providers {
        if provider.issuer_url.is_empty() {
            provider.issuer_url = issuer.url();
        }
    }
}

/// How often `resource` (`Kind/namespace/name`) stands in a list of reconcile requests: as a string, or as an object with
/// `kind`, `namespace` and `name`.
fn count_requests(requests: &Value, resource: &str) -> usize {
    match requests {
        Value::Array(items) => items
            .iter()
            .map(|item| count_requests(item, resource))
            .sum(),
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
            let named = format!("{}/{}/{}", text("kind"), text("namespace"), text("name"));
            if named == resource {
                return 1;
            }
            fields
                .values()
                .map(|value| count_requests(value, resource))
                .sum()
        }
        Value::String(text) => usize::from(text == resource),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// An error with its causes, on one line each.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n  because ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_however_the_list_spells_them() {
        let list = serde_json::json!({"requests": [
            {"resource": "GitRepository/apps/web", "at": 1},
            {"resource": {"kind": "GitRepository", "namespace": "apps", "name": "web"}},
            {"kind": "GitRepository", "namespace": "apps", "name": "webs"},
        ]});
        assert_eq!(count_requests(&list, "GitRepository/apps/web"), 2);
    }
}

//! A real server of AMQP 1.0 on loopback, RabbitMQ, that wants TLS and a password; one queue plays a hub of Event Hubs.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::client::{Client, Request, Response};
use crate::process::Process;
use crate::tls::Tls;
use crate::wait::{self, PATIENCE};
use crate::world::chain;
use crate::{debian, ports};

/// Who may send and read: the name of a shared access policy.
pub const USER: &str = "flux";
/// The password of [`USER`]: the key of the policy.
pub const PASSWORD: &str = "hush-password";
/// The queue's name: a hub's.
pub const HUB: &str = "alerts";

/// Nine seconds on an idle machine, most of them to load code: what the machine has left over counts.
const SLOW_START: Duration = Duration::from_secs(120);

/// A running RabbitMQ. Dropping it stops it.
#[derive(Debug)]
pub struct RabbitMq {
    amqps: SocketAddr,
    management: SocketAddr,
    tls: Tls,
    // The server first: it says goodbye to the daemon that knows its port.
    _server: Process,
    _epmd: Process,
}

impl RabbitMq {
    /// Starts it; its log is `rabbitmq.log`. The queue is made by the first link to it.
    ///
    /// # Panics
    ///
    /// When it cannot be had or does not start.
    #[must_use]
    pub fn start(dir: &Path) -> Self {
        let root = debian::rabbitmq().unwrap_or_else(|error| panic!("{error}"));
        let home = dir.join("rabbitmq");
        fs::create_dir_all(&home).expect("a folder can be made");
        let (amqps, management, tls) = (ports::address(), ports::address(), Tls::create(&home));
        let write = |name: &str, text: String| {
            fs::write(home.join(name), text).expect("a configuration can be written");
        };
        write("rabbitmq.conf", configuration(amqps, management, &tls));
        write(
            "enabled_plugins",
            "[rabbitmq_amqp1_0, rabbitmq_management].\n".to_owned(),
        );
        let erlang = Erlang::new(&root, &home);
        let epmd = erlang.epmd();
        let epmd = Process::start(epmd, "epmd", dir, || {
            std::net::TcpStream::connect(erlang.epmd).is_ok()
        });
        let epmd = epmd.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let is_ready = || ask(management, Request::get("/api/overview")).is_some();
        let server =
            Process::start_within(SLOW_START, erlang.rabbitmq(), "rabbitmq", dir, is_ready);
        let server = server.unwrap_or_else(|error| panic!("{}", chain(&error)));
        Self {
            amqps,
            management,
            tls,
            _server: server,
            _epmd: epmd,
        }
    }

    /// What a namespace of Event Hubs gives for a policy.
    #[must_use]
    pub fn connection_string(&self, key: &str) -> String {
        format!(
            "Endpoint=sb://{}/;SharedAccessKeyName={USER};SharedAccessKey={key};EntityPath={HUB}",
            self.amqps
        )
    }

    /// The certificate of the authority that made the server's.
    ///
    /// # Panics
    ///
    /// When it cannot be read.
    #[must_use]
    pub fn ca(&self) -> String {
        fs::read_to_string(self.tls.ca_file()).expect("a certificate can be read")
    }

    /// Takes the next event out of the queue.
    ///
    /// # Panics
    ///
    /// When there is none in time, or it is no JSON.
    #[must_use]
    pub fn next_json(&self) -> Value {
        let next = || {
            let how = json!({"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"});
            let get = Request::new("POST", &format!("/api/queues/%2F/{HUB}/get"))
                .header("content-type", "application/json")
                .body(how.to_string());
            let answer = ask(self.management, get)?;
            let list: Value = serde_json::from_slice(&answer.body).ok()?;
            let text = list[0]["payload"].as_str()?;
            Some(serde_json::from_str(text).expect("an event is JSON"))
        };
        wait::until("an event", PATIENCE, next).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Where Erlang is, and what it shares.
struct Erlang {
    root: PathBuf,
    home: PathBuf,
    /// Where the daemon listens that knows each node's port.
    epmd: SocketAddr,
}

impl Erlang {
    fn new(root: &Path, home: &Path) -> Self {
        Self {
            root: root.to_owned(),
            home: home.to_owned(),
            epmd: ports::address(),
        }
    }

    /// A program of the runtime, told where the rest of it is: Debian's scripts know only where packages are installed.
    fn command(&self, program: &str) -> Command {
        let erlang = self.root.join("usr/lib/erlang");
        let bin = only(&erlang, "erts-").join("bin");
        let mut command = Command::new(bin.join(program));
        command
            .env("ROOTDIR", erlang)
            .env("BINDIR", bin)
            .env("EMU", "beam")
            .env("PROGNAME", "erl")
            .env("HOME", &self.home)
            .env("ERL_EPMD_ADDRESS", self.epmd.ip().to_string())
            .env("ERL_EPMD_PORT", self.epmd.port().to_string())
            .current_dir(&self.home);
        command
    }

    fn epmd(&self) -> Command {
        let mut command = self.command("epmd");
        let port = self.epmd.port().to_string();
        command.args(["-address", "127.0.0.1", "-port", &port]);
        command
    }

    fn rabbitmq(&self) -> Command {
        let server = only(&self.root.join("usr/lib/rabbitmq/lib"), "rabbitmq_server-");
        let plugins = server.join("plugins");
        let mut command = self.command("erlexec");
        command
            .args(["-noinput", "-s", "rabbit", "boot", "-boot", "start_sasl"])
            .args(["+W", "w", "+S", "1:1"])
            .args(["-kernel", "inet_dist_use_interface", "{127,0,0,1}"])
            .args(["-syslog", "logger", "[]"])
            .args(["-syslog", "syslog_error_logger", "false"])
            .env("ERL_LIBS", &plugins)
            .env("RABBITMQ_HOME", &server)
            .env("RABBITMQ_PLUGINS_DIR", &plugins)
            .env("RABBITMQ_NODENAME", "hookgate@localhost")
            .env("RABBITMQ_DIST_PORT", ports::address().port().to_string())
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_CONFIG_FILE", self.home.join("rabbitmq"))
            .env("RABBITMQ_LOGS", "-");
        for (variable, name) in [
            ("RABBITMQ_ADVANCED_CONFIG_FILE", "advanced.config"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
            ("RABBITMQ_FEATURE_FLAGS_FILE", "feature_flags"),
            ("RABBITMQ_GENERATED_CONFIG_DIR", "generated"),
            ("RABBITMQ_LOG_BASE", "log"),
            ("RABBITMQ_MNESIA_BASE", "data"),
            ("RABBITMQ_MNESIA_DIR", "data/node"),
            ("RABBITMQ_PID_FILE", "pid"),
            ("RABBITMQ_QUORUM_DIR", "data/quorum"),
            ("RABBITMQ_SCHEMA_DIR", "schema"),
            ("RABBITMQ_STREAM_DIR", "data/stream"),
        ] {
            command.env(variable, self.home.join(name));
        }
        command
    }
}

fn configuration(amqps: SocketAddr, management: SocketAddr, tls: &Tls) -> String {
    format!(
        "listeners.tcp = none
listeners.ssl.1 = {amqps}
ssl_options.cacertfile = {ca}
ssl_options.certfile = {cert}
ssl_options.keyfile = {key}
ssl_options.verify = verify_none
management.tcp.ip = {management_ip}
management.tcp.port = {management_port}
default_user = {USER}
default_pass = {PASSWORD}
amqp1_0.default_user = none
log.console = true
",
        ca = tls.ca_file().display(),
        cert = tls.cert_file().display(),
        key = tls.key_file().display(),
        management_ip = management.ip(),
        management_port = management.port(),
    )
}

/// The folder whose name begins so; its version is the package's.
fn only(dir: &Path, begins: &str) -> PathBuf {
    let mut entries = fs::read_dir(dir).expect("an unpacked package").flatten();
    let found = entries.find(|entry| entry.file_name().to_string_lossy().starts_with(begins));
    found.expect("the package has it").path()
}

/// A good answer of the management interface.
fn ask(address: SocketAddr, request: Request) -> Option<Response> {
    let login = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let request = request.header("authorization", format!("Basic {login}"));
    let answer = Client::plain(address).send(request).ok()?;
    (200..300).contains(&answer.status).then_some(answer)
}

//! A real OpenTelemetry Collector on loopback, that takes OTLP over HTTP and writes what it took into a file.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::ports;
use crate::process::Process;
use crate::servers;
use crate::wait::{self, PATIENCE};
use crate::world::chain;

/// A running collector. Dropping it stops it.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    file: PathBuf,
    _process: Process,
}

impl Collector {
    /// Starts it; its log is `otel-collector.log`.
    ///
    /// # Panics
    ///
    /// When it cannot be had or does not start.
    #[must_use]
    pub fn start(dir: &Path) -> Self {
        let address = ports::address();
        let (config, file) = (dir.join("otel-collector.yaml"), dir.join("traces.json"));
        let yaml = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"{address}\"}}}}}}}}\n\
             exporters: {{file: {{path: {file:?}}}}}\n\
             service:\n  pipelines: {{traces: {{receivers: [otlp], exporters: [file]}}}}\n  \
             telemetry: {{metrics: {{level: none}}}}\n"
        );
        fs::write(&config, yaml).expect("a configuration can be written");
        let program = servers::otel_collector().unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new(program);
        command.arg(format!("--config={}", config.display()));
        let process = Process::start(command, "otel-collector", dir, || {
            TcpStream::connect(address).is_ok()
        });
        Self {
            address,
            file,
            _process: process.unwrap_or_else(|error| panic!("{}", chain(&error))),
        }
    }

    /// Where a Provider sends to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next spans that it wrote: each with its resource's attributes.
    ///
    /// # Panics
    ///
    /// When there are not so many in time.
    #[must_use]
    pub fn await_spans(&self, count: usize) -> Vec<Value> {
        let spans = || {
            let text = fs::read_to_string(&self.file).unwrap_or_default();
            let lines = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            let spans: Vec<Value> = lines.flat_map(|line: Value| spans(&line)).collect();
            (spans.len() >= count).then_some(spans)
        };
        wait::until("the spans are written", PATIENCE, spans)
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

fn spans(written: &Value) -> Vec<Value> {
    let each = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for resource in each(written, "resourceSpans") {
        for scope in each(&resource, "scopeSpans") {
            found.extend(each(&scope, "spans"));
        }
    }
    found
}

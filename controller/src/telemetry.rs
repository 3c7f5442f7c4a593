//! Logs: JSON or text, on stderr.

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;

/// The form of log lines; nc's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Encoding {
    /// One JSON object a line.
    Json,
    /// Text for people.
    Console,
}

/// How much is logged; nc's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Everything.
    Trace,
    /// What a developer of Hookgate asks for.
    Debug,
    /// What an operator wants to know.
    Info,
    /// What an operator has to look at.
    Error,
}

/// Starts logging, once in a process.
///
/// Field values are written escaped in both encodings, so that what an attacker chooses can't forge a line.
pub fn start(encoding: Encoding, level: Level) {
    let level = match level {
        Level::Trace => LevelFilter::TRACE,
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Error => LevelFilter::ERROR,
    };
    // Libraries speak at their own levels; below info nobody but their authors wants them.
    let filter = tracing_subscriber::EnvFilter::new(format!("warn,controller={level}"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second start, as in tests, keeps the first.
    let _ = match encoding {
        Encoding::Json => builder
            .json()
            .flatten_event(true)
            .with_target(false)
            .try_init(),
        Encoding::Console => builder.with_target(false).with_ansi(false).try_init(),
    };
}

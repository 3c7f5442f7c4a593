//! Hookgate's Envoy filter: a shell around the pure core in `hook`.
//!
//! ```text
//!  Envoy ──► root.rs  configuration in, one Http a request, tick ──► report.rs  edge reports out
//!               │                                                 └─► fetch.rs   the table in, where no configuration holds it
//!               └──► http.rs  headers, body, end ──► hook::gate ──► on with the request | local reply
//!                       │
//!                       └──► host.rs  the only file that calls the host
//! ```

#![expect(
    missing_docs,
    reason = "a cdylib has no Rust API; the SDK's entry point comes without"
)]

mod counters;
mod fetch;
mod host;
mod http;
mod report;
mod root;

use proxy_wasm::types::LogLevel;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(root::Root::default()));
}}

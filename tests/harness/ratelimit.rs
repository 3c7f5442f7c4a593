//! Envoy's own rate-limit service, which counts in a Redis.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::client::Client;
use crate::ports;
use crate::process::Process;
use crate::redis::{Error, Redis};
use crate::servers;

/// A running service with its Redis. Dropping it stops both.
#[derive(Debug)]
pub struct RateLimit {
    address: SocketAddr,
    _process: Process,
    _redis: Redis,
}

impl RateLimit {
    /// Starts it with these limits, a file of its configuration, and waits until it is healthy; its log is
    /// `ratelimit.log`.
    ///
    /// # Errors
    ///
    /// When a part cannot be had or does not start.
    ///
    /// # Panics
    ///
    /// When the limits cannot be written.
    pub fn start(limits: &str, dir: &Path) -> Result<Self, Error> {
        let redis = Redis::start(dir)?;
        let config = dir.join("ratelimit/config");
        fs::create_dir_all(&config).expect("a folder can be made");
        fs::write(config.join("limits.yaml"), limits).expect("the limits can be written");
        let [grpc, http, debug] = [(); 3].map(|()| ports::address());
        let mut command = Command::new(servers::ratelimit()?);
        command
            .env("RUNTIME_ROOT", dir.join("ratelimit"))
            .env("RUNTIME_WATCH_ROOT", "false")
            .env("REDIS_SOCKET_TYPE", "tcp")
            .env("REDIS_URL", redis.address().to_string())
            .env("USE_STATSD", "false")
            .envs([("HOST", "127.0.0.1"), ("GRPC_HOST", "127.0.0.1")])
            .env("DEBUG_HOST", "127.0.0.1")
            .env("PORT", http.port().to_string())
            .env("GRPC_PORT", grpc.port().to_string())
            .env("DEBUG_PORT", debug.port().to_string());
        let process = Process::start(command, "ratelimit", dir, || {
            Client::plain(http)
                .timeout(Duration::from_secs(2))
                .get("/healthcheck")
                .is_ok_and(|response| response.status == 200)
        })?;
        Ok(Self {
            address: grpc,
            _process: process,
            _redis: redis,
        })
    }

    /// Where Envoys ask.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

//! A real Redis, which keeps nothing.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use crate::process::{self, Process};
use crate::{binaries, debian, ports};

/// Why there is no Redis.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be had.
    #[error(transparent)]
    Binary(#[from] binaries::Error),
    /// It did not start.
    #[error(transparent)]
    Process(#[from] process::Error),
}

/// A running Redis. Dropping it stops it.
#[derive(Debug)]
pub struct Redis {
    address: SocketAddr,
    _process: Process,
}

impl Redis {
    /// Starts it; its log is `redis.log`.
    ///
    /// # Errors
    ///
    /// When it cannot be had or does not start.
    pub fn start(log_dir: &Path) -> Result<Self, Error> {
        let address = ports::address();
        let mut command = debian::redis_server()?.command();
        command
            .current_dir(log_dir)
            .args(["--bind", "127.0.0.1", "--port"])
            .arg(address.port().to_string())
            .args(["--save", "", "--appendonly", "no"]);
        let process = Process::start(command, "redis", log_dir, || {
            TcpStream::connect(address).is_ok()
        })?;
        Ok(Self {
            address,
            _process: process,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

//! Loopback ports that nobody else of this run, or of a test binary beside it, will be given.
//!
//! They are taken from below the kernel's ephemeral range: a port from inside it can be lost to an outgoing
//! connection of a flood while the process that owns it restarts. A locked file reserves each for the run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process;
use std::sync::{Mutex, PoisonError};

/// The ports handed out by this process, each with the locked file that reserves it.
static RESERVED: Mutex<BTreeMap<u16, File>> = Mutex::new(BTreeMap::new());

const LOWEST: u16 = 10_240;

/// A free port of 127.0.0.1, reserved until this process ends. It is not bound any more: bind it soon.
///
/// # Panics
///
/// When no port is free, or the reservation folder cannot be written.
#[must_use]
pub fn reserve() -> u16 {
    let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    let span = ephemeral_low().saturating_sub(LOWEST).max(1_000);
    // Start at a place of our own, so that parallel test binaries seldom meet.
    let first = u16::try_from(process::id() % u32::from(span)).unwrap_or(0);
    (0..span)
        .map(|step| LOWEST + ((u32::from(first) + u32::from(step)) % u32::from(span)) as u16)
        .find_map(|port| {
            if reserved.contains_key(&port) {
                return None;
            }
            let lock = claim(port)?;
            reserved.insert(port, lock);
            Some(port)
        })
        .expect("no free port on 127.0.0.1 below the ephemeral range")
}

/// [`reserve`]d, as an address.
#[must_use]
pub fn address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, reserve()))
}

/// Locks the port's reservation and makes sure that the port can be bound, now.
fn claim(port: u16) -> Option<File> {
    let dir = std::env::temp_dir().join("hookgate-e2e-ports");
    fs::create_dir_all(&dir).expect("the folder of port reservations can be made");
    let file = File::create(dir.join(port.to_string())).ok()?;
    file.try_lock().ok()?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
    Some(file)
}

/// Where the kernel's ephemeral ports begin.
fn ephemeral_low() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .filter(|low| *low > LOWEST)
        .unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_handed_out_twice_and_each_can_be_bound() {
        let ports: Vec<u16> = (0..20).map(|_| reserve()).collect();
        let bound: Vec<_> = ports
            .iter()
            .map(|port| TcpListener::bind(("127.0.0.1", *port)))
            .collect();
        assert!(bound.iter().all(Result::is_ok), "{bound:?}");
    }
}

//! A TCP tunnel whose connections can be cut, while both of its ends live.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The tunnel. Dropping it cuts everything and closes it.
#[derive(Debug)]
pub struct Tunnel {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_closed: AtomicBool,
    /// Both ends of every connection since the last cut.
    open: Mutex<Vec<TcpStream>>,
}

impl Tunnel {
    /// A tunnel from a port of loopback to `to`.
    ///
    /// # Panics
    ///
    /// When no port can be had.
    #[must_use]
    pub fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
        let address = listener.local_addr().expect("it has an address");
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for inbound in listener.incoming() {
                if accepting.is_closed.load(Ordering::Acquire) {
                    return;
                }
                if let Ok(inbound) = inbound {
                    // Refused by the other end: the inbound connection is dropped.
                    let _ = accepting.join(&inbound, to);
                }
            }
        });
        Self { address, shared }
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection; new ones are let through. How many there were since the last cut.
    #[must_use]
    pub fn cut(&self) -> usize {
        let streams = std::mem::take(&mut *self.shared.lock());
        for stream in &streams {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
        streams.len() / 2
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Release);
        let _ = self.cut();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn join(&self, inbound: &TcpStream, to: SocketAddr) -> io::Result<()> {
        let outbound = TcpStream::connect(to)?;
        let mut ends = Vec::new();
        for (from, to) in [(inbound, &outbound), (&outbound, inbound)] {
            let (mut reader, mut writer) = (from.try_clone()?, to.try_clone()?);
            ends.push(from.try_clone()?);
            thread::spawn(move || {
                // However it ends, nothing more comes this way.
                let _ = io::copy(&mut reader, &mut writer);
                let _ = writer.shutdown(Shutdown::Write);
            });
        }
        self.lock().extend(ends);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn bytes_pass_both_ways_until_the_cut_and_again_after_it() {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = echo.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in echo.incoming().flatten() {
                thread::spawn(move || {
                    let mut reader = stream.try_clone().unwrap();
                    let _ = io::copy(&mut reader, &mut stream);
                });
            }
        });
        let tunnel = Tunnel::to(to);
        for _ in 0..2 {
            let mut stream = TcpStream::connect(tunnel.address()).unwrap();
            stream.write_all(b"abc").unwrap();
            let mut back = [0; 3];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"abc");
            assert_eq!(tunnel.cut(), 1);
            assert!(matches!(stream.read(&mut back), Ok(0) | Err(_)));
        }
    }
}

//! A TCP tunnel whose connections can be cut, while both of its ends live.

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    /// How many connections are still to end with the first byte of their answer.
    mute: AtomicUsize,
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
        Self::between(Ipv4Addr::LOCALHOST.into(), to)
    }

    /// A tunnel from a port of this address.
    ///
    /// # Panics
    ///
    /// When no port can be had.
    #[must_use]
    pub fn between(from: IpAddr, to: SocketAddr) -> Self {
        let listener = TcpListener::bind((from, 0)).expect("a port can be had");
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

    /// From the next so many connections nothing comes back: each is cut when the other end begins to answer, and so has
    /// heard what was asked.
    pub fn lose_answers(&self, of: usize) {
        self.shared.mute.store(of, Ordering::Release);
    }

    /// How many connections are still to lose their answer.
    #[must_use]
    pub fn answers_to_lose(&self) -> usize {
        self.shared.mute.load(Ordering::Acquire)
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
        let fewer = |count: usize| count.checked_sub(1);
        let mute = &self.mute;
        let is_mute = mute
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fewer)
            .is_ok();
        let mut ends = Vec::new();
        for (from, to, is_lost) in [(inbound, &outbound, false), (&outbound, inbound, is_mute)] {
            let (mut reader, mut writer) = (from.try_clone()?, to.try_clone()?);
            ends.push(from.try_clone()?);
            thread::spawn(move || {
                // However it ends, nothing more comes this way.
                if is_lost {
                    let _ = reader.read(&mut [0]);
                    let _ = reader.shutdown(Shutdown::Both);
                    let _ = writer.shutdown(Shutdown::Both);
                    return;
                }
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

    #[test]
    fn an_answer_is_lost_once_the_question_was_heard() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let tunnel = Tunnel::to(server.local_addr().unwrap());
        tunnel.lose_answers(1);
        for (heard, back) in [(b"one", &b""[..]), (b"two", b"two")] {
            let mut client = TcpStream::connect(tunnel.address()).unwrap();
            client.write_all(heard).unwrap();
            let (mut stream, _) = server.accept().unwrap();
            let mut question = [0; 3];
            stream.read_exact(&mut question).unwrap();
            assert_eq!(&question, heard);
            stream.write_all(&question).unwrap();
            drop(stream);
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            assert_eq!((answer.as_slice(), tunnel.answers_to_lose()), (back, 0));
        }
    }
}

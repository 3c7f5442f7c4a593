//! What is remembered of each hook between requests: its buckets, and the clients it admitted lately.
//!
//! One small record a hook, kept by the host as bytes (Envoy's shared data, or a map in the
//! controller), so that limits are exact across workers and survive a new table.

use alloc::vec::Vec;

use crate::bucket::{Limit, TokenBucket};

/// Clients remembered for each hook. GitHub's and GitLab's senders are a handful of addresses.
const CLIENTS: usize = 8;

/// The limit of tokens (JWTs) that the filter can't check itself and leaves to the controller.
pub(crate) const UNCHECKED: Limit = Limit::per_second(10, 50);

/// The record of one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) admitted: TokenBucket,
    pub(crate) refused: TokenBucket,
    pub(crate) unchecked: TokenBucket,
    clients: Vec<[u8; 16]>,
}

impl Ledger {
    /// Reads a record. Anything unreadable is a fresh one: the host keeps it for the life of the
    /// process, and a release of ours may have written it otherwise.
    pub(crate) fn read(bytes: &[u8], admitted: Limit, refused: Limit, now_ms: u64) -> Self {
        Self::parse(bytes).unwrap_or_else(|| Self {
            admitted: TokenBucket::full(admitted, now_ms),
            refused: TokenBucket::full(refused, now_ms),
            unchecked: TokenBucket::full(UNCHECKED, now_ms),
            clients: Vec::new(),
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (chunks, rest) = bytes.as_chunks::<16>();
        let (buckets, clients) = chunks.split_first_chunk::<3>()?;
        if !rest.is_empty() || clients.len() > CLIENTS {
            return None;
        }
        let [admitted, refused, unchecked] = buckets.map(TokenBucket::from_bytes);
        Some(Self {
            admitted,
            refused,
            unchecked,
            clients: clients.to_vec(),
        })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        for bucket in [self.admitted, self.refused, self.unchecked] {
            out.extend_from_slice(&bucket.to_bytes());
        }
        for client in &self.clients {
            out.extend_from_slice(client);
        }
    }

    /// Remembers a client that was admitted, in the place of the one not seen for longest.
    pub(crate) fn remember(&mut self, client: [u8; 16]) {
        self.clients.retain(|known| *known != client);
        self.clients.insert(0, client);
        self.clients.truncate(CLIENTS);
    }

    pub(crate) fn knows(&self, client: [u8; 16]) -> bool {
        self.clients.contains(&client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit::per_second(1, 2);

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let mut ledger = Ledger::read(&[], LIMIT, LIMIT, 7);
        let mut bytes = Vec::new();
        for n in 0..20 {
            ledger.remember([n; 16]);
            let _ = ledger.admitted.take(LIMIT, 7);
            ledger.write(&mut bytes);
            assert_eq!(Ledger::read(&bytes, LIMIT, LIMIT, 9), ledger);
        }
        assert_eq!(bytes.len(), 16 * (3 + CLIENTS));
        assert!(ledger.knows([19; 16]) && ledger.knows([12; 16]) && !ledger.knows([11; 16]));
    }

    #[test]
    fn an_unreadable_record_is_a_fresh_one() {
        let fresh = Ledger::read(&[], LIMIT, LIMIT, 7);
        for bytes in [&[1; 15][..], &[1; 47], &[1; 49], &[1; 1600]] {
            assert_eq!(Ledger::read(bytes, LIMIT, LIMIT, 7), fresh);
        }
    }
}

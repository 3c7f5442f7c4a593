//! The form of the spool's records on disk.
//!
//! ```text
//!  "hkg1" · length of the payload, u32 · first 8 bytes of the payload's SHA-256 · payload
//!  payload: kind, u8 · length of the head, u32 · head, JSON · body (of an entry: the event, JSON)
//! ```
//!
//! Numbers are little-endian. What is torn or rotten is skipped up to the next sound record.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::notify::delivery::{Delivery, DeliveryId, State};

/// A longer payload is no record: an event has at most 3 MiB.
pub(super) const MAX_PAYLOAD: usize = 16 * 1024 * 1024;

const MAGIC: &[u8; 4] = b"hkg1";
/// What stands before the payload.
const FRAME: usize = 4 + 4 + 8;
const ENTRY: u8 = 1;
const CHANGE: u8 = 2;

/// What an entry is, but for its event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) id: u64,
    pub(super) at_ms: u64,
    pub(super) chain: Arc<str>,
    pub(super) deliveries: Vec<Delivery>,
}

/// A delivery's new state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) id: DeliveryId,
    pub(super) state: State,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Entry { head: Head, body: &'a [u8] },
    Change(Change),
}

/// Appends an entry to a buffer; `None` if it is too large to be one.
pub(super) fn entry(buffer: &mut Vec<u8>, head: &Head, body: &[u8]) -> Option<()> {
    frame(buffer, ENTRY, &serde_json::to_vec(head).ok()?, body)
}

/// Appends a change to a buffer.
pub(super) fn change(buffer: &mut Vec<u8>, change: &Change) -> Option<()> {
    frame(buffer, CHANGE, &serde_json::to_vec(change).ok()?, &[])
}

fn frame(buffer: &mut Vec<u8>, kind: u8, head: &[u8], body: &[u8]) -> Option<()> {
    let length = 1 + 4 + head.len() + body.len();
    if length > MAX_PAYLOAD {
        return None;
    }
    let start = buffer.len();
    buffer.reserve(FRAME + length);
    buffer.extend_from_slice(MAGIC);
    buffer.extend_from_slice(&u32::try_from(length).ok()?.to_le_bytes());
    buffer.extend_from_slice(&[0; 8]);
    buffer.push(kind);
    buffer.extend_from_slice(&u32::try_from(head.len()).ok()?.to_le_bytes());
    buffer.extend_from_slice(head);
    buffer.extend_from_slice(body);
    let sum = checksum(buffer.get(start + FRAME..)?);
    buffer
        .get_mut(start + 8..start + FRAME)?
        .copy_from_slice(&sum);
    Some(())
}

fn checksum(payload: &[u8]) -> [u8; 8] {
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(Sha256::digest(payload)) {
        *to = from;
    }
    first
}

/// Reads the record at the start of `bytes`, and how long it is.
pub(super) fn read(bytes: &[u8]) -> Option<(Record<'_>, usize)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if length > MAX_PAYLOAD {
        return None;
    }
    let payload = rest.get(..length)?;
    if checksum(payload) != *sum {
        return None;
    }
    let (kind, rest) = payload.split_first()?;
    let (head_length, rest) = rest.split_first_chunk::<4>()?;
    let head_length = usize::try_from(u32::from_le_bytes(*head_length)).ok()?;
    let (head, body) = rest.split_at_checked(head_length)?;
    let record = match *kind {
        ENTRY => Record::Entry {
            head: serde_json::from_slice(head).ok()?,
            body,
        },
        CHANGE => Record::Change(serde_json::from_slice(head).ok()?),
        _ => return None,
    };
    Some((record, FRAME + length))
}

/// The records of a file, with their places.
pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the last sound record ends.
    pub(super) sound_end: usize,
    /// Bytes before that which are no records.
    pub(super) skipped: usize,
}

impl<'a> Scan<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            sound_end: 0,
            skipped: 0,
        }
    }
}

impl<'a> Iterator for Scan<'a> {
    /// Where the record begins, how long it is, and what it says.
    type Item = (usize, usize, Record<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.bytes.get(self.at..)?;
            let skip = rest.windows(MAGIC.len()).position(|four| four == MAGIC)?;
            let start = self.at + skip;
            match read(rest.get(skip..)?) {
                Some((record, length)) => {
                    self.skipped += start - self.sound_end;
                    self.at = start + length;
                    self.sound_end = self.at;
                    return Some((start, length, record));
                }
                None => self.at = start + 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(id: u64) -> Head {
        Head {
            id,
            at_ms: 7,
            chain: "Kustomization/apps/web".into(),
            deliveries: vec![Delivery {
                alert: "apps/on-call".into(),
                provider: "apps/slack".into(),
                state: State::new(7),
            }],
        }
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let mut buffer = Vec::new();
        let done = Change {
            id: DeliveryId { entry: 1, n: 0 },
            state: State::Delivered,
        };
        entry(&mut buffer, &head(1), b"{\"message\":\"hkg1\"}").unwrap();
        let first = buffer.len();
        change(&mut buffer, &done).unwrap();
        let mut scan = Scan::new(&buffer);
        let records: Vec<_> = scan.by_ref().collect();
        assert_eq!(
            records,
            [
                (
                    0,
                    first,
                    Record::Entry {
                        head: head(1),
                        body: b"{\"message\":\"hkg1\"}"
                    }
                ),
                (first, buffer.len() - first, Record::Change(done)),
            ]
        );
        assert_eq!((scan.sound_end, scan.skipped), (buffer.len(), 0));
    }

    #[test]
    fn a_rotten_record_costs_itself_only() {
        let mut sound = Vec::new();
        let mut ends = Vec::new();
        for id in 1..=3 {
            entry(&mut sound, &head(id), b"{}").unwrap();
            ends.push(sound.len());
        }
        for at in ends[0]..ends[1] {
            let mut bytes = sound.clone();
            bytes[at] ^= 0x40;
            let mut scan = Scan::new(&bytes);
            let ids: Vec<_> = scan
                .by_ref()
                .map(|(_, _, record)| match record {
                    Record::Entry { head, .. } => head.id,
                    Record::Change(_) => 0,
                })
                .collect();
            assert_eq!(ids, [1, 3], "byte {at}");
            assert_eq!(scan.skipped, ends[1] - ends[0]);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_scanned_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            at in 0_usize..400,
        ) {
            let mut buffer = Vec::new();
            entry(&mut buffer, &head(1), b"{}").unwrap();
            let at = at.min(buffer.len());
            buffer.splice(at..at, bytes);
            prop_assert!(Scan::new(&buffer).count() <= 1);
        }
    }
}

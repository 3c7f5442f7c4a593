//! The table from the controller, where the filter's configuration cannot hold it.
//!
//! One VM at a time asks whether there is another table, and leaves it in shared data for all VMs of this Envoy. A table
//! that cannot be obeyed is told once; the last good one stays, also while the controller is away.

use hook::config::Config;
use proxy_wasm::types::LogLevel;

use crate::host::{self, Call};

/// Milliseconds between two questions.
const INTERVAL_MS: u64 = 2_000;
/// The same before there is a table: until then every hook gets 503.
const EAGER_MS: u64 = 500;
/// Who asked last, and when.
const TURN: &str = "hookgate/table-turn";
/// The last good table.
const TABLE: &str = "hookgate/table";
/// Its tag.
const TAG: &str = "hookgate/table-tag";
/// The tag of what the controller answered last, good or not.
const SEEN: &str = "hookgate/table-seen";
/// Bytes of a tag, which names a version.
const LONGEST_TAG: usize = 128;

#[derive(Default)]
pub(crate) struct Fetch {
    /// The tag of the table that this VM has.
    tag: Vec<u8>,
    asked: Option<Call>,
    /// Whether it has been told that the controller cannot be asked.
    has_complained: bool,
}

impl Fetch {
    /// The table that another VM has fetched, if it is not the one that this VM has.
    pub(crate) fn fetched(&mut self) -> Option<Config> {
        let tag = host::read_shared(TAG);
        if tag.is_empty() || tag == self.tag {
            return None;
        }
        // It was parsed before it was left there.
        let config = Config::parse(&host::read_shared(TABLE)).ok()?;
        self.tag = tag;
        Some(config)
    }

    /// Asks, if it is this VM's turn.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        let interval = if self.tag.is_empty() {
            EAGER_MS
        } else {
            INTERVAL_MS
        };
        if self.asked.is_some() || !host::take_turn(TURN, now_ms, interval) {
            return;
        }
        let seen = String::from_utf8(host::read_shared(SEEN)).unwrap_or_default();
        self.asked = host::get_table(&seen);
        if self.asked.is_none() && !self.has_complained {
            self.has_complained = true;
            host::log(
                LogLevel::Error,
                "the table cannot be asked for: this Envoy has no cluster hookgate_ecds",
            );
        }
    }

    /// The controller answered with this status, or, with none, could not be reached. Not every answer is one to this.
    pub(crate) fn answered(&mut self, call: Call, status: Option<u16>, body_size: usize) {
        if self.asked != Some(call) {
            return;
        }
        self.asked = None;
        if status != Some(200) {
            return;
        }
        let headers = host::answer_headers();
        let headers = headers.pairs();
        let tag = headers.iter().find(|(name, _)| *name == "etag");
        let Some((_, tag)) = tag.filter(|(_, tag)| tag.len() <= LONGEST_TAG) else {
            return;
        };
        let json = host::answer_body(body_size);
        match Config::parse(&json) {
            Ok(_) => {
                // In this order: who sees the tag finds the table.
                let kept = host::update_shared(TABLE, &mut |bytes| bytes.clone_from(&json));
                if !kept || !host::update_shared(TAG, &mut |bytes| *bytes = tag.to_vec()) {
                    return;
                }
            }
            Err(error) => {
                host::log(LogLevel::Error, &format!("the table is refused: {error}"));
            }
        }
        host::update_shared(SEEN, &mut |bytes| *bytes = tag.to_vec());
    }
}

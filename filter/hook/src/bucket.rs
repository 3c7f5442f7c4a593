//! A token bucket. The caller brings the time.

use serde::{Deserialize, Serialize};

/// A token is counted in millionths, so that slow rates refill without rounding to nothing.
const SCALE: u64 = 1_000_000;
/// How far the time of one caller may be behind that of another, in milliseconds. More is a clock
/// that was set back.
const SKEW: u64 = 1_000;

/// What a [`TokenBucket`] allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Refill, in thousandths of a token per second.
    pub millirate: u32,
    /// Capacity, in tokens.
    pub burst: u32,
}

impl Limit {
    /// A limit of whole tokens per second.
    pub const fn per_second(rate: u32, burst: u32) -> Self {
        Self {
            millirate: rate.saturating_mul(1000),
            burst,
        }
    }
}

/// Tokens left, and when that was true. Starts full.
///
/// ```
/// use hook::bucket::{Limit, TokenBucket};
///
/// let limit = Limit::per_second(1, 2);
/// let mut bucket = TokenBucket::full(limit, 0);
/// assert_eq!(bucket.take(limit, 0), Ok(()));
/// assert_eq!(bucket.take(limit, 0), Ok(()));
/// assert_eq!(bucket.take(limit, 0), Err(1)); // seconds to wait
/// assert_eq!(bucket.take(limit, 1_000), Ok(()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    micros: u64,
    at_ms: u64,
}

impl TokenBucket {
    /// The length of [`TokenBucket::to_bytes`].
    pub const LEN: usize = 16;

    /// A bucket with every token in it at `now_ms`, in milliseconds of any clock.
    pub fn full(limit: Limit, now_ms: u64) -> Self {
        Self {
            micros: capacity(limit),
            at_ms: now_ms,
        }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// The seconds until there will be one, at least 1, if the bucket is empty.
    pub fn take(&mut self, limit: Limit, now_ms: u64) -> Result<(), u32> {
        self.refill(limit, now_ms);
        match self.micros.checked_sub(SCALE) {
            Some(left) => {
                self.micros = left;
                Ok(())
            }
            None => Err(self.wait(limit)),
        }
    }

    /// Whether there is a token to take.
    ///
    /// # Errors
    /// As [`TokenBucket::take`].
    pub fn peek(&self, limit: Limit, now_ms: u64) -> Result<(), u32> {
        let mut copy = *self;
        copy.take(limit, now_ms)
    }

    /// For a store that keeps bytes.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        (u128::from(self.micros) << 64 | u128::from(self.at_ms)).to_be_bytes()
    }

    /// The inverse of [`TokenBucket::to_bytes`]. Any bytes are a bucket.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self {
            micros: (both >> 64) as u64,
            at_ms: both as u64,
        }
    }

    fn refill(&mut self, limit: Limit, now_ms: u64) {
        // A worker that waited for its turn brings a time just past. To go back to it would add the same
        // milliseconds again and again.
        if (1..=SKEW).contains(&self.at_ms.saturating_sub(now_ms)) {
            return;
        }
        // The host's clock may be set back: then nothing is added, and nothing is lost.
        let passed = now_ms.saturating_sub(self.at_ms);
        // thousandths a second × milliseconds = millionths of a token
        let gained = u64::from(limit.millirate).saturating_mul(passed);
        self.micros = self.micros.saturating_add(gained).min(capacity(limit));
        self.at_ms = now_ms;
    }

    fn wait(&self, limit: Limit) -> u32 {
        let missing = SCALE.saturating_sub(self.micros);
        let per_second = u64::from(limit.millirate).saturating_mul(1000);
        let seconds = missing
            .checked_add(per_second.saturating_sub(1))
            .and_then(|n| n.checked_div(per_second));
        seconds
            .and_then(|s| u32::try_from(s).ok())
            .unwrap_or(3600)
            .clamp(1, 3600)
    }
}

fn capacity(limit: Limit) -> u64 {
    u64::from(limit.burst).saturating_mul(SCALE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_clock_that_is_set_back_neither_adds_nor_takes() {
        let limit = Limit::per_second(10, 5);
        let mut bucket = TokenBucket::full(limit, 10_000);
        for _ in 0..5 {
            assert_eq!(bucket.take(limit, 10_000), Ok(()));
        }
        assert_eq!(bucket.take(limit, 5_000), Err(1));
        assert_eq!(bucket.take(limit, 5_100), Ok(()));
    }

    #[test]
    fn workers_whose_times_differ_a_little_add_nothing() {
        let limit = Limit::per_second(100, 5);
        let mut bucket = TokenBucket::full(limit, 10_000);
        let taken = (0..10_000).filter(|n| bucket.take(limit, 10_000 - n % 2 * 9).is_ok());
        assert_eq!(taken.count(), 5);
        assert_eq!(bucket.take(limit, 10_010), Ok(()));
    }

    #[test]
    fn a_rate_below_one_a_second_says_how_long_to_wait() {
        let limit = Limit {
            millirate: 100,
            burst: 1,
        };
        let mut bucket = TokenBucket::full(limit, 0);
        assert_eq!(bucket.take(limit, 0), Ok(()));
        assert_eq!(bucket.take(limit, 0), Err(10));
        assert_eq!(bucket.take(limit, 9_999), Err(1));
        assert_eq!(bucket.take(limit, 10_000), Ok(()));
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_refill_are_taken(
            millirate in 0u32..1_000_000, burst in 0u32..1_000,
            steps in proptest::collection::vec(0u64..5_000, 0..300),
        ) {
            let limit = Limit { millirate, burst };
            let mut bucket = TokenBucket::full(limit, 0);
            let (mut now, mut taken) = (0u64, 0u64);
            for step in steps {
                now += step;
                taken += u64::from(bucket.take(limit, now).is_ok());
                prop_assert!(taken <= u64::from(burst) + u64::from(millirate) * now / 1_000_000 + 1);
            }
        }

        #[test]
        fn bytes_round_trip(bytes: [u8; 16], now: u64, millirate: u32, burst: u32) {
            let mut bucket = TokenBucket::from_bytes(bytes);
            prop_assert_eq!(bucket.to_bytes(), bytes);
            let _ = bucket.take(Limit { millirate, burst }, now);
        }
    }
}

//! The keys of token issuers, for `generic-oidc` and `gcr`: fetched, bounded, cached.
//!
//! ```text
//!  publish ── keys(url) ──► cache ── first time ──► fetch ──► discovery document ──► key set
//!  a token of an unknown key ─ refresh ─▲  ▲ at a limited rate
//!                            run ───────┘  └ before they age
//!                            changed ──► publish compiles the table again
//! ```
//!
//! Guarantees: an issuer is asked at most once at a time, and, failing or not, no more often than its
//! schedule says, however many tokens come and however many callers give up waiting. Keys once fetched
//! outlive failures of their issuer for a day. Keys are sorted, so that replicas that fetched the same
//! documents publish the same table.
//!
//! What the cache does not do: evaluate claims, or decide on a token.

mod error;
mod fetch;
mod schedule;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use hook::jwt::{Algorithm, Issuer, Jwk, Key, jwk_to_key};
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub use error::JwksError;
pub use fetch::Document;
use fetch::{Fetched, Fetcher};
use schedule::{Intervals, Schedule};

/// The most keys taken from one issuer.
const MAX_KEYS: usize = 64;
/// Where Google publishes the keys for RS256.
pub const GOOGLE_CERTS: &str = "https://www.googleapis.com/oauth2/v3/certs";
/// Where Google publishes the keys for ES256.
pub const GOOGLE_IAP_KEYS: &str = "https://www.gstatic.com/iap/verify/public_key-jwk";
/// The most issuers known at a time.
const MAX_ISSUERS: usize = 256;
/// How many issuers are asked at a time in the background.
const CONCURRENT: usize = 8;

/// How the cache behaves. [`Settings::default`] is for production.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Age at which keys are fetched again where the issuer says nothing (15 min).
    pub refresh: Duration,
    /// Bounds on what the issuer says in `Cache-Control: max-age` (1 min to 1 h).
    pub refresh_bounds: (Duration, Duration),
    /// Shortest time between two attempts for the sake of an unknown key, and the first delay after a
    /// failure, which doubles up to the upper refresh bound (10 s).
    pub retry: Duration,
    /// Age at which keys that could not be fetched again are given up (24 h).
    pub max_age: Duration,
    /// Limit for establishing a connection (3 s).
    pub connect_timeout: Duration,
    /// Limit for each document, from the first packet to the last byte (5 s).
    pub timeout: Duration,
    /// Allows addresses of metadata services and link-local ones.
    pub allow_metadata_addresses: bool,
    /// Google's keys for RS256.
    pub google_certs: String,
    /// Google's keys for ES256.
    pub google_iap: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(15 * 60),
            refresh_bounds: (Duration::from_secs(60), Duration::from_secs(60 * 60)),
            retry: Duration::from_secs(10),
            max_age: Duration::from_secs(24 * 60 * 60),
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(5),
            allow_metadata_addresses: false,
            google_certs: GOOGLE_CERTS.into(),
            google_iap: GOOGLE_IAP_KEYS.into(),
        }
    }
}

/// What an issuer signs with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuerKeys {
    /// The algorithms that it announces and we have, in order.
    pub algorithms: Vec<Algorithm>,
    /// Its keys for these algorithms, in order.
    pub keys: Vec<Key>,
}

impl IssuerKeys {
    /// The keys of a JWKS document, for every algorithm that we have.
    ///
    /// # Errors
    /// Why none of them can be used.
    pub fn from_jwks(json: &[u8]) -> Result<Self, JwksError> {
        parse_keys(json, Algorithm::ALL.to_vec())
    }

    /// The issuer as it stands in the table.
    #[must_use]
    pub fn issuer(&self, issuer_url: &str, audience: &str) -> Issuer {
        Issuer {
            issuer: issuer_url.into(),
            audience: audience.into(),
            algorithms: self.algorithms.clone(),
            keys: self.keys.clone(),
        }
    }
}

/// The cache. Clones share it.
#[derive(Clone, Debug)]
pub struct Jwks(Arc<Inner>);

impl Jwks {
    /// An empty cache. Fetches nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let fetcher = Fetcher::new(
            settings.connect_timeout,
            settings.timeout,
            settings.allow_metadata_addresses,
        );
        let intervals = Intervals {
            refresh: settings.refresh,
            bounds: settings.refresh_bounds,
            retry: settings.retry,
            max_age: settings.max_age,
        };
        let google_certs = Source::Google {
            url: settings.google_certs,
            algorithm: Algorithm::Rs256,
        };
        let google_iap = Source::Google {
            url: settings.google_iap,
            algorithm: Algorithm::Es256,
        };
        Self(Arc::new(Inner {
            fetcher,
            intervals,
            google_certs,
            google_iap,
            entries: Mutex::default(),
            rescheduled: Notify::new(),
            changed: watch::Sender::new(0),
        }))
    }

    /// The keys of an issuer: cached ones at once, else fetched, unless that failed a moment ago.
    ///
    /// # Errors
    /// Why there are none; the last failure's reason until the next attempt, which [`Jwks::run`] makes.
    pub async fn keys(&self, issuer_url: &str) -> Result<Arc<IssuerKeys>, JwksError> {
        self.0
            .keys(&Source::Issuer(issuer_url.into()), Want::Cached)
            .await
    }

    /// The keys of an issuer, fetched again because a token names one that is not among them, unless
    /// the last attempt is less than [`Settings::retry`] ago.
    ///
    /// # Errors
    /// As [`Jwks::keys`]; a failed attempt with keys at hand is none.
    pub async fn refresh(&self, issuer_url: &str) -> Result<Arc<IssuerKeys>, JwksError> {
        self.0
            .keys(&Source::Issuer(issuer_url.into()), Want::Newer)
            .await
    }

    /// The keys of Google, for `gcr`.
    ///
    /// # Errors
    /// As [`Jwks::keys`], for the RS256 keys, which Pub/Sub signs with. The ES256 keys come from another
    /// host, which some networks do not let out to; they are left out while they cannot be had.
    pub async fn google(&self) -> Result<IssuerKeys, JwksError> {
        self.0.google(Want::Cached).await
    }

    /// The keys of Google, fetched again as in [`Jwks::refresh`].
    ///
    /// # Errors
    /// As [`Jwks::google`].
    pub async fn refresh_google(&self) -> Result<IssuerKeys, JwksError> {
        self.0.google(Want::Newer).await
    }

    /// The keys of an issuer that are at hand, without waiting.
    #[must_use]
    pub fn cached(&self, issuer_url: &str) -> Option<Arc<IssuerKeys>> {
        self.0.cached(&Source::Issuer(issuer_url.into()))
    }

    /// The keys of Google that are at hand, without waiting.
    #[must_use]
    pub fn cached_google(&self) -> Option<Arc<IssuerKeys>> {
        let certs = self.0.cached(&self.0.google_certs)?;
        let iap = self.0.cached(&self.0.google_iap);
        Some(Arc::new(joined(&certs, iap.as_deref())))
    }

    /// Counts up whenever the keys of some issuer changed: time to compile the table.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Forgets the issuers that no Receiver names any more.
    pub fn retain(&self, issuer_urls: &BTreeSet<String>, google: bool) {
        lock(&self.0.entries).retain(|source, _| match source {
            Source::Issuer(url) => issuer_urls.contains(url),
            Source::Google { .. } => google,
        });
    }

    /// Fetches keys again when they are due, until dropped.
    pub async fn run(&self) {
        loop {
            let rescheduled = self.0.rescheduled.notified();
            let (due, next) = self.0.due(now());
            futures_util::stream::iter(due)
                .for_each_concurrent(CONCURRENT, |(source, entry)| async move {
                    self.0.wait(&source, &entry, Want::Due).await;
                })
                .await;
            match next {
                Some(next) => {
                    let sleep = tokio::time::sleep_until(next);
                    tokio::select! { () = sleep => {}, () = rescheduled => {} }
                }
                None => rescheduled.await,
            }
        }
    }
}

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    /// The key set that the discovery document under this URL names.
    Issuer(String),
    /// A key set at a fixed address, for one algorithm.
    Google { url: String, algorithm: Algorithm },
}

/// When to ask an issuer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    /// When there are no keys and an attempt is due.
    Cached,
    /// When an attempt is due.
    Due,
    /// When the last attempt is long enough ago.
    Newer,
}

#[derive(Debug)]
struct Inner {
    fetcher: Fetcher,
    intervals: Intervals,
    google_certs: Source,
    google_iap: Source,
    entries: Mutex<BTreeMap<Source, Arc<Entry>>>,
    /// A new issuer, or a new time for one: [`Jwks::run`] looks again.
    rescheduled: Notify,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Entry {
    state: Mutex<State>,
    /// Counts finished attempts.
    finished: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    schedule: Schedule,
    in_flight: bool,
    keys: Option<Arc<IssuerKeys>>,
    error: Option<JwksError>,
}

impl Inner {
    async fn google(self: &Arc<Self>, want: Want) -> Result<IssuerKeys, JwksError> {
        let (certs, iap) = tokio::join!(
            self.keys(&self.google_certs, want),
            self.keys(&self.google_iap, want)
        );
        Ok(joined(certs?.as_ref(), iap.ok().as_deref()))
    }

    fn cached(&self, source: &Source) -> Option<Arc<IssuerKeys>> {
        let entry = lock(&self.entries).get(source)?.clone();
        lock(&entry.state).keys.clone()
    }

    async fn keys(
        self: &Arc<Self>,
        source: &Source,
        want: Want,
    ) -> Result<Arc<IssuerKeys>, JwksError> {
        let entry = self.entry(source)?;
        self.wait(source, &entry, want).await;
        let state = lock(&entry.state);
        match (&state.keys, &state.error) {
            (Some(keys), _) => Ok(Arc::clone(keys)),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Err(JwksError::Interrupted),
        }
    }

    fn entry(&self, source: &Source) -> Result<Arc<Entry>, JwksError> {
        let mut entries = lock(&self.entries);
        if let Some(entry) = entries.get(source) {
            return Ok(Arc::clone(entry));
        }
        if entries.len() >= MAX_ISSUERS {
            return Err(JwksError::TooManyIssuers);
        }
        let entry = Arc::new(Entry {
            state: Mutex::new(State {
                schedule: Schedule::new(now()),
                in_flight: false,
                keys: None,
                error: None,
            }),
            finished: watch::Sender::new(0),
        });
        entries.insert(source.clone(), Arc::clone(&entry));
        Ok(entry)
    }

    /// Starts an attempt if wanted and allowed, and waits for the one that runs.
    async fn wait(self: &Arc<Self>, source: &Source, entry: &Arc<Entry>, want: Want) {
        let mut finished = {
            let mut state = lock(&entry.state);
            if want == Want::Cached && state.keys.is_some() {
                return;
            }
            let now = now();
            let allowed = match want {
                Want::Cached | Want::Due => state.schedule.is_due(now),
                Want::Newer => state.schedule.may_hurry(now, &self.intervals),
            };
            if !state.in_flight {
                if !allowed {
                    return;
                }
                state.in_flight = true;
                state.schedule.begin(now, &self.intervals);
                // A task of its own: a caller that gives up neither stops the attempt nor starts more.
                let (inner, source, entry) = (Arc::clone(self), source.clone(), Arc::clone(entry));
                tokio::spawn(async move { inner.attempt(&source, &entry).await });
            }
            entry.finished.subscribe()
        };
        // It fails only when the sender is gone, which `entry` holds.
        let _ = finished.changed().await;
    }

    async fn attempt(&self, source: &Source, entry: &Entry) {
        // Ends the attempt however it ends, a panic included.
        let _attempt = Attempt(entry);
        let outcome = self.fetch(source).await;
        let now = now();
        let mut state = lock(&entry.state);
        let changed = match outcome {
            Ok((keys, max_age)) => {
                state.schedule.succeed(now, max_age, &self.intervals);
                state.error = None;
                let changed = state.keys.as_deref() != Some(&keys);
                state.keys = Some(Arc::new(keys));
                changed
            }
            Err(error) => {
                state.schedule.fail(now, &self.intervals);
                let old = state.schedule.is_too_old(now, &self.intervals);
                let kept = state.keys.is_some() && !old;
                tracing::warn!(issuer = source.name(), %error, kept, "failed to fetch keys");
                state.error = Some(error);
                old && state.keys.take().is_some()
            }
        };
        drop(state);
        if changed {
            self.changed
                .send_modify(|count| *count = count.wrapping_add(1));
        }
        self.rescheduled.notify_one();
    }

    async fn fetch(&self, source: &Source) -> Result<(IssuerKeys, Option<Duration>), JwksError> {
        let (url, algorithms) = match source {
            Source::Google { url, algorithm } => (url.clone(), vec![*algorithm]),
            Source::Issuer(issuer_url) => self.discover(issuer_url).await?,
        };
        let Fetched { body, max_age } = self.fetcher.fetch(Document::Keys, &url).await?;
        Ok((parse_keys(&body, algorithms)?, max_age))
    }

    /// Where the issuer has its keys, and its algorithms.
    async fn discover(&self, issuer_url: &str) -> Result<(String, Vec<Algorithm>), JwksError> {
        let base = issuer_url.strip_suffix('/').unwrap_or(issuer_url);
        let url = format!("{base}/.well-known/openid-configuration");
        let fetched = self.fetcher.fetch(Document::Discovery, &url).await?;
        let discovery: Discovery =
            serde_json::from_slice(&fetched.body).map_err(|_| JwksError::Malformed {
                document: Document::Discovery,
            })?;
        if discovery.issuer != issuer_url {
            return Err(JwksError::IssuerMismatch);
        }
        Ok((discovery.jwks_uri, algorithms(discovery.algorithms)))
    }

    /// The issuers that are due at `now`, and when the next of the others is.
    fn due(&self, now: Instant) -> (Vec<(Source, Arc<Entry>)>, Option<Instant>) {
        let mut next: Option<Instant> = None;
        let mut due = Vec::new();
        for (source, entry) in lock(&self.entries).iter() {
            let state = lock(&entry.state);
            if state.in_flight {
                continue;
            }
            if state.schedule.is_due(now) {
                due.push((source.clone(), Arc::clone(entry)));
            } else {
                let at = state.schedule.due();
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        (due, next)
    }
}

/// Google's two sets of keys as one.
fn joined(certs: &IssuerKeys, iap: Option<&IssuerKeys>) -> IssuerKeys {
    let mut all = certs.clone();
    if let Some(iap) = iap {
        all.algorithms.extend_from_slice(&iap.algorithms);
        all.keys.extend_from_slice(&iap.keys);
        all.algorithms.sort();
        all.keys.sort();
    }
    all
}

impl Source {
    /// For logs: the URL, without what does not belong there.
    fn name(&self) -> String {
        let (Self::Issuer(url) | Self::Google { url, .. }) = self;
        url.chars().filter(|c| !c.is_control()).take(200).collect()
    }
}

/// An attempt that runs.
struct Attempt<'a>(&'a Entry);

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).in_flight = false;
        self.0
            .finished
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// What matters of a discovery document.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
    #[serde(default, rename = "id_token_signing_alg_values_supported")]
    algorithms: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

/// Those of the announced algorithms that we have, or RS256, which every issuer must have.
fn algorithms(announced: Option<Vec<String>>) -> Vec<Algorithm> {
    let announced = announced.unwrap_or_default();
    let known: BTreeSet<_> = announced
        .iter()
        .filter_map(|word| Algorithm::parse(word))
        .collect();
    if known.is_empty() {
        vec![Algorithm::Rs256]
    } else {
        known.into_iter().collect()
    }
}

/// The keys that can be used with `algorithms`. Others are skipped: issuers publish keys for other
/// uses beside them.
fn parse_keys(body: &[u8], algorithms: Vec<Algorithm>) -> Result<IssuerKeys, JwksError> {
    let set: KeySet = serde_json::from_slice(body).map_err(|_| JwksError::Malformed {
        document: Document::Keys,
    })?;
    let mut keys = BTreeSet::new();
    for jwk in set.keys {
        let Ok(jwk) = serde_json::from_value::<Jwk>(jwk) else {
            continue;
        };
        let Ok(mut key) = jwk_to_key(&jwk) else {
            continue;
        };
        key.algorithms
            .retain(|algorithm| algorithms.contains(algorithm));
        if !key.algorithms.is_empty() {
            keys.insert(key);
        }
    }
    match keys.len() {
        0 => Err(JwksError::NoKeys),
        1..=MAX_KEYS => Ok(IssuerKeys {
            algorithms,
            keys: keys.into_iter().collect(),
        }),
        _ => Err(JwksError::TooManyKeys),
    }
}

/// A panic elsewhere leaves the cache as whole as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The clock of this shell; the schedule itself is given the time.
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;

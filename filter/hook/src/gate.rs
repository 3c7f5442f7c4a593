//! The Gate: decides on a hook from its head, its body as it streams by, and its end.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::address;
use crate::bucket::Limit;
use crate::config::{Config, Hook, Slot, State};
use crate::digest::{Digest, HookId};
use crate::jwt::Signatures;
use crate::ledger::{Ledger, UNCHECKED};
use crate::receiver::{self, BodyCheck, Check, Context, Pass, ReceiverType};
use crate::rejection::{ADMITTED, IGNORED, Rejection};
use crate::request::Request;

/// The largest body that is tried from anybody while a hook's failure bucket is empty, in bytes.
pub const SMALL_BODY: u64 = 64 * 1024;

/// What the surroundings lend to the Gate.
pub trait Host: Signatures {
    /// The client's address, if it is known. Asked only where a verdict needs it.
    fn peer(&self) -> Option<IpAddr>;

    /// Changes the record under `key` as one step, visible to every worker: reads it (empty if there
    /// is none), applies `change` (several times, if others wrote in between) and writes it.
    /// `false` if that can't be done; bounded.
    fn update(&self, key: &str, change: &mut dyn FnMut(&mut Vec<u8>)) -> bool;
}

/// A table, ready to decide.
#[derive(Debug)]
pub struct Gate {
    max_body: u64,
    allow_any_method: bool,
    failures: Limit,
    hooks: Vec<Arc<Hook>>,
    /// Which hook, and which of its Secret's keys the path was made from.
    index: BTreeMap<HookId, (Arc<Hook>, Slot)>,
}

/// A hook that a path names.
#[derive(Clone, Debug)]
pub struct Found {
    hook: Arc<Hook>,
    /// The Secret's key that the path was made from.
    path: Slot,
}

/// What the Gate says after the head of a hook.
#[derive(Debug)]
pub enum Step {
    /// The body is needed: feed it.
    Body(Pending),
    /// It is decided.
    Done(Decision),
}

/// A verdict, and what it is about.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// The hook, if the path named one.
    pub hook: Option<Arc<Hook>>,
}

/// What to do with a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let it through.
    Admit(Admission),
    /// It is genuine, but its event is not listed: answer this status, and do nothing.
    Ignore {
        /// 200 or 202.
        status: u16,
    },
    /// Refuse it.
    Reject(Rejection),
}

/// What is known of an admitted hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The Secret's key that the path was made from.
    pub path: Slot,
    /// What the sender proved.
    pub pass: Pass,
}

/// A hook whose body is on its way. Its size does not depend on the body's.
#[derive(Debug)]
pub struct Pending {
    hook: Arc<Hook>,
    path: Slot,
    check: BodyCheck,
    event_listed: bool,
    max_body: u64,
    failures: Limit,
    seen: u64,
    trusted: bool,
}

impl Gate {
    /// Makes a table ready. Of two hooks on one path the first in the table is served.
    pub fn new(config: Config) -> Self {
        let hooks: Vec<_> = config.hooks.into_iter().map(Arc::new).collect();
        let mut index = BTreeMap::new();
        for hook in &hooks {
            for path in &hook.paths {
                index
                    .entry(path.id)
                    .or_insert_with(|| (hook.clone(), path.slot));
            }
        }
        Self {
            max_body: config.max_body,
            allow_any_method: config.allow_any_method,
            failures: config.failures,
            hooks,
            index,
        }
    }

    /// The largest body, in bytes.
    pub fn max_body(&self) -> u64 {
        self.max_body
    }

    /// The hooks, in the order of the table.
    pub fn hooks(&self) -> &[Arc<Hook>] {
        &self.hooks
    }

    /// The hook that a path names. Apart from [`Gate::check`] for hosts where a look at the path alone is cheaper than
    /// one at the whole head.
    pub fn find(&self, path: &[u8]) -> Option<Found> {
        let (hook, path) = self.index.get(&Digest::from_path(path)?.id())?;
        Some(Found {
            hook: hook.clone(),
            path: *path,
        })
    }

    /// Decides on the head of a hook: [`Gate::find`], then [`Gate::check`].
    pub fn headers(&self, request: &Request<'_>, end: bool, now_ms: u64, host: &dyn Host) -> Step {
        match self.find(request.path) {
            Some(found) => self.check(found, request, end, now_ms, host),
            None => Step::Done(Decision::UNKNOWN_PATH),
        }
    }

    /// Decides on the head of the hook that its path has found. `end` says that there is no body; `now_ms` is Unix
    /// time in milliseconds.
    pub fn check(
        &self,
        found: Found,
        request: &Request<'_>,
        end: bool,
        now_ms: u64,
        host: &dyn Host,
    ) -> Step {
        let Found { hook, path } = found;
        let verdict = match self.known(&hook, path, request, now_ms, host) {
            Ok(Known::Passed(pass, listed)) => {
                admit(&hook, path, pass, listed, self.failures, now_ms, host)
            }
            Ok(Known::Body(pending)) if end => return Step::Done(pending.end(now_ms, host)),
            Ok(Known::Body(pending)) => return Step::Body(pending),
            Err(rejection) => refuse(&hook, rejection, self.failures, now_ms, host),
        };
        Step::Done(Decision {
            verdict,
            hook: Some(hook),
        })
    }

    fn known(
        &self,
        hook: &Arc<Hook>,
        path: Slot,
        request: &Request<'_>,
        now_ms: u64,
        host: &dyn Host,
    ) -> Result<Known, Rejection> {
        match hook.state {
            State::Ready => {}
            State::Suspended => return Err(Rejection::Suspended),
            State::NotReady => return Err(Rejection::NotReady),
        }
        if !self.allow_any_method && !matches!(request.method, b"POST" | b"PUT") {
            return Err(Rejection::Method);
        }
        let length = request.content_length()?;
        if length.is_some_and(|length| length > self.max_body) {
            return Err(Rejection::TooLarge);
        }
        allowed_address(hook, host)?;
        let receiver_type = receiver::find(&hook.receiver_type).ok_or(Rejection::NotReady)?;
        let context = Context {
            now_ms,
            signatures: host,
        };
        let check = receiver_type.check(hook, request, &context)?;
        let event_listed = receiver::event_listed(receiver_type, hook, request)?;
        let check = match check {
            Check::Passed(pass) => return Ok(Known::Passed(pass, event_listed)),
            Check::Body(check) => check,
        };
        let mut pending = Pending {
            hook: hook.clone(),
            path,
            check,
            event_listed,
            max_body: self.max_body,
            failures: self.failures,
            seen: 0,
            trusted: false,
        };
        if length.is_some_and(|length| length > SMALL_BODY) {
            pending.trust(now_ms, host)?;
        }
        Ok(Known::Body(pending))
    }
}

enum Known {
    Passed(Pass, bool),
    Body(Pending),
}

impl Pending {
    /// The hook that it is about.
    pub fn hook(&self) -> &Arc<Hook> {
        &self.hook
    }

    /// Takes the next chunk of the body.
    ///
    /// # Errors
    /// The decision, if it can be made without the rest: the body is too large.
    pub fn chunk(&mut self, bytes: &[u8], now_ms: u64, host: &dyn Host) -> Result<(), Decision> {
        self.seen = self.seen.saturating_add(bytes.len() as u64);
        let result = if self.seen > self.max_body {
            Err(Rejection::TooLarge)
        } else if self.seen > SMALL_BODY {
            self.trust(now_ms, host)
        } else {
            Ok(())
        };
        if let Err(rejection) = result {
            if rejection == Rejection::TooLarge {
                // Its declared length did not say so: what was hashed was hashed for nothing.
                charge(&self.hook, self.failures, now_ms, host);
            }
            let verdict = refuse(&self.hook, rejection, self.failures, now_ms, host);
            return Err(Decision {
                verdict,
                hook: Some(self.hook.clone()),
            });
        }
        self.check.chunk(bytes);
        Ok(())
    }

    /// The body is over, in its last chunk or in trailers: decides.
    pub fn end(self, now_ms: u64, host: &dyn Host) -> Decision {
        let verdict = match self.check.end() {
            Ok(pass) => admit(
                &self.hook,
                self.path,
                pass,
                self.event_listed,
                self.failures,
                now_ms,
                host,
            ),
            Err(rejection) => refuse(&self.hook, rejection, self.failures, now_ms, host),
        };
        Decision {
            verdict,
            hook: Some(self.hook),
        }
    }

    /// The body broke off: the client went away. There is nobody to answer, but what was hashed counts
    /// against the hook's failure bucket; else bodies that never end would be hashed without bound.
    pub fn abort(self, now_ms: u64, host: &dyn Host) -> Decision {
        let verdict = refuse(
            &self.hook,
            Rejection::BadRequest,
            self.failures,
            now_ms,
            host,
        );
        Decision {
            verdict,
            hook: Some(self.hook),
        }
    }

    /// Whether a large body is worth hashing: always, until the hook's failure bucket is empty; then
    /// only from clients that it admitted lately.
    fn trust(&mut self, now_ms: u64, host: &dyn Host) -> Result<(), Rejection> {
        if self.trusted {
            return Ok(());
        }
        let client = host.peer().map(address::client);
        let mut result = Err(Rejection::Busy);
        let failures = self.failures;
        let read = |bytes: &mut Vec<u8>| {
            let ledger = Ledger::read(bytes, self.hook.limit, failures, now_ms);
            let known = client.is_some_and(|client| ledger.knows(client));
            result = match ledger.refused.peek(failures, now_ms) {
                Err(retry_after) if !known => Err(Rejection::FailureLimit { retry_after }),
                _ => Ok(()),
            };
        };
        look(&self.hook, host, read);
        self.trusted = result.is_ok();
        result
    }
}

/// The key of a hook's record. By name and not by path, so that a rotation does not reset it and the
/// number of records is bounded by the number of Receivers.
fn record_key(hook: &Hook) -> String {
    alloc::format!("hookgate/1/{}", hook.name)
}

fn look(hook: &Hook, host: &dyn Host, mut read: impl FnMut(&mut Vec<u8>)) -> bool {
    host.update(&record_key(hook), &mut read)
}

fn change<T>(
    hook: &Hook,
    failures: Limit,
    now_ms: u64,
    host: &dyn Host,
    mut apply: impl FnMut(&mut Ledger) -> T,
) -> Result<T, Rejection> {
    let mut result = None;
    let done = host.update(&record_key(hook), &mut |bytes| {
        let mut ledger = Ledger::read(bytes, hook.limit, failures, now_ms);
        result = Some(apply(&mut ledger));
        ledger.write(bytes);
    });
    result.filter(|_| done).ok_or(Rejection::Busy)
}

fn allowed_address(hook: &Hook, host: &dyn Host) -> Result<(), Rejection> {
    if hook.addresses.is_empty() {
        return Ok(());
    }
    let peer = host.peer().ok_or(Rejection::AddressNotAllowed)?;
    if hook.addresses.iter().any(|range| range.contains(peer)) {
        Ok(())
    } else {
        Err(Rejection::AddressNotAllowed)
    }
}

/// Charges the success bucket and remembers the client.
fn admit(
    hook: &Hook,
    path: Slot,
    pass: Pass,
    event_listed: bool,
    failures: Limit,
    now_ms: u64,
    host: &dyn Host,
) -> Verdict {
    let client = host.peer().map(address::client);
    let charged = change(hook, failures, now_ms, host, |ledger| {
        if !pass.checked {
            return ledger.unchecked.take(UNCHECKED, now_ms);
        }
        if let Some(client) = client {
            ledger.remember(client);
        }
        ledger.admitted.take(hook.limit, now_ms)
    });
    match charged {
        Err(rejection) => Verdict::Reject(rejection),
        Ok(Err(retry_after)) => Verdict::Reject(Rejection::RateLimit { retry_after }),
        Ok(Ok(())) if event_listed => Verdict::Admit(Admission { path, pass }),
        Ok(Ok(())) if hook.filtered_status == 400 => Verdict::Reject(Rejection::EventNotListed),
        Ok(Ok(())) => Verdict::Ignore {
            status: hook.filtered_status,
        },
    }
}

/// Charges the failure bucket, where the refusal is the sender's doing.
fn refuse(
    hook: &Hook,
    rejection: Rejection,
    failures: Limit,
    now_ms: u64,
    host: &dyn Host,
) -> Verdict {
    if rejection.is_failure() {
        charge(hook, failures, now_ms, host);
    }
    Verdict::Reject(rejection)
}

fn charge(hook: &Hook, failures: Limit, now_ms: u64, host: &dyn Host) {
    // Whether the token was there does not matter: the hook is refused either way.
    let _ = change(hook, failures, now_ms, host, |ledger| {
        ledger.refused.take(failures, now_ms)
    });
}

impl Decision {
    /// On a path that names no hook.
    pub const UNKNOWN_PATH: Self = Self {
        verdict: Verdict::Reject(Rejection::UnknownPath),
        hook: None,
    };

    /// The status of the answer; of an admitted hook that of the controller is passed on.
    pub fn status(&self) -> Option<u16> {
        match &self.verdict {
            Verdict::Admit(_) => None,
            Verdict::Ignore { status } => Some(*status),
            Verdict::Reject(rejection) => Some(rejection.status()),
        }
    }

    /// The reason word: that of the [`Rejection`], `admitted` or `ignored`.
    pub fn reason(&self) -> &'static str {
        match &self.verdict {
            Verdict::Admit(_) => ADMITTED,
            Verdict::Ignore { .. } => IGNORED,
            Verdict::Reject(rejection) => rejection.reason(),
        }
    }

    /// The receiver type's name, or `none` where the path named no hook. Bounded, for metrics.
    pub fn receiver_type(&self) -> &'static str {
        self.hook
            .as_ref()
            .and_then(|hook| receiver::find(&hook.receiver_type))
            .map_or("none", ReceiverType::name)
    }
}

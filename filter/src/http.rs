//! One request: headers, body, end of stream, to a verdict.
//!
//! Whatever is not expected ends in a local reply, never in "continue".

use std::rc::Rc;
use std::sync::Arc;

use hook::config::Hook;
use hook::gate::{Decision, Gate, Pending, Step, Verdict};
use hook::rejection::Rejection;
use hook::request::Request;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::host::{self, Envoy};
use crate::root::Shared;

/// How much of the body is copied into the VM at a time, in bytes.
const PIECE: usize = 64 * 1024;

pub(crate) struct Http {
    gate: Option<Rc<Gate>>,
    hold_headers: bool,
    shared: Rc<Shared>,
    /// The hook that was admitted by its head.
    hook: Option<Arc<Hook>>,
    state: State,
    /// Bytes of the body that have been hashed, or that went on after a verdict on the head.
    done: usize,
}

enum State {
    /// Nothing has been seen.
    Fresh,
    /// The body is on its way.
    Body(Box<Pending>),
    /// The request may go on.
    Admitted,
    /// The request has been answered.
    Answered,
}

impl Http {
    pub(crate) fn new(gate: Option<Rc<Gate>>, hold_headers: bool, shared: Rc<Shared>) -> Self {
        Self {
            gate,
            hold_headers,
            shared,
            hook: None,
            state: State::Fresh,
            done: 0,
        }
    }

    fn decide(&mut self, decision: &Decision, now_ms: u64, envoy: &Envoy) -> Action {
        self.record(decision, now_ms);
        host::set_reason(decision.reason());
        match &decision.verdict {
            Verdict::Admit(_) => self.admit(envoy),
            Verdict::Ignore { status } => self.answer(*status, decision.reason(), None),
            Verdict::Reject(rejection) => self.answer(
                rejection.status(),
                rejection.reason(),
                rejection.retry_after(),
            ),
        }
    }

    /// Belongs to no hook's report, and needs no time therefore.
    fn unknown_path(&mut self) -> Action {
        let decision = Decision::UNKNOWN_PATH;
        self.shared.counters.count(&decision);
        host::set_reason(decision.reason());
        self.answer(Rejection::UnknownPath.status(), decision.reason(), None)
    }

    fn record(&self, decision: &Decision, now_ms: u64) {
        self.shared.counters.count(decision);
        self.shared.reporter.count(decision, now_ms);
    }

    fn admit(&mut self, envoy: &Envoy) -> Action {
        // Without holding, the head is on its way already and was marked before it left.
        if self.hold_headers && !host::mark_verified(envoy, false) {
            return self.fail("mark");
        }
        self.state = State::Admitted;
        Action::Continue
    }

    fn answer(&mut self, status: u16, reason: &str, retry_after: Option<u32>) -> Action {
        host::reply(status, reason, retry_after);
        self.state = State::Answered;
        Action::Pause
    }

    /// Something that can't happen did.
    fn fail(&mut self, what: &str) -> Action {
        host::set_reason(what);
        self.answer(503, what, Some(1))
    }

    /// Hashes what came since the last call.
    fn read(
        &mut self,
        body_size: usize,
        now_ms: u64,
        envoy: &Envoy,
    ) -> Result<(), Option<Decision>> {
        let State::Body(pending) = &mut self.state else {
            return Err(None);
        };
        while self.done < body_size {
            let piece = host::body(self.done, PIECE.min(body_size - self.done));
            if piece.is_empty() {
                return Err(None);
            }
            self.done += piece.len();
            pending.chunk(&piece, now_ms, envoy).map_err(Some)?;
        }
        Ok(())
    }

    /// Lets more of an admitted hook's body go on: the head of a chunked one does not say how much
    /// there is. Above the limit the sender gets 413, and the upstream a cut connection.
    fn pass(&mut self, bytes: usize) -> Action {
        self.done = self.done.saturating_add(bytes);
        let max = self.gate.as_ref().map_or(0, |gate| gate.max_body());
        if self.done as u64 <= max {
            return Action::Continue;
        }
        let decision = Decision {
            verdict: Verdict::Reject(Rejection::TooLarge),
            hook: self.hook.clone(),
        };
        self.decide(&decision, host::now_ms(), &Envoy::default())
    }

    fn finish(&mut self, now_ms: u64, envoy: &Envoy) -> Action {
        match std::mem::replace(&mut self.state, State::Answered) {
            State::Body(pending) => {
                let decision = pending.end(now_ms, envoy);
                self.decide(&decision, now_ms, envoy)
            }
            State::Admitted => {
                self.state = State::Admitted;
                Action::Continue
            }
            State::Answered => Action::Pause,
            State::Fresh => self.fail("no_headers"),
        }
    }
}

impl Context for Http {}

impl Drop for Http {
    /// The stream is over. A body that broke off was hashed for nothing: that counts as a failure.
    ///
    /// Here and not in `on_done`, so that Envoy need not enter the VM for that, too: see `EXPORTS` in `tests/harness/module.rs`.
    fn drop(&mut self) {
        if let State::Body(pending) = std::mem::replace(&mut self.state, State::Answered) {
            let now_ms = host::now_ms();
            self.record(&pending.abort(now_ms, &Envoy::default()), now_ms);
        }
    }
}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        #[cfg(feature = "trap")]
        trap(&request(host::request_headers().pairs()));
        let Some(gate) = self.gate.clone() else {
            return self.fail("no_table");
        };
        // Most of what the internet sends ends here, and a whole head costs more than the rest of that.
        let Some(found) = gate.find(&host::request_path()) else {
            return self.unknown_path();
        };
        let (now_ms, envoy) = (host::now_ms(), Envoy::default());
        let headers = host::request_headers();
        let request = request(headers.pairs());
        match gate.check(found, &request, end_of_stream, now_ms, &envoy) {
            Step::Done(decision) => {
                let goes_on = matches!(decision.verdict, Verdict::Admit(_));
                if !self.hold_headers && goes_on && !host::mark_verified(&envoy, true) {
                    return self.fail("mark");
                }
                let action = self.decide(&decision, now_ms, &envoy);
                self.hook = decision.hook;
                action
            }
            Step::Body(pending) => {
                // Without holding, the upstream gets the head now, and a cut connection if the body is not genuine.
                if !self.hold_headers && !host::mark_verified(&envoy, true) {
                    return self.fail("mark");
                }
                self.state = State::Body(Box::new(pending));
                if self.hold_headers {
                    Action::Pause
                } else {
                    Action::Continue
                }
            }
        }
    }

    fn on_http_request_body(&mut self, body_size: usize, end_of_stream: bool) -> Action {
        match (&self.state, end_of_stream) {
            (State::Admitted, _) => return self.pass(body_size),
            (State::Answered, _) => return Action::Pause,
            (State::Fresh | State::Body(_), _) => {}
        }
        let (now_ms, envoy) = (host::now_ms(), Envoy::default());
        match self.read(body_size, now_ms, &envoy) {
            Ok(()) if end_of_stream => self.finish(now_ms, &envoy),
            Ok(()) => Action::Pause,
            Err(Some(decision)) => self.decide(&decision, now_ms, &envoy),
            Err(None) => self.fail("no_body"),
        }
    }

    /// With trailers the body never ends: this is the end.
    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        self.finish(host::now_ms(), &Envoy::default())
    }
}

fn request<'a>(headers: Vec<(&'a str, &'a [u8])>) -> Request<'a> {
    let pseudo = |name| {
        headers
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| *v)
            .unwrap_or_default()
    };
    Request {
        method: pseudo(":method"),
        path: pseudo(":path"),
        headers,
    }
}

/// The test build traps on demand.
#[cfg(feature = "trap")]
#[expect(clippy::panic, reason = "to trap is what this build is for")]
fn trap(request: &Request<'_>) {
    if request
        .headers
        .iter()
        .any(|(name, _)| *name == "x-trap-on-demand")
    {
        panic!("trapped on demand");
    }
}

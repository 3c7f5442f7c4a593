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

    fn decide(&mut self, decision: &Decision) -> Action {
        self.record(decision, host::now_ms());
        host::set_reason(decision.reason());
        match &decision.verdict {
            Verdict::Admit(_) => self.admit(),
            Verdict::Ignore { status } => self.answer(*status, decision.reason(), None),
            Verdict::Reject(rejection) => self.answer(
                rejection.status(),
                rejection.reason(),
                rejection.retry_after(),
            ),
        }
    }

    fn record(&self, decision: &Decision, now_ms: u64) {
        self.shared.counters.count(decision);
        self.shared.reporter.count(decision, now_ms);
    }

    fn admit(&mut self) -> Action {
        // Without holding, the head is on its way already and was marked before it left.
        if self.hold_headers && !host::mark_verified() {
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
    fn read(&mut self, body_size: usize) -> Result<(), Option<Decision>> {
        let State::Body(pending) = &mut self.state else {
            return Err(None);
        };
        let envoy = Envoy::default();
        while self.done < body_size {
            let piece = host::body(self.done, PIECE.min(body_size - self.done));
            if piece.is_empty() {
                return Err(None);
            }
            self.done += piece.len();
            pending
                .chunk(&piece, host::now_ms(), &envoy)
                .map_err(Some)?;
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
        self.decide(&Decision {
            verdict: Verdict::Reject(Rejection::TooLarge),
            hook: self.hook.clone(),
        })
    }

    fn finish(&mut self) -> Action {
        match std::mem::replace(&mut self.state, State::Answered) {
            State::Body(pending) => {
                let decision = pending.end(host::now_ms(), &Envoy::default());
                self.decide(&decision)
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

impl Context for Http {
    /// The stream is over. A body that broke off was hashed for nothing: that counts as a failure.
    fn on_done(&mut self) -> bool {
        if let State::Body(pending) = std::mem::replace(&mut self.state, State::Answered) {
            let now_ms = host::now_ms();
            self.record(&pending.abort(now_ms, &Envoy::default()), now_ms);
        }
        true
    }
}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        let headers = host::request_headers();
        #[cfg(feature = "trap")]
        trap(&headers);
        let Some(gate) = self.gate.clone() else {
            return self.fail("no_table");
        };
        let request = request(&headers);
        match gate.headers(&request, end_of_stream, host::now_ms(), &Envoy::default()) {
            Step::Done(decision) => {
                if !self.hold_headers && matches!(decision.verdict, Verdict::Admit(_)) {
                    host::mark_verified();
                }
                let action = self.decide(&decision);
                self.hook = decision.hook;
                action
            }
            Step::Body(pending) => {
                self.state = State::Body(Box::new(pending));
                if self.hold_headers {
                    return Action::Pause;
                }
                // The upstream gets the head now, and a cut connection if the body is not genuine.
                host::mark_verified();
                Action::Continue
            }
        }
    }

    fn on_http_request_body(&mut self, body_size: usize, end_of_stream: bool) -> Action {
        match (&self.state, end_of_stream) {
            (State::Admitted, _) => return self.pass(body_size),
            (State::Answered, _) => return Action::Pause,
            (State::Fresh | State::Body(_), _) => {}
        }
        match self.read(body_size) {
            Ok(()) if end_of_stream => self.finish(),
            Ok(()) => Action::Pause,
            Err(Some(decision)) => self.decide(&decision),
            Err(None) => self.fail("no_body"),
        }
    }

    /// With trailers the body never ends: this is the end.
    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        self.finish()
    }
}

fn request(headers: &[(String, Vec<u8>)]) -> Request<'_> {
    let pseudo = |name| {
        headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_slice())
            .unwrap_or_default()
    };
    Request {
        method: pseudo(":method"),
        path: pseudo(":path"),
        headers: headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_slice()))
            .collect(),
    }
}

/// The test build traps on demand.
#[cfg(feature = "trap")]
#[expect(clippy::panic, reason = "to trap is what this build is for")]
fn trap(headers: &[(String, Vec<u8>)]) {
    if headers.iter().any(|(name, _)| name == "x-trap-on-demand") {
        panic!("trapped on demand");
    }
}

//! The root context: takes in tables, makes one [`Http`] a request, sends edge reports.

use std::rc::Rc;
use std::time::Duration;

use hook::config::{Config, Source};
use hook::gate::Gate;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};

use crate::counters::Counters;
use crate::fetch::Fetch;
use crate::host::{self, Call};
use crate::http::Http;
use crate::report::Reporter;

/// How often each VM hands over what it has counted, and looks for a table.
const TICK: Duration = Duration::from_secs(2);
/// The same while there is no table.
const EAGER_TICK: Duration = Duration::from_millis(500);

/// What every request of this VM shares.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) counters: Counters,
    pub(crate) reporter: Reporter,
}

#[derive(Default)]
pub(crate) struct Root {
    gate: Option<Rc<Gate>>,
    hold_headers: bool,
    /// How the table comes here, if not by the configuration.
    fetch: Option<Fetch>,
    shared: Rc<Shared>,
}

impl Root {
    fn take_in(&mut self, config: Config, hold_headers: bool) {
        self.hold_headers = hold_headers;
        self.gate = Some(Rc::new(Gate::new(config)));
        host::tick_every(TICK);
    }

    /// Takes in the table that a VM of this Envoy has fetched.
    fn look_for_table(&mut self) {
        if let Some(config) = self.fetch.as_mut().and_then(Fetch::fetched) {
            self.take_in(config, false);
        }
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, _: usize, body_size: usize, _: usize) {
        // Without headers the call did not reach anybody.
        let headers = host::answer_headers();
        let status = headers.pairs().iter().find_map(|(name, value)| {
            let is_status = *name == ":status";
            let text = is_status.then(|| std::str::from_utf8(value).ok())??;
            text.parse::<u16>().ok()
        });
        let call = Call::of(token);
        self.shared.reporter.answered(call, status);
        if let Some(fetch) = &mut self.fetch {
            fetch.answered(call, status, body_size);
        }
        self.look_for_table();
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let json = host::plugin_configuration(size);
        match Source::parse(&json) {
            Ok(Source::Table(config)) => {
                let hold_headers = config.hold_headers;
                self.take_in(config, hold_headers);
                true
            }
            Ok(Source::Controller) => {
                self.fetch = Some(Fetch::default());
                host::tick_every(EAGER_TICK);
                // Another VM may have it, or this one had it before it trapped.
                self.look_for_table();
                true
            }
            Err(error) => {
                host::log(LogLevel::Error, &format!("the table is refused: {error}"));
                false
            }
        }
    }

    fn on_tick(&mut self) {
        let now_ms = host::now_ms();
        self.shared.reporter.tick(now_ms);
        self.look_for_table();
        if let Some(fetch) = &mut self.fetch {
            fetch.tick(now_ms);
        }
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        let gate = self.gate.clone();
        Some(Box::new(Http::new(
            gate,
            self.hold_headers,
            self.shared.clone(),
        )))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

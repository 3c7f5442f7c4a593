//! The root context: takes in tables, makes one [`Http`] a request, sends edge reports.

use std::rc::Rc;
use std::time::Duration;

use hook::config::Config;
use hook::gate::Gate;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};

use crate::counters::Counters;
use crate::host;
use crate::http::Http;
use crate::report::Reporter;

/// How often each VM hands over what it has counted.
const TICK: Duration = Duration::from_secs(2);

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
    shared: Rc<Shared>,
}

impl Context for Root {
    fn on_http_call_response(&mut self, _: u32, num_headers: usize, _: usize, _: usize) {
        // Without headers the call did not reach anybody.
        self.shared
            .reporter
            .answered(num_headers > 0 && host::call_succeeded());
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let json = host::plugin_configuration(size);
        match Config::parse(&json) {
            Ok(config) => {
                self.hold_headers = config.hold_headers;
                self.gate = Some(Rc::new(Gate::new(config)));
                host::tick_every(TICK);
                true
            }
            Err(error) => {
                host::log(LogLevel::Error, &format!("the table is refused: {error}"));
                false
            }
        }
    }

    fn on_tick(&mut self) {
        self.shared.reporter.tick(host::now_ms());
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

//! A table that parses is written as it was read, and can be served from.
#![no_main]

use hook::config::Config;
use hook::gate::Gate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    let Ok(table) = Config::parse(json) else {
        return;
    };
    let written = table.to_json().unwrap();
    let again = Config::parse(written.as_bytes()).unwrap();
    assert_eq!(again.to_json().unwrap(), written);
    assert_eq!(Gate::new(again).hooks().len(), table.hooks.len());
});

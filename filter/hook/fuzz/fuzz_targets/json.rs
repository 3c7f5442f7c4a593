//! The body of every receiver type that sends JSON.
#![no_main]

use hook::receiver::RECEIVER_TYPES;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for receiver_type in RECEIVER_TYPES {
        let _ = receiver_type.payload(body);
    }
});

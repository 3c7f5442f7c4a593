//! `Authorization` of the types that take a JSON Web Token.
#![no_main]

use hook::jwt::{Token, bearer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    let _ = Token::parse(value);
    for trim in [false, true] {
        if let Some(text) = bearer(value, trim) {
            let _ = Token::parse(text);
        }
    }
});

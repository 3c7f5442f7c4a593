//! Expressions as tenants write them: checked without a panic, a hang or a deep stack. The first byte
//! says which variables there are.
#![no_main]

use controller::cel::{Declared, Expression};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((declared, source)) = input.split_first() else {
        return;
    };
    let Ok(source) = std::str::from_utf8(source) else {
        return;
    };
    let declared = Declared {
        claims: declared & 1 != 0,
        vars: declared & 2 != 0,
        objects: declared & 4 != 0,
        alerting: declared & 8 != 0,
    };
    let _ = Expression::filter(source, &declared);
});

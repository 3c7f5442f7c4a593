//! A media type is in lower case and reads as itself.
#![no_main]

use hook::mime::media_type;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    if let Some(found) = media_type(value) {
        assert_eq!(found, found.to_ascii_lowercase());
        let again = media_type(found.as_bytes());
        assert_eq!(again.as_ref(), Some(&found));
    }
});

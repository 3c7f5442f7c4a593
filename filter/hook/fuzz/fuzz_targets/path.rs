//! A path that names a digest is that digest's path and no other text for it.
#![no_main]

use hook::digest::Digest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &[u8]| {
    if let Some(digest) = Digest::from_path(path) {
        assert_eq!(digest.path().as_bytes(), path);
    }
});

//! A form reads the same however it is cut. The first byte says where.
#![no_main]

use hook::form::Form;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((at, body)) = input.split_first() else {
        return;
    };
    let (a, b) = body.split_at(usize::from(*at).min(body.len()));
    let whole = read([body].into_iter());
    assert_eq!(whole, read([a, b].into_iter()));
    assert_eq!(whole, read(body.chunks(1)));
    // Decoding never grows.
    assert!(whole.1.len() <= body.len());
});

fn read<'b>(chunks: impl Iterator<Item = &'b [u8]>) -> (bool, Vec<u8>) {
    let (mut form, mut payload) = (Form::default(), Vec::new());
    for chunk in chunks {
        form.chunk(chunk, |bytes| payload.extend_from_slice(bytes));
    }
    (form.is_valid(), payload)
}

//! The filter as it is shipped exports only what Envoy has to call: each callback that it finds it calls, for every request.
//!
//! The SDK exports all of them and the compiler has no way to take one back, so they go from the finished module. What they
//! alone reached goes with them where wasm-opt runs afterwards.

/// What a filter of ours exports. `proxy_on_memory_allocate` is how Envoy returns bytes; what is not here is never called.
pub const EXPORTS: [&str; 13] = [
    "_initialize",
    "memory",
    "proxy_abi_version_0_2_1",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_delete",
    "proxy_on_http_call_response",
    "proxy_on_memory_allocate",
    "proxy_on_request_body",
    "proxy_on_request_headers",
    "proxy_on_request_trailers",
    "proxy_on_tick",
    "proxy_on_vm_start",
];

const HEADER: &[u8] = b"\0asm\x01\0\0\0";
const EXPORT_SECTION: u8 = 7;

/// The module with no exports but [`EXPORTS`]; `None` if it is not a WebAssembly module (core specification, section 5.5).
#[must_use]
pub fn trim(module: &[u8]) -> Option<Vec<u8>> {
    let mut rest = module.strip_prefix(HEADER)?;
    let mut trimmed = HEADER.to_vec();
    while let Some((id, after)) = rest.split_first() {
        let mut reader = Reader(after);
        let section = reader.vector()?;
        rest = reader.0;
        trimmed.push(*id);
        if *id == EXPORT_SECTION {
            write_vector(&mut trimmed, &exports(section)?);
        } else {
            write_vector(&mut trimmed, section);
        }
    }
    Some(trimmed)
}

/// The export section without the others.
fn exports(section: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(section);
    let (mut kept, mut count) = (Vec::new(), 0);
    for _ in 0..reader.number()? {
        let entry = reader.0;
        let name = reader.vector()?;
        let (_kind, after) = reader.0.split_first()?;
        reader.0 = after;
        reader.number()?;
        if EXPORTS.iter().any(|export| export.as_bytes() == name) {
            kept.extend_from_slice(entry.strip_suffix(reader.0)?);
            count += 1;
        }
    }
    let mut section = Vec::new();
    write_number(&mut section, count);
    section.append(&mut kept);
    Some(section)
}

struct Reader<'m>(&'m [u8]);

impl<'m> Reader<'m> {
    /// An unsigned number in LEB128.
    fn number(&mut self) -> Option<usize> {
        let (mut number, mut shift) = (0_usize, 0);
        loop {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= usize::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
            shift += 7;
        }
    }

    /// Bytes behind their number.
    fn vector(&mut self) -> Option<&'m [u8]> {
        let length = self.number()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

fn write_vector(out: &mut Vec<u8>, bytes: &[u8]) {
    write_number(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn write_number(out: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(names: &[&str]) -> Vec<u8> {
        let mut section = Vec::new();
        write_number(&mut section, names.len());
        for name in names {
            write_vector(&mut section, name.as_bytes());
            section.extend([0, 0x81, 0x01]); // the function of index 129
        }
        let mut module = HEADER.to_vec();
        for (id, section) in [
            (0, &b"\x04name"[..]),
            (EXPORT_SECTION, &section),
            (10, &[0]),
        ] {
            module.push(id);
            write_vector(&mut module, section);
        }
        module
    }

    #[test]
    fn other_exports_go_and_all_else_stays() {
        let long = "proxy_on_log".repeat(20);
        let before = module(&["proxy_on_log", "memory", &long, "proxy_on_tick"]);
        assert_eq!(trim(&before), Some(module(&["memory", "proxy_on_tick"])));
        let all = module(&EXPORTS);
        assert_eq!(trim(&all), Some(all));
    }

    #[test]
    fn what_is_no_module_is_not_trimmed() {
        let whole = module(&["memory"]);
        for cut in 0..HEADER.len() {
            assert_eq!(trim(&whole[..cut]), None);
        }
        assert_eq!(trim(&whole[..whole.len() - 1]), None);
        assert_eq!(trim(&[HEADER, &[7, 0xff, 0xff, 0xff]].concat()), None);
        assert_eq!(trim(&[HEADER, &[7], &[0xff; 20]].concat()), None);
    }
}

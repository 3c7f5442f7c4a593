//! The only file that calls the host.
//!
//! The SDK's helpers panic on what they do not expect, and a panic is an outage of the worker. So
//! what can meet the unexpected is declared here and answers with a value.

#![expect(
    unsafe_code,
    reason = "host calls that the SDK lacks, or that panic there"
)]

use std::cell::OnceCell;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use hook::address;
use hook::gate::Host;
use hook::jwt::{Algorithm, Signatures, Unsupported, ecdsa_der};
use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, LogLevel, MapType, MetricType};

/// The header that the native guard behind this filter asks for. Stripped in front of it.
const VERIFIED: &str = "x-hookgate-verified";
/// The client's address, for the controller's limits. Stripped in front of this filter too.
const CLIENT: &str = "x-hookgate-client";
/// The cluster of the bootstrap that leads to the controller's xDS port.
const CONTROLLER: &str = "hookgate_ecds";
const POST_TIMEOUT: Duration = Duration::from_secs(2);
/// A table may have many megabytes.
const TABLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Tries to write a record that others write too.
const TRIES: usize = 16;
const OK: u32 = 0;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_len: usize,
        body: *const u8,
        body_len: usize,
        headers: *const u8,
        headers_len: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        key: *const u8,
        key_len: usize,
        results: *mut *mut u8,
        results_len: *mut usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, results: *mut *mut u8, results_len: *mut usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        key: *const u8,
        key_len: usize,
        value: *const u8,
        value_len: usize,
    ) -> u32;
    fn proxy_set_property(
        path: *const u8,
        path_len: usize,
        value: *const u8,
        value_len: usize,
    ) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_len: usize,
        arguments: *const u8,
        arguments_len: usize,
        results: *mut *mut u8,
        results_len: *mut usize,
    ) -> u32;
}

/// Unix time in milliseconds.
pub(crate) fn now_ms() -> u64 {
    hostcalls::get_current_time()
        .ok()
        .and_then(|now| now.duration_since(UNIX_EPOCH).ok())
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}

pub(crate) fn log(level: LogLevel, message: &str) {
    let _ = hostcalls::log(level, message);
}

pub(crate) fn tick_every(period: Duration) {
    let _ = hostcalls::set_tick_period(period);
}

pub(crate) fn plugin_configuration(size: usize) -> Vec<u8> {
    let buffer = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size);
    buffer.ok().flatten().unwrap_or_default()
}

/// Every request header, in one call: each call that returns bytes costs a microsecond. Read where they lie: the SDK
/// makes two allocations a header, and expects names in UTF-8.
pub(crate) fn request_headers() -> HeaderMap {
    header_map(MapType::HttpRequestHeaders)
}

/// The request target; empty if there is none, as of CONNECT.
pub(crate) fn request_path() -> Vec<u8> {
    let name = ":path";
    let bytes = returned(|results, len| {
        // SAFETY: the host reads the byte range and writes to the two places, which outlive the call.
        unsafe {
            proxy_get_header_map_value(
                MapType::HttpRequestHeaders as u32,
                name.as_ptr(),
                name.len(),
                results,
                len,
            )
        }
    });
    bytes.unwrap_or_default()
}

fn header_map(map: MapType) -> HeaderMap {
    let bytes = returned(|results, len| {
        // SAFETY: the host writes to the two places, which outlive the call.
        unsafe { proxy_get_header_map_pairs(map as u32, results, len) }
    });
    HeaderMap(bytes.unwrap_or_default())
}

/// A piece of the body that Envoy holds.
pub(crate) fn body(start: usize, len: usize) -> Vec<u8> {
    let buffer = hostcalls::get_buffer(BufferType::HttpRequestBody, start, len);
    buffer.ok().flatten().unwrap_or_default()
}

/// Marks the request for the guard behind this filter, and tells the controller who the client is.
/// `false` if the host would not, or the client is not known where `is_asked` for: where nothing strips
/// these headers in front of this filter, the one that the sender wrote would go on.
pub(crate) fn mark_verified(envoy: &Envoy, is_asked: bool) -> bool {
    let client = envoy.peer().map(|peer| peer.to_string());
    client.map_or(!is_asked, |client| replace_header(CLIENT, &client))
        && replace_header(VERIFIED, "1")
}

fn replace_header(name: &str, value: &str) -> bool {
    // SAFETY: the host reads the two byte ranges, which outlive the call.
    let status = unsafe {
        proxy_replace_header_map_value(
            MapType::HttpRequestHeaders as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    };
    status == OK
}

/// Answers the request with an empty body. `reason` is a word of ours; it goes into Envoy's
/// response code details, not to the client.
pub(crate) fn reply(status: u16, reason: &str, retry_after: Option<u32>) {
    let details = format!("hookgate_{reason}");
    let headers = match retry_after {
        Some(seconds) => serialize(&[("retry-after", &seconds.to_string())]),
        None => serialize(&[]),
    };
    // SAFETY: the host reads the byte ranges, which outlive the call.
    let _ = unsafe {
        proxy_send_local_response(
            status.into(),
            details.as_ptr(),
            details.len(),
            std::ptr::null(),
            0,
            headers.as_ptr(),
            headers.len(),
            -1,
        )
    };
}

/// The form that a [`HeaderMap`] has.
fn serialize(map: &[(&str, &str)]) -> Vec<u8> {
    let word = |n: usize| u32::try_from(n).unwrap_or_default().to_le_bytes();
    let mut out = word(map.len()).to_vec();
    for (name, value) in map {
        out.extend(word(name.len()));
        out.extend(word(value.len()));
    }
    for text in map.iter().flat_map(|(name, value)| [name, value]) {
        out.extend(text.as_bytes());
        out.push(0);
    }
    out
}

/// Leaves the reason word for the access log, as filter state `wasm.hookgate_reason`.
pub(crate) fn set_reason(reason: &str) {
    let path = "hookgate_reason";
    // SAFETY: the host reads the two byte ranges, which outlive the call.
    let _ = unsafe { proxy_set_property(path.as_ptr(), path.len(), reason.as_ptr(), reason.len()) };
}

/// Changes a record in shared data; see [`Host::update`].
pub(crate) fn update_shared(key: &str, change: &mut dyn FnMut(&mut Vec<u8>)) -> bool {
    for _ in 0..TRIES {
        let Ok((value, cas)) = hostcalls::get_shared_data(key) else {
            return false;
        };
        let before = value.unwrap_or_default();
        let mut after = before.clone();
        change(&mut after);
        if after == before || hostcalls::set_shared_data(key, Some(&after), cas).is_ok() {
            return true;
        }
    }
    false
}

/// Whether it is this VM's turn to do what one of all VMs does every so often.
pub(crate) fn take_turn(key: &str, now_ms: u64, interval_ms: u64) -> bool {
    let mut mine = false;
    let done = update_shared(key, &mut |bytes| {
        let last = bytes.as_slice().try_into().map_or(0, u64::from_be_bytes);
        // A clock that was set back must not silence anybody.
        mine = now_ms.abs_diff(last) >= interval_ms;
        if mine {
            *bytes = now_ms.to_be_bytes().to_vec();
        }
    });
    mine && done
}

/// A call to the controller that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call(u32);

impl Call {
    /// What an answer names.
    pub(crate) fn of(token: u32) -> Self {
        Self(token)
    }
}

/// Posts an edge report. `None` if it could not even be sent.
pub(crate) fn post_report(json: &[u8]) -> Option<Call> {
    let headers = vec![
        (":method", "POST"),
        (":path", "/edge/report"),
        (":authority", "hookgate"),
        ("content-type", "application/json"),
    ];
    let call = hostcalls::dispatch_http_call(CONTROLLER, headers, Some(json), vec![], POST_TIMEOUT);
    call.ok().map(Call)
}

/// Asks for the table, unless it is still the one with this tag. `None` if that could not even be sent.
pub(crate) fn get_table(tag: &str) -> Option<Call> {
    let mut headers = vec![
        (":method", "GET"),
        (":path", "/edge/table"),
        (":authority", "hookgate"),
    ];
    if !tag.is_empty() {
        headers.push(("if-none-match", tag));
    }
    let call = hostcalls::dispatch_http_call(CONTROLLER, headers, None, vec![], TABLE_TIMEOUT);
    call.ok().map(Call)
}

/// The head of the answer to a call. Only inside its callback.
pub(crate) fn answer_headers() -> HeaderMap {
    header_map(MapType::HttpCallResponseHeaders)
}

/// The body of the answer to a call. Only inside its callback.
pub(crate) fn answer_body(size: usize) -> Vec<u8> {
    let buffer = hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, size);
    buffer.ok().flatten().unwrap_or_default()
}

/// A record in shared data; empty if there is none.
pub(crate) fn read_shared(key: &str) -> Vec<u8> {
    let record = hostcalls::get_shared_data(key);
    record.ok().and_then(|(value, _)| value).unwrap_or_default()
}

/// A counter in Envoy's stats.
pub(crate) struct Counter(Option<u32>);

impl Counter {
    pub(crate) fn define(name: &str) -> Self {
        Self(hostcalls::define_metric(MetricType::Counter, name).ok())
    }

    pub(crate) fn increment(&self) {
        if let Some(id) = self.0 {
            let _ = hostcalls::increment_metric(id, 1);
        }
    }
}

/// What Envoy lends to the Gate for one callback.
#[derive(Default)]
pub(crate) struct Envoy {
    peer: OnceCell<Option<IpAddr>>,
}

impl Host for Envoy {
    fn peer(&self) -> Option<IpAddr> {
        *self.peer.get_or_init(|| {
            let text = hostcalls::get_property(vec!["source", "address"])
                .ok()
                .flatten()?;
            address::of_socket_text(&text)
        })
    }

    fn update(&self, key: &str, change: &mut dyn FnMut(&mut Vec<u8>)) -> bool {
        update_shared(key, change)
    }
}

impl Signatures for Envoy {
    fn verify(
        &self,
        algorithm: Algorithm,
        spki: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, Unsupported> {
        // What Envoy's `verify_signature` is known to do; the controller checks the rest.
        let (hash, ecdsa) = match algorithm {
            Algorithm::Rs256 => ("sha256", false),
            Algorithm::Es256 => ("sha256", true),
            Algorithm::Es384 => ("sha384", true),
            Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512
            | Algorithm::EdDsa => return Err(Unsupported),
        };
        let der = if ecdsa { ecdsa_der(signature) } else { None };
        if ecdsa && der.is_none() {
            return Ok(false);
        }
        let signature = der.as_deref().unwrap_or(signature);
        let mut arguments = Vec::new();
        for (field, bytes) in [
            (1, hash.as_bytes()),
            (2, spki),
            (3, signature),
            (4, message),
        ] {
            protobuf_bytes(&mut arguments, field, bytes);
        }
        // Exactly `result = true`: the call itself succeeds for bad signatures too.
        Ok(foreign("verify_signature", &arguments).as_deref() == Some(&[0x08, 0x01]))
    }
}

fn protobuf_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    let mut len = bytes.len();
    while len >= 0x80 {
        out.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(bytes);
}

fn foreign(name: &str, arguments: &[u8]) -> Option<Vec<u8>> {
    returned(|results, len| {
        // SAFETY: the host reads the two byte ranges and writes to the two places, which outlive the call.
        unsafe {
            proxy_call_foreign_function(
                name.as_ptr(),
                name.len(),
                arguments.as_ptr(),
                arguments.len(),
                results,
                len,
            )
        }
    })
}

/// The bytes that a host call returns through two places.
fn returned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Option<Vec<u8>> {
    let mut results = std::ptr::null_mut();
    let mut len = 0;
    let status = call(&raw mut results, &raw mut len);
    // SAFETY: what the host returns it has asked this VM's allocator for (`proxy_on_memory_allocate`,
    // which gives a boxed slice of just that length), so that a Vec may own it.
    (status == OK && !results.is_null()).then(|| unsafe { Vec::from_raw_parts(results, len, len) })
}

/// A header map in the form of the proxy-wasm ABI: count, lengths, then NUL-terminated strings.
pub(crate) struct HeaderMap(Vec<u8>);

impl HeaderMap {
    /// Names and values in their order. A map of another form, or a name that is not UTF-8, gives nothing: then no
    /// path is known, and the request is refused.
    pub(crate) fn pairs(&self) -> Vec<(&str, &[u8])> {
        self.parse().unwrap_or_default()
    }

    fn parse(&self) -> Option<Vec<(&str, &[u8])>> {
        let (count, rest) = self.0.split_first_chunk()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let (lengths, mut strings) = rest.split_at_checked(count.checked_mul(8)?)?;
        let mut next = |length: &[u8; 4]| {
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let (text, rest) = strings.split_at_checked(length)?;
            strings = rest.strip_prefix(&[0])?;
            Some(text)
        };
        let (lengths, _) = lengths.as_chunks::<4>();
        let pairs = lengths.as_chunks::<2>().0.iter().map(|[name, value]| {
            let name = std::str::from_utf8(next(name)?).ok()?;
            Some((name, next(value)?))
        });
        pairs.collect()
    }
}

//! What stands behind Envoy: an upstream that takes everything, and the native verifier of the ext_authz comparison.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use e2e::ports;
use ring::hmac;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::chain::Parts;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const REFUSED: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";

/// Where the verifier is. The upstream stands where the controller stood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Servers {
    pub(crate) authz: SocketAddr,
}

/// Starts both on a thread of their own, for as long as the process lives.
pub(crate) fn start(parts: &Parts) -> Servers {
    let authz = ports::address();
    let upstream = parts.upstream;
    let key = Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &parts.receiver.token));
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Ok(runtime) = runtime {
            runtime.block_on(async {
                tokio::join!(listen(upstream, None), listen(authz, Some(key)));
            });
        }
    });
    Servers { authz }
}

async fn listen(address: SocketAddr, key: Option<Arc<hmac::Key>>) {
    let Ok(listener) = TcpListener::bind(address).await else {
        // Whoever is measured next finds nobody, and says so.
        return;
    };
    while let Ok((stream, _)) = listener.accept().await {
        let key = key.clone();
        tokio::spawn(async move {
            let _gone = serve(stream, key.as_deref()).await;
        });
    }
}

/// Answers requests with a content-length, one after another.
async fn serve(mut stream: TcpStream, key: Option<&hmac::Key>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(64 << 10);
    loop {
        let (head, length) = loop {
            if let Some(at) = end_of_head(&buffer) {
                break (at, header(&buffer[..at], "content-length"));
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let chunked = header(&buffer[..head], "transfer-encoding").is_some();
        let length = length
            .and_then(|text| text.parse::<usize>().ok())
            .unwrap_or(0);
        let answer = if chunked {
            // Large bodies come in chunks; nobody looks at them.
            skip_chunks(&mut stream, &mut buffer, head).await?;
            OK
        } else {
            while buffer.len() < head + length {
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
            }
            let answer = match key {
                Some(key) if !is_genuine(key, &buffer[..head], &buffer[head..head + length]) => {
                    REFUSED
                }
                Some(_) | None => OK,
            };
            buffer.drain(..head + length);
            answer
        };
        stream.write_all(answer).await?;
    }
}

async fn skip_chunks(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    head: usize,
) -> std::io::Result<()> {
    buffer.drain(..head);
    while !buffer.ends_with(b"0\r\n\r\n") {
        // Only the end matters.
        let keep = buffer.len().min(8);
        buffer.drain(..buffer.len() - keep);
        if stream.read_buf(buffer).await? == 0 {
            break;
        }
    }
    buffer.clear();
    Ok(())
}

fn is_genuine(key: &hmac::Key, head: &[u8], body: &[u8]) -> bool {
    let given = header(head, "x-hub-signature-256").unwrap_or_default();
    let digits = given.strip_prefix("sha256=").unwrap_or_default().as_bytes();
    let tag: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    tag.is_some_and(|tag| hmac::verify(key, body, &tag).is_ok())
}

/// Where the body begins.
pub(crate) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(at + 4)
}

/// The value of a header, by its lower-case name.
pub(crate) fn header<'h>(head: &'h [u8], name: &str) -> Option<&'h str> {
    let text = std::str::from_utf8(head).ok()?;
    text.split("\r\n").find_map(|line| {
        let (held, value) = line.split_once(':')?;
        held.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

//! A request as a test wants it on the wire, and the answer.

use std::time::Duration;

use crate::forge::Hook;

/// Headers or trailers: names as they are sent, values as bytes.
pub type Headers = Vec<(String, Vec<u8>)>;

/// The version of HTTP that a request is sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// How an HTTP/1.1 request tells where its body ends. HTTP/2 sends `content-length` for [`Framing::Length`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Transfer-Encoding: chunked`, a chunk for each piece of the body.
    Chunked,
    /// `Content-Length` with this number, true or not.
    Declared(u64),
    /// `Content-Length` with the size of the body.
    Length,
    /// Neither.
    Silent,
}

/// A request, built by hand: nothing is added, normalised, merged or checked that the test did not ask for,
/// `host` (or `:authority`) and the framing header apart.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) version: Version,
    pub(super) method: String,
    pub(super) target: String,
    pub(super) authority: String,
    pub(super) headers: Headers,
    pub(super) pieces: Vec<Vec<u8>>,
    pub(super) framing: Framing,
    pub(super) trailers: Headers,
    pub(super) expect_continue: bool,
    pub(super) pace: Option<Duration>,
}

impl Request {
    /// A request without headers or body, over HTTP/1.1.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            version: Version::Http1,
            method: method.to_owned(),
            target: target.to_owned(),
            authority: "localhost".to_owned(),
            headers: Vec::new(),
            pieces: Vec::new(),
            framing: Framing::Silent,
            trailers: Vec::new(),
            expect_continue: false,
            pace: None,
        }
    }

    /// `GET target`.
    #[must_use]
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// Sends it with this version.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Sends it over HTTP/2.
    #[must_use]
    pub fn http2(self) -> Self {
        self.version(Version::Http2)
    }

    /// Another method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// Another request target, left exactly as given (over HTTP/2 it must be legal in `:path`).
    #[must_use]
    pub fn target(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    /// The target in absolute form, `https://localhost/…`, as for a proxy. HTTP/1.1 only.
    #[must_use]
    pub fn absolute_form(mut self) -> Self {
        self.target = format!("https://{}{}", self.authority, self.target);
        self
    }

    /// Another `host` or `:authority`.
    #[must_use]
    pub fn authority(mut self, authority: &str) -> Self {
        authority.clone_into(&mut self.authority);
        self
    }

    /// One more header, a duplicate if there is one of that name; the value may be any bytes.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// This body, with a `Content-Length`.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.pieces = vec![body.into()];
        self.framing = Framing::Length;
        self
    }

    /// Says where the body ends in another way.
    #[must_use]
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// The body as a chunk for each piece.
    #[must_use]
    pub fn chunked(self) -> Self {
        self.framing(Framing::Chunked)
    }

    /// Sends the body in pieces cut at these offsets: a chunk, a DATA frame or a TLS record each.
    #[must_use]
    pub fn split_at(mut self, offsets: &[usize]) -> Self {
        let body = self.pieces.concat();
        let mut cuts: Vec<usize> = offsets
            .iter()
            .copied()
            .filter(|cut| *cut < body.len())
            .collect();
        cuts.push(body.len());
        cuts.sort_unstable();
        let mut from = 0;
        self.pieces = cuts
            .into_iter()
            .map(|to| body[std::mem::replace(&mut from, to)..to].to_vec())
            .collect();
        self.pieces.retain(|piece| !piece.is_empty());
        self
    }

    /// Sends the body in pieces of at most `size` bytes.
    #[must_use]
    pub fn split_every(self, size: usize) -> Self {
        let length: usize = self.pieces.iter().map(Vec::len).sum();
        let cuts: Vec<usize> = (1..)
            .map(|n| n * size.max(1))
            .take_while(|cut| *cut < length)
            .collect();
        self.split_at(&cuts)
    }

    /// Ends the body with a trailer. Over HTTP/1.1 the body is chunked then.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.trailers
            .push((name.to_owned(), value.as_ref().to_vec()));
        self.chunked()
    }

    /// `Expect: 100-continue`; over HTTP/1.1 the body waits for the interim answer.
    #[must_use]
    pub fn expect_continue(mut self) -> Self {
        self.expect_continue = true;
        self.header("expect", "100-continue")
    }

    /// Waits this long between two pieces of the body: a slow sender.
    #[must_use]
    pub fn paced(mut self, pause: Duration) -> Self {
        self.pace = Some(pause);
        self
    }

    /// The whole request as HTTP/1.1 has it on the wire.
    #[must_use]
    pub fn http1_bytes(&self) -> Vec<u8> {
        let mut bytes = self.http1_head();
        bytes.extend(self.http1_body().concat());
        bytes
    }

    /// The request line and headers of HTTP/1.1.
    pub(super) fn http1_head(&self) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: {}\r\n",
            self.method, self.target, self.authority
        )
        .into_bytes();
        let framing = match self.framing {
            Framing::Chunked => "transfer-encoding: chunked\r\n".to_owned(),
            Framing::Declared(length) => format!("content-length: {length}\r\n"),
            Framing::Length => format!("content-length: {}\r\n", self.pieces.concat().len()),
            Framing::Silent => String::new(),
        };
        head.extend_from_slice(framing.as_bytes());
        push_fields(&mut head, &self.headers);
        head.extend_from_slice(b"\r\n");
        head
    }

    /// The body of HTTP/1.1, a write for each piece.
    pub(super) fn http1_body(&self) -> Vec<Vec<u8>> {
        if self.framing != Framing::Chunked {
            return self.pieces.clone();
        }
        let mut writes: Vec<Vec<u8>> = self
            .pieces
            .iter()
            .map(|piece| {
                let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
                chunk.extend_from_slice(piece);
                chunk.extend_from_slice(b"\r\n");
                chunk
            })
            .collect();
        let mut last = b"0\r\n".to_vec();
        push_fields(&mut last, &self.trailers);
        last.extend_from_slice(b"\r\n");
        writes.push(last);
        writes
    }
}

impl From<&Hook> for Request {
    fn from(hook: &Hook) -> Self {
        let mut request = Self::new(&hook.method, &hook.path).body(hook.body.clone());
        request.headers.clone_from(&hook.headers);
        request
    }
}

/// The answer to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The final status.
    pub status: u16,
    /// The interim statuses before it (100 Continue; HTTP/1.1 only).
    pub interim: Vec<u16>,
    /// Headers, names in lower case, in order.
    pub headers: Headers,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header, if there is exactly one that is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .headers
            .iter()
            .filter(|(held, _)| held.eq_ignore_ascii_case(name));
        let only = values.next().filter(|_| values.next().is_none())?;
        std::str::from_utf8(&only.1).ok()
    }

    /// The body as text, for messages.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn push_fields(text: &mut Vec<u8>, fields: &Headers) {
    for (name, value) in fields {
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value);
        text.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(request: &Request) -> String {
        let mut bytes = request.http1_head();
        bytes.extend(request.http1_body().concat());
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn a_request_is_written_exactly_as_it_was_built() {
        let request = Request::new("POST", "//hook/%2f;x=1")
            .header("X-Token", "a")
            .header("x-token", [0xff])
            .body("hello");
        assert_eq!(
            wire(&request),
            "POST //hook/%2f;x=1 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\
             X-Token: a\r\nx-token: \u{fffd}\r\n\r\nhello"
        );
    }

    #[test]
    fn a_chunk_is_written_for_each_piece_and_trailers_after_the_last() {
        let request = Request::new("PUT", "/")
            .body("hello")
            .split_at(&[1, 3, 9])
            .trailer("t", "v");
        assert_eq!(
            wire(&request),
            "PUT / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n\
             1\r\nh\r\n2\r\nel\r\n2\r\nlo\r\n0\r\nt: v\r\n\r\n"
        );
    }

    #[test]
    fn a_body_is_cut_into_pieces_of_a_size() {
        let request = Request::new("POST", "/").body("abcdefg").split_every(3);
        assert_eq!(
            request.pieces,
            [b"abc".to_vec(), b"def".to_vec(), b"g".to_vec()]
        );
    }

    #[test]
    fn the_absolute_form_names_the_authority() {
        assert!(
            wire(&Request::get("/x").absolute_form())
                .starts_with("GET https://localhost/x HTTP/1.1")
        );
    }
}

//! HTTP/1.1 by hand: writes what it was given, reads one answer at a time.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};

use super::{Error, Io, Request, Response};

/// No answer of ours is larger; what is (Envoy's config dump with code inside) fits too.
const BODY_LIMIT: usize = 64 << 20;
const LINE_LIMIT: u64 = 64 << 10;

/// A connection that can be used again while the server keeps it open.
pub(super) struct Http1 {
    read: BufReader<ReadHalf<Io>>,
    write: WriteHalf<Io>,
    /// Why no further request can be sent.
    pub(super) spent: bool,
}

impl Http1 {
    pub(super) fn new(stream: Io) -> Self {
        let (read, write) = tokio::io::split(stream);
        Self {
            read: BufReader::new(read),
            write,
            spent: false,
        }
    }

    pub(super) async fn send(&mut self, request: &Request) -> Result<Response, Error> {
        let mut interim = Vec::new();
        let mut writes = request.http1_body();
        if request.expect_continue {
            self.write.write_all(&request.http1_head()).await?;
            self.write.flush().await?;
            let (status, headers) = read_head(&mut self.read).await?;
            if !(100..200).contains(&status) {
                self.spent = true; // The body was never sent.
                let response = Response {
                    status,
                    interim,
                    headers,
                    body: Vec::new(),
                };
                return read_body(&mut self.read, &request.method, response).await;
            }
            interim.push(status);
        } else {
            // Head and body in one write, unless the test asked for pieces.
            let mut head = request.http1_head();
            if writes.len() <= 1 {
                head.append(&mut writes.pop().unwrap_or_default());
            }
            writes.insert(0, head);
        }
        self.exchange(&writes, request.pace, &request.method, interim)
            .await
    }

    /// Writes these bytes, a flush each, and reads one answer, which may come before all is written.
    pub(super) async fn exchange(
        &mut self,
        writes: &[Vec<u8>],
        pace: Option<std::time::Duration>,
        method: &str,
        interim: Vec<u16>,
    ) -> Result<Response, Error> {
        let Self { read, write, spent } = self;
        let writer = async {
            for (number, bytes) in writes.iter().enumerate() {
                if let Some(pause) = pace.filter(|_| number > 0) {
                    tokio::time::sleep(pause).await;
                }
                write.write_all(bytes).await?;
                write.flush().await?;
            }
            Ok::<(), std::io::Error>(())
        };
        let reader = read_response(read, method, interim);
        tokio::pin!(writer, reader);
        let mut all_written = false;
        let mut write_error = None;
        let response = loop {
            tokio::select! {
                // A server that has refused may close before it has read all: its answer counts.
                written = &mut writer, if !all_written && write_error.is_none() => match written {
                    Ok(()) => all_written = true,
                    Err(error) => write_error = Some(error),
                },
                response = &mut reader => break response,
            }
        };
        let closing = response
            .as_ref()
            .is_ok_and(|r| r.header("connection") == Some("close"));
        *spent = *spent || !all_written || closing || response.is_err();
        match (response, write_error) {
            (Err(Error::Closed | Error::Io(_)), Some(error)) => Err(Error::Io(error)),
            (response, _) => response,
        }
    }
}

async fn read_response(
    read: &mut BufReader<ReadHalf<Io>>,
    method: &str,
    mut interim: Vec<u16>,
) -> Result<Response, Error> {
    loop {
        let (status, headers) = read_head(read).await?;
        if (100..200).contains(&status) {
            interim.push(status);
            continue;
        }
        let response = Response {
            status,
            interim,
            headers,
            body: Vec::new(),
        };
        return read_body(read, method, response).await;
    }
}

async fn read_head(
    read: &mut BufReader<ReadHalf<Io>>,
) -> Result<(u16, super::request::Headers), Error> {
    let line = read_line(read).await?;
    let status = std::str::from_utf8(&line)
        .ok()
        .and_then(|line| line.strip_prefix("HTTP/1."))
        .and_then(|rest| rest.split(' ').nth(1)?.parse().ok())
        .ok_or_else(|| Error::Protocol(format!("{:?} is no status line", lossy(&line))))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(read).await?;
        if line.is_empty() {
            return Ok((status, headers));
        }
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .ok_or_else(|| Error::Protocol(format!("{:?} is no header", lossy(&line))))?;
        let name = lossy(&line[..colon]).to_ascii_lowercase();
        headers.push((name, line[colon + 1..].trim_ascii().to_vec()));
    }
}

async fn read_body(
    read: &mut BufReader<ReadHalf<Io>>,
    method: &str,
    mut response: Response,
) -> Result<Response, Error> {
    if method == "HEAD" || matches!(response.status, 204 | 304) {
        return Ok(response);
    }
    if response
        .header("transfer-encoding")
        .is_some_and(|v| v.eq_ignore_ascii_case("chunked"))
    {
        loop {
            let line = lossy(&read_line(read).await?);
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| Error::Protocol(format!("{line:?} is no chunk size")))?;
            if size == 0 {
                while !read_line(read).await?.is_empty() {}
                return Ok(response);
            }
            append(read, &mut response.body, size).await?;
            read_line(read).await?;
        }
    }
    if let Some(length) = response.header("content-length") {
        let length = length
            .parse()
            .map_err(|_| Error::Protocol(format!("{length:?} is no content length")))?;
        append(read, &mut response.body, length).await?;
        return Ok(response);
    }
    read.take(BODY_LIMIT as u64)
        .read_to_end(&mut response.body)
        .await?;
    Ok(response)
}

async fn append(
    read: &mut BufReader<ReadHalf<Io>>,
    body: &mut Vec<u8>,
    size: usize,
) -> Result<(), Error> {
    let start = body.len();
    if size > BODY_LIMIT - start.min(BODY_LIMIT) {
        return Err(Error::Protocol(format!(
            "a body of more than {BODY_LIMIT} bytes"
        )));
    }
    body.resize(start + size, 0);
    read.read_exact(&mut body[start..]).await?;
    Ok(())
}

/// A line without its CRLF.
async fn read_line(read: &mut BufReader<ReadHalf<Io>>) -> Result<Vec<u8>, Error> {
    let mut line = Vec::new();
    read.take(LINE_LIMIT).read_until(b'\n', &mut line).await?;
    if line.pop() != Some(b'\n') {
        return Err(Error::Closed);
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

//! Servers on loopback for the tests of this module, which keep what they are asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite,
    AsyncWriteExt as _, BufStream, copy_bidirectional,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::outbound::Reach;
use crate::provider::Tls;

/// Reaches no metadata service.
pub(super) const STRICT: Reach = Reach {
    allow_metadata_addresses: false,
};

/// A certificate authority and what it signs.
pub(super) struct Authority {
    pub(super) ca: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap().pem();
        Self {
            ca,
            issuer: Issuer::new(params, key),
        }
    }

    /// Certificate and key, in PEM.
    pub(super) fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// What a server at `name` shows; it may ask clients for certificates of the same authority.
    pub(super) fn server(&self, name: &str, asks_clients: bool, alpn: &[&str]) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if asks_clients {
            let mut roots = RootCertStore::empty();
            let ca = CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap();
            roots.add(ca).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let (certificate, key) = self.sign(name);
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// What a Target trusts, and shows if it is to show anything.
    pub(super) fn trusted(&self, shown: Option<(String, String)>) -> Option<Tls> {
        Some(Tls {
            ca: Some(self.ca.clone().into_bytes()),
            identity: shown.map(|(chain, key)| (chain.into_bytes(), key.into_bytes().into())),
        })
    }
}

/// What a server of HTTP does once it has read a request.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// Status and headers, which end in CRLF each, and a body.
    Reply(u16, String, String),
    /// Closes the connection.
    Cut,
    Never,
    /// Sends a body without end.
    Endless,
    /// Passes on everything from now on.
    Tunnel(SocketAddr),
}

impl Answer {
    pub(super) fn status(status: u16) -> Self {
        Self::Reply(status, String::new(), "said".to_owned())
    }

    pub(super) fn redirect(status: u16, to: &str) -> Self {
        Self::Reply(status, format!("Location: {to}\r\n"), String::new())
    }
}

/// A request as it came: its first line, its headers in lower case, its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) line: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

type Answers = dyn Fn(&Seen) -> Answer + Send + Sync;

#[derive(Default)]
struct Inner {
    seen: Vec<Seen>,
    accepted: usize,
}

/// A server of HTTP/1.1.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) async fn start(answers: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::over(None, answers).await
    }

    /// Over TLS, where there is some.
    pub(super) async fn over(
        tls: Option<TlsAcceptor>,
        answers: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Mutex::new(Inner::default()));
        let (answers, kept): (Arc<Answers>, _) = (Arc::new(answers), inner.clone());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                kept.lock().unwrap().accepted += 1;
                let (tls, answers, kept) = (tls.clone(), answers.clone(), kept.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &*answers, &kept).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &*answers, &kept).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            inner,
            task,
        }
    }

    pub(super) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}/hook", self.address)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.inner.lock().unwrap().seen.clone()
    }

    /// Once it is over nobody listens.
    pub(super) fn task(&self) -> &JoinHandle<()> {
        &self.task
    }

    pub(super) fn accepted(&self) -> usize {
        self.inner.lock().unwrap().accepted
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answers: &Answers,
    kept: &Mutex<Inner>,
) {
    let mut stream = BufStream::new(stream);
    while let Some(seen) = read(&mut stream).await {
        let answer = answers(&seen);
        kept.lock().unwrap().seen.push(seen);
        match answer {
            Answer::Reply(status, headers, body) => {
                let length = body.len();
                let reply = format!(
                    "HTTP/1.1 {status} x\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
                );
                let _ = stream.write_all(reply.as_bytes()).await;
                let _ = stream.flush().await;
            }
            Answer::Cut => return,
            Answer::Never => std::future::pending().await,
            Answer::Endless => {
                let head = "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n";
                let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
                let _ = stream.write_all(head.as_bytes()).await;
                while stream.write_all(chunk.as_bytes()).await.is_ok() {}
                return;
            }
            Answer::Tunnel(to) => {
                let mut to = TcpStream::connect(to).await.unwrap();
                let _ = stream.write_all(b"HTTP/1.1 200 x\r\n\r\n").await;
                let _ = stream.flush().await;
                let _ = copy_bidirectional(&mut stream, &mut to).await;
                return;
            }
        }
    }
}

async fn read(stream: &mut (impl AsyncBufRead + Unpin)) -> Option<Seen> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        match line.trim_end() {
            "" if lines.is_empty() => return None,
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    let mut seen = Seen {
        line: lines.next()?,
        ..Seen::default()
    };
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        seen.headers
            .push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = seen.header("content-length").unwrap_or("0").parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    seen.body = String::from_utf8(body).ok()?;
    Some(seen)
}

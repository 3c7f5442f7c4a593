//! A tiny OpenID Connect issuer on loopback: discovery and keys over plain HTTP, with the requests counted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::client::runtime;
use crate::forge::jwt::{Algorithm, Keys};

/// The issuer. Dropping it closes its listener.
#[derive(Debug)]
pub struct Issuer {
    state: Arc<State>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    address: SocketAddr,
    keys: RwLock<Arc<Keys>>,
    discoveries: AtomicUsize,
    key_fetches: AtomicUsize,
    /// 0: answers; else the status it fails with.
    failing: AtomicU16,
}

impl Issuer {
    /// Starts it on a free port.
    ///
    /// # Panics
    ///
    /// When no port can be bound.
    #[must_use]
    pub fn start() -> Self {
        let listener = runtime()
            .block_on(TcpListener::bind(("127.0.0.1", 0)))
            .expect("the issuer can bind a port");
        let state = Arc::new(State {
            address: listener
                .local_addr()
                .expect("a bound listener has an address"),
            keys: RwLock::new(Arc::new(Keys::generate(1))),
            discoveries: AtomicUsize::new(0),
            key_fetches: AtomicUsize::new(0),
            failing: AtomicU16::new(0),
        });
        let served = Arc::clone(&state);
        let server = runtime().spawn(async move {
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    let state = Arc::clone(&served);
                    tokio::spawn(async move {
                        let _gone = serve(stream, &state).await;
                    });
                }
            }
        });
        Self { state, server }
    }

    /// Its `iss`, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        self.state.url()
    }

    /// The keys it signs with and publishes.
    #[must_use]
    pub fn keys(&self) -> Arc<Keys> {
        self.state.keys()
    }

    /// Signs and publishes with new keys under new ids; the RSA key stays, under a new id.
    pub fn rotate(&self, generation: u32) {
        let keys = Arc::new(Keys::generate(generation));
        *self
            .state
            .keys
            .write()
            .unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Answers every request with this status from now on; 0 ends that.
    pub fn fail_with(&self, status: u16) {
        self.state.failing.store(status, Ordering::SeqCst);
    }

    /// How often its discovery document was asked for.
    #[must_use]
    pub fn discoveries(&self) -> usize {
        self.state.discoveries.load(Ordering::SeqCst)
    }

    /// How often its keys were asked for.
    #[must_use]
    pub fn key_fetches(&self) -> usize {
        self.state.key_fetches.load(Ordering::SeqCst)
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl State {
    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn answer(&self, path: &str) -> (u16, Value) {
        let counter = match path {
            "/.well-known/openid-configuration" => &self.discoveries,
            // The second is where Google publishes its keys.
            "/jwks" | "/oauth2/v3/certs" => &self.key_fetches,
            _ => return (404, json!({})),
        };
        counter.fetch_add(1, Ordering::SeqCst);
        match self.failing.load(Ordering::SeqCst) {
            0 if path.starts_with("/.well-known") => (200, self.discovery()),
            0 => (200, self.keys().jwks()),
            status => (status, json!({})),
        }
    }

    fn discovery(&self) -> Value {
        json!({
            "issuer": self.url(),
            "jwks_uri": format!("{}/jwks", self.url()),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": Algorithm::ALL.map(Algorithm::name),
        })
    }
}

async fn serve(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16 << 10 {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let (status, body) = state.answer(head.split(' ').nth(1).unwrap_or_default());
    let body = body.to_string();
    let answer = format!(
        "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;

    #[test]
    fn discovery_leads_to_the_keys_and_both_are_counted() {
        let issuer = Issuer::start();
        let client = Client::plain(issuer.state.address);
        let document = client.get("/.well-known/openid-configuration").unwrap();
        let document: Value = serde_json::from_slice(&document.body).unwrap();
        let keys: Value = serde_json::from_slice(&client.get("/jwks").unwrap().body).unwrap();
        assert_eq!(
            (
                document["issuer"].as_str(),
                document["jwks_uri"].as_str(),
                keys
            ),
            (
                Some(issuer.url().as_str()),
                Some(format!("{}/jwks", issuer.url()).as_str()),
                issuer.keys().jwks()
            )
        );
        assert_eq!((issuer.discoveries(), issuer.key_fetches()), (1, 1));
    }

    #[test]
    fn an_issuer_can_fail_and_rotate() {
        let issuer = Issuer::start();
        let client = Client::plain(issuer.state.address);
        issuer.fail_with(503);
        assert_eq!(client.get("/jwks").unwrap().status, 503);
        issuer.fail_with(0);
        issuer.rotate(2);
        let keys = client.get("/jwks").unwrap().text();
        assert!(keys.contains("rsa-2") && !keys.contains("rsa-1"), "{keys}");
    }
}

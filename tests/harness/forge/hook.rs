//! One hook as a value, and the ways in which a test spoils it.

use crate::client::Headers;
use crate::manifests::Receiver;

/// One hook, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// Its headers, as the sender spells them.
    pub headers: Headers,
    /// Its body.
    pub body: Vec<u8>,
    /// The header that proves where it is from, if there is one.
    credential: Option<&'static str>,
    /// The header that names the event, if there is one.
    event: Option<&'static str>,
}

impl Hook {
    pub(super) fn new(receiver: &Receiver, agent: &str, content_type: &str, body: &[u8]) -> Self {
        Self {
            method: "POST".to_owned(),
            path: receiver.path(),
            headers: vec![
                ("User-Agent".to_owned(), agent.as_bytes().to_vec()),
                ("Content-Type".to_owned(), content_type.as_bytes().to_vec()),
            ],
            body: body.to_vec(),
            credential: None,
            event: None,
        }
    }

    pub(super) fn json(receiver: &Receiver, agent: &str, body: &[u8]) -> Self {
        Self::new(receiver, agent, "application/json", body)
    }

    pub(super) fn credential(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.credential = Some(name);
        self.also(name, value)
    }

    pub(super) fn event(mut self, name: &'static str, value: &str) -> Self {
        self.event = Some(name);
        self.also(name, value)
    }

    /// One more header, a duplicate if there is one of that name.
    #[must_use]
    pub fn also(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// This header once, with this value.
    #[must_use]
    pub fn with(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.without(name).also(name, value)
    }

    /// Without this header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers
            .retain(|(held, _)| !held.eq_ignore_ascii_case(name));
        self
    }

    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let held = self
            .headers
            .iter()
            .find(|(held, _)| held.eq_ignore_ascii_case(name));
        held.map(|(_, value)| value.as_slice())
    }

    /// Another method.
    #[must_use]
    pub fn with_method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// Another path.
    #[must_use]
    pub fn with_path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Another body under the old signature.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Another event. The event header is never signed, so the hook stays genuine.
    ///
    /// # Panics
    ///
    /// When hooks of its type carry no event header.
    #[must_use]
    pub fn with_event(self, event: &str) -> Self {
        let name = self
            .event
            .expect("hooks of this type name an event in a header");
        self.with(name, event)
    }

    /// The name of the header that proves where it is from, if its type has one.
    #[must_use]
    pub fn credential_header(&self) -> Option<&'static str> {
        self.credential
    }

    /// Without that header.
    #[must_use]
    pub fn unsigned(self) -> Self {
        match self.credential {
            // GitHub signs twice, and the weaker signature would stand in.
            Some(name) => self.without(name).without("X-Hub-Signature"),
            None => self,
        }
    }

    /// As somebody without the secret would send it: one digit of the signature or token differs, or of the path where
    /// the path is all there is.
    #[must_use]
    pub fn forged(mut self) -> Self {
        let Some(name) = self.credential else {
            let mut path = std::mem::take(&mut self.path).into_bytes();
            tamper(&mut path, 1);
            self.path = String::from_utf8(path).expect("a path of ASCII stays ASCII");
            return self;
        };
        for (held, value) in &mut self.headers {
            if held == name {
                // Not the last digits: of base64 they may hold bits that no decoder looks at.
                tamper(value, 12);
            }
        }
        self
    }
}

/// Changes the digit that is `from_end` from the end; it stays a digit of hex and of base64.
fn tamper(value: &mut [u8], from_end: usize) {
    let position = value.len().saturating_sub(from_end);
    let byte = value
        .get_mut(position)
        .expect("there is a signature to tamper with");
    *byte = if *byte == b'0' { b'1' } else { b'0' };
}

impl From<Hook> for crate::client::Request {
    fn from(hook: Hook) -> Self {
        Self::from(&hook)
    }
}

//! A conversation with a provider, one request at a time, without I/O.

use std::fmt;

use secrecy::SecretString;
use sha2::{Digest as _, Sha256};

use super::error::ProviderError;
use super::request::{Reply, Request};

/// The most requests that a conversation may take, tokens apart.
pub const MAX_REQUESTS: usize = 5;

/// A conversation that ends in a `T`.
///
/// The driver calls [`next`](Self::next), first with `None`, then with the reply to what it was
/// told to send, until a step is `Done` or `Failed`. A conversation that was broken off is begun
/// anew from its event, never continued.
pub struct Conversation<T> {
    state: State<T>,
    requests: usize,
}

/// A conversation that brings an event to a provider.
pub type Exchange = Conversation<()>;

/// What to do next.
#[derive(Debug)]
pub enum Step<T> {
    /// Send this, and come back with the reply.
    Send(Request),
    /// Come back with this token.
    Token(TokenRequest),
    /// All is said.
    Done(T),
    /// It failed, and the conversation is over.
    Failed(ProviderError),
}

type Then<T> = Box<dyn FnOnce(&Reply) -> Result<Conversation<T>, ProviderError> + Send>;

enum State<T> {
    /// To be sent; then what the reply means.
    Ask(Box<Request>, Then<T>),
    /// To be fetched; then what to do with it.
    Token(TokenRequest, Then<T>),
    /// Sent; the reply is awaited.
    Awaits(Then<T>),
    Done(T),
    Over,
}

impl<T: Send + 'static> Conversation<T> {
    /// Sends a request; the reply, if it is a success, decides how to go on.
    pub fn ask(
        request: impl Into<Request>,
        then: impl FnOnce(&Reply) -> Result<Self, ProviderError> + Send + 'static,
    ) -> Self {
        Self::at(State::Ask(Box::new(request.into()), Box::new(then)))
    }

    /// Has a token fetched, or taken from the cache, and goes on with it.
    pub fn with_token(
        token: TokenRequest,
        then: impl FnOnce(&SecretString) -> Result<Self, ProviderError> + Send + 'static,
    ) -> Self {
        let then = |reply: &Reply| match reply {
            Reply::Token(token) => then(token),
            Reply::Http(_) | Reply::Delivered => {
                Err(ProviderError::Conversation("a token was awaited"))
            }
        };
        Self::at(State::Token(token, Box::new(then)))
    }

    /// Says nothing (more).
    pub fn done(value: T) -> Self {
        Self::at(State::Done(value))
    }

    fn at(state: State<T>) -> Self {
        Self { state, requests: 0 }
    }

    /// The next step, given the reply to the last one: `None` at the beginning only.
    ///
    /// Judges the reply by what the request takes for a success.
    pub fn next(&mut self, reply: Option<&Reply>) -> Step<T> {
        self.advance(reply).unwrap_or_else(|error| {
            self.state = State::Over;
            Step::Failed(error)
        })
    }

    fn advance(&mut self, reply: Option<&Reply>) -> Result<Step<T>, ProviderError> {
        let mut state = std::mem::replace(&mut self.state, State::Over);
        if let Some(reply) = reply {
            let State::Awaits(then) = state else {
                return Err(ProviderError::Conversation("a reply that nobody awaits"));
            };
            state = then(reply)?.state;
        }
        match state {
            State::Ask(request, then) => {
                self.requests += 1;
                if self.requests > MAX_REQUESTS {
                    return Err(ProviderError::Conversation("it takes too many requests"));
                }
                let success = request.success();
                self.state = State::Awaits(Box::new(move |reply| {
                    success.judge(reply)?;
                    then(reply)
                }));
                Ok(Step::Send(*request))
            }
            State::Token(token, then) => {
                self.state = State::Awaits(then);
                Ok(Step::Token(token))
            }
            State::Done(value) => Ok(Step::Done(value)),
            State::Awaits(_) | State::Over => Err(ProviderError::Conversation(
                "it was continued without a reply",
            )),
        }
    }
}

impl Exchange {
    /// One request, and any success will do.
    pub fn once(request: impl Into<Request>) -> Self {
        Self::ask(request, |_| Ok(Self::nothing()))
    }

    /// The event is none of this provider's business, or all is said.
    pub fn nothing() -> Self {
        Self::done(())
    }
}

impl<T> fmt::Debug for Conversation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state: &dyn fmt::Debug = match &self.state {
            State::Ask(request, _) => request,
            State::Token(token, _) => token,
            State::Awaits(_) => &"awaits a reply",
            State::Done(_) => &"done",
            State::Over => &"over",
        };
        f.debug_tuple("Conversation").field(state).finish()
    }
}

/// A token that the driver keeps until it expires, for all that ask under the same key.
#[derive(Debug)]
pub struct TokenRequest {
    /// What the token depends on, hashed: holds no credential. The driver drops the cached token
    /// when a request that was made with it is answered 401.
    pub key: String,
    /// How it is had.
    pub source: TokenSource,
}

impl TokenRequest {
    /// A key of all that a token depends on.
    pub(super) fn key_of(parts: &[&str]) -> String {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        hex::encode(hash.finalize())
    }
}

/// How a token is had.
pub enum TokenSource {
    /// By a conversation over the Target's proxy, with a limit of its own of [`MAX_REQUESTS`].
    Fetch(Box<Conversation<Token>>),
    /// By the controller's or a ServiceAccount's identity in a cloud.
    Identity(Identity),
}

/// A fetched token.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token.
    pub value: SecretString,
    /// When it expires, in Unix seconds.
    pub expires: u64,
}

/// An identity, whose token the driver gets from its cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whose.
    pub provider: IdentityProvider,
    /// The ServiceAccount in the Provider's namespace; the controller's own if none.
    pub service_account: Option<String>,
    /// Namespace of the Provider.
    pub namespace: String,
    /// What the token is for.
    pub scope: &'static str,
}

/// A cloud that gives tokens for identities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityProvider {
    /// Microsoft Entra.
    Azure,
    /// Google Cloud.
    Google,
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetch(conversation) => conversation.fmt(f),
            Self::Identity(identity) => identity.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::provider::http::HttpRequest;
    use crate::provider::testing::answer;

    /// Asks without end, and for a token before each question.
    fn endless() -> Exchange {
        let source = TokenSource::Fetch(Box::new(Conversation::done(Token {
            value: String::new().into(),
            expires: 0,
        })));
        let key = String::new();
        Exchange::with_token(TokenRequest { key, source }, |_| {
            let url = Url::parse("https://host.test/").map_err(|_| never())?;
            Ok(Exchange::ask(HttpRequest::get(url), |_| Ok(endless())))
        })
    }

    fn never() -> ProviderError {
        ProviderError::Conversation("never")
    }

    #[test]
    fn the_sixth_request_is_refused_and_tokens_do_not_count() {
        let mut exchange = endless();
        let (mut sent, mut tokens, mut reply) = (0, 0, None);
        let error = loop {
            reply = Some(match exchange.next(reply.as_ref()) {
                Step::Send(_) => {
                    sent += 1;
                    Reply::Http(answer(200, ""))
                }
                Step::Token(_) => {
                    tokens += 1;
                    Reply::Token(String::new().into())
                }
                Step::Done(()) => panic!("it has no end"),
                Step::Failed(error) => break error,
            });
        };
        assert_eq!((sent, tokens), (MAX_REQUESTS, MAX_REQUESTS + 1));
        let why = "it takes too many requests";
        assert_eq!(error, ProviderError::Conversation(why));
        let over = "it was continued without a reply";
        let Step::Failed(error) = exchange.next(None) else {
            panic!("it is over");
        };
        assert_eq!(error, ProviderError::Conversation(over));
    }

    #[test]
    fn a_reply_that_was_not_asked_for_is_a_fault() {
        let reply = Reply::Http(answer(200, ""));
        for mut exchange in [Exchange::nothing(), endless()] {
            let Step::Failed(error) = exchange.next(Some(&reply)) else {
                panic!("nobody awaits it");
            };
            assert_eq!(error.category(), "conversation");
        }
        let mut exchange = endless();
        assert!(matches!(exchange.next(None), Step::Token(_)));
        assert!(matches!(exchange.next(Some(&reply)), Step::Failed(_)));
    }
}

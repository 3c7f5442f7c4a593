//! One attempt: drives an Exchange over a Transport to its end.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::tokens::Tokens;
use crate::clock;
use crate::mask::Mask;
use crate::metrics::Metrics;
use crate::notify::converse::{Whom, converse};
use crate::notify::identity::{AccountReader, Identities, IdentityError};
use crate::notify::transport::{Transport, TransportError};
use crate::provider::{
    Exchange, Method, ProviderError, Reply, Request, RetryAfter, Step, Target, TokenRequest,
    TokenSource,
};

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// What the provider said, or what Provider or event lack.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// No reply came.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// It took too long.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// An identity in a cloud has no token.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl Failure {
    /// A metric's label.
    pub(super) fn category(&self) -> &'static str {
        match self {
            Self::Provider(error) => error.category(),
            Self::Transport(error) => error.category(),
            Self::Timeout(_) => "timeout",
            Self::Identity(_) => "identity",
        }
    }

    /// Whether trying again is of no use until somebody changes something.
    pub(super) fn is_permanent(&self) -> bool {
        match self {
            Self::Provider(error) => error.is_permanent(),
            Self::Transport(error) => error.is_permanent(),
            Self::Timeout(_) => false,
            Self::Identity(error) => error.is_permanent(),
        }
    }

    /// Whether nobody answered: the server is down, or the way to it.
    pub(super) fn is_silence(&self) -> bool {
        match self {
            Self::Transport(error) => error.is_silence(),
            Self::Timeout(_) => true,
            Self::Provider(_) | Self::Identity(_) => false,
        }
    }

    /// How long the provider wants to be left alone.
    pub(super) fn retry_after(&self, now: u64) -> Option<Duration> {
        let Self::Provider(ProviderError::Status { retry_after, .. }) = self else {
            return None;
        };
        retry_after.map(|after| {
            Duration::from_secs(match after {
                RetryAfter::Seconds(seconds) => seconds,
                RetryAfter::At(at) => at.saturating_sub(now),
            })
        })
    }

    fn is_unauthorized(&self) -> bool {
        matches!(
            self,
            Self::Provider(ProviderError::Status { status: 401, .. })
        )
    }
}

/// Drives Exchanges.
#[derive(Debug)]
pub(super) struct Driver<T> {
    pub(super) transport: T,
    pub(super) tokens: Tokens,
    pub(super) metrics: Arc<Metrics>,
    pub(super) identities: Identities,
}

/// An attempt that failed.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) failure: Failure,
    pub(super) is_permanent: bool,
    /// What was asked last.
    pub(super) asked: Asked,
}

/// How far a conversation came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Requests that were made, tokens apart.
    pub(super) requests: usize,
    /// The method of the last one, if it was one of HTTP.
    pub(super) method: Option<Method>,
}

/// What an attempt has used.
#[derive(Default)]
struct Used {
    asked: Asked,
    /// Keys of tokens that were kept from earlier attempts.
    kept: Vec<String>,
}

impl<T: Transport> Driver<T> {
    /// Drives an Exchange; `mask` learns the tokens that were used. A token that was kept and is
    /// refused is forgotten, and the failure is not for good.
    pub(super) async fn drive(
        &self,
        exchange: Exchange,
        target: &Target,
        accounts: &impl AccountReader,
        mask: &mut Mask,
    ) -> Result<(), Broken> {
        let mut used = Used::default();
        // A delivery that may take no time could never be made.
        let limit = target.timeout.max(Duration::from_millis(1));
        let talk = self.talk(exchange, target, accounts, mask, &mut used);
        let result = match tokio::time::timeout(limit, talk).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Timeout(limit)),
        };
        result.map_err(|failure| {
            let stale = failure.is_unauthorized() && !used.kept.is_empty();
            if stale {
                used.kept.iter().for_each(|key| self.tokens.forget(key));
                self.metrics.alerts.token_cache(self.tokens.counts());
            }
            let is_permanent = failure.is_permanent() && !stale;
            Broken {
                failure,
                is_permanent,
                asked: used.asked,
            }
        })
    }

    async fn talk(
        &self,
        mut exchange: Exchange,
        target: &Target,
        accounts: &impl AccountReader,
        mask: &mut Mask,
        used: &mut Used,
    ) -> Result<(), Failure> {
        let mut reply = None;
        loop {
            reply = Some(match exchange.next(reply.as_ref()) {
                Step::Send(request) => {
                    used.asked.requests += 1;
                    used.asked.method = if let Request::Http(request) = &request {
                        Some(request.method)
                    } else {
                        None
                    };
                    self.transport.send(request, target).await?
                }
                Step::Token(request) => {
                    let token = self.token(request, target, accounts, mask, used).await?;
                    mask.add(token.expose_secret());
                    Reply::Token(token)
                }
                Step::Done(()) => return Ok(()),
                Step::Failed(error) => return Err(error.into()),
            });
        }
    }

    /// A token, counted as nc counts where it keeps any.
    async fn token(
        &self,
        request: TokenRequest,
        target: &Target,
        accounts: &impl AccountReader,
        mask: &mut Mask,
        used: &mut Used,
    ) -> Result<SecretString, Failure> {
        let token = self.find(request, target, accounts, mask, used).await;
        if self.tokens.are_kept() {
            let counts = self.tokens.counts();
            self.metrics.alerts.token_request(token.is_ok(), counts);
        }
        token
    }

    /// A token that is kept, or a new one; who needs the same waits for whoever fetches it.
    async fn find(
        &self,
        request: TokenRequest,
        target: &Target,
        accounts: &impl AccountReader,
        mask: &mut Mask,
        used: &mut Used,
    ) -> Result<SecretString, Failure> {
        let slot = self.tokens.slot(&request.key, clock::now_ms() / 1000);
        let mut held = slot.lock().await;
        let now = clock::now_ms() / 1000;
        let kept = held.as_ref().filter(|kept| kept.is_good(now));
        if self.tokens.are_kept() {
            let provider = format!("{}/{}", target.namespace, target.name);
            self.metrics.alerts.token(&provider, kept.is_some());
        }
        if let Some(kept) = kept {
            used.kept.push(request.key);
            return Ok(kept.value.clone());
        }
        let token = match request.source {
            TokenSource::Fetch(conversation) => {
                converse::<_, Failure>(*conversation, Whom::Provider(target), &self.transport)
                    .await?
            }
            TokenSource::Identity(identity) => {
                let transport = &self.transport;
                let token = self
                    .identities
                    .token(&identity, target, transport, accounts, mask);
                token.await?
            }
        };
        *held = Some(self.tokens.keep(&request.key, &token, now));
        Ok(token.value)
    }
}

//! Drives a conversation that needs no token to its end.

use super::transport::{Transport, TransportError};
use crate::provider::{Conversation, ProviderError, Step, Target};

/// Whom the requests go to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whom<'a> {
    /// Whoever is reached over a Provider's proxy, with its certificates.
    Provider(&'a Target),
    /// The metadata service of the machine's cloud.
    Machine,
}

/// Sends what the conversation wants sent, until it is over.
pub(super) async fn converse<V, E>(
    mut conversation: Conversation<V>,
    whom: Whom<'_>,
    transport: &impl Transport,
) -> Result<V, E>
where
    V: Send + 'static,
    E: From<ProviderError> + From<TransportError>,
{
    let mut reply = None;
    loop {
        reply = Some(match conversation.next(reply.as_ref()) {
            Step::Send(request) => match whom {
                Whom::Provider(target) => transport.send(request, target).await?,
                Whom::Machine => transport.ask_machine(request).await?,
            },
            Step::Done(value) => return Ok(value),
            Step::Failed(error) => return Err(error.into()),
            Step::Token(_) => {
                return Err(ProviderError::Conversation("a token that needs a token").into());
            }
        });
    }
}

//! Why an issuer's keys can't be had.

use super::fetch::Document;
use super::{MAX_ISSUERS, MAX_KEYS};

/// Why there are no keys. Contains nothing of what the server sent but its status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// The HTTP client could not be set up.
    #[error("failed to set up the HTTP client, check the certificates of the system: {cause}")]
    Client {
        /// What it says.
        cause: String,
    },
    /// The fetch was interrupted, as the process stops.
    #[error("the fetch was interrupted")]
    Interrupted,
    /// The document's `issuer` is not the URL that it was found under.
    #[error(
        "the discovery document names another issuer; issuerURL must equal its \"issuer\" exactly, \
         with or without a trailing slash"
    )]
    IssuerMismatch,
    /// Not the JSON that it should be.
    #[error("the {document} is not valid JSON of the expected form")]
    Malformed {
        /// Which document.
        document: Document,
    },
    /// A host is, or resolves to, a metadata service or a link-local address.
    #[error(
        "the address of the {document} is a metadata service or link-local, which is refused; \
         --allow-metadata-addresses allows it"
    )]
    MetadataAddress {
        /// Which document.
        document: Document,
    },
    /// None of the keys can be used.
    #[error(
        "the key set has no key that can be used: RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519, \
         for an algorithm that the issuer announces"
    )]
    NoKeys,
    /// A redirect leads to another host, or there are too many.
    #[error("the {document} redirects too often or to another host; name its final address")]
    Redirect {
        /// Which document.
        document: Document,
    },
    /// Not 200.
    #[error("the server answers {status} for the {document}, not 200")]
    Status {
        /// Which document.
        document: Document,
        /// What it answers.
        status: u16,
    },
    /// No complete answer in time.
    #[error("the {document} did not arrive in time")]
    Timeout {
        /// Which document.
        document: Document,
    },
    /// More bytes than anyone should send.
    #[error("the {document} is larger than {limit} bytes")]
    TooLarge {
        /// Which document.
        document: Document,
        /// The limit in bytes.
        limit: usize,
    },
    /// More issuers than this process keeps.
    #[error("more than {MAX_ISSUERS} issuers are in use; share issuers between Receivers")]
    TooManyIssuers,
    /// More keys than this process keeps for one issuer.
    #[error("the key set has more than {MAX_KEYS} usable keys")]
    TooManyKeys,
    /// No connection, or it broke.
    #[error("failed to fetch the {document}: {cause}")]
    Unreachable {
        /// Which document.
        document: Document,
        /// The innermost cause.
        cause: String,
    },
    /// Not a URL that can be fetched.
    #[error("the URL of the {document} is not an http or https URL without credentials")]
    Url {
        /// Which document.
        document: Document,
    },
}

//! Why a hook was refused: a status for the sender, a reason word for metrics and logs.

use crate::jwt::JwtError;

/// Why a hook was refused. An answer, not an error; the sender sees the status and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// The client's address is not among `hookgate.dev/allowed-addresses`.
    AddressNotAllowed,
    /// The state that limits are kept in could not be updated.
    Busy,
    /// The body ended early or its length is not a number.
    BadRequest,
    /// The body is not of the shape that the receiver type sends.
    BadPayload,
    /// The claims of a JSON Web Token do not satisfy the Receiver's validations.
    Claims,
    /// `Content-Type` is missing or not one that the receiver type sends.
    ContentType,
    /// A security header came twice.
    DuplicateHeader,
    /// The event is not in `spec.events`, and the policy is to answer 400.
    EventNotListed,
    /// Too many hooks for this Receiver were refused lately, and this one is too large to be tried.
    FailureLimit {
        /// Seconds until it is worth trying again.
        retry_after: u32,
    },
    /// A JSON Web Token was refused.
    Jwt(JwtError),
    /// The signature's hash is not one that the Receiver allows.
    HashNotAllowed,
    /// The method is neither POST nor PUT.
    Method,
    /// The keys of the token's issuer have not been fetched yet.
    KeysUnavailable,
    /// The header that must carry the signature or token is missing.
    MissingSignature,
    /// The signature header can't be read.
    MalformedSignature,
    /// The Secret lacks what this receiver type needs to know its sender.
    NotConfigured,
    /// The Receiver is not ready.
    NotReady,
    /// The signature is not that of the body.
    Signature,
    /// The signed timestamp is more than five minutes off.
    Stale,
    /// The Receiver is suspended.
    Suspended,
    /// The token is not the Receiver's.
    Token,
    /// The body is larger than the limit.
    TooLarge,
    /// The Receiver's rate limit is used up.
    RateLimit {
        /// Seconds until the next hook will be taken.
        retry_after: u32,
    },
    /// No Receiver has this path.
    UnknownPath,
}

/// Every rejection.
const ALL: &[Rejection] = &[
    Rejection::AddressNotAllowed,
    Rejection::Busy,
    Rejection::BadRequest,
    Rejection::BadPayload,
    Rejection::Claims,
    Rejection::ContentType,
    Rejection::DuplicateHeader,
    Rejection::EventNotListed,
    Rejection::FailureLimit { retry_after: 0 },
    Rejection::Jwt(JwtError::Algorithm),
    Rejection::Jwt(JwtError::Audience),
    Rejection::Jwt(JwtError::Email),
    Rejection::Jwt(JwtError::Expired),
    Rejection::Jwt(JwtError::Issuer),
    Rejection::Jwt(JwtError::Malformed),
    Rejection::Jwt(JwtError::NotYetValid),
    Rejection::Jwt(JwtError::Signature),
    Rejection::Jwt(JwtError::UnknownKey),
    Rejection::HashNotAllowed,
    Rejection::Method,
    Rejection::KeysUnavailable,
    Rejection::MissingSignature,
    Rejection::MalformedSignature,
    Rejection::NotConfigured,
    Rejection::NotReady,
    Rejection::Signature,
    Rejection::Stale,
    Rejection::Suspended,
    Rejection::Token,
    Rejection::TooLarge,
    Rejection::RateLimit { retry_after: 0 },
    Rejection::UnknownPath,
];

/// The word of an admitted hook.
pub const ADMITTED: &str = "admitted";
/// The word of a genuine hook whose event is not listed.
pub const IGNORED: &str = "ignored";

/// The word of a decision that equals this text: a rejection's, `admitted` or `ignored`. `other` for
/// what this version does not know, so that nobody else's words become labels.
pub fn known_reason(text: &str) -> &'static str {
    [ADMITTED, IGNORED]
        .into_iter()
        .chain(ALL.iter().map(|rejection| rejection.reason()))
        .find(|word| *word == text)
        .unwrap_or("other")
}

impl Rejection {
    /// The HTTP status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::UnknownPath => 404,
            Self::AddressNotAllowed => 403,
            Self::Method => 405,
            Self::TooLarge => 413,
            Self::FailureLimit { .. } | Self::RateLimit { .. } => 429,
            Self::Suspended | Self::NotReady | Self::KeysUnavailable | Self::Busy => 503,
            Self::BadRequest
            | Self::BadPayload
            | Self::Claims
            | Self::ContentType
            | Self::DuplicateHeader
            | Self::EventNotListed
            | Self::Jwt(_)
            | Self::HashNotAllowed
            | Self::MissingSignature
            | Self::MalformedSignature
            | Self::NotConfigured
            | Self::Signature
            | Self::Stale
            | Self::Token => 400,
        }
    }

    /// A stable word for metrics, logs and edge reports.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::AddressNotAllowed => "address_not_allowed",
            Self::Busy => "busy",
            Self::BadRequest => "bad_request",
            Self::BadPayload => "bad_payload",
            Self::Claims => "claims",
            Self::ContentType => "content_type",
            Self::DuplicateHeader => "duplicate_header",
            Self::EventNotListed => "event_not_listed",
            Self::FailureLimit { .. } => "failure_limit",
            Self::Jwt(error) => error.reason(),
            Self::HashNotAllowed => "hash_not_allowed",
            Self::KeysUnavailable => "keys_unavailable",
            Self::Method => "method",
            Self::MissingSignature => "missing_signature",
            Self::MalformedSignature => "malformed_signature",
            Self::NotConfigured => "not_configured",
            Self::NotReady => "not_ready",
            Self::Signature => "signature",
            Self::Stale => "stale",
            Self::Suspended => "suspended",
            Self::Token => "token",
            Self::TooLarge => "too_large",
            Self::RateLimit { .. } => "rate_limit",
            Self::UnknownPath => "unknown_path",
        }
    }

    /// The value of `Retry-After` in seconds, where the answer carries one: on every 429 and 503.
    pub fn retry_after(self) -> Option<u32> {
        match (self, self.status()) {
            (Self::FailureLimit { retry_after } | Self::RateLimit { retry_after }, _) => {
                Some(retry_after.max(1))
            }
            (Self::Busy | Self::KeysUnavailable, _) => Some(1),
            (_, 503) => Some(60),
            (_, _) => None,
        }
    }

    /// Whether the refusal counts against the hook's failure bucket: only those that the sender's
    /// credentials caused, so that neither a suspended Receiver nor its own limits use it up.
    pub(crate) fn is_failure(self) -> bool {
        self.status() == 400 && !matches!(self, Self::EventNotListed | Self::NotConfigured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does not compile when there is a rejection that nobody thought of here, and in [`ALL`].
    fn place(rejection: Rejection) -> usize {
        match rejection {
            Rejection::AddressNotAllowed => 0,
            Rejection::Busy => 1,
            Rejection::BadRequest => 2,
            Rejection::BadPayload => 3,
            Rejection::Claims => 4,
            Rejection::ContentType => 5,
            Rejection::DuplicateHeader => 6,
            Rejection::EventNotListed => 7,
            Rejection::FailureLimit { .. } => 8,
            Rejection::Jwt(JwtError::Algorithm) => 9,
            Rejection::Jwt(JwtError::Audience) => 10,
            Rejection::Jwt(JwtError::Email) => 11,
            Rejection::Jwt(JwtError::Expired) => 12,
            Rejection::Jwt(JwtError::Issuer) => 13,
            Rejection::Jwt(JwtError::Malformed) => 14,
            Rejection::Jwt(JwtError::NotYetValid) => 15,
            Rejection::Jwt(JwtError::Signature) => 16,
            Rejection::Jwt(JwtError::UnknownKey) => 17,
            Rejection::HashNotAllowed => 18,
            Rejection::Method => 19,
            Rejection::KeysUnavailable => 20,
            Rejection::MissingSignature => 21,
            Rejection::MalformedSignature => 22,
            Rejection::NotConfigured => 23,
            Rejection::NotReady => 24,
            Rejection::Signature => 25,
            Rejection::Stale => 26,
            Rejection::Suspended => 27,
            Rejection::Token => 28,
            Rejection::TooLarge => 29,
            Rejection::RateLimit { .. } => 30,
            Rejection::UnknownPath => 31,
        }
    }

    #[test]
    fn every_rejection_has_a_word_of_its_own_and_no_other_word_is_known() {
        for (n, rejection) in ALL.iter().enumerate() {
            assert_eq!(place(*rejection), n);
            assert_eq!(known_reason(rejection.reason()), rejection.reason());
            assert!(
                ALL.iter()
                    .filter(|r| r.reason() == rejection.reason())
                    .count()
                    == 1
            );
        }
        assert_eq!(ALL.len(), 32);
        let got = ["admitted", "ignored", "", "Signature", "made_up"].map(known_reason);
        assert_eq!(got, ["admitted", "ignored", "other", "other", "other"]);
    }
}

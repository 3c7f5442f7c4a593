//! Why a hook was refused: a status for the sender, a reason word for metrics and logs.

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
    Jwt(crate::jwt::JwtError),
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
    pub fn reason(self) -> &'static str {
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

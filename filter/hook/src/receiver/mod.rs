//! The receiver types: one file each, and one table that everything else derives from.
//!
//! To add a type, write its file and name it here twice: `mod` and [`RECEIVER_TYPES`].

mod acr;
mod bitbucket;
mod body;
mod cdevents;
mod dockerhub;
mod gcr;
mod generic;
mod generic_hmac;
mod generic_oidc;
mod github;
mod gitlab;
mod harbor;
mod hub;
mod nexus;
mod quay;
mod registry;
#[cfg(feature = "payload")]
mod shape;

#[cfg(feature = "payload")]
use alloc::borrow::Cow;
use alloc::vec::Vec;

pub use self::body::BodyCheck;
use crate::config::{Hook, Slot};
use crate::jwt::{self, JwtError, Signatures, Token, Verified};
use crate::mac::Hash;
use crate::rejection::Rejection;
use crate::request::Request;
use crate::signed::Signed;

/// Every receiver type, in the order of Flux's documentation.
pub const RECEIVER_TYPES: &[&dyn ReceiverType] = &[
    &generic::Generic,
    &generic_hmac::GenericHmac,
    &generic_oidc::GenericOidc,
    &github::GitHub,
    &gitlab::GitLab,
    &bitbucket::Bitbucket,
    &harbor::Harbor,
    &dockerhub::DOCKER_HUB,
    &quay::QUAY,
    &gcr::Gcr,
    &nexus::Nexus,
    &acr::ACR,
    &cdevents::CdEvents,
];

/// The receiver type of a `spec.type`.
pub fn find(name: &str) -> Option<&'static dyn ReceiverType> {
    RECEIVER_TYPES
        .iter()
        .copied()
        .find(|receiver_type| receiver_type.name() == name)
}

/// A kind of sender.
///
/// An implementation reads the head of a hook and says at once whether the sender is genuine, or
/// what must be computed over the body to know. It must not keep the body, look at the event (that
/// is [`event_listed`]) or at limits, which are the Gate's.
pub trait ReceiverType: Sync + core::fmt::Debug {
    /// `spec.type`.
    fn name(&self) -> &'static str;

    /// What a sender proves, in a line of the README's table.
    fn proof(&self) -> &'static str;

    /// What the table must hold of the Secret for this type.
    fn secret(&self) -> SecretUse;

    /// The headers that may name the event, in lower case; the first that is there counts. Empty
    /// for types that ignore `spec.events`.
    fn event_headers(&self) -> &'static [&'static str] {
        &[]
    }

    /// Reads the head.
    ///
    /// # Errors
    /// The [`Rejection`], if the head alone shows that the hook is not genuine.
    fn check(
        &self,
        hook: &Hook,
        request: &Request<'_>,
        context: &Context<'_>,
    ) -> Result<Check, Rejection>;

    /// Checks the shape of a whole body and gives the one that CEL filters see.
    ///
    /// # Errors
    /// [`Rejection::BadPayload`] if the body is not of the shape that this type sends.
    #[cfg(feature = "payload")]
    fn payload<'b>(&self, body: &'b [u8]) -> Result<Cow<'b, [u8]>, Rejection> {
        Ok(Cow::Borrowed(body))
    }
}

/// What a type makes of the Secret's `token`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretUse {
    /// Nothing but the path: the path is the credential.
    Path,
    /// The token is a MAC key.
    Signs {
        /// With these hashes.
        hashes: &'static [Hash],
        /// Whether `signing-token` takes its place if it is there.
        signing_token: bool,
    },
    /// The token itself is presented.
    Presents {
        /// Whether `signing-token` takes its place if it is there.
        signing_token: bool,
    },
    /// There is no Secret; issuers vouch for the sender.
    Issuers,
    /// The token makes the path; Google vouches for the sender named by `email` and `audience`.
    Google,
}

/// What a check may need besides the hook and the request.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Unix time in milliseconds.
    pub now_ms: u64,
    /// Verifies asymmetric signatures.
    pub signatures: &'a dyn Signatures,
}

impl core::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Context")
            .field("now_ms", &self.now_ms)
            .finish_non_exhaustive()
    }
}

/// What the head of a hook shows.
#[derive(Debug)]
pub enum Check {
    /// The body has to be seen.
    Body(BodyCheck),
    /// The sender is genuine.
    Passed(Pass),
}

/// What a genuine sender proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The Secret's key that it used.
    pub slot: Slot,
    /// Whether the signature's hash is weak.
    pub weak: bool,
    /// `false` if the signature is of a kind that this side can't check: the controller will.
    pub checked: bool,
    /// An id that the signature covers.
    pub signed_id: Option<Vec<u8>>,
    /// Which of the hook's issuers made the token, where one did.
    pub issuer: Option<usize>,
}

impl Pass {
    /// A strong proof by the given key.
    pub(crate) fn by(slot: Slot) -> Self {
        Self {
            slot,
            weak: false,
            checked: true,
            signed_id: None,
            issuer: None,
        }
    }

    /// What a token proves.
    fn by_token(verified: Verified) -> Self {
        Self {
            checked: verified.signature_checked,
            issuer: Some(verified.issuer_index),
            ..Self::by(Slot::Token)
        }
    }
}

/// Whether `spec.events` lets the hook's event through: always if it is empty or the type has no
/// event header, else if an entry equals the header without regard to case. The event is not signed.
///
/// # Errors
/// [`Rejection::DuplicateHeader`] if the event came twice.
pub fn event_listed(
    receiver_type: &dyn ReceiverType,
    hook: &Hook,
    request: &Request<'_>,
) -> Result<bool, Rejection> {
    let headers = receiver_type.event_headers();
    if hook.events.is_empty() || headers.is_empty() {
        return Ok(true);
    }
    let mut event = None;
    for name in headers {
        event = event.or(request.one_filled(name)?);
    }
    let Ok(event) = core::str::from_utf8(event.unwrap_or_default()) else {
        return Ok(false);
    };
    Ok(hook.events.iter().any(|listed| eq_fold(listed, event)))
}

/// Equality under simple case folding, as Go's `strings.EqualFold`, for texts of which one is ASCII, as every sender's
/// events are. Beyond that letters must be the same: the tables of full folding would be a tenth of the filter.
fn eq_fold(a: &str, b: &str) -> bool {
    let fold = |c: char| match c {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        c => c.to_ascii_lowercase(),
    };
    a.chars().map(fold).eq(b.chars().map(fold))
}

/// Where the Secret has a `signing-token`: the check of a Standard Webhooks signature, which takes the
/// place of every other proof.
fn by_signing_token(
    hook: &Hook,
    request: &Request<'_>,
    context: &Context<'_>,
) -> Option<Result<Check, Rejection>> {
    let signs = hook.keys.iter().any(|key| key.slot == Slot::SigningToken);
    signs.then(|| {
        let signed = Signed::read(request, context.now_ms)?;
        BodyCheck::with_signing_token(hook, signed).map(Check::Body)
    })
}

/// Compares a presented token with every key of the hook.
fn presented(hook: &Hook, token: &[u8]) -> Result<Check, Rejection> {
    hook.keys
        .iter()
        .find(|key| {
            key.token
                .as_ref()
                .is_some_and(|salted| salted.matches(token))
        })
        .map(|key| Check::Passed(Pass::by(key.slot)))
        .ok_or(Rejection::Token)
}

/// The token in `Authorization`, taken apart. `trim` is [`jwt::bearer`]'s.
///
/// # Errors
/// The [`Rejection`], if there is none, several, or one that can't be read.
pub fn bearer<'r>(request: &Request<'r>, trim: bool) -> Result<Token<'r>, Rejection> {
    let header = request
        .one_filled("authorization")?
        .ok_or(Rejection::MissingSignature)?;
    let text = jwt::bearer(header, trim).ok_or(Rejection::Jwt(JwtError::Malformed))?;
    Token::parse(text).map_err(Rejection::Jwt)
}

/// Whether any issuer's keys are there to check a token with.
fn keys_fetched(hook: &Hook) -> Result<(), Rejection> {
    if hook.issuers.iter().all(|issuer| issuer.keys.is_empty()) {
        return Err(Rejection::KeysUnavailable);
    }
    Ok(())
}

/// The path was the proof.
fn by_path() -> Result<Check, Rejection> {
    Ok(Check::Passed(Pass::by(Slot::Token)))
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_those_of_the_custom_resource() {
        let names: Vec<_> = RECEIVER_TYPES.iter().map(|t| t.name()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert_eq!(
            names,
            [
                "generic",
                "generic-hmac",
                "generic-oidc",
                "github",
                "gitlab",
                "bitbucket",
                "harbor",
                "dockerhub",
                "quay",
                "gcr",
                "nexus",
                "acr",
                "cdevents"
            ]
        );
    }

    #[test]
    fn header_names_are_in_lower_case_so_that_they_can_be_found() {
        for name in RECEIVER_TYPES.iter().flat_map(|t| t.event_headers()) {
            assert_eq!(*name, name.to_lowercase());
        }
    }
    #[test]
    fn events_are_compared_without_regard_to_case() {
        for (a, b, want) in [
            ("push", "PUSH", true),
            ("Push Hook", "push hook", true),
            ("push", "push ", false),
            ("", "", true),
            ("k", "\u{212a}", true),
            ("\u{17f}", "S", true),
            ("é", "é", true),
            ("é", "e", false),
        ] {
            assert_eq!(eq_fold(a, b), want, "{a:?} {b:?}");
        }
    }
}

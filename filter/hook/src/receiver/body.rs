//! What is computed over a body to know whether its sender is genuine.

use alloc::vec::Vec;

use super::Pass;
use crate::config::{Hook, Slot};
use crate::form::Form;
use crate::mac::{self, Hash, Mac};
use crate::rejection::Rejection;

/// MACs in progress, one for each key that may have signed, and the signatures to compare with.
#[derive(Clone, Debug)]
pub struct BodyCheck {
    macs: Vec<(Slot, Mac)>,
    signatures: Vec<Vec<u8>>,
    weak: bool,
    signed_id: Option<Vec<u8>>,
    form: Option<FormUse>,
}

/// What a form body is read for.
#[derive(Clone, Debug)]
struct FormUse {
    form: Form,
    /// Whether the signature is over the decoded `payload` field and not over the body.
    signs_payload: bool,
}

impl BodyCheck {
    /// Starts a MAC for each of the hook's `token` keys that allows `hash`.
    ///
    /// # Errors
    /// [`Rejection::HashNotAllowed`] if no key does.
    pub(super) fn with_token(
        hook: &Hook,
        hash: Hash,
        signature: Vec<u8>,
    ) -> Result<Self, Rejection> {
        Self::start(hook, hash, alloc::vec![signature], |slot| {
            slot != Slot::SigningToken
        })
    }

    /// Starts a MAC with the hook's signing token, over `prefix` and the body.
    ///
    /// # Errors
    /// [`Rejection::HashNotAllowed`] if it does not allow SHA-256.
    pub(super) fn with_signing_token(
        hook: &Hook,
        signed: crate::signed::Signed,
    ) -> Result<Self, Rejection> {
        let mut check = Self::start(hook, Hash::Sha256, signed.signatures, |slot| {
            slot == Slot::SigningToken
        })?;
        for (_, mac) in &mut check.macs {
            mac.update(&signed.prefix);
        }
        check.signed_id = Some(signed.id);
        Ok(check)
    }

    fn start(
        hook: &Hook,
        hash: Hash,
        signatures: Vec<Vec<u8>>,
        slot: impl Fn(Slot) -> bool,
    ) -> Result<Self, Rejection> {
        let keys = hook.keys.iter().filter(|key| slot(key.slot));
        let macs: Vec<_> = keys
            .flat_map(|key| key.macs.iter().map(|mid| (key.slot, mid)))
            .filter(|(_, mid)| mid.hash == hash)
            .filter_map(|(slot, mid)| Some((slot, mid.start()?)))
            .collect();
        if macs.is_empty() {
            return Err(Rejection::HashNotAllowed);
        }
        Ok(Self {
            macs,
            signatures,
            weak: hash == Hash::Sha1,
            signed_id: None,
            form: None,
        })
    }

    /// Also demands that the body is a form; `signs_payload` says that the signature is over the
    /// decoded `payload` field.
    pub(super) fn of_form(mut self, signs_payload: bool) -> Self {
        self.form = Some(FormUse {
            form: Form::default(),
            signs_payload,
        });
        self
    }

    pub(crate) fn chunk(&mut self, bytes: &[u8]) {
        let Self { macs, form, .. } = self;
        let mut feed = |bytes: &[u8]| {
            for (_, mac) in macs.iter_mut() {
                mac.update(bytes);
            }
        };
        match form {
            None => feed(bytes),
            Some(FormUse {
                form,
                signs_payload: true,
            }) => form.chunk(bytes, feed),
            Some(FormUse {
                form,
                signs_payload: false,
            }) => {
                feed(bytes);
                form.chunk(bytes, |_| {});
            }
        }
    }

    pub(crate) fn end(self) -> Result<Pass, Rejection> {
        if self.form.is_some_and(|form| !form.form.is_valid()) {
            return Err(Rejection::BadPayload);
        }
        let mut found = None;
        // Every signature is compared with every MAC, whichever was right.
        for (slot, mac) in self.macs {
            let computed = mac.finish();
            for signature in &self.signatures {
                if mac::eq(&computed, signature) {
                    found = found.or(Some(slot));
                }
            }
        }
        let slot = found.ok_or(Rejection::Signature)?;
        Ok(Pass {
            slot,
            weak: self.weak,
            checked: true,
            signed_id: self.signed_id,
            issuer: None,
        })
    }
}

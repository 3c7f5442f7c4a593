//! stub until the jwt branch is merged
#![allow(missing_docs, unreachable_pub, reason = "stub")]
use alloc::string::String;
use serde::{Deserialize, Serialize};
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JwtError {
    Malformed,
}
impl JwtError {
    pub fn reason(self) -> &'static str {
        "jwt_malformed"
    }
}
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Issuer {
    pub issuer: String,
    pub audience: String,
    pub algorithms: alloc::vec::Vec<Algorithm>,
    pub keys: alloc::vec::Vec<Key>,
}
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Key {
    pub spki: String,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}
pub fn ecdsa_der(_: &[u8]) -> Option<alloc::vec::Vec<u8>> {
    None
}
pub struct Unsupported;
pub trait Signatures {
    fn verify(&self, a: Algorithm, spki: &[u8], m: &[u8], s: &[u8]) -> Result<bool, Unsupported>;
}
pub struct Token;
impl Token {
    pub fn parse(_: &[u8]) -> Result<Self, JwtError> {
        Err(JwtError::Malformed)
    }
}
pub struct Verified {
    pub signature_checked: bool,
}
pub fn verify_oidc(
    _: &Token,
    _: &[Issuer],
    _: u64,
    _: &dyn Signatures,
) -> Result<Verified, JwtError> {
    Err(JwtError::Malformed)
}
pub fn verify_gcr(
    _: &Token,
    _: &Issuer,
    _: &dyn Fn(&str) -> bool,
    _: u64,
    _: &dyn Signatures,
) -> Result<Verified, JwtError> {
    Err(JwtError::Malformed)
}
pub fn bearer(h: &[u8], _trim: bool) -> Option<&[u8]> {
    h.strip_prefix(b"Bearer ")
}

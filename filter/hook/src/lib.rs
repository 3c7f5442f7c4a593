//! The pure core of Hookgate, shared by the Envoy filter and the controller.
//!
//! A *hook* is one incoming webhook request. [`gate::Gate`] decides on it in steps, so that its body
//! never has to be held:
//!
//! ```text
//!  Request ──► Gate::headers ──► Step::Done(Decision)                         (most refusals end here)
//!                     │
//!                     └────────► Step::Body(Pending) ──► Pending::chunk … ──► Pending::end ──► Decision
//! ```
//!
//! What the Gate knows is a [`config::Config`], compiled by the controller from Receivers and their
//! Secrets. It holds no token and no usable path.
//!
//! This crate has no clock, no I/O, no async and no host: time is an argument, everything else
//! that the outside must lend comes through [`gate::Host`].
//!
//! ```
//! use hook::digest::Digest;
//!
//! let digest = Digest::of(b"test-token", "receiver-secret", "my-namespace");
//! assert_eq!(
//!     digest.path(),
//!     "/hook/106120121d366c2f67e93200f6c1dbe938235eb588daa5e8c0516d3a77ac1dee"
//! );
//! assert_eq!(Digest::from_path(digest.path().as_bytes()), Some(digest));
//! ```
// Says so here and not only in the build, so that whoever reaches for `std` is told at once.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects,
        reason = "a test may fail by panicking"
    )
)]

extern crate alloc;

pub mod address;
pub mod bucket;
pub mod config;
pub mod digest;
pub mod form;
pub mod gate;
pub mod jwt;
pub mod ledger;
pub mod mac;
pub mod mime;
pub mod receiver;
pub mod rejection;
pub mod replay;
pub mod report;
pub mod request;
pub mod signed;

//! The pure core of Hookgate.
#![no_std]

extern crate alloc;

pub mod jwt;

//! placeholder

pub mod address;
pub mod receiver;
pub mod signature;

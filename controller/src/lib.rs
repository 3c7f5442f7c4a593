//! placeholder

pub mod cel;

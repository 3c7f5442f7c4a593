//! placeholder

/// Filters and claim checks.
pub mod cel;

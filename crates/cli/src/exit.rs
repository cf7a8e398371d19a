//! Exit codes: a contract, documented in docs/exit-codes.md.

/// Everything is fine; nothing to do, or done.
pub(crate) const FINE: u8 = 0;
/// An error, or a refusal; what was done before it is recorded.
pub(crate) const ERROR: u8 = 1;
/// There are changes (`plan --detailed-exitcode`) or drift (`drift`).
pub(crate) const CHANGES: u8 = 2;

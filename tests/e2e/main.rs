//! End to end: the built binary, run as a user runs it, against the local cloud over real sockets.

#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

#[cfg(feature = "kills")]
mod answers;
mod budgets;
mod drain;
mod harness;
mod hosts;
mod joined;
#[cfg(feature = "kills")]
mod kills;
mod lifecycle;
mod machines;
mod promises;
mod records;
mod refusals;
mod sealed;
mod spaces;
mod starter;
mod stores;
#[path = "../tidy.rs"]
mod tidy;

//! End to end: the built binary, run as a user runs it, against the local cloud over real sockets.

mod harness;
mod lifecycle;
mod refusals;
mod starter;
#[path = "../tidy.rs"]
mod tidy;

//! The host half over real sockets and in process: the project's own client against the simulated droplets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

mod balancer;
mod docker;
mod forward;
mod ground;
mod in_process;
#[cfg(feature = "lab")]
mod lab;
mod registry;
mod ssh;
mod suite;

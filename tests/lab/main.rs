//! The lab: the built binary against droplets that are containers with real systems in them. As root, and with Docker:
//! tests/lab/run sets it up, runs it and tears it down.

#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

mod downtime;
mod driver;
mod ground;
#[path = "../e2e/harness.rs"]
#[expect(dead_code, reason = "the end-to-end tests ask it for more")]
mod harness;
mod keys;
mod kills;
mod load;
mod story;
mod tutorial;

//! The crate against a small droplet on loopback: a real SSH server with a make-believe Docker Engine, SFTP and a few
//! commands behind it, and a small image registry. What is tested is our side of each protocol; the local cloud and
//! the lab have conformance tests with more of the other side.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

mod connection;
mod containers;
mod droplet;
mod engine;
mod haproxy;
mod probe;
mod registry;
mod sftp;

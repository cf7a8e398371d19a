//! A DigitalOcean on this machine: one deterministic world, and the doors into it.
//!
//! Reading order of the host half: `machine` (a droplet from the inside), `images` and `app` (what runs on it), `doors`
//! (real protocols on loopback addresses), `in_process_host` (the core traits, without sockets).

pub mod app;
pub mod images;
pub mod machine;

//! A DigitalOcean on this machine: one deterministic world, and the doors into it.
//!
//! Reading order of the cloud half: `world` (what there is and what happens to it), `fault` (what goes wrong), `http`
//! (DigitalOcean's API), `spaces` (its object store), `in_process` (core's trait, without sockets), `serve` (all doors of
//! one world), `join` (a world that another process serves).
//!
//! Reading order of the host half: `machine` (a droplet from the inside), `images` and `app` (what runs on it), `doors`
//! (real protocols on loopback addresses), `in_process_host` (the core traits, without sockets); or, instead of all
//! these, `docker` (droplets as containers, with real systems in them).

pub mod app;
pub mod docker;
pub mod doors;
pub mod fault;
pub mod http;
pub mod images;
pub mod in_process;
pub mod in_process_host;
pub mod join;
pub mod machine;
mod millis;
pub mod serve;
pub mod spaces;
pub mod world;

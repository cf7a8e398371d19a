//! Whole runs of the engine on a small simulated world, and its parts on their own, all on a virtual clock.

#![expect(clippy::unwrap_used, reason = "the whole binary is tests")]

mod commits;
mod crash;
mod history;
mod journal;
mod lifecycle;
mod linear;
mod lock;
mod plans;
mod probe;
mod release;
mod store;
mod walk;
mod world;

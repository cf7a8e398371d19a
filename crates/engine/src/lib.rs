//! The engine: looks at the world, carries a plan out, and survives its own death at any instant.
//!
//! This crate is the only place where crash safety lives: the create-only log and its lease ([`store`]), the journal
//! ([`journal`]), what a run does with what an earlier one left ([`mod@recover`]), and the walk of a plan's steps
//! ([`mod@apply`]). It sees the world through core's traits only. It must not know the words DigitalOcean, SSH or S3, and
//! it prints nothing: it tells events.

pub mod apply;
pub mod context;
pub mod journal;
mod listing;
pub mod observe;
pub mod pace;
pub mod recover;
mod release;
pub mod seal;
mod step;
mod steps;
pub mod store;
pub mod walk;

pub use apply::{ApplyError, apply};
pub use context::{AppSecrets, Caller, Context, Ids, Patience, Stop};
pub use journal::{Journal, JournalError};
pub use observe::{Need, ObserveError, Wanted, observe};
pub use recover::{RecoverError, recover};

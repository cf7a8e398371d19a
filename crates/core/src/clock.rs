//! The one way to learn what time it is.
//!
//! Core never reads a clock: times are arguments. The engine gets a [`Clock`] at the top, so that a run on a virtual
//! clock is repeatable. Waiting is done with tokio's timers, which the same virtual clock drives in tests.

use jiff::Timestamp;

/// Tells the wall-clock time. Used for what people read (history, journal); never to decide who holds a lock.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

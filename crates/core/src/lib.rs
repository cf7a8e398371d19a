//! The pure heart of Seachange: spec, planner, plan, state, release machine, and the traits at the world's edge.
//!
//! Nothing here reads a clock, a file, the environment or a socket; what it needs comes in as values.

pub mod clock;
pub mod cloud;
pub mod host;
pub mod image;
pub mod secret;
pub mod store;

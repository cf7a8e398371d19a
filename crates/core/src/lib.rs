//! The pure heart of Seachange: spec, planner, plan, state, release machine, and the traits at the world's edge.
//!
//! Nothing here reads a clock, a file, the environment or a socket; what it needs comes in as values.

pub mod address;
pub mod bootstrap;
pub mod checks;
pub mod clock;
pub mod cloud;
pub mod diagnostic;
pub mod event;
pub mod graph;
pub mod haproxy;
pub mod host;
pub mod image;
pub mod journal;
pub mod names;
pub mod observed;
pub mod plan;
pub mod planner;
pub mod release;
pub mod run;
pub mod secret;
pub mod settings;
pub mod spec;
pub mod state;
pub mod store;

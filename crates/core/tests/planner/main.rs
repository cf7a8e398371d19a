//! The planner, seen from outside: scripts with golden plans, and generated worlds.
//!
//! `INSTA_UPDATE=always cargo test -p seachange-core --test planner` writes the goldens anew.

#![expect(
    clippy::expect_used,
    reason = "helpers of tests: a missing value is a broken test, and its place says which"
)]

mod effects;
mod files;
mod goldens;
mod properties;
mod render;
mod scripts;
mod specs;
mod world;

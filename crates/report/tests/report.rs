//! Reports as their readers see them: whole plans, runs and states in whole snapshots.
//!
//! The plans are the planner's own, made for the world that its tests use: a report is only worth reading if it is
//! right about what the planner really says. `INSTA_UPDATE=always cargo test -p seachange-report` writes the snapshots
//! anew; read them before they are committed.

#![expect(
    clippy::expect_used,
    reason = "helpers of tests: a missing value is a broken test, and its place says which"
)]

#[path = "report/events.rs"]
mod events;
#[path = "report/plans.rs"]
mod plans;
#[path = "report/runs.rs"]
mod runs;
#[path = "report/states.rs"]
mod states;

#[path = "../../core/tests/planner/effects.rs"]
mod effects;
#[expect(dead_code, reason = "the planner's tests use more of it")]
#[path = "../../core/tests/planner/render.rs"]
mod render;
#[path = "../../core/tests/planner/specs.rs"]
mod specs;
#[expect(dead_code, reason = "the planner's tests use more of it")]
#[path = "../../core/tests/planner/world.rs"]
mod world;

/// Compares with the snapshot file of this name.
fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Two releases old: 1.0 live on worker 1 until 1.1 went live on worker 2.
fn swapped() -> world::World {
    let mut world = world::World::applied(&specs::webgui("1.0"));
    world.apply(&specs::webgui("1.1"));
    world
}

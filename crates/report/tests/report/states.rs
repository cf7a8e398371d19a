//! Status, history and drift: what is asked at night.

use seachange_core::host::ContainerState;
use seachange_core::observed::HostSeen;
use seachange_core::planner;
use seachange_core::release::Phase;
use seachange_core::state::State;
use seachange_report::{Style, drift, releases, state as state_report, status};

use crate::specs::{infrastructure, webgui};
use crate::world::{Crash, World};
use crate::{snapshot, swapped};

fn shown(world: &World) -> String {
    let drift = planner::drift(&world.state, &world.real);
    status::text(&world.state, &world.real, &drift, Style::default())
}

fn machine(world: &World) -> serde_json::Value {
    let drift = planner::drift(&world.state, &world.real);
    status::json(&world.state, &world.real, &drift)
}

#[test]
fn at_rest() {
    let world = swapped();
    snapshot("status", &shown(&world));
    let value = machine(&world);
    assert_eq!((&value["live"], &value["rollback_ready"]), (&2.into(), &true.into()));
    snapshot("status_json", &serde_json::to_string_pretty(&value).expect("JSON"));
}

#[test]
fn before_anything() {
    let empty = World::empty("webgui");
    insta::assert_snapshot!(shown(&empty), @"The stack webgui owns nothing.");
    assert_eq!(machine(&empty)["empty"], true);
}

#[test]
fn a_first_release_has_nothing_to_go_back_to() {
    let world = World::applied(&webgui("1.0"));
    snapshot("status_first", &shown(&world));
    assert_eq!(machine(&world)["rollback_ready"], false);
    snapshot("status_infrastructure", &shown(&World::applied(&infrastructure())));
}

#[test]
fn a_rollback_that_would_not_work_says_why() {
    let mut gone = swapped();
    let standby = gone.worker(1);
    if let Some(HostSeen::Worker { containers, .. }) = gone.real.hosts.get_mut(&standby) {
        containers.clear();
    }
    snapshot("status_no_container", &shown(&gone));
    assert_eq!(machine(&gone)["rollback_ready"], false);
    assert!(gone.rollback().is_err(), "status and rollback agree");
}

#[test]
fn drift_is_part_of_the_picture() {
    let mut down = swapped();
    let standby = down.worker(1);
    down.container(standby).expect("one").state = ContainerState::Exited { code: 137 };
    snapshot("status_drifted", &shown(&down));
    let mut moved = swapped();
    let standby = moved.worker(1);
    moved.point(Some(standby));
    snapshot("status_moved_by_hand", &shown(&moved));
    let mut nowhere = swapped();
    nowhere.point(None);
    snapshot("status_points_at_nothing", &shown(&nowhere));
}

#[test]
fn an_unfinished_release_names_the_next_command() {
    let mut world = swapped();
    let plan = world.plan(&webgui("1.2"));
    world.run_in(&plan, Some(Crash::In(Phase::Gating)), |_| 0);
    snapshot("status_unfinished", &shown(&world));
}

#[test]
fn the_history_is_newest_first() {
    let mut world = swapped();
    let plan = world.rollback().expect("something to go back to");
    world.run(&plan);
    let text = releases::text(&world.state);
    snapshot("releases", &text);
    let marked: Vec<&str> = text.lines().filter(|line| line.contains('*')).collect();
    assert_eq!(marked.len(), 1, "{text}");
    assert_eq!(releases::json(&world.state)["releases"].as_array().map(Vec::len), Some(3));
    insta::assert_snapshot!(releases::text(&State::empty("lineage", "webgui")), @"The stack webgui has no releases yet.");
}

#[test]
fn the_state_is_listed_shown_compared_and_its_history_told() {
    let (first, world) = (World::applied(&webgui("1.0")).state, swapped());
    let commit = |state| state_report::Commit { at: world.real.at, by: "ci", state };
    snapshot("state_list", &state_report::list(&world.state));
    snapshot("state_show", &state_report::show(&commit(&world.state)));
    let commits = [commit(&world.state), commit(&first)];
    snapshot("state_history", &state_report::history(&commits, 20));
    assert_eq!(state_report::history(&commits, 1).lines().count(), 1);
    assert_eq!(state_report::history_json("webgui", &commits, 9)["commits"][0]["by"], "ci");
    let diff = state_report::diff(&first, &world.state);
    assert!(diff.starts_with("--- webgui serial ") && diff.contains("\n+"), "{diff}");
    assert_eq!(state_report::diff(&first, &first), "");
    let empty = State::empty("lineage", "webgui");
    insta::assert_snapshot!(state_report::list(&empty), @"The state of webgui holds nothing.");
}

#[test]
fn drift_is_silent_when_nothing_moved() {
    let mut world = swapped();
    let none = planner::drift(&world.state, &world.real);
    let text = drift::text(&world.state, &world.real, &none, Style::default());
    insta::assert_snapshot!(text, @r"
    No drift. The stack webgui is as it was left.
    rollback: ready, to 1.0 on worker[1]: seachange rollback
    ");
    let live = world.worker(2);
    world.lose(live);
    let found = planner::drift(&world.state, &world.real);
    snapshot("drift", &drift::text(&world.state, &world.real, &found, Style::default()));
    let value = drift::json(&world.state, &world.real, &found);
    assert_eq!(value["drifted"], true);
    assert_eq!(value["findings"].as_array().map(Vec::len), Some(found.len()));
}

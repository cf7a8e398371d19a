//! Plans, in every format.

use seachange_core::host::ContainerState;
use seachange_core::plan::{Drift, Finding, Plan};
use seachange_core::planner::Options;
use seachange_core::release::Phase;
use seachange_report::Style;
use seachange_report::plan::{gitlab, json, markdown, mermaid, text, view};

use crate::specs::{infrastructure, minimal, webgui};
use crate::world::{Crash, World};
use crate::{snapshot, swapped};

/// What forges allow a comment to have.
const COMMENT: usize = 65_536;

fn shown(plan: &Plan) -> String {
    text(&view(plan), Style::default())
}

/// Cut off in 1.2's release, when this phase was about to begin.
fn cut_off(phase: Phase) -> World {
    let mut world = swapped();
    let plan = world.plan(&webgui("1.2"));
    world.run_in(&plan, Some(Crash::In(phase)), |_| 0);
    world
}

/// A thousand workers of the smallest stack.
fn thousand() -> (World, seachange_core::spec::Spec) {
    let mut spec = minimal("1.0");
    spec.workers.count = 1000;
    let mut world = World::empty("hello");
    world.real.catalogue = None;
    (world, spec)
}

#[test]
fn first_apply() {
    let plan = World::empty("webgui").plan(&webgui("1.0"));
    snapshot("first_apply", &shown(&plan));
    snapshot("first_apply_markdown", &markdown(&view(&plan), COMMENT));
    snapshot("first_apply_mermaid", &mermaid(&plan));
}

#[test]
fn swap_is_the_picture_in_the_readme() {
    let plan = World::applied(&webgui("1.0")).plan(&webgui("1.1"));
    let readme = include_str!("../../../../README.md");
    for line in shown(&plan).lines().filter(|line| !line.contains("sha256:")) {
        assert!(readme.contains(line), "the readme lacks: {line}");
    }
    snapshot("swap", &shown(&plan));
    snapshot("swap_markdown", &markdown(&view(&plan), COMMENT));
}

#[test]
fn colour_adds_nothing_but_colour() {
    let plan = World::applied(&webgui("1.0")).plan(&webgui("1.1"));
    let coloured = text(&view(&plan), Style { colour: true });
    let plain = coloured.split('\x1b').enumerate().map(|(at, part)| match at {
        0 => part,
        _ => part.split_once('m').map_or(part, |(_, rest)| rest),
    });
    assert!(coloured.contains("\x1b["));
    assert_eq!(plain.collect::<String>(), shown(&plan));
}

#[test]
fn nothing_to_do_is_one_line() {
    let plan = swapped().plan(&webgui("1.1"));
    insta::assert_snapshot!(shown(&plan), @"No changes. The stack webgui is as the spec says.");
    assert_eq!(shown(&plan).lines().count(), 1);
    insta::assert_snapshot!(shown(&World::empty("webgui").destroy()), @"No changes. The stack webgui owns nothing.");

    let address = seachange_core::address::Address::FloatingIp;
    let left = Drift { address, finding: Finding::PointsElsewhere { droplet: None } };
    let plan = Plan { drift: vec![left], ..plan };
    insta::assert_snapshot!(shown(&plan), @r"
    Changed outside:
      ! floating_ip  points to nothing: users reach nobody

    No changes. The stack webgui is as the spec says.
    ");
}

#[test]
fn rollback() {
    snapshot("rollback", &shown(&swapped().rollback().expect("there is something to go back to")));
}

#[test]
fn resize_goes_through_the_standby() {
    let world = swapped();
    let mut spec = webgui("1.2");
    spec.workers.size = "s-1vcpu-2gb".to_owned();
    let plan = world.plan(&spec);
    snapshot("resize", &shown(&plan));
    snapshot("resize_markdown", &markdown(&view(&plan), COMMENT));
    snapshot("resize_mermaid", &mermaid(&plan));
}

#[test]
fn new_configuration_of_the_same_image() {
    let mut spec = webgui("1.1");
    let app = spec.app.as_mut().expect("an app");
    app.env.insert("COLOUR".to_owned(), seachange_core::secret::Secret::new("blue"));
    let plan = swapped().plan(&spec);
    snapshot("new_configuration", &shown(&plan));
    assert!(!json(&plan).to_string().contains("blue"), "a secret is in the plan");
}

#[test]
fn drifted() {
    let mut world = swapped();
    let standby = world.worker(1);
    world.container(standby).expect("one").state = ContainerState::Exited { code: 137 };
    for records in world.real.zones.values_mut().flatten() {
        records.iter_mut().for_each(|record| record.data = "192.0.2.1".to_owned());
    }
    snapshot("drifted", &shown(&world.plan(&webgui("1.1"))));
}

#[test]
fn a_live_container_that_is_down_is_said_to_be_down() {
    let mut world = swapped();
    let live = world.worker(2);
    world.container(live).expect("one").state = ContainerState::Exited { code: 1 };
    let shown = shown(&world.plan(&webgui("1.1")));
    snapshot("live_container_down", &shown);
}

#[test]
fn a_cut_in_service_is_not_called_none() {
    let world = World::applied(&webgui("1.0"));
    let mut spec = webgui("1.1");
    spec.app.as_mut().expect("an app").port = 9090;
    let options = Options { allow_downtime: true, ..Options::default() };
    snapshot("port_change", &shown(&world.plan_with(&spec, &options)));
}

#[test]
fn fewer_workers() {
    let mut world = World::applied(&webgui("1.0"));
    let mut spec = webgui("1.1");
    spec.workers.count = 3;
    world.apply(&spec);
    spec.workers.count = 2;
    snapshot("fewer_workers", &shown(&world.plan(&spec)));
}

#[test]
fn an_unfinished_release_is_taken_up() {
    let before = cut_off(Phase::Gating).plan(&webgui("1.2"));
    snapshot("unfinished_before_the_switch", &shown(&before));
    let after = cut_off(Phase::Verifying).plan(&webgui("1.2"));
    snapshot("unfinished_after_the_switch", &shown(&after));
    assert_eq!(json(&after)["reasons"], serde_json::json!(["changes", "unfinished_transition"]));
}

#[test]
fn an_unfinished_release_is_dropped() {
    let plan = cut_off(Phase::Gating).rollback().expect("it is dropped");
    snapshot("unfinished_dropped", &shown(&plan));
    let plan = cut_off(Phase::Verifying).rollback().expect("it is taken back");
    snapshot("unfinished_taken_back", &shown(&plan));
}

#[test]
fn moved_by_hand_and_kept() {
    let mut world = swapped();
    let standby = world.worker(1);
    world.point(Some(standby));
    snapshot("moved_by_hand", &shown(&world.plan(&webgui("1.0"))));
}

#[test]
fn an_address_without_an_app_points_somewhere_again() {
    let mut world = World::applied(&infrastructure());
    world.point(None);
    snapshot("points_at_nothing", &shown(&world.plan(&infrastructure())));
}

#[test]
fn destroy() {
    let plan = swapped().destroy();
    snapshot("destroy", &shown(&plan));
    snapshot("destroy_markdown", &markdown(&view(&plan), COMMENT));
}

#[test]
fn a_thousand_workers_are_a_page() {
    let (mut world, spec) = thousand();
    let plan = world.plan(&spec);
    snapshot("thousand", &shown(&plan));
    assert_eq!(json(&plan)["changes"].as_array().map(Vec::len), Some(1002), "JSON has all");
    let graph = mermaid(&plan);
    assert!(graph.len() < 50_000, "forges refuse a graph of {} bytes", graph.len());
    assert!(graph.matches("-->").count() < 500, "forges draw no graph of so many edges");
    snapshot("thousand_mermaid", &graph);
    world.run(&plan);
    let destroy = world.destroy();
    assert!(shown(&destroy).lines().count() < 40, "{}", shown(&destroy));
    let comment = markdown(&view(&destroy), COMMENT);
    assert!(comment.contains("1001 to destroy"), "{comment}");
}

#[test]
fn a_comment_that_is_too_long_keeps_what_matters() {
    let plan = swapped().destroy();
    let whole = markdown(&view(&plan), COMMENT);
    let cut = markdown(&view(&plan), 700);
    snapshot("destroy_markdown_cut", &cut);
    for limit in 600..whole.len() {
        let comment = markdown(&view(&plan), limit);
        assert!(comment.len() <= limit, "{} bytes of {limit}", comment.len());
        assert!(comment.contains("6 to destroy"), "{limit}: {comment}");
        assert!(comment.contains('⚠'), "{limit}: {comment}");
        assert_eq!(comment.matches("<details").count(), comment.matches("</details>").count());
        assert_eq!(comment.matches("\n```").count() % 2, 0, "{limit}: an open fence");
    }
    assert_eq!(markdown(&view(&plan), whole.len()), whole);
}

#[test]
fn a_comment_is_not_formatted_by_what_was_found() {
    let mut world = swapped();
    for records in world.real.zones.values_mut().flatten() {
        records.iter_mut().for_each(|record| record.data = "```\n@everyone <b>".to_owned());
    }
    snapshot("hostile_markdown", &markdown(&view(&world.plan(&webgui("1.1"))), COMMENT));
}

#[test]
fn the_gitlab_widget_gets_its_three_numbers() {
    let numbers = |plan: &Plan| {
        let counts = gitlab(plan);
        ["create", "update", "delete"].map(|key| counts[key].as_u64().expect("a number"))
    };
    let world = World::applied(&webgui("1.0"));
    assert_eq!(numbers(&World::empty("webgui").plan(&webgui("1.0"))), [7, 0, 0]);
    assert_eq!(numbers(&world.plan(&webgui("1.1"))), [0, 1, 0], "a swap is an update");
    assert_eq!(numbers(&world.plan(&webgui("1.0"))), [0, 0, 0]);
    assert_eq!(numbers(&world.destroy()), [0, 0, 6]);
    let mut spec = webgui("1.0");
    spec.load_balancer.as_mut().expect("one").size = "s-1vcpu-2gb".to_owned();
    assert_eq!(numbers(&world.plan(&spec)), [1, 1, 1], "a replacement is both");
}

#[test]
fn json_says_everything() {
    let plan = World::applied(&webgui("1.0")).plan(&webgui("1.1"));
    snapshot("swap_json", &serde_json::to_string_pretty(&json(&plan)).expect("JSON"));
}

//! Facts about plans that no golden shows: order, size, and what is never there.

use seachange_core::address::Address;
use seachange_core::cloud::DropletStatus;
use seachange_core::graph::Graph;
use seachange_core::plan::Effect;
use seachange_core::plan::check::{Severity, check};
use seachange_core::planner::{Options, drift};

use crate::render;
use crate::specs::{minimal, webgui};
use crate::world::World;

#[test]
fn a_second_plan_is_empty_and_nothing_drifts() {
    let spec = webgui("1.0");
    let world = World::applied(&spec);
    let plan = world.plan(&spec);
    assert!(plan.is_empty() && plan.notes.is_empty(), "{}", render::plan(&plan));
    assert_eq!(drift(&world.state, &world.look(&spec)), []);
    world.roles_agree();
}

#[test]
fn the_same_input_gives_the_same_plan() {
    let (world, spec) = (World::applied(&webgui("1.0")), webgui("1.1"));
    assert_eq!(world.plan(&spec), world.plan(&spec));
}

#[test]
fn the_base_image_is_never_a_reason() {
    let world = World::applied(&webgui("1.0"));
    let mut spec = webgui("1.0");
    spec.workers.image = "debian-13-x64".to_owned();
    spec.load_balancer.as_mut().expect("one").image = "debian-13-x64".to_owned();
    assert!(world.plan(&spec).is_empty());
}

#[test]
fn a_first_apply_is_no_longer_than_it_must_be() {
    let plan = World::empty("webgui").plan(&webgui("1.0"));
    let graph = Graph::of(&plan.steps).expect("a graph");
    // Load balancer, first boot, its configuration, and the release that is looked at through it.
    assert_eq!(graph.depth(), 4);
    let place = |is: &dyn Fn(&Effect) -> bool| {
        plan.steps.iter().position(|step| is(&step.effect)).expect("a step")
    };
    let address = place(&|effect| matches!(effect, Effect::ReserveFloatingIp { .. }));
    let boot =
        place(&|effect| matches!(effect, Effect::PrepareHost { address: Address::Worker(1) }));
    assert!(!graph.precedes(address, boot) && !graph.precedes(boot, address));
}

#[test]
fn many_workers_are_created_ten_at_a_time_and_one_of_them_live() {
    let mut spec = minimal("1.0");
    spec.workers.count = 5000;
    let mut world = World::empty("hello");
    world.real.catalogue = None;
    let plan = world.plan(&spec);
    let creates: Vec<usize> = plan
        .steps
        .iter()
        .filter_map(|step| match &step.effect {
            Effect::CreateDroplets { addresses, .. } => Some(addresses.len()),
            _ => None,
        })
        .collect();
    assert_eq!((creates.len(), creates[0], creates.iter().sum::<usize>()), (501, 1, 5000));
    world.run(&plan);
    assert!(world.plan(&spec).is_empty());
    spec.workers.size = "s-1vcpu-2gb".to_owned();
    let resize = world.plan(&spec);
    assert_eq!(resize.count().destroy, 5000);
}

#[test]
fn a_switched_off_live_droplet_is_left_for_a_standby() {
    let mut world = World::applied(&webgui("1.0"));
    world.apply(&webgui("1.1"));
    let live = world.worker(2);
    world.real.droplets.get_mut(&live).expect("there").status = DropletStatus::Off;
    let plan = world.plan(&webgui("1.1"));
    let release = plan.release.expect("a release");
    assert_eq!((release.from, release.to), (Some(2), 1));
    assert!(
        plan.notes.iter().any(|note| note.contains("--replace 'droplet.worker[2]'")),
        "{:?}",
        plan.notes
    );
}

#[test]
fn an_unresolved_image_is_refused() {
    let world = World::empty("webgui");
    let spec = webgui("1.0");
    let mut observed = world.look(&spec);
    observed.image = None;
    let options = Options::default();
    let input = seachange_core::planner::Input {
        spec: &spec,
        state: &world.state,
        observed: &observed,
        options: &options,
        now: observed.at,
    };
    let refused = seachange_core::planner::plan(&input).expect_err("a release is of a digest");
    assert_eq!(refused[0].object, "release");
}

/// The check must be able to fail: every edge that a swap through new workers depends on is cut, one at a time.
#[test]
fn the_check_finds_every_missing_edge() {
    let mut world = World::applied(&webgui("1.0"));
    world.apply(&webgui("1.1"));
    let mut spec = webgui("1.2");
    spec.workers.size = "s-1vcpu-2gb".to_owned();
    spec.load_balancer.as_mut().expect("one").size = "s-1vcpu-2gb".to_owned();
    let (plan, observed) = (world.plan(&spec), world.look(&spec));
    let graph = Graph::of(&plan.steps).expect("a graph");
    for step in &plan.steps {
        for before in &step.after {
            let mut cut = plan.clone();
            cut.steps[step.id].after.retain(|other| other != before);
            if Graph::of(&cut.steps).expect("a graph").precedes(*before, step.id) {
                continue;
            }
            let found = check(&cut, &world.state, &observed);
            let errors = found.iter().filter(|note| note.severity == Severity::Error).count();
            assert!(
                errors > 0,
                "step {} without {before} passes in\n{}",
                step.id,
                render::plan(&plan)
            );
        }
    }
    assert!(graph.len() > 10);
    let mut no_release = plan.clone();
    no_release.release = None;
    assert!(!check(&no_release, &world.state, &observed).is_empty());
    let mut unsaid = plan.clone();
    unsaid.changes.remove(0);
    assert!(!check(&unsaid, &world.state, &observed).is_empty());
    let mut backwards = plan;
    backwards.steps[0].after = vec![3];
    assert!(!check(&backwards, &world.state, &observed).is_empty());
}

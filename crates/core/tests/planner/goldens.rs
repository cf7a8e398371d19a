//! Scripts: a world, something that happens to it, and the whole plan that answers.

use seachange_core::address::Address;
use seachange_core::cloud::{Account, DnsRecord, DropletStatus, RecordId};
use seachange_core::host::ContainerState;
use seachange_core::names::{FALLBACK, PROD};
use seachange_core::observed::HostSeen;
use seachange_core::plan::Effect;
use seachange_core::planner::Options;
use seachange_core::release::Phase;

use crate::render;
use crate::specs::{infrastructure, minimal, webgui};
use crate::world::{Crash, World};

/// Compares with the golden file of this name.
fn golden(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("goldens");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// The plan is the golden one; carried out, it leaves nothing to do and the roles right.
fn settles(name: &str, world: &mut World, spec: &seachange_core::spec::Spec) {
    let plan = world.plan(spec);
    golden(name, &render::plan(&plan));
    world.run(&plan);
    let again = world.plan(spec);
    assert!(again.is_empty(), "the second plan is not empty:\n{}", render::plan(&again));
    world.roles_agree();
}

/// Two releases old: 1.0 live on worker 1 until 1.1 went live on worker 2.
fn swapped() -> World {
    let mut world = World::applied(&webgui("1.0"));
    world.apply(&webgui("1.1"));
    world
}

fn release_is_cut_off(phase: Phase) -> World {
    let mut world = swapped();
    let plan = world.plan(&webgui("1.2"));
    world.run_in(&plan, Some(Crash::In(phase)), |_| 0);
    world
}

#[test]
fn first_apply() {
    settles("first_apply_webgui", &mut World::empty("webgui"), &webgui("1.0"));
    settles("first_apply_minimal", &mut World::empty("hello"), &minimal("1.0"));
    settles("first_apply_infrastructure", &mut World::empty("bare"), &infrastructure());
}

#[test]
fn swap() {
    let mut world = World::applied(&webgui("1.0"));
    settles("swap", &mut world, &webgui("1.1"));
    assert_eq!(world.live(), Some(2));
    world.apply(&webgui("1.2"));
    assert_eq!(world.live(), Some(1), "the release with the oldest container makes room");
}

#[test]
fn new_configuration() {
    let mut world = World::applied(&webgui("1.0"));
    let mut spec = webgui("1.0");
    let app = spec.app.as_mut().expect("an app");
    app.env.insert("COLOUR".to_owned(), seachange_core::secret::Secret::new("blue"));
    settles("new_configuration", &mut world, &spec);
}

#[test]
fn rollback() {
    let mut world = swapped();
    let plan = world.rollback().expect("there is something to roll back to");
    golden("rollback", &render::plan(&plan));
    world.run(&plan);
    assert_eq!(world.live(), Some(1));
    world.roles_agree();
    assert!(world.plan(&webgui("1.0")).is_empty());
    let back = world.rollback().expect("what users had before").release.expect("a release");
    assert_eq!((back.image.version().as_str(), back.to), ("1.1", 2));
}

#[test]
fn rollback_to_nothing() {
    let world = World::applied(&webgui("1.0"));
    let refused = world.rollback().expect_err("there is one release");
    golden("rollback_to_nothing", &render::refusals(&refused));

    let mut failed = release_is_cut_off(Phase::Gating);
    failed.state.transition = None;
    let refused = failed.rollback().expect_err("1.2 never went live");
    golden("rollback_to_what_never_went_live", &render::refusals(&refused));

    let mut gone = swapped();
    let standby = gone.worker(1);
    gone.real.hosts.remove(&standby);
    gone.real.hosts.insert(
        standby,
        HostSeen::Worker {
            host_key: seachange_core::host::HostKey(String::new()),
            containers: Vec::new(),
        },
    );
    let refused = gone.rollback().expect_err("its container is gone");
    golden("rollback_to_a_removed_container", &render::refusals(&refused));

    let mut nobody = swapped();
    nobody.point(None);
    let refused = nobody.rollback().expect_err("nobody is live");
    golden("rollback_without_a_live_worker", &render::refusals(&refused));
}

#[test]
fn rollback_of_an_unfinished_release() {
    let mut world = release_is_cut_off(Phase::Gating);
    let plan = world.rollback().expect("it is dropped");
    golden("rollback_before_the_switch", &render::plan(&plan));
    world.run(&plan);
    assert_eq!((world.live(), &world.state.transition), (Some(2), &None));

    let mut world = release_is_cut_off(Phase::Verifying);
    let plan = world.rollback().expect("users go back");
    golden("rollback_after_the_switch", &render::plan(&plan));
    assert_eq!(world.abort(), Ok(plan.clone()));
    world.run(&plan);
    assert_eq!((world.live(), &world.state.transition), (Some(2), &None));

    // Users are never led back to where nobody answers; what was found to be wrong is taken back all the same.
    for name in ["exited", "off"] {
        let mut world = release_is_cut_off(Phase::Verifying);
        let old = world.worker(2);
        if name == "off" {
            world.real.droplets.get_mut(&old).expect("there").status = DropletStatus::Off;
        } else {
            world.container(old).expect("one").state = ContainerState::Exited { code: 137 };
        }
        let refused = world.rollback().expect_err("nobody would answer there");
        assert_eq!(world.abort(), Err(refused.clone()));
        golden(&format!("rollback_to_a_worker_that_is_{name}"), &render::refusals(&refused));
        world.state.transition.as_mut().expect("one").phase = Phase::SwitchingBack;
        assert!(world.rollback().expect("it failed").release.expect("a release").undoes());
    }

    // A detour that a run left is ended by a reload, but not while it keeps users away from what failed.
    let detoured = |mut world: World| {
        for host in world.real.hosts.values_mut() {
            if let HostSeen::LoadBalancer { balancing, .. } = host {
                balancing.detour = true;
            }
        }
        world
    };
    let mut left = detoured(swapped());
    assert_eq!(left.plan(&webgui("1.1")).drift.len(), 1);
    settles("detour_is_left", &mut left, &webgui("1.1"));
    let mut failed = detoured(release_is_cut_off(Phase::Verifying));
    failed.state.transition.as_mut().expect("one").phase = Phase::SwitchingBack;
    let plan = failed.plan(&webgui("1.2"));
    assert!(matches!(&plan.steps[..], [only] if only.effect == Effect::Release), "{plan:?}");
    assert!(plan.drift.is_empty(), "it is the release's own affair: {:?}", plan.drift);

    // A rollback that was cut off is what a rollback goes on with; an abort takes that back too.
    let mut world = swapped();
    let rollback = world.rollback().expect("the release before");
    world.run_in(&rollback, Some(Crash::In(Phase::Gating)), |_| 0);
    let plan = world.rollback().expect("it goes on");
    assert!(plan.release.as_ref().is_some_and(|release| release.to == 1 && !release.undoes()));
    assert_eq!(world.abort().expect("it is dropped").release, None);
    world.run(&plan);
    assert_eq!((world.live(), &world.state.transition), (Some(1), &None));

    golden("abort_at_rest", &render::refusals(&world.abort().expect_err("it is at rest")));

    // The tags have followed already; they follow back.
    let mut world = release_is_cut_off(Phase::Retagging);
    let plan = world.abort().expect("users go back");
    world.run(&plan);
    assert_eq!((world.live(), &world.state.transition), (Some(2), &None));
    assert_eq!(world.state.releases.last().map(|last| last.image.version()), Some("1.1".into()));

    let world = release_is_cut_off(Phase::Recording);
    golden("abort_of_a_finished_release", &render::refusals(&world.abort().expect_err("too late")));
}

#[test]
fn size_change() {
    let mut world = swapped();
    let mut spec = webgui("1.1");
    spec.workers.size = "s-1vcpu-2gb".to_owned();
    settles("size_change", &mut world, &spec);
    assert_eq!(world.real.droplets.len(), 3);

    let mut world = World::applied(&infrastructure());
    let mut spec = infrastructure();
    spec.workers.size = "s-1vcpu-2gb".to_owned();
    settles("size_change_infrastructure", &mut world, &spec);
}

#[test]
fn load_balancer_size_change() {
    let mut world = World::applied(&webgui("1.0"));
    let mut spec = webgui("1.0");
    spec.load_balancer.as_mut().expect("one").size = "s-1vcpu-2gb".to_owned();
    settles("load_balancer_size_change", &mut world, &spec);
}

#[test]
fn load_balancer_goes() {
    let mut world = World::applied(&webgui("1.0"));
    let mut spec = webgui("1.0");
    spec.load_balancer = None;
    settles("load_balancer_goes", &mut world, &spec);
}

#[test]
fn port_change() {
    let mut world = World::applied(&webgui("1.0"));
    let mut spec = webgui("1.1");
    spec.app.as_mut().expect("an app").port = 9090;
    let refused = world.try_plan(&spec, &Options::default()).expect_err("users would be cut off");
    golden("port_change_refused", &render::refusals(&refused));
    let allowed = Options { allow_downtime: true, replace: Vec::new() };
    let plan = world.plan_with(&spec, &allowed);
    golden("port_change_allowed", &render::plan(&plan));
    world.run(&plan);
    assert!(world.plan(&spec).is_empty());
    let back = world.rollback().expect("the old port again");
    golden("port_change_rolled_back", &render::plan(&back));
}

#[test]
fn region_change() {
    let world = World::applied(&webgui("1.0"));
    let mut spec = webgui("1.0");
    spec.region = "ams3".to_owned();
    let refused =
        world.try_plan(&spec, &Options::default()).expect_err("the address cannot follow");
    assert!(render::refusals(&refused).contains("a reserved IP cannot leave its region"));
}

#[test]
fn replace_on_request() {
    let mut world = swapped();
    let options = Options { allow_downtime: false, replace: vec![Address::Worker(2)] };
    let plan = world.plan_with(&webgui("1.1"), &options);
    golden("replace_the_live_worker", &render::plan(&plan));
    world.run(&plan);
    assert!(world.plan(&webgui("1.1")).is_empty());
    let strange =
        Options { replace: vec![Address::FloatingIp, Address::Worker(7)], ..Options::default() };
    let refused = world.try_plan(&webgui("1.1"), &strange).expect_err("no droplets");
    golden("replace_what_is_no_droplet", &render::refusals(&refused));
}

#[test]
fn record_drift() {
    let mut world = World::applied(&webgui("1.0"));
    let records =
        world.real.zones.get_mut("gotcha-app.de").and_then(Option::as_mut).expect("a zone");
    records[0].data = "192.0.2.1".to_owned();
    settles("record_drift", &mut world, &webgui("1.0"));

    let mut world = World::applied(&webgui("1.0"));
    world.real.zones.insert("gotcha-app.de".to_owned(), Some(Vec::new()));
    settles("record_deleted_outside", &mut world, &webgui("1.0"));
}

#[test]
fn record_of_somebody_else() {
    let mut world = World::empty("webgui");
    let record = |kind: &str, name: &str| DnsRecord {
        id: RecordId(7),
        kind: kind.to_owned(),
        name: name.to_owned(),
        data: "192.0.2.1".to_owned(),
        ttl: 1800,
    };
    let zone = "gotcha-app.de".to_owned();
    world.real.zones.insert(zone.clone(), Some(vec![record("A", "www")]));
    let refused = world.try_plan(&webgui("1.0"), &Options::default()).expect_err("it is taken");
    golden("record_of_somebody_else", &render::refusals(&refused));
    world.real.zones.insert(zone, Some(vec![record("MX", "www"), record("A", "mail")]));
    settles("zone_of_somebody_else", &mut world, &webgui("1.0"));
    golden("destroy_keeps_a_foreign_zone", &render::plan(&world.destroy()));
}

#[test]
fn tags_swapped() {
    let mut world = World::applied(&webgui("1.0"));
    for (number, role) in [(1, FALLBACK), (2, PROD)] {
        let id = world.worker(number);
        let tags =
            world.real.droplets.get_mut(&id).and_then(|seen| seen.tags.as_mut()).expect("tags");
        tags.retain(|tag| tag != PROD && tag != FALLBACK);
        tags.push(role.to_owned());
    }
    settles("tags_swapped", &mut world, &webgui("1.0"));
}

#[test]
fn moved_by_hand() {
    let mut world = swapped();
    world.point(Some(world.worker(1)));
    golden("moved_by_hand_and_wanted_otherwise", &render::plan(&world.plan(&webgui("1.1"))));
    settles("moved_by_hand_and_accepted", &mut world, &webgui("1.0"));
    assert_eq!(world.live(), Some(1));

    let mut bare = World::applied(&webgui("1.0"));
    bare.point(Some(bare.worker(2)));
    settles("moved_by_hand_to_a_bare_worker", &mut bare, &webgui("1.0"));
}

#[test]
fn points_elsewhere() {
    let mut world = swapped();
    world.point(None);
    settles("points_at_nothing", &mut world, &webgui("1.1"));
    let mut world = swapped();
    world.point(None);
    settles("points_at_nothing_with_a_new_image", &mut world, &webgui("1.2"));
    let mut world = World::applied(&infrastructure());
    world.point(None);
    settles("points_at_nothing_infrastructure", &mut world, &infrastructure());
}

#[test]
fn deleted_outside() {
    let mut world = swapped();
    world.lose(world.worker(1));
    settles("standby_deleted_outside", &mut world, &webgui("1.1"));
    let mut world = swapped();
    world.lose(world.worker(2));
    settles("live_worker_deleted_outside", &mut world, &webgui("1.1"));
    let mut world = swapped();
    world.lose(world.id(&Address::LoadBalancer));
    settles("load_balancer_deleted_outside", &mut world, &webgui("1.1"));
    let mut world = swapped();
    world.real.reserved_ips.clear();
    settles("floating_ip_deleted_outside", &mut world, &webgui("1.1"));
}

#[test]
fn containers() {
    let mut world = swapped();
    let standby = world.worker(1);
    world.container(standby).expect("one").state = ContainerState::Exited { code: 137 };
    settles("standby_container_down", &mut world, &webgui("1.1"));
    let mut world = swapped();
    let live = world.worker(2);
    world.container(live).expect("one").state = ContainerState::Exited { code: 1 };
    settles("live_container_down", &mut world, &webgui("1.1"));
    let mut world = swapped();
    let live = world.worker(2);
    let foreign = format!("sha256:{}", "f".repeat(64));
    world.container(live).expect("one").labels.insert("digest".to_owned(), foreign);
    settles("live_container_foreign", &mut world, &webgui("1.1"));
    let mut world = swapped();
    world.hidden.insert(world.worker(1));
    let unseen = world.plan(&webgui("1.1"));
    assert!(unseen.is_empty() && unseen.notes.len() == 1, "{}", render::plan(&unseen));
}

#[test]
fn count() {
    let mut world = swapped();
    let mut three = webgui("1.1");
    three.workers.count = 3;
    settles("count_up", &mut world, &three);
    let mut two = webgui("1.2");
    two.workers.count = 3;
    world.apply(&two);
    assert_eq!(world.live(), Some(3), "a worker without a release comes first");
    settles("count_down_with_the_live_one", &mut world, &webgui("1.2"));
    assert_eq!(world.real.droplets.len(), 3);
}

#[test]
fn destroy() {
    let mut world = swapped();
    let plan = world.destroy();
    golden("destroy", &render::plan(&plan));
    world.run(&plan);
    assert!(world.state.is_empty() && world.real.droplets.is_empty() && world.destroy().is_empty());
    assert!(world.real.reserved_ips.is_empty());
}

#[test]
fn unfinished_release() {
    for (phase, name) in [
        (Phase::Staging, "unfinished_staging"),
        (Phase::Gating, "unfinished_gating"),
        (Phase::Switching, "unfinished_switching"),
        (Phase::Verifying, "unfinished_verifying"),
        (Phase::Retagging, "unfinished_retagging"),
        (Phase::Recording, "unfinished_recording"),
    ] {
        settles(name, &mut release_is_cut_off(phase), &webgui("1.2"));
    }
    settles("unfinished_and_superseded", &mut release_is_cut_off(Phase::Gating), &webgui("1.3"));
    settles("unfinished_and_unwanted", &mut release_is_cut_off(Phase::Gating), &webgui("1.1"));
    let mut moved = release_is_cut_off(Phase::Gating);
    moved.point(Some(moved.worker(1)));
    settles("unfinished_and_moved_by_hand", &mut moved, &webgui("1.2"));
    let mut committed = release_is_cut_off(Phase::Verifying);
    golden("unfinished_past_the_switch", &render::plan(&committed.plan(&webgui("1.3"))));
    committed.apply(&webgui("1.3"));
    committed.apply(&webgui("1.3"));
    assert!(committed.plan(&webgui("1.3")).is_empty());
}

#[test]
fn adoption() {
    let spec = webgui("1.0");
    let mut world = World::empty("webgui");
    let plan = world.plan(&spec);
    world.run_in(&plan, Some(Crash::After(4)), |_| 0);
    // The answers to all of it were lost, and one create was sent twice.
    world.state.resources.clear();
    let twin = world.real.droplets.values().next().expect("a droplet").clone();
    let id = seachange_core::cloud::DropletId(999);
    world.real.droplets.insert(id, seachange_core::cloud::Droplet { id, ..twin });
    world.real.hosts.clear();
    settles("adoption", &mut world, &spec);
    assert_eq!(world.real.droplets.len(), 3);
}

#[test]
fn limits() {
    let mut spec = webgui("1.0");
    spec.workers.size = "s-1vcpu-1bg".to_owned();
    let refusals =
        |world: &World, spec| world.try_plan(spec, &Options::default()).expect_err("a limit");
    golden("unknown_size", &render::refusals(&refusals(&World::empty("webgui"), &spec)));

    let mut full = World::empty("webgui");
    let catalogue = full.real.catalogue.as_mut().expect("one");
    catalogue.account = Some(Account { droplet_limit: 2, reserved_ip_limit: 0 });
    catalogue.images.insert("ubuntu-24-04-x64".to_owned(), None);
    golden("limits_reached", &render::refusals(&refusals(&full, &webgui("1.0"))));
}

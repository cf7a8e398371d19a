//! From nothing to a stack that serves, and to nothing again: what is there, what it cost, how long it took.

use std::time::Duration;

use seachange_core::address::Address;
use seachange_core::plan::{Effect, Plan};
use seachange_core::release::Phase;
use seachange_core::state::State;
use seachange_engine::{Need, Wanted, observe};

use crate::plans::{ZONE, digest, missing, plan, run};
use crate::world::{ADDRESS, BOOT, LATENCY, READY, World};

#[tokio::test(start_paused = true)]
async fn the_first_apply_makes_the_stack_serve_about_as_fast_as_the_cloud_can() {
    let world = World::new();
    let record = run(&world, missing).await;
    assert!(record.succeeded(), "{:#?}", record.failures().collect::<Vec<_>>());
    assert_eq!(record.release, Some(Phase::Completed));
    assert_eq!(world.inner().violations, [""; 0]);
    assert_eq!(world.live().as_deref(), Some("webgui-worker-01"));
    assert_eq!(world.runs("webgui-worker-01").as_deref(), Some(digest('1').as_str()));
    assert_eq!(
        world.roles(),
        [
            ("webgui-worker-01".to_owned(), vec!["PROD".to_owned()]),
            ("webgui-worker-02".to_owned(), vec!["FALLBACK".to_owned()]),
        ]
    );
    let state = world.durable().unwrap();
    assert_eq!(state.serial, record.serial);
    assert!(state.pending.is_empty() && state.transition.is_none());
    assert_eq!((state.resources.len(), state.releases.len()), (7, 1));
    assert_eq!(state.deployed[&1].digest, digest('1'));
    assert!(state.workers().all(|(_, worker)| worker.ready && worker.host_key.is_some()));

    // Look for the key, create it, create the droplets, boot, first boot, pull, container, gate; then the tags.
    let pull_and_gate = Duration::from_secs(3 + 4);
    let critical = LATENCY * 10 + BOOT + ADDRESS + READY + pull_and_gate;
    assert!(record.took <= critical.mul_f64(1.1), "{:?} of {critical:?}", record.took);
    assert!(record.requests <= 80, "{} requests", record.requests);
    assert!(record.commits <= 25, "{} commits", record.commits);
}

#[tokio::test(start_paused = true)]
async fn somebody_else_at_the_first_contact_ends_the_run_before_anything_secret_is_sent() {
    let world = World::new();
    world.inner().impostor = true;
    let record = run(&world, missing).await;
    let failures: Vec<_> = record.failures().collect();
    assert!(!failures.is_empty());
    for failure in &failures {
        let causes = failure.causes.join(" ");
        for part in ["another host key", "ssh-ed25519 first", "ssh-ed25519 stranger"] {
            assert!(causes.contains(part), "{failure:?}");
        }
        assert!(failure.help.as_ref().unwrap().contains("apply --replace"), "{failure:?}");
    }
    let inner = world.inner();
    assert!(inner.containers.is_empty() && inner.configs.is_empty() && inner.own_keys.is_empty());
    drop(inner);
    let state = world.durable().unwrap();
    assert!(state.workers().all(|(_, worker)| !worker.ready && worker.next_host_key.is_none()));
    assert!(state.workers().all(|(_, worker)| worker.host_key.is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_second_apply_has_nothing_to_do_and_a_plan_for_another_state_is_refused() {
    let world = World::new();
    run(&world, missing).await;
    let changes = world.inner().changes;
    let record = run(&world, missing).await;
    assert_eq!((record.steps.len(), record.commits, world.inner().changes), (0, 0, changes));

    let lease = crate::world::lease(&world.log(), &world).await;
    let context = world.context();
    let journal = seachange_engine::Journal::open(&context, &lease).await.unwrap();
    let mut stale = missing(&journal.state());
    stale.serial -= 1;
    let secrets = seachange_engine::AppSecrets::default();
    let refused = seachange_engine::apply(&context, &journal, &stale, &secrets).await;
    assert!(matches!(refused, Err(seachange_engine::ApplyError::Stale { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_workers_cost_a_few_hundred_requests_and_one_boot() {
    let world = World::new();
    let many = |state: &State| {
        let Effect::CreateDroplets { template, .. } = missing(state).steps[1].effect.clone() else {
            panic!("the second step creates the workers")
        };
        let mut steps = Vec::new();
        for batch in 0..100_u32 {
            let addresses = (1..=10).map(|number| Address::Worker(batch * 10 + number)).collect();
            steps.push((Effect::CreateDroplets { addresses, template: template.clone() }, vec![]));
        }
        for worker in 1..=1000_u32 {
            let created = usize::try_from((worker - 1) / 10).unwrap();
            let address = Address::Worker(worker);
            steps.push((Effect::PrepareHost { address }, vec![created]));
        }
        plan(state, steps, None)
    };
    let record = run(&world, many).await;
    assert!(record.succeeded());
    assert_eq!(world.inner().droplets.len(), 1000);
    assert!(record.requests <= 350, "{} requests", record.requests);
    let critical = BOOT + ADDRESS + READY;
    assert!(record.took <= critical.mul_f64(1.25), "{:?} of {critical:?}", record.took);
    assert_eq!(world.durable().unwrap().workers().filter(|(_, worker)| worker.ready).count(), 1000);
}

/// Everything the state knows, deleted.
fn destroy(state: &State) -> Plan {
    let mut steps = Vec::new();
    if let Some(ip) = state.floating_ip() {
        steps.push((Effect::DeleteFloatingIp { ip }, vec![]));
    }
    steps.push((Effect::DeleteZone { zone: ZONE.to_owned() }, vec![]));
    steps.push((Effect::Forget { address: Address::Record("www".to_owned()) }, vec![1]));
    for (address, resource) in &state.resources {
        match resource {
            seachange_core::state::Resource::Droplet(droplet) => {
                let (address, droplet) = (address.clone(), droplet.id);
                steps.push((Effect::DeleteDroplet { address, droplet }, vec![0]));
            }
            seachange_core::state::Resource::SshKey { id, .. } => {
                steps.push((Effect::DeleteSshKey { name: "deploy".to_owned(), id: *id }, vec![]));
            }
            _ => {}
        }
    }
    plan(state, steps, None)
}

#[tokio::test(start_paused = true)]
async fn destroy_leaves_nothing() {
    let world = World::new();
    run(&world, missing).await;
    let record = run(&world, destroy).await;
    assert!(record.succeeded(), "{:#?}", record.failures().collect::<Vec<_>>());
    assert!(world.durable().unwrap().is_empty());
    let inner = world.inner();
    assert!(inner.droplets.is_empty() && inner.ips.is_empty() && inner.keys.is_empty());
    assert!(inner.zones.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refresh_costs_lists_and_asks_by_id_before_it_misses_a_droplet() {
    let world = World::new();
    run(&world, missing).await;
    let state = world.durable().unwrap();
    let wanted = Wanted {
        zones: vec![ZONE.to_owned(), "other.example".to_owned()],
        hosts: true,
        catalogue: Need::IfMissing {
            workers: 2,
            load_balancer: true,
            sizes: vec!["s-1vcpu-1gb".to_owned()],
            images: vec![],
        },
        ..Wanted::default()
    };
    let before = world.inner().requests;
    let observed = observe(&world.context(), &wanted, &state).await.unwrap();
    assert_eq!(world.inner().requests - before, 5, "droplets, addresses, two zones, one key");
    assert_eq!((observed.droplets.len(), observed.hosts.len()), (3, 3));
    assert_eq!(observed.zones["other.example"], None);
    assert!(observed.catalogue.is_none(), "nothing is missing");

    // Somebody took the owner tag off: the droplet is still there.
    let worker = state.droplet(&Address::Worker(2)).unwrap().id;
    world.inner().droplets.get_mut(&worker).unwrap().0.tags = Some(Vec::new());
    let observed = observe(&world.context(), &wanted, &state).await.unwrap();
    assert!(observed.droplets.contains_key(&worker));
    world.inner().droplets.remove(&worker);
    let observed = observe(&world.context(), &wanted, &state).await.unwrap();
    assert!(!observed.droplets.contains_key(&worker) && observed.catalogue.is_some());
}

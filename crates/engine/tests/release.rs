//! Swaps and rollbacks: what users get at every end, and at every death on the way.

use seachange_core::event::Event;
use seachange_core::plan::{Effect, Plan};
use seachange_core::release::{Kind, Phase};
use seachange_core::run::RunRecord;
use seachange_core::state::State;
use seachange_engine::AppSecrets;

use crate::plans::{digest, missing, plan, release, run, run_with};
use crate::world::{Fault, World};

const ONE: &str = "webgui-worker-01";
const TWO: &str = "webgui-worker-02";

/// Release 2… on worker 2, live is worker 1.
fn swap(state: &State) -> Plan {
    plan(state, vec![(Effect::Release, vec![])], Some(release(Kind::Swap, '2', Some(1), 2)))
}

/// Back to 1… on worker 1, live is worker 2.
fn rollback(state: &State) -> Plan {
    plan(state, vec![(Effect::Release, vec![])], Some(release(Kind::Rollback, '1', Some(2), 1)))
}

/// A stack with 1… live on worker 1.
async fn serving() -> World {
    let world = World::new();
    let record = run(&world, missing).await;
    assert!(record.succeeded());
    {
        let mut inner = world.inner();
        inner.changes = 0;
        inner.trace.clear();
        inner.events.clear();
    }
    world
}

fn roles(live: &str, other: &str) -> Vec<(String, Vec<String>)> {
    let mut roles = vec![
        (live.to_owned(), vec!["PROD".to_owned()]),
        (other.to_owned(), vec!["FALLBACK".to_owned()]),
    ];
    roles.sort();
    roles
}

/// At rest: users are on this worker, tags and state agree, and nothing forbidden happened.
fn at_rest(world: &World, live: &str, other: &str, told: &str) {
    assert_eq!(world.inner().violations, [""; 0], "{told}");
    assert_eq!(world.live().as_deref(), Some(live), "{told}");
    assert_eq!(world.roles(), roles(live, other), "{told}");
    let state = world.durable().unwrap();
    assert!(state.transition.is_none() && state.pending.is_empty(), "{told}");
}

fn failure(record: &RunRecord) -> &seachange_core::run::Failure {
    record.failures().next().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_swap_stages_gates_moves_once_and_retags_in_order() {
    let world = serving().await;
    let secrets = AppSecrets { checks: vec![vec!["true".to_owned()]], ..AppSecrets::default() };
    let record = run_with(&world, swap, &secrets).await;
    assert!(record.succeeded(), "{:#?}", failure(&record));
    at_rest(&world, TWO, ONE, "swap");
    assert_eq!(world.runs(ONE).as_deref(), Some(digest('1').as_str()), "warm, to roll back to");
    let trace: Vec<String> = world
        .inner()
        .trace
        .iter()
        .map(|what| what.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        trace,
        [
            "container sha256:2222…",
            "assign 203.0.113.5",
            "tag PROD",
            "untag PROD",
            "tag FALLBACK",
            "untag FALLBACK"
        ]
    );
    let phases: Vec<Phase> = world
        .inner()
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Phase { phase } => Some(*phase),
            _ => None,
        })
        .collect();
    use Phase::{Gating, Recording, Retagging, Staging, Switching, Verifying};
    assert_eq!(phases, [Staging, Gating, Switching, Verifying, Retagging, Recording]);
    let environment = world.checks.lock().unwrap()[0].clone();
    let names: Vec<&str> = environment.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[0], "SEACHANGE_CANDIDATE_ADDRESS");
    assert!(environment.contains(&("SEACHANGE_WORKER".to_owned(), "2".to_owned())));
    let state = world.durable().unwrap();
    let numbers: Vec<_> = state.releases.iter().map(|one| (one.number, one.worker)).collect();
    assert_eq!(numbers, [(1, 1), (2, 2)]);
    assert!(record.requests <= 30, "{} requests", record.requests);

    let record = run(&world, rollback).await;
    assert!(record.succeeded(), "{:#?}", failure(&record));
    at_rest(&world, ONE, TWO, "rollback");
    assert_eq!(world.durable().unwrap().releases[2].kind, Kind::Rollback);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_ends_ends_the_gate_at_once_with_its_last_words() {
    let world = serving().await;
    world.inner().crashing.insert(digest('2').to_string());
    let record = run(&world, swap).await;
    assert_eq!(record.release, Some(Phase::Aborted));
    let failure = failure(&record);
    assert_eq!(failure.causes, ["it exited with code 137"]);
    assert_eq!(
        failure.evidence,
        [
            "last probe: connection refused",
            "container: exited with code 137",
            "last 50 lines of its log:",
            "  out of memory"
        ]
    );
    assert!(failure.help.as_deref().unwrap().contains("seachange logs droplet.worker[2]"));
    assert!(record.took.as_secs() < 10, "it did not wait for the deadline: {:?}", record.took);
    at_rest(&world, ONE, TWO, "aborted");
}

#[tokio::test(start_paused = true)]
async fn successes_count_only_in_a_row() {
    let world = serving().await;
    world.inner().flapping = true;
    let record = run(&world, swap).await;
    assert_eq!(failure(&record).causes, ["it did not answer 3 × 200 in a row within 30 s"]);
    at_rest(&world, ONE, TWO, "flapping");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_says_no_keeps_users_where_they_are() {
    let world = serving().await;
    let secrets = AppSecrets { checks: vec![vec!["false".to_owned()]], ..AppSecrets::default() };
    let record = run_with(&world, swap, &secrets).await;
    assert_eq!(failure(&record).causes, ["`false` exited with 1"]);
    assert_eq!(failure(&record).evidence, ["smoke"]);
    at_rest(&world, ONE, TWO, "aborted");
}

#[tokio::test(start_paused = true)]
async fn what_users_would_see_wrong_is_switched_back_in_the_same_run() {
    let world = serving().await;
    world.inner().broken_outside.insert(digest('2').to_string());
    let record = run(&world, swap).await;
    assert_eq!(record.release, Some(Phase::Reverted));
    assert_eq!(failure(&record).causes, ["no 200 within 20 s"]);
    at_rest(&world, ONE, TWO, "reverted");
    assert_eq!(world.durable().unwrap().releases.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_somebody_moved_ends_a_release_before_it_moves_it() {
    let world = serving().await;
    let ip = *world.inner().ips.keys().next().unwrap();
    let balancer = {
        let inner = world.inner();
        let found = inner.droplets.values().find(|(droplet, ..)| droplet.name.contains("balancer"));
        found.unwrap().0.id
    };
    let (record, ()) = tokio::join!(run(&world, swap), async {
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        world.inner().ips.insert(ip, (Some(balancer), None));
    });
    assert_eq!(record.release, Some(Phase::Aborted));
    assert!(failure(&record).causes[0].contains("somebody moved it"), "{:?}", failure(&record));
    assert!(!world.inner().trace.iter().any(|what| what.starts_with("assign")));
}

#[tokio::test(start_paused = true)]
async fn an_assign_that_takes_no_effect_is_not_taken_for_done() {
    let world = serving().await;
    world.inner().stuck = true;
    let record = run(&world, swap).await;
    assert_eq!(record.release, Some(Phase::Aborted), "{record:#?}");
    at_rest(&world, ONE, TWO, "stuck");
}

#[tokio::test(start_paused = true)]
async fn a_rollback_never_makes_a_container_anew() {
    let world = serving().await;
    run(&world, swap).await;
    let gone = {
        let mut inner = world.inner();
        let one = inner.droplets.values().find(|(droplet, ..)| droplet.name == ONE);
        let ipv4 = one.unwrap().0.public_ipv4.unwrap();
        inner.containers.remove(&ipv4)
    };
    assert!(gone.is_some());
    let record = run(&world, rollback).await;
    assert!(failure(&record).causes[0].contains("is not there any more"));
    at_rest(&world, TWO, ONE, "refused");
}

#[tokio::test(start_paused = true)]
async fn after_a_death_at_any_changing_request_the_next_run_ends_the_release() {
    let changes = {
        let world = serving().await;
        run(&world, swap).await;
        world.inner().changes
    };
    assert_eq!(changes, 6);
    for at in 1..=changes {
        for fault in [Fault::DieBefore, Fault::DieAfter] {
            let told = format!("{fault:?} at {at}");
            let world = serving().await;
            world.inner().faults.insert(at, fault);
            tokio::select! {
                record = run(&world, swap) => panic!("{told}: it lived, {record:?}"),
                () = world.died() => {}
            }
            world.unlock().await;
            let record = run(&world, swap).await;
            assert!(record.succeeded(), "{told}: {:#?}", failure(&record));
            at_rest(&world, TWO, ONE, &told);
            assert_eq!(world.durable().unwrap().releases.len(), 2, "{told}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_earlier_events_do_not_end_a_release() {
    for at in 2..=6 {
        for fault in [Fault::Lost, Fault::AnswerLost, Fault::Pending] {
            let told = format!("{fault:?} at {at}");
            let world = serving().await;
            world.inner().faults.insert(at, fault);
            let record = run(&world, swap).await;
            assert!(record.succeeded(), "{told}: {:#?}", failure(&record));
            at_rest(&world, TWO, ONE, &told);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_parks_before_the_switch_and_goes_forward_after_it() {
    for second in 0..25 {
        let told = format!("stopped after {second} s");
        let mut world = serving().await;
        let stop = world.stop.clone();
        let (record, ()) = tokio::join!(run(&world, swap), async {
            tokio::time::sleep(std::time::Duration::from_secs(second)).await;
            stop.request();
        });
        let assigned = world.inner().trace.iter().any(|what| what.starts_with("assign"));
        if assigned {
            assert!(record.succeeded(), "{told}: {record:#?}");
            at_rest(&world, TWO, ONE, &told);
            continue;
        }
        assert!(record.stopped, "{told}: {record:#?}");
        assert_eq!(world.live().as_deref(), Some(ONE), "{told}");
        world.stop = seachange_engine::Stop::new();
        let record = run(&world, swap).await;
        assert!(record.succeeded(), "{told}: {:#?}", failure(&record));
        at_rest(&world, TWO, ONE, &told);
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_warmed_only_where_users_are_not() {
    let world = serving().await;
    let warm = |worker| {
        move |state: &State| {
            let ready = release(Kind::Swap, '2', Some(1), worker);
            let (image, digest, config) = (ready.image, ready.digest, ready.config);
            let settings = ready.settings;
            plan(
                state,
                vec![(Effect::Warm { worker, image, digest, config, settings }, vec![])],
                None,
            )
        }
    };
    let record = run(&world, warm(1)).await;
    assert!(failure(&record).causes[0].contains("users are on it"));
    assert_eq!(world.inner().trace, [""; 0]);
    world.inner().crashing.insert(digest('2').to_string());
    let record = run(&world, warm(2)).await;
    assert_eq!(failure(&record).causes, ["it exited with code 137"]);
    at_rest(&world, ONE, TWO, "not warm");
    assert_eq!(world.durable().unwrap().deployed.get(&2), None, "it does not count");
    world.inner().crashing.clear();
    let record = run(&world, warm(2)).await;
    assert!(record.succeeded(), "{:#?}", failure(&record));
    at_rest(&world, ONE, TWO, "warm");
    assert_eq!(world.durable().unwrap().deployed[&2].digest, digest('2'));
}

#[tokio::test(start_paused = true)]
async fn another_image_may_take_the_place_of_a_release_that_no_user_saw() {
    let other = |state: &State| {
        plan(state, vec![(Effect::Release, vec![])], Some(release(Kind::Swap, '3', Some(1), 2)))
    };
    let world = serving().await;
    world.inner().faults.insert(1, Fault::DieAfter);
    tokio::select! {
        _ = run(&world, swap) => panic!("it lived"),
        () = world.died() => {}
    }
    let record = run(&world, other).await;
    assert!(record.succeeded(), "{:#?}", failure(&record));
    at_rest(&world, TWO, ONE, "3 instead of 2");
    assert_eq!(world.runs(TWO).as_deref(), Some(digest('3').as_str()));

    // Past the switch users are on it: it must be finished first.
    let world = serving().await;
    world.inner().faults.insert(3, Fault::DieBefore);
    tokio::select! {
        _ = run(&world, swap) => panic!("it lived"),
        () = world.died() => {}
    }
    let record = run(&world, other).await;
    assert!(failure(&record).causes[0].contains("past the switch"), "{record:#?}");
    assert_eq!(world.runs(TWO).as_deref(), Some(digest('2').as_str()));
    assert_eq!(world.inner().violations, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_assign_that_a_dead_run_sent_is_waited_for_before_anybody_judges() {
    // Dead right after the assign was accepted: the address still points to the old worker, and is about to move.
    let world = serving().await;
    world.inner().faults.insert(2, Fault::DieAfter);
    tokio::select! {
        _ = run(&world, swap) => panic!("it lived"),
        () = world.died() => {}
    }
    let other = |state: &State| {
        plan(state, vec![(Effect::Release, vec![])], Some(release(Kind::Swap, '3', Some(1), 2)))
    };
    let lease = {
        let epoch = world.log().holder().await.unwrap().unwrap().epoch;
        world.log().unlock(epoch).await.unwrap();
        crate::world::lease(&world.log(), &world).await
    };
    let context = world.context();
    let journal = seachange_engine::Journal::open(&context, &lease).await.unwrap();
    let planned = other(&journal.state());
    let record =
        seachange_engine::apply(&context, &journal, &planned, &AppSecrets::default()).await;
    let record = record.unwrap();
    assert!(failure(&record).causes[0].contains("past the switch"), "{record:#?}");
    assert_eq!(world.runs(TWO).as_deref(), Some(digest('2').as_str()), "users are on it by now");
    assert_eq!(world.inner().violations, [""; 0]);
}

//! The crash matrix: every changing call of every kind of run × everything that can go wrong with it, once and twice in a
//! row. After one further run the world is as planned, nothing is there twice, nothing is left over, and users were served
//! all the time.

#![expect(clippy::unwrap_used, reason = "the whole binary is tests")]

mod doors;
mod generated;
mod stage;
mod watch;

use seachange_core::address::Address;
use seachange_core::release::Phase;
use seachange_core::state::{Droplet, Resource};
use seachange_local_cloud::fault::{Effect, Faults, Rule};
use seachange_local_cloud::in_process_host::served;

use stage::{LARGE, PORT, SMALL, Stage, Wish};
use watch::{Bug, Fault};

const FIRST: Wish = Wish::Apply { version: "1.0", size: SMALL };
const SWAP: Wish = Wish::Apply { version: "1.1", size: SMALL };
const REFUSED: Wish = Wish::Refused { version: "1.1" };
const REBUILD: Wish = Wish::Apply { version: "1.1", size: LARGE };

/// Where a kind of run begins, after these runs, and what it is for.
const RUNS: [(&str, &[Wish], Wish); 7] = [
    ("first apply", &[], FIRST),
    ("no-op", &[FIRST], FIRST),
    ("swap", &[FIRST], SWAP),
    ("swap that users see to be wrong", &[FIRST], REFUSED),
    ("rollback", &[FIRST, SWAP], Wish::Rollback),
    ("rebuild of the workers", &[FIRST, SWAP], REBUILD),
    ("destroy", &[FIRST], Wish::Destroy),
];

/// After these runs, all of which end well.
async fn after(runs: &[Wish]) -> Stage {
    let stage = Stage::new().await;
    for wish in runs {
        let record = stage.run(*wish, None).await.unwrap();
        assert!(record.succeeded(), "{wish:?}: {:?}", record.failures().collect::<Vec<_>>());
    }
    stage
}

/// Strikes the runs of a case one after the other, and lets the next one be. What is wrong afterwards.
async fn case(base: &Stage, wish: Wish, strikes: &[(u32, Fault)], bug: Option<Bug>) -> Vec<String> {
    let stage = base.fork(bug).await;
    if wish == Wish::Destroy {
        stage.watch.promise_nothing();
    }
    for strike in strikes {
        stage.run(wish, Some(*strike)).await;
    }
    let mut last = wish;
    let is_under_way = stage.watch.durable().transition.is_some();
    match wish {
        // What it left half done may be done already, or undone: then the spec of before is what is asked for.
        Wish::Rollback if !is_under_way => last = FIRST,
        // Its end is that it failed, whoever brings it there.
        Wish::Refused { .. } => {
            if is_under_way {
                stage.run(FIRST, None).await;
            }
            last = FIRST;
        }
        _ => {}
    }
    let record = stage.run(last, None).await;
    let mut wrong = stage.faults_at_rest(wish).await;
    match record {
        Some(record) if record.succeeded() => {}
        Some(record) => wrong.push(format!("{:?}", record.failures().collect::<Vec<_>>())),
        None => wrong.push("the further run did not end".to_owned()),
    }
    wrong
}

#[tokio::test(start_paused = true)]
async fn every_changing_call_of_every_kind_of_run_may_fail_in_every_way() {
    let (mut cases, mut wrong) = (0, Vec::new());
    for (name, before, wish) in RUNS {
        let base = after(before).await;
        let whole = base.fork(None).await;
        if wish == Wish::Destroy {
            whole.watch.promise_nothing();
        }
        let record = whole.run(wish, None).await.unwrap();
        let failures: Vec<_> = record.failures().collect();
        assert_eq!(record.succeeded(), wish != REFUSED, "{name}: {failures:?}");
        let calls = whole.watch.calls();
        assert_eq!(whole.faults_at_rest(wish).await, [""; 0], "{name}");
        for at in 1..=calls {
            for fault in Fault::ALL {
                for times in [1, 2] {
                    let strikes = vec![(at, fault); times];
                    cases += 1;
                    let found = case(&base, wish, &strikes, None).await;
                    if !found.is_empty() {
                        wrong.push(format!("{name}, call {at}, {fault:?} × {times}: {found:#?}"));
                    }
                }
            }
        }
        println!("{name}: {calls} changing calls");
    }
    println!("crash matrix: {cases} cases, {} of them end badly", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong[..wrong.len().min(20)].join("\n"));
    assert!(cases >= 1_000, "{cases} cases");
}

#[tokio::test(start_paused = true)]
async fn the_worker_that_users_were_sent_round_to_is_not_touched_while_they_cannot_be_led_away() {
    let base = after(&[FIRST]).await;
    let mut killed = None;
    for at in 1.. {
        let stage = base.fork(None).await;
        assert_eq!(
            stage.run(SWAP, Some((at, Fault::KilledAfter))).await,
            None,
            "it took no detour"
        );
        let taken = stage.watch.detour();
        if taken.is_some() {
            killed = taken.zip(Some(stage));
            break;
        }
    }
    let (worker, stage) = killed.unwrap();
    let state = stage.watch.durable();
    assert_eq!(state.transition.unwrap().phase, Phase::Switching);
    let balancer = state.resources[&Address::LoadBalancer].clone();
    let Resource::Droplet(Droplet { ipv4: Some(balancer), .. }) = balancer else { panic!() };
    let unreachable = Rule {
        times: u32::MAX,
        ..Rule::next("HOST", &format!("/hosts/{balancer}/**"), Effect::fail(500))
    };
    stage.watch.world.with_faults(|faults| faults.add(unreachable));

    let another = Wish::Apply { version: "1.2", size: SMALL };
    assert_eq!(stage.run(another, None).await, None, "it is refused");
    assert_eq!(served(&stage.watch.world, worker, PORT).as_deref(), Some("1.1"));
    stage.watch.world.with_faults(Faults::clear);
    assert!(stage.run(another, None).await.unwrap().succeeded());
    assert_eq!(stage.faults_at_rest(another).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn bugs_that_were_put_in_are_found() {
    let base = after(&[FIRST]).await;
    let nothing = Stage::new().await;
    let lost = [(1, Fault::DroppedAfter)];
    for (bug, base, wish, strikes) in [
        (Bug::ResendsCreates, &nothing, FIRST, &lost[..]),
        (Bug::ForgetsToWrite, &base, SWAP, &[]),
        (Bug::MovesEarly, &base, SWAP, &[]),
    ] {
        assert_ne!(case(base, wish, strikes, Some(bug)).await, [""; 0], "{bug:?} is not found");
        assert_eq!(case(base, wish, strikes, None).await, [""; 0], "{bug:?} is not put in");
    }
}

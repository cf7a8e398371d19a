//! Worlds that nobody thought of: any sequence of runs, each struck or not, with a person at work in between. Whatever it
//! was, the next apply makes the stack whole.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{TestRng, TestRunner};
use seachange_core::cloud::Cloud as _;
use seachange_core::names::PROD;
use seachange_local_cloud::in_process::InProcess;

use crate::stage::{LARGE, SMALL, Stage, Wish};
use crate::watch::Fault;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Happening {
    /// A command, perhaps struck at one of its changing calls.
    Run(Wish, Option<(u32, Fault)>),
    /// Somebody does something by hand.
    Hand(Hand),
}

#[derive(Debug, Clone, Copy)]
enum Hand {
    /// The floating IP is moved to the other worker.
    MovesTheAddress,
    /// PROD is deleted from the account.
    DeletesTheTag,
    /// A droplet that is not live is deleted.
    DeletesAStandby,
    /// Records of the zone are deleted.
    DeletesTheZone,
}

fn happening() -> impl Strategy<Value = Happening> {
    let version = prop_oneof![Just("1.0"), Just("1.1")];
    let size = prop_oneof![3 => Just(SMALL), 1 => Just(LARGE)];
    let wish = prop_oneof![
        4 => (version, size).prop_map(|(version, size)| Wish::Apply { version, size }),
        1 => Just(Wish::Rollback),
    ];
    let fault = prop::sample::select(&Fault::ALL[..]);
    let strike = prop_oneof![1 => Just(None), 2 => (1..14_u32, fault).prop_map(Some)];
    let hand = prop_oneof![
        Just(Hand::MovesTheAddress),
        Just(Hand::DeletesTheTag),
        Just(Hand::DeletesAStandby),
        Just(Hand::DeletesTheZone),
    ];
    prop_oneof![
        4 => (wish, strike).prop_map(|(wish, strike)| Happening::Run(wish, strike)),
        1 => hand.prop_map(Happening::Hand),
    ]
}

/// What a person does, through the API as anybody would.
async fn meddle(stage: &Stage, hand: Hand) {
    let world = &stage.watch.world;
    let client = InProcess::new(Arc::clone(world), Duration::ZERO);
    let workers = client.droplets_by_tag("seachange:webgui").await.unwrap();
    let mut workers = workers.iter().filter(|droplet| droplet.name.contains("worker"));
    let live = client.reserved_ips().await.unwrap().first().and_then(|ip| ip.droplet);
    match hand {
        Hand::MovesTheAddress => {
            let other = workers.find(|droplet| Some(droplet.id) != live);
            let ip = client.reserved_ips().await.unwrap().first().map(|ip| ip.ip);
            if let (Some(other), Some(ip)) = (other, ip) {
                drop(client.assign_reserved_ip(ip, other.id).await);
            }
        }
        Hand::DeletesTheTag => drop(client.delete_tag(PROD).await),
        // Where no address points anywhere yet, the first worker is no standby.
        Hand::DeletesAStandby => {
            if let Some(standby) =
                workers.find(|droplet| live.is_some_and(|live| droplet.id != live))
            {
                drop(client.delete_droplet(standby.id).await);
            }
        }
        Hand::DeletesTheZone => drop(client.delete_zone("gotcha-app.de").await),
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    stage.watch.begin_anew();
}

/// Everything that happens, and then one apply that nothing happens to.
async fn story(happenings: &[Happening]) -> Vec<String> {
    let stage = Stage::new().await;
    for happening in happenings {
        match happening {
            Happening::Run(wish, strike) => drop(stage.run(*wish, *strike).await),
            Happening::Hand(hand) => meddle(&stage, *hand).await,
        }
    }
    let wish = Wish::Apply { version: "1.1", size: SMALL };
    let record = stage.run(wish, None).await;
    let mut wrong = stage.faults_at_rest(wish).await;
    match record {
        Some(record) if record.succeeded() => {}
        Some(record) => wrong.push(format!("{:?}", record.failures().collect::<Vec<_>>())),
        None => wrong.push("the last run did not end".to_owned()),
    }
    wrong
}

fn tell(happenings: &[Happening]) -> Vec<String> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(story(happenings))
}

#[test]
fn what_once_ended_badly_ends_well() {
    use Happening::Run;
    let apply = |version, size| Wish::Apply { version, size };
    for happenings in [
        // The address is reserved, and does not come to point anywhere.
        vec![Run(apply("1.0", SMALL), Some((5, Fault::ActionErrors)))],
        // A rollback is killed while the address moves.
        vec![
            Run(apply("1.0", SMALL), None),
            Run(apply("1.1", SMALL), None),
            Run(Wish::Rollback, Some((2, Fault::KilledAfter))),
            Run(Wish::Rollback, None),
        ],
        // Workers are to be rebuilt, and the release between them is killed.
        vec![
            Run(apply("1.0", SMALL), None),
            Run(apply("1.1", LARGE), Some((2, Fault::KilledBefore))),
        ],
    ] {
        assert_eq!(tell(&happenings), [""; 0], "{happenings:?}");
    }
}

#[test]
fn whatever_happened_the_next_apply_makes_the_stack_whole() {
    let config =
        ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(&prop::collection::vec(happening(), 1..7), |happenings| {
        let wrong = tell(&happenings);
        prop_assert!(wrong.is_empty(), "{wrong:#?}");
        Ok(())
    });
    assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
}

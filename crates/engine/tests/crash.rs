//! A run that is stopped is parked, and a run that was robbed of its lock changes nothing more. What happens to runs that
//! are killed or failed is in `tests/matrix`.

use crate::plans::{ZONE, digest, missing, run};
use crate::world::World;

/// What a finished stack must be, whatever happened on the way.
fn is_whole(world: &World, told: &str) {
    let inner = world.inner();
    assert_eq!(inner.violations, [""; 0], "{told}");
    let mut names: Vec<_> =
        inner.droplets.values().map(|(droplet, ..)| droplet.name.as_str()).collect();
    names.sort_unstable();
    let whole = ["webgui-load-balancer", "webgui-worker-01", "webgui-worker-02"];
    assert_eq!(names, whole, "{told}");
    assert_eq!((inner.ips.len(), inner.keys.len()), (1, 1), "{told}");
    assert_eq!(inner.zones[ZONE].len(), 1, "{told}");
    drop(inner);
    assert_eq!(world.live().as_deref(), Some("webgui-worker-01"), "{told}");
    assert_eq!(world.runs("webgui-worker-01").as_deref(), Some(digest('1').as_str()), "{told}");
    let state = world.durable().unwrap();
    assert!(state.pending.is_empty() && state.transition.is_none(), "{told}");
    assert_eq!(state.releases.len(), 1, "{told}");
    for (_, worker) in state.workers() {
        assert_eq!(worker.ssh_keys, ["fp:key"], "{told}: what the cloud never gives back");
        assert!(worker.user_data.is_some(), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_at_any_second_parks_the_run_and_the_next_one_goes_on() {
    for second in [0, 1, 3, 20, 41, 60, 100, 104, 107, 109] {
        let told = format!("stopped after {second} s");
        let mut world = World::new();
        let record = {
            let stop = world.stop.clone();
            let told_to_stop = async {
                tokio::time::sleep(std::time::Duration::from_secs(second)).await;
                stop.request();
            };
            let began = tokio::time::Instant::now();
            let (record, ()) = tokio::join!(run(&world, missing), told_to_stop);
            let parked = began.elapsed().saturating_sub(std::time::Duration::from_secs(second));
            // What CI gives a cancelled job before it kills it.
            assert!(parked <= std::time::Duration::from_secs(5), "{told}: parked after {parked:?}");
            record
        };
        assert!(record.stopped || record.succeeded(), "{told}: {record:#?}");
        assert!(record.failures().next().is_none(), "{told}: {record:#?}");
        world.stop = seachange_engine::Stop::new();
        let record = run(&world, missing).await;
        assert!(record.succeeded(), "{told}: {:#?}", record.failures().collect::<Vec<_>>());
        is_whole(&world, &told);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_lost_its_lock_sends_nothing_more() {
    let world = World::new();
    let lease = crate::world::lease(&world.log(), &world).await;
    let context = world.context();
    let journal = seachange_engine::Journal::open(&context, &lease).await.unwrap();
    let plan = missing(&journal.state());
    let secrets = seachange_engine::AppSecrets::default();
    let (ended, before) =
        tokio::join!(seachange_engine::apply(&context, &journal, &plan, &secrets), async {
            tokio::time::sleep(std::time::Duration::from_secs(20)).await;
            world.unlock().await;
            world.inner().changes
        });
    assert!(matches!(ended, Err(seachange_engine::ApplyError::Journal { .. })), "{ended:?}");
    assert_eq!(world.inner().changes, before);
}

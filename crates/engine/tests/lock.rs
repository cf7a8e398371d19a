//! The lock as people meet it: waiting, looking, freezing, ending; and the protocol of courtesy.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use seachange_core::event::Event;
use seachange_core::store::StateStore as _;
use seachange_engine::Context;
use seachange_engine::store::lease::LEASE;
use seachange_engine::store::memory::MemoryStore;
use seachange_engine::store::{Alive, Locking, Log, LogError, Owner};
use tokio::time::{Instant, sleep};

use crate::world::{STACK, World, lease};

const SECOND: Duration = Duration::from_secs(1);

fn log() -> Log {
    Log::new(Arc::new(MemoryStore::new()), STACK)
}

fn owner(by: &str) -> Owner {
    Owner { by: by.to_owned(), operation: "apply".to_owned(), process: None }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_lock_or_with_the_holders_name() {
    let (log, world) = (log(), World::new());
    let one = lease(&log, &world).await;
    let context = world.context();
    let began = Instant::now();
    let refused = log.acquire_within(&context, owner("two"), 30 * SECOND).await;
    assert!(matches!(refused.err(), Some(LogError::Held { epoch: 1, .. })));
    assert!((30 * SECOND..40 * SECOND).contains(&began.elapsed()), "{:?}", began.elapsed());
    let waiting = async { log.acquire_within(&context, owner("two"), 600 * SECOND).await.unwrap() };
    let releasing = async {
        sleep(100 * SECOND).await;
        one.release().await.unwrap();
        Instant::now()
    };
    let (two, released) = tokio::join!(waiting, releasing);
    assert_eq!(two.holding().epoch(), 2);
    assert!(released.elapsed() <= 2 * SECOND, "{:?}", released.elapsed());
    let notes =
        world.inner().events.iter().filter(|event| matches!(event, Event::Note { .. })).count();
    assert_eq!(notes, 2, "each wait is told once");
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_wait() {
    let (log, world) = (log(), World::new());
    let _one = lease(&log, &world).await;
    world.stop.request();
    let stopped = log.acquire_within(&world.context(), owner("two"), 600 * SECOND).await;
    assert!(matches!(stopped.err(), Some(LogError::Stopped { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_persons_lock_outlasts_every_lease_and_ends_on_a_persons_word() {
    let (log, world) = (log(), World::new());
    let context = world.context();
    let frozen = log.freeze(&context, owner("ann"), "audit until Friday", SECOND).await.unwrap();
    sleep(LEASE * 100).await;
    let refused = log.acquire_within(&context, owner("two"), LEASE * 3).await.err().unwrap();
    assert!(matches!(refused, LogError::Frozen { .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("ann") && text.contains("audit until Friday"), "{text}");
    let status = log.status(&context, Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(status.holder.message.as_deref(), Some("audit until Friday"));
    assert_eq!((status.alive, status.last_beat_age), (Alive::Yes, None));
    log.unlock(frozen.epoch).await.unwrap();
    assert_eq!(log.status(&context, Duration::ZERO).await.unwrap(), None);
    assert_eq!(lease(&log, &world).await.holding().epoch(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_status_says_whether_the_holder_lives_as_far_as_it_was_watched() {
    let (log, world) = (log(), World::new());
    let context = world.context();
    assert_eq!(log.status(&context, LEASE).await.unwrap(), None);
    let one = lease(&log, &world).await;
    sleep(25 * SECOND).await;
    let alive = async |watched| {
        let status = log.status(&context, watched).await.unwrap().unwrap();
        (status.alive, status.last_beat_age.unwrap().as_secs())
    };
    assert_eq!(alive(Duration::ZERO).await, (Alive::Unknown, 5));
    assert_eq!(alive(12 * SECOND).await.0, Alive::Yes);
    drop(one);
    assert_eq!(alive(12 * SECOND).await.0, Alive::Unknown);
    let (alive, age) = alive(LEASE + 5 * SECOND).await;
    assert_eq!(alive, Alive::No);
    assert!(age >= 60, "{age}");
}

#[tokio::test(start_paused = true)]
async fn a_lock_whose_objects_somebody_deletes_is_lost() {
    let store = MemoryStore::new();
    let (log, world) = (Log::new(Arc::new(store.clone()), STACK), World::new());
    let one = lease(&log, &world).await;
    sleep(SECOND).await;
    for key in store.list(&format!("{STACK}/lock/"), 9).await.unwrap() {
        store.delete(&key).await.unwrap();
    }
    // The same epoch again, held by another.
    let two = lease(&log, &world).await;
    assert_eq!(two.holding().epoch(), one.holding().epoch());
    sleep(15 * SECOND).await;
    assert!(one.holding().must_hold().is_err());
    assert!(two.holding().must_hold().is_ok());
}

#[tokio::test(start_paused = true)]
async fn courtesy_lets_one_of_many_in_and_its_claim_is_all_that_stays() {
    let store = MemoryStore::new();
    let log = Log::new(Arc::new(store.clone()), STACK).with_locking(Locking::Advisory);
    let world = World::new();
    let rivals = (0..6).map(|rival| {
        let (log, world) = (&log, &world);
        async move {
            let context = Context { by: format!("{rival}"), ..world.context() };
            log.acquire(&context, owner(&format!("{rival}"))).await
        }
    });
    let results = join_all(rivals).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let keys = store.list(&format!("{STACK}/lock/"), 99).await.unwrap();
    assert_eq!(keys.len(), 2, "a claim and its beat: {keys:?}");
    let holder = log.holder().await.unwrap().unwrap();
    let winner = results.iter().position(Result::is_ok).unwrap();
    assert_eq!(holder.owner.by, winner.to_string());
}

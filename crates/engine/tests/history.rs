//! The log as history: pruned far below its head, led on from an earlier state, taking what a person pushes; forks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use seachange_core::address::Address;
use seachange_core::journal::{Change, Entry};
use seachange_core::secret::Secret;
use seachange_core::spec::Encryption;
use seachange_core::state::{Resource, State};
use seachange_core::store::{Created, StateStore, StoreError};
use seachange_engine::Journal;
use seachange_engine::seal::{Seal, SealedStore, is_sealed};
use seachange_engine::store::memory::MemoryStore;
use seachange_engine::store::{KEEP, Lease, Locking, Log, LogError, Pruned};
use tokio::time::sleep;

use crate::world::{STACK, World, lease};

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn commits(world: &World, lease: &Lease, count: usize) -> Journal {
    let journal = Journal::open(&world.context(), lease).await.unwrap();
    for _ in 0..count {
        journal.record(Entry::Note { changes: Vec::new() }).await.unwrap();
    }
    journal
}

#[tokio::test(start_paused = true)]
async fn only_what_is_old_and_far_below_the_head_is_pruned() {
    let world = World::new();
    let log = world.log();
    let now = || world.context().clock.now();
    let one = lease(&log, &world).await;
    commits(&world, &one, 30).await;
    sleep(DAY * 2).await;
    commits(&world, &one, 40).await;
    // 20 are beyond the newest 50, and older than a day.
    assert_eq!(log.prune(now(), 0).await.unwrap(), Pruned { states: 20, locks: 0 });
    assert_eq!(log.serials(999).await.unwrap(), (21..=70).rev().collect::<Vec<_>>());
    commits(&world, &one, 40).await;
    // 40 are beyond the newest 50; 30 of them were written just now.
    assert_eq!(log.prune(now(), 0).await.unwrap().states, 10);
    assert_eq!(log.serials(999).await.unwrap().last(), Some(&31));
    sleep(DAY * 2).await;
    assert_eq!(log.prune(now(), 70).await.unwrap().states, 10);
    assert_eq!(log.prune(now(), 1).await.unwrap().states, 70 - KEEP);
    assert_eq!(log.at(1).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn locks_of_long_ago_are_pruned_with_all_that_belongs_to_them() {
    let world = World::new();
    let log = world.log();
    for _ in 0..60 {
        lease(&log, &world).await.release().await.unwrap();
    }
    sleep(DAY * 2).await;
    let held = lease(&log, &world).await;
    let pruned = log.prune(world.context().clock.now(), 0).await.unwrap();
    let keys = world.store.list(&format!("{STACK}/lock/"), 999).await.unwrap();
    assert_eq!(pruned.states, 0);
    assert!(
        pruned.locks >= 22 && keys.iter().all(|key| !key.contains("/999999999998")),
        "{keys:?}"
    );
    sleep(Duration::from_secs(20)).await;
    held.holding().must_hold().unwrap();
    assert_eq!(held.holding().epoch(), 61);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_was_away_while_its_serial_was_pruned_is_told() {
    let world = World::new();
    let log = world.log();
    let one = lease(&log, &world).await;
    let old = commits(&world, &one, 1).await;
    drop(one);
    let two = lease(&log, &world).await;
    drop(commits(&world, &two, 60).await);
    sleep(DAY * 2).await;
    log.prune(world.context().clock.now(), 0).await.unwrap();
    assert_eq!(log.at(2).await.unwrap(), None, "what the old writer wants is free again");
    let told = old.record(Entry::Note { changes: Vec::new() }).await.unwrap_err();
    assert!(matches!(*told.source, LogError::Overtaken { serial: 61, .. }), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_restored_state_is_a_new_serial_and_nothing_is_rewritten() {
    let world = World::new();
    let log = world.log();
    let one = lease(&log, &world).await;
    drop(commits(&world, &one, 5).await);
    let before = log.history(99).await.unwrap();
    let restored = log.restore(&world.context(), &one, 2).await.unwrap();
    assert_eq!(restored, State { serial: 6, ..log.at(2).await.unwrap().unwrap().state });
    let newest = log.newest().await.unwrap().unwrap();
    assert_eq!((newest.state, newest.envelope.parent), (restored, 5));
    assert_eq!(log.history(99).await.unwrap()[1..], before);
    let absent = log.restore(&world.context(), &one, 77).await.unwrap_err();
    assert!(matches!(absent, LogError::Absent { serial: 77, .. }));
}

#[tokio::test(start_paused = true)]
async fn a_pushed_state_must_be_of_the_lineage_and_edited_from_the_newest() {
    let world = World::new();
    let log = world.log();
    let context = world.context();
    let one = lease(&log, &world).await;
    drop(commits(&world, &one, 3).await);
    let pulled = log.head().await.unwrap().unwrap();
    let refused = async |state| match log.push(&context, &one, state).await.unwrap_err() {
        LogError::Unfit { what, .. } => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(State { lineage: "other".to_owned(), ..pulled.clone() }).await, "lineage");
    assert_eq!(refused(State { serial: 2, ..pulled.clone() }).await, "serial");
    assert_eq!(refused(State { stack: "other".to_owned(), ..pulled.clone() }).await, "stack");
    assert_eq!(log.push(&context, &one, pulled.clone()).await.unwrap().serial, 4);
    assert_eq!(refused(pulled).await, "serial");
    log.unlock(1).await.unwrap();
    sleep(Duration::from_secs(15)).await;
    let head = log.head().await.unwrap().unwrap();
    assert!(matches!(log.push(&context, &one, head).await, Err(LogError::Lost { .. })));
}

/// A store that takes no state while it is full.
#[derive(Clone)]
struct Full(MemoryStore, Arc<AtomicBool>);

#[async_trait]
impl StateStore for Full {
    fn name(&self) -> String {
        "full".to_owned()
    }

    async fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        if key.contains("/state/") && self.1.load(Ordering::Relaxed) {
            let (operation, detail) = (format!("create {key}"), "quota".to_owned());
            return Err(StoreError::Refused { store: self.name(), operation, detail });
        }
        self.0.create(key, bytes).await
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key).await
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        self.0.list(prefix, limit).await
    }

    async fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.put(key, bytes).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.0.delete(key).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_that_could_not_be_written_is_handed_over_and_can_be_pushed_later() {
    let full = Arc::new(AtomicBool::new(false));
    let store = Full(MemoryStore::new(), Arc::clone(&full));
    let (log, world) = (Log::new(Arc::new(store), STACK), World::new());
    let one = lease(&log, &world).await;
    let journal = commits(&world, &one, 2).await;
    full.store(true, Ordering::Relaxed);
    let address = Address::Domain("learnt.example".to_owned());
    let changes =
        vec![Change::Put { address: address.clone(), resource: Resource::Domain { ours: true } }];
    journal.record(Entry::Note { changes }).await.unwrap_err();
    let rescued = journal.close();
    assert_eq!(rescued.serial, 2, "what it builds on");
    one.release().await.unwrap();
    full.store(false, Ordering::Relaxed);
    let two = lease(&log, &world).await;
    assert_eq!(log.push(&world.context(), &two, rescued).await.unwrap().serial, 3);
    assert!(log.head().await.unwrap().unwrap().resources.contains_key(&address));
}

#[tokio::test(start_paused = true)]
async fn what_courtesy_writes_is_sealed_too() {
    let store = MemoryStore::new();
    let keys = Encryption {
        passphrase: Some(Secret::new("correct horse")),
        recipients: Vec::new(),
        keys: Vec::new(),
        required: true,
    };
    let seal = Arc::new(Seal::new(&keys).unwrap());
    let sealed = SealedStore::new(Arc::new(store.clone()), seal);
    let log = Log::new(Arc::new(sealed), STACK).with_locking(Locking::Advisory);
    let world = World::new();
    let one = lease(&log, &world).await;
    drop(commits(&world, &one, 1).await);
    let keys = store.list(&format!("{STACK}/state/"), 9).await.unwrap();
    assert!(is_sealed(&store.get(&keys[0]).await.unwrap().unwrap()));
    assert_eq!(log.head().await.unwrap().unwrap().serial, 1);
}

#[tokio::test(start_paused = true)]
async fn a_fork_stops_everybody_names_both_sides_and_is_led_out_of_by_a_person() {
    let store = MemoryStore::new();
    let log = Log::new(Arc::new(store.clone()), STACK).with_locking(Locking::Advisory);
    let world = World::new();
    let one = lease(&log, &world).await;
    let journal = commits(&world, &one, 2).await;
    // Somebody else's commit of the serial that is written next arrives first, and is not seen before.
    let keys = store.list(&format!("{STACK}/state/"), 1).await.unwrap();
    let bytes = store.get(&keys[0]).await.unwrap().unwrap();
    let text = String::from_utf8(bytes).unwrap().replace("tester", "somebody");
    store
        .put(&format!("{}-other", &keys[0][..keys[0].find('-').unwrap()]), text.as_bytes())
        .await
        .unwrap();
    let told = log.newest().await.unwrap_err();
    let LogError::Forked { serial: 2, one: left, other: right, .. } = &told else {
        panic!("{told:?}")
    };
    assert!(left.contains("tester") != right.contains("tester"), "{told}");
    assert!(Journal::open(&world.context(), &one).await.is_err());
    assert_eq!(log.history(9).await.unwrap().len(), 3, "both sides are kept");
    drop(journal);
    let restored = log.restore(&world.context(), &one, 1).await.unwrap();
    assert_eq!(restored.serial, 3);
    assert_eq!(log.head().await.unwrap().unwrap(), restored);
}

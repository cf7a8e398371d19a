//! One suite over every store, then the log and the lease over a store whose answers get lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use seachange_core::journal::{Change, Entry};
use seachange_core::store::{Created, StateStore, StoreError};
use seachange_engine::Journal;
use seachange_engine::store::folder::FolderStore;
use seachange_engine::store::lease::LEASE;
use seachange_engine::store::memory::MemoryStore;
use seachange_engine::store::{Lease, Log, LogError, Owner};
use tokio::time::Instant;

use crate::world::World;

async fn keeps_the_promises_of_a_store(store: Arc<dyn StateStore>) {
    assert_eq!(store.get("s/state/1").await, Ok(None));
    assert_eq!(store.list("s/state/", 5).await, Ok(Vec::new()));
    assert_eq!(store.create("s/state/2", b"two").await, Ok(Created::Yes));
    assert_eq!(store.create("s/state/2", b"other").await, Ok(Created::Taken));
    assert_eq!(store.get("s/state/2").await, Ok(Some(b"two".to_vec())));
    assert_eq!(store.create("s/state/1", b"one").await, Ok(Created::Yes));
    assert_eq!(store.create("s/state/10", b"ten").await, Ok(Created::Yes));
    store.put("s/lock/1.beat", b"1").await.unwrap();
    store.put("s/lock/1.beat", b"2").await.unwrap();
    assert_eq!(store.get("s/lock/1.beat").await, Ok(Some(b"2".to_vec())));
    let keys = |keys: &[&str]| Ok(keys.iter().map(|&key| key.to_owned()).collect::<Vec<_>>());
    assert_eq!(store.list("s/state/", 2).await, keys(&["s/state/1", "s/state/10"]));
    assert_eq!(store.list("s/state/1", 9).await, keys(&["s/state/1", "s/state/10"]));
    assert_eq!(store.list("s/", 9).await.unwrap().len(), 4);
    store.delete("s/state/10").await.unwrap();
    store.delete("s/state/10").await.unwrap();
    assert_eq!(store.get("s/state/10").await, Ok(None));

    let winners = Arc::new(AtomicUsize::new(0));
    let mut rivals = tokio::task::JoinSet::new();
    for rival in 0..20_u8 {
        let (store, winners) = (Arc::clone(&store), Arc::clone(&winners));
        rivals.spawn(async move {
            if store.create("s/race", &[rival]).await == Ok(Created::Yes) {
                winners.fetch_add(1, Ordering::Relaxed);
                assert_eq!(store.get("s/race").await, Ok(Some(vec![rival])));
            }
        });
    }
    rivals.join_all().await;
    assert_eq!(winners.load(Ordering::Relaxed), 1);
    assert_eq!(store.list("s/race", 9).await, keys(&["s/race"]), "no other file is left behind");
}

#[tokio::test]
async fn memory_is_a_store() {
    keeps_the_promises_of_a_store(Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("deep/er");
    keeps_the_promises_of_a_store(Arc::new(FolderStore::new(root))).await;
}

/// What happens to the next create.
#[derive(Clone, Copy, PartialEq)]
enum Loss {
    /// It is done, and the answer is lost.
    Answer,
    /// It never arrives.
    Request,
    /// Something beneath repeats it, and it loses against itself.
    AgainstItself,
}

#[derive(Clone)]
struct Lossy {
    inner: MemoryStore,
    losses: Arc<std::sync::Mutex<Vec<Loss>>>,
}

#[async_trait]
impl StateStore for Lossy {
    fn name(&self) -> String {
        "lossy".to_owned()
    }

    async fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let loss = self.losses.lock().unwrap().pop();
        let unknown = Err(StoreError::Unknown {
            store: self.name(),
            operation: format!("create {key}"),
            detail: "connection reset".to_owned(),
        });
        match loss {
            None => self.inner.create(key, bytes).await,
            Some(Loss::Request) => unknown,
            Some(Loss::Answer) => self.inner.create(key, bytes).await.and(unknown),
            Some(Loss::AgainstItself) => {
                self.inner.create(key, bytes).await?;
                self.inner.create(key, bytes).await
            }
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        self.inner.list(prefix, limit).await
    }

    async fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.put(key, bytes).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }
}

fn owner(by: &str) -> Owner {
    Owner { by: by.to_owned(), operation: "apply".to_owned(), process: None }
}

async fn acquire(log: &Log, world: &World, by: &str) -> Result<Lease, LogError> {
    log.acquire(&world.context(), owner(by)).await
}

fn nothing_learnt() -> Entry {
    Entry::Note { changes: Vec::<Change>::new() }
}

#[tokio::test(start_paused = true)]
async fn a_create_is_told_by_its_nonce_whatever_its_answer_was() {
    for loss in [Loss::Answer, Loss::Request, Loss::AgainstItself] {
        let store = Lossy { inner: MemoryStore::new(), losses: Arc::default() };
        let log = Log::new(Arc::new(store.clone()), "webgui");
        let world = World::new();
        store.losses.lock().unwrap().push(loss);
        let lease = acquire(&log, &world, "one").await.unwrap();
        let journal = Journal::open(&world.context(), &lease).await.unwrap();
        store.losses.lock().unwrap().push(loss);
        journal.record(nothing_learnt()).await.unwrap();
        journal.record(nothing_learnt()).await.unwrap();
        assert_eq!(log.serials(9).await.unwrap(), [2, 1]);
        let head = log.newest().await.unwrap().unwrap();
        assert_eq!((head.state.serial, head.envelope.parent, head.envelope.epoch), (2, 1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_ends_the_journal_and_keeps_what_is_known() {
    let store = Lossy { inner: MemoryStore::new(), losses: Arc::default() };
    let log = Log::new(Arc::new(store.clone()), "webgui");
    let world = World::new();
    let lease = acquire(&log, &world, "one").await.unwrap();
    let journal = Journal::open(&world.context(), &lease).await.unwrap();
    store.losses.lock().unwrap().extend([Loss::Request; 5]);
    let address = seachange_core::address::Address::Domain("example.org".to_owned());
    let resource = seachange_core::state::Resource::Domain { ours: true };
    let changes = vec![Change::Put { address: address.clone(), resource }];
    journal.record(Entry::Note { changes }).await.unwrap_err();
    journal.record(nothing_learnt()).await.unwrap_err();
    assert!(journal.must_hold().is_err(), "nothing may be begun any more");
    assert!(journal.state().resources.contains_key(&address), "for the emergency file");
    assert_eq!(log.head().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_living_holder_is_named_and_a_released_lock_is_free_at_once() {
    let log = Log::new(Arc::new(MemoryStore::new()), "webgui");
    let world = World::new();
    let one = acquire(&log, &world, "one").await.unwrap();
    let began = Instant::now();
    match acquire(&log, &world, "two").await {
        Err(LogError::Held { by, operation, epoch, .. }) => {
            assert_eq!((by.as_str(), operation.as_str(), epoch), ("one", "apply", 1));
        }
        other => panic!("{:?}", other.map(|lease| lease.holding().epoch())),
    }
    assert!(began.elapsed() < LEASE / 2, "a beat was seen long before the lease could end");
    one.release().await.unwrap();
    let began = Instant::now();
    let two = acquire(&log, &world, "two").await.unwrap();
    assert_eq!((two.holding().epoch(), began.elapsed()), (2, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_silent_holder_is_taken_over_after_the_lease_and_fenced_off_by_the_log() {
    let log = Log::new(Arc::new(MemoryStore::new()), "webgui");
    let world = World::new();
    let one = acquire(&log, &world, "one").await.unwrap();
    let old = Journal::open(&world.context(), &one).await.unwrap();
    old.record(nothing_learnt()).await.unwrap();
    let holding = one.holding().clone();
    drop(one); // its beat stops, as if it were stalled
    let began = Instant::now();
    let two = acquire(&log, &world, "two").await.unwrap();
    assert!(began.elapsed() >= LEASE);
    assert!(holding.must_hold().is_err(), "the old holder knows by its own clock");
    let new = Journal::open(&world.context(), &two).await.unwrap();
    new.record(nothing_learnt()).await.unwrap();
    let fenced = old.record(nothing_learnt()).await.unwrap_err();
    assert!(matches!(*fenced.source, LogError::Overtaken { serial: 2, .. }), "{fenced:?}");
    assert!(two.holding().must_hold().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_holder_notices_that_it_was_unlocked() {
    let log = Log::new(Arc::new(MemoryStore::new()), "webgui");
    let world = World::new();
    let one = acquire(&log, &world, "one").await.unwrap();
    assert_eq!(log.holder().await.unwrap().unwrap().owner.by, "one");
    log.unlock(1).await.unwrap();
    tokio::time::sleep(LEASE / 2).await;
    assert!(one.holding().must_hold().is_err());
    assert_eq!(log.holder().await.unwrap(), None);
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_dead_process_of_this_machine_is_taken_over_at_once() {
    let log = Log::new(Arc::new(MemoryStore::new()), "webgui");
    let world = World::new();
    let mut dead = Owner::here("one", "apply");
    dead.process.as_mut().unwrap().started += 1;
    drop(log.acquire(&world.context(), dead).await.unwrap());
    let began = Instant::now();
    let two = acquire(&log, &world, "two").await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(log.holder().await.unwrap().unwrap().breaks, Some(1));
    drop(two);
}

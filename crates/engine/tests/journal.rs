//! Group commit: what waits together goes out together, and nothing counts before it is durable.

use std::sync::Arc;

use futures::future::join_all;
use seachange_core::address::Address;
use seachange_core::journal::{Change, Entry};
use seachange_core::state::Resource;
use seachange_engine::Journal;
use seachange_engine::store::Log;
use seachange_engine::store::memory::MemoryStore;

use crate::world::{World, lease};

fn zone(number: usize) -> Entry {
    let address = Address::Domain(format!("{number}.example"));
    Entry::Note {
        changes: vec![Change::Put { address, resource: Resource::Domain { ours: true } }],
    }
}

#[tokio::test(start_paused = true)]
async fn entries_that_wait_together_share_a_commit() {
    let (log, world) = (Log::new(Arc::new(MemoryStore::new()), "webgui"), World::new());
    let lease = lease(&log, &world).await;
    let journal = Journal::open(&world.context(), &lease).await.unwrap();
    let results = join_all((0..50).map(|number| journal.record(zone(number)))).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(journal.commits(), 1);
    journal.record(zone(50)).await.unwrap();
    assert_eq!(journal.commits(), 2);
    let head = log.head().await.unwrap().unwrap();
    assert_eq!((head.serial, head.resources.len()), (2, 51));
    assert_eq!(journal.state(), head);
}

#[tokio::test(start_paused = true)]
async fn an_answered_entry_is_in_the_log_and_a_lineage_lasts() {
    let (log, world) = (Log::new(Arc::new(MemoryStore::new()), "webgui"), World::new());
    let lease = lease(&log, &world).await;
    let first = Journal::open(&world.context(), &lease).await.unwrap();
    first.record(zone(1)).await.unwrap();
    let head = log.head().await.unwrap().unwrap();
    assert_eq!(head.resources.len(), 1);
    drop(first);
    let second = Journal::open(&world.context(), &lease).await.unwrap();
    second.record(zone(2)).await.unwrap();
    let commits = log.history(9).await.unwrap();
    assert_eq!(commits.iter().map(|commit| commit.state.serial).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(commits[0].state.lineage, head.lineage);
    assert_ne!(commits[0].envelope.nonce, commits[1].envelope.nonce);
}

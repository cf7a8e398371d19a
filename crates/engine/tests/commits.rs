//! What a slow store costs: few commits, and next to no time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use seachange_core::address::Address;
use seachange_core::plan::{Effect, Plan};
use seachange_core::run::RunRecord;
use seachange_core::state::State;
use seachange_core::store::{Created, StateStore, StoreError};
use seachange_engine::store::Log;
use seachange_engine::store::memory::MemoryStore;
use seachange_engine::{AppSecrets, Journal, apply};

use crate::plans::{missing, plan};
use crate::world::{STACK, World, lease};

/// Every request takes so long.
struct Slow(MemoryStore, Duration);

#[async_trait]
impl StateStore for Slow {
    fn name(&self) -> String {
        "slow".to_owned()
    }

    async fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        tokio::time::sleep(self.1).await;
        self.0.create(key, bytes).await
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        tokio::time::sleep(self.1).await;
        self.0.get(key).await
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        tokio::time::sleep(self.1).await;
        self.0.list(prefix, limit).await
    }

    async fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        tokio::time::sleep(self.1).await;
        self.0.put(key, bytes).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        tokio::time::sleep(self.1).await;
        self.0.delete(key).await
    }
}

fn hundred_workers(state: &State) -> Plan {
    let Effect::CreateDroplets { template, .. } = missing(state).steps[1].effect.clone() else {
        panic!("the second step creates the workers")
    };
    let mut steps = Vec::new();
    for batch in 0..10_u32 {
        let addresses = (1..=10).map(|number| Address::Worker(batch * 10 + number)).collect();
        steps.push((Effect::CreateDroplets { addresses, template: template.clone() }, vec![]));
    }
    for worker in 1..=100_u32 {
        let created = usize::try_from((worker - 1) / 10).unwrap();
        steps.push((Effect::PrepareHost { address: Address::Worker(worker) }, vec![created]));
    }
    plan(state, steps, None)
}

async fn first_apply(delay: Duration) -> RunRecord {
    let world = World::new();
    let log = Log::new(Arc::new(Slow(world.store.clone(), delay)), STACK);
    let lease = lease(&log, &world).await;
    let context = world.context();
    let journal = Journal::open(&context, &lease).await.unwrap();
    let plan = hundred_workers(&journal.state());
    let record = apply(&context, &journal, &plan, &AppSecrets::default()).await.unwrap();
    assert!(record.succeeded(), "{:#?}", record.failures().collect::<Vec<_>>());
    assert_eq!(log.head().await.unwrap().unwrap().workers().count(), 100);
    record
}

#[tokio::test(start_paused = true)]
async fn a_first_apply_of_a_hundred_workers_shares_its_commits_and_hardly_waits_for_them() {
    let quick = first_apply(Duration::ZERO).await;
    let slow = first_apply(Duration::from_millis(80)).await;
    assert!(slow.commits <= 60, "{} commits", slow.commits);
    assert!(slow.took <= quick.took.mul_f64(1.1), "{:?} after {:?}", slow.took, quick.took);
}

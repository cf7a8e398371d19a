//! Stores that do not keep the promise are found out by racing, and only by racing.

use std::time::Duration;

use async_trait::async_trait;
use seachange_core::store::{Created, StateStore, StoreError};
use seachange_engine::store::memory::MemoryStore;
use seachange_engine::store::probe::{ProbeError, ROUNDS, probe};

use crate::world::World;

/// How a store breaks its promise.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Habit {
    Honest,
    /// Every create overwrites.
    Ignores,
    /// It looks, and then writes.
    LooksFirst,
    /// The first create is done, and its answer lost.
    LosesAnswers,
    /// One is told that it won, another's object is there.
    Swaps,
    Refuses,
}

struct Store(MemoryStore, Habit);

#[async_trait]
impl StateStore for Store {
    fn name(&self) -> String {
        "Space gotcha-state".to_owned()
    }

    async fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let (store, operation, detail) = (self.name(), "create".to_owned(), String::new());
        match self.1 {
            Habit::Honest => self.0.create(key, bytes).await,
            Habit::Ignores => self.0.put(key, bytes).await.map(|()| Created::Yes),
            Habit::LooksFirst => {
                if self.0.get(key).await?.is_some() {
                    return Ok(Created::Taken);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
                self.0.put(key, bytes).await.map(|()| Created::Yes)
            }
            Habit::LosesAnswers => match self.0.create(key, bytes).await? {
                Created::Yes => Err(StoreError::Unknown { store, operation, detail }),
                Created::Taken => Ok(Created::Taken),
            },
            Habit::Swaps => {
                let created = self.0.create(key, bytes).await?;
                self.0.put(key, b"another's").await?;
                Ok(created)
            }
            Habit::Refuses => Err(StoreError::Refused { store, operation, detail }),
        }
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
async fn each_habit_is_found_out_and_nothing_is_left_behind() {
    let world = World::new();
    for habit in [
        Habit::Honest,
        Habit::Ignores,
        Habit::LooksFirst,
        Habit::LosesAnswers,
        Habit::Swaps,
        Habit::Refuses,
    ] {
        let store = Store(MemoryStore::new(), habit);
        let result = probe(&store, ROUNDS, &world).await;
        match (habit, &result) {
            (Habit::Honest | Habit::LosesAnswers, Ok(())) => {}
            (
                Habit::Ignores | Habit::LooksFirst,
                Err(ProbeError::ManyWinners { winners: 8, .. }),
            ) => {
                let text = result.unwrap_err().to_string();
                assert!(text.contains("Space gotcha-state") && text.contains("8 of 8"), "{text}");
            }
            (Habit::Swaps, Err(ProbeError::WrongObject { race: 1, .. }))
            | (Habit::Refuses, Err(ProbeError::Store(StoreError::Refused { .. }))) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(store.list("", 9).await.unwrap(), [""; 0], "{habit:?}");
    }
}

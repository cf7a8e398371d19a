//! Whether a store keeps the one promise that everything rests on: of any number of rivals, one creates.
//!
//! Found out by racing, because that is how it breaks: some engines ignore the condition, some only when versioning is
//! on, and some look and then write, which goes well as long as they are asked one at a time.

use futures::future::join_all;
use seachange_core::store::{Created, StateStore, StoreError};

use super::patiently;
use crate::context::Ids;

/// Rounds before the first use of a store; every later run adds one. An engine that only looks first was wrong in every
/// one of 20 races of 20, but got through three rounds of 8 once in 30 times.
pub const ROUNDS: usize = 5;
/// Who races.
const RIVALS: usize = 8;

/// Why a store is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// More than one rival was told that it had created the object.
    #[error(
        "{store} does not honour conditional writes: {winners} of {rivals} rivals were told that they alone had created \
         one and the same object (race {race})"
    )]
    ManyWinners {
        /// Which store.
        store: String,
        /// How many were told so.
        winners: usize,
        /// How many raced.
        rivals: usize,
        /// Counted from 1.
        race: usize,
    },
    /// What is there afterwards is not what the winner wrote.
    #[error(
        "{store} does not honour conditional writes: a rival was told that it had created an object, and another's is \
         there (race {race})"
    )]
    WrongObject {
        /// Which store.
        store: String,
        /// Counted from 1.
        race: usize,
    },
}

/// Lets rivals race for fresh keys, in the very store and under the very prefix that will be used.
pub async fn probe(store: &dyn StateStore, rounds: usize, ids: &dyn Ids) -> Result<(), ProbeError> {
    for race in 1..=rounds {
        let key = format!(".probe/{}", ids.next());
        let result = run(store, &key, race, ids).await;
        // What cannot be cleaned up is in nobody's way, and must not hide the result.
        drop(store.delete(&key).await);
        result?;
    }
    Ok(())
}

async fn run(
    store: &dyn StateStore,
    key: &str,
    race: usize,
    ids: &dyn Ids,
) -> Result<(), ProbeError> {
    let nonces: Vec<String> = (0..RIVALS).map(|_| ids.next()).collect();
    let answers = join_all(nonces.iter().map(|nonce| store.create(key, nonce.as_bytes()))).await;
    let mut winners = Vec::new();
    let mut in_doubt = None;
    for (nonce, answer) in nonces.iter().zip(answers) {
        match answer {
            Ok(Created::Yes) => winners.push(nonce),
            Ok(Created::Taken) => {}
            Err(error @ StoreError::Unknown { .. }) => in_doubt = Some(error),
            Err(error @ StoreError::Refused { .. }) => return Err(error.into()),
        }
    }
    let there = patiently(|| store.get(key)).await?;
    let is_there = |nonce: &&String| there.as_deref() == Some(nonce.as_bytes());
    match (winners.as_slice(), in_doubt) {
        ([winner], _) if is_there(winner) => Ok(()),
        // The winner's answer is among those that got lost.
        ([], Some(_)) if nonces.iter().any(|nonce| is_there(&nonce)) => Ok(()),
        ([], Some(error)) => Err(error.into()),
        ([] | [_], _) => Err(ProbeError::WrongObject { store: store.name(), race }),
        (many, _) => Err(ProbeError::ManyWinners {
            store: store.name(),
            winners: many.len(),
            rivals: RIVALS,
            race,
        }),
    }
}

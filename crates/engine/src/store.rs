//! The state as a create-only log, and the lock beside it, over any store of small objects.
//!
//! | key below the stack's name | meaning |
//! | --- | --- |
//! | `state/SERIAL` | one commit; SERIAL descends, so that a listing of one key gives the newest |
//! | `lock/EPOCH` | creating the highest epoch is holding the lock; EPOCH descends too |
//! | `lock/EPOCH.beat` | the holder's heartbeat, overwritten by it alone |
//! | `lock/EPOCH.released` | the end of a holding |
//!
//! Nothing that decides is ever overwritten or deleted. Creating the commit after the newest *is* the compare-and-swap
//! and the fence at once: of any number of writers one succeeds, and one that lost its lock without noticing cannot
//! write any more. A create whose answer is lost or unfavourable is read back and told by its nonce, because a store's
//! own repetition may have made it lose against itself.

pub mod commit;
pub mod folder;
pub mod lease;
pub mod memory;
pub mod owner;

use std::sync::Arc;

use seachange_core::state::State;
use seachange_core::store::{Created, StateStore, StoreError};

use commit::{Commit, CommitError};

pub use lease::Lease;
pub use owner::Owner;

/// Serials and epochs have this many digits in keys.
const DIGITS: usize = 12;
/// The highest number a key can hold.
const HIGHEST: u64 = 999_999_999_999;
/// How often a create with no usable answer is tried before giving up.
const ATTEMPTS: usize = 3;

/// What went wrong with the log or the lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A commit cannot be read.
    #[error("{key} in {store} cannot be used")]
    Unreadable {
        /// Its key.
        key: String,
        /// Which store.
        store: String,
        /// Why.
        #[source]
        source: CommitError,
    },
    /// An object of the lock cannot be read.
    #[error("{key} in {store} cannot be used: {detail}")]
    UnreadableLock {
        /// Its key.
        key: String,
        /// Which store.
        store: String,
        /// Why.
        detail: String,
    },
    /// Somebody holds the lock and shows signs of life.
    #[error("the state of {stack} is locked by {by} ({operation}), since {since}")]
    Held {
        /// The stack.
        stack: String,
        /// The holder.
        by: String,
        /// What it does.
        operation: String,
        /// When it began, and how long ago that is by the clock here.
        since: String,
        /// Its epoch.
        epoch: u64,
    },
    /// The lock is not certainly ours any more.
    #[error("the lock of {stack} (epoch {epoch}) is lost: {why}")]
    Lost {
        /// The stack.
        stack: String,
        /// The epoch that was ours.
        epoch: u64,
        /// What was seen.
        why: String,
    },
    /// Somebody else made the next commit: this writer lost its lock without noticing.
    #[error(
        "serial {serial} of {stack} was written by {by}: nothing of this run is written any more"
    )]
    Overtaken {
        /// The stack.
        stack: String,
        /// The serial both wanted.
        serial: u64,
        /// Who has it.
        by: String,
    },
    /// The run was stopped while it waited for the lock.
    #[error("stopped while waiting for the lock of {stack}")]
    Stopped {
        /// The stack.
        stack: String,
    },
}

/// One stack's log and lock.
#[derive(Clone)]
pub struct Log {
    store: Arc<dyn StateStore>,
    stack: String,
}

/// What became of a create that is told by its nonce.
enum Won {
    Yes,
    /// Somebody else's bytes are there.
    No(Vec<u8>),
}

impl Log {
    /// The log of a stack in a store.
    pub fn new(store: Arc<dyn StateStore>, stack: &str) -> Self {
        Self { store, stack: stack.to_owned() }
    }

    /// How a person would name the place.
    pub fn name(&self) -> String {
        self.store.name()
    }

    /// The stack's name.
    pub fn stack(&self) -> &str {
        &self.stack
    }

    /// The newest state; `None` for a stack that was never written.
    pub async fn head(&self) -> Result<Option<State>, LogError> {
        Ok(self.newest().await?.map(|commit| commit.state))
    }

    /// The newest commit, with who made it and when.
    pub async fn newest(&self) -> Result<Option<Commit>, LogError> {
        let keys = self.store.list(&self.states(), 1).await?;
        let Some(key) = keys.first() else { return Ok(None) };
        self.read(key).await
    }

    /// The state of a serial.
    pub async fn at(&self, serial: u64) -> Result<Option<Commit>, LogError> {
        self.read(&self.state_key(serial)).await
    }

    /// The serials there are, newest first.
    pub async fn serials(&self, limit: usize) -> Result<Vec<u64>, LogError> {
        let keys = self.store.list(&self.states(), limit).await?;
        Ok(keys.iter().filter_map(|key| number(key)).collect())
    }

    /// The newest commits, newest first.
    pub async fn history(&self, limit: usize) -> Result<Vec<Commit>, LogError> {
        let mut commits = Vec::new();
        for serial in self.serials(limit).await? {
            commits.extend(self.at(serial).await?);
        }
        Ok(commits)
    }

    /// Creates the commit of its state's serial, once. It is durable when this returns.
    pub(crate) async fn append(&self, commit: &Commit) -> Result<(), LogError> {
        let serial = commit.state.serial;
        let bytes = commit::write(commit);
        match self.win(&self.state_key(serial), &bytes).await? {
            Won::Yes => Ok(()),
            Won::No(theirs) => Err(LogError::Overtaken {
                stack: self.stack.clone(),
                serial,
                by: commit::read(&theirs)
                    .map_or_else(|_| "another writer".to_owned(), |other| other.envelope.by),
            }),
        }
    }

    /// Creates the object, or learns whose it is. The bytes hold a nonce: equal bytes are ours.
    async fn win(&self, key: &str, bytes: &[u8]) -> Result<Won, LogError> {
        let mut attempt = 1;
        loop {
            let answer = self.store.create(key, bytes).await;
            if let Ok(Created::Yes) = answer {
                return Ok(Won::Yes);
            }
            if let Err(error @ StoreError::Refused { .. }) = answer {
                return Err(error.into());
            }
            match (self.store.get(key).await?, answer) {
                (Some(there), _) if there == bytes => return Ok(Won::Yes),
                (Some(there), _) => return Ok(Won::No(there)),
                (None, Err(error)) if attempt == ATTEMPTS => return Err(error.into()),
                (None, _) => attempt += 1,
            }
            if attempt > ATTEMPTS {
                return Ok(Won::No(Vec::new()));
            }
        }
    }

    async fn read(&self, key: &str) -> Result<Option<Commit>, LogError> {
        let Some(bytes) = self.store.get(key).await? else { return Ok(None) };
        commit::read(&bytes).map(Some).map_err(|source| LogError::Unreadable {
            key: key.to_owned(),
            store: self.name(),
            source,
        })
    }

    fn states(&self) -> String {
        format!("{}/state/", self.stack)
    }

    fn state_key(&self, serial: u64) -> String {
        format!("{}{}", self.states(), descending(serial))
    }
}

/// The part of a key that stands for a number: the higher, the earlier in a listing.
fn descending(number: u64) -> String {
    format!("{:0DIGITS$}", HIGHEST.saturating_sub(number))
}

/// The number a key's last part stands for, if it is one.
fn number(key: &str) -> Option<u64> {
    let (_, last) = key.rsplit_once('/')?;
    let digits = last.split_once('.').map_or(last, |(digits, _)| digits);
    if digits.len() != DIGITS {
        return None;
    }
    digits.parse::<u64>().ok().map(|complement| HIGHEST - complement)
}

#[cfg(test)]
mod tests {
    use super::{HIGHEST, descending, number};

    #[test]
    fn keys_descend_as_numbers_ascend_and_lead_back() {
        for serial in [0, 1, 9, 10, 12_345, HIGHEST] {
            let key = format!("webgui/state/{}", descending(serial));
            assert_eq!(number(&key), Some(serial));
            assert_eq!(number(&format!("{key}.beat")), Some(serial));
        }
        assert!(descending(10) < descending(9));
        assert_eq!(number("webgui/state/x"), None);
    }
}

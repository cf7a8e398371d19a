//! The state as a create-only log, and the lock beside it, over any store of small objects.
//!
//! | key below the stack's name | meaning |
//! | --- | --- |
//! | `state/SERIAL` | one commit; SERIAL descends, so that a listing of one key gives the newest |
//! | `lock/EPOCH` | creating the highest epoch is holding the lock; EPOCH descends too |
//! | `lock/EPOCH.beat` | the holder's heartbeat, overwritten by it alone |
//! | `lock/EPOCH.released` | the end of a holding |
//! | `.probe/NAME` (below the store's own prefix) | what rivals race for, to find out whether the store can be trusted |
//!
//! Nothing that decides is ever overwritten or deleted. Creating the commit after the newest *is* the compare-and-swap
//! and the fence at once: of any number of writers one succeeds, and one that lost its lock without noticing cannot
//! write any more. A create whose answer is lost or unfavourable is read back and told by its nonce, because a store's
//! own repetition may have made it lose against itself.
//!
//! Where a store honours no conditions, a person can opt in to [`Locking::Advisory`]: the keys then end in `-NONCE`, so
//! that nothing is ever overwritten, holding the lock is having found oneself alone after writing, and two commits of
//! one serial are a fork that stops whoever sees it.

pub mod commit;
pub mod folder;
mod history;
pub mod lease;
mod lock;
pub mod memory;
pub mod owner;
pub mod probe;

use std::sync::Arc;
use std::time::Duration;

use seachange_core::state::State;
use seachange_core::store::{Created, StateStore, StoreError};

use commit::{Commit, CommitError};
use lease::{Holding, Terms};

pub use history::{KEEP, Pruned};
pub use lease::Lease;
pub use lock::{Alive, Holder, LockStatus};
pub use owner::Owner;
pub use probe::{ProbeError, probe};

/// Serials and epochs have this many digits in keys.
const DIGITS: usize = 12;
/// The highest number a key can hold.
const HIGHEST: u64 = 999_999_999_999;
/// How often something with no usable answer is tried before giving up.
const ATTEMPTS: u32 = 5;
/// The pause before the second try; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What makes rivals exclude each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Locking {
    /// The store's conditional writes.
    #[default]
    Conditional,
    /// Courtesy: a person's opt-in for stores without them. Forks are possible, noticed, and never overwritten.
    Advisory,
}

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
    /// A person locked it until further notice.
    #[error(
        "the state of {stack} is locked by {by} until further notice, since {since}: {message}"
    )]
    Frozen {
        /// The stack.
        stack: String,
        /// The person.
        by: String,
        /// When, and how long ago that is by the clock here.
        since: String,
        /// Its epoch.
        epoch: u64,
        /// The person's words.
        message: String,
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
    /// Two commits of one serial, on a store that honours no conditions.
    #[error(
        "serial {serial} of {stack} exists twice, by {one} and by {other}: nothing is written before a person chooses"
    )]
    Forked {
        /// The stack.
        stack: String,
        /// The serial.
        serial: u64,
        /// Who wrote one: name, and key in the store.
        one: String,
        /// Who wrote the other.
        other: String,
    },
    /// A state given does not follow the newest one.
    #[error("the state given has {what} {given}, the newest of {stack} has {newest}")]
    Unfit {
        /// The stack.
        stack: String,
        /// `lineage`, `serial` or `stack`.
        what: &'static str,
        /// What the state given says.
        given: String,
        /// What it should say.
        newest: String,
    },
    /// There is no such serial, or no more.
    #[error("{stack} has no state of serial {serial}")]
    Absent {
        /// The stack.
        stack: String,
        /// The serial.
        serial: u64,
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
    locking: Locking,
    terms: Terms,
}

/// What became of a create that is told by its nonce.
enum Won {
    Yes,
    /// Somebody else's bytes are there.
    No(Vec<u8>),
}

impl Log {
    /// The log of a stack in a store that honours conditional writes.
    pub fn new(store: Arc<dyn StateStore>, stack: &str) -> Self {
        let (locking, terms) = (Locking::default(), Terms::default());
        Self { store, stack: stack.to_owned(), locking, terms }
    }

    /// The same log, with rivals excluded in another way.
    #[must_use]
    pub fn with_locking(self, locking: Locking) -> Self {
        Self { locking, ..self }
    }

    /// The same log, held on other terms.
    #[must_use]
    pub fn on_terms(self, terms: Terms) -> Self {
        Self { terms, ..self }
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

    /// The newest commit, with who made it and when: one listing and one read.
    pub async fn newest(&self) -> Result<Option<Commit>, LogError> {
        // Two keys cost what one costs, and tell a fork.
        self.only(&self.states()).await
    }

    /// The commit of a serial.
    pub async fn at(&self, serial: u64) -> Result<Option<Commit>, LogError> {
        self.only(&self.state_key(serial)).await
    }

    /// Creates the commit of its state's serial, once. It is durable when this returns.
    pub(crate) async fn append(&self, commit: &Commit, holding: &Holding) -> Result<(), LogError> {
        let serial = commit.state.serial;
        let key = self.state_key(serial);
        let bytes = commit::write(commit);
        let theirs = match self.locking {
            Locking::Conditional => match self.win(&key, &bytes).await? {
                Won::Yes => return Ok(()),
                Won::No(theirs) => theirs,
            },
            Locking::Advisory => {
                // Nothing fences here: the least that can be done is to stop as soon as the lock is in doubt.
                holding.must_hold()?;
                match self.serials(1).await?.first() {
                    Some(&newest) if newest >= serial => {
                        let there = self.only(&self.state_key(newest)).await?;
                        there.as_ref().map(commit::write).unwrap_or_default()
                    }
                    Some(_) | None => {
                        let own = format!("{key}-{}", commit.envelope.nonce);
                        patiently(|| self.store.put(&own, &bytes)).await?;
                        return self.only(&key).await.map(drop);
                    }
                }
            }
        };
        Err(LogError::Overtaken { stack: self.stack.clone(), serial, by: author(&theirs) })
    }

    /// A writer that was away for long may have created a serial that was pruned meanwhile.
    pub(crate) async fn must_be_newest(&self, serial: u64) -> Result<(), LogError> {
        match self.newest().await? {
            Some(newest) if newest.state.serial > serial => Err(LogError::Overtaken {
                stack: self.stack.clone(),
                serial: newest.state.serial,
                by: newest.envelope.by,
            }),
            Some(_) | None => Ok(()),
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
            match (patiently(|| self.store.get(key)).await?, answer) {
                (Some(there), _) if there == bytes => return Ok(Won::Yes),
                (Some(there), _) => return Ok(Won::No(there)),
                (None, Err(error)) if attempt == ATTEMPTS => return Err(error.into()),
                (None, _) if attempt == ATTEMPTS => return Ok(Won::No(Vec::new())),
                (None, _) => {
                    tokio::time::sleep(pause_after(attempt)).await;
                    attempt += 1;
                }
            }
        }
    }

    /// The first commit whose key begins so. Another of the same serial is a fork.
    async fn only(&self, prefix: &str) -> Result<Option<Commit>, LogError> {
        let keys = self.keys(prefix, 2).await?;
        let Some(first) = keys.first() else { return Ok(None) };
        let serial = number(first);
        if let Some(second) = keys.get(1).filter(|second| number(second) == serial) {
            let mut authors = Vec::new();
            for key in [first, second] {
                let bytes = patiently(|| self.store.get(key)).await?.unwrap_or_default();
                authors.push(format!("{} ({key})", author(&bytes)));
            }
            return Err(LogError::Forked {
                stack: self.stack.clone(),
                serial: serial.unwrap_or_default(),
                one: authors.remove(0),
                other: authors.remove(0),
            });
        }
        self.read(first).await
    }

    async fn keys(&self, prefix: &str, limit: usize) -> Result<Vec<String>, LogError> {
        Ok(patiently(|| self.store.list(prefix, limit)).await?)
    }

    async fn read(&self, key: &str) -> Result<Option<Commit>, LogError> {
        let Some(bytes) = patiently(|| self.store.get(key)).await? else { return Ok(None) };
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

/// Does what is harmless to repeat, again and a little later each time, while the store gives no answer.
async fn patiently<T, F>(mut work: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for attempt in 1..ATTEMPTS {
        match work().await {
            Err(StoreError::Unknown { .. }) => tokio::time::sleep(pause_after(attempt)).await,
            done => return done,
        }
    }
    work().await
}

fn pause_after(attempt: u32) -> Duration {
    FIRST_PAUSE * 2_u32.saturating_pow(attempt - 1)
}

/// Who wrote a commit, as far as its bytes tell.
fn author(bytes: &[u8]) -> String {
    commit::read(bytes).map_or_else(|_| "another writer".to_owned(), |commit| commit.envelope.by)
}

/// The part of a key that stands for a number: the higher, the earlier in a listing.
fn descending(number: u64) -> String {
    format!("{:0DIGITS$}", HIGHEST.saturating_sub(number))
}

/// The number a key's last part begins with, if it is one.
fn number(key: &str) -> Option<u64> {
    let (_, last) = key.rsplit_once('/')?;
    let digits = last.find(['.', '-']).map_or(last, |end| &last[..end]);
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
            assert_eq!(number(&format!("{key}-nonce.beat")), Some(serial));
        }
        assert!(descending(10) < descending(9));
        assert_eq!(number("webgui/state/x"), None);
    }
}

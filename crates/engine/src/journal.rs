//! The journal: an entry is durable when [`Journal::record`] returns, and never before.
//!
//! One writer task owns the log's head. Whatever waits for it when it comes around goes out as *one* commit, so that
//! a slow store costs round trips, not steps times round trips. The first failure ends the journal for good: every
//! later entry is refused, so no effect can begin whose intent is not written down. What is known by then is in
//! [`Journal::state`], under the last durable serial, for the caller to put in a safe place and push when it may.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seachange_core::journal::Entry;
use seachange_core::state::State;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::context::Context;
use crate::store::commit::{Commit, Envelope};
use crate::store::lease::{Holding, Lease, Moment, Since};
use crate::store::{Log, LogError};

/// A writer that has not been at the head for so long looks whether it still is: less than pruning leaves alone.
const AWAY: Duration = Duration::from_secs(3600);

/// Why an entry is not durable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the journal of {stack} cannot be written: nothing new is begun")]
pub struct JournalError {
    /// The stack.
    pub stack: String,
    /// What the log said, at the first entry that failed.
    #[source]
    pub source: Box<LogError>,
}

/// The journal of one run. Dropping it is dying: what was not answered may or may not be durable.
#[derive(Debug)]
pub struct Journal {
    queue: mpsc::UnboundedSender<Waiting>,
    shared: Arc<Shared>,
    holding: Holding,
    writer: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    state: State,
    commits: u64,
    broken: Option<JournalError>,
}

struct Waiting {
    entries: Vec<Entry>,
    answer: oneshot::Sender<Result<(), JournalError>>,
}

impl Journal {
    /// Opens the journal on the newest state, under the lock. A stack that was never written gets its lineage here.
    pub async fn open(context: &Context<'_>, lease: &Lease) -> Result<Self, LogError> {
        let log = lease.log().clone();
        let at_head = Moment::now();
        let state = match log.head().await? {
            Some(state) => state,
            None => State::empty(context.ids.next(), context.stack),
        };
        let known = Known { state, commits: 0, broken: None };
        let shared = Arc::new(Shared { known: Mutex::new(known) });
        let (queue, waiting) = mpsc::unbounded_channel();
        let writer = Writer {
            log,
            shared: Arc::clone(&shared),
            holding: lease.holding().clone(),
            at_head,
            // Unique among writers (an epoch has one holder, but a dead one's nonce must not come again).
            nonce: context.ids.next(),
            by: context.by.clone(),
            clock: Since::now(context.clock),
        };
        Ok(Self {
            queue,
            shared,
            holding: lease.holding().clone(),
            writer: tokio::spawn(writer.run(waiting)),
        })
    }

    /// Records an entry; it is durable when this returns.
    pub async fn record(&self, entry: Entry) -> Result<(), JournalError> {
        self.record_all(vec![entry]).await
    }

    /// Records entries that belong together: all of them are durable when this returns, or after a crash none.
    pub async fn record_all(&self, entries: Vec<Entry>) -> Result<(), JournalError> {
        let (answer, answered) = oneshot::channel();
        if self.queue.send(Waiting { entries, answer }).is_err() {
            return Err(self.gone());
        }
        answered.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Ends the journal and answers everything known.
    pub fn close(self) -> State {
        self.state()
    }

    /// Everything known by now: what is durable, and what is on its way.
    pub fn state(&self) -> State {
        self.shared.known().state.clone()
    }

    /// Reads from what is known by now, without a copy of all of it.
    pub fn with<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.shared.known().state)
    }

    /// How many commits were made.
    pub fn commits(&self) -> u64 {
        self.shared.known().commits
    }

    /// Why nothing can be recorded any more, if so.
    pub fn broken(&self) -> Option<JournalError> {
        self.shared.known().broken.clone()
    }

    /// Whether a changing request may begin now: the lock is ours, and what happens can be written down.
    pub fn must_hold(&self) -> Result<(), JournalError> {
        if let Some(broken) = self.broken() {
            return Err(broken);
        }
        self.holding.must_hold().map_err(|source| {
            let stack = self.with(|state| state.stack.clone());
            let error = JournalError { stack, source: Box::new(source) };
            self.shared.known().broken.get_or_insert(error).clone()
        })
    }

    /// The writer is gone without an answer, which only its own death explains.
    fn gone(&self) -> JournalError {
        let mut known = self.shared.known();
        let stack = known.state.stack.clone();
        let lost = LogError::Lost {
            stack: stack.clone(),
            epoch: self.holding.epoch(),
            why: "the task that writes the journal has ended".to_owned(),
        };
        known.broken.get_or_insert(JournalError { stack, source: Box::new(lost) }).clone()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer {
    log: Log,
    shared: Arc<Shared>,
    holding: Holding,
    /// When this writer was last certainly the newest.
    at_head: Moment,
    nonce: String,
    by: String,
    clock: Since,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Waiting>) {
        while let Some(first) = queue.recv().await {
            // Lets the steps that became ready at the same moment speak too, so that they share the commit.
            tokio::task::yield_now().await;
            let mut waiting = vec![first];
            while let Ok(next) = queue.try_recv() {
                waiting.push(next);
            }
            let result = self.commit(&waiting).await;
            for Waiting { answer, .. } in waiting {
                // Whoever asked may have been cut off meanwhile; the entry is recorded all the same.
                drop(answer.send(result.clone()));
            }
        }
    }

    async fn commit(&mut self, waiting: &[Waiting]) -> Result<(), JournalError> {
        let commit = {
            let mut known = self.shared.known();
            for entry in waiting.iter().flat_map(|waiting| &waiting.entries) {
                known.state.record(entry);
            }
            if let Some(broken) = &known.broken {
                return Err(broken.clone());
            }
            let parent = known.state.serial;
            known.state.serial += 1;
            let nonce = format!("{}-{}", self.nonce, known.state.serial);
            let (epoch, at) = (self.holding.epoch(), self.clock.read());
            let envelope = Envelope::new(parent, epoch, nonce, at, self.by.clone());
            Commit { envelope, state: known.state.clone() }
        };
        let sent = Moment::now();
        let result = self.append(&commit).await;
        let mut known = self.shared.known();
        match result {
            Ok(()) => {
                known.commits += 1;
                self.at_head = sent;
                Ok(())
            }
            Err(source) => {
                // What is kept elsewhere builds on what the log has.
                known.state.serial = commit.envelope.parent;
                let stack = known.state.stack.clone();
                Err(known
                    .broken
                    .get_or_insert(JournalError { stack, source: Box::new(source) })
                    .clone())
            }
        }
    }

    async fn append(&self, commit: &Commit) -> Result<(), LogError> {
        self.log.append(commit, &self.holding).await?;
        if self.at_head.elapsed() > AWAY {
            self.log.must_be_newest(commit.state.serial).await?;
        }
        Ok(())
    }
}

//! The log as history: what there was, what is forgotten, and states that a person writes.
//!
//! A state that is written by hand is one more commit like any other, under the lock, after the newest. Nothing is ever
//! rewritten, and only what is far below the head is deleted: a writer that stalled could otherwise create a serial anew
//! that is gone.

use jiff::{SignedDuration, Timestamp};
use seachange_core::state::State;

use super::commit::{Commit, Envelope};
use super::lease::Lease;
use super::lock::is_claim;
use super::{Log, LogError, number, patiently};
use crate::context::Caller;

/// As many serials are kept at least.
pub const KEEP: usize = 50;
/// What is younger is kept.
const YOUNG: SignedDuration = SignedDuration::from_hours(24);

/// What pruning deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// Commits of the state.
    pub states: usize,
    /// Objects of locks that were held long ago.
    pub locks: usize,
}

impl Log {
    /// The serials there are, newest first.
    pub async fn serials(&self, limit: usize) -> Result<Vec<u64>, LogError> {
        let keys = self.keys(&self.states(), limit).await?;
        let mut serials: Vec<u64> = keys.iter().filter_map(|key| number(key)).collect();
        serials.dedup();
        Ok(serials)
    }

    /// The newest commits, newest first. Both sides of a fork are among them.
    pub async fn history(&self, limit: usize) -> Result<Vec<Commit>, LogError> {
        let mut commits = Vec::new();
        for key in self.keys(&self.states(), limit).await? {
            commits.extend(self.read(&key).await?);
        }
        Ok(commits)
    }

    /// Makes a state the newest one: it must be of this stack and lineage, and edited from the newest. Answers it with
    /// its new serial.
    pub async fn push(
        &self,
        caller: impl Into<Caller<'_>>,
        lease: &Lease,
        state: State,
    ) -> Result<State, LogError> {
        let unfit = |what, given: &dyn ToString, newest: &dyn ToString| {
            let (stack, given) = (self.stack.clone(), given.to_string());
            Err(LogError::Unfit { stack, what, given, newest: newest.to_string() })
        };
        if state.stack != self.stack {
            return unfit("stack", &state.stack, &self.stack);
        }
        match self.head().await? {
            Some(head) if head.lineage != state.lineage => {
                unfit("lineage", &state.lineage, &head.lineage)
            }
            Some(head) if head.serial != state.serial => {
                unfit("serial", &state.serial, &head.serial)
            }
            // A log that lost everything takes whatever a person has.
            Some(_) | None => self.follow(&caller.into(), lease, state).await,
        }
    }

    /// Makes an earlier state the newest one, as a new serial. It needs no readable newest one: it leads out of a fork.
    pub async fn restore(
        &self,
        caller: impl Into<Caller<'_>>,
        lease: &Lease,
        serial: u64,
    ) -> Result<State, LogError> {
        let Some(earlier) = self.at(serial).await? else {
            return Err(LogError::Absent { stack: self.stack.clone(), serial });
        };
        let newest = self.serials(1).await?.first().copied().unwrap_or(serial);
        self.follow(&caller.into(), lease, State { serial: newest, ..earlier.state }).await
    }

    /// Deletes what is older than a day and not among the newest `keep`, of which there are never fewer than [`KEEP`].
    /// The oldest goes first, so that what is left has no gap whenever this ends.
    pub async fn prune(&self, now: Timestamp, keep: usize) -> Result<Pruned, LogError> {
        let keep = keep.max(KEEP);
        let states = self.keys(&self.states(), usize::MAX).await?;
        let states = self.prune_keys(now, keep, states).await?;
        let locks = self.keys(&self.locks(), usize::MAX).await?;
        let locks = self.prune_keys(now, keep, locks).await?;
        Ok(Pruned { states, locks })
    }

    /// Keys come in the order of their numbers, so that half of them are judged by one read of the middle.
    async fn prune_keys(
        &self,
        now: Timestamp,
        keep: usize,
        mut keys: Vec<String>,
    ) -> Result<usize, LogError> {
        let mut numbers: Vec<u64> = keys.iter().filter_map(|key| number(key)).collect();
        numbers.dedup();
        let Some(&lowest_kept) = numbers.get(keep.saturating_sub(1)) else { return Ok(0) };
        keys.retain(|key| number(key).is_some_and(|number| number < lowest_kept));
        let (mut young, mut old) = (0, keys.len());
        while young < old {
            let middle = young.midpoint(old);
            if self.is_young(&keys[middle], now).await? {
                young = middle + 1;
            } else {
                old = middle;
            }
        }
        let doomed = keys.split_off(old);
        for key in doomed.iter().rev() {
            patiently(|| self.store.delete(key)).await?;
        }
        Ok(doomed.len())
    }

    async fn is_young(&self, key: &str, now: Timestamp) -> Result<bool, LogError> {
        let at = if key.starts_with(&self.states()) {
            self.read(key).await?.map(|commit| commit.envelope.at)
        } else if is_claim(key) {
            self.read_holder(key).await?.map(|holder| holder.since)
        } else {
            let claim = key.rsplit_once('.').map_or(key, |(claim, _)| claim);
            self.read_holder(claim).await?.map(|holder| holder.since)
        };
        Ok(at.is_some_and(|at| now.duration_since(at) < YOUNG))
    }

    async fn follow(
        &self,
        caller: &Caller<'_>,
        lease: &Lease,
        mut state: State,
    ) -> Result<State, LogError> {
        lease.holding().must_hold()?;
        let parent = state.serial;
        state.serial += 1;
        let envelope = Envelope::new(
            parent,
            lease.holding().epoch(),
            caller.ids.next(),
            caller.clock.now(),
            caller.by.clone(),
        );
        let commit = Commit { envelope, state };
        self.append(&commit, lease.holding()).await?;
        Ok(commit.state)
    }
}

//! The lock: a lease that cannot get stuck.
//!
//! Creating the next epoch is holding it. A task beats for the holder; others only watch whether the beat *changes*, by
//! their own clock, because two clocks are never compared. A beat that stands still for the whole lease is taken over,
//! at once if the holder's process is certainly gone from this very machine. The log's fence protects the state; what
//! protects the cloud is [`Holding::must_hold`] before each changing request, whose margin is longer than a request can
//! take, so that nothing of a robbed holder arrives after its successor began.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Log, LogError, Owner, Won, descending, number};
use crate::context::Context;

/// A beat that stands still so long is no sign of life any more.
pub const LEASE: Duration = Duration::from_secs(60);
/// From one beat to the next.
const BEAT: Duration = Duration::from_secs(10);
/// A changing request must begin so long before the lease could end: longer than a request and its answer can take.
const MARGIN: Duration = Duration::from_secs(30);
/// How often a rival's beat is looked at.
const WATCH: Duration = Duration::from_secs(2);

/// What `lock/EPOCH` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Who.
    pub owner: Owner,
    /// Since when, by the holder's clock.
    pub since: Timestamp,
    /// The epoch that was taken over, if it was not released.
    pub breaks: Option<u64>,
    /// Proof of authorship after a lost answer.
    pub nonce: String,
    /// Counts from 1.
    pub epoch: u64,
}

/// The lock, held. Dropping it is dying: the beat stops, and the next holder has to wait for the lease to run out.
pub struct Lease {
    holding: Holding,
    log: Log,
    beating: JoinHandle<()>,
}

/// Knows whether the lock is still ours. Clones are one and the same.
#[derive(Debug, Clone)]
pub struct Holding(Arc<Held>);

#[derive(Debug)]
struct Held {
    stack: String,
    epoch: u64,
    /// When the newest beat that the store has was sent, or why there will be none.
    beat: Mutex<Result<Instant, String>>,
}

impl Holding {
    /// Whether a changing request may begin now.
    pub fn must_hold(&self) -> Result<(), LogError> {
        let why = match &*self.beat() {
            Ok(beat) if beat.elapsed() + MARGIN < LEASE => return Ok(()),
            Ok(beat) => format!("the store has not taken a heartbeat for {:?}", beat.elapsed()),
            Err(why) => why.clone(),
        };
        Err(LogError::Lost { stack: self.0.stack.clone(), epoch: self.0.epoch, why })
    }

    /// The lock's epoch.
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    fn beat(&self) -> std::sync::MutexGuard<'_, Result<Instant, String>> {
        self.0.beat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// What tells whether the lock is still held.
    pub fn holding(&self) -> &Holding {
        &self.holding
    }

    /// The log it is for.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Ends the holding, so that the next one need not wait.
    pub async fn release(self) -> Result<(), LogError> {
        self.beating.abort();
        let key = self.log.lock_key(self.holding.epoch(), ".released");
        self.log.store.put(&key, b"released\n").await?;
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

impl Log {
    /// Takes the lock, or says who has it. Watches a silent holder for as long as the lease, and then takes over.
    pub async fn acquire(&self, context: &Context<'_>, owner: Owner) -> Result<Lease, LogError> {
        loop {
            let newest = self.newest_epoch().await?;
            let breaks = match newest {
                Some(epoch) if !self.is_released(epoch).await? => {
                    self.must_be_silent(epoch, context).await?;
                    Some(epoch)
                }
                Some(_) | None => None,
            };
            let epoch = newest.unwrap_or(0) + 1;
            let holder = Holder {
                owner: owner.clone(),
                since: context.clock.now(),
                breaks,
                nonce: context.ids.next(),
                epoch,
            };
            let sent = Instant::now();
            let bytes = serde_json::to_vec(&holder).unwrap_or_default();
            match self.win(&self.lock_key(epoch, ""), &bytes).await? {
                Won::Yes => return Ok(self.hold(epoch, sent)),
                // A rival was quicker: from the beginning, with the rival as the holder.
                Won::No(_) => {}
            }
        }
    }

    /// Who holds the lock; `None` if nobody does.
    pub async fn holder(&self) -> Result<Option<Holder>, LogError> {
        let Some(epoch) = self.newest_epoch().await? else { return Ok(None) };
        if self.is_released(epoch).await? {
            return Ok(None);
        }
        self.read_holder(epoch).await
    }

    /// Ends a holding on a person's word. The holder is fenced off at its next commit after somebody else's.
    pub async fn unlock(&self, epoch: u64) -> Result<(), LogError> {
        self.store.put(&self.lock_key(epoch, ".released"), b"unlocked\n").await?;
        Ok(())
    }

    fn hold(&self, epoch: u64, sent: Instant) -> Lease {
        let held = Held { stack: self.stack.clone(), epoch, beat: Mutex::new(Ok(sent)) };
        let holding = Holding(Arc::new(held));
        let beating = tokio::spawn(beat(self.clone(), holding.clone()));
        Lease { holding, log: self.clone(), beating }
    }

    /// Returns once the holder of the epoch is certainly gone or was silent for the whole lease.
    async fn must_be_silent(&self, epoch: u64, context: &Context<'_>) -> Result<(), LogError> {
        let Some(holder) = self.read_holder(epoch).await? else { return Ok(()) };
        let held = || {
            let age = context.clock.now().as_second() - holder.since.as_second();
            LogError::Held {
                stack: self.stack.clone(),
                by: holder.owner.by.clone(),
                operation: holder.owner.operation.clone(),
                since: format!("{:.0} ({age} s ago)", holder.since),
                epoch,
            }
        };
        if holder.owner.is_gone() {
            return Ok(());
        }
        if holder.owner.is_alive() {
            return Err(held());
        }
        let key = self.lock_key(epoch, ".beat");
        let began = Instant::now();
        let first = self.store.get(&key).await?;
        while began.elapsed() < LEASE {
            crate::pace::sleep(WATCH, Some(&context.stop))
                .await
                .map_err(|_| LogError::Stopped { stack: self.stack.clone() })?;
            if self.is_released(epoch).await? {
                return Ok(());
            }
            if self.store.get(&key).await? != first {
                return Err(held());
            }
        }
        Ok(())
    }

    async fn newest_epoch(&self) -> Result<Option<u64>, LogError> {
        let keys = self.store.list(&format!("{}/lock/", self.stack), 1).await?;
        Ok(keys.first().and_then(|key| number(key)))
    }

    async fn is_released(&self, epoch: u64) -> Result<bool, LogError> {
        Ok(self.store.get(&self.lock_key(epoch, ".released")).await?.is_some())
    }

    async fn read_holder(&self, epoch: u64) -> Result<Option<Holder>, LogError> {
        let key = self.lock_key(epoch, "");
        let Some(bytes) = self.store.get(&key).await? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| LogError::UnreadableLock {
            key,
            store: self.name(),
            detail: error.to_string(),
        })
    }

    fn lock_key(&self, epoch: u64, what: &str) -> String {
        format!("{}/lock/{}{what}", self.stack, descending(epoch))
    }
}

/// Beats until the lock is lost. A beat that the store does not take is tried again at the next turn.
async fn beat(log: Log, holding: Holding) {
    let key = log.lock_key(holding.epoch(), ".beat");
    for count in 1_u64.. {
        let sent = Instant::now();
        let taken = log.store.put(&key, format!("{count}\n").as_bytes()).await.is_ok();
        if let Ok(Some(newest)) = log.newest_epoch().await
            && newest > holding.epoch()
        {
            *holding.beat() = Err(format!("epoch {newest} was taken by somebody else"));
            return;
        }
        if let Ok(true) = log.is_released(holding.epoch()).await {
            *holding.beat() = Err("somebody unlocked it".to_owned());
            return;
        }
        if taken {
            *holding.beat() = Ok(sent);
        }
        tokio::time::sleep(BEAT).await;
    }
}

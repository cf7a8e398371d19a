//! The lock as everybody sees it: who holds it, whether the holder lives, and how to get it.
//!
//! Creating the next epoch is holding it. Others only watch whether the holder's beat *changes*, by their own clock,
//! because two clocks are never compared. A beat that stands still for the whole lease is taken over, at once if the
//! holder's process is certainly gone from this very machine. A lock with a message is a person's: it does not beat,
//! and it is never taken over.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use seachange_core::event::Event;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::lease::{Beat, Lease, Moment};
use super::{Locking, Log, LogError, Owner, Won, descending, number, patiently};
use crate::context::Caller;
use crate::pace;

/// Keys enough to hold all of the newest epoch: its claims, its beat, its end.
const KEYS: usize = 32;

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
    /// A person's word: the lock is kept until a person releases it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Whether a holder shows signs of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alive {
    /// Its process runs here, its beat was seen to change, or it is a person's lock.
    Yes,
    /// Its process is gone from here, or its beat stood still for the whole lease.
    No,
    /// Not watched for long enough.
    Unknown,
}

/// Who holds the lock, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockStatus {
    /// Who, since when, doing what, and a person's message.
    pub holder: Holder,
    /// Whether it lives.
    pub alive: Alive,
    /// The age of its last beat, as far as the two clocks agree: for reading only, nothing is decided by it.
    pub last_beat_age: Option<SignedDuration>,
}

/// The newest epoch, as a listing shows it.
#[derive(Debug)]
struct Newest {
    epoch: u64,
    /// Keys of those who want or have it: one, unless rivals of the advisory protocol are about to withdraw.
    claims: Vec<String>,
    released: bool,
}

/// What is known of a holder by watching it.
#[derive(Debug, Default)]
struct Watch {
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    epoch: u64,
    beat: Option<Vec<u8>>,
    since: Instant,
    changed: bool,
}

impl Log {
    /// Takes the lock, or says who has it. A holder that shows no sign of life is watched for as long as the lease, and
    /// then taken over.
    pub async fn acquire(
        &self,
        caller: impl Into<Caller<'_>>,
        owner: Owner,
    ) -> Result<Lease, LogError> {
        self.acquire_within(caller, owner, Duration::ZERO).await
    }

    /// The same, waiting so long for a holder that lives (`--lock-timeout`).
    pub async fn acquire_within(
        &self,
        caller: impl Into<Caller<'_>>,
        owner: Owner,
        wait: Duration,
    ) -> Result<Lease, LogError> {
        let caller = caller.into();
        let (claim, holder, sent) = self.take(&caller, owner, None, wait).await?;
        Ok(Lease::hold(self.clone(), claim, holder, sent, caller.clock))
    }

    /// Takes the lock on a person's word, until a person releases it with [`Log::unlock`]. Nothing beats for it.
    pub async fn freeze(
        &self,
        caller: impl Into<Caller<'_>>,
        owner: Owner,
        message: &str,
        wait: Duration,
    ) -> Result<Holder, LogError> {
        let (_, holder, _) = self.take(&caller.into(), owner, Some(message), wait).await?;
        Ok(holder)
    }

    /// Who holds the lock; `None` if nobody does.
    pub async fn holder(&self) -> Result<Option<Holder>, LogError> {
        match self.newest_epoch().await? {
            Some(newest) if !newest.released => {
                Ok(self.read_holders(&newest).await?.into_iter().next())
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Who holds the lock and whether the holder lives, after watching it for at most so long. A beat comes every ten
    /// seconds, so that twelve tell of life, and a lease and a little of its absence.
    pub async fn status(
        &self,
        caller: impl Into<Caller<'_>>,
        at_most: Duration,
    ) -> Result<Option<LockStatus>, LogError> {
        let caller = caller.into();
        let began = Instant::now();
        let mut watch = Watch::default();
        loop {
            let newest = match self.newest_epoch().await? {
                Some(newest) if !newest.released => newest,
                Some(_) | None => return Ok(None),
            };
            let holders = self.read_holders(&newest).await?;
            let alive = self.look(&newest, &holders, &mut watch).await?;
            if alive == Alive::Unknown && began.elapsed() < at_most {
                self.pause(self.terms.watch, &caller).await?;
                continue;
            }
            let beat = watch.seen.and_then(|seen| Beat::read(&seen.beat?));
            let now = caller.clock.now();
            return Ok(holders.into_iter().next().map(|holder| LockStatus {
                holder,
                alive,
                last_beat_age: beat.map(|beat| now.duration_since(beat.at)),
            }));
        }
    }

    /// Ends a holding on a person's word. A holder that lives notices at its next beat, and is fenced off by the log.
    pub async fn unlock(&self, epoch: u64) -> Result<(), LogError> {
        let key = self.lock_key(epoch, ".released");
        Ok(patiently(|| self.store.put(&key, b"unlocked\n")).await?)
    }

    async fn take(
        &self,
        caller: &Caller<'_>,
        owner: Owner,
        message: Option<&str>,
        wait: Duration,
    ) -> Result<(String, Holder, Moment), LogError> {
        let began = Instant::now();
        let mut watch = Watch::default();
        let mut told = false;
        loop {
            let newest = self.newest_epoch().await?;
            let mut breaks = None;
            if let Some(newest) = newest.as_ref().filter(|newest| !newest.released) {
                let holders = self.read_holders(newest).await?;
                match self.look(newest, &holders, &mut watch).await? {
                    Alive::No => breaks = Some(newest.epoch),
                    alive => {
                        let held = || self.held(holders.first(), newest.epoch, caller);
                        if alive == Alive::Yes && began.elapsed() >= wait {
                            return Err(held());
                        }
                        if !std::mem::replace(&mut told, true) {
                            let text = format!("waiting: {}", held());
                            caller.listener.event(&Event::Note { text });
                        }
                        self.pause(self.terms.watch, caller).await?;
                        continue;
                    }
                }
            }
            let epoch = newest.map_or(0, |newest| newest.epoch) + 1;
            let holder = Holder {
                owner: owner.clone(),
                since: caller.clock.now(),
                breaks,
                nonce: caller.ids.next(),
                epoch,
                message: message.map(str::to_owned),
            };
            let sent = Moment::now();
            let bytes = serde_json::to_vec(&holder).unwrap_or_default();
            let (claim, won) = match self.locking {
                Locking::Conditional => {
                    let claim = self.lock_key(epoch, "");
                    let won = self.win(&claim, &bytes).await?;
                    (claim, won)
                }
                Locking::Advisory => {
                    let claim = self.lock_key(epoch, &format!("-{}", holder.nonce));
                    let won = self.claim(&claim, &bytes).await?;
                    (claim, won)
                }
            };
            let Won::No(theirs) = won else { return Ok((claim, holder, sent)) };
            // A rival was quicker: from the beginning, with the rival as the holder. Not at once, because a listing may
            // lag behind, and rivals of the advisory protocol must not withdraw in step for ever.
            if began.elapsed() >= wait + self.terms.lease {
                let rival: Option<Holder> = serde_json::from_slice(&theirs).ok();
                return Err(self.held(rival.as_ref(), epoch, caller));
            }
            self.pause(some_of(self.terms.watch, &caller.ids.next()), caller).await?;
        }
    }

    /// The advisory protocol: in, look around, and out again unless alone. Two that come at once may both leave; never
    /// do both stay.
    async fn claim(&self, claim: &str, bytes: &[u8]) -> Result<Won, LogError> {
        patiently(|| self.store.put(claim, bytes)).await?;
        let newest = self.newest_epoch().await?;
        let others = match newest {
            Some(newest) if newest.claims == [claim] => return Ok(Won::Yes),
            Some(newest) => newest.claims,
            None => Vec::new(),
        };
        patiently(|| self.store.delete(claim)).await?;
        match others.iter().find(|other| *other != claim) {
            Some(other) => {
                Ok(Won::No(patiently(|| self.store.get(other)).await?.unwrap_or_default()))
            }
            None => Ok(Won::No(Vec::new())),
        }
    }

    /// What a look at a holding that was not released tells.
    async fn look(
        &self,
        newest: &Newest,
        holders: &[Holder],
        watch: &mut Watch,
    ) -> Result<Alive, LogError> {
        let epoch = newest.epoch;
        let key = self.lock_key(epoch, ".beat");
        let asked = Instant::now();
        let beat = patiently(|| self.store.get(&key)).await?;
        let sign = match &watch.seen {
            Some(seen) if seen.epoch == epoch && seen.beat == beat => {
                match (asked.duration_since(seen.since) >= self.terms.lease, seen.changed) {
                    (true, _) => Alive::No,
                    (false, true) => Alive::Yes,
                    (false, false) => Alive::Unknown,
                }
            }
            seen => {
                let changed = seen.as_ref().is_some_and(|seen| seen.epoch == epoch);
                watch.seen = Some(Seen { epoch, beat, since: Instant::now(), changed });
                if changed { Alive::Yes } else { Alive::Unknown }
            }
        };
        let lives = |holder: &Holder| holder.message.is_some() || holder.owner.is_alive();
        Ok(if holders.iter().any(lives) {
            Alive::Yes
        } else if holders.iter().all(|holder| holder.owner.is_gone()) {
            Alive::No
        } else {
            sign
        })
    }

    fn held(&self, holder: Option<&Holder>, epoch: u64, caller: &Caller<'_>) -> LogError {
        let stack = self.stack.clone();
        let Some(holder) = holder else {
            let (by, operation) = ("somebody".to_owned(), "unknown".to_owned());
            return LogError::Held { stack, by, operation, since: "just now".to_owned(), epoch };
        };
        let age = caller.clock.now().as_second() - holder.since.as_second();
        let (by, since) = (holder.owner.by.clone(), format!("{:.0} ({age} s ago)", holder.since));
        match &holder.message {
            Some(message) => LogError::Frozen { stack, by, since, epoch, message: message.clone() },
            None => {
                let operation = holder.owner.operation.clone();
                LogError::Held { stack, by, operation, since, epoch }
            }
        }
    }

    async fn pause(&self, pause: Duration, caller: &Caller<'_>) -> Result<(), LogError> {
        pace::sleep(pause, Some(&caller.stop))
            .await
            .map_err(|_| LogError::Stopped { stack: self.stack.clone() })
    }

    async fn newest_epoch(&self) -> Result<Option<Newest>, LogError> {
        let keys = self.keys(&self.locks(), KEYS).await?;
        let Some(epoch) = keys.iter().find_map(|key| number(key)) else { return Ok(None) };
        let end = self.lock_key(epoch, ".released");
        let released = keys.contains(&end);
        let claims = keys.into_iter().filter(|key| number(key) == Some(epoch) && is_claim(key));
        Ok(Some(Newest { epoch, claims: claims.collect(), released }))
    }

    /// Whether the epoch is over: ended, or followed by another.
    pub(super) async fn is_over(&self, epoch: u64) -> Result<Option<String>, LogError> {
        Ok(match self.newest_epoch().await? {
            Some(newest) if newest.epoch > epoch => {
                Some(format!("epoch {} was taken by somebody else", newest.epoch))
            }
            Some(newest) if newest.epoch == epoch && newest.released => {
                Some("somebody unlocked it".to_owned())
            }
            Some(_) | None => None,
        })
    }

    async fn read_holders(&self, newest: &Newest) -> Result<Vec<Holder>, LogError> {
        let mut holders = Vec::new();
        for key in &newest.claims {
            holders.extend(self.read_holder(key).await?);
        }
        Ok(holders)
    }

    pub(super) async fn read_holder(&self, key: &str) -> Result<Option<Holder>, LogError> {
        let Some(bytes) = patiently(|| self.store.get(key)).await? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| LogError::UnreadableLock {
            key: key.to_owned(),
            store: self.name(),
            detail: error.to_string(),
        })
    }

    pub(super) fn locks(&self) -> String {
        format!("{}/lock/", self.stack)
    }

    pub(super) fn lock_key(&self, epoch: u64, what: &str) -> String {
        format!("{}{}{what}", self.locks(), descending(epoch))
    }
}

/// Whether a key of the lock is neither a beat nor an end.
pub(super) fn is_claim(key: &str) -> bool {
    !key.ends_with(".beat") && !key.ends_with(".released")
}

/// A part of a time, by chance.
fn some_of(time: Duration, chance: &str) -> Duration {
    let sum =
        chance.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    time.mul_f64(f64::from(sum % 1000) / 1000.0)
}

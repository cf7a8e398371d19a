//! The lock, held: a lease that cannot get stuck.
//!
//! A task beats for the holder. The log's fence protects the state; what protects the cloud is [`Holding::must_hold`]
//! before each changing request, whose margin is longer than a request can take, so that nothing of a robbed holder
//! arrives after its successor began.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use seachange_core::clock::Clock;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::lock::Holder;
use super::{Log, LogError, patiently};

/// A beat that stands still so long is no sign of life any more.
pub const LEASE: Duration = Duration::from_secs(60);

/// How long a holding lasts without a sign of life, and how that sign is given. Everybody who works on one log goes by
/// the same terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// A beat that stands still so long is no sign of life any more.
    pub lease: Duration,
    /// From one beat to the next.
    pub beat: Duration,
    /// A changing request must begin so long before the lease could end: longer than a request and its answer can take.
    pub margin: Duration,
    /// How often a rival's beat is looked at.
    pub watch: Duration,
}

impl Default for Terms {
    /// For requests that are given up after 30 s.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { lease: LEASE, beat: seconds(10), margin: seconds(35), watch: seconds(2) }
    }
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
    terms: Terms,
    /// When the newest beat that the store has was sent, or why there will be none.
    beat: Mutex<Result<Moment, String>>,
}

/// What `lock/EPOCH.beat` says. Others only look whether it changes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Beat {
    count: u64,
    /// By the holder's clock, for people.
    pub(super) at: Timestamp,
}

/// A point in time by both clocks of this machine, because one of them stands still while a laptop sleeps and the other
/// can be set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    instant: Instant,
    wall: SystemTime,
}

/// The wall clock, read once and counted on from there, because a task of its own cannot borrow it.
#[derive(Debug)]
pub(crate) struct Since {
    at: Timestamp,
    instant: Instant,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now() }
    }

    /// The longer of what the two clocks say.
    pub(crate) fn elapsed(&self) -> Duration {
        self.instant.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }
}

impl Since {
    pub(crate) fn now(clock: &dyn Clock) -> Self {
        Self { at: clock.now(), instant: Instant::now() }
    }

    pub(crate) fn read(&self) -> Timestamp {
        let passed =
            SignedDuration::try_from(self.instant.elapsed()).unwrap_or(SignedDuration::MAX);
        self.at.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }
}

impl Beat {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl Holding {
    /// Whether a changing request may begin now.
    pub fn must_hold(&self) -> Result<(), LogError> {
        let terms = &self.0.terms;
        let why = match &*self.beat() {
            Ok(beat) if beat.elapsed() + terms.margin < terms.lease => return Ok(()),
            Ok(beat) => {
                format!("the store has not taken a heartbeat for {} s", beat.elapsed().as_secs())
            }
            Err(why) => why.clone(),
        };
        Err(LogError::Lost { stack: self.0.stack.clone(), epoch: self.0.epoch, why })
    }

    /// The lock's epoch.
    pub fn epoch(&self) -> u64 {
        self.0.epoch
    }

    fn beat(&self) -> MutexGuard<'_, Result<Moment, String>> {
        self.0.beat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Begins to beat for a claim that was won; its request was sent at that moment.
    pub(super) fn hold(
        log: Log,
        claim: String,
        holder: Holder,
        sent: Moment,
        clock: &dyn Clock,
    ) -> Self {
        let holding = Holding(Arc::new(Held {
            stack: log.stack.clone(),
            epoch: holder.epoch,
            terms: log.terms,
            beat: Mutex::new(Ok(sent)),
        }));
        let since = Since::now(clock);
        let beating = tokio::spawn(beat(log.clone(), holding.clone(), claim, holder, since));
        Self { holding, log, beating }
    }

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
        Ok(patiently(|| self.log.store.put(&key, b"released\n")).await?)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

/// Beats until the lock is lost. A beat that the store does not take is tried again at the next turn.
async fn beat(log: Log, holding: Holding, claim: String, holder: Holder, since: Since) {
    let key = log.lock_key(holding.epoch(), ".beat");
    let mut turns = tokio::time::interval(log.terms.beat);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for count in 1_u64.. {
        turns.tick().await;
        let sent = Moment::now();
        let bytes = serde_json::to_vec(&Beat { count, at: since.read() }).unwrap_or_default();
        let taken = log.store.put(&key, &bytes).await.is_ok();
        let lost = match log.is_over(holding.epoch()).await {
            Ok(Some(why)) => Some(why),
            Ok(None) => claim_is_gone(&log, &claim, &holder).await,
            Err(_) => None,
        };
        if let Some(why) = lost {
            *holding.beat() = Err(why);
            return;
        }
        if taken {
            *holding.beat() = Ok(sent);
        }
    }
}

/// Nobody of ours deletes a lock. A person may, and then the same epoch can be held twice.
async fn claim_is_gone(log: &Log, claim: &str, holder: &Holder) -> Option<String> {
    match log.read_holder(claim).await {
        Ok(Some(there)) if there.nonce == holder.nonce => None,
        Ok(_) => Some("its object in the store was deleted".to_owned()),
        Err(_) => None,
    }
}

//! One look at the stack's droplets for all steps that wait for one.
//!
//! A thousand waiting steps cost as many requests as one: whoever is due first lists, and everybody reads. The youngest
//! wait sets the interval, so that none overshoots by more than its share; an interval is never shorter than what the
//! listing costs in pages allows.

use std::collections::BTreeMap;
use std::sync::Arc;

use seachange_core::cloud::{CloudError, Droplet, DropletId};
use seachange_core::names;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::context::Context;
use crate::pace::{Cut, Pace, interval};
use crate::step::Trouble;

/// Droplets on one page of a listing.
const PAGE: usize = 200;

/// What one listing showed.
pub(crate) type Droplets = BTreeMap<DropletId, Droplet>;

/// The stack's droplets, as last listed by anybody.
pub(crate) struct Listing<'a> {
    context: &'a Context<'a>,
    latest: watch::Sender<Latest>,
    /// Held by the one who lists.
    turn: Mutex<()>,
}

#[derive(Clone, Default)]
struct Latest {
    droplets: Arc<Droplets>,
    /// When the newest listing was asked for, answered or not.
    asked: Option<Instant>,
}

impl<'a> Listing<'a> {
    /// Nothing was listed yet.
    pub(crate) fn new(context: &'a Context<'a>) -> Self {
        Self { context, latest: watch::Sender::new(Latest::default()), turn: Mutex::new(()) }
    }

    /// Lists now.
    pub(crate) async fn now(&self) -> Result<Arc<Droplets>, CloudError> {
        let asked = Instant::now();
        let turn = self.turn.lock().await;
        if self.latest.borrow().asked.is_some_and(|latest| latest >= asked) {
            return Ok(Arc::clone(&self.latest.borrow().droplets));
        }
        let asked = Some(Instant::now());
        let listed =
            self.context.cloud.droplets_by_tag(&names::owner_tag(self.context.stack)).await;
        drop(turn);
        match listed {
            Ok(listed) => {
                let droplets: Droplets =
                    listed.into_iter().map(|droplet| (droplet.id, droplet)).collect();
                let droplets = Arc::new(droplets);
                self.latest.send_replace(Latest { droplets: Arc::clone(&droplets), asked });
                Ok(droplets)
            }
            Err(error) => {
                // Nobody is woken: there is no news, only a new time to count the interval from.
                self.latest.send_if_modified(|latest| {
                    latest.asked = asked;
                    false
                });
                Err(error)
            }
        }
    }

    /// Looks again and again until `seen` says what it waited for. The first look comes after the first interval: what
    /// was asked for a moment ago is not there yet.
    pub(crate) async fn wait<T>(
        &self,
        pace: &Pace<'_>,
        mut seen: impl FnMut(&Droplets) -> Option<T>,
    ) -> Result<T, Trouble> {
        let mut news = self.latest.subscribe();
        loop {
            let due = {
                let latest = news.borrow();
                let pages = latest.droplets.len().div_ceil(PAGE);
                let last = latest.asked.map_or(pace.began(), |asked| asked.max(pace.began()));
                (last + interval(pace.patience(), pace.waited(), pages)).min(pace.deadline())
            };
            tokio::select! {
                biased;
                () = stopped(pace) => return Err(Cut::Stopped.into()),
                _ = news.changed() => {}
                () = tokio::time::sleep_until(due) => match self.now().await {
                    Ok(_) => {}
                    Err(error) if passes(&error) => {}
                    Err(error) => return Err(error.into()),
                },
            }
            let droplets = Arc::clone(&news.borrow_and_update().droplets);
            if let Some(value) = seen(&droplets) {
                return Ok(value);
            }
            pace.elapsed()?;
        }
    }
}

async fn stopped(pace: &Pace<'_>) {
    match pace.stop() {
        Some(stop) => stop.wait().await,
        None => std::future::pending().await,
    }
}

/// Whether a later look may succeed.
pub(crate) fn passes(error: &CloudError) -> bool {
    match error {
        CloudError::NotFound { .. }
        | CloudError::Pending { .. }
        | CloudError::Conflict { .. }
        | CloudError::RateLimited { .. }
        | CloudError::Unknown { .. }
        | CloudError::Unavailable { .. } => true,
        CloudError::Unauthorized { .. }
        | CloudError::Forbidden { .. }
        | CloudError::LimitReached { .. }
        | CloudError::Invalid { .. }
        | CloudError::Malformed { .. } => false,
    }
}

//! Walks a graph of steps: as many at once as allowed, in a stable order, and a failure blocks only what needs it.
//!
//! A [`Slot`] is the right to be busy. A step that only waits gives its slot to another, because a thousand droplets
//! boot as fast as one. Slots are handed out in the order in which steps became ready, lowest number first. After a stop
//! no step begins; those under way end by themselves, finished or parked. Knows nothing of what steps do.

use std::future::Future;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::context::Stop;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Well: what needs it may begin.
    Well,
    /// Not well, or not at all: what needs it is skipped.
    Otherwise,
}

/// The right to be busy.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Slot {
    /// Waits for something without being busy; a slot is taken again afterwards.
    pub async fn lend<T>(&mut self, wait: impl Future<Output = T>) -> T {
        self.permit = None;
        let value = wait.await;
        self.take().await;
        value
    }

    async fn take(&mut self) {
        // The semaphore is never closed; if it were, being busy without a permit would be the lesser harm.
        self.permit = Arc::clone(&self.slots).acquire_owned().await.ok();
    }
}

/// Runs every step after those it needs. `start` is called with a slot in hand; `skip` for every step that is not tried.
///
/// `needs[n]` are the steps that step `n` needs. A step that needs itself or a later one is never tried.
pub async fn walk<F>(
    needs: &[Vec<usize>],
    parallelism: usize,
    stop: &Stop,
    start: impl Fn(usize, Slot) -> F,
    skip: impl Fn(usize),
) where
    F: Future<Output = Ended>,
{
    let slots = Arc::new(Semaphore::new(parallelism.max(1)));
    let mut missing: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut tried = vec![false; needs.len()];
    let mut needed_by = vec![Vec::new(); needs.len()];
    for (step, needs) in needs.iter().enumerate() {
        for &need in needs.iter().filter(|&&need| need < step) {
            needed_by[need].push(step);
        }
    }
    let begin = |step: usize| {
        let mut slot = Slot { slots: Arc::clone(&slots), permit: None };
        let start = &start;
        async move {
            tokio::select! {
                biased;
                () = stop.wait() => return (step, None),
                () = slot.take() => {}
            }
            (step, Some(start(step, slot).await))
        }
    };
    let ready = (0..needs.len()).filter(|&step| missing[step] == 0);
    let mut running: FuturesUnordered<_> = ready.map(begin).collect();
    while let Some((step, ended)) = running.next().await {
        tried[step] = ended.is_some();
        if ended != Some(Ended::Well) {
            continue;
        }
        for &next in &needed_by[step] {
            missing[next] -= 1;
            if missing[next] == 0 {
                running.push(begin(next));
            }
        }
    }
    for step in (0..needs.len()).filter(|&step| !tried[step]) {
        skip(step);
    }
}

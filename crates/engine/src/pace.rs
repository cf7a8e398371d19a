//! How often to look: soon at first, then in proportion to the time already waited, never past a deadline.
//!
//! A fixed interval is either wasteful on long waits or slow on short ones. Growing with the time waited bounds the
//! overshoot of every wait to the same share of it, whatever it waits for.

use std::time::Duration;

use tokio::time::Instant;

use crate::context::{Patience, Stop};

/// Why a wait ended before what it waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Cut {
    /// The bound was reached.
    #[error("it did not happen within {0:?}")]
    Elapsed(Duration),
    /// The run is to stop.
    #[error("the run was stopped")]
    Stopped,
}

/// The interval to the next look, after this long a wait, if a look costs so many requests.
pub fn interval(patience: &Patience, waited: Duration, pages: usize) -> Duration {
    let pages = u32::try_from(pages.max(1)).unwrap_or(u32::MAX);
    let first = patience.poll_first.saturating_mul(pages);
    let grown = waited.mul_f64(patience.poll_growth).min(patience.poll_max);
    // A stop between two looks that are no time apart would turn a wait into a busy loop.
    first.max(grown).max(Duration::from_millis(1))
}

/// One bounded wait.
#[derive(Debug)]
pub struct Pace<'a> {
    patience: &'a Patience,
    bound: Duration,
    began: Instant,
    stop: Option<&'a Stop>,
}

impl<'a> Pace<'a> {
    /// A wait that ends at the bound, or when the run is to stop.
    pub fn until(patience: &'a Patience, bound: Duration, stop: &'a Stop) -> Self {
        Self { patience, bound, began: Instant::now(), stop: Some(stop) }
    }

    /// A wait that must be seen to its end: it heeds no stop.
    pub fn steadfast(patience: &'a Patience, bound: Duration) -> Self {
        Self { patience, bound, began: Instant::now(), stop: None }
    }

    /// How long it waits already.
    pub fn waited(&self) -> Duration {
        self.began.elapsed()
    }

    /// When it began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// When it ends at the latest.
    pub(crate) fn deadline(&self) -> Instant {
        self.began + self.bound
    }

    /// Whether its bound is reached.
    pub(crate) fn elapsed(&self) -> Result<(), Cut> {
        if self.waited() < self.bound { Ok(()) } else { Err(Cut::Elapsed(self.bound)) }
    }

    /// The bounds it keeps to.
    pub(crate) fn patience(&self) -> &Patience {
        self.patience
    }

    /// The stop it heeds.
    pub(crate) fn stop(&self) -> Option<&Stop> {
        self.stop
    }

    /// Waits until the next look is due. The last look is always at the bound itself.
    pub async fn pause(&self) -> Result<(), Cut> {
        self.elapsed()?;
        let waited = self.waited();
        let pause = interval(self.patience, waited, 1).min(self.bound - waited);
        sleep(pause, self.stop).await
    }
}

/// Sleeps, unless the run is to stop.
pub(crate) async fn sleep(pause: Duration, stop: Option<&Stop>) -> Result<(), Cut> {
    let Some(stop) = stop else {
        tokio::time::sleep(pause).await;
        return Ok(());
    };
    tokio::select! {
        biased;
        () = stop.wait() => Err(Cut::Stopped),
        () = tokio::time::sleep(pause) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Cut, Pace, interval};
    use crate::context::{Patience, Stop};

    fn patience() -> Patience {
        Patience { poll_first: Duration::from_secs(1), poll_growth: 0.08, ..Patience::default() }
    }

    #[test]
    fn the_interval_is_a_share_of_the_wait_between_two_bounds() {
        let patience = patience();
        let at =
            |waited, pages| interval(&patience, Duration::from_secs(waited), pages).as_secs_f64();
        assert!((at(0, 1) - 1.0).abs() < 1e-9);
        assert!((at(50, 1) - 4.0).abs() < 1e-9);
        assert!((at(50, 5) - 5.0).abs() < 1e-9, "five pages cost five times as much");
        assert!((at(5000, 1) - 15.0).abs() < 1e-9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_at_its_bound_after_a_last_look() {
        let patience = patience();
        let stop = Stop::new();
        let pace = Pace::until(&patience, Duration::from_millis(2500), &stop);
        let mut looks = 0;
        let cut = loop {
            looks += 1;
            if let Err(cut) = pace.pause().await {
                break cut;
            }
        };
        assert_eq!((looks, cut), (4, Cut::Elapsed(Duration::from_millis(2500))));
        assert_eq!(pace.waited(), Duration::from_millis(2500));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_cuts_a_wait_and_leaves_a_steadfast_one_alone() {
        let patience = patience();
        let stop = Stop::new();
        stop.request();
        let hour = Duration::from_secs(3600);
        assert_eq!(Pace::until(&patience, hour, &stop).pause().await, Err(Cut::Stopped));
        assert_eq!(Pace::steadfast(&patience, hour).pause().await, Ok(()));
    }
}

//! The request budget: 250 a minute and 5,000 an hour for each token, in sliding windows.
//!
//! Our own requests are counted here, so that the limit is usually not met at all. Others may use the same token:
//! then the headers say "none left" or the service answers 429, and everybody waits a little. `ratelimit-reset` alone
//! never decides how long: it tells when the *oldest* request leaves the window, and has been seen in the past.
//! Pure: the time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use seachange_core::cloud::RequestAllowance;
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const A_MINUTE: usize = 250;
const AN_HOUR: usize = 5_000;
/// How long "none left" makes us wait before the service is asked again.
const BREATH: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// What an answer's headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Headers {
    /// `ratelimit-limit`: requests an hour.
    pub(crate) limit: Option<u64>,
    /// `ratelimit-remaining`.
    pub(crate) remaining: Option<u64>,
    /// `ratelimit-reset` less the service's own `date`; zero if it lies in the past.
    pub(crate) until_reset: Option<Duration>,
}

/// What was sent and what the service said about it.
#[derive(Debug)]
pub(crate) struct Budget {
    /// When each request of the last hour was sent, oldest first.
    sent: VecDeque<Instant>,
    hourly: usize,
    closed_until: Option<Instant>,
    newest: Option<Headers>,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { sent: VecDeque::new(), hourly: AN_HOUR, closed_until: None, newest: None }
    }

    /// Counts a request as sent now, or says when to ask again.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        while self.sent.front().is_some_and(|sent| now.duration_since(*sent) >= HOUR) {
            self.sent.pop_front();
        }
        let window = |size: Duration, most: usize| {
            let oldest_counted = self.sent.len().checked_sub(most)?;
            let free = *self.sent.get(oldest_counted)? + size;
            (free > now).then_some(free)
        };
        let closed = self.closed_until.filter(|until| *until > now);
        let waits = [closed, window(MINUTE, A_MINUTE), window(HOUR, self.hourly)];
        match waits.into_iter().flatten().max() {
            Some(until) => Err(until),
            None => {
                self.sent.push_back(now);
                Ok(())
            }
        }
    }

    /// Learns from an answer.
    pub(crate) fn learn(&mut self, headers: Headers, now: Instant) {
        if let Some(limit) = headers.limit.and_then(|limit| usize::try_from(limit).ok()) {
            // A 429 of the minute's limit shows that limit: it must not become the hour's.
            if limit > A_MINUTE {
                self.hourly = limit;
            }
        }
        if headers.remaining == Some(0) {
            let (least, most) = BREATH;
            self.close(now + headers.until_reset.unwrap_or(least).clamp(least, most));
        }
        if headers.remaining.is_some() {
            self.newest = Some(headers);
        }
    }

    /// Nobody sends before then: a 429 is for the token, not for one request.
    pub(crate) fn close(&mut self, until: Instant) {
        self.closed_until = self.closed_until.max(Some(until));
    }

    /// What the newest answer said.
    pub(crate) fn allowance(&self) -> Option<RequestAllowance> {
        let headers = self.newest?;
        Some(RequestAllowance { limit: headers.limit?, remaining: headers.remaining? })
    }

    /// For an error: what is left, and when something comes back.
    pub(crate) fn describe(&self, until: Instant, now: Instant) -> String {
        let wait = until.saturating_duration_since(now).as_secs().max(1);
        match self.allowance() {
            Some(RequestAllowance { limit, remaining }) => format!(
                "{remaining} of {limit} requests an hour were left at the last answer; \
                 the next may be sent in {wait} s"
            ),
            None => format!("the next request may be sent in {wait} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Budget, Headers};

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn send(budget: &mut Budget, count: usize, now: Instant) {
        for _ in 0..count {
            assert_eq!(budget.take(now), Ok(()));
        }
    }

    #[test]
    fn a_minute_has_250_requests_wherever_it_begins() {
        let start = Instant::now();
        let mut budget = Budget::new();
        send(&mut budget, 100, start);
        send(&mut budget, 150, start + seconds(30));
        assert_eq!(budget.take(start + seconds(59)), Err(start + seconds(60)));
        send(&mut budget, 100, start + seconds(60));
        assert_eq!(budget.take(start + seconds(61)), Err(start + seconds(90)));
    }

    #[test]
    fn an_hour_has_as_many_as_the_headers_say() {
        let start = Instant::now();
        let mut budget = Budget::new();
        let limit = Headers { limit: Some(300), remaining: Some(299), until_reset: None };
        budget.learn(limit, start);
        send(&mut budget, 200, start);
        send(&mut budget, 100, start + seconds(120));
        assert_eq!(budget.take(start + seconds(600)), Err(start + seconds(3600)));
        send(&mut budget, 200, start + seconds(3600));
    }

    #[test]
    fn none_left_is_a_breath_whatever_the_reset_says() {
        let start = Instant::now();
        for (until_reset, expected) in
            [(None, 1), (Some(Duration::ZERO), 1), (Some(seconds(4)), 4), (Some(seconds(3600)), 15)]
        {
            let mut budget = Budget::new();
            budget.learn(Headers { limit: Some(5000), remaining: Some(0), until_reset }, start);
            assert_eq!(budget.take(start), Err(start + seconds(expected)));
            assert_eq!(budget.take(start + seconds(expected)), Ok(()));
        }
    }

    #[test]
    fn the_minutes_limit_is_not_taken_for_the_hours() {
        let start = Instant::now();
        let mut budget = Budget::new();
        let minute = Headers { limit: Some(250), remaining: Some(1), until_reset: None };
        budget.learn(minute, start);
        send(&mut budget, 250, start);
        assert_eq!(budget.take(start + seconds(60)), Ok(()));
    }

    #[test]
    fn a_shorter_closing_does_not_shorten_a_longer_one() {
        let start = Instant::now();
        let mut budget = Budget::new();
        budget.close(start + seconds(9));
        budget.close(start + seconds(2));
        assert_eq!(budget.take(start + seconds(3)), Err(start + seconds(9)));
    }
}

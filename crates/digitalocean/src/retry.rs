//! What may be sent again: a pure table, and the pauses in between.
//!
//! The API has no idempotency key, so repeating a create that may have been processed makes a second droplet.
//!
//! | | read | repeatable | once |
//! | --- | --- | --- | --- |
//! | not sent (refused, no name, no TLS) | again | again | again |
//! | 429 | again | again | again |
//! | 422 with the advice to try again | final | final | again: refused, so nothing was made |
//! | lost (timeout, reset, cut short), 408, 5xx | again | again | **unknown** |
//! | any other status | final | final | final |

use std::time::Duration;

use crate::config::Retries;

/// What sending a request twice would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Nothing: it only reads.
    Read,
    /// Nothing more than once: deletes, whole updates, tagging.
    Repeatable,
    /// The same thing twice: creates and actions.
    Once,
}

/// How one try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No byte of the request reached the service.
    NotSent,
    /// The request may have arrived; no whole answer came back.
    Lost,
    /// A whole answer.
    Answered {
        /// Its status.
        status: u16,
        /// Its message advises to try again.
        advises_retry: bool,
    },
}

/// What to do after a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Wait and send it again, as long as attempts and patience last.
    Again,
    /// It may or may not have been done: tell the caller, who must look.
    Unknown,
    /// The answer stands, good or bad.
    Final,
}

/// The table.
pub fn judge(class: Class, outcome: Outcome) -> Verdict {
    match (outcome, class) {
        (outcome, Class::Once) if may_be_done(outcome) => Verdict::Unknown,
        (outcome, Class::Read | Class::Repeatable) if may_be_done(outcome) => Verdict::Again,
        (Outcome::NotSent | Outcome::Answered { status: 429, .. }, _) => Verdict::Again,
        (Outcome::Answered { status: 422, advises_retry: true }, Class::Once) => Verdict::Again,
        (Outcome::Lost | Outcome::Answered { .. }, _) => Verdict::Final,
    }
}

/// Whether the service may have processed a request that ended so.
pub fn may_be_done(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Lost | Outcome::Answered { status: 408 | 500..=599, .. })
}

/// The pause before try number `attempt + 1`. What the service says (`retry-after`) is obeyed first; otherwise pauses
/// double up to a bound. `chance` in `0.0..1.0` takes up to half of it away, so that clients do not march in step.
pub fn pause(
    retries: &Retries,
    attempt: u32,
    retry_after: Option<Duration>,
    chance: f64,
) -> Duration {
    if let Some(told) = retry_after {
        return told;
    }
    let doublings = attempt.saturating_sub(1).min(20);
    let whole = retries.first.saturating_mul(1 << doublings).min(retries.longest);
    whole.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Class, Outcome, Verdict, judge, pause};
    use crate::config::Retries;

    const CLASSES: [Class; 3] = [Class::Read, Class::Repeatable, Class::Once];

    fn answered(status: u16) -> Outcome {
        Outcome::Answered { status, advises_retry: false }
    }

    #[test]
    fn nothing_that_creates_is_repeated_after_it_may_have_been_processed() {
        for outcome in [Outcome::Lost, answered(408), answered(500), answered(502), answered(524)] {
            assert_eq!(judge(Class::Once, outcome), Verdict::Unknown, "{outcome:?}");
            assert_eq!(judge(Class::Read, outcome), Verdict::Again, "{outcome:?}");
            assert_eq!(judge(Class::Repeatable, outcome), Verdict::Again, "{outcome:?}");
        }
    }

    #[test]
    fn what_was_certainly_not_processed_is_repeated_whatever_it_is() {
        for class in CLASSES {
            assert_eq!(judge(class, Outcome::NotSent), Verdict::Again);
            assert_eq!(judge(class, answered(429)), Verdict::Again);
        }
    }

    #[test]
    fn every_other_answer_stands() {
        for class in CLASSES {
            for status in (200..408).chain(409..429).chain(430..500).chain([600]) {
                assert_eq!(judge(class, answered(status)), Verdict::Final, "{status}");
            }
        }
        let advised = Outcome::Answered { status: 422, advises_retry: true };
        assert_eq!(judge(Class::Once, advised), Verdict::Again);
        assert_eq!(judge(Class::Repeatable, advised), Verdict::Final);
    }

    #[test]
    fn pauses_double_are_bounded_and_give_way_to_the_service() {
        let retries = Retries {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(6),
            ..Retries::default()
        };
        let pauses = |chance| {
            [1, 2, 3, 4, 99].map(|attempt| pause(&retries, attempt, None, chance).as_millis())
        };
        assert_eq!(pauses(0.0), [1000, 2000, 4000, 6000, 6000]);
        assert_eq!(pauses(1.0), [500, 1000, 2000, 3000, 3000]);
        let told = Duration::from_secs(40);
        assert_eq!(pause(&retries, 1, Some(told), 0.5), told);
    }
}

//! Faults by rule: which requests fail, how, and how often. Settable in code, and over HTTP at `/_local/faults`.
//!
//! A rule strikes one request at a time, be it sent over HTTP or made in process. What happens to the request itself
//! (refused, lost, late) is the door's affair, and `suffer` is that of the doors that are HTTP; what it *does* wrongly
//! while it is carried out is asked for by the world, through `is_at_work`.

use std::cell::Cell;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A rule. It fits a request by method and path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Method, such as `POST`; `HOST` for what is done on a droplet in process; empty fits all.
    #[serde(default)]
    pub method: String,
    /// A path, such as `/v2/droplets/*/actions`, where `*` stands for one segment and `**`, at the end, for all that
    /// follow; empty fits all.
    #[serde(default)]
    pub path: String,
    /// Let so many fitting requests pass first.
    #[serde(default)]
    pub after: u32,
    /// Then do it so many times.
    #[serde(default = "once")]
    pub times: u32,
    /// What happens.
    pub effect: Effect,
}

fn once() -> u32 {
    1
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// It is answered with this status and not processed.
    Fail {
        /// Status.
        status: u16,
        /// In which form.
        #[serde(default)]
        body: Body,
        /// The sentence in it, instead of the service's usual one for the status.
        #[serde(default)]
        message: Option<String>,
        /// `retry-after`, in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// It is not processed, and no answer comes: the connection closes.
    DropBefore,
    /// It is processed, and no answer comes: the connection closes.
    DropAfter,
    /// It is processed, and the answer comes late.
    Stall {
        /// By so many milliseconds.
        millis: u64,
    },
    /// It is processed, and answered with an error of the service's all the same.
    FailAfter {
        /// Status.
        status: u16,
    },
    /// The action it starts ends in `errored`; a droplet whose create does is gone then.
    ActionErrors,
    /// It is answered as done, and nothing is done: for deletes.
    Forget,
}

/// The form of a failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// The service's own.
    #[default]
    Json,
    /// A page of whoever stands before the service.
    Html,
    /// None.
    Empty,
}

impl Effect {
    /// A refusal in the service's own form.
    pub fn fail(status: u16) -> Self {
        Self::Fail { status, body: Body::Json, message: None, retry_after: None }
    }
}

impl Rule {
    /// The next request of this method and path.
    pub fn next(method: &str, path: &str, effect: Effect) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), after: 0, times: 1, effect }
    }

    fn fits(&self, method: &str, path: &str) -> bool {
        let same = |(pattern, segment): (&str, &str)| pattern == "*" || pattern == segment;
        // The rest of a path, whatever it is.
        let (pattern, rest) = match self.path.strip_suffix("/**") {
            Some(pattern) => (pattern, true),
            None => (self.path.as_str(), false),
        };
        let (segments, there) = (pattern.split('/').count(), path.split('/').count());
        (self.method.is_empty() || self.method.eq_ignore_ascii_case(method))
            && (self.path.is_empty()
                || ((segments == there || (rest && segments < there))
                    && pattern.split('/').zip(path.split('/')).all(same)))
    }
}

/// The rules in force.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Vec<Rule>,
}

impl Faults {
    /// Adds a rule.
    pub fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    /// Removes all rules.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// What happens to this request, if a rule fits it. Uses the rule up by one.
    pub(crate) fn strike(&mut self, method: &str, path: &str) -> Option<Effect> {
        for rule in self.rules.iter_mut().filter(|rule| rule.times > 0 && rule.fits(method, path)) {
            if rule.after > 0 {
                rule.after -= 1;
                continue;
            }
            rule.times -= 1;
            return Some(rule.effect.clone());
        }
        None
    }
}

/// What is done wrongly while a request is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    ActionErrors,
    Forget,
}

thread_local! {
    /// Of the request that this thread is carrying out: a request is carried out at one go.
    static WRONG: Cell<Option<Wrong>> = const { Cell::new(None) };
}

/// Carries a request out under an effect.
pub(crate) fn under<T>(effect: Option<&Effect>, carry_out: impl FnOnce() -> T) -> T {
    WRONG.set(match effect {
        Some(Effect::ActionErrors) => Some(Wrong::ActionErrors),
        Some(Effect::Forget) => Some(Wrong::Forget),
        _ => None,
    });
    let answer = carry_out();
    WRONG.set(None);
    answer
}

/// Whether the request that is being carried out shall do this wrongly.
pub(crate) fn is_at_work(wrong: Wrong) -> bool {
    WRONG.get() == Some(wrong)
}

/// How a request fails that is not carried out, or is answered as if it had not been.
pub(crate) struct Failure<'a> {
    pub(crate) status: u16,
    pub(crate) body: Body,
    pub(crate) message: Option<&'a str>,
    pub(crate) retry_after: Option<u64>,
}

/// What comes of a request under an effect: an answer, or none at all.
pub(crate) async fn suffer<T>(
    effect: Option<&Effect>,
    respond: impl Future<Output = T>,
    failed: impl FnOnce(Failure<'_>) -> T,
) -> Option<T> {
    match effect {
        None | Some(Effect::ActionErrors | Effect::Forget) => Some(respond.await),
        Some(Effect::Fail { status, body, message, retry_after }) => Some(failed(Failure {
            status: *status,
            body: *body,
            message: message.as_deref(),
            retry_after: *retry_after,
        })),
        Some(Effect::FailAfter { status }) => {
            drop(respond.await);
            let (body, message, retry_after) = (Body::Json, None, None);
            Some(failed(Failure { status: *status, body, message, retry_after }))
        }
        Some(Effect::DropBefore) => None,
        Some(Effect::DropAfter) => {
            drop(respond.await);
            None
        }
        Some(Effect::Stall { millis }) => {
            let answer = respond.await;
            tokio::time::sleep(late(*millis)).await;
            Some(answer)
        }
    }
}

/// How late an answer is that stalls.
pub(crate) fn late(millis: u64) -> Duration {
    Duration::from_millis(millis.min(3_600_000))
}

#[cfg(test)]
mod tests {
    use super::{Effect, Faults, Rule};

    #[test]
    fn a_rule_fits_whole_paths_and_lets_pass_and_counts_as_it_says() {
        let mut faults = Faults::default();
        let effect = Effect::DropAfter;
        faults.add(Rule {
            after: 1,
            times: 2,
            ..Rule::next("POST", "/v2/droplets/*/actions", effect)
        });
        assert_eq!(faults.strike("POST", "/v2/droplets"), None);
        assert_eq!(faults.strike("POST", "/v2/droplets/7/actions/8"), None);
        assert_eq!(faults.strike("GET", "/v2/droplets/7/actions"), None);
        let struck: Vec<bool> =
            (0..4).map(|_| faults.strike("post", "/v2/droplets/7/actions").is_some()).collect();
        assert_eq!(struck, [false, true, true, false]);
    }

    #[test]
    fn two_stars_stand_for_all_that_may_follow() {
        let mut faults = Faults::default();
        let rule = Rule::next("PUT", "/spaces/*/webgui/**", Effect::DropAfter);
        faults.add(Rule { times: 2, ..rule });
        for other in ["/spaces/b", "/spaces/b/web", "/spaces/b/other/state/1"] {
            assert_eq!(faults.strike("PUT", other), None, "{other}");
        }
        for below in ["/spaces/b/webgui/state/1", "/spaces/b/webgui"] {
            assert_eq!(faults.strike("PUT", below), Some(Effect::DropAfter), "{below}");
        }
    }

    #[test]
    fn a_rule_is_short_to_write() {
        let rule: Rule = serde_json::from_str(
            r#"{ "path": "/v2/account", "effect": { "fail": { "status": 503 } } }"#,
        )
        .unwrap();
        assert_eq!(rule, Rule::next("", "/v2/account", Effect::fail(503)));
        let lost: Rule = serde_json::from_str(r#"{ "effect": "drop_before" }"#).unwrap();
        assert_eq!(lost.effect, Effect::DropBefore);
        assert!(serde_json::from_str::<Rule>(r#"{ "effect": "dropbefore" }"#).is_err());
    }
}

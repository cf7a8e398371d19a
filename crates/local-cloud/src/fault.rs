//! Faults by rule: which requests fail, how, and how often. Settable in code, and over HTTP at `/_local/faults`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A rule. It fits a request by method and by a part of the path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Method, such as `POST`; empty fits all.
    #[serde(default)]
    pub method: String,
    /// A part of the path, such as `/v2/droplets`; empty fits all.
    #[serde(default)]
    pub path: String,
    /// Let so many fitting requests pass first.
    #[serde(default)]
    pub after: u32,
    /// Then do it so many times.
    pub times: u32,
    /// What happens.
    pub effect: Effect,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It is answered with this status and not processed.
    Fail {
        /// Status.
        status: u16,
        /// An HTML page instead of the service's JSON.
        html: bool,
        /// `retry-after`, in seconds.
        retry_after: Option<u64>,
    },
    /// It is not processed, and no answer comes.
    DropBefore,
    /// It is processed, and no answer comes.
    DropAfter,
    /// It is processed, and the answer comes late.
    Stall(Duration),
    /// The action it starts ends in `errored`.
    ActionErrors,
}

/// The rules in force.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Vec<Rule>,
    erring: u32,
}

impl Faults {
    /// Adds a rule.
    pub fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    /// Removes all rules.
    pub fn clear(&mut self) {
        self.rules.clear();
        self.erring = 0;
    }

    /// What happens to this request, if a rule fits it. Uses the rule up by one.
    pub(crate) fn strike(&mut self, method: &str, path: &str) -> Option<Effect> {
        let fits = |rule: &&mut Rule| {
            (rule.method.is_empty() || rule.method.eq_ignore_ascii_case(method))
                && path.contains(&rule.path)
                && rule.times > 0
        };
        for rule in self.rules.iter_mut().filter(fits) {
            if rule.after > 0 {
                rule.after -= 1;
                continue;
            }
            rule.times -= 1;
            if rule.effect == Effect::ActionErrors {
                self.erring += 1;
                return None;
            }
            return Some(rule.effect.clone());
        }
        None
    }

    /// Whether the action that starts now ends in `errored`.
    pub(crate) fn action_fails(&mut self, kind: &str) -> bool {
        let fails = self.erring > 0 && kind != "create";
        self.erring -= u32::from(fails);
        fails
    }
}

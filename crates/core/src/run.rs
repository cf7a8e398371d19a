//! What a run did: the input of reports, and what a person reads after an apply.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::Outcome;
use crate::plan::Purpose;
use crate::release::Phase;

/// The record of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// What it was for.
    pub purpose: Purpose,
    /// The stack.
    pub stack: String,
    /// Serial of the state it ended with.
    pub serial: u64,
    /// Every step, by number.
    pub steps: Vec<StepRecord>,
    /// Where the release ended, if there was one.
    pub release: Option<Phase>,
    /// A stop signal ended it early.
    pub stopped: bool,
    /// Requests sent to the cloud.
    pub requests: u64,
    /// Commits of the state.
    pub commits: u64,
    /// How long it took.
    pub took: Duration,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum StepRecord {
    /// It ended well.
    Done {
        /// What it found to do.
        outcome: Outcome,
    },
    /// It failed.
    Failed(Failure),
    /// It was not tried.
    Skipped,
}

/// Why a step failed: what people need at 3 a.m.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The object (`droplet.worker[2]`, `release`).
    pub object: String,
    /// What was being done.
    pub doing: String,
    /// What went wrong: the whole chain, outermost first.
    pub causes: Vec<String>,
    /// Evidence: last probe, container state, exit code, last log lines; one entry a line.
    pub evidence: Vec<String>,
    /// The next command or remedy.
    pub help: Option<String>,
}

impl RunRecord {
    /// Whether every step ended well and nothing stopped it.
    pub fn succeeded(&self) -> bool {
        !self.stopped && self.failures().next().is_none()
    }

    /// The failed steps.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.steps.iter().filter_map(|step| match step {
            StepRecord::Failed(failure) => Some(failure),
            StepRecord::Done { .. } | StepRecord::Skipped => None,
        })
    }
}

//! What a run tells while it runs: typed events, which a terminal, a CI log and `--json` each show in their own way.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::address::Address;
use crate::image::Digest;
use crate::release::Phase;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A refresh began.
    RefreshStarted,
    /// A refresh ended.
    RefreshFinished {
        /// Requests it took.
        requests: u64,
        /// How long it took.
        took: Duration,
    },
    /// The walk of the steps began.
    RunStarted {
        /// How many steps there are.
        steps: usize,
    },
    /// A step began.
    StepStarted {
        /// Its number.
        step: usize,
        /// What it is about.
        addresses: Vec<Address>,
        /// What it does, in a few words ("creating", "waiting for cloud-init").
        what: String,
    },
    /// A step goes on.
    StepProgress {
        /// Its number.
        step: usize,
        /// What it waits for or does now.
        what: String,
    },
    /// A step ended well.
    StepFinished {
        /// Its number.
        step: usize,
        /// What it found to do.
        outcome: Outcome,
        /// What it ended in ("id 3164494", "203.0.113.5").
        what: String,
        /// How long it took.
        took: Duration,
    },
    /// A step failed.
    StepFailed {
        /// Its number.
        step: usize,
        /// Why, in one line; the whole is in the run's record.
        why: String,
    },
    /// A step is not tried because one it needs failed or the run was stopped.
    StepSkipped {
        /// Its number.
        step: usize,
    },
    /// The release reached a phase.
    Phase {
        /// Its phase.
        phase: Phase,
    },
    /// Bytes of an image on their way to a worker.
    Pull {
        /// The worker.
        worker: u32,
        /// The image.
        digest: Digest,
        /// So far.
        bytes: u64,
        /// In all, if known.
        total: Option<u64>,
    },
    /// A health probe or a look from outside.
    Probe {
        /// The worker, or nothing for a look from outside.
        worker: Option<u32>,
        /// What was seen ("200 in 3 ms", "connection refused").
        seen: String,
        /// Successes in a row so far.
        in_a_row: u32,
        /// Successes needed.
        needed: u32,
    },
    /// The floating IP was read back at a worker.
    Switched {
        /// The address.
        ip: Ipv4Addr,
        /// The worker.
        worker: u32,
        /// From the assign request to the read-back.
        took: Duration,
    },
    /// Something a person should read, that is no step.
    Note {
        /// The text.
        text: String,
    },
    /// The first stop signal was heeded: nothing new is begun.
    Stopping,
}

/// What an `ensure` found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was not there and is now.
    Added,
    /// It was there and is different now.
    Changed,
    /// It was there with our mark and is ours now.
    Adopted,
    /// It was so already.
    AlreadySo,
    /// It is gone now.
    Removed,
}

/// Receives events. Must not block.
pub trait Listener: Send + Sync {
    /// Takes one event.
    fn event(&self, event: &Event);
}

//! The release transition: one function decides what comes next, in the live run and after a crash alike.
//!
//! The machine performs nothing. [`pending_action`] says what a phase waits for; whoever performs it feeds the
//! [`Event`] to [`next`] and makes the new phase durable before going on. After a crash the first event is always
//! [`Event::Resumed`], which carries where the floating IP points: the IP is the commit record of a swap.
//!
//! | phase | action | event → next phase |
//! | --- | --- | --- |
//! | `Staging` | stage | `Done` → `Gating` · `Failed` → `Aborted` · `Resumed` old → `Staging`, new or other → `Aborted` |
//! | `Gating` | gate | `Done` → `Switching` · `Failed` → `Aborted` · `Resumed` old → `Staging`, new or other → `Aborted` |
//! | `Switching` | switch | `Done` → `Verifying` · `Failed` → `Aborted` · `Resumed` new → `Verifying`, old → `Staging`, other → `Aborted` |
//! | `Verifying` | verify | `Done` → `Retagging` · `Failed` → `SwitchingBack` · `Resumed` new → `Verifying`, old or other → `Aborted` |
//! | `SwitchingBack` | switch back | `Done` → `RetaggingBack` · `Resumed` any → `SwitchingBack` |
//! | `Retagging` | retag | `Done` → `Recording` · `Failed` → `Recording` · `Resumed` any → `Retagging` |
//! | `RetaggingBack` | retag | `Done`, `Failed` → `Reverted` · `Resumed` any → `RetaggingBack` |
//! | `Recording` | record | `Done` → `Completed` · `Resumed` any → `Recording` |
//! | `Completed`, `Aborted`, `Reverted` | none | nothing: they are at rest |
//!
//! `Abort` (a person's wish) leads to `Aborted` before the switch, and to `SwitchingBack` from `Switching`,
//! `Verifying` and `Retagging`. Every other pair is an [`IllegalEvent`].
//!
//! Before the switch, "new" means that somebody moved the address to the standby by hand: its container must not be
//! touched any more, so the release ends there. A first release has no old worker; see [`Transition::target`].
//!
//! A failed retag does not undo a release: tags are a view of the floating IP that every run repairs. A switch back cannot
//! fail for good: as long as the address leads to the release that failed, the old one is not live again, and each run goes
//! on there.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::image::{Digest, ImageRef};
use crate::settings::Settings;

/// Why a release happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nothing was live: the worker that the floating IP points to gets the image.
    First,
    /// A new image goes live on a standby.
    Swap,
    /// A standby's own release goes live again.
    Rollback,
}

/// A release under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// Why.
    pub kind: Kind,
    /// The image as the spec named it.
    pub image: ImageRef,
    /// What exactly shall run.
    pub digest: Digest,
    /// Digest of port, environment and the like.
    pub config: String,
    /// How it is reached and judged.
    pub settings: Settings,
    /// The worker that is live; `None` for a first release.
    pub from: Option<u32>,
    /// The worker that shall be live.
    pub to: u32,
    /// How far it is.
    pub phase: Phase,
    /// When it began.
    pub since: Timestamp,
    /// Who began it.
    pub by: String,
    /// A person wants it taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aborted: bool,
}

impl Transition {
    /// Where the floating IP points, given the worker it points to. In a first release the address points to the new
    /// worker from the beginning, with nothing served there: that counts as old until the switch is due.
    pub fn target(&self, worker: Option<u32>) -> Target {
        let switch_due = !matches!(self.phase, Phase::Staging | Phase::Gating);
        match worker {
            Some(worker) if worker == self.to && (self.from.is_some() || switch_due) => Target::New,
            Some(worker) if worker == self.from.unwrap_or(self.to) => Target::Old,
            Some(_) | None => Target::Other,
        }
    }
}

/// How far a release is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The container is put on the standby.
    Staging,
    /// The health gate and the user's own checks look at it.
    Gating,
    /// The floating IP moves: the commit point.
    Switching,
    /// Users' way in is looked at.
    Verifying,
    /// What users saw was wrong: the floating IP moves back.
    SwitchingBack,
    /// The role tags follow the floating IP.
    Retagging,
    /// The role tags follow the floating IP back.
    RetaggingBack,
    /// History is written.
    Recording,
    /// At rest: the new release is live.
    Completed,
    /// At rest: nothing users see was changed.
    Aborted,
    /// At rest: the old release is live again.
    Reverted,
}

/// What a phase waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Pull by digest, put the container on the standby.
    Stage,
    /// Health gate, then `deploy.verify` commands.
    Gate,
    /// Assign the floating IP to the new worker and read it back.
    Switch,
    /// Requests through floating IP, load balancer and domain.
    Verify,
    /// Assign the floating IP to the old worker and read it back.
    SwitchBack,
    /// Put PROD on the live worker, then take it off the others, then FALLBACK likewise.
    Retag,
    /// Append to the release history.
    Record,
}

/// Where the floating IP points, seen from a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// At the worker that shall be live.
    New,
    /// At the worker that was live.
    Old,
    /// At something else, or nothing: somebody moved it.
    Other,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// The phase's action was done.
    Done,
    /// The phase's action failed for good.
    Failed,
    /// A run takes over from one that ended here; the floating IP points there.
    Resumed(Target),
    /// A person wants the old release back.
    Abort,
}

/// An event that cannot happen in the phase: a bug of the caller, never a state of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("event {event:?} cannot happen in phase {phase:?}")]
pub struct IllegalEvent {
    /// The phase.
    pub phase: Phase,
    /// The event.
    pub event: Event,
}

/// The phase in which a run takes over a release that an earlier one left: told where the floating IP points and then, if a
/// person wants the old release back, told that.
pub fn take_over(phase: Phase, target: Target, undo: bool) -> Result<Phase, IllegalEvent> {
    use Phase::{Gating, Retagging, Staging, Switching, Verifying};
    match next(phase, Event::Resumed(target))? {
        ahead @ (Staging | Gating | Switching | Verifying | Retagging) if undo => {
            next(ahead, Event::Abort)
        }
        phase => Ok(phase),
    }
}

/// The phase after an event.
pub fn next(phase: Phase, event: Event) -> Result<Phase, IllegalEvent> {
    use Event::{Abort, Done, Failed, Resumed};
    use Phase::{
        Aborted, Completed, Gating, Recording, Retagging, RetaggingBack, Reverted, Staging,
        Switching, SwitchingBack, Verifying,
    };
    let next = match (phase, event) {
        (Staging, Done) => Gating,
        (Gating, Done) => Switching,
        (Switching, Done) => Verifying,
        (Verifying, Done) => Retagging,
        (Retagging, Done | Failed) => Recording,
        (Recording, Done) => Completed,
        (SwitchingBack, Done) => RetaggingBack,
        (RetaggingBack, Done | Failed) => Reverted,

        (Staging | Gating | Switching, Failed) => Aborted,
        (Verifying, Failed) => SwitchingBack,

        (Staging | Gating | Switching, Resumed(Target::Old)) => Staging,
        (Switching | Verifying, Resumed(Target::New)) => Verifying,
        (Staging | Gating, Resumed(Target::New)) => Aborted,
        (Staging | Gating | Switching | Verifying, Resumed(Target::Other)) => Aborted,
        (Verifying, Resumed(Target::Old)) => Aborted,
        (SwitchingBack, Resumed(_)) => SwitchingBack,
        (Retagging, Resumed(_)) => Retagging,
        (RetaggingBack, Resumed(_)) => RetaggingBack,
        (Recording, Resumed(_)) => Recording,

        (Staging | Gating, Abort) => Aborted,
        (Switching | Verifying | Retagging, Abort) => SwitchingBack,

        (Recording | SwitchingBack, Failed | Abort)
        | (RetaggingBack, Abort)
        | (Completed | Aborted | Reverted, Done | Failed | Resumed(_) | Abort) => {
            return Err(IllegalEvent { phase, event });
        }
    };
    Ok(next)
}

/// What the phase waits for; `None` at rest.
pub fn pending_action(phase: Phase) -> Option<Action> {
    match phase {
        Phase::Staging => Some(Action::Stage),
        Phase::Gating => Some(Action::Gate),
        Phase::Switching => Some(Action::Switch),
        Phase::Verifying => Some(Action::Verify),
        Phase::SwitchingBack => Some(Action::SwitchBack),
        Phase::Retagging | Phase::RetaggingBack => Some(Action::Retag),
        Phase::Recording => Some(Action::Record),
        Phase::Completed | Phase::Aborted | Phase::Reverted => None,
    }
}

/// How many steps a release has.
pub const STEPS: usize = 6;

impl Phase {
    /// How many of a release's [`STEPS`] are done; `None` on the way back.
    pub fn steps_done(self) -> Option<usize> {
        match self {
            Self::Staging => Some(0),
            Self::Gating => Some(1),
            Self::Switching => Some(2),
            Self::Verifying => Some(3),
            Self::Retagging => Some(4),
            Self::Recording => Some(5),
            Self::Completed => Some(STEPS),
            Self::SwitchingBack | Self::RetaggingBack | Self::Aborted | Self::Reverted => None,
        }
    }

    /// Which of the six steps this is, counted from 1, for people; at rest, 6.
    pub fn step(self) -> u8 {
        match self {
            Self::Staging => 1,
            Self::Gating => 2,
            Self::Switching => 3,
            Self::Verifying | Self::SwitchingBack => 4,
            Self::Retagging | Self::RetaggingBack => 5,
            Self::Recording | Self::Completed | Self::Aborted | Self::Reverted => 6,
        }
    }

    /// The word people read: `stage`, `health`, `switch`, `verify`, `retag`, `record`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Staging => "stage",
            Self::Gating => "health",
            Self::Switching => "switch",
            Self::Verifying => "verify",
            Self::SwitchingBack => "switch back",
            Self::Retagging | Self::RetaggingBack => "retag",
            Self::Recording => "record",
            Self::Completed => "completed",
            Self::Aborted => "aborted",
            Self::Reverted => "reverted",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Event, Phase, Target, next, pending_action};

    const PHASES: [Phase; 11] = [
        Phase::Staging,
        Phase::Gating,
        Phase::Switching,
        Phase::Verifying,
        Phase::SwitchingBack,
        Phase::Retagging,
        Phase::RetaggingBack,
        Phase::Recording,
        Phase::Completed,
        Phase::Aborted,
        Phase::Reverted,
    ];
    const EVENTS: [Event; 6] = [
        Event::Done,
        Event::Failed,
        Event::Resumed(Target::New),
        Event::Resumed(Target::Old),
        Event::Resumed(Target::Other),
        Event::Abort,
    ];

    #[test]
    fn the_module_table_is_the_whole_truth() {
        let table: Vec<String> = PHASES
            .iter()
            .map(|&phase| {
                let row: Vec<String> = EVENTS
                    .iter()
                    .map(|&event| {
                        next(phase, event).map_or("-".to_owned(), |phase| format!("{phase:?}"))
                    })
                    .collect();
                format!("{phase:?}: {}", row.join(" "))
            })
            .collect();
        assert_eq!(
            table,
            [
                "Staging: Gating Aborted Aborted Staging Aborted Aborted",
                "Gating: Switching Aborted Aborted Staging Aborted Aborted",
                "Switching: Verifying Aborted Verifying Staging Aborted SwitchingBack",
                "Verifying: Retagging SwitchingBack Verifying Aborted Aborted SwitchingBack",
                "SwitchingBack: RetaggingBack - SwitchingBack SwitchingBack SwitchingBack -",
                "Retagging: Recording Recording Retagging Retagging Retagging SwitchingBack",
                "RetaggingBack: Reverted Reverted RetaggingBack RetaggingBack RetaggingBack -",
                "Recording: Completed - Recording Recording Recording -",
                "Completed: - - - - - -",
                "Aborted: - - - - - -",
                "Reverted: - - - - - -",
            ]
        );
    }

    #[test]
    fn every_phase_with_an_action_can_reach_rest_and_no_other_phase_moves() {
        for start in PHASES {
            let mut seen = BTreeSet::from([start]);
            let mut front = vec![start];
            while let Some(phase) = front.pop() {
                for event in EVENTS {
                    if let Ok(after) = next(phase, event)
                        && seen.insert(after)
                    {
                        front.push(after);
                    }
                }
            }
            let rests = seen.iter().any(|&phase| pending_action(phase).is_none());
            assert!(rests, "{start:?} never rests");
            assert_eq!(pending_action(start).is_none(), seen.len() == 1, "{start:?}");
        }
    }
}

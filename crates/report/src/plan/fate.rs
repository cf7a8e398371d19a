//! What a release does to those who are there already: to the worker that was live, and to users.
//!
//! A reviewer may read nothing but the sentence made from this, so it follows what the plan really does, and says "none"
//! of an interruption only if no step of the plan and nothing found outside speaks against it.

use seachange_core::address::Address;
use seachange_core::plan::{ActionKind, Effect, Finding, Plan, ReleasePlan};
use seachange_core::release::Phase;

/// Where a release stands when a plan takes it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// The switch is still to come.
    Ahead,
    /// Users are on the new release.
    Switched,
    /// Users are being led back.
    Back,
}

impl Course {
    pub(super) fn of(release: &ReleasePlan) -> Self {
        if release.leads_back() {
            return Self::Back;
        }
        match release.resumes.as_ref().map(|resumes| resumes.phase) {
            None | Some(Phase::Staging | Phase::Gating | Phase::Switching) => Self::Ahead,
            Some(Phase::Verifying | Phase::Retagging | Phase::Recording | Phase::Completed) => {
                Self::Switched
            }
            Some(_) => Self::Back,
        }
    }
}

/// What becomes of the worker that was live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It had no release.
    Bare,
    /// It keeps its version running.
    Keeps(String),
    /// It keeps the same image running, as it was configured before.
    KeepsConfiguration(String),
    /// It gets this version anew.
    Warmed(String),
    /// It is destroyed.
    Destroyed,
    /// It is replaced; its successor gets this version.
    Replaced(Option<String>),
    /// Something is wrong with it, and it is left so.
    Unwell,
}

impl Fate {
    pub(super) fn of(plan: &Plan, release: &ReleasePlan, from: u32) -> Self {
        let warmed = plan.steps.iter().find_map(|step| match &step.effect {
            Effect::Warm { worker, image, .. } if *worker == from => Some(image.version()),
            _ => None,
        });
        let address = Address::Worker(from);
        let change = plan.changes.iter().find(|change| change.address == address);
        match (change.map(|change| change.action), warmed, &release.live) {
            (Some(ActionKind::Delete), _, _) => Self::Destroyed,
            (Some(ActionKind::Replace), warmed, _) => Self::Replaced(warmed),
            (_, Some(version), _) => Self::Warmed(version),
            (_, None, None) => Self::Bare,
            (_, None, Some(_)) if is_unwell(plan, from) => Self::Unwell,
            (_, None, Some((image, digest))) if *digest == release.digest => {
                Self::KeepsConfiguration(image.version())
            }
            (_, None, Some((image, _))) => Self::Keeps(image.version()),
        }
    }

    /// For the picture, after the droplet's name.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Bare => "has no release to go back to".to_owned(),
            Self::Keeps(version) => format!("keeps {version} running, ready to roll back"),
            Self::KeepsConfiguration(version) => {
                format!("keeps {version} running as it is, ready to roll back")
            }
            Self::Warmed(version) => format!("gets {version} again, to roll back to"),
            Self::Destroyed => "is destroyed after the switch".to_owned(),
            Self::Replaced(None) => "is replaced after the switch".to_owned(),
            Self::Replaced(Some(version)) => {
                format!("is replaced after the switch, then keeps {version} running")
            }
            Self::Unwell => "is left as it was found".to_owned(),
        }
    }

    /// For the sentence.
    pub(super) fn clause(&self, name: &str) -> String {
        match self {
            Self::Bare => String::new(),
            Self::Keeps(version) => format!("; {version} stays warm on {name}"),
            Self::KeepsConfiguration(_) => {
                format!("; the present configuration stays warm on {name}")
            }
            Self::Replaced(Some(version)) => {
                format!("; {name} is replaced after that and keeps {version} warm")
            }
            Self::Warmed(_) | Self::Destroyed | Self::Replaced(None) | Self::Unwell => {
                format!("; {name} {}", self.words())
            }
        }
    }
}

/// Whether users notice.
pub(super) fn interruption(plan: &Plan, release: &ReleasePlan, from: u32) -> &'static str {
    if Course::of(release) == Course::Switched {
        "This finishes the release."
    } else if is_down(plan, from) {
        "Users get errors now; the switch ends that."
    } else if cuts_the_way(plan, release) {
        "Expected interruption: from the change of the load balancer's port until the switch."
    } else {
        "Expected interruption: none."
    }
}

/// A container that does not run, or a droplet that is off.
fn is_down(plan: &Plan, worker: u32) -> bool {
    plan.drift.iter().any(|drift| {
        let down = match &drift.finding {
            Finding::ContainerDown { .. } | Finding::Missing => true,
            Finding::Changed { attribute, .. } => attribute == "status",
            _ => false,
        };
        down && drift.address == Address::Worker(worker)
    })
}

fn is_unwell(plan: &Plan, worker: u32) -> bool {
    let foreign = |finding: &Finding| matches!(finding, Finding::ForeignImage { worker: found, .. } if *found == worker);
    is_down(plan, worker) || plan.drift.iter().any(|drift| foreign(&drift.finding))
}

/// Whether the load balancer leads users to the new release's port while the old one is still live. For that reason only
/// the planner makes its configuration wait for a container on the standby.
fn cuts_the_way(plan: &Plan, release: &ReleasePlan) -> bool {
    let warms = |step: &usize| {
        let effect = plan.steps.get(*step).map(|step| &step.effect);
        matches!(effect, Some(Effect::Warm { worker, .. }) if *worker == release.to)
    };
    plan.steps.iter().any(|step| {
        matches!(step.effect, Effect::ConfigureLoadBalancer { .. }) && step.after.iter().any(warms)
    })
}

//! Drives core's release machine: perform what the phase waits for, feed the event, make the new phase durable, repeat.
//!
//! The live run and the one after a crash are the same loop; the latter only feeds where the floating IP points before
//! it enters it. There is no branch on phases here but one: a stop is heeded before the switch, and from there on the
//! release goes forward to rest. What is learnt on the way becomes durable together with the phase it leads to.

pub(crate) mod drain;
mod gate;
pub(crate) mod stage;
mod switch;
mod verify;

use seachange_core::address::Address;
use seachange_core::event::{Event as Told, Outcome};
use seachange_core::journal::{Change, Entry, OperationKind};
use seachange_core::plan::{Effect, Plan, ReleasePlan};
use seachange_core::release::{
    Action, Event, IllegalEvent, Kind, Phase, Target, Transition, next, pending_action, take_over,
};
use seachange_core::run::Failure;
use seachange_core::state::Release;

use crate::pace::Cut;
use crate::step::{Done, Step, Trouble, failure};
use crate::steps::{floating_ip, tags};
use stage::Candidate;

/// Puts a release on a worker that is not live, and gates it.
pub(crate) async fn warm(step: &mut Step<'_>, candidate: &Candidate<'_>) -> Result<Done, Trouble> {
    let address = Address::Worker(candidate.worker);
    must_not_be_live(step, candidate.worker).await?;
    let operation = step.begin(OperationKind::Repeatable, std::slice::from_ref(&address)).await?;
    let deployed = stage::stage(step, candidate, Kind::Swap).await?;
    gate::gate(step, candidate).await?;
    let outcome = format!("{} runs on {address}", candidate.digest.short());
    step.end(operation, vec![deployed]).await?;
    Ok((Outcome::Changed, outcome))
}

/// A live worker's container is never stopped or replaced, whatever a plan says.
async fn must_not_be_live(step: &Step<'_>, worker: u32) -> Result<(), Trouble> {
    let Some(ip) = step.run.journal.with(|state| state.floating_ip()) else { return Ok(()) };
    let points_to = step.run.context.cloud.reserved_ip(ip).await?.droplet;
    let serves = step.run.journal.with(|state| state.deployed.contains_key(&worker));
    if step.worker_of(points_to) != Some(worker) || !serves {
        return Ok(());
    }
    Err(failure(
        Address::Worker(worker),
        "putting a release on it",
        &Trouble::Missing(format!("{ip} points to it: users are on it")),
        "see where users are, then plan again: seachange status",
    )
    .into())
}

/// Runs the plan's release to rest, or parks it where it may rest.
pub(crate) async fn run(step: &mut Step<'_>) -> Result<Done, Trouble> {
    let plan = step.run.plan.release.as_ref().ok_or_else(|| {
        Trouble::Missing("the plan has a step for a release, but no release".to_owned())
    })?;
    let (mut transition, mut trouble) = entered(step, plan).await?;
    step.release = Some(transition.phase);
    while let Some(action) = pending_action(transition.phase) {
        let told = Told::Phase { phase: transition.phase };
        step.run.context.tell(&told);
        step.does(transition.phase.word());
        if is_before_the_switch(transition.phase) && step.run.context.stop.requested() {
            return Err(Cut::Stopped.into());
        }
        let (event, learnt) = match perform(step, &transition, action).await {
            Ok(learnt) => (Event::Done, learnt),
            Err(Halt::Failed(why)) => {
                trouble.get_or_insert(*why);
                (Event::Failed, Vec::new())
            }
            Err(Halt::Unsettled(unsettled)) => return Err(parked(step, unsettled, trouble)),
        };
        let after = next(transition.phase, event).map_err(impossible)?;
        if after == Phase::Switching && step.run.context.stop.requested() {
            return Err(Cut::Stopped.into());
        }
        transition.phase = after;
        persist(step, &transition, learnt).await?;
    }
    ended(&transition, trouble, plan.undoes())
}

fn is_before_the_switch(phase: Phase) -> bool {
    matches!(phase, Phase::Staging | Phase::Gating)
}

/// How a phase's action did not end well.
enum Halt {
    /// It failed for good.
    Failed(Box<Failure>),
    /// Nobody can say how it ended, or it may be tried again: the phase stays as it is, and the next run looks.
    Unsettled(Trouble),
}

impl Halt {
    /// For an action before the switch or after it, which has failed for good unless it was only cut off.
    fn of(step: &Step<'_>, trouble: Trouble) -> Self {
        match trouble {
            Trouble::Journal(_) | Trouble::Cut(Cut::Stopped) => Self::Unsettled(trouble),
            other => Self::Failed(Box::new(step.failure(other))),
        }
    }

    /// For an action that cannot fail for good.
    fn unsettled(self) -> Self {
        match self {
            Self::Failed(failure) => Self::Unsettled(Trouble::Failed(failure)),
            unsettled @ Self::Unsettled(_) => unsettled,
        }
    }
}

/// Why a release is left as it is: what could not be settled, and what had gone wrong before.
fn parked(step: &Step<'_>, unsettled: Trouble, before: Option<Failure>) -> Trouble {
    let Some(before) = before else { return unsettled };
    // Whoever is to end the run has to see what ends it.
    if matches!(unsettled, Trouble::Journal(_) | Trouble::Cut(Cut::Stopped)) {
        return unsettled;
    }
    let mut failure = step.failure(unsettled);
    failure.evidence.push(format!("before that: {}: {}", before.doing, before.causes.join(": ")));
    failure.evidence.extend(before.evidence);
    failure.into()
}

async fn perform(
    step: &mut Step<'_>,
    transition: &Transition,
    action: Action,
) -> Result<Vec<Change>, Halt> {
    let candidate = Candidate::of(transition);
    let nothing = |()| Vec::new();
    match action {
        Action::Stage => {
            if transition.from.is_some() {
                let free = must_not_be_live(step, transition.to).await;
                free.map_err(|trouble| Halt::of(step, trouble))?;
            }
            let staged = stage::stage(step, &candidate, transition.kind).await;
            staged.map(|change| vec![change]).map_err(|trouble| Halt::of(step, trouble))
        }
        Action::Gate => {
            let gated = gate::gate(step, &candidate).await;
            gated.map(nothing).map_err(|trouble| Halt::of(step, trouble))
        }
        Action::Switch => switch::forward(step, transition).await.map(nothing),
        Action::Verify => {
            let verified = verify::verify(step, transition).await;
            verified.map(nothing).map_err(|trouble| Halt::of(step, trouble))
        }
        Action::SwitchBack => switch::back(step, transition).await.map(nothing),
        Action::Retag => match tags::follow_floating_ip(step).await {
            Ok(()) => Ok(Vec::new()),
            Err(trouble @ Trouble::Journal(_)) => Err(Halt::Unsettled(trouble)),
            // The droplet that still carries PROD may be the one that goes: then nobody would.
            Err(trouble) if deletes_a_droplet(step.run.plan) => Err(Halt::Unsettled(trouble)),
            Err(trouble) => {
                // Tags are a view, and the next run repairs them: that alone does not make a release a failed one.
                let why = step.failure(trouble).causes.join(": ");
                let tail = "the next apply repairs the tags";
                step.run.context.note(format!("PROD and FALLBACK could not be set: {why}; {tail}"));
                Ok(Vec::new())
            }
        },
        Action::Record => Ok(vec![released(step, transition)]),
    }
}

fn deletes_a_droplet(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| matches!(step.effect, Effect::DeleteDroplet { .. }))
}

/// Makes a phase durable, with what was learnt on the way to it. At rest there is nothing under way any more.
async fn persist(
    step: &mut Step<'_>,
    transition: &Transition,
    learnt: Vec<Change>,
) -> Result<(), Trouble> {
    let under_way = pending_action(transition.phase).map(|_| transition.clone());
    let mut entries = Vec::new();
    if !learnt.is_empty() {
        entries.push(Entry::Note { changes: learnt });
    }
    entries.push(Entry::Transition(under_way));
    step.run.journal.record_all(entries).await?;
    step.release = Some(transition.phase);
    Ok(())
}

/// The transition as this run finds it, durable: a new one, or an earlier run's after it was told where the IP points.
async fn entered(
    step: &mut Step<'_>,
    plan: &ReleasePlan,
) -> Result<(Transition, Option<Failure>), Trouble> {
    let earlier = step.run.journal.with(|state| state.transition.clone());
    let earlier = earlier.filter(|earlier| pending_action(earlier.phase).is_some());
    let Some(mut earlier) = earlier else {
        return Ok((begun(step, plan).await?, None));
    };
    let ip = floating_ip::ours(step)?;
    let pace = step.pace(step.run.context.patience.action);
    // An assign of the earlier run may still be under way: where the address points then is what counts.
    let points_to = floating_ip::at_rest(step, &pace, ip).await?.droplet;
    let target = earlier.target(step.worker_of(points_to));
    if !is_same(&earlier, plan) {
        // Nothing of it was seen by users: another release may take its place.
        let unseen = target == Target::Old && earlier.phase <= Phase::Switching;
        return if unseen {
            Ok((begun(step, plan).await?, None))
        } else {
            Err(failure(
                Address::Release,
                "taking over the release under way",
                &Trouble::Missing(format!(
                    "the release of {} to {} is past the switch, and the plan is for another one",
                    earlier.digest.short(),
                    Address::Worker(earlier.to)
                )),
                "finish that one first: seachange apply with its image, or seachange rollback",
            )
            .into())
        };
    }
    let was = earlier.phase;
    let moved = take_over(was, target, false) == Ok(Phase::Aborted);
    earlier.aborted |= plan.undoes();
    earlier.phase = take_over(was, target, earlier.aborted).map_err(impossible)?;
    persist(step, &earlier, Vec::new()).await?;
    let moved = moved.then(|| {
        failure(
            Address::Release,
            format!("going on from {}", was.word()),
            &Trouble::Missing(format!("{ip} was moved by somebody else meanwhile")),
            "see where users are, then plan again: seachange status",
        )
    });
    Ok((earlier, moved))
}

fn is_same(earlier: &Transition, plan: &ReleasePlan) -> bool {
    (earlier.from, earlier.to) == (plan.from, plan.to)
        && earlier.digest == plan.digest
        && earlier.config == plan.config
}

async fn begun(step: &mut Step<'_>, plan: &ReleasePlan) -> Result<Transition, Trouble> {
    let transition = Transition {
        kind: plan.kind,
        image: plan.image.clone(),
        digest: plan.digest.clone(),
        config: plan.config.clone(),
        settings: plan.settings.clone(),
        from: plan.from,
        to: plan.to,
        phase: Phase::Staging,
        since: step.run.context.clock.now(),
        by: step.run.context.by.clone(),
        aborted: false,
    };
    persist(step, &transition, Vec::new()).await?;
    Ok(transition)
}

fn released(step: &Step<'_>, transition: &Transition) -> Change {
    let last = step.run.journal.with(|state| state.releases.last().map(|last| last.number));
    Change::Released(Release {
        number: last.unwrap_or(0) + 1,
        kind: transition.kind,
        image: transition.image.clone(),
        digest: transition.digest.clone(),
        worker: transition.to,
        at: step.run.context.clock.now(),
        by: step.run.context.by.clone(),
    })
}

fn ended(
    transition: &Transition,
    trouble: Option<Failure>,
    wanted_back: bool,
) -> Result<Done, Trouble> {
    let what = format!("{} on {}", transition.image.version(), Address::Worker(transition.to));
    match (transition.phase, trouble) {
        (Phase::Completed, _) => Ok((Outcome::Changed, format!("users get {what}"))),
        (_, Some(failure)) => Err(failure.into()),
        (Phase::Aborted | Phase::Reverted, None) if wanted_back => {
            Ok((Outcome::Changed, format!("the release of {what} is taken back")))
        }
        (phase, None) => Err(failure(
            Address::Release,
            "ending what an earlier run left",
            &Trouble::Missing(format!("the release of {what} was {}", phase.word())),
            "to try it again: seachange apply",
        )
        .into()),
    }
}

/// A pair that core's table does not have: the loop above is wrong, not the world.
fn impossible(illegal: IllegalEvent) -> Trouble {
    failure(Address::Release, "driving the release", &illegal, "please report this: it is a bug")
        .into()
}

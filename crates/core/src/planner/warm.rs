//! Containers: the release step, and what every standby keeps ready to roll back to.
//!
//! A release's image is known for ever, its environment is not: secrets are never stored. So a container that is there
//! is started as it is, and one that has to be made anew gets its old image with the spec's present configuration.

use super::desired::App;
use super::draft::{Draft, to};
use super::fleet::{Fate, Fleet, Member};
use super::hosts::{self, Content, Verdict};
use super::release::{Roles, deployed};
use super::roles;
use crate::address::Address;
use crate::cloud::DropletStatus;
use crate::plan::{ActionKind, Attribute, Effect, Reason, ReleasePlan};
use crate::state::Deployed;

/// Puts exactly this on a worker that is not live.
pub(super) fn onto(
    draft: &mut Draft<'_>,
    worker: u32,
    kept: &Deployed,
    after: Option<usize>,
) -> usize {
    let effect = Effect::Warm {
        worker,
        image: kept.image.clone(),
        digest: kept.digest.clone(),
        config: kept.config.clone(),
        settings: kept.settings.clone(),
    };
    let after = draft.ready(&Address::Worker(worker)).into_iter().chain(after);
    let step = draft.step(effect, after);
    draft.warmed.insert(worker, step);
    step
}

/// A release whose container has to be made anew.
fn anew(kept: &Deployed, app: &App) -> Deployed {
    Deployed { config: app.config.clone(), settings: app.settings.clone(), ..kept.clone() }
}

/// The release, and before it the end of one that is dropped.
pub(super) fn release(draft: &mut Draft<'_>, roles: &Roles, balancer_waits: Option<Effect>) {
    let forget = roles.dropped.as_ref().map(|what| {
        let step = draft.step(Effect::Forget { address: Address::Release }, []);
        if roles.release.is_none() {
            let reason = Reason::UnfinishedRun { found: what.clone() };
            draft.change(&Address::Release, ActionKind::Forget, reason, Vec::new());
        }
        draft.note(format!("{what} was left by an earlier run and is not taken up again"));
        step
    });
    let Some(decision) = &roles.release else { return };
    let plan = &decision.plan;
    if let Some(configure) = balancer_waits {
        let app = Deployed {
            image: plan.image.clone(),
            digest: plan.digest.clone(),
            config: plan.config.clone(),
            settings: plan.settings.clone(),
            at: draft.observed.at,
        };
        let warm = onto(draft, plan.to, &app, forget);
        let ready = draft.ready(&Address::LoadBalancer);
        let step = draft.step(configure, [warm].into_iter().chain(ready));
        draft.set_ready(&Address::LoadBalancer, step);
        draft.note("users get errors from the change of the load balancer's port until the switch");
    }
    let after: Vec<usize> = [
        forget,
        draft.ready(&Address::Worker(plan.to)),
        plan.from.and_then(|from| draft.made(&Address::Worker(from))),
        draft.made(&Address::FloatingIp),
        draft.ready(&Address::LoadBalancer),
        draft.warmed.get(&plan.to).copied(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let step = draft.step(Effect::Release, after);
    draft.moves.push(step);
    draft.warmed.insert(plan.to, step);
    let attributes = attributes(plan);
    draft.change(&Address::Release, decision.action, decision.reason.clone(), attributes);
    draft.release = Some(plan.clone());
}

fn attributes(plan: &ReleasePlan) -> Vec<Attribute> {
    let worker = |number: u32| Address::Worker(number).to_string();
    let live = plan.live.as_ref();
    if let Some((from, (image, digest))) = plan.from.zip(live).filter(|_| plan.leads_back()) {
        return vec![
            to("image", Some(plan.image.to_string()), image.to_string()),
            to("digest", Some(plan.digest.to_string()), digest.to_string()),
            to("live", Some(worker(plan.to)), worker(from)),
        ];
    }
    let mut attributes = Vec::new();
    let image = live.map(|(image, _)| image.to_string());
    if image.as_deref() != Some(&plan.image.to_string()) {
        attributes.push(to("image", image, plan.image.to_string()));
    }
    if live.map(|(_, digest)| digest) != Some(&plan.digest) {
        attributes.push(to(
            "digest",
            live.map(|(_, digest)| digest.to_string()),
            plan.digest.to_string(),
        ));
    }
    attributes.push(to("live", plan.from.map(worker), worker(plan.to)));
    attributes
}

/// What every standby keeps: repaired where it went wrong, put back where its droplet is replaced.
pub(super) fn standbys(draft: &mut Draft<'_>, fleet: &Fleet<'_>, decided: &Roles) {
    let Some(app) = draft.desired.app.as_ref() else { return };
    let Some(live) = decided.live.filter(|_| decided.resumes().is_none()) else { return };
    let released = decided.release.is_some();
    let after = draft.moves.last().copied();
    let mut warm = false;
    let mut bare = Vec::new();
    for (number, member) in fleet.workers().filter(|(number, _)| *number != live) {
        let kept = deployed(draft, fleet, number);
        match (&member.fate, kept) {
            (Fate::Keep, Some(kept)) if roles::was_live(draft.state, kept) => {
                warm = true;
                let after = after
                    .filter(|_| decided.from() == Some(number) || decided.holder == Some(number));
                repair(draft, app, number, member, kept, after);
            }
            (Fate::Replace(..), Some(kept)) if released && decided.from() == Some(number) => {
                warm = true;
                note_loss(draft, fleet, app, live, kept);
                onto(draft, number, &anew(kept, app), after);
            }
            (Fate::Keep | Fate::Create | Fate::Replace(..), _) if member.powered() => {
                bare.push(number);
            }
            (Fate::Keep | Fate::Create | Fate::Replace(..) | Fate::Remove, _) => {}
        }
    }
    if warm || bare.is_empty() {
        return;
    }
    match lost(draft, fleet, app, live) {
        Some(kept) => {
            let number = bare.remove(0);
            onto(draft, number, &anew(&kept, app), after);
            draft.note(format!(
                "{} gets {} again, so that a rollback is possible",
                Address::Worker(number),
                kept.image.version()
            ));
            let restored = Reason::Needed { by: Address::Release };
            let attribute = to("release", None, kept.image.to_string());
            draft.change(&Address::Worker(number), ActionKind::Repair, restored, vec![attribute]);
        }
        None if released
            || bare
                .iter()
                .any(|number| fleet.worker(*number).is_some_and(|member| !member.kept())) =>
        {
            let first = Address::Worker(bare[0]);
            draft.note(format!(
                "no rollback yet: {first} gets its first release with the next swap"
            ));
        }
        None => {}
    }
}

/// A move to new workers without a new image leaves the live release twice, and what was there to go back to is gone.
fn note_loss(draft: &mut Draft<'_>, fleet: &Fleet<'_>, app: &App, live: u32, kept: &Deployed) {
    let previous = lost(draft, fleet, app, live).filter(|lost| lost.digest != app.digest);
    if let Some(previous) = previous.filter(|_| kept.digest == app.digest) {
        draft.note(format!(
            "a rollback to {} is not possible after this: both workers have {}",
            previous.image.version(),
            app.image.version()
        ));
    }
}

fn repair(
    draft: &mut Draft<'_>,
    app: &App,
    number: u32,
    member: &Member<'_>,
    kept: &Deployed,
    after: Option<usize>,
) {
    let (Some(id), address) = (member.id(), Address::Worker(number)) else { return };
    if member.seen.is_some_and(|seen| seen.status == DropletStatus::Off) {
        draft.note(format!(
            "{address} is switched off; to have it made anew: seachange apply --replace '{address}'"
        ));
        return;
    }
    let content = hosts::content(draft.observed, &draft.desired.stack, id);
    let (found, kept) = match hosts::judge(content, kept) {
        Verdict::Unknown | Verdict::Right => return,
        Verdict::Down(state) if matches!(content, Content::Holds(_)) => (state, kept.clone()),
        Verdict::Down(state) => (state, anew(kept, app)),
        Verdict::Foreign(what) => (format!("runs {what}"), anew(kept, app)),
    };
    onto(draft, number, &kept, after);
    let attribute = to("release", Some(found.clone()), kept.image.to_string());
    let reason = Reason::ChangedOutside { found };
    draft.change(&address, ActionKind::Repair, reason, vec![attribute]);
}

/// The release to roll back to that would be lost with this plan: not the one that goes live, if there is a choice, and
/// of those the newest.
fn lost(draft: &Draft<'_>, fleet: &Fleet<'_>, app: &App, live: u32) -> Option<Deployed> {
    let keeps = |number: u32| {
        number != live
            && fleet.worker(number).is_some_and(Member::kept)
            && deployed(draft, fleet, number).is_some()
    };
    let overwritten = |number: u32, kept: &Deployed| {
        number != live || kept.digest != app.digest || kept.config != app.config
    };
    draft
        .state
        .deployed
        .iter()
        .filter(|(number, kept)| {
            !keeps(**number) && overwritten(**number, kept) && roles::was_live(draft.state, kept)
        })
        .max_by_key(|(number, kept)| (kept.digest != app.digest, kept.at, **number))
        .map(|(_, kept)| kept.clone())
}

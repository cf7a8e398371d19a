//! Who shall be live with what: the decision, before any step exists.
//!
//! The live worker is whoever the floating IP points at. Its running container is never touched, so whatever has to
//! change there (a new image, a new size, a worker too many) is reached by a release to a standby. An address that
//! points at nobody is first put back, to a worker that has passed the gate.

use std::cmp::Reverse;

use super::choice::Choice;
use super::desired::App;
use super::draft::Draft;
use super::fleet::{Fleet, Member};
use super::roles::{self, Pointing};
use super::{Options, Refusal};
use crate::address::Address;
use crate::names::PROD;
use crate::plan::{ActionKind, Reason, ReleasePlan, Resumes};
use crate::release::{Event, Phase, Transition, next};
use crate::state::Deployed;

/// Who is live, and who shall be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Roles {
    /// Where the floating IP points now.
    pub(super) pointing: Pointing,
    /// The worker that has it before any release moves it; `None`: there is no floating IP in the spec.
    pub(super) holder: Option<u32>,
    /// What the holder must prove to run before the address is put back to it.
    pub(super) gate: Option<Deployed>,
    /// The release to carry out.
    pub(super) release: Option<Decision>,
    /// The worker that is live in the end.
    pub(super) live: Option<u32>,
    /// The unfinished release is dropped, and this is what it was.
    pub(super) dropped: Option<String>,
}

/// A release and why.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    pub(super) plan: ReleasePlan,
    pub(super) action: ActionKind,
    pub(super) reason: Reason,
}

impl Roles {
    /// The unfinished release that this plan goes on with: workers stay as they are until it is at rest.
    pub(super) fn resumes(&self) -> Option<Phase> {
        Some(self.release.as_ref()?.plan.resumes.as_ref()?.phase)
    }

    /// The worker that users are moved away from.
    pub(super) fn from(&self) -> Option<u32> {
        self.release.as_ref().and_then(|decision| decision.plan.from)
    }
}

/// Decides.
pub(super) fn decide(draft: &mut Draft<'_>, fleet: &Fleet<'_>, options: &Options) -> Roles {
    let ip = super::floating_ip::current(draft, fleet);
    let pointing = Pointing::of(ip, draft.observed, |id| fleet.worker_of(id));
    let mut roles =
        Roles { pointing, holder: None, gate: None, release: None, live: None, dropped: None };
    if !draft.desired.floating_ip {
        roles.dropped = draft.state.transition.as_ref().map(describe);
        return roles;
    }
    let Some(app) = draft.desired.app.as_ref() else {
        roles.dropped = draft.state.transition.as_ref().map(describe);
        infrastructure(draft, fleet, &mut roles);
        return roles;
    };
    let mut spoiled = None;
    if let Some(transition) = &draft.state.transition {
        if may_resume(transition, fleet, pointing, app) {
            resume(draft, transition, app, &mut roles);
            return roles;
        }
        spoiled = Some(transition.to);
        roles.dropped = Some(describe(transition));
    }
    Choice { draft, fleet, app, pointing, spoiled }.fresh(&mut roles);
    if let Some(refusal) = port_moves(draft, fleet, &roles, options) {
        draft.refuse(refusal);
    }
    if roles.holder.is_some() && roles.live.is_none() {
        draft.refuse(Refusal {
            object: Address::Release.to_string(),
            expected: "a second worker to release to".to_owned(),
            observed: format!("workers.count: {}", draft.desired.count),
            why: "the live worker's container is never replaced, and there is no standby"
                .to_owned(),
            help: "set workers.count to 2 or more, then: seachange apply".to_owned(),
            allowed_by: None,
        });
    }
    roles
}

/// What an unfinished release is, in words.
pub(super) fn describe(transition: &Transition) -> String {
    format!(
        "the release of {} to {}, at `{}`",
        transition.image.version(),
        Address::Worker(transition.to),
        transition.phase.word()
    )
}

/// Whether the machine itself would go on, with workers that are still there, towards what the spec still wants or
/// has committed to.
fn may_resume(transition: &Transition, fleet: &Fleet<'_>, pointing: Pointing, app: &App) -> bool {
    let there =
        |number| fleet.worker(number).is_some_and(|member: &Member<'_>| member.droplet.is_some());
    let Some(target) = pointing.worker() else { return false };
    let parties = there(transition.to) && transition.from.is_none_or(there);
    let involved = target == transition.to || transition.from == Some(target);
    let after = next(transition.phase, Event::Resumed(transition.target(Some(target))));
    let goes_on = after.is_ok_and(|phase| phase != Phase::Aborted);
    let committed = !matches!(transition.phase, Phase::Staging | Phase::Gating);
    parties && involved && goes_on && (committed || wanted(transition, app))
}

fn wanted(transition: &Transition, app: &App) -> bool {
    transition.digest == app.digest && transition.config == app.config
}

fn resume(draft: &mut Draft<'_>, transition: &Transition, app: &App, roles: &mut Roles) {
    let back = transition.aborted
        || matches!(transition.phase, Phase::SwitchingBack | Phase::RetaggingBack);
    roles.holder = roles.pointing.worker();
    roles.live = if back { transition.from } else { Some(transition.to) };
    roles.release = Some(taken_over(draft, transition, transition.aborted));
    if transition.aborted {
        draft.note(
            "the release under way is taken back first; what the spec says follows in the same apply",
        );
    } else if back {
        draft.note(
            "the release under way failed and is taken back; to try it again: seachange apply",
        );
    } else if !wanted(transition, app) {
        draft.note(
            "the release under way is finished first; what the spec says now follows in the same apply",
        );
    }
}

/// The release of an earlier run, to be finished or taken back.
pub(super) fn taken_over(draft: &Draft<'_>, transition: &Transition, undo: bool) -> Decision {
    let live = transition.from.and_then(|from| draft.state.deployed.get(&from));
    Decision {
        plan: ReleasePlan {
            kind: transition.kind,
            image: transition.image.clone(),
            digest: transition.digest.clone(),
            config: transition.config.clone(),
            settings: transition.settings.clone(),
            live: live.map(|live| (live.image.clone(), live.digest.clone())),
            from: transition.from,
            to: transition.to,
            floating_ip: draft.state.floating_ip(),
            resumes: Some(Resumes::of(transition, undo)),
        },
        action: ActionKind::Swap,
        reason: Reason::UnfinishedRun { found: describe(transition) },
    }
}

/// Without an app the address only has to point at a worker that stays.
fn infrastructure(draft: &Draft<'_>, fleet: &Fleet<'_>, roles: &mut Roles) {
    let lead = lead(fleet, None);
    roles.holder = roles.pointing.worker().or(lead);
    let stays = |number| fleet.worker(number).is_some_and(Member::kept);
    roles.live = match roles.pointing {
        Pointing::Worker(number) if !stays(number) && draft.desired.count > 0 => {
            self::lead(fleet, Some(number)).or(lead)
        }
        Pointing::Worker(_) | Pointing::Nowhere | Pointing::Elsewhere(_) => roles.holder,
    };
}

/// The worker to point the address at when nobody is live: one that is there and carries PROD, one that is there, the
/// lowest number.
pub(super) fn lead(fleet: &Fleet<'_>, except: Option<u32>) -> Option<u32> {
    fleet
        .workers()
        .filter(|(number, member)| member.stays() && Some(*number) != except)
        .min_by_key(|(number, member)| {
            let prod = member.seen.is_some_and(|seen| roles::carries(seen, PROD) == Some(true));
            (Reverse(member.kept() && prod), Reverse(member.kept()), *number)
        })
        .map(|(number, _)| number)
}

/// What was put on a worker whose droplet is still the one it was put on.
pub(super) fn deployed<'d>(
    draft: &Draft<'d>,
    fleet: &Fleet<'_>,
    number: u32,
) -> Option<&'d Deployed> {
    let id = fleet.worker(number)?.id()?;
    let recorded = draft.state.droplet(&Address::Worker(number))?;
    draft.state.deployed.get(&number).filter(|_| recorded.id == id)
}

/// Through a load balancer both releases must answer on one port while the address moves.
fn port_moves(
    draft: &Draft<'_>,
    fleet: &Fleet<'_>,
    roles: &Roles,
    options: &Options,
) -> Option<Refusal> {
    let plan = &roles.release.as_ref()?.plan;
    let live = deployed(draft, fleet, plan.from?)?;
    let configured = draft.state.droplet(&Address::LoadBalancer)?.config.is_some();
    let (now, then) = (live.settings.port, plan.settings.port);
    if now == then || !configured || options.allow_downtime {
        return None;
    }
    Some(Refusal {
        object: Address::Release.to_string(),
        expected: format!("app.port {now}, where the live release answers"),
        observed: format!("app.port {then}"),
        why: "the load balancer sends users to one port, so they get errors from its change until the switch".to_owned(),
        help: format!("keep app.port at {now} and map it inside the image, or accept it: seachange apply --allow-downtime"),
        allowed_by: Some("--allow-downtime"),
    })
}

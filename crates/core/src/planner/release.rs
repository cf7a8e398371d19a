//! Who shall be live with what: the decision, before any step exists.
//!
//! The live worker is whoever the floating IP points at. Its running container is never touched, so whatever has to
//! change there (a new image, a new size, a worker too many) is reached by a release to a standby. An address that
//! points at nobody is first put back, to a worker that has passed the gate.

use std::cmp::Reverse;

use super::desired::App;
use super::draft::Draft;
use super::fleet::{Fleet, Member};
use super::hosts::{self, Content, Verdict};
use super::roles::{self, Pointing};
use super::{Options, Refusal};
use crate::address::Address;
use crate::image::{Digest, ImageRef};
use crate::names::PROD;
use crate::plan::{ActionKind, Reason, ReleasePlan};
use crate::release::{Event, Kind, Phase, Transition, next};
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
        self.release.as_ref().and_then(|decision| decision.plan.resumes)
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
    let back = matches!(transition.phase, Phase::SwitchingBack | Phase::RetaggingBack);
    let live = transition.from.and_then(|from| draft.state.deployed.get(&from));
    roles.holder = roles.pointing.worker();
    roles.live = if back { transition.from } else { Some(transition.to) };
    roles.release = Some(Decision {
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
            resumes: Some(transition.phase),
        },
        action: ActionKind::Swap,
        reason: Reason::UnfinishedRun { found: describe(transition) },
    });
    if back {
        draft.note(
            "the release under way failed and is taken back; to try it again: seachange apply",
        );
    } else if !wanted(transition, app) {
        draft.note(
            "the release under way is finished first; for what the spec says now: seachange apply",
        );
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

/// What a fresh decision looks at.
struct Choice<'c, 'a> {
    draft: &'c Draft<'a>,
    fleet: &'c Fleet<'a>,
    app: &'c App,
    pointing: Pointing,
    /// The standby of a dropped release: what it kept is gone already.
    spoiled: Option<u32>,
}

impl Choice<'_, '_> {
    fn fresh(&self, roles: &mut Roles) {
        match self.pointing {
            Pointing::Worker(number) => roles.holder = Some(number),
            Pointing::Nowhere => roles.holder = self.recorded().or_else(|| self.first_holder()),
            Pointing::Elsewhere(droplet) => {
                if let Some(live) = self.recorded().filter(|live| self.sound(*live)) {
                    roles.holder = Some(live);
                    roles.gate = self.deployed(live).cloned();
                } else {
                    self.rescue(droplet.is_some(), roles);
                    return;
                }
            }
        }
        let Some(holder) = roles.holder else { return };
        roles.live = Some(holder);
        let Some(decision) = self.decision(holder) else { return };
        roles.live = decision.as_ref().map(|decision| decision.plan.to);
        roles.release = decision;
    }

    /// `None`: nothing to release. `Some(None)`: there is nobody to release to.
    fn decision(&self, holder: u32) -> Option<Option<Decision>> {
        let member = self.fleet.worker(holder)?;
        let Some(droplet) = &member.droplet else {
            return Some(Some(self.first(holder, ActionKind::Create, Reason::NotCreatedYet)));
        };
        let served = self.pointing == Pointing::Worker(holder);
        let content = hosts::content(self.draft.observed, &self.draft.desired.stack, droplet.id);
        let deployed = self.deployed(holder);
        let verdict = deployed.map(|deployed| hosts::judge(content, deployed));
        let sound = matches!(verdict, Some(Verdict::Unknown | Verdict::Right)) && member.powered();
        let right = sound && deployed.is_some_and(|deployed| self.is_wanted(deployed));
        if !member.kept() {
            let reason = Reason::Needed { by: Address::Worker(holder) };
            let reason = if right { reason } else { self.difference(deployed).unwrap_or(reason) };
            let decision = self.swap(holder, content, reason);
            return Some(decision);
        }
        if right {
            return self.unrecorded(holder).map(Some);
        }
        if deployed.is_none() {
            let runs_it = matches!(content, Content::Holds(container)
                if hosts::is(container, &self.app.digest, &self.app.config));
            if runs_it {
                let found = "the spec's image runs there".to_owned();
                let reason = Reason::ChangedOutside { found };
                return Some(Some(self.first(holder, ActionKind::Adopt, reason)));
            }
            let recorded = self.draft.state.droplet(&Address::Worker(holder));
            let never_used =
                recorded.is_some_and(|recorded| recorded.id == droplet.id && !recorded.ready);
            let bare = match content {
                Content::Empty => true,
                Content::Unknown(_) => !served || never_used,
                Content::Holds(_) => !served,
            };
            if bare && self.nothing_released() {
                return Some(Some(self.first(holder, ActionKind::Create, Reason::NotCreatedYet)));
            }
        }
        let reason = match verdict {
            Some(Verdict::Down(state)) => {
                Reason::ChangedOutside { found: format!("the live container: {state}") }
            }
            Some(Verdict::Foreign(what)) => {
                Reason::ChangedOutside { found: format!("the live worker runs {what}") }
            }
            _ if !member.powered() => {
                Reason::ChangedOutside { found: "the live droplet is off".to_owned() }
            }
            _ => self.difference(deployed).unwrap_or(Reason::NewImage),
        };
        Some(self.swap(holder, content, reason))
    }

    /// The right release is live where the history does not have it.
    fn unrecorded(&self, holder: u32) -> Option<Decision> {
        let last = self.draft.state.releases.last();
        if last.is_some_and(|last| last.worker == holder && last.digest == self.app.digest) {
            return None;
        }
        let found = format!("{} is live", Address::Worker(holder));
        let mut decision = self.first(holder, ActionKind::Adopt, Reason::ChangedOutside { found });
        if self.recorded().is_some() {
            decision.plan.kind = Kind::Rollback;
        }
        Some(decision)
    }

    /// Nobody sound is live: the best standby gets the release, proves it, and gets the address.
    fn rescue(&self, elsewhere: bool, roles: &mut Roles) {
        let Some(to) = self.standby(None) else { return };
        let found = if elsewhere {
            "the floating IP points at no worker of the stack"
        } else {
            "the floating IP points at nothing"
        };
        let reason = Reason::ChangedOutside { found: found.to_owned() };
        roles.holder = Some(to);
        roles.live = Some(to);
        roles.gate = Some(Deployed {
            image: self.app.image.clone(),
            digest: self.app.digest.clone(),
            config: self.app.config.clone(),
            settings: self.app.settings.clone(),
            at: self.draft.observed.at,
        });
        roles.release = Some(self.first(to, ActionKind::Swap, reason));
    }

    fn first(&self, to: u32, action: ActionKind, reason: Reason) -> Decision {
        Decision { plan: self.plan(Kind::First, None, None, to), action, reason }
    }

    fn swap(&self, from: u32, content: Content<'_>, reason: Reason) -> Option<Decision> {
        let to = self.standby(Some(from))?;
        let deployed = self.deployed(from).map(|live| (live.image.clone(), live.digest.clone()));
        let seen = match content {
            Content::Holds(container) => hosts::labelled(container),
            Content::Empty | Content::Unknown(_) => None,
        };
        let plan = self.plan(Kind::Swap, deployed.or(seen), Some(from), to);
        Some(Decision { plan, action: ActionKind::Swap, reason })
    }

    fn plan(
        &self,
        kind: Kind,
        live: Option<(ImageRef, Digest)>,
        from: Option<u32>,
        to: u32,
    ) -> ReleasePlan {
        ReleasePlan {
            kind,
            image: self.app.image.clone(),
            digest: self.app.digest.clone(),
            config: self.app.config.clone(),
            settings: self.app.settings.clone(),
            live,
            from,
            to,
            floating_ip: self.draft.state.floating_ip(),
            resumes: None,
        }
    }

    /// The standby whose loss costs least: one that has the release already, one with what a failed release left, one without
    /// a release, the one with the oldest; then those that are made anew anyway; last those that are switched off.
    fn standby(&self, except: Option<u32>) -> Option<u32> {
        let leftover = |number: u32| {
            self.deployed(number).is_some_and(|kept| !roles::was_live(self.draft.state, kept))
        };
        let rank = |number: u32, member: &Member<'_>| {
            let has_it = self.sound(number)
                && self.deployed(number).is_some_and(|deployed| self.is_wanted(deployed));
            match (member.powered(), member.kept()) {
                (false, _) => 4,
                (true, false) => 3,
                (true, true) if has_it => 0,
                (true, true) if self.spoiled == Some(number) || leftover(number) => 1,
                (true, true) => 2,
            }
        };
        self.fleet
            .workers()
            .filter(|(number, member)| member.stays() && Some(*number) != except)
            .min_by_key(|(number, member)| {
                let kept_since = self.deployed(*number).map(|deployed| deployed.at);
                (rank(*number, member), kept_since, *number)
            })
            .map(|(number, _)| number)
    }

    /// What was put on a worker that is still there.
    fn deployed(&self, number: u32) -> Option<&Deployed> {
        deployed(self.draft, self.fleet, number)
    }

    /// Whether the worker runs what was put there, as far as anybody looked.
    fn sound(&self, number: u32) -> bool {
        let Some(member) = self.fleet.worker(number) else { return false };
        let (Some(deployed), Some(id)) = (self.deployed(number), member.id()) else { return false };
        let content = hosts::content(self.draft.observed, &self.draft.desired.stack, id);
        let verdict = hosts::judge(content, deployed);
        matches!(verdict, Verdict::Unknown | Verdict::Right) && member.powered()
    }

    fn is_wanted(&self, deployed: &Deployed) -> bool {
        deployed.digest == self.app.digest && deployed.config == self.app.config
    }

    fn difference(&self, deployed: Option<&Deployed>) -> Option<Reason> {
        let deployed = deployed?;
        if deployed.digest != self.app.digest {
            Some(Reason::NewImage)
        } else {
            (deployed.config != self.app.config).then_some(Reason::NewConfiguration)
        }
    }

    /// The recorded live worker, if it is still there.
    fn recorded(&self) -> Option<u32> {
        roles::recorded_live(self.draft.state).filter(|number| self.deployed(*number).is_some())
    }

    fn first_holder(&self) -> Option<u32> {
        let has_it = |number: &u32| {
            self.sound(*number) && self.deployed(*number).is_some_and(|it| self.is_wanted(it))
        };
        self.fleet
            .workers()
            .filter(|(_, member)| member.kept())
            .map(|(number, _)| number)
            .find(has_it)
            .or_else(|| lead(self.fleet, None))
    }

    fn nothing_released(&self) -> bool {
        !self.draft.state.deployed.keys().any(|number| self.deployed(*number).is_some())
    }
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

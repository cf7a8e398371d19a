//! The choice of a release when none is under way: whether one is needed, and the standby whose loss costs least.

use super::desired::App;
use super::draft::Draft;
use super::fleet::{Fleet, Member};
use super::hosts::{self, Content, Verdict};
use super::release::{self, Decision, Roles, lead};
use super::roles::{self, Pointing};
use crate::address::Address;
use crate::image::{Digest, ImageRef};
use crate::plan::{ActionKind, Reason, ReleasePlan};
use crate::release::Kind;
use crate::state::Deployed;

/// What a fresh decision looks at.
pub(super) struct Choice<'c, 'a> {
    pub(super) draft: &'c Draft<'a>,
    pub(super) fleet: &'c Fleet<'a>,
    pub(super) app: &'c App,
    pub(super) pointing: Pointing,
    /// The standby of a dropped release: what it kept is gone already.
    pub(super) spoiled: Option<u32>,
}

impl Choice<'_, '_> {
    /// Fills in who has the address, who is live in the end, and what leads there.
    pub(super) fn fresh(&self, roles: &mut Roles) {
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
            // What nobody looked into is taken for bare only if nothing can have been put there.
            let never_used = match recorded.filter(|recorded| recorded.id == droplet.id) {
                Some(recorded) => !recorded.ready,
                None => self.pointing == Pointing::Nowhere && self.draft.state.releases.is_empty(),
            };
            let bare = match content {
                Content::Empty => true,
                Content::Unknown(_) => never_used,
                Content::Holds(_) => false,
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
        release::deployed(self.draft, self.fleet, number)
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

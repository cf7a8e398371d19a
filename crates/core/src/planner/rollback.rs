//! Rollback: a standby's own release goes live again. Needs neither the spec nor the registry, so that it works at night.

use jiff::Timestamp;

use super::desired::Desired;
use super::draft::{Draft, to};
use super::fleet::{Fleet, Member};
use super::hosts::{self, Content, Verdict};
use super::release::{self, Decision, Roles};
use super::roles::{self, Pointing};
use super::{Refusal, finish, floating_ip, warm};
use crate::address::Address;
use crate::cloud::DropletId;
use crate::haproxy::LoadBalancerConfig;
use crate::observed::Observed;
use crate::plan::{ActionKind, Effect, Plan, Purpose, Reason, ReleasePlan};
use crate::release::{Kind, Phase, Transition, take_over};
use crate::state::{Deployed, State};

/// Plans to make the release live again that users had before the present one. A release under way is taken back, unless it
/// is such a rollback itself: that is finished.
pub fn plan_rollback(
    state: &State,
    observed: &Observed,
    now: Timestamp,
) -> Result<Plan, Vec<Refusal>> {
    plan(state, observed, now, false)
}

fn plan(
    state: &State,
    observed: &Observed,
    now: Timestamp,
    abort: bool,
) -> Result<Plan, Vec<Refusal>> {
    let desired = Desired::nothing(&state.stack);
    let mut draft = Draft::new(&desired, state, observed);
    let fleet = Fleet::survey(&desired, state, observed, &[]);
    let ip = floating_ip::current(&draft, &fleet);
    let pointing = Pointing::of(ip, observed, |id| fleet.worker_of(id));
    let refused = |refusal| Err(vec![refusal]);
    let Some(live) = pointing.worker() else { return refused(nobody_live(pointing)) };
    let mut roles = Roles {
        pointing,
        holder: Some(live),
        gate: None,
        release: None,
        live: Some(live),
        dropped: None,
    };
    if let Some(transition) = &state.transition {
        let held = ip.and_then(|ip| observed.reserved_ips.get(&ip)).is_some_and(|seen| seen.locked);
        let again = transition.kind == Kind::Rollback && !abort && !transition.aborted;
        if again && goes_on(&draft, &fleet, transition, live) {
            roles.live = Some(transition.to);
            roles.release = Some(release::taken_over(&draft, transition, false));
            let configure = reconfigure(&mut draft, &roles);
            warm::release(&mut draft, &roles, configure);
            return finish(draft, Purpose::Rollback, String::new(), None, now);
        }
        if let Some(refusal) = stranded(&draft, &fleet, transition, live, held) {
            return refused(refusal);
        }
        if let Some(back) = way_back(&draft, &fleet, transition, live, held) {
            roles.live = Some(back);
            roles.release = Some(release::taken_over(&draft, transition, true));
            warm::release(&mut draft, &roles, None);
            return finish(draft, Purpose::Rollback, String::new(), None, now);
        }
        if held {
            return refused(busy(&release::describe(transition)));
        }
        roles.dropped = Some(release::describe(transition));
        let before = matches!(transition.phase, Phase::Staging | Phase::Gating | Phase::Switching);
        if before && transition.from == Some(live) {
            draft.note("users still get the old release: the one under way is dropped, and nothing else is to be done");
            warm::release(&mut draft, &roles, None);
            return finish(draft, Purpose::Rollback, String::new(), None, now);
        }
    }
    let target = match choose(&draft, &fleet, live) {
        Ok(target) => target,
        Err(refusal) => return refused(*refusal),
    };
    if let Some(why) = target.unseen {
        draft.note(format!(
            "nobody looked at {} ({why}); the gate decides",
            Address::Worker(target.worker)
        ));
    }
    let kept = release::deployed(&draft, &fleet, live);
    let mut settings = target.release.settings.clone();
    if let Some(kept) = kept {
        settings.listen = kept.settings.listen;
        settings.domains.clone_from(&kept.settings.domains);
    }
    roles.live = Some(target.worker);
    roles.release = Some(Decision {
        plan: ReleasePlan {
            kind: Kind::Rollback,
            image: target.release.image.clone(),
            digest: target.release.digest.clone(),
            config: target.release.config.clone(),
            settings,
            live: kept.map(|kept| (kept.image.clone(), kept.digest.clone())),
            from: Some(live),
            to: target.worker,
            floating_ip: ip,
            resumes: None,
        },
        action: ActionKind::Swap,
        reason: Reason::Requested,
    });
    let configure = reconfigure(&mut draft, &roles);
    warm::release(&mut draft, &roles, configure);
    finish(draft, Purpose::Rollback, String::new(), None, now)
}

/// Plans to take back the release that an earlier run left under way; a refusal if there is none.
pub fn plan_abort(
    state: &State,
    observed: &Observed,
    now: Timestamp,
) -> Result<Plan, Vec<Refusal>> {
    let Some(transition) = &state.transition else {
        return Err(vec![Refusal {
            object: Address::Release.to_string(),
            expected: "a release that an earlier run left under way".to_owned(),
            observed: "it is at rest".to_owned(),
            why: "there is nothing to take back".to_owned(),
            help: "to go back to the release before: seachange rollback".to_owned(),
            allowed_by: None,
        }]);
    };
    if transition.phase == Phase::Recording {
        return Err(vec![Refusal {
            object: Address::Release.to_string(),
            expected: "a release that is not finished".to_owned(),
            observed: format!("{}: all but its record", release::describe(transition)),
            why: "users and tags have followed already".to_owned(),
            help: "finish it, then go back: seachange apply, seachange rollback".to_owned(),
            allowed_by: None,
        }]);
    }
    plan(state, observed, now, true)
}

/// Whether a run that takes the release over would bring it to its end.
fn goes_on(draft: &Draft<'_>, fleet: &Fleet<'_>, transition: &Transition, live: u32) -> bool {
    let ahead = take_over(transition.phase, transition.target(Some(live)), false);
    let ahead = ahead.is_ok_and(|phase| phase != Phase::Aborted);
    let there = |worker| {
        let id = fleet.worker(worker).and_then(Member::id);
        let release = release::deployed(draft, fleet, worker);
        id.zip(release).is_some_and(|(id, release)| usable(draft, id, release).is_some())
    };
    ahead && there(transition.to)
}

/// Whether the release, or what is wrong with it, has reached users. While an event holds the address (`held`) nobody knows
/// yet whether it has.
fn is_past_the_switch(transition: &Transition, live: u32, held: bool) -> bool {
    use Phase::{Retagging, RetaggingBack, Switching, SwitchingBack, Verifying};
    match transition.phase {
        Switching if held => true,
        Switching | Verifying | Retagging => live == transition.to,
        SwitchingBack | RetaggingBack => live == transition.to || Some(live) == transition.from,
        _ => false,
    }
}

/// The worker that users go back to when a release past its switch is taken back, if its container is there.
fn way_back(
    draft: &Draft<'_>,
    fleet: &Fleet<'_>,
    transition: &Transition,
    live: u32,
    held: bool,
) -> Option<u32> {
    let from = transition.from.filter(|_| is_past_the_switch(transition, live, held))?;
    let id = fleet.worker(from)?.id()?;
    let deployed = release::deployed(draft, fleet, from)?;
    usable(draft, id, deployed).map(|_| from)
}

/// Refuses to take back a release that users have, and that nothing is known to be wrong with, when nobody would answer
/// them on the old worker: the way back has no gate.
fn stranded(
    draft: &Draft<'_>,
    fleet: &Fleet<'_>,
    transition: &Transition,
    live: u32,
    held: bool,
) -> Option<Refusal> {
    let failed = matches!(transition.phase, Phase::SwitchingBack | Phase::RetaggingBack);
    if failed || !is_past_the_switch(transition, live, held) {
        return None;
    }
    let from = transition.from?;
    let observed = match fleet.worker(from).and_then(|member| Some((member, member.id()?))) {
        None => "its droplet is gone".to_owned(),
        Some((member, _)) if !member.powered() => "its droplet is switched off".to_owned(),
        Some((_, id)) => {
            let content = hosts::content(draft.observed, &draft.state.stack, id);
            match release::deployed(draft, fleet, from).map(|it| hosts::judge(content, it)) {
                Some(Verdict::Right | Verdict::Unknown) => return None,
                Some(Verdict::Down(found) | Verdict::Foreign(found)) => {
                    format!("its container: {found}")
                }
                None => "no release of it is known".to_owned(),
            }
        }
    };
    Some(Refusal {
        object: Address::Worker(from).to_string(),
        expected: "the old release, running".to_owned(),
        observed,
        why: format!("users have {} already, and would get no answer there", transition.image.version()),
        help: "finish the release first, then go back by the gate: seachange apply, seachange rollback".to_owned(),
        allowed_by: None,
    })
}

/// A standby's release that can go live.
struct Target<'t> {
    worker: u32,
    release: &'t Deployed,
    /// Why nobody looked whether its container is there.
    unseen: Option<&'t str>,
}

/// The standby whose release was live last among those that differ from the live one and whose container is there.
fn choose<'t>(draft: &Draft<'t>, fleet: &Fleet<'_>, live: u32) -> Result<Target<'t>, Box<Refusal>> {
    let present = release::deployed(draft, fleet, live);
    let same = |release: &Deployed| {
        present.is_some_and(|live| live.digest == release.digest && live.config == release.config)
    };
    let last_live = |worker: u32, release: &Deployed| {
        let was =
            |past: &crate::state::Release| past.worker == worker && past.digest == release.digest;
        draft.state.releases.iter().rposition(was)
    };
    let mut there = Vec::new();
    let mut best: Option<(_, Target<'t>)> = None;
    for (worker, member) in fleet.workers().filter(|(worker, _)| *worker != live) {
        let Some(id) = member.id() else { continue };
        let address = Address::Worker(worker);
        let Some(release) = release::deployed(draft, fleet, worker) else {
            there.push(format!("{address} has no release"));
            continue;
        };
        if same(release) {
            there.push(format!("{address} has the live release too"));
            continue;
        }
        if !roles::was_live(draft.state, release) {
            there.push(format!("{address} has {}, which never went live", release.image.version()));
            continue;
        }
        let Some(unseen) = usable(draft, id, release) else {
            there.push(format!(
                "{address} no longer has the container of {}",
                release.image.version()
            ));
            continue;
        };
        let rank = (unseen.is_none(), last_live(worker, release), release.at, worker);
        if best.as_ref().is_none_or(|(best, _)| *best < rank) {
            best = Some((rank, Target { worker, release, unseen }));
        }
    }
    best.map(|(_, target)| target).ok_or_else(|| Box::new(nothing_there(&there)))
}

/// Whether the container is there: `Some(None)` if it was seen, `Some(why)` if nobody looked.
fn usable<'o>(draft: &Draft<'o>, id: DropletId, release: &Deployed) -> Option<Option<&'o str>> {
    let content = hosts::content(draft.observed, &draft.state.stack, id);
    match (content, hosts::judge(content, release)) {
        (Content::Unknown(why), _) => Some(Some(why)),
        (Content::Holds(_), Verdict::Right | Verdict::Down(_)) => Some(None),
        (Content::Holds(_) | Content::Empty, _) => None,
    }
}

/// The step that makes the load balancer send users to the old release's port, if that is another one.
fn reconfigure(draft: &mut Draft<'_>, roles: &Roles) -> Option<Effect> {
    let plan = &roles.release.as_ref()?.plan;
    let (listen, floating_ip) = (plan.settings.listen?, plan.floating_ip?);
    let port = plan.settings.port;
    let recorded = draft.state.droplet(&Address::LoadBalancer)?.config.clone()?;
    let wanted = LoadBalancerConfig { listen, floating_ip, port }.digest();
    if recorded == wanted {
        return None;
    }
    let attribute = to("config", Some(recorded), wanted);
    let reason = Reason::Needed { by: Address::Release };
    draft.change(&Address::LoadBalancer, ActionKind::Update, reason, vec![attribute]);
    Some(Effect::ConfigureLoadBalancer { listen, port })
}

fn nobody_live(pointing: Pointing) -> Refusal {
    let observed = match pointing {
        Pointing::Elsewhere(Some(droplet)) => format!("it points at droplet {droplet}"),
        Pointing::Elsewhere(None) => "it points at nothing".to_owned(),
        Pointing::Nowhere | Pointing::Worker(_) => "there is none".to_owned(),
    };
    Refusal {
        object: Address::FloatingIp.to_string(),
        expected: "a floating IP that points at a worker of the stack".to_owned(),
        observed,
        why: "a rollback leads away from the live worker, and there is none".to_owned(),
        help: "let the spec's release be put back: seachange apply".to_owned(),
        allowed_by: None,
    }
}

fn busy(what: &str) -> Refusal {
    Refusal {
        object: Address::FloatingIp.to_string(),
        expected: "no event in progress".to_owned(),
        observed: format!("an event still holds it, in {what}"),
        why: "where users are led is being decided at this moment".to_owned(),
        help: "wait a minute, then again: seachange rollback".to_owned(),
        allowed_by: None,
    }
}

fn nothing_there(there: &[String]) -> Refusal {
    let observed = if there.is_empty() { "no standby".to_owned() } else { there.join("; ") };
    Refusal {
        object: Address::Release.to_string(),
        expected: "a standby with another release than the live one, container included".to_owned(),
        observed,
        why: "there is nothing to roll back to".to_owned(),
        help: "name the old version in app.image and release it: seachange apply (versions: seachange releases)".to_owned(),
        allowed_by: None,
    }
}

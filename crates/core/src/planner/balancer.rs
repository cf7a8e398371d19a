//! The load balancer's configuration.

use super::draft::{Draft, to};
use super::fleet::Fleet;
use super::floating_ip;
use super::release::{Roles, deployed};
use crate::address::Address;
use crate::haproxy::LoadBalancerConfig;
use crate::observed::HostSeen;
use crate::plan::{ActionKind, Attribute, Effect, Reason};
use crate::release::Phase;

/// Installs the configuration if it is not there. Answers the step instead of making it if it would cut the live
/// release off: then it belongs right before the switch.
pub(super) fn configure(draft: &mut Draft<'_>, fleet: &Fleet<'_>, roles: &Roles) -> Option<Effect> {
    let (app, balancer) = (draft.desired.app.as_ref()?, draft.desired.balancer.as_ref()?);
    let address = Address::LoadBalancer;
    let member = fleet.members.get(&address)?;
    let live = roles.from().and_then(|from| deployed(draft, fleet, from));
    let live_port = live.map(|live| live.settings.port);
    let port =
        roles.release.as_ref().map_or(app.settings.port, |decision| decision.plan.settings.port);
    let wanted = floating_ip::current(draft, fleet).map(|floating_ip| {
        LoadBalancerConfig { listen: balancer.listen, floating_ip, port }.digest()
    });
    let recorded = member.droplet.as_ref().and_then(|droplet| droplet.config.clone());
    let seen = member.id().and_then(|id| match draft.observed.hosts.get(&id) {
        Some(HostSeen::LoadBalancer { balancing, .. }) => Some(balancing.clone()),
        Some(HostSeen::NotObserved { .. } | HostSeen::Worker { .. }) | None => None,
    });
    let detour = member.kept() && seen.as_ref().is_some_and(|seen| seen.detour);
    if detour && roles.resumes() == Some(Phase::SwitchingBack) {
        // A reload would take users back to the release that failed. The release step ends the detour when it may.
        return None;
    }
    let seen = seen.map(|seen| seen.config);
    let outside = seen.as_ref().is_some_and(|seen| *seen != recorded) && recorded.is_some();
    let is_there = seen.unwrap_or_else(|| recorded.clone());
    let is_right = wanted.is_some() && wanted == is_there && wanted == recorded;
    if member.kept() && is_right && !detour {
        return None;
    }
    let config = wanted.iter().filter(|_| !(is_right && detour));
    let config = config.map(|digest| to("config", is_there.clone(), digest.clone()));
    let taken = detour.then(|| to("detour", Some("taken".to_owned()), "none"));
    let changed: Vec<Attribute> = config.chain(taken).collect();
    let (action, reason) = if is_right && detour {
        let found = "users are sent round the floating IP".to_owned();
        (ActionKind::Repair, Reason::UnfinishedRun { found })
    } else if outside && wanted == recorded {
        let found =
            is_there.map_or("no haproxy.cfg".to_owned(), |digest| format!("haproxy.cfg {digest}"));
        (ActionKind::Repair, Reason::ChangedOutside { found })
    } else if wanted.is_none() {
        (ActionKind::Update, Reason::Needed { by: Address::FloatingIp })
    } else if recorded.is_none() {
        (ActionKind::Update, Reason::UnfinishedRun { found: "no configuration yet".to_owned() })
    } else {
        (ActionKind::Update, Reason::SpecChanged { attributes: vec!["config".to_owned()] })
    };
    draft.change(&address, action, reason, changed);
    let effect = Effect::ConfigureLoadBalancer { listen: balancer.listen, port };
    if live_port.is_some_and(|live| live != port) && recorded.is_some() {
        return Some(effect);
    }
    let after: Vec<usize> =
        draft.ready(&address).into_iter().chain(draft.made(&Address::FloatingIp)).collect();
    let step = draft.step(effect, after);
    draft.set_ready(&address, step);
    None
}

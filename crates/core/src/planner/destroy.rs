//! Destroy: everything the stack owns goes, in the order in which nothing is left pointing at what is gone: records and
//! zone, floating IP, droplets, keys, tags. What was there before the stack stays and is named.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::desired::{Desired, kind_tag};
use super::draft::{Draft, gone};
use super::fleet::Fleet;
use super::{Refusal, dns, finish, floating_ip, keys, release};
use crate::address::Address;
use crate::names;
use crate::observed::Observed;
use crate::plan::{ActionKind, Effect, Plan, Purpose, Reason};
use crate::state::{Resource, State};

/// Plans to remove everything the stack owns.
pub fn plan_destroy(
    state: &State,
    observed: &Observed,
    now: Timestamp,
) -> Result<Plan, Vec<Refusal>> {
    let desired = Desired::nothing(&state.stack);
    let mut draft = Draft::new(&desired, state, observed);
    let fleet = Fleet::survey(&desired, state, observed, &[]);
    if let Some(transition) = &state.transition {
        let found = release::describe(transition);
        draft.step(Effect::Forget { address: Address::Release }, []);
        draft.change(
            &Address::Release,
            ActionKind::Forget,
            Reason::UnfinishedRun { found },
            Vec::new(),
        );
    }
    let names = names_in_dns(&mut draft);
    let address = address(&mut draft, &fleet, &names);
    let droplets = droplets(&mut draft, &fleet, &address);
    let before_keys = if droplets.is_empty() { address } else { droplets.clone() };
    let own_keys: Vec<String> = state
        .resources
        .keys()
        .filter_map(|address| match address {
            Address::SshKey(name) => Some(name.clone()),
            _ => None,
        })
        .collect();
    for name in own_keys {
        keys::remove(&mut draft, &name, Reason::Destroy, before_keys.clone());
    }
    if !droplets.is_empty() {
        let tags = tags(state, observed);
        draft.step(Effect::DeleteTags { tags }, droplets);
    }
    for orphan in &fleet.orphans {
        draft.note(format!(
            "droplet {0} named {1} carries the stack's tag, but its name belongs to nothing here; it is left alone; to remove it: doctl compute droplet delete {0}",
            orphan.id, orphan.name
        ));
    }
    let cost = super::limits::cost(&draft, &fleet);
    finish(draft, Purpose::Destroy, String::new(), cost, now)
}

/// Records, then their zones.
fn names_in_dns(draft: &mut Draft<'_>) -> Vec<usize> {
    let state = draft.state;
    let mut records = Vec::new();
    for (address, resource) in &state.resources {
        let (Address::Record(name), Resource::Record { id, zone, data, .. }) = (address, resource)
        else {
            continue;
        };
        draft.change(address, ActionKind::Delete, Reason::Destroy, vec![gone("data", data)]);
        let effect = Effect::DeleteRecord { name: name.clone(), zone: zone.clone(), id: *id };
        records.push(draft.step(effect, []));
    }
    let mut all = records.clone();
    for (address, resource) in &state.resources {
        if let (Address::Domain(zone), Resource::Domain { ours }) = (address, resource) {
            all.push(dns::remove_zone(draft, zone, *ours, Reason::Destroy, records.clone()));
        }
    }
    all
}

fn address(draft: &mut Draft<'_>, fleet: &Fleet<'_>, after: &[usize]) -> Vec<usize> {
    let ip = draft.state.floating_ip().or_else(|| floating_ip::found(draft, fleet));
    let Some(ip) = ip else { return after.to_vec() };
    let attributes = vec![gone("ip", ip.to_string())];
    draft.change(&Address::FloatingIp, ActionKind::Delete, Reason::Destroy, attributes);
    vec![draft.step(Effect::DeleteFloatingIp { ip }, after.to_vec())]
}

fn droplets(draft: &mut Draft<'_>, fleet: &Fleet<'_>, after: &[usize]) -> Vec<usize> {
    let mut steps = Vec::new();
    for (address, member) in &fleet.members {
        let mut after = after.to_vec();
        if member.lost {
            let step = draft.step(Effect::Forget { address: address.clone() }, []);
            if member.droplet.is_none() {
                let reason = Reason::DeletedOutside;
                draft.change(address, ActionKind::Forget, reason, Vec::new());
                steps.push(step);
            }
            after.push(step);
        }
        let all = member.id().into_iter().chain(member.extras.iter().map(|extra| extra.id));
        for droplet in all {
            let attributes = vec![gone("id", droplet.to_string())];
            draft.change(address, ActionKind::Delete, Reason::Destroy, attributes);
            let effect = Effect::DeleteDroplet { address: address.clone(), droplet };
            steps.push(draft.step(effect, after.clone()));
        }
    }
    for (droplet, address) in &draft.state.deposed {
        let attributes = vec![gone("id", droplet.to_string())];
        draft.change(address, ActionKind::Delete, Reason::Destroy, attributes);
        let effect = Effect::DeleteDroplet { address: address.clone(), droplet: *droplet };
        steps.push(draft.step(effect, after.to_vec()));
    }
    steps
}

/// The stack's own tags: the owner's, the kinds', and every attempt's that is still to be seen.
fn tags(state: &State, observed: &Observed) -> Vec<String> {
    let attempts = observed
        .droplets
        .values()
        .flat_map(|droplet| droplet.tags.iter().flatten())
        .filter_map(|tag| names::attempt_of(&state.stack, tag))
        .map(|operation| names::attempt_tag(&state.stack, operation));
    let own = [
        names::owner_tag(&state.stack),
        kind_tag(&state.stack, &Address::Worker(1)),
        kind_tag(&state.stack, &Address::LoadBalancer),
    ];
    let tags: BTreeSet<String> = own.into_iter().chain(attempts).collect();
    tags.into_iter().collect()
}

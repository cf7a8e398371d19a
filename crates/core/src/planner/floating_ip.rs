//! The floating IP: taken in, reserved, put back where it belongs, given back.

use std::net::Ipv4Addr;

use super::Refusal;
use super::draft::{Draft, gone, to};
use super::fleet::Fleet;
use super::release::Roles;
use super::roles::Pointing;
use super::warm;
use crate::address::Address;
use crate::plan::{ActionKind, Attribute, Effect, Reason, Value};
use crate::state::Resource;

/// A reserved IP that points at a droplet of ours although the state has none: the answer to its create was lost.
pub(super) fn found(draft: &Draft<'_>, fleet: &Fleet<'_>) -> Option<Ipv4Addr> {
    draft.observed.reserved_ips.values().find_map(|seen| {
        let worker = seen.droplet.and_then(|droplet| fleet.worker_of(droplet));
        worker.map(|_| seen.ip)
    })
}

/// The address that is there and will be ours: the recorded one, or one that an earlier run left.
pub(super) fn current(draft: &Draft<'_>, fleet: &Fleet<'_>) -> Option<Ipv4Addr> {
    match draft.state.floating_ip() {
        Some(ip) => draft.observed.reserved_ips.contains_key(&ip).then_some(ip),
        None => found(draft, fleet),
    }
}

/// Makes the address exist and point at the holder, or at the worker that stays if there is no app.
pub(super) fn ensure(draft: &mut Draft<'_>, fleet: &Fleet<'_>, roles: &Roles) {
    let Some(holder) = roles.holder else { return };
    let address = Address::FloatingIp;
    let recorded = draft.state.floating_ip();
    let mut after = None;
    match (recorded, recorded.and_then(|ip| draft.observed.reserved_ips.get(&ip))) {
        (Some(ip), None) => {
            let forget = draft.step(Effect::Forget { address: address.clone() }, []);
            let attributes = vec![Attribute {
                name: "ip".to_owned(),
                before: Some(ip.to_string()),
                after: Some(Value::After(address.clone())),
            }];
            draft.change(&address, ActionKind::Create, Reason::DeletedOutside, attributes);
            reserve(draft, holder, Some(forget));
            return;
        }
        (Some(_), Some(seen)) => {
            if seen.region != draft.desired.region {
                let (there, region) = (seen.region.clone(), draft.desired.region.clone());
                draft.refuse(Refusal {
                    object: address.to_string(),
                    expected: format!("region {region}"),
                    observed: format!("region {there}"),
                    why: "a reserved IP cannot leave its region, and users reach the app by it".to_owned(),
                    help: format!(
                        "set region back to {there}, or describe a second stack in {region} and move users there by DNS"
                    ),
                    allowed_by: None,
                });
            }
        }
        (None, _) => match found(draft, fleet) {
            Some(ip) => {
                let resource = Resource::FloatingIp { ip };
                let step = draft.step(Effect::Adopt { address: address.clone(), resource }, []);
                let reason = Reason::UnfinishedRun {
                    found: format!("{ip} points at a worker of the stack"),
                };
                draft.change(
                    &address,
                    ActionKind::Adopt,
                    reason,
                    vec![to("ip", None, ip.to_string())],
                );
                draft.set_made(&address, step);
                after = Some(step);
            }
            None => {
                draft.change(&address, ActionKind::Create, Reason::NotCreatedYet, Vec::new());
                reserve(draft, holder, None);
                return;
            }
        },
    }
    put_back(draft, roles, holder, after);
}

fn reserve(draft: &mut Draft<'_>, worker: u32, forget: Option<usize>) {
    let after = draft.made(&Address::Worker(worker)).into_iter().chain(forget);
    let step = draft.step(Effect::ReserveFloatingIp { worker }, after);
    draft.set_made(&Address::FloatingIp, step);
}

/// Points the address at its holder if it points at nobody; without an app also away from a worker that goes.
fn put_back(draft: &mut Draft<'_>, roles: &Roles, holder: u32, adopted: Option<usize>) {
    let (worker, reason) = match roles.pointing {
        Pointing::Nowhere => return,
        Pointing::Worker(now) if draft.desired.app.is_none() => {
            let Some(live) = roles
                .live
                .filter(|live| *live != now || draft.made(&Address::Worker(now)).is_some())
            else {
                return;
            };
            (live, Reason::Needed { by: Address::Worker(now) })
        }
        Pointing::Worker(_) => return,
        Pointing::Elsewhere(None) => {
            (holder, Reason::ChangedOutside { found: "it points at nothing".to_owned() })
        }
        Pointing::Elsewhere(Some(droplet)) => {
            let found = format!("it points at droplet {droplet}");
            (holder, Reason::ChangedOutside { found })
        }
    };
    let address = Address::Worker(worker);
    let gate = roles.gate.as_ref().map(|gate| warm::onto(draft, worker, gate, None));
    let made =
        if draft.desired.app.is_some() { draft.ready(&address) } else { draft.made(&address) };
    let after: Vec<usize> = made.into_iter().chain(adopted).chain(gate).collect();
    let step = draft.step(Effect::AssignFloatingIp { worker }, after);
    let before = match roles.pointing {
        Pointing::Worker(now) => Some(Address::Worker(now).to_string()),
        Pointing::Nowhere | Pointing::Elsewhere(_) => None,
    };
    let action = if before.is_some() { ActionKind::Update } else { ActionKind::Repair };
    let target = to("target", before, address.to_string());
    draft.change(&Address::FloatingIp, action, reason, vec![target]);
    draft.set_made(&Address::FloatingIp, step);
    draft.moves.push(step);
}

/// Gives the address back if the spec no longer has it.
pub(super) fn give_back(draft: &mut Draft<'_>, after: Vec<usize>) {
    let Some(ip) = draft.state.floating_ip().filter(|_| !draft.desired.floating_ip) else { return };
    let address = Address::FloatingIp;
    let attributes = vec![gone("ip", ip.to_string())];
    if draft.observed.reserved_ips.contains_key(&ip) {
        draft.change(&address, ActionKind::Delete, Reason::NotInSpec, attributes);
        draft.step(Effect::DeleteFloatingIp { ip }, after);
    } else {
        draft.change(&address, ActionKind::Forget, Reason::DeletedOutside, attributes);
        draft.step(Effect::Forget { address }, []);
    }
}

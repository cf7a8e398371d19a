//! Droplets: taken in, created in groups, prepared, and deleted when nothing needs them any more.

use super::draft::{Draft, gone, to};
use super::fleet::{Fate, Fleet, Member};
use super::release::Roles;
use super::roles::Pointing;
use crate::address::Address;
use crate::bootstrap::Bootstrap;
use crate::cloud::DropletId;
use crate::names::{FALLBACK, PROD};
use crate::plan::{ActionKind, Attribute, Effect, Reason};
use crate::state::Resource;

/// Most droplets of one request.
const GROUP: usize = 10;

/// Everything that can be done before users are moved: adoption, creates, first boots. Not the successor of a live
/// worker, which waits in [`late`].
pub(super) fn early(draft: &mut Draft<'_>, fleet: &Fleet<'_>, roles: &Roles) {
    let waits = successor_waits(fleet, roles);
    let mut single = Vec::new();
    let mut others = Vec::new();
    for (address, member) in &fleet.members {
        let forgot = forget(draft, address, member);
        let leaves = address.worker().is_some() && address.worker() == roles.holder;
        take_in(draft, address, member, forgot, leaves);
        if !is_created(member) {
            if member.kept() {
                prepare_unfinished(draft, address, member);
            }
            continue;
        }
        describe(draft, address, member);
        let number = address.worker();
        if number.is_some() && number == waits {
            continue;
        }
        let leads =
            roles.pointing == Pointing::Nowhere && number.is_some() && number == roles.holder;
        if leads || number.is_none() {
            single.push((address, forgot, if leads { PROD } else { FALLBACK }));
        } else {
            others.push((address, forgot, FALLBACK));
        }
    }
    for one in &single {
        create(draft, fleet, std::slice::from_ref(one), None);
    }
    for group in others.chunks(GROUP) {
        create(draft, fleet, group, None);
    }
}

/// The successor of the worker that users were moved away from.
pub(super) fn late(draft: &mut Draft<'_>, fleet: &Fleet<'_>, roles: &Roles) {
    let Some(number) = successor_waits(fleet, roles) else { return };
    let after = draft.moves.last().copied();
    create(draft, fleet, &[(&Address::Worker(number), None, FALLBACK)], after);
}

/// The live worker, if it is replaced and somebody else takes over before.
fn successor_waits(fleet: &Fleet<'_>, roles: &Roles) -> Option<u32> {
    let holder = roles.holder?;
    let replaced = matches!(fleet.worker(holder)?.fate, Fate::Replace(..));
    (replaced && roles.live != Some(holder)).then_some(holder)
}

fn is_created(member: &Member<'_>) -> bool {
    matches!(member.fate, Fate::Create | Fate::Replace(..))
}

/// Drops a droplet that is gone from the state.
fn forget(draft: &mut Draft<'_>, address: &Address, member: &Member<'_>) -> Option<usize> {
    if !member.lost {
        return None;
    }
    let step = draft.step(Effect::Forget { address: address.clone() }, []);
    draft.set_ready(address, step);
    if !member.stays() {
        draft.change(address, ActionKind::Forget, Reason::DeletedOutside, Vec::new());
    }
    Some(step)
}

/// Takes a droplet into the state as it was seen, unless it goes anyway. One that users are moved away from must be
/// known until then.
fn take_in(
    draft: &mut Draft<'_>,
    address: &Address,
    member: &Member<'_>,
    forgot: Option<usize>,
    is_live: bool,
) {
    let (Some(droplet), Some(reason)) = (&member.droplet, &member.learn) else { return };
    let recorded = draft.state.droplet(address).filter(|recorded| recorded.id == droplet.id);
    let needed = match member.fate {
        Fate::Keep => true,
        Fate::Replace(..) => recorded.is_none(),
        Fate::Remove => recorded.is_none() && is_live,
        Fate::Create => false,
    };
    if !needed {
        return;
    }
    let resource = Resource::Droplet(droplet.clone());
    let step = draft.step(Effect::Adopt { address: address.clone(), resource }, forgot);
    draft.set_made(address, step);
    let id = to("id", recorded.map(|recorded| recorded.id.to_string()), droplet.id.to_string());
    if member.kept() {
        draft.change(address, ActionKind::Adopt, reason.clone(), vec![id]);
    }
}

/// Sees a first boot to its end that an earlier run did not.
fn prepare_unfinished(draft: &mut Draft<'_>, address: &Address, member: &Member<'_>) {
    let Some(droplet) = member.droplet.as_ref().filter(|droplet| !droplet.ready) else { return };
    if draft.desired.bootstrap(address) == Bootstrap::Nothing {
        return;
    }
    prepare(draft, address);
    let found = format!("the first boot of droplet {} was not seen to end", droplet.id);
    draft.change(address, ActionKind::Update, Reason::UnfinishedRun { found }, Vec::new());
}

fn prepare(draft: &mut Draft<'_>, address: &Address) {
    let after = draft.made(address);
    let step = draft.step(Effect::PrepareHost { address: address.clone() }, after);
    draft.set_ready(address, step);
}

fn describe(draft: &mut Draft<'_>, address: &Address, member: &Member<'_>) {
    let Some(machine) = draft.desired.machine(address) else { return };
    let region = draft.desired.region.clone();
    let (action, reason, attributes) = match &member.fate {
        Fate::Replace(reason, attributes) => {
            (ActionKind::Replace, reason.clone(), attributes.clone())
        }
        Fate::Create | Fate::Keep | Fate::Remove => {
            let reason = if member.lost { Reason::DeletedOutside } else { Reason::NotCreatedYet };
            let attributes = vec![
                to("region", None, region),
                to("size", None, &machine.size),
                to("image", None, &machine.image),
            ];
            (ActionKind::Create, reason, attributes)
        }
    };
    draft.change(address, action, reason, attributes);
}

/// Creates droplets of one template by one request, and prepares each.
fn create(
    draft: &mut Draft<'_>,
    fleet: &Fleet<'_>,
    group: &[(&Address, Option<usize>, &str)],
    after: Option<usize>,
) {
    let Some((first, _, role)) = group.first() else { return };
    let Some(template) = draft.desired.template(first, role) else { return };
    let keys: Vec<usize> = draft
        .desired
        .keys
        .iter()
        .filter_map(|key| key.managed.as_ref())
        .filter_map(|(name, _)| draft.made(&Address::SshKey(name.clone())))
        .collect();
    let adopted = group.iter().filter_map(|(address, ..)| draft.made(address)).collect::<Vec<_>>();
    let forgot = group.iter().filter_map(|(_, forgot, _)| *forgot);
    let after: Vec<usize> = keys.into_iter().chain(adopted).chain(forgot).chain(after).collect();
    let addresses: Vec<Address> = group.iter().map(|(address, ..)| (*address).clone()).collect();
    let step = draft.step(Effect::CreateDroplets { addresses: addresses.clone(), template }, after);
    for address in &addresses {
        debug_assert!(fleet.members.contains_key(address), "only members are created");
        draft.set_made(address, step);
        if draft.desired.bootstrap(address) != Bootstrap::Nothing {
            prepare(draft, address);
        }
    }
}

/// Deletes what was replaced, is no longer wanted, or was left by an earlier run. Workers go only after every move of
/// the floating IP and after their successor can do their work; a load balancer only after `outlived`.
pub(super) fn clean_up(draft: &mut Draft<'_>, fleet: &Fleet<'_>, outlived: &[usize]) {
    for (address, member) in &fleet.members {
        match (&member.fate, member.id()) {
            (Fate::Replace(..), Some(id)) => delete(draft, address, id, outlived),
            (Fate::Remove, Some(id)) => {
                let attributes = vec![gone("id", id.to_string())];
                let reason = if draft.state.resources.contains_key(address) {
                    Reason::NotInSpec
                } else {
                    Reason::UnfinishedRun { found: format!("droplet {id} with the stack's tag") }
                };
                draft.change(address, ActionKind::Delete, reason, attributes);
                delete(draft, address, id, outlived);
            }
            (Fate::Create | Fate::Keep | Fate::Replace(..) | Fate::Remove, _) => {}
        }
        for extra in &member.extras {
            let found = format!("a second droplet of this name, {}", extra.id);
            draft.note(format!("{address}: {found}, is deleted"));
            left_over(draft, address, extra.id, found, outlived);
        }
    }
    for (id, address) in &draft.state.deposed {
        let found = format!("droplet {id}, whose successor exists");
        left_over(draft, address, *id, found, outlived);
    }
    for orphan in &fleet.orphans {
        draft.note(format!(
            "droplet {0} named {1} carries the stack's tag, but its name belongs to nothing here; it is left alone; to remove it: doctl compute droplet delete {0}",
            orphan.id, orphan.name
        ));
    }
}

fn left_over(
    draft: &mut Draft<'_>,
    address: &Address,
    id: DropletId,
    found: String,
    outlived: &[usize],
) {
    let attributes: Vec<Attribute> = vec![gone("id", id.to_string())];
    draft.change(address, ActionKind::Delete, Reason::UnfinishedRun { found }, attributes);
    delete(draft, address, id, outlived);
}

fn delete(draft: &mut Draft<'_>, address: &Address, droplet: DropletId, outlived: &[usize]) {
    let mut after: Vec<usize> = draft.ready(address).into_iter().collect();
    match address.worker() {
        Some(number) => {
            after.extend(&draft.moves);
            after.extend(draft.warmed.get(&number));
        }
        None => after.extend(outlived),
    }
    draft.step(Effect::DeleteDroplet { address: address.clone(), droplet }, after);
}

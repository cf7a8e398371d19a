//! The role tags, when no release puts them right in passing.

use super::draft::{Draft, to};
use super::fleet::{Fleet, Member};
use super::release::Roles;
use super::roles::{self, Pointing};
use crate::address::Address;
use crate::names::PROD;
use crate::plan::{ActionKind, Effect, Reason};

/// Makes the tags follow the floating IP, if they do not.
pub(super) fn repair(draft: &mut Draft<'_>, fleet: &Fleet<'_>, roles: &Roles) {
    let Some(live) = roles.live.filter(|_| roles.release.is_none()) else { return };
    let wrong: Vec<u32> = fleet
        .workers()
        .filter(|(number, member)| is_wrong(roles, *number, member, *number == live))
        .map(|(number, _)| number)
        .collect();
    let unreadable = fleet
        .workers()
        .any(|(_, member)| member.kept() && member.seen.is_some_and(|seen| seen.tags.is_none()));
    if unreadable {
        draft.note("the token may not read tags, so nobody looked at PROD and FALLBACK");
    }
    if wrong.is_empty() {
        return;
    }
    let workers = fleet.workers().filter(|(_, member)| member.stays());
    let after: Vec<usize> = workers
        .filter_map(|(number, _)| draft.made(&Address::Worker(number)))
        .chain(draft.made(&Address::FloatingIp))
        .collect();
    let moved = draft.changes.contains_key(&Address::FloatingIp);
    draft.step(Effect::Retag, after);
    let carrying: Vec<String> = fleet
        .workers()
        .filter(|(_, member)| {
            member.seen.is_some_and(|seen| roles::carries(seen, PROD) == Some(true))
        })
        .map(|(number, _)| Address::Worker(number).to_string())
        .collect();
    let reason = match carrying.as_slice() {
        _ if moved => Reason::Needed { by: Address::FloatingIp },
        [] => Reason::ChangedOutside { found: format!("no worker carries {PROD}") },
        carrying => Reason::ChangedOutside { found: format!("{PROD} on {}", carrying.join(", ")) },
    };
    let before = (!carrying.is_empty()).then(|| carrying.join(", "));
    let attribute = to("worker", before, Address::Worker(live).to_string());
    let tag = Address::Tag(PROD.to_owned());
    draft.change(&tag, ActionKind::Repair, reason, vec![attribute]);
}

/// Whether a worker will carry the wrong role once everything else is done.
fn is_wrong(roles: &Roles, number: u32, member: &Member<'_>, live: bool) -> bool {
    if !member.stays() {
        return false;
    }
    if member.kept() {
        return member.seen.and_then(|seen| roles::tagged_as(seen, live)) == Some(false);
    }
    let made_live = roles.pointing == Pointing::Nowhere && roles.holder == Some(number);
    made_live != live
}

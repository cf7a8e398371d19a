//! SSH keys of the account: those the spec asks to create, and those it only names.

use super::Refusal;
use super::draft::{Draft, gone, to};
use crate::address::Address;
use crate::plan::{ActionKind, Effect, Reason};
use crate::state::Resource;

/// Makes the managed keys exist.
pub(super) fn ensure(draft: &mut Draft<'_>) {
    let desired = draft.desired;
    for key in &desired.keys {
        let seen = draft.observed.ssh_keys.get(&key.fingerprint);
        let Some((name, public_key)) = &key.managed else { continue };
        let address = Address::SshKey(name.clone());
        let recorded = match draft.state.resources.get(&address) {
            Some(Resource::SshKey { id, fingerprint, ours }) => Some((*id, fingerprint, *ours)),
            _ => None,
        };
        let mut lead = None;
        let mut reason = Reason::NotCreatedYet;
        let mut action = ActionKind::Create;
        if let Some((id, fingerprint, ours)) = recorded {
            if *fingerprint == key.fingerprint {
                if seen != Some(&None) {
                    continue;
                }
                reason = Reason::DeletedOutside;
                lead = Some(draft.step(Effect::Forget { address: address.clone() }, []));
            } else {
                reason = Reason::CannotUpdate { attributes: vec!["public_key".to_owned()] };
                action = ActionKind::Replace;
                let effect = if ours {
                    Effect::DeleteSshKey { name: name.clone(), id }
                } else {
                    Effect::Forget { address: address.clone() }
                };
                lead = Some(draft.step(effect, []));
            }
        }
        let before = recorded.map(|(_, fingerprint, _)| fingerprint.clone());
        let attributes = vec![to("fingerprint", before, &key.fingerprint)];
        let effect = match seen {
            Some(Some(seen)) => {
                action = ActionKind::Adopt;
                reason = Reason::ChangedOutside {
                    found: "the account has this key already; it is never deleted".to_owned(),
                };
                let fingerprint = key.fingerprint.clone();
                let resource = Resource::SshKey { id: seen.id, fingerprint, ours: false };
                Effect::Adopt { address: address.clone(), resource }
            }
            Some(None) | None => Effect::CreateSshKey {
                name: name.clone(),
                public_key: public_key.clone(),
                fingerprint: key.fingerprint.clone(),
            },
        };
        let step = draft.step(effect, lead);
        draft.set_made(&address, step);
        draft.change(&address, action, reason, attributes);
    }
}

/// Removes the keys that the spec no longer has, and refuses creates with a key that the account has not.
pub(super) fn finish(draft: &mut Draft<'_>) {
    let state = draft.state;
    let wanted = |name: &str| {
        draft.desired.keys.iter().filter_map(|key| key.managed.as_ref()).any(|(own, _)| own == name)
    };
    let dropped: Vec<&str> = state
        .resources
        .keys()
        .filter_map(|address| match address {
            Address::SshKey(name) if !wanted(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    for name in dropped {
        remove(draft, name, Reason::NotInSpec, Vec::new());
    }
    let creates =
        draft.steps.iter().any(|step| matches!(step.effect, Effect::CreateDroplets { .. }));
    let absent: Vec<&str> = draft
        .desired
        .keys
        .iter()
        .filter(|key| creates && key.managed.is_none())
        .filter(|key| draft.observed.ssh_keys.get(&key.fingerprint) == Some(&None))
        .map(|key| key.fingerprint.as_str())
        .collect();
    for fingerprint in absent {
        draft.refuse(Refusal {
            object: "ssh.keys".to_owned(),
            expected: format!("a key of the account with the fingerprint {fingerprint}"),
            observed: "no such key".to_owned(),
            why: "droplets cannot be created with a key that the account does not have".to_owned(),
            help: "add it (doctl compute ssh-key import NAME --public-key-file FILE), or write ssh.keys: [{ name, public_key }] \
                   to have it created"
                .to_owned(),
            allowed_by: None,
        });
    }
}

/// Deletes a key of ours, or forgets one that was there before us.
pub(super) fn remove(
    draft: &mut Draft<'_>,
    name: &str,
    reason: Reason,
    after: Vec<usize>,
) -> Option<usize> {
    let address = Address::SshKey(name.to_owned());
    let Some(Resource::SshKey { id, fingerprint, ours }) = draft.state.resources.get(&address)
    else {
        return None;
    };
    let attributes = vec![gone("fingerprint", fingerprint)];
    if *ours {
        draft.change(&address, ActionKind::Delete, reason, attributes);
        return Some(draft.step(Effect::DeleteSshKey { name: name.to_owned(), id: *id }, after));
    }
    draft.note(format!("the SSH key {name} was there before this stack and is kept"));
    draft.change(&address, ActionKind::Forget, reason, attributes);
    Some(draft.step(Effect::Forget { address }, after))
}

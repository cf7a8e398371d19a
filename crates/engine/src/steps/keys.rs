//! Account SSH keys: known by their fingerprint, and deleted only if they were ours.

use seachange_core::address::Address;
use seachange_core::cloud::{CloudError, SshKeyId};
use seachange_core::event::Outcome;
use seachange_core::journal::{Change, OperationKind};
use seachange_core::state::Resource;

use crate::pace::Cut;
use crate::step::{Done, Step, Trouble};

/// Adds the key, unless the account has it.
pub(crate) async fn create(
    step: &mut Step<'_>,
    name: &str,
    public_key: &str,
    fingerprint: &str,
) -> Result<Done, Trouble> {
    let run = step.run;
    let address = Address::SshKey(name.to_owned());
    match run.context.cloud.ssh_key(fingerprint).await {
        Ok(key) => {
            step.learn(vec![put(&address, key.id, fingerprint, false)]).await?;
            return Ok((Outcome::Adopted, format!("id {}", key.id.0)));
        }
        Err(CloudError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let kind = OperationKind::CreateSshKey { fingerprint: fingerprint.to_owned() };
    let operation = step.begin(kind, std::slice::from_ref(&address)).await?;
    let pace = step.pace(run.context.patience.action);
    let sent = step.send(&pace, async |cloud| cloud.create_ssh_key(name, public_key).await).await;
    let id = match sent {
        Ok(key) => Some(key.id),
        // Key material is unique in an account: whatever the answer was, the fingerprint tells.
        Err(Trouble::Cloud(error @ (CloudError::Unknown { .. } | CloudError::Invalid { .. }))) => {
            let found = look_for(step, fingerprint).await?;
            if found.is_none() {
                step.end(operation, Vec::new()).await?;
                return Err(error.into());
            }
            found
        }
        Err(Trouble::Cloud(refused)) => {
            step.end(operation, Vec::new()).await?;
            return Err(refused.into());
        }
        Err(other) => return Err(other),
    };
    let changes = id.iter().map(|id| put(&address, *id, fingerprint, true)).collect();
    step.end(operation, changes).await?;
    Ok((Outcome::Added, id.map_or_else(String::new, |id| format!("id {}", id.0))))
}

async fn look_for(step: &mut Step<'_>, fingerprint: &str) -> Result<Option<SshKeyId>, Trouble> {
    let run = step.run;
    let pace = step.pace(run.context.patience.settle);
    loop {
        match run.context.cloud.ssh_key(fingerprint).await {
            Ok(key) => return Ok(Some(key.id)),
            Err(CloudError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match step.slot.lend(pace.pause()).await {
            Ok(()) => {}
            Err(Cut::Elapsed(_)) => return Ok(None),
            Err(stopped @ Cut::Stopped) => return Err(stopped.into()),
        }
    }
}

pub(crate) fn put(address: &Address, id: SshKeyId, fingerprint: &str, ours: bool) -> Change {
    Change::Put {
        address: address.clone(),
        resource: Resource::SshKey { id, fingerprint: fingerprint.to_owned(), ours },
    }
}

/// Removes the key from the account.
pub(crate) async fn delete(step: &mut Step<'_>, name: &str, id: SshKeyId) -> Result<Done, Trouble> {
    let address = Address::SshKey(name.to_owned());
    let operation = step.begin(OperationKind::Repeatable, std::slice::from_ref(&address)).await?;
    let pace = step.pace(step.run.context.patience.delete);
    step.send_repeatable(&pace, async |cloud| cloud.delete_ssh_key(id).await).await?;
    step.end(operation, vec![Change::Remove { address }]).await?;
    Ok((Outcome::Removed, format!("id {}", id.0)))
}

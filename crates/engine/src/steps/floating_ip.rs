//! The floating IP: reserved for a worker, moved by one assign, and always read back.
//!
//! What an action says is a hint; where the address points is the outcome. An assign that met no usable answer is
//! neither done nor undone until the address is unlocked and says so.

use std::net::Ipv4Addr;

use seachange_core::address::Address;
use seachange_core::cloud::{ActionId, ActionStatus, CloudError, DropletId, ReservedIp};
use seachange_core::event::Outcome;
use seachange_core::journal::{Change, OperationKind};
use seachange_core::state::Resource;
use tokio::time::Instant;

use crate::listing::passes;
use crate::pace::{Cut, Pace};
use crate::step::{Done, Step, Trouble};

/// How often an assign that certainly came to nothing is sent anew.
const ATTEMPTS: usize = 3;

/// Reserves an address for the worker, and waits until it points there.
pub(crate) async fn reserve(step: &mut Step<'_>, worker: u32) -> Result<Done, Trouble> {
    let run = step.run;
    let droplet = step.droplet(&Address::Worker(worker))?.id;
    let known = run.journal.with(|state| state.floating_ip());
    let (ip, outcome) = match known {
        Some(ip) => (ip, Outcome::AlreadySo),
        None => reserved(step, droplet).await?,
    };
    step.does(format!("waiting until {ip} points to {}", Address::Worker(worker)));
    let pace = step.pace(run.context.patience.action);
    match read_back(step, &pace, ip, droplet, None).await? {
        Landed::Yes => Ok((outcome, ip.to_string())),
        Landed::No => {
            // The create's own assignment failed; the address is ours all the same.
            let operation = step.begin(OperationKind::Repeatable, &[Address::FloatingIp]).await?;
            move_to(step, &pace, ip, droplet).await?;
            step.end(operation, Vec::new()).await?;
            Ok((outcome, ip.to_string()))
        }
    }
}

/// An address for the droplet: one that points to it already, or a new one.
async fn reserved(step: &mut Step<'_>, droplet: DropletId) -> Result<(Ipv4Addr, Outcome), Trouble> {
    let run = step.run;
    if let Some(found) = pointing_to(run.context.cloud.reserved_ips().await?, droplet) {
        step.learn(vec![put(found)]).await?;
        return Ok((found, Outcome::Adopted));
    }
    for _ in 0..ATTEMPTS {
        let kind = OperationKind::ReserveIp { droplet };
        let operation = step.begin(kind, &[Address::FloatingIp]).await?;
        let pace = step.pace(run.context.patience.action);
        let sent = step.send(&pace, async |cloud| cloud.create_reserved_ip(droplet).await).await;
        let (ip, outcome) = match sent {
            Ok(reserved) => (Some(reserved.ip), Outcome::Added),
            Err(Trouble::Cloud(CloudError::Unknown { .. })) => {
                step.does("looking for an address whose create was not answered");
                (look_for(step, droplet).await?, Outcome::Adopted)
            }
            Err(Trouble::Cloud(refused)) => {
                step.end(operation, Vec::new()).await?;
                return Err(refused.into());
            }
            Err(other) => return Err(other),
        };
        step.end(operation, ip.into_iter().map(put).collect()).await?;
        if let Some(ip) = ip {
            return Ok((ip, outcome));
        }
    }
    Err(Trouble::Missing(format!("no create of an address was answered, {ATTEMPTS} times")))
}

/// Looks for an address that points to the droplet, for as long as the account's list may lag.
async fn look_for(step: &mut Step<'_>, droplet: DropletId) -> Result<Option<Ipv4Addr>, Trouble> {
    let run = step.run;
    let pace = step.pace(run.context.patience.settle);
    loop {
        let listed = run.context.cloud.reserved_ips().await?;
        if let Some(ip) = pointing_to(listed, droplet) {
            return Ok(Some(ip));
        }
        match step.slot.lend(pace.pause()).await {
            Ok(()) => {}
            Err(Cut::Elapsed(_)) => return Ok(None),
            Err(stopped @ Cut::Stopped) => return Err(stopped.into()),
        }
    }
}

pub(crate) fn pointing_to(listed: Vec<ReservedIp>, droplet: DropletId) -> Option<Ipv4Addr> {
    listed.into_iter().find(|ip| ip.droplet == Some(droplet)).map(|found| found.ip)
}

pub(crate) fn put(ip: Ipv4Addr) -> Change {
    Change::Put { address: Address::FloatingIp, resource: Resource::FloatingIp { ip } }
}

/// Moves the floating IP to the worker.
pub(crate) async fn assign(step: &mut Step<'_>, worker: u32) -> Result<Done, Trouble> {
    let run = step.run;
    let droplet = step.droplet(&Address::Worker(worker))?.id;
    let ip = ours(step)?;
    let now = run.context.cloud.reserved_ip(ip).await?;
    let what = format!("{ip} points to {}", Address::Worker(worker));
    if now.droplet == Some(droplet) && !now.locked {
        return Ok((Outcome::AlreadySo, what));
    }
    let operation = step.begin(OperationKind::Repeatable, &[Address::FloatingIp]).await?;
    let pace = step.pace(run.context.patience.action);
    move_to(step, &pace, ip, droplet).await?;
    step.end(operation, Vec::new()).await?;
    Ok((Outcome::Changed, what))
}

/// The stack's floating IP.
pub(crate) fn ours(step: &Step<'_>) -> Result<Ipv4Addr, Trouble> {
    let ip = step.run.journal.with(|state| state.floating_ip());
    ip.ok_or_else(|| Trouble::Missing("the state has no floating IP".to_owned()))
}

/// The address, once no event holds it: until then nobody can say where it will point.
pub(crate) async fn at_rest(
    step: &mut Step<'_>,
    pace: &Pace<'_>,
    ip: Ipv4Addr,
) -> Result<ReservedIp, Trouble> {
    let run = step.run;
    loop {
        match run.context.cloud.reserved_ip(ip).await {
            Ok(now) if !now.locked => return Ok(now),
            Ok(_) => {}
            Err(error) if passes(&error) && !matches!(error, CloudError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        step.slot.lend(pace.pause()).await?;
    }
}

/// Where an address was found to point, at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Landed {
    Yes,
    No,
}

/// Why an address was not seen to have moved.
pub(crate) enum NotMoved {
    /// It is where it was: nothing that was sent can still take effect.
    Certainly(Trouble),
    /// Something that was sent may still take effect.
    Perhaps(Trouble),
}

impl From<NotMoved> for Trouble {
    fn from(not_moved: NotMoved) -> Self {
        match not_moved {
            NotMoved::Certainly(trouble) | NotMoved::Perhaps(trouble) => trouble,
        }
    }
}

/// Moves the address and reads it back.
pub(crate) async fn move_to(
    step: &mut Step<'_>,
    pace: &Pace<'_>,
    ip: Ipv4Addr,
    droplet: DropletId,
) -> Result<(), NotMoved> {
    for _ in 0..ATTEMPTS {
        let sent = step.send(pace, async |cloud| cloud.assign_reserved_ip(ip, droplet).await).await;
        let action = match sent {
            Ok(action) => Some(action.id),
            Err(Trouble::Cloud(CloudError::Unknown { .. })) => None,
            Err(refused) => return Err(NotMoved::Certainly(refused)),
        };
        let read = read_back(step, pace, ip, droplet, action).await;
        if read.map_err(NotMoved::Perhaps)? == Landed::Yes {
            return Ok(());
        }
    }
    Err(NotMoved::Certainly(Trouble::Missing(format!(
        "the cloud accepted {ATTEMPTS} assigns, and none took effect"
    ))))
}

/// Reads the address until it points to the droplet and nothing holds it; `No` once it is at rest elsewhere for as long
/// as reads may lag, and the action, if there is one to ask, is not under way.
async fn read_back(
    step: &mut Step<'_>,
    pace: &Pace<'_>,
    ip: Ipv4Addr,
    droplet: DropletId,
    action: Option<ActionId>,
) -> Result<Landed, Trouble> {
    let run = step.run;
    let mut elsewhere_since: Option<Instant> = None;
    // The very first look costs a request and shows at best a lock.
    step.slot.lend(pace.pause()).await?;
    loop {
        match run.context.cloud.reserved_ip(ip).await {
            Ok(now) if now.droplet == Some(droplet) && !now.locked => return Ok(Landed::Yes),
            Ok(now) if now.droplet != Some(droplet) && !now.locked => {
                let since = *elsewhere_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= run.context.patience.settle
                    && !under_way(step, ip, action).await
                {
                    return Ok(Landed::No);
                }
            }
            Ok(_) => elsewhere_since = None,
            Err(error) if passes(&error) => {}
            Err(error) => return Err(error.into()),
        }
        step.slot.lend(pace.pause()).await?;
    }
}

/// Whether the action says that it is still at work. One that cannot be found says nothing.
async fn under_way(step: &Step<'_>, ip: Ipv4Addr, action: Option<ActionId>) -> bool {
    let Some(action) = action else { return false };
    let asked = step.run.context.cloud.reserved_ip_action(ip, action).await;
    asked.is_ok_and(|action| action.status == ActionStatus::InProgress)
}

/// Gives the address back.
pub(crate) async fn delete(step: &mut Step<'_>, ip: Ipv4Addr) -> Result<Done, Trouble> {
    let operation = step.begin(OperationKind::Repeatable, &[Address::FloatingIp]).await?;
    let pace = step.pace(step.run.context.patience.delete);
    step.send_repeatable(&pace, async |cloud| cloud.delete_reserved_ip(ip).await).await?;
    step.end(operation, vec![Change::Remove { address: Address::FloatingIp }]).await?;
    Ok((Outcome::Removed, ip.to_string()))
}

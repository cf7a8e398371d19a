//! Droplets: created at most once per attempt, recognised by the attempt's own tag, deleted by id.
//!
//! The API has no idempotency key: a create whose answer was lost is looked for by its one-time tag for as long as the
//! listing may lag, then adopted, or tried again under a new tag. Ids are durable before anything waits for the boot.

use std::collections::{BTreeMap, BTreeSet};

use seachange_core::address::Address;
use seachange_core::bootstrap::Bootstrap;
use seachange_core::cloud::{self, CloudError, DropletCreate, DropletId, DropletStatus};
use seachange_core::event::Outcome;
use seachange_core::host::Target;
use seachange_core::journal::{Change, OperationId, OperationKind};
use seachange_core::names;
use seachange_core::plan::DropletTemplate;
use seachange_core::state::{Droplet, Resource};
use tokio::time::Instant;

use crate::listing::Droplets;
use crate::pace::{Cut, Pace};
use crate::step::{Done, Step, Trouble};

/// How often a create that came to nothing is tried anew.
const ATTEMPTS: usize = 3;

/// Creates the droplets, and waits until each is active and has an address.
pub(crate) async fn create(
    step: &mut Step<'_>,
    addresses: &[Address],
    template: &DropletTemplate,
) -> Result<Done, Trouble> {
    let mut missing = addresses.to_vec();
    let mut outcome = Outcome::Added;
    for attempt in 1..=ATTEMPTS {
        let (found, adopted) = one_attempt(step, &missing, template, attempt == ATTEMPTS).await?;
        if adopted {
            outcome = Outcome::Adopted;
        }
        missing.retain(|address| !found.contains(address));
        if missing.is_empty() {
            break;
        }
    }
    if !missing.is_empty() {
        return Err(Trouble::Missing("the cloud created fewer droplets than asked for".to_owned()));
    }
    step.does(format!("booting {}", template.size));
    addressed(step, addresses).await?;
    let ids: Vec<String> = addresses
        .iter()
        .filter_map(|address| step.droplet(address).ok())
        .map(|droplet| format!("id {}", droplet.id))
        .collect();
    Ok((outcome, ids.join(", ")))
}

/// One create request. Answers which addresses are there, and whether they had to be found by their tag.
async fn one_attempt(
    step: &mut Step<'_>,
    addresses: &[Address],
    template: &DropletTemplate,
    last: bool,
) -> Result<(BTreeSet<Address>, bool), Trouble> {
    let run = step.run;
    let stack = run.context.stack;
    // One pair a request, since all of its droplets share one user-data. Who adopts them must know what they show.
    let key = match (template.bootstrap, run.context.host) {
        (Bootstrap::Nothing, _) | (_, None) => None,
        (Bootstrap::Docker | Bootstrap::Haproxy, Some(host)) => Some(host.first_host_key()),
    };
    let kind = OperationKind::CreateDroplets {
        ssh_keys: template.ssh_keys.clone(),
        user_data: template.bootstrap.digest(),
        host_key: key.as_ref().map(|key| key.public.clone()),
    };
    let operation = step.begin(kind.clone(), addresses).await?;
    let mut tags = template.tags.clone();
    for tag in [names::owner_tag(stack), names::attempt_tag(stack, &operation.0)] {
        if !tags.iter().any(|there| names::same_tag(there, &tag)) {
            tags.push(tag);
        }
    }
    let request = DropletCreate {
        names: addresses.iter().filter_map(|address| names::droplet_name(stack, address)).collect(),
        region: template.region.clone(),
        size: template.size.clone(),
        image: template.image.clone(),
        ssh_keys: template.ssh_keys.clone(),
        tags,
        user_data: template.bootstrap.user_data(key.as_ref()),
    };
    let pace = step.pace(run.context.patience.action);
    let sent = step.send(&pace, async |cloud| cloud.create_droplets(&request).await).await;
    let (created, adopted, unknown) = match sent {
        Ok(created) => (created, false, None),
        Err(Trouble::Cloud(unknown @ CloudError::Unknown { .. })) => {
            step.does("looking for droplets whose create was not answered");
            let settle =
                Pace::until(&run.context.patience, run.context.patience.settle, &run.context.stop);
            let found = run.listing.wait(&settle, |seen| {
                let found = of_attempt(stack, &operation, seen);
                (found.len() >= addresses.len()).then_some(found)
            });
            let found = match step.slot.lend(found).await {
                Ok(found) => found,
                Err(Trouble::Cut(Cut::Elapsed(_))) => {
                    of_attempt(stack, &operation, &*run.listing.now().await?)
                }
                // Whether it was done stays unknown: the operation stays pending for the next run to look.
                Err(other) => return Err(other),
            };
            (found, true, Some(unknown))
        }
        Err(Trouble::Cloud(refused)) => {
            step.end(operation, Vec::new()).await?;
            return Err(refused.into());
        }
        Err(other) => return Err(other),
    };
    let changes = run.journal.with(|state| {
        let depose = |address: &Address| state.droplet(address).is_some();
        changes(stack, addresses, &kind, &created, depose)
    });
    let there = changes
        .iter()
        .filter_map(|change| match change {
            Change::Put { address, .. } => Some(address.clone()),
            _ => None,
        })
        .collect::<BTreeSet<_>>();
    step.end(operation, changes).await?;
    match unknown {
        Some(unknown) if last && there.len() < addresses.len() => Err(unknown.into()),
        _ => Ok((there, adopted)),
    }
}

/// The droplets that carry an attempt's tag.
pub(crate) fn of_attempt(
    stack: &str,
    operation: &OperationId,
    droplets: &Droplets,
) -> Vec<cloud::Droplet> {
    let tag = names::attempt_tag(stack, &operation.0);
    let ours = |droplet: &&cloud::Droplet| {
        droplet.tags.iter().flatten().any(|there| names::same_tag(there, &tag))
    };
    droplets.values().filter(ours).cloned().collect()
}

/// What is known once an attempt's droplets are: each address gets the one of its name, of several the oldest. The
/// others stay what they are, droplets with our mark that belong to nothing, for the planner to delete by id.
pub(crate) fn changes(
    stack: &str,
    addresses: &[Address],
    kind: &OperationKind,
    created: &[cloud::Droplet],
    depose: impl Fn(&Address) -> bool,
) -> Vec<Change> {
    let OperationKind::CreateDroplets { ssh_keys, user_data, host_key } = kind else {
        return Vec::new();
    };
    let mut by_name: BTreeMap<&str, &cloud::Droplet> = BTreeMap::new();
    for droplet in created {
        let first = by_name.entry(&droplet.name).or_insert(droplet);
        if droplet.id < first.id {
            *first = droplet;
        }
    }
    let mut changes = Vec::new();
    for address in addresses {
        let name = names::droplet_name(stack, address);
        let Some(droplet) = name.and_then(|name| by_name.get(name.as_str()).copied()) else {
            continue;
        };
        if depose(address) {
            changes.push(Change::Depose { address: address.clone() });
        }
        changes.push(Change::Put {
            address: address.clone(),
            resource: Resource::Droplet(Droplet {
                id: droplet.id,
                name: droplet.name.clone(),
                size: droplet.size.clone(),
                region: droplet.region.clone(),
                image: droplet.image.clone().unwrap_or_default(),
                ssh_keys: ssh_keys.clone(),
                user_data: user_data.clone(),
                ipv4: droplet.public_ipv4,
                host_key: host_key.clone(),
                next_host_key: None,
                ready: false,
                config: None,
            }),
        });
    }
    changes
}

/// Waits until every droplet of these addresses is active, unlocked and has a public address, and writes the addresses
/// down. `active` alone promises none of it.
pub(crate) async fn addressed(step: &mut Step<'_>, addresses: &[Address]) -> Result<(), Trouble> {
    let run = step.run;
    let mut wanted = BTreeMap::new();
    for address in addresses {
        wanted.insert(step.droplet(address)?.id, address.clone());
    }
    let pace = step.pace(run.context.patience.boot);
    let lost = run.context.patience.settle * 4;
    let mut last_seen: BTreeMap<DropletId, Instant> = BTreeMap::new();
    let waiting = run.listing.wait(&pace, |seen| {
        let now = Instant::now();
        let mut all = true;
        let mut gone = None;
        for id in wanted.keys() {
            match seen.get(id) {
                Some(droplet) => {
                    last_seen.insert(*id, now);
                    all &= is_up(droplet);
                }
                None => {
                    all = false;
                    let since = *last_seen.entry(*id).or_insert(now);
                    if now.duration_since(since) >= lost {
                        gone = Some(*id);
                    }
                }
            }
        }
        if let Some(gone) = gone {
            return Some(Err(gone));
        }
        all.then(|| Ok(wanted.keys().filter_map(|id| seen.get(id)).cloned().collect()))
    });
    let up: Vec<cloud::Droplet> = match step.slot.lend(waiting).await? {
        Ok(up) => up,
        Err(id) => {
            // Accepted and then failed: the droplet is listed no more. Its own answer decides.
            run.context.cloud.droplet(id).await?;
            return Err(Trouble::Missing(format!("droplet {id} is not listed any more")));
        }
    };
    let mut changes = Vec::new();
    for droplet in up {
        let Some(address) = wanted.get(&droplet.id) else { continue };
        if step.droplet(address)?.ipv4 != droplet.public_ipv4 {
            changes.push(step.updated(address, |known| known.ipv4 = droplet.public_ipv4)?);
        }
    }
    if changes.is_empty() { Ok(()) } else { step.learn(changes).await }
}

/// How to reach a droplet, which may still be booting if an earlier run was stopped in between.
pub(crate) async fn reached(step: &mut Step<'_>, address: &Address) -> Result<Target, Trouble> {
    if step.droplet(address)?.ipv4.is_none() {
        step.does(format!("waiting until {address} has an address"));
        addressed(step, std::slice::from_ref(address)).await?;
    }
    step.target(address)
}

fn is_up(droplet: &cloud::Droplet) -> bool {
    droplet.status == DropletStatus::Active && !droplet.locked && droplet.public_ipv4.is_some()
}

/// Deletes a droplet by id, and waits until it is gone. A locked droplet may forget a delete, so it is sent again.
pub(crate) async fn delete(
    step: &mut Step<'_>,
    address: &Address,
    droplet: DropletId,
) -> Result<Done, Trouble> {
    let run = step.run;
    let operation = step.begin(OperationKind::Repeatable, std::slice::from_ref(address)).await?;
    let pace = step.pace(run.context.patience.delete);
    loop {
        step.send_repeatable(&pace, async |cloud| cloud.delete_droplet(droplet).await).await?;
        let sent = Instant::now();
        let again = run.context.patience.settle * 2;
        let mut absences = 0;
        let gone = run.listing.wait(&pace, |seen| match seen.get(&droplet) {
            Some(there) if !there.locked && sent.elapsed() >= again => Some(false),
            Some(_) => {
                absences = 0;
                None
            }
            // One listing may miss what a second one shows, because pages shift.
            None => {
                absences += 1;
                (absences >= 2).then_some(true)
            }
        });
        if step.slot.lend(gone).await? {
            break;
        }
    }
    let is_present =
        run.journal.with(|state| state.droplet(address).is_some_and(|known| known.id == droplet));
    let change = if is_present {
        Change::Remove { address: address.clone() }
    } else {
        Change::Deleted { droplet }
    };
    let ipv4 = step.droplet(address).ok().filter(|_| is_present).and_then(|known| known.ipv4);
    if let (Some(host), Some(ipv4)) = (run.context.host, ipv4) {
        host.forget(ipv4).await;
    }
    step.end(operation, vec![change]).await?;
    Ok((Outcome::Removed, format!("id {droplet}")))
}

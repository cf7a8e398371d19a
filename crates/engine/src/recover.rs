//! What a run does first: it settles what an earlier one left open, by looking, before anybody plans.
//!
//! An operation without an end was done, or not, or is still being done. Each kind is looked for by the one mark that
//! tells (an attempt's tag, a droplet an address points to, a fingerprint, a name), for as long as the account's lists
//! may lag, and then gets the end that a live run would have written. Nothing is created or deleted here. A release
//! under way is not touched: the planner takes it over, and the release step resumes it.

use std::collections::BTreeMap;

use seachange_core::address::Address;
use seachange_core::cloud::{CloudError, DnsRecordWrite, DropletStatus};
use seachange_core::host::HostError;
use seachange_core::journal::{Change, Entry, Operation, OperationKind};
use seachange_core::release::Phase;
use seachange_core::state::{Droplet, Resource, State};

use crate::context::Context;
use crate::journal::{Journal, JournalError};
use crate::observe::{self, ObserveError};
use crate::pace::{Cut, Pace};
use crate::release::drain;
use crate::step::Trouble;
use crate::steps::{self, floating_ip};

/// Why what was left open is still open.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RecoverError {
    /// It cannot be looked at.
    #[error("cannot find out what became of {what}, which an earlier run began")]
    Look {
        /// Of what.
        what: String,
        /// Why not.
        #[source]
        source: CloudError,
    },
    /// The droplets cannot be looked at.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// Users may be where this run may not leave them, and cannot be led away.
    #[error(
        "users may be on {}, round the floating IP, and the load balancer cannot be told to send them back",
        Address::Worker(*worker)
    )]
    Detour {
        /// The worker that an earlier run sent them to.
        worker: u32,
        /// Why the load balancer cannot be told.
        #[source]
        source: HostError,
    },
    /// What was found cannot be written down.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The run was stopped meanwhile.
    #[error("stopped while looking for what an earlier run began")]
    Stopped,
}

/// What became of an operation that had no end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The operation.
    pub operation: Operation,
    /// What is different now; nothing, if nothing was done.
    pub changes: Vec<Change>,
}

impl Settled {
    /// The entry that ends it.
    pub fn entry(&self) -> Entry {
        Entry::End { operation: self.operation.id.clone(), changes: self.changes.clone() }
    }

    /// The addresses that were found to be there.
    pub fn found(&self) -> impl Iterator<Item = &Address> {
        self.changes.iter().filter_map(put_address)
    }
}

/// Settles every operation that has no end, and learns the addresses of droplets that got theirs after a run ended.
/// Costs nothing if nothing is open.
pub async fn recover(
    context: &Context<'_>,
    journal: &Journal,
) -> Result<Vec<Settled>, RecoverError> {
    end_detour(context, journal).await?;
    let settled = look(context, &journal.state()).await?;
    for one in &settled {
        context.note(in_words(one));
    }
    if !settled.is_empty() {
        journal.record_all(settled.iter().map(Settled::entry).collect()).await?;
    }
    learn_addresses(context, journal).await?;
    Ok(settled)
}

/// A release that was left under way may have left users on the way round the floating IP, to a worker that this run may be
/// about to replace. While the address still moves, they are best off there: it would cut what they have begun. On the way
/// back from a release that failed they stay there: the release step takes them the rest of the way.
async fn end_detour(context: &Context<'_>, journal: &Journal) -> Result<(), RecoverError> {
    let state = journal.state();
    let Some((transition, ip)) = state.transition.as_ref().zip(state.floating_ip()) else {
        return Ok(());
    };
    // Its way round is taken in the switch and in the switch back.
    if transition.phase < Phase::Switching {
        return Ok(());
    }
    let pace = Pace::until(&context.patience, context.patience.action, &context.stop);
    let points_to = loop {
        match context.cloud.reserved_ip(ip).await {
            Ok(now) if now.locked => {}
            Ok(now) => break now.droplet,
            // Nobody gets anywhere but by the way round.
            Err(CloudError::NotFound { .. }) => return Ok(()),
            Err(source) => {
                return Err(RecoverError::Look { what: Address::FloatingIp.to_string(), source });
            }
        }
        match pace.pause().await {
            Ok(()) => {}
            Err(Cut::Elapsed(_)) => break None,
            Err(Cut::Stopped) => return Err(RecoverError::Stopped),
        }
    };
    let worker = points_to.and_then(|droplet| state.address_of(droplet)?.worker());
    if transition.phase == Phase::SwitchingBack && worker != transition.from {
        return Ok(());
    }
    let Err(trouble) = drain::end(context, journal).await else { return Ok(()) };
    match trouble {
        Trouble::Journal(broken) => Err(broken.into()),
        Trouble::Host(source)
            if transition.phase == Phase::Switching && worker != Some(transition.to) =>
        {
            if !load_balancer_serves(context, &state).await? {
                return Ok(());
            }
            Err(RecoverError::Detour { worker: transition.to, source })
        }
        other => {
            drain::is_left(context, &other);
            Ok(())
        }
    }
}

/// Whether users can be on it.
async fn load_balancer_serves(context: &Context<'_>, state: &State) -> Result<bool, RecoverError> {
    let seen = observe::droplets(context, state).await?;
    let known = state.droplet(&Address::LoadBalancer).and_then(|known| seen.get(&known.id));
    Ok(known.is_some_and(|droplet| droplet.status == DropletStatus::Active))
}

/// Finds out what became of every operation that has no end, and records nothing: for a plan that only shows.
pub async fn look(context: &Context<'_>, state: &State) -> Result<Vec<Settled>, RecoverError> {
    let settle = Pace::until(&context.patience, context.patience.settle, &context.stop);
    let mut settled = Vec::new();
    for operation in state.pending.values().cloned() {
        let changes = look_until_settled(context, state, &settle, &operation).await?;
        settled.push(Settled { operation, changes });
    }
    Ok(settled)
}

/// Looks until everything is found or the lists can lag no longer. All operations share one such window.
async fn look_until_settled(
    context: &Context<'_>,
    state: &State,
    settle: &Pace<'_>,
    operation: &Operation,
) -> Result<Vec<Change>, RecoverError> {
    if operation.kind == OperationKind::Repeatable {
        return Ok(Vec::new());
    }
    loop {
        let changes = look_once(context, state, operation).await?;
        let found = changes.iter().filter_map(put_address).count();
        if found >= operation.addresses.len() {
            return Ok(changes);
        }
        match settle.pause().await {
            Ok(()) => {}
            Err(Cut::Elapsed(_)) => return Ok(changes),
            Err(Cut::Stopped) => return Err(RecoverError::Stopped),
        }
    }
}

async fn look_once(
    context: &Context<'_>,
    state: &State,
    operation: &Operation,
) -> Result<Vec<Change>, RecoverError> {
    let addresses = &operation.addresses;
    let (Some(address), cloud) = (addresses.first(), context.cloud) else {
        return Ok(Vec::new());
    };
    let failed = |source| RecoverError::Look { what: address.to_string(), source };
    let change = match &operation.kind {
        OperationKind::CreateDroplets { .. } => {
            let tag = seachange_core::names::owner_tag(context.stack);
            let listed = cloud.droplets_by_tag(&tag).await.map_err(failed)?;
            let listed: BTreeMap<_, _> =
                listed.into_iter().map(|droplet| (droplet.id, droplet)).collect();
            let ours = steps::droplets::of_attempt(context.stack, &operation.id, &listed);
            let depose = |address: &Address| state.droplet(address).is_some();
            let (stack, kind) = (context.stack, &operation.kind);
            return Ok(steps::droplets::changes(stack, addresses, kind, &ours, depose));
        }
        OperationKind::ReserveIp { droplet } => {
            let listed = cloud.reserved_ips().await.map_err(failed)?;
            floating_ip::pointing_to(listed, *droplet).map(floating_ip::put)
        }
        OperationKind::CreateZone => {
            let Address::Domain(zone) = address else { return Ok(Vec::new()) };
            let found = found(cloud.dns_records(zone).await).map_err(failed)?;
            // The run that began it had looked: the zone was not there before.
            let resource = Resource::Domain { ours: true };
            found.map(|_| Change::Put { address: address.clone(), resource })
        }
        OperationKind::CreateRecord { zone, data, ttl } => {
            let Address::Record(name) = address else { return Ok(Vec::new()) };
            let write = DnsRecordWrite {
                kind: steps::dns::KIND.to_owned(),
                name: name.clone(),
                data: data.clone(),
                ttl: *ttl,
            };
            let listed = found(cloud.dns_records(zone).await).map_err(failed)?.unwrap_or_default();
            steps::dns::equal(&listed, &write).map(|found| steps::dns::put(zone, found.id, &write))
        }
        OperationKind::CreateSshKey { fingerprint } => {
            let key = found(cloud.ssh_key(fingerprint).await).map_err(failed)?;
            key.map(|key| steps::keys::put(address, key.id, fingerprint, true))
        }
        OperationKind::Repeatable => None,
    };
    Ok(change.into_iter().collect())
}

/// A run that ended between a droplet's create and its boot knows its id, but not its address. Whatever is planned needs
/// that, so it is waited for as a boot is; a droplet that never gets one is the plan's affair.
async fn learn_addresses(context: &Context<'_>, journal: &Journal) -> Result<(), RecoverError> {
    let boot = Pace::until(&context.patience, context.patience.boot, &context.stop);
    let mut told = false;
    loop {
        let state = journal.state();
        let lacking = state.resources.iter().filter_map(|(address, resource)| match resource {
            Resource::Droplet(known) if known.ipv4.is_none() => Some((address, known)),
            _ => None,
        });
        let lacking: Vec<_> = lacking.collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let seen = observe::droplets(context, &state).await?;
        let (mut learnt, mut booting) = (Vec::new(), Vec::new());
        for (address, known) in lacking {
            match seen.get(&known.id).map(|droplet| (droplet.public_ipv4, droplet.status)) {
                Some((ipv4 @ Some(_), _)) => {
                    let resource = Resource::Droplet(Droplet { ipv4, ..known.clone() });
                    learnt.push(Change::Put { address: address.clone(), resource });
                }
                Some((None, DropletStatus::New | DropletStatus::Active)) => booting.push(address),
                Some(_) | None => {}
            }
        }
        if !learnt.is_empty() {
            journal.record(Entry::Note { changes: learnt }).await?;
        }
        if booting.is_empty() {
            return Ok(());
        }
        if !std::mem::replace(&mut told, true) {
            context.note(format!("waiting: {} got no address yet", list(booting)));
        }
        match boot.pause().await {
            Ok(()) => {}
            Err(Cut::Elapsed(_)) => return Ok(()),
            Err(Cut::Stopped) => return Err(RecoverError::Stopped),
        }
    }
}

fn put_address(change: &Change) -> Option<&Address> {
    match change {
        Change::Put { address, .. } => Some(address),
        _ => None,
    }
}

fn found<T>(result: Result<T, CloudError>) -> Result<Option<T>, CloudError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(CloudError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn list(addresses: Vec<&Address>) -> String {
    addresses.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn in_words(settled: &Settled) -> String {
    let operation = &settled.operation;
    let what = list(operation.addresses.iter().collect());
    let found = list(settled.found().collect());
    let by = format!("{} at {:.0}", operation.by, operation.began_at);
    match &operation.kind {
        OperationKind::Repeatable => format!("{what}: begun by {by}, to be looked at again"),
        _ if found.is_empty() => format!("{what}: begun by {by}, came to nothing"),
        _ => format!("{found}: created by {by}, taken into the state"),
    }
}

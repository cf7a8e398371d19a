//! The droplets: which are there, which belong to which address, and what becomes of each.
//!
//! An address belongs to the droplet whose id the state has. Failing that, to a droplet with our owner tag and the name
//! the address has: a lost answer must not lead to a second one. Anything else with our mark is an extra or an orphan.

use std::collections::{BTreeMap, BTreeSet};

use super::desired::Desired;
use super::draft::to;
use crate::address::Address;
use crate::cloud::{self, DropletId, DropletStatus};
use crate::names;
use crate::observed::Observed;
use crate::plan::{Attribute, Reason};
use crate::state::{Droplet, Resource, State};

/// What becomes of an address.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fate {
    /// There is none, and there will be.
    Create,
    /// It stays.
    Keep,
    /// A successor takes its place.
    Replace(Reason, Vec<Attribute>),
    /// It goes.
    Remove,
}

/// An address that has a droplet, or shall have one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member<'a> {
    /// The droplet as the state will have it once what was seen is taken in; `None`: there is none.
    pub(super) droplet: Option<Droplet>,
    /// The droplet as it was seen.
    pub(super) seen: Option<&'a cloud::Droplet>,
    /// Why the state is to take it in as it is.
    pub(super) learn: Option<Reason>,
    /// The state has a droplet that the cloud has not.
    pub(super) lost: bool,
    /// What becomes of it.
    pub(super) fate: Fate,
    /// More droplets of this name, oldest first.
    pub(super) extras: Vec<&'a cloud::Droplet>,
}

impl Member<'_> {
    /// The droplet's id, if there is a droplet.
    pub(super) fn id(&self) -> Option<DropletId> {
        self.droplet.as_ref().map(|droplet| droplet.id)
    }

    /// Whether it will be there in the end.
    pub(super) fn stays(&self) -> bool {
        self.fate != Fate::Remove
    }

    /// Whether its present droplet stays.
    pub(super) fn kept(&self) -> bool {
        self.fate == Fate::Keep
    }

    /// Whether it can run anything.
    pub(super) fn powered(&self) -> bool {
        self.seen.is_none_or(|seen| seen.status != DropletStatus::Off)
    }
}

/// All droplets of the stack.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fleet<'a> {
    /// By address.
    pub(super) members: BTreeMap<Address, Member<'a>>,
    /// Droplets with our owner tag and a name of nobody's.
    pub(super) orphans: Vec<&'a cloud::Droplet>,
    workers: BTreeMap<DropletId, u32>,
}

impl<'a> Fleet<'a> {
    /// Finds out what is there and what becomes of it. `replace` are addresses that a person wants replaced.
    pub(super) fn survey(
        desired: &Desired,
        state: &State,
        observed: &'a Observed,
        replace: &[Address],
    ) -> Self {
        let Marked { mut named, orphans } = marked(state, observed);
        let pointed: BTreeSet<DropletId> =
            observed.reserved_ips.values().filter_map(|ip| ip.droplet).collect();
        let replace: BTreeSet<&Address> = replace.iter().collect();
        let recorded = state.resources.keys().filter(|address| address.is_droplet()).cloned();
        let wanted = (1..=desired.count).map(Address::Worker);
        let balancer = desired.balancer.iter().map(|_| Address::LoadBalancer);
        let found = named.keys().cloned().collect::<Vec<_>>();
        let addresses: BTreeSet<Address> =
            recorded.chain(wanted).chain(balancer).chain(found).collect();
        let mut workers = BTreeMap::new();
        let members = addresses
            .into_iter()
            .map(|address| {
                let others = named.remove(&address).unwrap_or_default();
                let mut member = identify(desired, state, observed, &pointed, &address, others);
                member.fate = fate(desired, &address, &member, replace.contains(&address));
                if let (Some(number), Some(id)) = (address.worker(), member.id()) {
                    workers.insert(id, number);
                }
                (address, member)
            })
            .collect();
        Self { members, orphans, workers }
    }

    /// Lets every worker stay as it is: whom a release under way goes from and to must not change beneath it. Answers
    /// those that would have changed.
    pub(super) fn hold(&mut self) -> Vec<Address> {
        let mut held = Vec::new();
        for (address, member) in &mut self.members {
            let changes = matches!(member.fate, Fate::Replace(..) | Fate::Remove);
            if changes && address.worker().is_some() && member.droplet.is_some() {
                member.fate = Fate::Keep;
                held.push(address.clone());
            }
        }
        held
    }

    /// The worker with this droplet.
    pub(super) fn worker_of(&self, droplet: DropletId) -> Option<u32> {
        self.workers.get(&droplet).copied()
    }

    /// A worker.
    pub(super) fn worker(&self, number: u32) -> Option<&Member<'a>> {
        self.members.get(&Address::Worker(number))
    }

    /// All workers by number.
    pub(super) fn workers(&self) -> impl Iterator<Item = (u32, &Member<'a>)> {
        self.members.iter().filter_map(|(address, member)| Some((address.worker()?, member)))
    }
}

/// Droplets with our mark that the state does not know.
pub(super) struct Marked<'a> {
    /// Those with a name of ours, oldest first.
    pub(super) named: BTreeMap<Address, Vec<&'a cloud::Droplet>>,
    /// The others.
    pub(super) orphans: Vec<&'a cloud::Droplet>,
}

/// Sorts the droplets that the state does not know by the address their name stands for.
pub(super) fn marked<'a>(state: &State, observed: &'a Observed) -> Marked<'a> {
    let known: BTreeSet<DropletId> = state
        .resources
        .values()
        .filter_map(|resource| match resource {
            Resource::Droplet(droplet) => Some(droplet.id),
            _ => None,
        })
        .chain(state.deposed.keys().copied())
        .collect();
    let mut marked = Marked { named: BTreeMap::new(), orphans: Vec::new() };
    let unknown =
        observed.droplets.values().filter(|seen| !known.contains(&seen.id) && lives(seen));
    for seen in unknown {
        match names::address_of(&state.stack, &seen.name) {
            Some(address) => marked.named.entry(address).or_default().push(seen),
            None => marked.orphans.push(seen),
        }
    }
    marked
}

/// Whether the droplet is not gone or going.
pub(super) fn lives(droplet: &cloud::Droplet) -> bool {
    droplet.status != DropletStatus::Archive
}

fn identify<'a>(
    desired: &Desired,
    state: &State,
    observed: &'a Observed,
    pointed: &BTreeSet<DropletId>,
    address: &Address,
    mut others: Vec<&'a cloud::Droplet>,
) -> Member<'a> {
    let member = |droplet, seen, learn, lost, extras| Member {
        droplet,
        seen,
        learn,
        lost,
        fate: Fate::Remove,
        extras,
    };
    let recorded = state.droplet(address);
    let present =
        recorded.and_then(|droplet| observed.droplets.get(&droplet.id)).filter(|seen| lives(seen));
    if let (Some(recorded), Some(seen)) = (recorded, present) {
        let taken = taken_in(recorded, seen);
        let learn =
            (taken != *recorded).then(|| Reason::ChangedOutside { found: differs(recorded, seen) });
        return member(Some(taken), Some(seen), learn, false, others);
    }
    let lost = recorded.is_some();
    if others.is_empty() {
        return member(None, None, None, lost, others);
    }
    let chosen = others.iter().position(|seen| pointed.contains(&seen.id)).unwrap_or(0);
    let seen = others.remove(chosen);
    let learn = Reason::UnfinishedRun {
        found: format!("droplet {} named {} carries the stack's tag", seen.id, seen.name),
    };
    member(Some(adopted(desired, address, seen)), Some(seen), Some(learn), lost, others)
}

/// What the state says of a droplet, with what was seen of it.
pub(super) fn taken_in(recorded: &Droplet, seen: &cloud::Droplet) -> Droplet {
    Droplet {
        name: seen.name.clone(),
        size: seen.size.clone(),
        region: seen.region.clone(),
        ipv4: seen.public_ipv4.or(recorded.ipv4),
        ..recorded.clone()
    }
}

fn differs(recorded: &Droplet, seen: &cloud::Droplet) -> String {
    let mut found = Vec::new();
    if recorded.name != seen.name {
        found.push(format!("name {}", seen.name));
    }
    if recorded.size != seen.size {
        found.push(format!("size {}", seen.size));
    }
    if recorded.region != seen.region {
        found.push(format!("region {}", seen.region));
    }
    if let Some(ip) = seen.public_ipv4.filter(|ip| recorded.ipv4 != Some(*ip)) {
        found.push(format!("address {ip}"));
    }
    found.join(", ")
}

/// What can be said of a droplet that the state does not know. Its keys cannot be asked for: those of the spec are
/// taken, since a droplet with our mark was made by a run with this spec or one like it.
fn adopted(desired: &Desired, address: &Address, seen: &cloud::Droplet) -> Droplet {
    let image = desired.machine(address).map(|machine| machine.image.clone());
    Droplet {
        id: seen.id,
        name: seen.name.clone(),
        size: seen.size.clone(),
        region: seen.region.clone(),
        image: seen.image.clone().or(image).unwrap_or_default(),
        ssh_keys: desired.fingerprints(),
        user_data: None,
        ipv4: seen.public_ipv4,
        host_key: None,
        next_host_key: None,
        ready: false,
        config: None,
    }
}

fn fate(desired: &Desired, address: &Address, member: &Member<'_>, requested: bool) -> Fate {
    let Some(machine) = desired.machine(address) else { return Fate::Remove };
    let Some(droplet) = &member.droplet else { return Fate::Create };
    let mut attributes = Vec::new();
    if droplet.size != machine.size {
        attributes.push(to("size", Some(droplet.size.clone()), &machine.size));
    }
    if droplet.region != desired.region {
        attributes.push(to("region", Some(droplet.region.clone()), &desired.region));
    }
    let keys = desired.fingerprints();
    if droplet.ssh_keys != keys {
        attributes.push(to("ssh_keys", Some(droplet.ssh_keys.join(", ")), keys.join(", ")));
    }
    if !attributes.is_empty() {
        let names = attributes.iter().map(|attribute| attribute.name.clone()).collect();
        return Fate::Replace(Reason::CannotUpdate { attributes: names }, attributes);
    }
    if requested {
        return Fate::Replace(Reason::Requested, attributes);
    }
    Fate::Keep
}

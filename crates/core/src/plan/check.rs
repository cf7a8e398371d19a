//! Looks for contradictions in a plan, whoever made it: between its changes and its steps, between a step and what it
//! needs, and between any order the executor may choose and the promise that users are served.
//!
//! The argument for "served at every instant": users reach the droplet that the floating IP points at. So whatever
//! harms that droplet must wait for a step that moves the address away, and an address moves only to a worker that
//! has passed the gate. Both are questions of who waits for whom, which hold for all orders at once.

use std::collections::{BTreeMap, BTreeSet};

use super::{Effect, Plan, Purpose, ReleasePlan, Step};
use crate::address::Address;
use crate::cloud::DropletId;
use crate::graph::Graph;
use crate::names::PROD;
use crate::observed::Observed;
use crate::release::Kind;
use crate::state::State;

/// How bad a note is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The plan must not be applied.
    Error,
    /// A person should know.
    Warning,
}

/// Something found in a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub text: String,
}

/// Everything that is wrong with a plan for this state and this world; empty if nothing is.
pub fn check(plan: &Plan, state: &State, observed: &Observed) -> Vec<Note> {
    let graph = match Graph::of(&plan.steps) {
        Ok(graph) => graph,
        Err(error) => return vec![Note { severity: Severity::Error, text: error.to_string() }],
    };
    let ip = state.floating_ip().or(plan.pinned.floating_ip.map(|(ip, _)| ip));
    let ip = ip.or_else(|| adopted_ip(plan));
    let target = ip.and_then(|ip| observed.reserved_ips.get(&ip)).and_then(|seen| seen.droplet);
    let workers: BTreeMap<DropletId, u32> = state
        .workers()
        .map(|(number, droplet)| (droplet.id, number))
        .chain(adopted_workers(plan))
        .collect();
    let live = target.and_then(|droplet| workers.get(&droplet).copied());
    let mut check = Check { plan, graph: &graph, state, target, live, notes: Vec::new() };
    check.changes_and_steps_agree();
    check.release_is_whole();
    check.needs_come_first();
    check.one_address_is_never_worked_on_twice_at_a_time();
    check.live_is_never_harmed();
    check.releases_outlive_the_next();
    check.address_moves_only_to_the_gated();
    check.one_prod_at_birth();
    check.notes.sort_by_key(|note| note.severity);
    check.notes
}

fn adopted_ip(plan: &Plan) -> Option<std::net::Ipv4Addr> {
    plan.steps.iter().find_map(|step| match &step.effect {
        Effect::Adopt { resource: crate::state::Resource::FloatingIp { ip }, .. } => Some(*ip),
        _ => None,
    })
}

fn adopted_workers(plan: &Plan) -> impl Iterator<Item = (DropletId, u32)> {
    plan.steps.iter().filter_map(|step| match &step.effect {
        Effect::Adopt { address, resource: crate::state::Resource::Droplet(droplet) } => {
            Some((droplet.id, address.worker()?))
        }
        _ => None,
    })
}

struct Check<'p> {
    plan: &'p Plan,
    graph: &'p Graph,
    state: &'p State,
    /// The droplet the floating IP points at.
    target: Option<DropletId>,
    /// The worker it is.
    live: Option<u32>,
    notes: Vec<Note>,
}

impl<'p> Check<'p> {
    fn error(&mut self, text: String) {
        self.notes.push(Note { severity: Severity::Error, text });
    }

    fn steps(&self) -> impl Iterator<Item = &'p Step> + use<'p> {
        self.plan.steps.iter()
    }

    /// The first step with such an effect.
    fn find(&self, is: impl Fn(&Effect) -> bool) -> Option<usize> {
        self.steps().find(|step| is(&step.effect)).map(|step| step.id)
    }

    fn all(&self, is: impl Fn(&Effect) -> bool) -> Vec<usize> {
        self.steps().filter(|step| is(&step.effect)).map(|step| step.id).collect()
    }

    /// People approve changes, the executor carries steps out: neither may say more than the other.
    fn changes_and_steps_agree(&mut self) {
        let said: BTreeSet<&Address> =
            self.plan.changes.iter().map(|change| &change.address).collect();
        if said.len() != self.plan.changes.len() {
            self.error("an address has more than one change".to_owned());
        }
        let mut done = BTreeSet::new();
        for step in self.steps() {
            // A gate before an address moves is part of that change.
            let gate = matches!(step.effect, Effect::Warm { .. })
                && (said.contains(&Address::FloatingIp) || said.contains(&Address::Release));
            for address in addresses(&step.effect) {
                if !gate && !said.contains(&address) {
                    self.error(format!(
                        "step {} works on {address}, of which no change speaks",
                        step.id
                    ));
                }
                done.insert(address);
            }
        }
        for address in said {
            if !done.contains(address) {
                self.error(format!("the change of {address} has no step"));
            }
        }
        if self.plan.steps.is_empty() && self.plan.release.is_some() {
            self.error("there is a release, but no step".to_owned());
        }
    }

    fn release_is_whole(&mut self) {
        let steps = self.all(|effect| *effect == Effect::Release);
        let plan = self.plan.release.as_ref();
        if steps.len() != usize::from(plan.is_some()) {
            self.error(format!(
                "{} release steps for {} release",
                steps.len(),
                usize::from(plan.is_some())
            ));
        }
        let Some(plan) = plan else { return };
        if plan.from == Some(plan.to) {
            self.error(format!("the release goes from {0} to {0}", Address::Worker(plan.to)));
        }
        if plan.kind == Kind::Swap && plan.from.is_none() {
            self.error("a swap needs a live worker to leave".to_owned());
        }
        if plan.resumes.is_none() && plan.from.is_some() && self.live != plan.from {
            let restored = self.all(|effect| matches!(effect, Effect::AssignFloatingIp { worker } if Some(*worker) == plan.from));
            let reserved = self.all(|effect| matches!(effect, Effect::ReserveFloatingIp { worker } if Some(*worker) == plan.from));
            if restored.is_empty() && reserved.is_empty() {
                self.error("the release leaves a worker that is not live".to_owned());
            }
        }
    }

    /// Every step comes after the ones that make what it works with.
    fn needs_come_first(&mut self) {
        let mut made: BTreeMap<Address, usize> = BTreeMap::new();
        let mut ready: BTreeMap<Address, usize> = BTreeMap::new();
        let mut wanting = Vec::new();
        for step in self.steps() {
            let needs = match &step.effect {
                Effect::CreateDroplets { template, .. } => {
                    let mut keys = Vec::new();
                    for earlier in &self.plan.steps[..step.id] {
                        match &earlier.effect {
                            Effect::CreateSshKey { fingerprint, .. }
                                if template.ssh_keys.contains(fingerprint) =>
                            {
                                keys.push(earlier.id);
                            }
                            Effect::CreateSshKey { .. } => {}
                            // Keys stand in front; the rest of a long plan need not be looked at.
                            Effect::CreateDroplets { .. } => break,
                            _ => {}
                        }
                    }
                    keys
                }
                Effect::PrepareHost { address } => made.get(address).copied().into_iter().collect(),
                Effect::ReserveFloatingIp { worker } | Effect::AssignFloatingIp { worker } => {
                    made.get(&Address::Worker(*worker)).copied().into_iter().collect()
                }
                Effect::Warm { worker, .. } => {
                    ready.get(&Address::Worker(*worker)).copied().into_iter().collect()
                }
                Effect::WriteRecord { zone, data, .. } => {
                    let zone = made.get(&Address::Domain(zone.clone()));
                    made.get(data).into_iter().chain(zone).copied().collect()
                }
                Effect::ConfigureLoadBalancer { .. } => {
                    let balancer = ready.get(&Address::LoadBalancer);
                    balancer.into_iter().chain(made.get(&Address::FloatingIp)).copied().collect()
                }
                Effect::Release => self.release_needs(&made, &ready),
                Effect::Adopt { .. }
                | Effect::Forget { .. }
                | Effect::CreateSshKey { .. }
                | Effect::CreateZone { .. }
                | Effect::Retag
                | Effect::OutliveDns { .. }
                | Effect::DeleteDroplet { .. }
                | Effect::DeleteFloatingIp { .. }
                | Effect::DeleteRecord { .. }
                | Effect::DeleteZone { .. }
                | Effect::DeleteSshKey { .. }
                | Effect::DeleteTags { .. } => Vec::new(),
            };
            wanting.extend(needs.into_iter().map(|need| (need, step.id)));
            match &step.effect {
                Effect::CreateDroplets { addresses, .. } => {
                    for address in addresses {
                        made.insert(address.clone(), step.id);
                        ready.insert(address.clone(), step.id);
                    }
                }
                Effect::Adopt { address, .. } => {
                    made.insert(address.clone(), step.id);
                }
                Effect::PrepareHost { address } => {
                    ready.insert(address.clone(), step.id);
                }
                Effect::ReserveFloatingIp { .. } => {
                    made.insert(Address::FloatingIp, step.id);
                }
                Effect::CreateZone { zone } => {
                    made.insert(Address::Domain(zone.clone()), step.id);
                }
                Effect::ConfigureLoadBalancer { .. } => {
                    ready.insert(Address::LoadBalancer, step.id);
                }
                _ => {}
            }
        }
        for (need, step) in wanting {
            if !self.graph.precedes(need, step) {
                self.error(format!("step {step} does not wait for step {need}, which it needs"));
            }
        }
        self.balancer_outlives_dns();
    }

    fn release_needs(
        &self,
        made: &BTreeMap<Address, usize>,
        ready: &BTreeMap<Address, usize>,
    ) -> Vec<usize> {
        let Some(plan) = &self.plan.release else { return Vec::new() };
        let to = ready.get(&Address::Worker(plan.to));
        let from = plan.from.and_then(|from| made.get(&Address::Worker(from)));
        let rest = [made.get(&Address::FloatingIp), ready.get(&Address::LoadBalancer)];
        rest.into_iter().chain([to, from]).flatten().copied().collect()
    }

    /// A load balancer goes only when nobody is led to it any more.
    fn balancer_outlives_dns(&mut self) {
        if self.plan.purpose == Purpose::Destroy {
            return;
        }
        let names = self.all(|effect| {
            matches!(
                effect,
                Effect::WriteRecord { .. }
                    | Effect::DeleteRecord { .. }
                    | Effect::OutliveDns { .. }
            )
        });
        let gone = self.all(|effect| {
            matches!(effect, Effect::DeleteDroplet { address: Address::LoadBalancer, .. })
        });
        for step in gone {
            for name in names
                .iter()
                .filter(|name| !self.graph.precedes(**name, step))
                .copied()
                .collect::<Vec<_>>()
            {
                self.error(format!("the load balancer is deleted by step {step}, which does not wait for step {name}"));
            }
        }
    }

    /// Two steps on one address have an order, so that no two hands are on one thing.
    fn one_address_is_never_worked_on_twice_at_a_time(&mut self) {
        let mut last: BTreeMap<Address, (usize, bool)> = BTreeMap::new();
        for step in self.steps() {
            let deletes = matches!(step.effect, Effect::DeleteDroplet { .. });
            for address in addresses(&step.effect) {
                let before = last.insert(address.clone(), (step.id, deletes));
                let Some((before, deleted)) = before else { continue };
                // Several droplets may be deleted at one address: they are different things.
                let both_go = deletes && deleted;
                if !both_go && !self.graph.precedes(before, step.id) {
                    self.error(format!(
                        "steps {before} and {} work on {address} at the same time",
                        step.id
                    ));
                }
            }
        }
    }

    /// Steps after which the floating IP points elsewhere than now.
    fn leaves(&self) -> Vec<usize> {
        let live = self.live;
        let release_to = self.plan.release.as_ref().and_then(ReleasePlan::leads_to);
        self.all(|effect| match effect {
            Effect::Release => release_to != live,
            Effect::AssignFloatingIp { .. } | Effect::DeleteFloatingIp { .. } => true,
            _ => false,
        })
    }

    fn live_is_never_harmed(&mut self) {
        let Some(target) = self.target.filter(|_| self.plan.purpose != Purpose::Destroy) else {
            return;
        };
        let leaves: Vec<Vec<bool>> =
            self.leaves().into_iter().map(|step| self.graph.follows(step)).collect();
        let runs = self.live.is_some_and(|live| self.state.deployed.contains_key(&live));
        for step in self.steps() {
            let harm = match &step.effect {
                Effect::DeleteDroplet { droplet, .. } if *droplet == target => {
                    "deletes the live droplet"
                }
                Effect::CreateDroplets { addresses, .. }
                    if runs
                        && addresses.iter().any(|address| {
                            address.worker().is_some() && address.worker() == self.live
                        }) =>
                {
                    "replaces the live worker"
                }
                Effect::Warm { worker, .. } if Some(*worker) == self.live => {
                    "changes the live worker's container"
                }
                _ => continue,
            };
            if !leaves.iter().any(|follows| follows[step.id]) {
                self.error(format!("step {} {harm} before users are moved away", step.id));
            }
        }
    }

    /// What a worker keeps is there to go back to until the next release is live.
    fn releases_outlive_the_next(&mut self) {
        let release = self.find(|effect| *effect == Effect::Release);
        let Some(release) = release.filter(|_| self.plan.purpose != Purpose::Destroy) else {
            return;
        };
        let follows = self.graph.follows(release);
        for step in self.steps() {
            let Effect::DeleteDroplet { address: Address::Worker(number), .. } = &step.effect
            else {
                continue;
            };
            if !follows[step.id] {
                let worker = Address::Worker(*number);
                self.error(format!(
                    "step {} deletes a droplet of {worker} before the release is live",
                    step.id
                ));
            }
        }
    }

    /// An address is put back only to a worker that was just seen to serve, if anything is to be served.
    fn address_moves_only_to_the_gated(&mut self) {
        if self.state.deployed.is_empty() || self.plan.purpose == Purpose::Destroy {
            return;
        }
        let mut ungated = Vec::new();
        for step in self.steps() {
            let Effect::AssignFloatingIp { worker } = &step.effect else { continue };
            let gated = self.find(
                |effect| matches!(effect, Effect::Warm { worker: warm, .. } if warm == worker),
            );
            if gated.is_none_or(|gate| !self.graph.precedes(gate, step.id)) {
                ungated.push((step.id, *worker));
            }
        }
        let has_app = self.plan.release.is_some()
            || self.find(|effect| matches!(effect, Effect::Warm { .. })).is_some();
        for (step, worker) in ungated {
            let worker = Address::Worker(worker);
            if has_app {
                self.error(format!(
                    "step {step} moves the floating IP to {worker}, which did not pass the gate"
                ));
            } else {
                let text = format!(
                    "step {step} moves the floating IP to {worker} without a look at what runs there"
                );
                self.notes.push(Note { severity: Severity::Warning, text });
            }
        }
    }

    fn one_prod_at_birth(&mut self) {
        let born: usize = self
            .steps()
            .map(|step| match &step.effect {
                Effect::CreateDroplets { addresses, template }
                    if template.tags.iter().any(|tag| tag == PROD) =>
                {
                    addresses.len()
                }
                _ => 0,
            })
            .sum();
        let most = usize::from(self.target.is_none());
        if born > most {
            self.error(format!("{born} droplets are created as {PROD}"));
        }
    }
}

/// The addresses that a step works on, as changes name them.
fn addresses(effect: &Effect) -> Vec<Address> {
    match effect {
        Effect::Adopt { address, .. }
        | Effect::Forget { address }
        | Effect::PrepareHost { address }
        | Effect::DeleteDroplet { address, .. } => vec![address.clone()],
        Effect::CreateSshKey { name, .. } | Effect::DeleteSshKey { name, .. } => {
            vec![Address::SshKey(name.clone())]
        }
        Effect::CreateDroplets { addresses, .. } => addresses.clone(),
        Effect::ReserveFloatingIp { .. }
        | Effect::AssignFloatingIp { .. }
        | Effect::DeleteFloatingIp { .. } => vec![Address::FloatingIp],
        Effect::CreateZone { zone } | Effect::DeleteZone { zone } => {
            vec![Address::Domain(zone.clone())]
        }
        Effect::WriteRecord { name, .. } | Effect::DeleteRecord { name, .. } => {
            vec![Address::Record(name.clone())]
        }
        Effect::ConfigureLoadBalancer { .. } => vec![Address::LoadBalancer],
        Effect::Retag => vec![Address::Tag(PROD.to_owned())],
        Effect::Warm { worker, .. } => vec![Address::Worker(*worker)],
        Effect::Release => vec![Address::Release],
        Effect::OutliveDns { .. } | Effect::DeleteTags { .. } => Vec::new(),
    }
}

//! What moved outside: the state against the observed world, as typed findings, in the order of addresses.
//!
//! It knows no spec: a difference between spec and world is an action, not drift.

use std::collections::BTreeMap;

use super::fleet;
use super::hosts::{self, Verdict};
use super::roles::{self, Pointing};
use crate::address::Address;
use crate::cloud::{DropletId, DropletStatus};
use crate::names;
use crate::observed::{HostSeen, Observed};
use crate::plan::{Drift, Finding};
use crate::state::{Droplet, Resource, State};

/// Everything that moved since the state was written.
pub fn drift(state: &State, observed: &Observed) -> Vec<Drift> {
    let mut findings = Findings(Vec::new());
    for (address, resource) in &state.resources {
        match resource {
            Resource::Droplet(droplet) => findings.droplet(address, droplet, observed),
            Resource::FloatingIp { ip } => {
                if !observed.reserved_ips.contains_key(ip) {
                    findings.add(address, Finding::Missing);
                }
            }
            Resource::SshKey { fingerprint, .. } => {
                if observed.ssh_keys.get(fingerprint) == Some(&None) {
                    findings.add(address, Finding::Missing);
                }
            }
            Resource::Domain { .. } => {
                let Address::Domain(zone) = address else { continue };
                if observed.zones.get(zone) == Some(&None) {
                    findings.add(address, Finding::Missing);
                }
            }
            Resource::Record { .. } => findings.record(address, resource, observed),
        }
    }
    findings.roles(state, observed);
    findings.hosts(state, observed);
    findings.marked(state, observed);
    findings.0.sort_by(|one, other| one.address.cmp(&other.address));
    findings.0
}

struct Findings(Vec<Drift>);

impl Findings {
    fn add(&mut self, address: &Address, finding: Finding) {
        self.0.push(Drift { address: address.clone(), finding });
    }

    fn changed(&mut self, address: &Address, attribute: &str, recorded: &str, observed: &str) {
        if recorded != observed {
            self.add(
                address,
                Finding::Changed {
                    attribute: attribute.to_owned(),
                    recorded: recorded.to_owned(),
                    observed: observed.to_owned(),
                },
            );
        }
    }

    fn droplet(&mut self, address: &Address, droplet: &Droplet, observed: &Observed) {
        let seen = observed.droplets.get(&droplet.id).filter(|seen| fleet::lives(seen));
        let Some(seen) = seen else { return self.add(address, Finding::Missing) };
        self.changed(address, "name", &droplet.name, &seen.name);
        self.changed(address, "size", &droplet.size, &seen.size);
        self.changed(address, "region", &droplet.region, &seen.region);
        if let (Some(recorded), Some(now)) = (droplet.ipv4, seen.public_ipv4) {
            self.changed(address, "ipv4", &recorded.to_string(), &now.to_string());
        }
        if seen.status == DropletStatus::Off {
            self.changed(address, "status", "active", "off");
        }
        if let (Some(config), Some(HostSeen::LoadBalancer { balancing, .. })) =
            (&droplet.config, observed.hosts.get(&droplet.id))
        {
            self.changed(
                address,
                "config",
                config,
                balancing.config.as_deref().unwrap_or("no file"),
            );
        }
    }

    fn record(&mut self, address: &Address, resource: &Resource, observed: &Observed) {
        let Resource::Record { id, zone, data, ttl } = resource else { return };
        let Some(records) = observed.zones.get(zone) else { return };
        let seen = records.iter().flatten().find(|record| record.id == *id);
        let Some(seen) = seen else { return self.add(address, Finding::Missing) };
        self.changed(address, "data", data, &seen.data);
        self.changed(address, "ttl", &ttl.to_string(), &seen.ttl.to_string());
    }

    /// Roles, and a detour, are a release's own affair while it is under way.
    fn roles(&mut self, state: &State, observed: &Observed) {
        let Some(ip) = state.floating_ip().filter(|ip| observed.reserved_ips.contains_key(ip))
        else {
            return;
        };
        let workers: BTreeMap<DropletId, u32> =
            state.workers().map(|(number, droplet)| (droplet.id, number)).collect();
        let pointing = Pointing::of(Some(ip), observed, |id| workers.get(&id).copied());
        if state.transition.is_some() {
            return;
        }
        let balancer = state.droplet(&Address::LoadBalancer).map(|droplet| droplet.id);
        if let Some(HostSeen::LoadBalancer { balancing, .. }) =
            balancer.and_then(|id| observed.hosts.get(&id))
            && balancing.detour
        {
            self.changed(&Address::LoadBalancer, "detour", "none", "taken");
        }
        if let Pointing::Elsewhere(droplet) = pointing {
            self.add(&Address::FloatingIp, Finding::PointsElsewhere { droplet });
        }
        if let (Some(recorded), Some(now)) = (roles::recorded_live(state), pointing.worker())
            && recorded != now
        {
            self.add(&Address::FloatingIp, Finding::MovedByHand { recorded, observed: now });
        }
        let readable = workers.keys().any(|id| {
            observed.droplets.get(id).is_some_and(|seen| fleet::lives(seen) && seen.tags.is_some())
        });
        if !readable {
            return;
        }
        let tag = Address::Tag(names::PROD.to_owned());
        match (roles::prod(&workers, observed).as_slice(), pointing.worker()) {
            ([], _) => self.add(&tag, Finding::NoneLive),
            ([one], Some(ip)) if *one != ip => {
                self.add(&tag, Finding::TagDiffersFromIp { tag: *one, ip });
            }
            ([_], _) => {}
            (several, _) => self.add(&tag, Finding::TwoLive { workers: several.to_vec() }),
        }
    }

    fn hosts(&mut self, state: &State, observed: &Observed) {
        let under_way = state.transition.as_ref().map(|transition| transition.to);
        for (number, droplet) in state.workers() {
            let Some(deployed) = state.deployed.get(&number) else { continue };
            if under_way == Some(number) {
                continue;
            }
            let content = hosts::content(observed, &state.stack, droplet.id);
            let finding = match hosts::judge(content, deployed) {
                Verdict::Unknown | Verdict::Right => continue,
                Verdict::Down(state) => Finding::ContainerDown { worker: number, state },
                Verdict::Foreign(seen) => Finding::ForeignImage {
                    worker: number,
                    recorded: Some(deployed.digest.clone()),
                    observed: seen,
                },
            };
            self.add(&Address::Worker(number), finding);
        }
    }

    fn marked(&mut self, state: &State, observed: &Observed) {
        let marked = fleet::marked(state, observed);
        for (address, droplets) in &marked.named {
            for seen in droplets {
                self.add(address, Finding::Orphan { droplet: seen.id, name: seen.name.clone() });
            }
        }
        for seen in marked.orphans {
            let finding = Finding::Orphan { droplet: seen.id, name: seen.name.clone() };
            self.add(&Address::Release, finding);
        }
    }
}

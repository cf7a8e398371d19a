//! What each effect does to a state and to a world.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use seachange_core::address::Address;
use seachange_core::cloud::{
    DnsRecord, Droplet, DropletId, DropletStatus, RecordId, ReservedIp, SshKey, SshKeyId,
};
use seachange_core::haproxy::LoadBalancerConfig;
use seachange_core::host::{Balancing, Container, ContainerState, HostKey};
use seachange_core::journal::{Change, Entry};
use seachange_core::names::{self, FALLBACK, PROD};
use seachange_core::observed::HostSeen;
use seachange_core::plan::{DropletTemplate, Effect, ReleasePlan};
use seachange_core::release::{
    Action, Event, Phase, Target, Transition, next, pending_action, take_over,
};
use seachange_core::state::{self, Deployed, Release, Resource};

use crate::world::{Crash, World};

impl World {
    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn learn(&mut self, changes: Vec<Change>) {
        self.state.record(&Entry::Note { changes });
    }

    fn put(&mut self, address: Address, resource: Resource) {
        self.learn(vec![Change::Put { address, resource }]);
    }

    pub(crate) fn perform(&mut self, effect: &Effect) {
        match effect {
            Effect::Adopt { address, resource } => self.put(address.clone(), resource.clone()),
            Effect::Forget { address } => {
                self.learn(vec![Change::Remove { address: address.clone() }]);
            }
            Effect::CreateSshKey { name, public_key, fingerprint } => {
                let id = SshKeyId(self.fresh());
                let key = SshKey {
                    id,
                    name: name.clone(),
                    fingerprint: fingerprint.clone(),
                    public_key: public_key.clone(),
                };
                self.real.ssh_keys.insert(fingerprint.clone(), Some(key));
                let resource =
                    Resource::SshKey { id, fingerprint: fingerprint.clone(), ours: true };
                self.put(Address::SshKey(name.clone()), resource);
            }
            Effect::CreateDroplets { addresses, template } => {
                assert!((1..=10).contains(&addresses.len()), "one request creates one to ten");
                for address in addresses {
                    self.create(address, template);
                }
            }
            Effect::PrepareHost { address } => self.prepare(address),
            Effect::ReserveFloatingIp { worker } => {
                let droplet = self.worker(*worker);
                let ip = Ipv4Addr::new(
                    203,
                    0,
                    113,
                    u8::try_from(self.real.reserved_ips.len()).expect("few") + 5,
                );
                let region = self.real.droplets[&droplet].region.clone();
                let reserved = ReservedIp { ip, region, droplet: Some(droplet), locked: false };
                assert!(self.real.reserved_ips.insert(ip, reserved).is_none());
                self.put(Address::FloatingIp, Resource::FloatingIp { ip });
            }
            Effect::AssignFloatingIp { worker } => {
                let droplet = self.worker(*worker);
                let ip = self.state.floating_ip().expect("an address");
                assert!(self.real.droplets.contains_key(&droplet));
                self.real.reserved_ips.get_mut(&ip).expect("there").droplet = Some(droplet);
            }
            Effect::CreateZone { zone } => {
                assert!(!matches!(self.real.zones.get(zone), Some(Some(_))), "the zone is there");
                self.real.zones.insert(zone.clone(), Some(Vec::new()));
                self.put(Address::Domain(zone.clone()), Resource::Domain { ours: true });
            }
            Effect::WriteRecord { name, zone, ttl, data, id } => {
                self.write_record(name, zone, *ttl, data, *id);
            }
            Effect::ConfigureLoadBalancer { listen, port } => {
                let floating_ip = self.state.floating_ip().expect("an address");
                let digest =
                    LoadBalancerConfig { listen: *listen, floating_ip, port: *port }.digest();
                let mut droplet = self.state.droplet(&Address::LoadBalancer).expect("one").clone();
                assert!(droplet.ready, "a load balancer is configured before it is ready");
                droplet.config = Some(digest.clone());
                match self.real.hosts.get_mut(&droplet.id) {
                    Some(HostSeen::LoadBalancer { balancing, .. }) => {
                        *balancing = Balancing { config: Some(digest), detour: false };
                    }
                    other => panic!("{other:?}"),
                }
                self.put(Address::LoadBalancer, Resource::Droplet(droplet));
            }
            Effect::Retag => self.retag(),
            Effect::Warm { worker, image, digest, config, settings } => {
                let deployed = Deployed {
                    image: image.clone(),
                    digest: digest.clone(),
                    config: config.clone(),
                    settings: settings.clone(),
                    at: self.tick(),
                };
                self.stage(*worker, deployed);
            }
            Effect::Release => unreachable!("is not one effect"),
            Effect::OutliveDns { .. } => {}
            Effect::DeleteDroplet { address, droplet } => {
                self.lose(*droplet);
                let own = self.state.droplet(address).is_some_and(|own| own.id == *droplet);
                let change = if own {
                    Change::Remove { address: address.clone() }
                } else {
                    Change::Deleted { droplet: *droplet }
                };
                self.learn(vec![change]);
            }
            Effect::DeleteFloatingIp { ip } => {
                self.real.reserved_ips.remove(ip);
                self.learn(vec![Change::Remove { address: Address::FloatingIp }]);
            }
            Effect::DeleteRecord { name, zone, id } => {
                if let Some(Some(records)) = self.real.zones.get_mut(zone) {
                    records.retain(|record| record.id != *id);
                }
                self.learn(vec![Change::Remove { address: Address::Record(name.clone()) }]);
            }
            Effect::DeleteZone { zone } => {
                self.real.zones.insert(zone.clone(), None);
                self.learn(vec![Change::Remove { address: Address::Domain(zone.clone()) }]);
            }
            Effect::DeleteSshKey { name, id } => {
                for key in self.real.ssh_keys.values_mut() {
                    if key.as_ref().is_some_and(|key| key.id == *id) {
                        *key = None;
                    }
                }
                self.learn(vec![Change::Remove { address: Address::SshKey(name.clone()) }]);
            }
            Effect::DeleteTags { .. } => {}
        }
    }

    /// Time goes on by a second.
    pub(crate) fn tick(&mut self) -> Timestamp {
        self.real.at += jiff::SignedDuration::from_secs(1);
        self.real.at
    }

    fn create(&mut self, address: &Address, template: &DropletTemplate) {
        let id = DropletId(self.fresh());
        let name = names::droplet_name(&self.state.stack, address).expect("a droplet's address");
        let [_, _, high, low] = u32::try_from(id.0).expect("few").to_be_bytes();
        let ipv4 = Some(Ipv4Addr::new(198, 51, high, low));
        let mut tags = template.tags.clone();
        tags.push(names::attempt_tag(&self.state.stack, &id.to_string()));
        let droplet = Droplet {
            id,
            name: name.clone(),
            status: DropletStatus::Active,
            locked: false,
            size: template.size.clone(),
            region: template.region.clone(),
            image: Some(template.image.clone()),
            public_ipv4: ipv4,
            private_ipv4: None,
            tags: Some(tags),
            created_at: self.real.at,
        };
        self.real.droplets.insert(id, droplet);
        let known = state::Droplet {
            id,
            name,
            size: template.size.clone(),
            region: template.region.clone(),
            image: template.image.clone(),
            ssh_keys: template.ssh_keys.clone(),
            user_data: template.bootstrap.digest(),
            ipv4,
            host_key: None,
            next_host_key: None,
            ready: false,
            config: None,
        };
        let mut changes = Vec::new();
        if self.state.droplet(address).is_some() {
            changes.push(Change::Depose { address: address.clone() });
        }
        changes.push(Change::Put { address: address.clone(), resource: Resource::Droplet(known) });
        self.learn(changes);
    }

    fn prepare(&mut self, address: &Address) {
        let mut droplet = self.state.droplet(address).expect("a droplet").clone();
        let host_key = HostKey(format!("ssh-ed25519 {}", droplet.id));
        let fresh = match address {
            Address::LoadBalancer => HostSeen::LoadBalancer {
                host_key: host_key.clone(),
                balancing: Balancing::default(),
            },
            _ => HostSeen::Worker { host_key: host_key.clone(), containers: Vec::new() },
        };
        self.real.hosts.entry(droplet.id).or_insert(fresh);
        droplet.ready = true;
        droplet.host_key = Some(host_key);
        self.put(address.clone(), Resource::Droplet(droplet));
    }

    fn write_record(
        &mut self,
        name: &str,
        zone: &str,
        ttl: u32,
        data: &Address,
        id: Option<RecordId>,
    ) {
        let data = match data {
            Address::LoadBalancer => self.state.droplet(data).and_then(|droplet| droplet.ipv4),
            _ => self.state.floating_ip(),
        };
        let data = data.expect("a record's target has an address").to_string();
        let id = id.unwrap_or_else(|| RecordId(self.fresh()));
        let records =
            self.real.zones.get_mut(zone).and_then(Option::as_mut).expect("the zone is there");
        records.retain(|record| record.id != id);
        records.push(DnsRecord {
            id,
            kind: "A".to_owned(),
            name: name.to_owned(),
            data: data.clone(),
            ttl,
        });
        let resource = Resource::Record { id, zone: zone.to_owned(), data, ttl };
        self.put(Address::Record(name.to_owned()), resource);
    }

    fn retag(&mut self) {
        let live = self.target();
        let workers: Vec<DropletId> = self.state.workers().map(|(_, droplet)| droplet.id).collect();
        assert!(live.is_some_and(|live| workers.contains(&live)), "no worker is live");
        for id in workers {
            let role = if Some(id) == live { PROD } else { FALLBACK };
            let Some(Some(tags)) = self.real.droplets.get_mut(&id).map(|seen| seen.tags.as_mut())
            else {
                continue;
            };
            tags.retain(|tag| !names::same_tag(tag, PROD) && !names::same_tag(tag, FALLBACK));
            tags.push(role.to_owned());
        }
    }

    /// Puts a container on a worker, as an engine would: an equal running one is left alone.
    fn stage(&mut self, worker: u32, deployed: Deployed) {
        let id = self.worker(worker);
        let live = self.target() == Some(id);
        let stack = self.state.stack.clone();
        let fresh = self.fresh();
        let labels = BTreeMap::from([
            ("image".to_owned(), deployed.image.to_string()),
            ("digest".to_owned(), deployed.digest.to_string()),
            ("config".to_owned(), deployed.config.clone()),
        ]);
        let HostSeen::Worker { containers, .. } =
            self.real.hosts.get_mut(&id).expect("a prepared worker")
        else {
            panic!("no worker")
        };
        let equal = containers.first().is_some_and(|container| container.labels == labels);
        let running =
            containers.first().is_some_and(|container| container.state == ContainerState::Running);
        assert!(!(live && running && !equal), "the live container of worker {worker} is replaced");
        if equal {
            containers[0].state = ContainerState::Running;
        } else {
            let container = Container {
                id: fresh.to_string(),
                name: stack,
                state: ContainerState::Running,
                labels,
                created_at: None,
            };
            *containers = vec![container];
        }
        self.learn(vec![Change::Deployed { worker, deployed }]);
    }

    /// Drives the release with the real machine. False if it ended before its time.
    pub(crate) fn release(&mut self, plan: &ReleasePlan, crash: Option<Crash>) -> bool {
        let at = self.tick();
        let mut transition = match self.state.transition.clone() {
            Some(earlier) => {
                let resumes = plan.resumes.as_ref().expect("a release under way is resumed");
                assert_eq!(resumes.phase, earlier.phase);
                let target = earlier.target(self.live());
                let phase = take_over(earlier.phase, target, resumes.undo).expect("legal");
                Transition { phase, aborted: resumes.undo, ..earlier }
            }
            None => Transition {
                kind: plan.kind,
                image: plan.image.clone(),
                digest: plan.digest.clone(),
                config: plan.config.clone(),
                settings: plan.settings.clone(),
                from: plan.from,
                to: plan.to,
                phase: Phase::Staging,
                since: at,
                by: "test".to_owned(),
                aborted: false,
            },
        };
        while let Some(action) = pending_action(transition.phase) {
            self.state.record(&Entry::Transition(Some(transition.clone())));
            if crash == Some(Crash::In(transition.phase)) {
                return false;
            }
            match action {
                Action::Stage => {
                    let deployed = Deployed {
                        image: transition.image.clone(),
                        digest: transition.digest.clone(),
                        config: transition.config.clone(),
                        settings: transition.settings.clone(),
                        at,
                    };
                    self.stage(transition.to, deployed);
                }
                Action::Gate | Action::Verify => {}
                Action::Switch => {
                    let target = transition.target(self.live());
                    assert_ne!(target, Target::Other, "somebody moved it");
                    self.point(Some(self.worker(transition.to)));
                }
                Action::SwitchBack => {
                    if let Some(from) = transition.from {
                        self.point(Some(self.worker(from)));
                    }
                }
                Action::Retag => self.retag(),
                Action::Record => {
                    let number = self.state.releases.last().map_or(0, |last| last.number) + 1;
                    let release = Release {
                        number,
                        kind: transition.kind,
                        image: transition.image.clone(),
                        digest: transition.digest.clone(),
                        worker: transition.to,
                        at,
                        by: "test".to_owned(),
                    };
                    self.learn(vec![Change::Released(release)]);
                }
            }
            self.watch(|| format!("phase {:?}", transition.phase));
            transition.phase = next(transition.phase, Event::Done).expect("legal");
        }
        self.state.record(&Entry::Transition(None));
        transition.phase == Phase::Completed
    }
}

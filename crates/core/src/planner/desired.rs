//! What the planner is to reach: the spec, compiled to plain values without secrets.
//!
//! The only place of the planner that knows the spec. A destroy has no spec, and a rollback needs none.

use super::Refusal;
use crate::address::Address;
use crate::bootstrap::Bootstrap;
use crate::image::{Digest, ImageRef};
use crate::names;
use crate::observed::Observed;
use crate::plan::DropletTemplate;
use crate::settings::Settings;
use crate::spec::{Spec, SshKeyRef};

/// The world as it shall be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Desired {
    pub(super) stack: String,
    pub(super) region: String,
    /// Keys that new droplets get.
    pub(super) keys: Vec<Key>,
    /// How many workers there shall be: `1..=count`.
    pub(super) count: u32,
    pub(super) worker: Machine,
    pub(super) floating_ip: bool,
    pub(super) balancer: Option<Balancer>,
    pub(super) domain: Option<Domain>,
    pub(super) app: Option<App>,
}

/// A key, of which the account may be asked to create one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) fingerprint: String,
    /// Name and public key text, if the stack creates it.
    pub(super) managed: Option<(String, String)>,
}

/// What a droplet is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) size: String,
    pub(super) image: String,
}

/// The load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Balancer {
    pub(super) machine: Machine,
    pub(super) listen: u16,
}

/// The zone and its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Domain {
    pub(super) zone: String,
    /// Relative names and seconds.
    pub(super) records: Vec<(String, u32)>,
}

/// The release that shall be live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct App {
    pub(super) image: ImageRef,
    pub(super) digest: Digest,
    pub(super) config: String,
    pub(super) settings: Settings,
}

impl Desired {
    /// Compiles a spec. `Err` if it has an app whose image nobody resolved: a release is of a digest, never of a name.
    pub(super) fn compile(spec: &Spec, observed: &Observed) -> Result<Self, Box<Refusal>> {
        let machine =
            |size: &str, image: &str| Machine { size: size.to_owned(), image: image.to_owned() };
        let keys = spec.ssh.iter().flat_map(|ssh| &ssh.keys).map(|key| match key {
            SshKeyRef::Fingerprint(fingerprint) => {
                Key { fingerprint: fingerprint.clone(), managed: None }
            }
            SshKeyRef::Managed { name, public_key, fingerprint } => Key {
                fingerprint: fingerprint.clone(),
                managed: Some((name.clone(), public_key.clone())),
            },
        });
        let balancer = spec.load_balancer.as_ref().map(|balancer| Balancer {
            machine: machine(&balancer.size, &balancer.image),
            listen: balancer.listen,
        });
        let domain = spec.domain.as_ref().map(|domain| Domain {
            zone: domain.zone.clone(),
            records: domain
                .records
                .iter()
                .map(|record| (record.name.clone(), record.ttl))
                .collect(),
        });
        let app = match (&spec.app, spec.settings()) {
            (Some(app), Some(settings)) => {
                let digest = app.image.digest.as_ref().or(observed.image.as_ref());
                Some(App {
                    image: app.image.clone(),
                    digest: digest.cloned().ok_or_else(|| Box::new(unresolved(&app.image)))?,
                    config: app.config_digest(&spec.stack),
                    settings,
                })
            }
            (Some(_) | None, _) => None,
        };
        Ok(Self {
            stack: spec.stack.clone(),
            region: spec.region.clone(),
            keys: keys.collect(),
            count: spec.workers.count,
            worker: machine(&spec.workers.size, &spec.workers.image),
            floating_ip: spec.floating_ip.is_some(),
            balancer,
            domain,
            app,
        })
    }

    /// A world without anything.
    pub(super) fn nothing(stack: &str) -> Self {
        Self {
            stack: stack.to_owned(),
            region: String::new(),
            keys: Vec::new(),
            count: 0,
            worker: Machine { size: String::new(), image: String::new() },
            floating_ip: false,
            balancer: None,
            domain: None,
            app: None,
        }
    }

    /// Fingerprints of the keys, sorted, as a droplet's record has them.
    pub(super) fn fingerprints(&self) -> Vec<String> {
        let mut fingerprints: Vec<String> =
            self.keys.iter().map(|key| key.fingerprint.clone()).collect();
        fingerprints.sort();
        fingerprints.dedup();
        fingerprints
    }

    /// Whether the spec has this droplet.
    pub(super) fn has(&self, address: &Address) -> bool {
        match address {
            Address::Worker(number) => (1..=self.count).contains(number),
            Address::LoadBalancer => self.balancer.is_some(),
            _ => false,
        }
    }

    /// What the droplet at this address is made from, if the spec has it.
    pub(super) fn machine(&self, address: &Address) -> Option<&Machine> {
        match address {
            Address::LoadBalancer => self.balancer.as_ref().map(|balancer| &balancer.machine),
            _ => self.has(address).then_some(&self.worker),
        }
    }

    /// What the droplet's first boot installs. Without an app nobody would talk to what it installs.
    pub(super) fn bootstrap(&self, address: &Address) -> Bootstrap {
        match (address, &self.app) {
            (_, None) => Bootstrap::Nothing,
            (Address::LoadBalancer, Some(_)) => Bootstrap::Haproxy,
            (_, Some(_)) => Bootstrap::Docker,
        }
    }

    /// The template of a droplet at this address, with a role tag if it is a worker and roles exist.
    pub(super) fn template(&self, address: &Address, role: &str) -> Option<DropletTemplate> {
        let machine = self.machine(address)?;
        let owner = names::owner_tag(&self.stack);
        let kind = kind_tag(&self.stack, address);
        let role = (self.floating_ip && address.worker().is_some()).then(|| role.to_owned());
        Some(DropletTemplate {
            region: self.region.clone(),
            size: machine.size.clone(),
            image: machine.image.clone(),
            ssh_keys: self.fingerprints(),
            tags: [owner, kind].into_iter().chain(role).collect(),
            bootstrap: self.bootstrap(address),
        })
    }
}

/// The tag on all droplets of one kind: `seachange:STACK:worker`, `seachange:STACK:load_balancer`.
pub(super) fn kind_tag(stack: &str, address: &Address) -> String {
    let kind = if address.worker().is_some() { "worker" } else { "load_balancer" };
    format!("{}:{kind}", names::owner_tag(stack))
}

fn unresolved(image: &ImageRef) -> Refusal {
    Refusal {
        object: Address::Release.to_string(),
        expected: format!("the digest that {image} stands for"),
        observed: "the registry was not asked".to_owned(),
        why: "a release is of a digest: a tag may stand for something else tomorrow".to_owned(),
        help: "ask again with the registry's login at hand: seachange plan".to_owned(),
        allowed_by: None,
    }
}

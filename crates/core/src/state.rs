//! What Seachange remembers of a stack: which object each address is, what is under way, and what was released.
//!
//! A [`State`] changes only by [`State::record`]: journal entries are folded in, one by one, in the order in which
//! they were decided. No secret is ever part of it. The file format is in [`mod@file`].

pub mod edit;
pub mod file;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::cloud::{DropletId, RecordId, SshKeyId};
use crate::host::{HostKey, Target};
use crate::image::{Digest, ImageRef};
use crate::journal::{Change, Entry, Operation, OperationId};
use crate::release::Transition;
use crate::settings::Settings;

/// Everything known about one stack at one serial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Random name given at the first commit: two states are comparable only if it is equal.
    pub lineage: String,
    /// Counts commits; 0 is the state before the first.
    pub serial: u64,
    /// The stack's name.
    pub stack: String,
    /// What each address is in the cloud.
    pub resources: BTreeMap<Address, Resource>,
    /// Droplets that were replaced and are still to be deleted.
    pub deposed: BTreeMap<DropletId, Address>,
    /// Effects that began and of which no end is known.
    pub pending: BTreeMap<OperationId, Operation>,
    /// The release under way, if a run ended in the middle of one.
    pub transition: Option<Transition>,
    /// What we last put on each worker.
    pub deployed: BTreeMap<u32, Deployed>,
    /// Every release that became live, oldest first.
    pub releases: Vec<Release>,
}

/// What an address is in the cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Resource {
    /// An SSH key.
    SshKey {
        /// Its id.
        id: SshKeyId,
        /// MD5 fingerprint.
        fingerprint: String,
        /// False if it was there before us: then it is never deleted.
        ours: bool,
    },
    /// A droplet.
    Droplet(Droplet),
    /// The floating IP.
    FloatingIp {
        /// The address.
        ip: Ipv4Addr,
    },
    /// The DNS zone.
    Domain {
        /// False if it was there before us: then it is never deleted.
        ours: bool,
    },
    /// A DNS record.
    Record {
        /// Its id.
        id: RecordId,
        /// Its zone.
        zone: String,
        /// What it said when last written.
        data: String,
        /// Seconds.
        ttl: u32,
    },
}

/// A droplet as last written or adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Droplet {
    /// Its id.
    pub id: DropletId,
    /// Its name.
    pub name: String,
    /// Size slug.
    pub size: String,
    /// Region slug.
    pub region: String,
    /// Base image slug at creation.
    pub image: String,
    /// Fingerprints of the account keys put in at creation, sorted.
    pub ssh_keys: Vec<String>,
    /// SHA-256 of the cloud-init text it was created with; `None` if it had none or was adopted without knowledge.
    pub user_data: Option<String>,
    /// Public address, once known.
    pub ipv4: Option<Ipv4Addr>,
    /// The pinned host key. Until the droplet is ready it is the one that went in by user-data; `None` if it was adopted
    /// by its mark alone.
    pub host_key: Option<HostKey>,
    /// A key generated on the droplet, written down before the droplet shows it: from then on it may show either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_host_key: Option<HostKey>,
    /// The first boot was seen to end well.
    pub ready: bool,
    /// SHA-256 of the load balancer configuration last installed.
    pub config: Option<String>,
}

impl Droplet {
    /// How to reach it from within, once its address is known.
    pub fn target(&self) -> Option<Target> {
        Some(Target {
            address: self.ipv4?,
            host_key: self.host_key.clone(),
            next_host_key: self.next_host_key.clone(),
        })
    }
}

/// What was put on a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// The image as the spec named it.
    pub image: ImageRef,
    /// What exactly runs.
    pub digest: Digest,
    /// Digest of port, environment and the like (`App::config_digest`).
    pub config: String,
    /// How it is reached and judged.
    pub settings: Settings,
    /// When its container was put there.
    pub at: Timestamp,
}

/// A release that became live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Counts from 1.
    pub number: u64,
    /// Why it became live.
    pub kind: crate::release::Kind,
    /// The image as the spec named it.
    pub image: ImageRef,
    /// What exactly runs.
    pub digest: Digest,
    /// The worker it is live on.
    pub worker: u32,
    /// When it was recorded.
    pub at: Timestamp,
    /// Who did it: user, host or CI job.
    pub by: String,
}

impl State {
    /// The state of a stack that nothing is known of.
    pub fn empty(lineage: impl Into<String>, stack: impl Into<String>) -> Self {
        Self {
            lineage: lineage.into(),
            serial: 0,
            stack: stack.into(),
            resources: BTreeMap::new(),
            deposed: BTreeMap::new(),
            pending: BTreeMap::new(),
            transition: None,
            deployed: BTreeMap::new(),
            releases: Vec::new(),
        }
    }

    /// Whether nothing is owned and nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
            && self.deposed.is_empty()
            && self.pending.is_empty()
            && self.transition.is_none()
    }

    /// The droplet at an address.
    pub fn droplet(&self, address: &Address) -> Option<&Droplet> {
        match self.resources.get(address)? {
            Resource::Droplet(droplet) => Some(droplet),
            Resource::SshKey { .. }
            | Resource::FloatingIp { .. }
            | Resource::Domain { .. }
            | Resource::Record { .. } => None,
        }
    }

    /// The address whose present droplet has this id.
    pub fn address_of(&self, id: DropletId) -> Option<&Address> {
        self.resources.iter().find_map(|(address, resource)| match resource {
            Resource::Droplet(droplet) if droplet.id == id => Some(address),
            _ => None,
        })
    }

    /// The floating IP.
    pub fn floating_ip(&self) -> Option<Ipv4Addr> {
        match self.resources.get(&Address::FloatingIp)? {
            Resource::FloatingIp { ip } => Some(*ip),
            _ => None,
        }
    }

    /// The workers, by number.
    pub fn workers(&self) -> impl Iterator<Item = (u32, &Droplet)> {
        self.resources.iter().filter_map(|(address, resource)| match (address, resource) {
            (Address::Worker(number), Resource::Droplet(droplet)) => Some((*number, droplet)),
            _ => None,
        })
    }

    /// Folds one journal entry in. Recording the same entry twice changes nothing the second time, except that
    /// releases are appended by number.
    pub fn record(&mut self, entry: &Entry) {
        match entry {
            Entry::Begin(operation) => {
                self.pending.insert(operation.id.clone(), operation.clone());
            }
            Entry::End { operation, changes } => {
                self.pending.remove(operation);
                for change in changes {
                    self.change(change);
                }
            }
            Entry::Note { changes } => {
                for change in changes {
                    self.change(change);
                }
            }
            Entry::Transition(transition) => self.transition.clone_from(transition),
        }
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Put { address, resource } => {
                self.resources.insert(address.clone(), resource.clone());
            }
            Change::Remove { address } => {
                self.resources.remove(address);
                if let Address::Worker(number) = address {
                    self.deployed.remove(number);
                }
                if *address == Address::Release {
                    self.transition = None;
                }
            }
            Change::Depose { address } => {
                if let Some(Resource::Droplet(droplet)) = self.resources.remove(address) {
                    self.deposed.insert(droplet.id, address.clone());
                }
                if let Address::Worker(number) = address {
                    self.deployed.remove(number);
                }
            }
            Change::Deleted { droplet } => {
                self.deposed.remove(droplet);
            }
            Change::Deployed { worker, deployed } => {
                self.deployed.insert(*worker, deployed.clone());
            }
            Change::Released(release) => {
                if self.releases.last().is_none_or(|last| last.number < release.number) {
                    self.releases.push(release.clone());
                }
            }
        }
    }
}

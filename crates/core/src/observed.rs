//! What a refresh saw: the cloud's and the hosts' side of the three-way comparison.
//!
//! What was not looked at is [`HostSeen::NotObserved`] or `None` with that meaning, never assumed.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;

use crate::address::Address;
use crate::cloud::{Account, BaseImage, DnsRecord, Droplet, DropletId, ReservedIp, Size, SshKey};
use crate::host::{Balancing, Container, HostKey};
use crate::image::Digest;

/// Everything one refresh saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// When it was looked at.
    pub at: Timestamp,
    /// Every droplet with the stack's owner tag, known to the state or not, by id.
    pub droplets: BTreeMap<DropletId, Droplet>,
    /// Every reserved IP of the account, ours or not, by address.
    pub reserved_ips: BTreeMap<Ipv4Addr, ReservedIp>,
    /// The stack's zones (desired or in the state). `None`: the account has no such zone.
    pub zones: BTreeMap<String, Option<Vec<DnsRecord>>>,
    /// The keys asked for or in the state, by fingerprint. `None`: the account has no such key.
    pub ssh_keys: BTreeMap<String, Option<SshKey>>,
    /// The hosts, by droplet.
    pub hosts: BTreeMap<DropletId, HostSeen>,
    /// The digest the spec's image stands for now; `None` if there is no app or nobody asked.
    pub image: Option<Digest>,
    /// What the account offers; looked at only when something is to be created or priced.
    pub catalogue: Option<Catalogue>,
}

/// What was seen on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostSeen {
    /// Nobody looked, and why (`no ssh in the spec`, `not created yet`, `cannot be reached: …`).
    NotObserved {
        /// Why.
        why: String,
    },
    /// A worker.
    Worker {
        /// The key it showed.
        host_key: HostKey,
        /// The stack's containers, newest first.
        containers: Vec<Container>,
    },
    /// The load balancer.
    LoadBalancer {
        /// The key it showed.
        host_key: HostKey,
        /// How it is configured.
        balancing: Balancing,
    },
}

/// What the account offers.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    /// Sizes by slug.
    pub sizes: BTreeMap<String, Size>,
    /// Base images asked for, by slug; `None`: there is no such image.
    pub images: BTreeMap<String, Option<BaseImage>>,
    /// The account's limits; `None` if the token may not read them.
    pub account: Option<Account>,
    /// Droplets of the account, as far as they are known: the stack's own at least.
    pub droplets_in_account: Option<u64>,
}

impl Observed {
    /// A refresh that saw an empty account.
    pub fn nothing(at: Timestamp) -> Self {
        Self {
            at,
            droplets: BTreeMap::new(),
            reserved_ips: BTreeMap::new(),
            zones: BTreeMap::new(),
            ssh_keys: BTreeMap::new(),
            hosts: BTreeMap::new(),
            image: None,
            catalogue: None,
        }
    }
}

/// A droplet that carries our mark, matched to the address it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The address its name stands for.
    pub address: Address,
    /// The droplet.
    pub droplet: DropletId,
}

//! What a run writes down before and after each effect.
//!
//! An effect starts only after its [`Entry::Begin`] is durable and counts as done only after its [`Entry::End`] is.
//! What lies between, after a crash, is an unknown outcome: the next run looks before it acts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::cloud::DropletId;
use crate::host::HostKey;
use crate::release::Transition;
use crate::state::{Deployed, Release, Resource};

/// Names one attempt at one effect; unique for ever, and part of the attempt's one-time tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(pub String);

/// An effect that is about to be tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its name.
    pub id: OperationId,
    /// What is done.
    pub kind: OperationKind,
    /// The addresses it is about.
    pub addresses: Vec<Address>,
    /// When it began.
    pub began_at: Timestamp,
    /// Who: user, host or CI job.
    pub by: String,
}

/// The effects whose outcome must be looked for after a crash. Everything else is harmless twice by itself, and is
/// journalled with [`OperationKind::Repeatable`] only to tell people what was under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OperationKind {
    /// Droplets, found by the attempt's one-time tag. What the cloud never gives back is kept here.
    CreateDroplets {
        /// Fingerprints of the account keys put in, sorted.
        ssh_keys: Vec<String>,
        /// SHA-256 of the cloud-init text, if there is one.
        user_data: Option<String>,
        /// The public half of the key that the droplets show at the first contact.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host_key: Option<HostKey>,
    },
    /// A reserved IP, found by the droplet it points to.
    ReserveIp {
        /// That droplet.
        droplet: DropletId,
    },
    /// A zone, found by its name.
    CreateZone,
    /// An address record, found by name, type and data.
    CreateRecord {
        /// Its zone.
        zone: String,
        /// Its data.
        data: String,
        /// Seconds.
        ttl: u32,
    },
    /// An SSH key, found by its fingerprint.
    CreateSshKey {
        /// MD5 fingerprint.
        fingerprint: String,
    },
    /// Anything that may simply be done again.
    Repeatable,
}

/// A change of what is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// The address is this now.
    Put {
        /// The address.
        address: Address,
        /// What it is.
        resource: Resource,
    },
    /// The address is nothing now.
    Remove {
        /// The address.
        address: Address,
    },
    /// The address's droplet is to be deleted once its successor serves.
    Depose {
        /// The address.
        address: Address,
    },
    /// A deposed droplet is gone.
    Deleted {
        /// The droplet.
        droplet: DropletId,
    },
    /// A container was put on a worker.
    Deployed {
        /// The worker.
        worker: u32,
        /// What was put there.
        deployed: Deployed,
    },
    /// A release became live.
    Released(Release),
}

/// One entry of the journal.
#[expect(
    clippy::large_enum_variant,
    reason = "few exist at a time, and a box would show in every match"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// An effect is about to be tried.
    Begin(Operation),
    /// Its outcome is known: these changes, none if nothing was done.
    End {
        /// The operation.
        operation: OperationId,
        /// What is different now.
        changes: Vec<Change>,
    },
    /// Something was learnt without an effect of ours (an address appeared, a droplet was adopted).
    Note {
        /// What is different now.
        changes: Vec<Change>,
    },
    /// The release under way reached a phase, or ended (`None`).
    Transition(Option<Transition>),
}

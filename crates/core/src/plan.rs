//! A plan: what will be done, in which order, and why. It leaves no choice to the executor, which may only refuse.
//!
//! [`Plan::changes`] is for people (one per address), [`Plan::steps`] for the executor (a graph). Both come from the
//! same planner passes; [`check`] looks for contradictions between them, whoever made the plan.

pub mod check;
pub mod file;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::bootstrap::Bootstrap;
use crate::cloud::DropletId;
use crate::image::{Digest, ImageRef};
use crate::release::Kind;
use crate::settings::Settings;
use crate::state::Resource;

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Make the world what the spec says.
    Apply,
    /// Make the standby's release live again.
    Rollback,
    /// Remove everything the stack owns.
    Destroy,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What it is for.
    pub purpose: Purpose,
    /// The stack's name.
    pub stack: String,
    /// Lineage of the state it was made from; empty for a stack without one.
    pub lineage: String,
    /// Serial of that state.
    pub serial: u64,
    /// Digest of the spec it was made from.
    pub spec_digest: String,
    /// When it was made.
    pub at: Timestamp,
    /// What must still be so when it is applied.
    pub pinned: Pinned,
    /// What moved outside, apart from what will be done.
    pub drift: Vec<Drift>,
    /// What changes, by address in their order; empty means: no changes.
    pub changes: Vec<Change>,
    /// What is done: a graph. `after` refers to earlier steps only.
    pub steps: Vec<Step>,
    /// The release among the steps, if there is one.
    pub release: Option<ReleasePlan>,
    /// What people should know: what was ignored, what the planner waits for, what apply cannot do.
    pub notes: Vec<String>,
    /// Prices, if the catalogue was read.
    pub cost: Option<Cost>,
}

/// The observed world a plan was made for. Applying a saved plan compares each with what is there now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// The floating IP and the worker it pointed to.
    pub floating_ip: Option<(Ipv4Addr, Option<DropletId>)>,
    /// The workers' droplets by number.
    pub workers: BTreeMap<u32, DropletId>,
    /// Which workers carried PROD.
    pub prod: Vec<u32>,
    /// The digest the image stood for.
    pub image: Option<Digest>,
}

/// US cents a month for the droplets of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Before.
    pub before_cents: u64,
    /// After.
    pub after_cents: u64,
}

/// What changes at one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The address.
    pub address: Address,
    /// What is done.
    pub action: ActionKind,
    /// Why.
    pub reason: Reason,
    /// What is different, by attribute.
    pub attributes: Vec<Attribute>,
}

/// What is done to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// It does not exist and will.
    Create,
    /// It is changed where it is.
    Update,
    /// A successor is created, then the old one deleted.
    Replace,
    /// It is deleted.
    Delete,
    /// A release moves users from one worker to another.
    Swap,
    /// It exists with our mark and is taken into the state.
    Adopt,
    /// It is put back to what a run before had made it.
    Repair,
    /// It is only dropped from the state.
    Forget,
}

/// Why an action is planned. A closed list; the text is what people read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// The spec asks for it and the state has none.
    NotCreatedYet,
    /// The state has it, the cloud has not.
    DeletedOutside,
    /// The spec no longer asks for it.
    NotInSpec,
    /// The whole stack is destroyed.
    Destroy,
    /// These attributes can only be set at creation.
    CannotUpdate {
        /// The attributes.
        attributes: Vec<String>,
    },
    /// The spec says otherwise than the state.
    SpecChanged {
        /// The attributes.
        attributes: Vec<String>,
    },
    /// The world says otherwise than the state.
    ChangedOutside {
        /// What was found.
        found: String,
    },
    /// A run that did not end left it.
    UnfinishedRun {
        /// What it left.
        found: String,
    },
    /// Its image is not the spec's.
    NewImage,
    /// Its port, environment or the like is not the spec's.
    NewConfiguration,
    /// A person asked for it (`rollback`, `--replace`).
    Requested,
    /// It must be so before another change can be made.
    Needed {
        /// For what.
        by: Address,
    },
}

/// A value in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Known.
    Known(String),
    /// Known only after another address is done.
    After(Address),
}

/// One attribute's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// Its name, as in the spec.
    pub name: String,
    /// Before; `None`: it was not there.
    pub before: Option<String>,
    /// After; `None`: it will not be there.
    pub after: Option<Value>,
}

/// Something that moved outside, as a typed finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The address.
    pub address: Address,
    /// What was found.
    pub finding: Finding,
}

/// What can be found to have moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// It is gone.
    Missing,
    /// An attribute differs.
    Changed {
        /// Its name.
        attribute: String,
        /// What the state says.
        recorded: String,
        /// What was seen.
        observed: String,
    },
    /// More than one worker carries PROD.
    TwoLive {
        /// These.
        workers: Vec<u32>,
    },
    /// No worker carries PROD.
    NoneLive,
    /// PROD is on another worker than the floating IP.
    TagDiffersFromIp {
        /// The worker with the tag.
        tag: u32,
        /// The worker with the address.
        ip: u32,
    },
    /// The floating IP points to another worker than the last recorded release, and the tags agree with it or not.
    MovedByHand {
        /// The recorded worker.
        recorded: u32,
        /// The worker it points to.
        observed: u32,
    },
    /// The floating IP points to nothing, or to what is no worker of the stack.
    PointsElsewhere {
        /// The droplet, if any.
        droplet: Option<DropletId>,
    },
    /// A worker runs another image than the recorded one.
    ForeignImage {
        /// The worker.
        worker: u32,
        /// What was recorded.
        recorded: Option<Digest>,
        /// What runs, in the container's label or the engine's words.
        observed: String,
    },
    /// A worker's container does not run.
    ContainerDown {
        /// The worker.
        worker: u32,
        /// Its state, in words.
        state: String,
    },
    /// A droplet with our mark that belongs to nothing.
    Orphan {
        /// The droplet.
        droplet: DropletId,
        /// Its name.
        name: String,
    },
}

/// One step of the executor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its number, its place in the list.
    pub id: usize,
    /// What it does.
    pub effect: Effect,
    /// Steps that must have succeeded before.
    pub after: Vec<usize>,
}

/// What a new droplet shall be, except for its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropletTemplate {
    /// Region slug.
    pub region: String,
    /// Size slug.
    pub size: String,
    /// Base image slug.
    pub image: String,
    /// Fingerprints of account keys, sorted.
    pub ssh_keys: Vec<String>,
    /// Tags, without the attempt's own.
    pub tags: Vec<String>,
    /// What its first boot installs.
    pub bootstrap: Bootstrap,
}

/// What a step does. Each is an `ensure`: it looks (or knows) first, acts if needed, and says which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// Takes something that is there into the state, without a request.
    Adopt {
        /// The address.
        address: Address,
        /// What it is.
        resource: Resource,
    },
    /// Drops an address from the state, without a request. `release` stands for the transition an earlier run left: it
    /// is dropped, and whatever a standby got of it stays there.
    Forget {
        /// The address.
        address: Address,
    },
    /// Adds an SSH key to the account.
    CreateSshKey {
        /// Name.
        name: String,
        /// OpenSSH public key text.
        public_key: String,
        /// Its MD5 fingerprint.
        fingerprint: String,
    },
    /// Creates one to ten droplets by one request and waits until each is active and has an address. A droplet that the
    /// address had before is deposed, not deleted.
    CreateDroplets {
        /// The addresses; their names follow from them.
        addresses: Vec<Address>,
        /// What they shall be.
        template: DropletTemplate,
    },
    /// Waits until the droplet's first boot is over, and replaces the host key of its first contact.
    PrepareHost {
        /// The droplet.
        address: Address,
    },
    /// Reserves an address for a worker and waits until it points there.
    ReserveFloatingIp {
        /// The worker.
        worker: u32,
    },
    /// Moves the floating IP to a worker (infrastructure without an app, and repairs).
    AssignFloatingIp {
        /// The worker.
        worker: u32,
    },
    /// Creates the zone.
    CreateZone {
        /// Its name.
        zone: String,
    },
    /// Creates the record, or makes the recorded one say this.
    WriteRecord {
        /// Relative name.
        name: String,
        /// Its zone.
        zone: String,
        /// Seconds.
        ttl: u32,
        /// The address whose IPv4 address is its data: the load balancer, or the floating IP.
        data: Address,
        /// The record to change; `None`: create, unless one with the same name, type and data is there.
        id: Option<crate::cloud::RecordId>,
    },
    /// Installs the load balancer's configuration and reloads it.
    ConfigureLoadBalancer {
        /// Port for users.
        listen: u16,
        /// The app's port on the floating IP.
        port: u16,
    },
    /// Makes the role tags follow the floating IP: PROD on the live worker first, then off the others, then FALLBACK.
    Retag,
    /// Puts a release on a worker that is not live, and gates it; users see nothing.
    Warm {
        /// The worker.
        worker: u32,
        /// The image as the spec named it.
        image: ImageRef,
        /// What exactly.
        digest: Digest,
        /// Digest of port, environment and the like.
        config: String,
        /// How it is reached and judged.
        settings: Settings,
    },
    /// The release transition of [`Plan::release`], from its first phase or from where it stands.
    Release,
    /// Waits so long, so that cached DNS answers run out, before something still reachable by them is deleted.
    OutliveDns {
        /// Seconds.
        seconds: u32,
    },
    /// Deletes a droplet (the address's own, or a deposed one) and waits until it is gone.
    DeleteDroplet {
        /// The address it is or was at.
        address: Address,
        /// The droplet.
        droplet: DropletId,
    },
    /// Gives the floating IP back.
    DeleteFloatingIp {
        /// The address.
        ip: Ipv4Addr,
    },
    /// Deletes a record.
    DeleteRecord {
        /// Relative name.
        name: String,
        /// Its zone.
        zone: String,
        /// The record.
        id: crate::cloud::RecordId,
    },
    /// Deletes the zone with everything in it.
    DeleteZone {
        /// Its name.
        zone: String,
    },
    /// Removes an SSH key from the account.
    DeleteSshKey {
        /// Name.
        name: String,
        /// The key.
        id: crate::cloud::SshKeyId,
    },
    /// Deletes the stack's own tags (never PROD and FALLBACK, which other stacks share).
    DeleteTags {
        /// These.
        tags: Vec<String>,
    },
}

/// The release of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasePlan {
    /// Why.
    pub kind: Kind,
    /// The image as the spec named it.
    pub image: ImageRef,
    /// What exactly.
    pub digest: Digest,
    /// Digest of port, environment and the like.
    pub config: String,
    /// How it is reached and judged.
    pub settings: Settings,
    /// The release that is live: image and digest.
    pub live: Option<(ImageRef, Digest)>,
    /// The worker that is live.
    pub from: Option<u32>,
    /// The worker that shall be live.
    pub to: u32,
    /// The floating IP, if it exists already.
    pub floating_ip: Option<Ipv4Addr>,
    /// The transition of an earlier run that this one takes over.
    pub resumes: Option<Resumes>,
}

/// A transition that an earlier run left under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumes {
    /// How far it was.
    pub phase: crate::release::Phase,
    /// When it began.
    pub since: Timestamp,
    /// Who began it.
    pub by: String,
    /// It is taken back instead of finished: users get the old release again.
    pub undo: bool,
}

impl Resumes {
    /// What a plan says of a transition that it takes over.
    pub(crate) fn of(transition: &crate::release::Transition, undo: bool) -> Self {
        Self { phase: transition.phase, since: transition.since, by: transition.by.clone(), undo }
    }
}

impl ReleasePlan {
    /// Whether a person wants an earlier run's release taken back.
    pub fn undoes(&self) -> bool {
        self.resumes.as_ref().is_some_and(|resumes| resumes.undo)
    }

    /// Whether it takes an earlier run's release back, because a person wants that or because verify failed.
    pub fn leads_back(&self) -> bool {
        use crate::release::Phase::{RetaggingBack, SwitchingBack};
        let back = |resumes: &Resumes| matches!(resumes.phase, SwitchingBack | RetaggingBack);
        self.undoes() || self.resumes.as_ref().is_some_and(back)
    }

    /// The worker that users are on when it is at rest, if all goes well.
    pub fn leads_to(&self) -> Option<u32> {
        if self.leads_back() { self.from } else { Some(self.to) }
    }
}

impl Plan {
    /// Whether applying it would send no changing request and record nothing.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// How many changes are of a kind, counting a replacement as one to add and one to destroy.
    pub fn count(&self) -> Counts {
        let mut counts = Counts::default();
        for change in &self.changes {
            match change.action {
                ActionKind::Create => counts.add += 1,
                ActionKind::Update | ActionKind::Repair => counts.change += 1,
                ActionKind::Replace => {
                    counts.add += 1;
                    counts.destroy += 1;
                }
                ActionKind::Delete => counts.destroy += 1,
                ActionKind::Swap => counts.swap += 1,
                ActionKind::Adopt => counts.adopt += 1,
                ActionKind::Forget => counts.forget += 1,
            }
        }
        counts
    }
}

/// The numbers of the summary line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// To add.
    pub add: usize,
    /// To change, repairs included.
    pub change: usize,
    /// To destroy.
    pub destroy: usize,
    /// To swap.
    pub swap: usize,
    /// To adopt.
    pub adopt: usize,
    /// To forget.
    pub forget: usize,
}

//! The boundary to the cloud: what an account can be asked and told, in domain types.
//!
//! Every method is one request, or one list read to its last page. Nothing here waits for an action to end, retries
//! a create, or knows what a plan is. What a call promises after a lost answer is said at the method; where nothing
//! is said, the caller must look again ([`CloudError::Unknown`]).

use std::net::Ipv4Addr;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::secret::Secret;

/// A droplet's id.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct DropletId(pub u64);

/// An action's id.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct ActionId(pub u64);

/// A DNS record's id.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct RecordId(pub u64);

/// An account SSH key's id.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct SshKeyId(pub u64);

impl std::fmt::Display for DropletId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a droplet is in its life. A deleted droplet is not listed; `Archive` is in the API's list of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropletStatus {
    /// Being created.
    New,
    /// Booted. Neither an address nor SSH is promised by it.
    Active,
    /// Powered off.
    Off,
    /// Gone or put away.
    Archive,
}

/// A droplet as the cloud shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Droplet {
    /// Its id.
    pub id: DropletId,
    /// Its name; not unique in an account.
    pub name: String,
    /// Where it is in its life.
    pub status: DropletStatus,
    /// An event holds it; further events are refused until it is false.
    pub locked: bool,
    /// Size slug, such as `s-1vcpu-1gb`.
    pub size: String,
    /// Region slug.
    pub region: String,
    /// Slug of the base image at creation, if it has one.
    pub image: Option<String>,
    /// Public IPv4 address; may be absent even when `Active`.
    pub public_ipv4: Option<Ipv4Addr>,
    /// Private IPv4 address in its VPC.
    pub private_ipv4: Option<Ipv4Addr>,
    /// Tags in the account's spelling (compared without case). `None` if the token may not read tags: absent is not none.
    pub tags: Option<Vec<String>>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// What a new droplet shall be. All droplets of one request share everything but the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropletCreate {
    /// One to ten names; one is sent as `name`, more as `names`.
    pub names: Vec<String>,
    /// Region slug.
    pub region: String,
    /// Size slug.
    pub size: String,
    /// Base image slug.
    pub image: String,
    /// Fingerprints of account keys.
    pub ssh_keys: Vec<String>,
    /// Tags; missing ones are created by the cloud.
    pub tags: Vec<String>,
    /// cloud-init user data, at most 64 KiB. It may hold the host key for the first contact.
    pub user_data: Option<Secret>,
}

/// A reserved IP (once "floating IP").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservedIp {
    /// The address, which is its id.
    pub ip: Ipv4Addr,
    /// Region slug.
    pub region: String,
    /// The droplet it points to.
    pub droplet: Option<DropletId>,
    /// An event holds it.
    pub locked: bool,
}

/// How far an asynchronous action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionStatus {
    /// Under way.
    InProgress,
    /// Done (also the word `done`, seen in 2021).
    Completed,
    /// Failed.
    Errored,
}

/// An asynchronous action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Its id.
    pub id: ActionId,
    /// How far it is.
    pub status: ActionStatus,
    /// What it does, in the cloud's word (`create`, `assign_ip` …).
    pub kind: String,
}

/// A DNS record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsRecord {
    /// Its id.
    pub id: RecordId,
    /// Its type, such as `A`.
    pub kind: String,
    /// Relative name, `@` for the zone itself.
    pub name: String,
    /// Its data.
    pub data: String,
    /// Seconds.
    pub ttl: u32,
}

/// What a DNS record shall be; the whole of it, so that sending it twice is harmless on an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsRecordWrite {
    /// Its type, such as `A`.
    pub kind: String,
    /// Relative name, `@` for the zone itself.
    pub name: String,
    /// Its data.
    pub data: String,
    /// Seconds, at least 30.
    pub ttl: u32,
}

/// An SSH key of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshKey {
    /// Its id.
    pub id: SshKeyId,
    /// Its name.
    pub name: String,
    /// MD5 fingerprint, colon-separated.
    pub fingerprint: String,
    /// OpenSSH public key text.
    pub public_key: String,
}

/// A droplet size on offer.
#[derive(Debug, Clone, PartialEq)]
pub struct Size {
    /// Its slug.
    pub slug: String,
    /// US cents a month.
    pub monthly_cents: u64,
    /// Regions that have it.
    pub regions: Vec<String>,
    /// Offered at all.
    pub available: bool,
    /// Disk, GB.
    pub disk_gb: u64,
}

/// A base image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// Its slug.
    pub slug: String,
    /// Regions that have it.
    pub regions: Vec<String>,
    /// Smallest disk it fits, GB.
    pub min_disk_gb: u64,
}

/// The account's limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Most droplets at a time.
    pub droplet_limit: u64,
    /// Most reserved IPs at a time.
    pub reserved_ip_limit: u64,
}

/// What is left of the token's request allowance, from the newest answer's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestAllowance {
    /// Requests allowed an hour.
    pub limit: u64,
    /// Requests left in this hour's window.
    pub remaining: u64,
}

/// What went wrong, by what a caller can do about it. `request_id` and the service's own words are in `detail`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// 401: the token is missing, wrong or revoked. Final; nothing else will work either.
    #[error("the API refused the token (401): {detail}")]
    Unauthorized {
        /// The service's words and request id.
        detail: String,
    },
    /// 403: the token may not do this, or the state of the object forbids it.
    #[error("the API refused {request} (403): {detail}")]
    Forbidden {
        /// Method and path.
        request: String,
        /// The service's words and request id.
        detail: String,
    },
    /// 404. Right after a create it can mean "not yet".
    #[error("{object} was not found")]
    NotFound {
        /// What was asked for.
        object: String,
    },
    /// 409 or 412: taken, or still in use.
    #[error("{request} conflicts with the present state: {detail}")]
    Conflict {
        /// Method and path.
        request: String,
        /// The service's words and request id.
        detail: String,
    },
    /// 422 with a pending event: an earlier event still holds the droplet or the address. Wait and try again.
    #[error("{request} has to wait for an earlier event: {detail}")]
    Pending {
        /// Method and path.
        request: String,
        /// The service's words and request id.
        detail: String,
    },
    /// 422 because a limit of the account is reached.
    #[error("{request} is beyond a limit of the account: {detail}")]
    LimitReached {
        /// Method and path.
        request: String,
        /// The service's words and request id.
        detail: String,
    },
    /// 400 or 422 for any other reason. Final.
    #[error("{request} is not acceptable to the API: {detail}")]
    Invalid {
        /// Method and path.
        request: String,
        /// The service's words and request id.
        detail: String,
    },
    /// 429 for longer than the client waits.
    #[error("the API's request limit is used up: {detail}")]
    RateLimited {
        /// What is left and when it comes back.
        detail: String,
    },
    /// The request was sent and no usable answer came: it may or may not have been done. Look before anything else.
    #[error("no usable answer to {request}: it may or may not have been done: {detail}")]
    Unknown {
        /// Method and path.
        request: String,
        /// What was seen instead of an answer.
        detail: String,
    },
    /// The API could not be reached or kept failing; nothing was done by this request.
    #[error("the API cannot be reached at {endpoint}: {detail}")]
    Unavailable {
        /// The base URL.
        endpoint: String,
        /// What was tried and seen.
        detail: String,
    },
    /// The answer does not have the form the API promises.
    #[error("the answer to {request} cannot be read: {detail}")]
    Malformed {
        /// Method and path.
        request: String,
        /// Where and why.
        detail: String,
    },
}

/// One account of the cloud.
///
/// Reads may be repeated by the implementation as it likes. A changing request is sent again by the implementation
/// only if it certainly was not processed (connection refused, 429) or if sending twice is harmless (delete, whole
/// update, tagging); every other doubt is [`CloudError::Unknown`].
#[async_trait]
pub trait Cloud: Send + Sync {
    /// All droplets with the tag, every page, each id once. May lag behind a create by some seconds.
    async fn droplets_by_tag(&self, tag: &str) -> Result<Vec<Droplet>, CloudError>;
    /// One droplet. `NotFound` may mean "not yet" right after its create.
    async fn droplet(&self, id: DropletId) -> Result<Droplet, CloudError>;
    /// Creates one to ten droplets in one request; they boot afterwards. Never re-sent: after `Unknown` look for a tag.
    async fn create_droplets(&self, create: &DropletCreate) -> Result<Vec<Droplet>, CloudError>;
    /// Deletes a droplet; it ends later (poll until `NotFound`). An absent droplet is success. Reserved IPs survive.
    async fn delete_droplet(&self, id: DropletId) -> Result<(), CloudError>;
    /// Creates the tag if need be and puts it on the droplets. Harmless twice. Resolves the account's spelling first.
    async fn tag_droplets(&self, tag: &str, ids: &[DropletId]) -> Result<(), CloudError>;
    /// Takes the tag off the droplets. Harmless twice; a missing tag is success.
    async fn untag_droplets(&self, tag: &str, ids: &[DropletId]) -> Result<(), CloudError>;
    /// Deletes a tag, thereby taking it off everything. Harmless twice.
    async fn delete_tag(&self, tag: &str) -> Result<(), CloudError>;

    /// All reserved IPs of the account.
    async fn reserved_ips(&self) -> Result<Vec<ReservedIp>, CloudError>;
    /// One reserved IP.
    async fn reserved_ip(&self, ip: Ipv4Addr) -> Result<ReservedIp, CloudError>;
    /// Reserves an address for the droplet; the assignment ends later. Never re-sent: after `Unknown` look which
    /// address points to the droplet.
    async fn create_reserved_ip(&self, droplet: DropletId) -> Result<ReservedIp, CloudError>;
    /// Moves the address to the droplet; there is no gap of its own. Read the address back for the outcome.
    async fn assign_reserved_ip(
        &self,
        ip: Ipv4Addr,
        droplet: DropletId,
    ) -> Result<Action, CloudError>;
    /// An action on an address. `NotFound` says nothing about the outcome.
    async fn reserved_ip_action(
        &self,
        ip: Ipv4Addr,
        action: ActionId,
    ) -> Result<Action, CloudError>;
    /// Gives the address back. An absent address is success.
    async fn delete_reserved_ip(&self, ip: Ipv4Addr) -> Result<(), CloudError>;

    /// All records of a zone, every page; `NotFound` if the account has no such zone.
    async fn dns_records(&self, zone: &str) -> Result<Vec<DnsRecord>, CloudError>;
    /// Creates a zone. A zone that exists is `Conflict` or `Invalid`; after `Unknown` list its records.
    async fn create_zone(&self, zone: &str) -> Result<(), CloudError>;
    /// Deletes a zone with all its records. An absent zone is success.
    async fn delete_zone(&self, zone: &str) -> Result<(), CloudError>;
    /// Creates a record. The service accepts duplicates: after `Unknown` list and compare.
    async fn create_dns_record(
        &self,
        zone: &str,
        record: &DnsRecordWrite,
    ) -> Result<DnsRecord, CloudError>;
    /// Replaces a record. Harmless twice.
    async fn update_dns_record(
        &self,
        zone: &str,
        id: RecordId,
        record: &DnsRecordWrite,
    ) -> Result<DnsRecord, CloudError>;
    /// Deletes a record. An absent record is success.
    async fn delete_dns_record(&self, zone: &str, id: RecordId) -> Result<(), CloudError>;

    /// The account's key with this fingerprint.
    async fn ssh_key(&self, fingerprint: &str) -> Result<SshKey, CloudError>;
    /// Adds a key. Key material that is already there is `Invalid`: then find it by fingerprint.
    async fn create_ssh_key(&self, name: &str, public_key: &str) -> Result<SshKey, CloudError>;
    /// Removes a key. An absent key is success.
    async fn delete_ssh_key(&self, id: SshKeyId) -> Result<(), CloudError>;

    /// All sizes on offer.
    async fn sizes(&self) -> Result<Vec<Size>, CloudError>;
    /// A base image by slug; `NotFound` if there is none.
    async fn base_image(&self, slug: &str) -> Result<BaseImage, CloudError>;
    /// The account and its limits.
    async fn account(&self) -> Result<Account, CloudError>;

    /// What the newest answer said about the request allowance; no request.
    fn allowance(&self) -> Option<RequestAllowance>;
    /// How many requests were sent so far, for summaries and budgets.
    fn requests_sent(&self) -> u64;
}

//! The things in answers, with the fields that are used.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::Item;

/// A droplet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct Droplet {
    pub id: u64,
    pub name: String,
    pub status: DropletStatus,
    #[serde(default)]
    pub locked: bool,
    #[serde(default)]
    pub size_slug: String,
    pub region: Option<Slug>,
    /// Absent without `image:read`.
    pub image: Option<Slug>,
    #[serde(default)]
    pub networks: Networks,
    /// Absent without `tag:read`.
    pub tags: Option<Vec<String>>,
    pub created_at: Timestamp,
}

/// Words for a droplet's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words are the API's own")]
pub enum DropletStatus {
    New,
    Active,
    Off,
    Archive,
    /// A word that is newer than this program.
    #[serde(other)]
    Other,
}

/// A thing of which only the slug is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct Slug {
    pub slug: Option<String>,
}

/// A thing of which only the id is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct Id {
    pub id: u64,
}

/// A droplet's addresses. Their order is not promised.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
#[serde(default)]
pub struct Networks {
    pub v4: Vec<Address>,
}

/// One address of a droplet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct Address {
    pub ip_address: String,
    #[serde(rename = "type")]
    pub kind: String,
}

/// A tag, of which the spelling matters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct Tag {
    pub name: String,
}

/// A reserved IP.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct ReservedIp {
    pub ip: std::net::Ipv4Addr,
    pub region: Option<Slug>,
    /// `None` if it was left out (the token lacks `droplet:read`), `Some(None)` if it points nowhere.
    #[serde(default, deserialize_with = "present")]
    pub droplet: Option<Option<Id>>,
    #[serde(default)]
    pub locked: bool,
}

/// An action.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct Action {
    pub id: u64,
    pub status: ActionStatus,
    #[serde(rename = "type", default)]
    pub kind: String,
}

/// Words for an action's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the words are the API's own")]
pub enum ActionStatus {
    InProgress,
    /// Also `done`, which was seen in 2021.
    #[serde(alias = "done")]
    Completed,
    Errored,
    /// A word that is newer than this program.
    #[serde(other)]
    Other,
}

/// A DNS record.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct DomainRecord {
    pub id: u64,
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    pub data: String,
    pub ttl: u32,
}

/// An SSH key of the account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct SshKey {
    pub id: u64,
    pub name: String,
    pub fingerprint: String,
    pub public_key: String,
}

/// A size on offer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct Size {
    pub slug: String,
    pub price_monthly: f64,
    pub regions: Vec<String>,
    pub available: bool,
    pub disk: u64,
}

/// An image. A public one has a slug.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct Image {
    pub id: u64,
    pub slug: Option<String>,
    #[serde(default)]
    pub regions: Vec<String>,
    #[serde(default)]
    pub min_disk_size: Option<u64>,
}

/// The account. Each limit is left out if the token lacks its scope.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct Account {
    pub droplet_limit: Option<u64>,
    pub floating_ip_limit: Option<u64>,
}

/// Keeps `null` apart from absence.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Root keys and ids.
macro_rules! items {
    ($($item:ty: $one:literal, $many:literal, $id:ident: $id_type:ty;)*) => {$(
        impl Item for $item {
            const ONE: &'static str = $one;
            const MANY: &'static str = $many;
            type Id = $id_type;
            fn id(&self) -> $id_type {
                self.$id.clone()
            }
        }
    )*};
}

items! {
    Droplet: "droplet", "droplets", id: u64;
    Tag: "tag", "tags", name: String;
    ReservedIp: "reserved_ip", "reserved_ips", ip: std::net::Ipv4Addr;
    Action: "action", "actions", id: u64;
    DomainRecord: "domain_record", "domain_records", id: u64;
    SshKey: "ssh_key", "ssh_keys", id: u64;
    Size: "size", "sizes", slug: String;
    Image: "image", "images", id: u64;
}

impl Item for Account {
    const ONE: &'static str = "account";
    const MANY: &'static str = "accounts";
    type Id = ();
    fn id(&self) {}
}

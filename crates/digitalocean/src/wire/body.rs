//! Bodies of requests.

use seachange_core::cloud::DropletId;
use seachange_core::secret::Secret;
use serde::{Serialize, Serializer};

/// Any body that this client sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Body {
    /// `POST /v2/droplets`
    DropletCreate(DropletCreate),
    /// `POST /v2/tags`
    TagCreate(TagCreate),
    /// `POST` and `DELETE /v2/tags/T/resources`
    TagResources(TagResources),
    /// `POST /v2/reserved_ips`
    ReservedIpCreate(ReservedIpCreate),
    /// `POST /v2/reserved_ips/IP/actions`
    Assign(Assign),
    /// `POST /v2/domains`
    DomainCreate(DomainCreate),
    /// `POST /v2/domains/ZONE/records` and `PUT …/ID`
    DomainRecord(DomainRecordWrite),
    /// `POST /v2/account/keys`
    SshKeyCreate(SshKeyCreate),
}

/// New droplets: either `name` or `names`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct DropletCreate {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    pub region: String,
    pub size: String,
    pub image: String,
    pub ssh_keys: Vec<String>,
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    pub user_data: Option<Secret>,
}

/// A secret serialises itself nowhere else.
fn exposed<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(Secret::expose).serialize(serializer)
}

/// A new tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct TagCreate {
    pub name: String,
}

/// What gets or loses a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct TagResources {
    pub resources: Vec<Resource>,
}

/// One thing that can be tagged. Its id is a text here, whatever it is elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct Resource {
    pub resource_id: String,
    pub resource_type: &'static str,
}

impl Resource {
    /// A droplet.
    pub fn droplet(id: DropletId) -> Self {
        Self { resource_id: id.to_string(), resource_type: "droplet" }
    }
}

/// A new reserved IP, for a droplet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct ReservedIpCreate {
    pub droplet_id: u64,
}

/// An address's move to a droplet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct Assign {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub droplet_id: u64,
}

/// A new zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct DomainCreate {
    pub name: String,
}

/// A whole record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct DomainRecordWrite {
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    pub data: String,
    pub ttl: u32,
}

/// A new SSH key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are the API's own")]
pub struct SshKeyCreate {
    pub name: String,
    pub public_key: String,
}

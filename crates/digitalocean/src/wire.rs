//! What goes over the wire, as the API spells it: answers here and in [`envelope`], bodies of requests in [`body`].
//!
//! Only the fields that are used are read, straight from the bytes. Unknown keys are skipped and unknown words of an
//! enumeration are kept apart, since the service adds both. Domain types are made of these in `convert`.

pub mod body;
pub mod envelope;
pub mod resource;

pub use body::{
    Assign, Body, DomainCreate, DomainRecordWrite, DropletCreate, ReservedIpCreate, Resource,
    SshKeyCreate, TagCreate, TagResources,
};
pub use envelope::{Envelope, Item};
pub use resource::{
    Account, Action, ActionStatus, Address, DomainRecord, Droplet, DropletStatus, Id, Image,
    Networks, ReservedIp, Size, Slug, SshKey, Tag,
};

/// An answer whose content does not matter, empty or not.
pub type Nothing = serde::de::IgnoredAny;

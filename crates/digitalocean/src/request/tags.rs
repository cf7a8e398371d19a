//! Requests about tags. In a URL a tag must have the account's own spelling.

use seachange_core::cloud::DropletId;

use super::{Class, Method, Request, segment};
use crate::wire::{self, Body, Envelope};

/// One page of all tags of the account.
pub fn page(number: u64) -> Request<Envelope<wire::Tag>> {
    Request::page("/v2/tags".to_owned(), number, "the account's tags".to_owned())
}

/// Creates a tag, or gets the one that is there; the answer has its spelling. Twice is harmless.
pub fn create(tag: &str) -> Request<Envelope<wire::Tag>> {
    Request::new(Method::POST, Class::Repeatable, "/v2/tags".to_owned(), format!("tag `{tag}`"))
        .sending(Body::TagCreate(wire::TagCreate { name: tag.to_owned() }))
}

/// Puts a tag on droplets. Twice is harmless.
pub fn tag(tag: &str, ids: &[DropletId]) -> Request<wire::Nothing> {
    resources(Method::POST, tag, ids)
}

/// Takes a tag off droplets. Twice is harmless.
pub fn untag(tag: &str, ids: &[DropletId]) -> Request<wire::Nothing> {
    resources(Method::DELETE, tag, ids)
}

/// Deletes a tag, thereby taking it off everything.
pub fn delete(tag: &str) -> Request<wire::Nothing> {
    Request::delete(format!("/v2/tags/{}", segment(tag)), format!("tag `{tag}`"))
}

fn resources(method: Method, tag: &str, ids: &[DropletId]) -> Request<wire::Nothing> {
    let list = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let path = format!("/v2/tags/{}/resources", segment(tag));
    let object = format!("tag `{tag}` or droplet {list}");
    Request::new(method, Class::Repeatable, path, object).sending(Body::TagResources(
        wire::TagResources {
            resources: ids.iter().map(|id| wire::Resource::droplet(*id)).collect(),
        },
    ))
}

//! Requests about droplets.

use seachange_core::cloud::{DropletCreate, DropletId};

use super::{Class, Method, Request};
use crate::wire::{self, Body, Envelope};

/// One page of the droplets with a tag.
pub fn page_by_tag(tag: &str, number: u64) -> Request<Envelope<wire::Droplet>> {
    Request::page("/v2/droplets".to_owned(), number, format!("the droplets tagged `{tag}`"))
        .with("tag_name", tag.to_owned())
}

/// One droplet.
pub fn get(id: DropletId) -> Request<Envelope<wire::Droplet>> {
    Request::get(format!("/v2/droplets/{id}"), format!("droplet {id}"))
}

/// Creates one to ten droplets. One is sent as `name`, more as `names`; both at once are refused by the service.
pub fn create(create: &DropletCreate) -> Request<Envelope<wire::Droplet>> {
    let (name, names) = match create.names.as_slice() {
        [one] => (Some(one.clone()), Vec::new()),
        more => (None, more.to_vec()),
    };
    let object = format!("what droplet `{}` needs", create.names.join("`, `"));
    Request::new(Method::POST, Class::Once, "/v2/droplets".to_owned(), object).sending(
        Body::DropletCreate(wire::DropletCreate {
            name,
            names,
            region: create.region.clone(),
            size: create.size.clone(),
            image: create.image.clone(),
            ssh_keys: create.ssh_keys.clone(),
            tags: create.tags.clone(),
            user_data: create.user_data.clone(),
        }),
    )
}

/// Deletes one droplet.
pub fn delete(id: DropletId) -> Request<wire::Nothing> {
    Request::delete(format!("/v2/droplets/{id}"), format!("droplet {id}"))
}

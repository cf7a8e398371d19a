//! Requests about the account: its limits, its keys, and what is on offer.

use seachange_core::cloud::SshKeyId;

use super::{Class, Method, Request, segment};
use crate::wire::{self, Body, Envelope};

/// The account and its limits.
pub fn get() -> Request<Envelope<wire::Account>> {
    Request::get("/v2/account".to_owned(), "the account".to_owned())
}

/// The key with a fingerprint. Listing keys has a limit of its own, ten a minute; this has not.
pub fn ssh_key(fingerprint: &str) -> Request<Envelope<wire::SshKey>> {
    let path = format!("/v2/account/keys/{}", segment(fingerprint));
    Request::get(path, format!("SSH key {fingerprint}"))
}

/// Adds a key.
pub fn create_ssh_key(name: &str, public_key: &str) -> Request<Envelope<wire::SshKey>> {
    let (path, object) = ("/v2/account/keys".to_owned(), format!("SSH key `{name}`"));
    Request::new(Method::POST, Class::Once, path, object).sending(Body::SshKeyCreate(
        wire::SshKeyCreate { name: name.to_owned(), public_key: public_key.to_owned() },
    ))
}

/// Removes a key.
pub fn delete_ssh_key(id: SshKeyId) -> Request<wire::Nothing> {
    Request::delete(format!("/v2/account/keys/{}", id.0), format!("SSH key {}", id.0))
}

/// One page of the sizes on offer.
pub fn sizes_page(number: u64) -> Request<Envelope<wire::Size>> {
    Request::page("/v2/sizes".to_owned(), number, "the sizes on offer".to_owned())
}

/// A base image by slug.
pub fn image(slug: &str) -> Request<Envelope<wire::Image>> {
    Request::get(format!("/v2/images/{}", segment(slug)), format!("image `{slug}`"))
}

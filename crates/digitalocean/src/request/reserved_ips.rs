//! Requests about reserved IPs.

use std::net::Ipv4Addr;

use seachange_core::cloud::{ActionId, DropletId};

use super::{Class, Method, Request};
use crate::wire::{self, Body, Envelope};

/// One page of all reserved IPs of the account.
pub fn page(number: u64) -> Request<Envelope<wire::ReservedIp>> {
    Request::page("/v2/reserved_ips".to_owned(), number, "the account's reserved IPs".to_owned())
}

/// One reserved IP.
pub fn get(ip: Ipv4Addr) -> Request<Envelope<wire::ReservedIp>> {
    Request::get(format!("/v2/reserved_ips/{ip}"), format!("reserved IP {ip}"))
}

/// Reserves an address for a droplet.
pub fn create(droplet: DropletId) -> Request<Envelope<wire::ReservedIp>> {
    let object = format!("droplet {droplet}");
    Request::new(Method::POST, Class::Once, "/v2/reserved_ips".to_owned(), object)
        .sending(Body::ReservedIpCreate(wire::ReservedIpCreate { droplet_id: droplet.0 }))
}

/// Moves the address to a droplet.
pub fn assign(ip: Ipv4Addr, droplet: DropletId) -> Request<Envelope<wire::Action>> {
    let path = format!("/v2/reserved_ips/{ip}/actions");
    let object = format!("reserved IP {ip} or droplet {droplet}");
    Request::new(Method::POST, Class::Once, path, object)
        .sending(Body::Assign(wire::Assign { kind: "assign", droplet_id: droplet.0 }))
}

/// One action on the address.
pub fn action(ip: Ipv4Addr, action: ActionId) -> Request<Envelope<wire::Action>> {
    let path = format!("/v2/reserved_ips/{ip}/actions/{}", action.0);
    Request::get(path, format!("action {} of reserved IP {ip}", action.0))
}

/// Gives the address back.
pub fn delete(ip: Ipv4Addr) -> Request<wire::Nothing> {
    Request::delete(format!("/v2/reserved_ips/{ip}"), format!("reserved IP {ip}"))
}

//! Reserved IPs, once "floating IPs": one store behind both families of paths.

use std::net::Ipv4Addr;

use seachange_core::cloud::DropletId;
use serde::{Deserialize, Serialize};

use super::droplets::{Action, Subject};
use super::refusal::{Answer, Refusal};
use super::{Inner, World, catalogue};

/// A reserved IP.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reserved {
    /// The address.
    pub ip: Ipv4Addr,
    /// Region slug.
    pub region: String,
    /// Where it points; changes when an action ends.
    pub droplet: Option<DropletId>,
}

impl World {
    /// Reserves an address for a droplet (an action assigns it) or for a region.
    pub(crate) fn reserve(
        &self,
        droplet: Option<DropletId>,
        region: Option<&str>,
    ) -> Answer<(Reserved, Option<Action>)> {
        self.act(|inner, _| {
            let region = match (droplet, region) {
                (Some(droplet), None) => inner.assignable(droplet, None)?,
                (None, Some(region)) if catalogue::REGIONS.contains(&region) => region.to_owned(),
                (None, Some(_)) => return Err(Refusal::unprocessable("Region is not available")),
                _ => {
                    return Err(Refusal::unprocessable(
                        "Exactly one of droplet_id and region is needed.",
                    ));
                }
            };
            if inner.resources.reserved.len() as u64 >= inner.config.limits.reserved_ips {
                return Err(Refusal::unprocessable(
                    "You have reached the reserved IP limit of your account.",
                ));
            }
            let ip = inner.free_address();
            let reserved = Reserved { ip, region, droplet: None };
            inner.resources.reserved.insert(ip, reserved.clone());
            let action = droplet.map(|droplet| {
                inner.begin_action("assign_ip", Subject::Address(ip), Some(droplet))
            });
            inner.changed();
            Ok((reserved, action))
        })
    }

    /// All of them, with whether an event holds each.
    pub(crate) fn reserved_ips(&self) -> Vec<(Reserved, bool)> {
        self.act(|inner, _| {
            let locked = |reserved: &Reserved| inner.busy(Subject::Address(reserved.ip));
            inner
                .resources
                .reserved
                .values()
                .map(|reserved| (reserved.clone(), locked(reserved)))
                .collect()
        })
    }

    /// One of them.
    pub(crate) fn reserved_ip(&self, ip: Ipv4Addr) -> Answer<(Reserved, bool)> {
        let found = self.reserved_ips().into_iter().find(|(reserved, _)| reserved.ip == ip);
        found.ok_or_else(Refusal::not_found)
    }

    /// Moves it to a droplet, or to nothing.
    pub(crate) fn move_reserved_ip(
        &self,
        ip: Ipv4Addr,
        droplet: Option<DropletId>,
    ) -> Answer<Action> {
        self.act(|inner, _| {
            let reserved = inner.resources.reserved.get(&ip).ok_or_else(Refusal::not_found)?;
            let unassigned = reserved.droplet.is_none();
            if inner.busy(Subject::Address(ip)) {
                return Err(Refusal::pending("Floating IP"));
            }
            let kind = match droplet {
                Some(droplet) => {
                    inner.assignable(droplet, Some(ip))?;
                    "assign_ip"
                }
                None if unassigned => {
                    return Err(Refusal::unprocessable("The floating IP is not assigned."));
                }
                None => "unassign_ip",
            };
            Ok(inner.begin_action(kind, Subject::Address(ip), droplet))
        })
    }

    /// Gives it back.
    pub(crate) fn release(&self, ip: Ipv4Addr) -> Answer<()> {
        self.act(|inner, _| {
            if inner.busy(Subject::Address(ip)) {
                return Err(Refusal::pending("Floating IP"));
            }
            inner.resources.reserved.remove(&ip).ok_or_else(Refusal::not_found)?;
            inner.changed();
            Ok(())
        })
    }
}

impl Inner {
    /// The droplet's region, if an address may be assigned to it now.
    fn assignable(&self, droplet: DropletId, ip: Option<Ipv4Addr>) -> Answer<String> {
        let found = self.resources.droplets.get(&droplet).ok_or_else(Refusal::not_found)?;
        if self.busy(Subject::Droplet(droplet)) {
            return Err(Refusal::pending("Droplet"));
        }
        let taken = self
            .resources
            .reserved
            .values()
            .any(|other| other.droplet == Some(droplet) && Some(other.ip) != ip);
        if taken {
            return Err(Refusal::unprocessable("The Droplet already has a floating IP."));
        }
        let elsewhere = ip
            .and_then(|ip| self.resources.reserved.get(&ip))
            .is_some_and(|reserved| reserved.region != found.region);
        if elsewhere {
            return Err(Refusal::unprocessable("The Droplet is in another region."));
        }
        Ok(found.region.clone())
    }

    /// Carries a move out at its end; whether it could be.
    pub(super) fn end_move(&mut self, ip: Ipv4Addr, kind: &str, to: Option<DropletId>) -> bool {
        let there = to.is_some_and(|droplet| self.resources.droplets.contains_key(&droplet));
        let Some(reserved) = self.resources.reserved.get_mut(&ip) else { return false };
        match kind {
            "assign_ip" if there => reserved.droplet = to,
            "unassign_ip" => reserved.droplet = None,
            _ => return false,
        }
        true
    }

    fn free_address(&self) -> Ipv4Addr {
        let (a, b) = self.config.block;
        let base = u32::from(Ipv4Addr::new(127, a, b.wrapping_add(128), 10));
        let free = (0..)
            .map(|place| Ipv4Addr::from(base + place))
            .find(|ip| !self.resources.reserved.contains_key(ip));
        free.unwrap_or(Ipv4Addr::LOCALHOST)
    }
}

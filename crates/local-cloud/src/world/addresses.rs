//! Reserved IPs, once "floating IPs": one store behind both families of paths.

use std::net::Ipv4Addr;

use seachange_core::cloud::DropletId;
use serde::{Deserialize, Serialize};

use super::droplets::{Action, Effect, Progress, Subject};
use super::refusal::{Answer, Refusal};
use super::{Inner, World, catalogue};
use crate::fault::{Wrong, is_at_work};

/// How many reserved IPs a block has room for: more than any account may have.
const ADDRESSES: u32 = 2_000;

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
                return Err(Refusal::limit(
                    "You have reached the reserved IP limit of your account.",
                ));
            }
            let ip = inner.free_address();
            let reserved = Reserved { ip, region, droplet: None };
            inner.resources.reserved.insert(ip, reserved.clone());
            let action = droplet.map(|droplet| {
                let effect = Effect::PointTo(Some(droplet));
                inner.begin_action("assign_ip", Subject::Address(ip), effect)
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
            Ok(inner.begin_action(kind, Subject::Address(ip), Effect::PointTo(droplet)))
        })
    }

    /// Gives it back.
    pub(crate) fn release(&self, ip: Ipv4Addr) -> Answer<()> {
        self.act(|inner, _| {
            if inner.busy(Subject::Address(ip)) {
                return Err(Refusal::pending("Floating IP"));
            }
            if !inner.resources.reserved.contains_key(&ip) {
                return Err(Refusal::not_found());
            }
            if !is_at_work(Wrong::Forget) {
                inner.resources.reserved.remove(&ip);
                inner.changed();
            }
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
        let points = |other: &Reserved| {
            let coming = self.coming_to(other.ip);
            Some(other.ip) != ip && [other.droplet, coming].contains(&Some(droplet))
        };
        if self.resources.reserved.values().any(points) {
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

    /// Where the address will point when what is under way on it ends.
    fn coming_to(&self, ip: Ipv4Addr) -> Option<DropletId> {
        let on = Subject::Address(ip);
        self.under_way.get(&on)?;
        let actions = self.resources.actions.values().rev();
        actions.filter(|action| action.on == on).find_map(|action| match action.effect {
            Effect::PointTo(droplet) if action.status == Progress::InProgress => droplet,
            _ => None,
        })
    }

    /// Carries a move out at its end; whether it could be.
    pub(super) fn end_move(&mut self, ip: Ipv4Addr, to: Option<DropletId>) -> bool {
        let there = to.is_none_or(|droplet| self.resources.droplets.contains_key(&droplet));
        match self.resources.reserved.get_mut(&ip) {
            Some(reserved) if there => {
                reserved.droplet = to;
                true
            }
            Some(_) | None => false,
        }
    }

    /// The next address of the block that nobody has; one that was given back comes again only when all were used.
    fn free_address(&mut self) -> Ipv4Addr {
        let base = u32::from(self.config.addresses.reserved);
        loop {
            let ip = Ipv4Addr::from(base + self.resources.next_address);
            self.resources.next_address = (self.resources.next_address + 1) % ADDRESSES;
            if !self.resources.reserved.contains_key(&ip) {
                return ip;
            }
        }
    }
}

//! From effects to the functions that bring them about, one subject a module.

pub(crate) mod dns;
pub(crate) mod droplets;
pub(crate) mod floating_ip;
mod hosts;
pub(crate) mod keys;
mod load_balancer;
pub(crate) mod tags;

use std::time::Duration;

use seachange_core::address::Address;
use seachange_core::event::Outcome;
use seachange_core::journal::Change;
use seachange_core::plan::Effect;

use crate::release;
use crate::step::{Done, Step, Trouble};

/// Brings an effect about.
pub(crate) async fn perform(step: &mut Step<'_>, effect: &Effect) -> Result<Done, Trouble> {
    match effect {
        Effect::Adopt { address, resource } => {
            let change = Change::Put { address: address.clone(), resource: resource.clone() };
            step.learn(vec![change]).await?;
            Ok((Outcome::Adopted, "in the state now".to_owned()))
        }
        Effect::Forget { address } => {
            step.learn(vec![Change::Remove { address: address.clone() }]).await?;
            Ok((Outcome::Removed, "from the state only".to_owned()))
        }
        Effect::CreateSshKey { name, public_key, fingerprint } => {
            keys::create(step, name, public_key, fingerprint).await
        }
        Effect::CreateDroplets { addresses, template } => {
            droplets::create(step, addresses, template).await
        }
        Effect::PrepareHost { address } => hosts::prepare(step, address).await,
        Effect::ReserveFloatingIp { worker } => floating_ip::reserve(step, *worker).await,
        Effect::AssignFloatingIp { worker } => floating_ip::assign(step, *worker).await,
        Effect::CreateZone { zone } => dns::create_zone(step, zone).await,
        Effect::WriteRecord { name, zone, ttl, data, id } => {
            dns::write_record(step, &dns::Wanted { name, zone, ttl: *ttl, data }, *id).await
        }
        Effect::ConfigureLoadBalancer { listen, port } => {
            load_balancer::configure(step, *listen, *port).await
        }
        Effect::Retag => tags::retag(step).await,
        Effect::Warm { worker, image, digest, config, settings } => {
            let what =
                release::stage::Candidate { worker: *worker, image, digest, config, settings };
            release::warm(step, &what).await
        }
        Effect::Release => release::run(step).await,
        Effect::OutliveDns { seconds } => {
            let pause = Duration::from_secs((*seconds).into());
            let stop = &step.run.context.stop;
            step.slot.lend(crate::pace::sleep(pause, Some(stop))).await?;
            Ok((Outcome::AlreadySo, format!("{seconds} s have passed")))
        }
        Effect::DeleteDroplet { address, droplet } => {
            droplets::delete(step, address, *droplet).await
        }
        Effect::DeleteFloatingIp { ip } => floating_ip::delete(step, *ip).await,
        Effect::DeleteRecord { name, zone, id } => dns::delete_record(step, name, zone, *id).await,
        Effect::DeleteZone { zone } => dns::delete_zone(step, zone).await,
        Effect::DeleteSshKey { name, id } => keys::delete(step, name, *id).await,
        Effect::DeleteTags { tags } => tags::delete(step, tags).await,
    }
}

/// What an effect is about, and what it begins with, in a few words.
pub(crate) fn about(effect: &Effect) -> (Vec<Address>, String) {
    let (addresses, what) = match effect {
        Effect::Adopt { address, .. } => (vec![address.clone()], "taking it into the state"),
        Effect::Forget { address } => (vec![address.clone()], "dropping it from the state"),
        Effect::CreateSshKey { name, .. } => (vec![Address::SshKey(name.clone())], "creating"),
        Effect::CreateDroplets { addresses, .. } => (addresses.clone(), "creating"),
        Effect::PrepareHost { address } => (vec![address.clone()], "waiting for the first boot"),
        Effect::ReserveFloatingIp { .. } => (vec![Address::FloatingIp], "reserving"),
        Effect::AssignFloatingIp { worker } => {
            return (vec![Address::FloatingIp], format!("moving to {}", Address::Worker(*worker)));
        }
        Effect::CreateZone { zone } => (vec![Address::Domain(zone.clone())], "creating"),
        Effect::WriteRecord { name, .. } => (vec![Address::Record(name.clone())], "writing"),
        Effect::ConfigureLoadBalancer { .. } => (vec![Address::LoadBalancer], "configuring"),
        Effect::Retag => (
            vec![
                Address::Tag(seachange_core::names::PROD.to_owned()),
                Address::Tag(seachange_core::names::FALLBACK.to_owned()),
            ],
            "making them follow the floating IP",
        ),
        Effect::Warm { worker, digest, .. } => {
            return (
                vec![Address::Worker(*worker)],
                format!("putting {} on it, off line", digest.short()),
            );
        }
        Effect::Release => (vec![Address::Release], "releasing"),
        Effect::OutliveDns { seconds } => {
            return (Vec::new(), format!("waiting {seconds} s for cached DNS answers to run out"));
        }
        Effect::DeleteDroplet { address, .. } => (vec![address.clone()], "deleting"),
        Effect::DeleteFloatingIp { .. } => (vec![Address::FloatingIp], "giving it back"),
        Effect::DeleteRecord { name, .. } => (vec![Address::Record(name.clone())], "deleting"),
        Effect::DeleteZone { zone } => (vec![Address::Domain(zone.clone())], "deleting"),
        Effect::DeleteSshKey { name, .. } => (vec![Address::SshKey(name.clone())], "deleting"),
        Effect::DeleteTags { tags } => {
            (tags.iter().cloned().map(Address::Tag).collect(), "deleting")
        }
    };
    (addresses, what.to_owned())
}

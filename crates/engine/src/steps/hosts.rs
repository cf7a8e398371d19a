//! The first contact with a droplet: its host key is pinned, and its first boot waited for.

use seachange_core::address::Address;
use seachange_core::event::Outcome;
use seachange_core::host::{Boot, HostError, Service};

use super::droplets;
use crate::pace::Cut;
use crate::step::{Done, Step, Trouble};

/// Waits until the droplet's first boot is over, and pins the key it shows.
pub(crate) async fn prepare(step: &mut Step<'_>, address: &Address) -> Result<Done, Trouble> {
    let host = step.host()?;
    let service =
        if *address == Address::LoadBalancer { Service::Haproxy } else { Service::Docker };
    let mut target = droplets::reached(step, address).await?;
    if target.host_key.is_none() {
        // Addresses are used again: a connection to the droplet that had it before must not be taken for this one.
        host.forget(target.address).await;
    }
    let pace = step.pace(step.run.context.patience.ready);
    let mut seen = String::new();
    loop {
        let now = match host.contact(&target, service).await {
            Ok(contact) => {
                target.host_key = Some(contact.host_key);
                match contact.boot {
                    Boot::Ready => break,
                    Boot::Running { detail } => format!("first boot: {detail}"),
                    Boot::Failed { detail } => {
                        return Err(Trouble::Missing(format!("its first boot failed: {detail}")));
                    }
                }
            }
            // A droplet that boots refuses for a while, and closes connections in the middle of a handshake.
            Err(HostError::Unreachable { .. }) => "waiting for SSH".to_owned(),
            Err(error) => return Err(error.into()),
        };
        if now != seen {
            step.does(now.clone());
            seen = now;
        }
        match step.slot.lend(pace.pause()).await {
            Ok(()) => {}
            Err(Cut::Elapsed(bound)) => {
                return Err(Trouble::Missing(format!(
                    "it was not ready after {} s; last seen: {seen}",
                    bound.as_secs()
                )));
            }
            Err(stopped @ Cut::Stopped) => return Err(stopped.into()),
        }
    }
    let change = step.updated(address, |known| {
        known.host_key.clone_from(&target.host_key);
        known.ready = true;
    })?;
    step.learn(vec![change]).await?;
    Ok((Outcome::Changed, format!("{} is ready", target.address)))
}

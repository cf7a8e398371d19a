//! The first contact with a droplet: its first boot is waited for, and its host key replaced by one made there.
//!
//! The key that a droplet shows at first went in by user-data, so the first contact is verified, but whoever can read
//! user-data can pretend to be the droplet. So the droplet generates a key of its own before anything secret is sent to
//! it. What is due follows from what is known and what is shown, so that a run that ended anywhere is gone on from:
//!
//! | next key written down | key shown | what is due |
//! | --- | --- | --- |
//! | no | the pinned one | generate the next one beside it, and write it down |
//! | yes | the pinned one | use the next one |
//! | yes | the next one | pin it, and forget the other |

use seachange_core::address::Address;
use seachange_core::event::Outcome;
use seachange_core::host::{Boot, Host, HostError, HostKey, Service, Target};
use seachange_core::journal::{OperationId, OperationKind};

use super::droplets;
use crate::pace::Cut;
use crate::step::{Done, Step, Trouble};

/// Waits until the droplet's first boot is over and it shows a key of its own, which is pinned.
pub(crate) async fn prepare(step: &mut Step<'_>, address: &Address) -> Result<Done, Trouble> {
    let host = step.host()?;
    let service =
        if *address == Address::LoadBalancer { Service::Haproxy } else { Service::Docker };
    let mut target = droplets::reached(step, address).await?;
    // Addresses are used again: a connection to the droplet that had it before must not be taken for this one.
    host.forget(target.address).await;
    let pace = step.pace(step.run.context.patience.ready);
    let mut seen = String::new();
    let mut begun = None;
    loop {
        let now = match look(step, address, &mut begun, host, &mut target, service).await {
            Ok(Seen::Own(key)) => {
                let change = step.updated(address, |known| {
                    known.host_key = Some(key);
                    known.next_host_key = None;
                    known.ready = true;
                })?;
                match begun {
                    Some(operation) => step.end(operation, vec![change]).await?,
                    None => step.learn(vec![change]).await?,
                }
                return Ok((Outcome::Changed, format!("{} is ready", target.address)));
            }
            Ok(Seen::Later(detail)) => detail,
            // A droplet that boots refuses for a while, and closes connections in the middle of a handshake.
            Err(Trouble::Host(HostError::Unreachable { .. })) => "waiting for SSH".to_owned(),
            Err(error) => return Err(error),
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
}

/// What one look came to.
enum Seen {
    /// The first boot is over, and the droplet shows this key of its own.
    Own(HostKey),
    /// Not yet, and what is waited for.
    Later(String),
}

/// Looks at the droplet, and does what is due.
async fn look(
    step: &mut Step<'_>,
    address: &Address,
    begun: &mut Option<OperationId>,
    host: &dyn Host,
    target: &mut Target,
    service: Service,
) -> Result<Seen, Trouble> {
    let contact = host.contact(target, service).await?;
    // From here on it is this key, or the next one.
    let pinned = target.host_key.get_or_insert_with(|| contact.host_key.clone()).clone();
    match contact.boot {
        Boot::Ready => {}
        Boot::Running { detail } => return Ok(Seen::Later(format!("first boot: {detail}"))),
        Boot::Failed { detail } => {
            return Err(Trouble::Missing(format!("its first boot failed: {detail}")));
        }
    }
    if target.next_host_key.as_ref() == Some(&contact.host_key) {
        return Ok(Seen::Own(contact.host_key));
    }
    if begun.is_none() {
        let operation = step.begin(OperationKind::Repeatable, std::slice::from_ref(address));
        *begun = Some(operation.await?);
    }
    if target.next_host_key.is_none() {
        step.run.journal.must_hold()?;
        let next = host.next_host_key(target).await?;
        let change = step.updated(address, |known| {
            known.host_key = Some(pinned);
            known.next_host_key = Some(next.clone());
        })?;
        step.learn(vec![change]).await?;
        target.next_host_key = Some(next);
    }
    step.run.journal.must_hold()?;
    host.use_next_host_key(target).await?;
    // SSH takes a moment to read its new key, and may refuse meanwhile.
    let contact = host.contact(target, service).await?;
    Ok(match target.next_host_key.as_ref() == Some(&contact.host_key) {
        true => Seen::Own(contact.host_key),
        false => Seen::Later("waiting for the new host key".to_owned()),
    })
}

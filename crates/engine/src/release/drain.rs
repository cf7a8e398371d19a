//! Users' way round the floating IP while it moves: an address that moves cuts what is under way on it, so nothing should be.
//!
//! New requests go from the load balancer straight to the worker that the address is about to point to, which has passed the
//! gate; those in flight on the address are waited for, within a bound; then the address moves, and the way round ends. Dead
//! in between, users are on a worker that was found healthy; whoever takes the release over ends the way round before anything
//! else, and so does the next run that looks at the load balancer ([`seachange_core::host::Host::detour`]).

use std::net::SocketAddrV4;

use seachange_core::address::Address;
use seachange_core::release::Transition;

use crate::pace::{Cut, Pace};
use crate::step::{Step, Trouble};

/// Takes the way round to the worker and waits until nothing is in flight on the floating IP. Answers how many requests were
/// when the wait was over; `None` without a load balancer to ask.
pub(super) async fn begin(
    step: &mut Step<'_>,
    transition: &Transition,
    worker: u32,
) -> Result<Option<u64>, Trouble> {
    if transition.from.is_none() || !has_balancer(step) {
        return Ok(None);
    }
    let host = step.host()?;
    let balancer = step.target(&Address::LoadBalancer)?;
    let worker = step.target(&Address::Worker(worker))?;
    let to = SocketAddrV4::new(worker.address, transition.settings.port);
    // Like the switch itself, it heeds no stop: it is bounded, and a stop in the middle would leave the way round taken.
    let pace = Pace::steadfast(&step.run.context.patience, transition.settings.drain);
    loop {
        let in_flight = host.detour(&balancer, Some(to)).await?;
        if in_flight == 0 {
            return Ok(Some(0));
        }
        step.does(format!("waiting for {in_flight} requests in flight on the old worker"));
        match pace.pause().await {
            Ok(()) => {}
            Err(Cut::Elapsed(_)) => return Ok(Some(in_flight)),
            Err(stopped @ Cut::Stopped) => return Err(stopped.into()),
        }
    }
}

/// Ends the way round, if there may be one. It is no reason to fail a release, and the next run sees what is left of it.
pub(super) async fn end(step: &Step<'_>) {
    if !has_balancer(step) {
        return;
    }
    let ended = match (step.host(), step.target(&Address::LoadBalancer)) {
        (Ok(host), Ok(balancer)) => host.detour(&balancer, None).await.map_err(Trouble::from),
        (Err(trouble), _) | (_, Err(trouble)) => Err(trouble),
    };
    if let Err(trouble) = ended {
        let why = step.failure(trouble).causes.join(": ");
        step.run.context.note(format!(
            "the load balancer may still send users round the floating IP: {why}; the next apply reloads it"
        ));
    }
}

/// Whether there is a load balancer that has its configuration and can be asked.
fn has_balancer(step: &Step<'_>) -> bool {
    let installed = |droplet: &seachange_core::state::Droplet| droplet.config.is_some();
    step.run.context.host.is_some()
        && step.droplet(&Address::LoadBalancer).is_ok_and(|droplet| installed(&droplet))
}

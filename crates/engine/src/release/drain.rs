//! Users' way round the floating IP while it moves: an address that moves cuts what is under way on it, so nothing should be.
//!
//! New requests go from the load balancer straight to the worker that the address is about to point to, which has passed the
//! gate; those in flight on the address are waited for, within a bound; then the address moves, and the way round ends. Dead
//! in between, users are on a worker that was found healthy, and the next run ends the way round before it plans
//! ([`mod@crate::recover`]).

use std::net::SocketAddrV4;

use seachange_core::address::Address;
use seachange_core::host::{Host, Target};
use seachange_core::release::Transition;
use seachange_core::state::State;

use crate::context::Context;
use crate::journal::Journal;
use crate::pace::{Cut, Pace};
use crate::step::{Step, Trouble, causes};

/// Takes the way round to the worker and waits until nothing is in flight on the floating IP. Answers how many requests were
/// when the wait was over; `None` without a load balancer to ask.
pub(super) async fn begin(
    step: &mut Step<'_>,
    transition: &Transition,
    worker: u32,
) -> Result<Option<u64>, Trouble> {
    let asked = step.run.journal.with(|state| balancer(step.run.context, state));
    let Some((host, balancer)) = asked.filter(|_| transition.from.is_some()) else {
        return Ok(None);
    };
    let worker = step.target(&Address::Worker(worker))?;
    let to = SocketAddrV4::new(worker.address, transition.settings.port);
    // Like the switch itself, it heeds no stop: it is bounded, and a stop in the middle would leave the way round taken.
    let pace = Pace::steadfast(&step.run.context.patience, transition.settings.drain);
    loop {
        step.run.journal.must_hold()?;
        let in_flight = host.detour(&balancer, Some(to)).await?;
        if in_flight == 0 {
            return Ok(Some(0));
        }
        step.does(format!("waiting for requests in flight on the floating IP: {in_flight} left"));
        match pace.pause().await {
            Ok(()) => {}
            Err(Cut::Elapsed(_)) => return Ok(Some(in_flight)),
            Err(stopped @ Cut::Stopped) => return Err(stopped.into()),
        }
    }
}

/// Ends the way round, if there may be one. A run that lost its lock leaves that to the one that has it.
pub(crate) async fn end(context: &Context<'_>, journal: &Journal) -> Result<(), Trouble> {
    if let Some((host, balancer)) = journal.with(|state| balancer(context, state)) {
        journal.must_hold()?;
        host.detour(&balancer, None).await?;
    }
    Ok(())
}

/// Says that it could not be ended, where it does no harm: it leads to where the address does, and the next plan sees it.
pub(crate) fn is_left(context: &Context<'_>, trouble: &Trouble) {
    let why = causes(trouble).join(": ");
    context.note(format!(
        "the load balancer may still send users round the floating IP: {why}; the next apply reloads it"
    ));
}

/// The load balancer, if there is one that has its configuration and can be asked.
fn balancer<'a>(context: &Context<'a>, state: &State) -> Option<(&'a dyn Host, Target)> {
    let droplet = state.droplet(&Address::LoadBalancer)?;
    droplet.config.as_ref()?;
    Some((context.host?, droplet.target()?))
}

//! The switch and the switch back: one assign of the floating IP, never an unassign, and its outcome read back.
//!
//! Requests in flight are waited for first ([`super::drain`]). From here on no stop is heeded. What cannot be told is not
//! guessed: the phase stays, and the next run reads where the address points.

use seachange_core::address::Address;
use seachange_core::event::Event;
use seachange_core::release::{Kind, Target, Transition};
use tokio::time::Instant;

use super::{Halt, drain};
use crate::pace::Pace;
use crate::step::{Step, Trouble, failure};
use crate::steps::floating_ip::{self, NotMoved};

/// Moves users to the new worker.
pub(super) async fn forward(step: &mut Step<'_>, transition: &Transition) -> Result<(), Halt> {
    let run = step.run;
    let began = Instant::now();
    let ip = floating_ip::ours(step).map_err(|trouble| Halt::of(step, trouble))?;
    let pace = Pace::steadfast(&run.context.patience, run.context.patience.action);
    // An assign of an earlier run may still be under way: nobody can say yet that nothing happened.
    let now = floating_ip::at_rest(step, &pace, ip).await.map_err(Halt::Unsettled)?;
    match transition.target(step.worker_of(now.droplet)) {
        Target::New => return Ok(()),
        Target::Old => {}
        Target::Other => {
            let droplet = now.droplet.map_or("nothing".to_owned(), |id| format!("droplet {id}"));
            return Err(Halt::Failed(Box::new(failure(
                Address::FloatingIp,
                "switching",
                &Trouble::Missing(format!("{ip} points to {droplet}: somebody moved it")),
                "see where users are, then plan again: seachange status",
            ))));
        }
    }
    move_to(step, transition, transition.to, began).await
}

/// Moves users back to the worker they were on. In a first release there is none. It never fails for good: users may be on
/// the old release already, by the way round, and the next run goes on from there.
pub(super) async fn back(step: &mut Step<'_>, transition: &Transition) -> Result<(), Halt> {
    match transition.from {
        Some(from) => {
            move_to(step, transition, from, Instant::now()).await.map_err(Halt::unsettled)
        }
        None => Ok(()),
    }
}

async fn move_to(
    step: &mut Step<'_>,
    transition: &Transition,
    worker: u32,
    began: Instant,
) -> Result<(), Halt> {
    let run = step.run;
    let is_back = worker != transition.to;
    let droplet = step.droplet(&Address::Worker(worker)).map(|droplet| droplet.id);
    let droplet = droplet.map_err(|trouble| Halt::of(step, trouble))?;
    let ip = floating_ip::ours(step).map_err(|trouble| Halt::of(step, trouble))?;
    match drain::begin(step, transition, worker).await {
        Ok(None | Some(0)) => {}
        Ok(Some(left)) => run.context.note(format!(
            "requests on the floating IP that took longer than {:?} are cut (deploy.drain): {left}",
            transition.settings.drain
        )),
        Err(trouble @ Trouble::Journal(_)) => return Err(Halt::Unsettled(trouble)),
        // Users are best off where they are; on the way to a release that they had before they are not.
        Err(trouble) if transition.kind == Kind::Swap && !is_back => {
            return Err(stayed(step, trouble).await);
        }
        Err(trouble) => {
            let why = step.failure(trouble).causes.join(": ");
            run.context.note(format!("requests in flight are not waited for: {why}"));
        }
    }
    let pace = Pace::steadfast(&run.context.patience, run.context.patience.action);
    match floating_ip::move_to(step, &pace, ip, droplet).await {
        Ok(()) => {
            if let Err(trouble) = drain::end(run.context, run.journal).await {
                drain::is_left(run.context, &trouble);
            }
            run.context.tell(&Event::Switched { ip, worker, took: began.elapsed() });
            Ok(())
        }
        // While nobody knows where the address points, users are best off where they certainly get an answer.
        Err(NotMoved::Perhaps(trouble) | NotMoved::Certainly(trouble @ Trouble::Journal(_))) => {
            Err(Halt::Unsettled(trouble))
        }
        Err(NotMoved::Certainly(trouble)) if is_back => Err(Halt::Unsettled(trouble)),
        Err(NotMoved::Certainly(trouble)) => Err(stayed(step, trouble).await),
    }
}

/// The address certainly is where it was, and users get there by it again. Until they certainly do, the release is not at rest.
async fn stayed(step: &Step<'_>, trouble: Trouble) -> Halt {
    match drain::end(step.run.context, step.run.journal).await {
        Ok(()) => Halt::of(step, trouble),
        Err(_) => Halt::Unsettled(trouble),
    }
}

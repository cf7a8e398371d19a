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

/// Moves users back to the worker they were on. In a first release there is none.
pub(super) async fn back(step: &mut Step<'_>, transition: &Transition) -> Result<(), Halt> {
    match transition.from {
        Some(from) => move_to(step, transition, from, Instant::now()).await,
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
    let droplet = step.droplet(&Address::Worker(worker)).map(|droplet| droplet.id);
    let droplet = droplet.map_err(|trouble| Halt::of(step, trouble))?;
    let ip = floating_ip::ours(step).map_err(|trouble| Halt::of(step, trouble))?;
    match drain::begin(step, transition, worker).await {
        Ok(None | Some(0)) => {}
        Ok(Some(left)) => run.context.note(format!(
            "requests on the old worker that took longer than {:?} are cut (deploy.drain): {left}",
            transition.settings.drain
        )),
        Err(trouble @ Trouble::Journal(_)) => return Err(Halt::Unsettled(trouble)),
        Err(trouble) => {
            drain::end(run.context, &run.journal.state()).await;
            // Forward, users are best off where they are; on the way back they are not.
            if worker == transition.to && transition.kind == Kind::Swap {
                return Err(Halt::of(step, trouble));
            }
            let why = step.failure(trouble).causes.join(": ");
            run.context.note(format!("requests in flight are not waited for: {why}"));
        }
    }
    let pace = Pace::steadfast(&run.context.patience, run.context.patience.action);
    let moved = floating_ip::move_to(step, &pace, ip, droplet).await;
    // While nobody knows where the address points, users are best off where they certainly get an answer.
    if !matches!(moved, Err(NotMoved::Perhaps(_))) {
        drain::end(run.context, &run.journal.state()).await;
    }
    match moved {
        Ok(()) => {
            run.context.tell(&Event::Switched { ip, worker, took: began.elapsed() });
            Ok(())
        }
        Err(NotMoved::Certainly(trouble)) => Err(Halt::of(step, trouble)),
        Err(NotMoved::Perhaps(trouble)) => Err(Halt::Unsettled(trouble)),
    }
}

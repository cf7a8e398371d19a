//! Carries a plan out: is it for this state, then walk its steps, then say what became of each.
//!
//! The caller holds the lock (a [`Journal`] cannot be opened without) and releases it; what this run leaves unfinished is
//! in the state. A step's failure is part of the record, not an error: an error means that the run could not be trusted
//! to go on at all.

use std::sync::{Mutex, PoisonError};

use seachange_core::event::Event;
use seachange_core::plan::{Effect, Plan};
use seachange_core::release::Phase;
use seachange_core::run::{RunRecord, StepRecord};
use tokio::time::Instant;

use crate::context::{AppSecrets, Context};
use crate::journal::{Journal, JournalError};
use crate::listing::Listing;
use crate::pace::Cut;
use crate::step::{Run, Step, Trouble};
use crate::steps;
use crate::walk::{Ended, Slot, walk};

/// Why a plan was not carried out, or not to its end.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApplyError {
    /// The plan is for another state. Nothing was done.
    #[error("the plan was made for {planned}, but the state is {found} now: nothing was done")]
    Stale {
        /// What it was made for, in words.
        planned: String,
        /// What there is, in words.
        found: String,
    },
    /// The journal failed: no effect was begun after that. What is known is in [`Journal::state`].
    #[error("the run was ended because it could not be recorded")]
    Journal {
        /// What was done until then.
        record: Box<RunRecord>,
        /// Why.
        #[source]
        source: JournalError,
    },
}

/// Carries the plan out.
pub async fn apply(
    context: &Context<'_>,
    journal: &Journal,
    plan: &Plan,
    secrets: &AppSecrets,
) -> Result<RunRecord, ApplyError> {
    is_for_this_state(journal, plan)?;
    let (began, requests, commits) =
        (Instant::now(), context.cloud.requests_sent(), journal.commits());
    context.tell(&Event::RunStarted { steps: plan.steps.len() });
    let run = Run { context, journal, plan, secrets, listing: Listing::new(context) };
    let book = Book::new(plan);
    let needs: Vec<Vec<usize>> = plan.steps.iter().map(|step| step.after.clone()).collect();
    {
        let start = |number, slot| one(&run, &book, number, slot);
        let skip = |number| context.tell(&Event::StepSkipped { step: number });
        let walking = walk(&needs, context.parallelism, &context.stop, start, skip);
        tokio::pin!(walking);
        tokio::select! {
            biased;
            () = &mut walking => {}
            () = context.stop.wait() => {
                context.tell(&Event::Stopping);
                walking.await;
            }
        }
    }
    let (steps, release, parked) = book.closed();
    let tried_all = !parked && steps.iter().all(|step| !matches!(step, StepRecord::Skipped));
    let record = RunRecord {
        purpose: plan.purpose,
        stack: plan.stack.clone(),
        serial: journal.with(|state| state.serial),
        steps,
        release,
        stopped: context.stop.requested() && !tried_all,
        requests: context.cloud.requests_sent() - requests,
        commits: journal.commits() - commits,
        took: began.elapsed(),
    };
    match journal.broken() {
        None => Ok(record),
        Some(source) => Err(ApplyError::Journal { record: Box::new(record), source }),
    }
}

/// What became of each step so far.
struct Book(Mutex<Pages>);

struct Pages {
    steps: Vec<StepRecord>,
    release: Option<Phase>,
    parked: bool,
}

impl Book {
    fn new(plan: &Plan) -> Self {
        let steps = vec![StepRecord::Skipped; plan.steps.len()];
        Self(Mutex::new(Pages { steps, release: None, parked: false }))
    }

    fn write(&self, write: impl FnOnce(&mut Pages)) {
        write(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn closed(self) -> (Vec<StepRecord>, Option<Phase>, bool) {
        let pages = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        (pages.steps, pages.release, pages.parked)
    }
}

/// Runs one step and books how it ended.
async fn one(run: &Run<'_>, book: &Book, number: usize, slot: Slot) -> Ended {
    let context = run.context;
    let Some(planned) = run.plan.steps.get(number) else { return Ended::Otherwise };
    let (addresses, what) = steps::about(&planned.effect);
    let object = addresses.first().map_or_else(|| "the stack".to_owned(), ToString::to_string);
    let began = Instant::now();
    context.tell(&Event::StepStarted { step: number, addresses, what: what.clone() });
    let mut step = Step::new(run, number, object, slot);
    step.starts_with(what);
    let result = steps::perform(&mut step, &planned.effect).await;
    if planned.effect == Effect::Release {
        let phase = step.release;
        book.write(|pages| pages.release = phase);
    }
    match result {
        Ok((outcome, what)) => {
            book.write(|pages| pages.steps[number] = StepRecord::Done { outcome });
            let took = began.elapsed();
            context.tell(&Event::StepFinished { step: number, outcome, what, took });
            Ended::Well
        }
        Err(Trouble::Cut(Cut::Stopped)) => {
            book.write(|pages| pages.parked = true);
            context.tell(&Event::StepSkipped { step: number });
            Ended::Otherwise
        }
        Err(trouble) => {
            step.close().await;
            let failure = step.failure(trouble);
            let why = format!("{}: {}", failure.object, failure.causes.join(": "));
            context.tell(&Event::StepFailed { step: number, why });
            book.write(|pages| pages.steps[number] = StepRecord::Failed(failure));
            Ended::Otherwise
        }
    }
}

/// Refuses a plan that was made for another state. A plan for a stack without a state names no lineage.
fn is_for_this_state(journal: &Journal, plan: &Plan) -> Result<(), ApplyError> {
    let (lineage, serial) = journal.with(|state| (state.lineage.clone(), state.serial));
    let same_lineage = plan.lineage == lineage || (plan.lineage.is_empty() && serial == 0);
    if same_lineage && plan.serial == serial {
        return Ok(());
    }
    let words = |lineage: &str, serial| match lineage {
        "" => "a stack without a state".to_owned(),
        lineage => format!("serial {serial} of lineage {lineage}"),
    };
    Err(ApplyError::Stale {
        planned: words(&plan.lineage, plan.serial),
        found: words(&lineage, serial),
    })
}

//! What the commands share: read the state, refresh, plan, carry out, report. Each step is one call into a crate.

use seachange_core::observed::Observed;
use seachange_core::plan::{Plan, Purpose};
use seachange_core::planner::{self, Refusal};
use seachange_core::run::RunRecord;
use seachange_core::spec::Spec;
use seachange_core::state::State;
use seachange_engine::context::{Caller, Context};
use seachange_engine::journal::Journal;
use seachange_engine::observe::{Need, Wanted, observe};
use seachange_engine::store::{Lease, Locking, Log, LogError, Owner, probe};
use seachange_engine::{apply, recover};
use seachange_report as report;

use crate::args::{LockOptions, PlanOptions};
use crate::failure::{Context as _, Failure, Result};
use crate::output::Printer;
use crate::session::Session;
use crate::store::Place;

/// The newest state, or an empty one with a lineage of its own.
pub(crate) async fn state(session: &Session, context: &Context<'_>) -> Result<State> {
    let head = session.log.head().await.context(|| "cannot read the state".to_owned())?;
    Ok(head.unwrap_or_else(|| State::empty(context.ids.next(), &session.spec.stack)))
}

/// What a refresh shall look at, for this spec.
pub(crate) fn wanted(session: &Session, purpose: Purpose) -> Wanted {
    let spec = &session.spec;
    let applies = purpose == Purpose::Apply;
    Wanted {
        zones: spec.domain.iter().map(|domain| domain.zone.clone()).collect(),
        ssh_fingerprints: spec.ssh.iter().flat_map(|ssh| ssh.fingerprints()).collect(),
        image: spec
            .app
            .as_ref()
            .filter(|_| applies)
            .map(|app| (app.image.clone(), app.registry.clone())),
        hosts: spec.ssh.is_some() && purpose != Purpose::Destroy,
        catalogue: if applies { need(spec) } else { Need::Never },
    }
}

/// What must be on offer for this spec.
fn need(spec: &Spec) -> Need {
    let balancer = spec.load_balancer.as_ref();
    let both = |worker: &String, balancer: Option<&String>| {
        let mut all: Vec<String> = balancer.into_iter().chain([worker]).cloned().collect();
        all.sort();
        all.dedup();
        all
    };
    Need::IfMissing {
        workers: spec.workers.count,
        load_balancer: balancer.is_some(),
        sizes: both(&spec.workers.size, balancer.map(|balancer| &balancer.size)),
        images: both(&spec.workers.image, balancer.map(|balancer| &balancer.image)),
    }
}

/// Refreshes.
pub(crate) async fn refresh(
    context: &Context<'_>,
    wanted: &Wanted,
    state: &State,
) -> Result<Observed> {
    observe(context, wanted, state).await.map_err(|error| Failure::of(&error))
}

/// Makes the plan for a purpose, or says why there is none.
pub(crate) fn plan(
    session: &Session,
    purpose: Purpose,
    options: &PlanOptions,
    state: &State,
    observed: &Observed,
) -> Result<Plan> {
    let plan = match purpose {
        Purpose::Apply => {
            let replace = options
                .replace
                .iter()
                .map(|text| text.parse())
                .collect::<std::result::Result<_, _>>()
                .context(|| "--replace".to_owned())?;
            let options = planner::Options { allow_downtime: options.allow_downtime, replace };
            planner::plan(&planner::Input {
                spec: &session.spec,
                state,
                observed,
                options: &options,
                now: observed.at,
            })
        }
        Purpose::Rollback if options.abort => planner::plan_abort(state, observed, observed.at),
        Purpose::Rollback => planner::plan_rollback(state, observed, observed.at),
        Purpose::Destroy => planner::plan_destroy(state, observed, observed.at),
    };
    plan.map_err(|refusals| refused(&refusals))
}

fn refused(refusals: &[Refusal]) -> Failure {
    let mut failure = Failure::new(match refusals.len() {
        1 => "this cannot be planned; nothing was changed".to_owned(),
        count => format!("this cannot be planned, for {count} reasons; nothing was changed"),
    });
    failure.causes.extend(refusals.iter().map(ToString::to_string));
    failure.help = refusals
        .iter()
        .map(|refusal| refusal.help.clone())
        .reduce(|one, next| format!("{one}\n        {next}"));
    failure
}

/// The lock and the journal of a run, with what earlier runs left settled and recorded.
pub(crate) struct Run {
    lease: Lease,
    pub(crate) journal: Journal,
}

impl Run {
    /// Takes the lock, opens the journal on the newest state, and settles what an earlier run left open.
    pub(crate) async fn begin(
        session: &Session,
        context: &Context<'_>,
        operation: &str,
        options: &LockOptions,
    ) -> Result<Self> {
        let lease = lock(&session.place, &session.log, context, operation, options).await?;
        let journal = Journal::open(context, &lease)
            .await
            .context(|| "cannot open the journal".to_owned())?;
        let run = Self { lease, journal };
        match recover::recover(context, &run.journal).await {
            Ok(_) => Ok(run),
            Err(error) => {
                let broken = run.journal.broken().is_some();
                let state = run.end().await;
                let failure = Failure::of(&error);
                Err(if broken { rescued(&session.place, &state, failure) } else { failure })
            }
        }
    }

    /// Carries a plan out.
    pub(crate) async fn carry_out(
        self,
        session: &Session,
        context: &Context<'_>,
        plan: &Plan,
    ) -> Result<RunRecord> {
        let ran = apply::apply(context, &self.journal, plan, &session.secrets()).await;
        let broken = self.journal.broken().is_some();
        let state = self.end().await;
        ran.map_err(|error| {
            let failure = Failure::of(&error);
            if !broken {
                return failure;
            }
            rescued(&session.place, &state, failure)
        })
    }

    /// Gives the lock back; what was known at the end. A lock that cannot be given back ends by itself.
    pub(crate) async fn end(self) -> State {
        let state = self.journal.close();
        if let Err(error) = self.lease.release().await {
            tracing::warn!(%error, "the lock could not be released; it ends by itself");
        }
        state
    }
}

/// What earlier runs left open, found out and folded in, but not recorded: for a plan that only shows.
pub(crate) async fn settle(context: &Context<'_>, state: &mut State) -> Result<()> {
    let settled = recover::look(context, state).await.map_err(|error| Failure::of(&error))?;
    for one in &settled {
        state.record(&one.entry());
    }
    Ok(())
}

/// A failure to record, with what was not recorded in a safe place.
fn rescued(place: &Place, state: &State, mut failure: Failure) -> Failure {
    match place.rescue(state) {
        Ok(path) => failure.help(format!(
            "what is known was saved: seachange state push {}; then run the same command again",
            path.display()
        )),
        Err(lost) => {
            failure.causes.extend(lost.causes);
            failure
        }
    }
}

/// Takes the lock, on a store that was found to honour it.
pub(crate) async fn lock<'a>(
    place: &Place,
    log: &Log,
    caller: impl Into<Caller<'a>>,
    operation: &str,
    options: &LockOptions,
) -> Result<Lease> {
    let caller = caller.into();
    let log = trusted(place, log, &caller, options).await?;
    let owner = Owner::here(caller.by.clone(), operation);
    log.acquire_within(caller, owner, options.lock_timeout).await.map_err(|error| match &error {
        LogError::Held { .. } | LogError::Frozen { .. } => Failure::of(&error),
        _ => Failure::of(&error).while_("cannot lock the state"),
    })
}

/// The log with the kind of locking that is asked for. Conditional writes are tried out first: thoroughly before the
/// first commit, and once before every other run.
pub(crate) async fn trusted(
    place: &Place,
    log: &Log,
    caller: &Caller<'_>,
    options: &LockOptions,
) -> Result<Log> {
    let locking = options.lock.into();
    if locking == Locking::Conditional {
        let known = log.serials(1).await.context(|| "cannot read the state".to_owned())?;
        let races = if known.is_empty() { probe::ROUNDS } else { 1 };
        place.probe(races, caller.ids).await?;
    }
    Ok(log.clone().with_locking(locking))
}

/// Shows what a run did; its exit code.
pub(crate) fn conclude(record: &RunRecord, plan: &Plan, printer: Printer) -> u8 {
    if printer.json {
        printer.out_json(&report::run::json(record));
    } else {
        let failures = report::run::failures(record);
        if !failures.is_empty() {
            printer.talk(&failures);
        }
        printer.out(&report::run::summary(record, plan));
    }
    if record.succeeded() { crate::exit::FINE } else { crate::exit::ERROR }
}

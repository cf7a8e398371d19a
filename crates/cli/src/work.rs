//! What the commands share: read the state, refresh, plan, carry out, report. Each step is one call into a crate.

use std::path::PathBuf;

use seachange_core::observed::Observed;
use seachange_core::plan::{Plan, Purpose};
use seachange_core::planner::{self, Refusal};
use seachange_core::run::RunRecord;
use seachange_core::state::State;
use seachange_engine::context::Context;
use seachange_engine::journal::Journal;
use seachange_engine::observe::{Need, Wanted, observe};
use seachange_engine::store::{Lease, LogError};
use seachange_engine::{apply, recover};
use seachange_report as report;

use crate::args::PlanOptions;
use crate::failure::{Context as _, Failure, Result};
use crate::output::Printer;
use crate::session::Session;

/// The newest state, or an empty one with a lineage of its own.
pub(crate) async fn state(session: &Session, context: &Context<'_>) -> Result<State> {
    let head = session.log.head().await.context(|| "cannot read the state".to_owned())?;
    Ok(head.unwrap_or_else(|| State::empty(context.ids.next(), &session.spec.stack)))
}

/// What a refresh shall look at, for this spec.
pub(crate) fn wanted(session: &Session, state: &State, purpose: Purpose) -> Wanted {
    let spec = &session.spec;
    let applies = purpose == Purpose::Apply;
    Wanted {
        zones: spec.domain.iter().map(|domain| domain.zone.clone()).collect(),
        ssh_fingerprints: spec.ssh.iter().flat_map(|ssh| ssh.fingerprints()).collect(),
        image: spec.app.as_ref().filter(|_| applies).map(|app| (app.image.clone(), app.registry.clone())),
        hosts: spec.ssh.is_some() && purpose != Purpose::Destroy,
        catalogue: if applies { Need::for_spec(spec, state) } else { Need::Never },
    }
}

/// Refreshes.
pub(crate) async fn refresh(context: &Context<'_>, wanted: &Wanted, state: &State) -> Result<Observed> {
    observe(context, wanted, state).await.map_err(|error| explain(Failure::of(&error)))
}

/// Adds the next command to errors of the outside world.
fn explain(failure: Failure) -> Failure {
    let text = failure.causes.join("\n");
    let help = if text.contains("refused the token") {
        Some("check DIGITALOCEAN_TOKEN: a new one comes from cloud.digitalocean.com/account/api/tokens")
    } else if text.contains("cannot be reached at") {
        Some("check the network and DIGITALOCEAN_API_URL, then run the same command again: nothing was changed")
    } else if text.contains("is not in the registry") {
        Some("push the image, or name one that exists; nothing was changed")
    } else if text.contains("registry refuses the login") {
        Some("check app.registry.username and app.registry.password; nothing was changed")
    } else if text.contains("shows another host key") {
        Some("if the droplet was really rebuilt outside: seachange apply --replace ADDRESS; otherwise somebody is in between")
    } else {
        None
    };
    match help {
        Some(help) if failure.help.is_none() => failure.help(help),
        _ => failure,
    }
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
            planner::plan(&planner::Input { spec: &session.spec, state, observed, options: &options, now: observed.at })
        }
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
    failure.help = refusals.iter().map(|refusal| refusal.help.clone()).reduce(|one, next| format!("{one}\n        {next}"));
    failure
}

/// A state that is locked for us, with what earlier runs left settled.
pub(crate) struct Locked {
    pub(crate) lease: Lease,
    pub(crate) state: State,
}

/// Takes the lock, reads the newest state, and settles what an earlier run left open.
pub(crate) async fn lock(session: &Session, context: &Context<'_>, operation: &str) -> Result<Locked> {
    let owner = seachange_engine::store::Owner::of(context, operation, &crate::env::host_name());
    let lease = session.log.acquire(owner).await.map_err(|error| match &error {
        LogError::Held { .. } => Failure::of(&error).help("wait for that run, or run the same command again later"),
        _ => Failure::of(&error).while_("cannot lock the state"),
    })?;
    let state = state(session, context).await?;
    Ok(Locked { lease, state })
}

/// Refreshes; if an earlier run left effects with unknown outcomes, finds out what became of them and refreshes again.
pub(crate) async fn settled(
    context: &Context<'_>,
    wanted: &Wanted,
    state: &mut State,
) -> Result<(Observed, Vec<seachange_core::journal::Entry>)> {
    let observed = refresh(context, wanted, state).await?;
    if state.pending.is_empty() {
        return Ok((observed, Vec::new()));
    }
    let entries = recover::recover(context, state, &observed).await.map_err(|error| explain(Failure::of(&error)))?;
    for entry in &entries {
        state.record(entry);
    }
    Ok((refresh(context, wanted, state).await?, entries))
}

/// Carries a plan out and says what became of it.
pub(crate) async fn carry_out(
    session: &Session,
    context: &Context<'_>,
    locked: Locked,
    learnt: Vec<seachange_core::journal::Entry>,
    before: State,
    plan: &Plan,
    printer: Printer,
) -> Result<RunRecord> {
    let Locked { lease, .. } = locked;
    let journal = Journal::open(&lease, before).await.context(|| "cannot open the journal".to_owned())?;
    for entry in learnt {
        journal.record(entry).await.context(|| "cannot record what an earlier run left".to_owned())?;
    }
    let ran = apply::apply(context, &journal, plan, &session.secrets()).await;
    let state = journal.close().await;
    let released = lease.release().await;
    let record = ran.map_err(|error| {
        let failure = Failure::of(&error).while_("the run could not go on");
        keep(&state).map_or_else(|failure| failure, |path| {
            failure.help(format!("what is known was saved to {}; run the same command again", path.display()))
        })
    })?;
    if let Err(error) = released {
        printer.talk(&format!("warning: the lock could not be released: {error}; it ends by itself"));
    }
    Ok(record)
}

/// Saves a state that the store did not take beside the user's files.
fn keep(state: &State) -> std::result::Result<PathBuf, Failure> {
    let path = PathBuf::from(format!("{}-{}.rescued-state.json", state.stack, state.serial));
    std::fs::write(&path, seachange_core::state::file::write(state))
        .map_err(|error| Failure::of(&error).while_(format!("cannot save the state to {} either", path.display())))?;
    Ok(path)
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

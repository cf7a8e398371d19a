//! `seachange apply`, `destroy` and `rollback`: plan under the lock, show, ask, carry out.

use std::path::PathBuf;

use seachange_core::plan::{self, Plan, Purpose, check};

use crate::args::{self, Format, PlanOptions, RunOptions};
use crate::failure::{Failure, Result};
use crate::output::Printer;
use crate::session::Session;
use crate::source::{Need, Source};
use crate::{exit, work};

/// What is to be done, whichever command it came from.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) purpose: Purpose,
    pub(crate) options: PlanOptions,
    pub(crate) run: RunOptions,
    /// Do exactly this, or nothing.
    pub(crate) saved: Option<PathBuf>,
    /// Show the plan and stop.
    pub(crate) dry_run: bool,
}

/// `seachange apply`.
pub(crate) async fn run(arguments: &args::Apply, printer: Printer) -> Result<u8> {
    let (purpose, need) = arguments.options.purpose();
    let source = Source::read(&arguments.spec, need, printer)?;
    let job = Job {
        purpose,
        options: arguments.options.clone(),
        run: arguments.run.clone(),
        saved: arguments.plan.clone(),
        dry_run: false,
    };
    start(&source, &job, printer).await
}

/// `seachange destroy`.
pub(crate) async fn destroy(arguments: &args::Destroy, printer: Printer) -> Result<u8> {
    let source = Source::read(&arguments.spec, Need::Access, printer)?;
    let run = arguments.run.clone();
    let job = Job {
        purpose: Purpose::Destroy,
        options: PlanOptions::default(),
        run,
        saved: None,
        dry_run: false,
    };
    start(&source, &job, printer).await
}

/// `seachange rollback`.
pub(crate) async fn rollback(arguments: &args::Rollback, printer: Printer) -> Result<u8> {
    let source = Source::read(&arguments.spec, Need::Access, printer)?;
    let run = arguments.run.clone();
    let job = Job {
        purpose: Purpose::Rollback,
        options: PlanOptions::default(),
        run,
        saved: None,
        dry_run: arguments.dry_run,
    };
    start(&source, &job, printer).await
}

async fn start(source: &Source, job: &Job, printer: Printer) -> Result<u8> {
    let session = Session::open(source, printer).await?;
    source.remember();
    let outcome = perform(&session, job, printer).await;
    session.close().await;
    outcome
}

/// Does the job: the same for every command that changes the world, and for the demo. What an earlier run left under way is
/// ended first and alone; what the spec says besides follows in the same command.
pub(crate) async fn perform(session: &Session, job: &Job, printer: Printer) -> Result<u8> {
    match once(session, job, printer).await? {
        Ended { code: exit::FINE, resumed: true }
            if job.purpose == Purpose::Apply && job.saved.is_none() =>
        {
            Ok(once(session, job, printer).await?.code)
        }
        ended => Ok(ended.code),
    }
}

/// How a plan was carried out.
struct Ended {
    code: u8,
    /// It took over the release of an earlier run.
    resumed: bool,
}

async fn once(session: &Session, job: &Job, printer: Printer) -> Result<Ended> {
    let context = session.context(usize::from(job.run.parallelism));
    let seal = session.place.seal();
    let saved = job.saved.as_deref().map(|path| super::show::read(path, seal));
    let saved = saved.transpose()?;
    let purpose = saved.as_ref().map_or(job.purpose, |plan| plan.purpose);
    let run = work::Run::begin(session, &context, word(purpose), &job.run.lock).await?;
    let state = run.journal.state();
    let wanted = work::wanted(session, purpose);
    let ready = async {
        let observed = work::refresh(&context, &wanted, &state).await?;
        let plan = match saved {
            Some(plan) => fresh(plan, session, &state, &observed)?,
            None => work::plan(session, purpose, &job.options, &state, &observed)?,
        };
        contradictions(&plan, &state, &observed)?;
        approve(&plan, job, printer).map(|go| go.then_some(plan))
    };
    match ready.await {
        Ok(Some(plan)) => {
            let record = run.carry_out(session, &context, &plan).await?;
            let resumed = plan.release.as_ref().is_some_and(|release| release.resumes.is_some());
            Ok(Ended { code: work::conclude(&record, &plan, printer), resumed })
        }
        Ok(None) => {
            run.end().await;
            Ok(Ended { code: exit::FINE, resumed: false })
        }
        Err(failure) => {
            run.end().await;
            Err(failure)
        }
    }
}

fn word(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Apply => "apply",
        Purpose::Rollback => "rollback",
        Purpose::Destroy => "destroy",
    }
}

/// The saved plan, if the world it was made for is still there.
fn fresh(
    plan: Plan,
    session: &Session,
    state: &seachange_core::state::State,
    observed: &seachange_core::observed::Observed,
) -> Result<Plan> {
    let mut moved: Vec<String> =
        plan::file::stale(&plan, state, observed).iter().map(ToString::to_string).collect();
    if plan.purpose == Purpose::Apply && plan.spec_digest != session.spec.digest() {
        moved.push("the spec is not the one it was made from".to_owned());
    }
    if moved.is_empty() {
        return Ok(plan);
    }
    let mut failure = Failure::new("the saved plan is stale; nothing was changed")
        .help("make a new one: seachange plan --out FILE");
    failure.causes.extend(moved);
    Err(failure)
}

/// A plan that contradicts itself is a bug of ours, found before it does harm.
fn contradictions(
    plan: &Plan,
    state: &seachange_core::state::State,
    observed: &seachange_core::observed::Observed,
) -> Result<()> {
    let errors: Vec<String> = check::check(plan, state, observed)
        .iter()
        .filter(|note| note.severity == check::Severity::Error)
        .map(|note| note.text.clone())
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(
        "this plan contradicts itself, so it is not applied; nothing was changed",
    )
    .help("this is a bug of seachange: please report it with the output of: seachange plan --json");
    failure.causes.extend(errors);
    Err(failure)
}

/// Shows the plan and asks, if that is needed and possible.
fn approve(plan: &Plan, job: &Job, printer: Printer) -> Result<bool> {
    let exact = job.saved.is_some();
    if !exact {
        super::plan::show(plan, Format::Text, &[], printer);
    }
    if plan.is_empty() || job.dry_run {
        return Ok(false);
    }
    if exact || job.run.auto_approve {
        return Ok(true);
    }
    if !printer.interactive {
        return Err(Failure::new("there is no terminal to ask on; nothing was changed")
            .help("look at the plan with `seachange plan --out FILE` and `seachange apply FILE`, or add --auto-approve"));
    }
    let yes = printer.ask("\nDo you want to do this?");
    if !yes {
        printer.talk("nothing was changed");
    }
    Ok(yes)
}

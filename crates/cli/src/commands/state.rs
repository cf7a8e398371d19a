//! `seachange state`: the state itself, its history, and edits on a person's word. Needs the store and nothing else.

use std::path::Path;

use seachange_core::address::Address;
use seachange_core::state::{State, file};
use seachange_engine::Stop;
use seachange_engine::store::Log;
use seachange_engine::store::commit::Commit;
use seachange_report::state as report;
use serde_json::json;

use crate::args::{EditArguments, SpecArguments, StateCommand, Target};
use crate::failure::{Context as _, Failure, Result};
use crate::output::Printer;
use crate::progress::Progress;
use crate::session::{caller, heed_signals};
use crate::source::{Need, Source};
use crate::store::Place;
use crate::work;

/// Does what is asked.
pub(crate) async fn run(command: &StateCommand, printer: Printer) -> Result<u8> {
    match command {
        StateCommand::List(Target { spec }) => list(&open(spec, printer)?, printer).await?,
        StateCommand::Show { what, spec } => {
            show(&open(spec, printer)?, what.as_deref(), printer).await?;
        }
        StateCommand::History { limit, spec } => {
            history(&open(spec, printer)?, *limit, printer).await?;
        }
        StateCommand::Diff { old, new, spec } => {
            diff(&open(spec, printer)?, *old, *new, printer).await?;
        }
        StateCommand::Pull(Target { spec }) => {
            let newest = newest(&open(spec, printer)?).await?;
            printer.out(&String::from_utf8_lossy(&file::write(&newest.state)));
        }
        StateCommand::Push { state, edit } => {
            edited(edit, Edit::Push(state), "state push", printer).await?;
        }
        StateCommand::Restore { serial, edit } => {
            edited(edit, Edit::Restore(*serial), "state restore", printer).await?;
        }
        StateCommand::Mv { from, to, edit } => {
            edited(edit, Edit::Move(from, to), "state mv", printer).await?;
        }
        StateCommand::Rm { address, edit } => {
            edited(edit, Edit::Forget(address), "state rm", printer).await?;
            printer.talk(
                "it is still there in the cloud, and what is tagged as the stack's own is adopted by the next apply: untag or delete it to let it go",
            );
        }
        StateCommand::Prune { keep, spec } => prune(&open(spec, printer)?, *keep, printer).await?,
    }
    Ok(crate::exit::FINE)
}

fn open(spec: &SpecArguments, printer: Printer) -> Result<Log> {
    let source = Source::read(spec, Need::Access, printer)?;
    Ok(Place::of_source(&source)?.log(&source.spec.stack))
}

/// What a person does to a state.
enum Edit<'a> {
    Push(&'a Path),
    Restore(u64),
    Move(&'a Address, &'a Address),
    Forget(&'a Address),
}

/// Edits the newest state under the lock, as one more serial.
async fn edited(
    arguments: &EditArguments,
    edit: Edit<'_>,
    operation: &str,
    printer: Printer,
) -> Result<()> {
    let source = Source::read(&arguments.spec, Need::Access, printer)?;
    let place = Place::of_source(&source)?;
    let log = place.log(&source.spec.stack);
    let (progress, stop) = (Progress::new(printer), Stop::new());
    heed_signals(stop.clone());
    let caller = caller(&progress, &stop);
    let lease = work::lock(&place, &log, caller.clone(), operation, &arguments.lock).await?;
    let done = async {
        let log = lease.log();
        let written = match edit {
            Edit::Restore(serial) => log.restore(caller, &lease, serial).await,
            Edit::Push(path) => {
                let state = file::read(&place.open(path)?)
                    .context(|| format!("{} is no state", path.display()))?;
                log.push(caller, &lease, state).await
            }
            Edit::Move(from, to) => {
                let mut state = newest(log).await?.state;
                state.rename(from, to).map_err(|error| Failure::of(&error))?;
                log.push(caller, &lease, state).await
            }
            Edit::Forget(address) => {
                let mut state = newest(log).await?.state;
                state.forget(address).map_err(|error| Failure::of(&error))?;
                log.push(caller, &lease, state).await
            }
        };
        written.map_err(|error| Failure::of(&error))
    };
    let done = done.await;
    if let Err(error) = lease.release().await {
        tracing::warn!(%error, "the lock could not be released; it ends by itself");
    }
    let state = done?;
    if printer.json {
        printer.out_json(
            &json!({ "type": "state_edit", "stack": state.stack, "serial": state.serial }),
        );
    } else {
        printer.out(&format!("{} has serial {} now", state.stack, state.serial));
    }
    Ok(())
}

async fn prune(log: &Log, keep: usize, printer: Printer) -> Result<()> {
    let pruned = log.prune(jiff::Timestamp::now(), keep).await;
    let pruned = pruned.context(|| "cannot prune".to_owned())?;
    if printer.json {
        printer.out_json(&json!({ "type": "state_prune", "stack": log.stack(), "states": pruned.states, "locks": pruned.locks }));
    } else {
        printer.out(&format!(
            "deleted {} old serials and {} objects of old locks of {}",
            pruned.states,
            pruned.locks,
            log.stack()
        ));
    }
    Ok(())
}

async fn list(log: &Log, printer: Printer) -> Result<()> {
    let head = log.head().await.context(|| "cannot read the state".to_owned())?;
    let state = head.unwrap_or_else(|| State::empty("", log.stack()));
    if printer.json {
        let resources = &state.resources;
        printer.out_json(&json!({ "type": "state_list", "stack": state.stack, "serial": state.serial, "resources": resources }));
    } else {
        printer.out(&report::list(&state));
    }
    Ok(())
}

async fn show(log: &Log, what: Option<&str>, printer: Printer) -> Result<()> {
    let serial = what.and_then(|what| what.parse().ok());
    let commit = match serial {
        Some(serial) => at(log, serial).await?,
        None => newest(log).await?,
    };
    let state = &commit.state;
    let address = what.filter(|_| serial.is_none()).map(str::parse::<Address>).transpose();
    match address.context(|| "state show takes a serial or an address".to_owned())? {
        Some(address) => {
            let resource = state.resources.get(&address).ok_or_else(|| {
                Failure::new(format!(
                    "{address} is not in the state of {} (serial {})",
                    state.stack, state.serial
                ))
                .help("see what is: seachange state list")
            })?;
            if printer.json {
                printer.out_json(
                    &json!({ "type": "state_resource", "address": address, "resource": resource }),
                );
            } else {
                printer.out(&report::one(&address, resource));
            }
        }
        None if printer.json => printer.out_json(&json!({
            "type": "state", "at": commit.envelope.at, "by": commit.envelope.by, "state": state,
        })),
        None => printer.out(&report::show(&line(&commit))),
    }
    Ok(())
}

async fn history(log: &Log, limit: usize, printer: Printer) -> Result<()> {
    // One more than is shown, to say what the oldest one shown changed.
    let commits = log.history(limit.saturating_add(1)).await;
    let commits = commits.context(|| "cannot read the history".to_owned())?;
    let lines: Vec<report::Commit<'_>> = commits.iter().map(line).collect();
    if printer.json {
        printer.out_json(&report::history_json(log.stack(), &lines, limit));
    } else {
        printer.out(&report::history(&lines, limit));
    }
    Ok(())
}

async fn diff(log: &Log, old: Option<u64>, new: Option<u64>, printer: Printer) -> Result<()> {
    let new = match new {
        Some(serial) => at(log, serial).await?,
        None => newest(log).await?,
    };
    let old = at(log, old.unwrap_or_else(|| new.state.serial.saturating_sub(1))).await?;
    let text = report::diff(&old.state, &new.state);
    if printer.json {
        printer.out_json(&json!({
            "type": "state_diff", "old": old.state.serial, "new": new.state.serial, "diff": text,
        }));
    } else {
        printer.out(&text);
    }
    Ok(())
}

fn line(commit: &Commit) -> report::Commit<'_> {
    report::Commit { at: commit.envelope.at, by: &commit.envelope.by, state: &commit.state }
}

async fn newest(log: &Log) -> Result<Commit> {
    let newest = log.newest().await.context(|| "cannot read the state".to_owned())?;
    newest.ok_or_else(|| {
        Failure::new(format!("there is no state of {} in {}", log.stack(), log.name()))
            .help("nothing was applied yet: seachange apply")
    })
}

async fn at(log: &Log, serial: u64) -> Result<Commit> {
    let commit = log.at(serial).await.context(|| format!("cannot read serial {serial}"))?;
    commit.ok_or_else(|| {
        Failure::new(format!("there is no serial {serial} of {} in {}", log.stack(), log.name()))
            .help("see which there are: seachange state history")
    })
}

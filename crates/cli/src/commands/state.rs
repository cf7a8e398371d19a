//! `seachange state`: the state itself, its history, and edits on a person's word. Needs the store and nothing else.

use std::path::Path;

use seachange_core::address::Address;
use seachange_core::state::{State, file};
use seachange_engine::Stop;
use seachange_engine::store::Log;
use seachange_engine::store::commit::Commit;
use seachange_report::state as report;
use serde_json::json;

use crate::args::{LockOptions, StateCommand};
use crate::failure::{Context as _, Failure, Result};
use crate::output::Printer;
use crate::progress::Progress;
use crate::session::{caller, heed_signals};
use crate::store::{self, Place};
use crate::work;

/// Does what is asked.
pub(crate) async fn run(command: &StateCommand, printer: Printer) -> Result<u8> {
    store::visit(command.spec(), printer, async |place, log| match command {
        StateCommand::List(_) => list(log, printer).await,
        StateCommand::Show { what, .. } => show(log, what.as_deref(), printer).await,
        StateCommand::History { limit, .. } => history(log, *limit, printer).await,
        StateCommand::Diff { old, new, .. } => diff(log, *old, *new, printer).await,
        StateCommand::Pull(_) => {
            let newest = newest(log).await?;
            printer.out(&String::from_utf8_lossy(&file::write(&newest.state)));
            Ok(())
        }
        StateCommand::Push { state, edit } => {
            edited(place, log, &edit.lock, Edit::Push(state), printer).await
        }
        StateCommand::Restore { serial, edit } => {
            edited(place, log, &edit.lock, Edit::Restore(*serial), printer).await
        }
        StateCommand::Mv { from, to, edit } => {
            edited(place, log, &edit.lock, Edit::Move(from, to), printer).await
        }
        StateCommand::Rm { address, edit } => {
            edited(place, log, &edit.lock, Edit::Forget(address), printer).await?;
            printer.talk(
                "it is still there in the cloud, and what is tagged as the stack's own is adopted by the next apply: untag or delete it to let it go",
            );
            Ok(())
        }
        StateCommand::Prune { keep, .. } => prune(log, *keep, printer).await,
    })
    .await?;
    Ok(crate::exit::FINE)
}

/// What a person does to a state.
enum Edit<'a> {
    Push(&'a Path),
    Restore(u64),
    Move(&'a Address, &'a Address),
    Forget(&'a Address),
}

impl Edit<'_> {
    /// What the lock says meanwhile.
    fn operation(&self) -> &'static str {
        match self {
            Self::Push(_) => "state push",
            Self::Restore(_) => "state restore",
            Self::Move(..) => "state mv",
            Self::Forget(_) => "state rm",
        }
    }
}

/// Edits the newest state under the lock, as one more serial.
async fn edited(
    place: &Place,
    log: &Log,
    options: &LockOptions,
    edit: Edit<'_>,
    printer: Printer,
) -> Result<()> {
    let (progress, stop) = (Progress::new(printer), Stop::new());
    heed_signals(stop.clone());
    let caller = caller(&progress, &stop);
    let lease = work::lock(place, log, caller.clone(), edit.operation(), options).await?;
    let done = async {
        let log = lease.log();
        let written = match edit {
            Edit::Restore(serial) => log.restore(caller, &lease, serial).await,
            Edit::Push(path) => {
                let state = file::read(&store::open(path, place.seal())?)
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

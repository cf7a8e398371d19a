//! `seachange lock` and `unlock`: who holds the state's lock, and what a person may do about it.

use std::time::Duration;

use jiff::SignedDuration;
use seachange_engine::Stop;
use seachange_engine::store::{Alive, LockStatus, Log, Owner};
use serde_json::json;

use crate::args::{LockCommand, LockOptions, SpecArguments, Target};
use crate::failure::{Context as _, Failure, Result};
use crate::output::Printer;
use crate::progress::Progress;
use crate::session::{caller, heed_signals};
use crate::store::{self, Place};
use crate::{exit, work};

/// Does what is asked.
pub(crate) async fn run(command: &LockCommand, printer: Printer) -> Result<u8> {
    let spec = match command {
        LockCommand::Status { spec, .. } | LockCommand::Release(Target { spec }) => spec,
        LockCommand::Acquire { edit, .. } => &edit.spec,
    };
    store::visit(spec, printer, async |place, log| match command {
        LockCommand::Status { watch, .. } => {
            let status = look(log, *watch, printer).await?;
            show(log, status.as_ref(), printer);
            Ok(())
        }
        LockCommand::Acquire { message, edit } => {
            acquire(place, log, message, &edit.lock, printer).await
        }
        LockCommand::Release(_) => release(log, printer).await,
    })
    .await?;
    Ok(exit::FINE)
}

/// Takes the lock for a person.
async fn acquire(
    place: &Place,
    log: &Log,
    message: &str,
    options: &LockOptions,
    printer: Printer,
) -> Result<()> {
    let (progress, stop) = (Progress::new(printer), Stop::new());
    heed_signals(stop.clone());
    let caller = caller(&progress, &stop);
    let log = work::trusted(place, log, &caller, options).await?;
    let owner = Owner::here(caller.by.clone(), "lock");
    let held = log.freeze(caller, owner, message, options.lock_timeout).await;
    let holder = held.map_err(|error| Failure::of(&error))?;
    if printer.json {
        printer.out_json(&json!({ "type": "lock", "stack": log.stack(), "holder": holder }));
    } else {
        printer.out(&format!(
            "locked: {} (epoch {}); give it back with: seachange lock release",
            log.stack(),
            holder.epoch
        ));
    }
    Ok(())
}

/// Ends a person's lock.
async fn release(log: &Log, printer: Printer) -> Result<()> {
    match log.holder().await.context(|| "cannot read the lock".to_owned())? {
        Some(holder) if holder.message.is_some() => end(log, holder.epoch, printer).await,
        Some(holder) => Err(Failure::new(format!(
            "the lock of {} is no person's: {} holds it ({})",
            log.stack(),
            holder.owner.by,
            holder.owner.operation
        ))
        .help("it ends with that run; if that one is dead: seachange unlock")),
        None => {
            show(log, None, printer);
            Ok(())
        }
    }
}

/// `seachange unlock`: shows the holder first.
pub(crate) async fn unlock(
    spec: &SpecArguments,
    auto_approve: bool,
    printer: Printer,
) -> Result<u8> {
    store::visit(spec, printer, async |_, log| {
        let Some(status) = look(log, Duration::from_secs(12), printer).await? else {
            show(log, None, printer);
            return Ok(());
        };
        if !printer.json {
            printer.talk(&text(log, &status));
        }
        if !auto_approve && !printer.interactive {
            return Err(Failure::new("there is no terminal to ask on; the lock is as it was")
                .help("add --auto-approve if you are sure that the holder is dead"));
        }
        let sure = "\nEnd this lock? A run that lives stops at its next step.";
        if !auto_approve && !printer.ask(sure) {
            printer.talk("the lock is as it was");
            return Ok(());
        }
        end(log, status.holder.epoch, printer).await
    })
    .await?;
    Ok(exit::FINE)
}

async fn look(log: &Log, watch: Duration, printer: Printer) -> Result<Option<LockStatus>> {
    let (progress, stop) = (Progress::new(printer), Stop::new());
    heed_signals(stop.clone());
    // A first look is free; only a holder that it tells nothing of is watched.
    let status = log.status(caller(&progress, &stop), Duration::ZERO).await;
    let status = status.context(|| "cannot read the lock".to_owned())?;
    if watch.is_zero() || status.as_ref().is_none_or(|status| status.alive != Alive::Unknown) {
        return Ok(status);
    }
    if !printer.json {
        printer.talk(&format!("watching for signs of life, at most {} s …", watch.as_secs()));
    }
    let status = log.status(caller(&progress, &stop), watch).await;
    status.context(|| "cannot read the lock".to_owned())
}

async fn end(log: &Log, epoch: u64, printer: Printer) -> Result<()> {
    log.unlock(epoch).await.context(|| "cannot release the lock".to_owned())?;
    if printer.json {
        printer.out_json(&json!({ "type": "lock", "stack": log.stack(), "released": epoch }));
    } else {
        printer.out(&format!("unlocked: {} (epoch {epoch})", log.stack()));
    }
    Ok(())
}

fn show(log: &Log, status: Option<&LockStatus>, printer: Printer) {
    if printer.json {
        let alive = status.map(|status| word(status.alive));
        printer.out_json(&json!({
            "type": "lock",
            "stack": log.stack(),
            "locked": status.is_some(),
            "holder": status.map(|status| &status.holder),
            "alive": alive,
        }));
        return;
    }
    match status {
        None => printer.out(&format!("{} is not locked", log.stack())),
        Some(status) => printer.out(&text(log, status)),
    }
}

fn text(log: &Log, status: &LockStatus) -> String {
    let LockStatus { holder, alive, last_beat_age } = status;
    let mut text = format!(
        "{} is locked by {} ({}), since {:.0}, epoch {}\n",
        log.stack(),
        holder.owner.by,
        holder.owner.operation,
        holder.since,
        holder.epoch
    );
    if let Some(message) = &holder.message {
        text.push_str(&format!("until further notice: {message}\n"));
        return text;
    }
    let beat = last_beat_age.map_or_else(String::new, |age| {
        format!(", last heartbeat {} s ago", age.max(SignedDuration::ZERO).as_secs())
    });
    text.push_str(&match alive {
        Alive::Yes => format!("it lives{beat}\n"),
        Alive::No => format!("it is dead{beat}: the next run takes the lock over by itself\n"),
        Alive::Unknown => format!("no sign of life was seen while looking{beat}\n"),
    });
    text
}

fn word(alive: Alive) -> &'static str {
    match alive {
        Alive::Yes => "yes",
        Alive::No => "no",
        Alive::Unknown => "unknown",
    }
}

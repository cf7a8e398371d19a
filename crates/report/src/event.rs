//! Events of a run: a line for people, an object for machines. The JSON types are Terraform's where the thing is the same.

use std::time::Duration;

use jiff::Timestamp;
use seachange_core::event::{Event, Outcome};
use serde_json::{Value, json};

/// The line for a log; `None` for what would only be noise there.
pub fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::RefreshStarted | Event::RunStarted { .. } | Event::Pull { .. } => return None,
        Event::RefreshFinished { requests, took } => {
            format!("refreshed: {requests} requests, {}", seconds(*took))
        }
        Event::StepStarted { addresses, what, .. } => match addresses.as_slice() {
            [] => format!("  {what} …"),
            [only] => format!("  {only}: {what} …"),
            [first, .., last] => format!("  {first} to {last}: {what} …"),
        },
        Event::StepProgress { what, .. } => format!("    {what}"),
        Event::StepFinished { outcome, what, took, .. } => {
            format!("  {} {what} ({})", outcome_word(*outcome), seconds(*took))
        }
        Event::StepFailed { why, .. } => format!("  failed: {why}"),
        Event::StepSkipped { step } => format!("  step {step} not tried"),
        Event::Phase { phase } => format!("  release: {} ({} of 6)", phase.word(), phase.step()),
        Event::Probe { worker: Some(worker), seen, in_a_row, needed } => {
            format!("    worker[{worker}]: {seen} ({in_a_row} of {needed})")
        }
        Event::Probe { worker: None, seen, .. } => format!("    from outside: {seen}"),
        Event::Switched { ip, worker, took } => {
            format!("  floating_ip {ip} → worker[{worker}] ({})", seconds(*took))
        }
        Event::Note { text } => format!("  note: {text}"),
        Event::Stopping => {
            "  stopping: what is under way is finished or parked, nothing new begins".to_owned()
        }
    })
}

/// The object for a machine.
pub fn json(event: &Event, at: Timestamp) -> Value {
    let (kind, mut fields) = match event {
        Event::RefreshStarted => ("refresh_start", json!({})),
        Event::RefreshFinished { requests, took } => {
            ("refresh_complete", json!({ "requests": requests, "seconds": took.as_secs_f64() }))
        }
        Event::RunStarted { steps } => ("run_start", json!({ "steps": steps })),
        Event::StepStarted { step, addresses, what } => {
            ("apply_start", json!({ "step": step, "addresses": addresses, "what": what }))
        }
        Event::StepProgress { step, what } => {
            ("apply_progress", json!({ "step": step, "what": what }))
        }
        Event::StepFinished { step, outcome, what, took } => (
            "apply_complete",
            json!({ "step": step, "outcome": outcome, "what": what, "seconds": took.as_secs_f64() }),
        ),
        Event::StepFailed { step, why } => ("apply_errored", json!({ "step": step, "why": why })),
        Event::StepSkipped { step } => ("apply_skipped", json!({ "step": step })),
        Event::Phase { phase } => {
            ("transition_step", json!({ "phase": phase, "step": phase.step() }))
        }
        Event::Pull { worker, digest, bytes, total } => (
            "pull_progress",
            json!({ "worker": worker, "digest": digest, "bytes": bytes, "total": total }),
        ),
        Event::Probe { worker, seen, in_a_row, needed } => (
            "transition_gate",
            json!({ "worker": worker, "seen": seen, "in_a_row": in_a_row, "needed": needed }),
        ),
        Event::Switched { ip, worker, took } => (
            "transition_switched",
            json!({ "ip": ip, "worker": worker, "seconds": took.as_secs_f64() }),
        ),
        Event::Note { text } => ("log", json!({ "text": text })),
        Event::Stopping => ("stopping", json!({})),
    };
    if let Some(object) = fields.as_object_mut() {
        object.insert("type".to_owned(), json!(kind));
        object.insert("@timestamp".to_owned(), json!(at));
        object.insert("@message".to_owned(), json!(line(event).map(|line| line.trim().to_owned())));
    }
    fields
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Added => "added",
        Outcome::Changed => "changed",
        Outcome::Adopted => "adopted",
        Outcome::AlreadySo => "already so",
        Outcome::Removed => "removed",
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

//! Events of a run: a line for people, an object for machines. The JSON types are Terraform's where the thing is the same.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use seachange_core::address::Address;
use seachange_core::event::{Event, Outcome};
use seachange_core::plan::Plan;
use serde_json::{Value, json};

use crate::wording;

/// What steps are about, by number: most events know only the number, and steps run side by side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    steps: BTreeMap<usize, String>,
    /// What the release is at.
    phase: Option<&'static str>,
}

impl Names {
    /// The names of a plan's steps.
    pub fn of(plan: &Plan) -> Self {
        let steps = plan.steps.iter().map(|step| (step.id, wording::effect(&step.effect)));
        Self { steps: steps.collect(), phase: None }
    }

    /// Learns a step's name from its start, for a listener that was there before the plan, and the release's phase.
    pub fn learn(&mut self, event: &Event) {
        match event {
            Event::StepStarted { step, addresses, .. } if !addresses.is_empty() => {
                self.steps.insert(*step, about(addresses));
            }
            Event::Phase { phase } => self.phase = Some(phase.word()),
            _ => {}
        }
    }

    /// The line for a log, with the step's name in it.
    pub fn line(&self, event: &Event) -> Option<String> {
        let name = |step: &usize| self.steps.get(step).cloned().unwrap_or(format!("step {step}"));
        match event {
            // Its own line has said so already.
            Event::StepProgress { what, .. } if self.phase == Some(what) => None,
            Event::StepProgress { step, what } => Some(format!("    {}: {what}", name(step))),
            Event::StepFinished { step, outcome, what, took } => Some(format!(
                "  {}: {} {what} ({})",
                name(step),
                outcome_word(*outcome),
                seconds(*took)
            )),
            Event::StepFailed { step, why } => Some(format!("  {}: failed: {why}", name(step))),
            Event::StepSkipped { step } => Some(format!("  {}: not tried", name(step))),
            Event::RefreshStarted
            | Event::RefreshFinished { .. }
            | Event::RunStarted { .. }
            | Event::StepStarted { .. }
            | Event::Phase { .. }
            | Event::Pull { .. }
            | Event::Probe { .. }
            | Event::Switched { .. }
            | Event::Note { .. }
            | Event::Stopping => line(event),
        }
    }
}

/// The line for a log; `None` for what would only be noise there. [`Names::line`] says more.
pub fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::RefreshStarted | Event::RunStarted { .. } | Event::Pull { .. } => return None,
        Event::RefreshFinished { requests, took } => {
            format!("refreshed: {requests} requests, {}", seconds(*took))
        }
        Event::StepStarted { addresses, what, .. } if addresses.is_empty() => format!("  {what} …"),
        Event::StepStarted { addresses, what, .. } => format!("  {}: {what} …", about(addresses)),
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
        object.insert("@level".to_owned(), json!(level(event)));
        object.insert("@module".to_owned(), json!("seachange"));
        object.insert("@timestamp".to_owned(), json!(at));
        let message = line(event).map_or(kind.to_owned(), |line| line.trim().to_owned());
        object.insert("@message".to_owned(), json!(message));
    }
    fields
}

/// Terraform's levels: what a reader may filter by.
fn level(event: &Event) -> &'static str {
    match event {
        Event::StepFailed { .. } => "error",
        Event::StepSkipped { .. } | Event::Note { .. } | Event::Stopping => "warn",
        Event::RefreshStarted
        | Event::RefreshFinished { .. }
        | Event::RunStarted { .. }
        | Event::StepStarted { .. }
        | Event::StepProgress { .. }
        | Event::StepFinished { .. }
        | Event::Phase { .. }
        | Event::Pull { .. }
        | Event::Probe { .. }
        | Event::Switched { .. } => "info",
    }
}

fn about(addresses: &[Address]) -> String {
    match addresses {
        [] => "the stack".to_owned(),
        [only] => only.to_string(),
        [first, .., last] => format!("{first} to {last}"),
    }
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

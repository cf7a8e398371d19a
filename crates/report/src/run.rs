//! What a run did.

use seachange_core::event::Outcome;
use seachange_core::plan::{Plan, Purpose};
use seachange_core::release::Phase;
use seachange_core::run::{Failure, RunRecord, StepRecord};
use serde_json::{Value, json};

use crate::wording::printable;

/// The run as JSON.
pub fn json(record: &RunRecord) -> Value {
    json!({ "type": "run", "succeeded": record.succeeded(), "run": record })
}

/// The last line of a run, in Terraform's words.
pub fn summary(record: &RunRecord, plan: &Plan) -> String {
    let word = match plan.purpose {
        Purpose::Apply => "Apply",
        Purpose::Rollback => "Rollback",
        Purpose::Destroy => "Destroy",
    };
    let cost = format!(
        "{}, {}, {:.1} s.",
        number(record.requests, "request"),
        number(record.commits, "commit"),
        record.took.as_secs_f64()
    );
    if record.succeeded() {
        let counts = plan.count();
        let mut text = format!(
            "{word} complete! Resources: {} added, {} changed, {} destroyed.",
            counts.add, counts.change, counts.destroy
        );
        for (count, what) in [(counts.swap, "swapped"), (counts.adopt, "adopted")] {
            if count > 0 {
                text.push_str(&format!(" {count} {what}."));
            }
        }
        return format!("{text} {cost}");
    }
    let mut done = 0;
    let mut failed = 0;
    let mut skipped = 0;
    for step in &record.steps {
        match step {
            StepRecord::Done {
                outcome:
                    Outcome::AlreadySo
                    | Outcome::Added
                    | Outcome::Changed
                    | Outcome::Adopted
                    | Outcome::Removed,
            } => done += 1,
            StepRecord::Failed(_) => failed += 1,
            StepRecord::Skipped => skipped += 1,
        }
    }
    let why = if record.stopped { "stopped" } else { "incomplete" };
    let is_first = plan.release.as_ref().is_some_and(|release| release.from.is_none());
    let release = match record.release {
        Some(Phase::Reverted) if is_first => {
            " What users see is wrong, and there is no release before it to go back to."
        }
        Some(Phase::Reverted) => {
            " What users saw after the switch was wrong, so it was switched back."
        }
        Some(Phase::SwitchingBack) => {
            " What users saw after the switch was wrong, and the floating IP could not be switched back yet."
        }
        Some(Phase::Aborted) => " Nothing users see was changed.",
        _ => "",
    };
    format!(
        "{word} {why}: {} done and recorded, {failed} failed, {skipped} not tried.{release} {cost}\n\
         The same command goes on from here.",
        number(done, "step")
    )
}

fn number(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Every failure: the object, what was being done, the causes, the evidence, the next command. Empty if there is none.
pub fn failures(record: &RunRecord) -> String {
    record.failures().map(failure).collect::<Vec<_>>().join("\n")
}

fn failure(failure: &Failure) -> String {
    let mut text = format!("error: {}: {}\n", failure.object, failure.doing);
    for cause in &failure.causes {
        text.push_str(&format!("  caused by: {}\n", printable(cause)));
    }
    for line in &failure.evidence {
        text.push_str(&format!("  | {}\n", printable(line)));
    }
    if let Some(help) = &failure.help {
        text.push_str(&format!("  help: {help}\n"));
    }
    text
}

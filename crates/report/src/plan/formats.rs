//! A plan for machines: everything in it as JSON, and the counts that GitLab's widget reads.

use seachange_core::plan::Plan;
use serde_json::{Value, json};

use super::view::view;
use crate::wording;

/// Version of the JSON. A key is added without a change of it, and never removed or given another meaning.
const FORMAT_VERSION: &str = "1.0";

/// The plan as JSON, everything in it.
pub fn json(plan: &Plan) -> Value {
    let counts = plan.count();
    let reasons: Vec<&str> = [
        (!plan.is_empty(), "changes"),
        (!plan.drift.is_empty(), "drift"),
        (
            plan.release.as_ref().is_some_and(|release| release.resumes.is_some()),
            "unfinished_transition",
        ),
    ]
    .into_iter()
    .filter_map(|(holds, word)| holds.then_some(word))
    .collect();
    json!({
        "format_version": FORMAT_VERSION,
        "type": "plan",
        "stack": plan.stack,
        "purpose": plan.purpose,
        "lineage": plan.lineage,
        "serial": plan.serial,
        "at": plan.at,
        "applyable": !plan.is_empty(),
        "complete": is_complete(plan),
        "reasons": reasons,
        "counts": counts,
        "drift": plan.drift.iter().map(|drift| json!({
            "address": drift.address, "finding": drift.finding, "text": wording::drift(drift),
        })).collect::<Vec<_>>(),
        "changes": plan.changes.iter().map(|change| json!({
            "address": change.address, "action": change.action, "reason": change.reason,
            "reason_text": wording::reason(&change.reason), "attributes": change.attributes,
        })).collect::<Vec<_>>(),
        "release": plan.release,
        "steps": plan.steps.iter().map(|step| json!({
            "id": step.id, "after": step.after, "text": wording::effect(&step.effect),
        })).collect::<Vec<_>>(),
        "cost": plan.cost,
        "notes": plan.notes,
        "summary": view(plan).summary,
    })
}

/// A plan that first ends an earlier run's release may hold back what the spec says besides: then another one follows.
fn is_complete(plan: &Plan) -> bool {
    plan.release.as_ref().is_none_or(|release| release.resumes.is_none())
}

/// The counts of GitLab's merge request widget (`artifacts:reports:terraform`). A swap creates and deletes nothing: it is an
/// update. GitLab reads the three and ignores the rest.
pub fn gitlab(plan: &Plan) -> Value {
    let counts = plan.count();
    json!({
        "create": counts.add,
        "update": counts.change + counts.swap + counts.adopt,
        "delete": counts.destroy,
        "seachange": { "summary": view(plan).summary, "swap": counts.swap, "sentences": view(plan).sentences },
    })
}

//! A plan for merge requests and machines.

use seachange_core::plan::Plan;
use serde_json::{Value, json};

use super::text::text;
use super::view::{View, view};
use crate::{Style, wording};

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
        "complete": true,
        "reasons": reasons,
        "counts": counts,
        "drift": plan.drift.iter().map(|drift| json!({
            "address": drift.address, "finding": drift.finding, "text": wording::finding(&drift.finding),
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

/// The plan as a merge request comment of at most so many bytes. Summary and sentences are never dropped; the details shrink.
pub fn markdown(view: &View, limit: usize) -> String {
    let mut head =
        format!("<!-- seachange -->\n### {}\n", view.nothing.as_ref().unwrap_or(&view.summary));
    if view.destroys {
        head.push_str("\n**⚠ This plan destroys resources.**\n");
    }
    for sentence in &view.sentences {
        head.push_str(&format!("\n{sentence}\n"));
    }
    if !view.drift.is_empty() {
        head.push_str("\nChanged outside:\n");
        view.drift.iter().take(20).for_each(|line| head.push_str(&format!("- {line}\n")));
    }
    if view.nothing.is_some() {
        return head;
    }
    let details = text(view, Style::default());
    let (open, close) =
        ("\n<details><summary>Details</summary>\n\n```diff\n", "```\n\n</details>\n");
    let cut = "… cut here; the whole plan: seachange show FILE\n";
    let room = limit.saturating_sub(head.len() + open.len() + close.len());
    let mut body = String::new();
    // diff colours need the sign in the first column.
    for line in details.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)) {
        if body.len() + line.len() + 1 + cut.len() > room {
            body.push_str(cut);
            break;
        }
        body.push_str(line);
        body.push('\n');
    }
    format!("{head}{open}{body}{close}")
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

/// The steps as a mermaid graph, which merge requests render.
pub fn mermaid(plan: &Plan) -> String {
    let mut text = "graph LR\n".to_owned();
    for step in &plan.steps {
        let label = wording::effect(&step.effect).replace('"', "'");
        text.push_str(&format!("  s{}[\"{label}\"]\n", step.id));
        for before in &step.after {
            text.push_str(&format!("  s{before} --> s{}\n", step.id));
        }
    }
    text
}

//! What moved outside.

use seachange_core::plan::Drift;
use seachange_core::state::State;
use serde_json::{Value, json};

use crate::{Paint, Style, wording};

/// One line if nothing moved, else one a finding.
pub fn text(state: &State, drift: &[Drift], style: Style) -> String {
    if drift.is_empty() {
        return format!("No drift. The stack {} is as it was left.\n", state.stack);
    }
    let lines = drift.iter().map(|drift| {
        format!(
            "  {} {}  {}\n",
            style.paint(Paint::Change, "!"),
            drift.address,
            wording::finding(&drift.finding)
        )
    });
    format!("{}\nseachange plan shows what apply would do about it.\n", lines.collect::<String>())
}

/// The same as JSON.
pub fn json(state: &State, drift: &[Drift]) -> Value {
    json!({
        "type": "drift",
        "stack": state.stack,
        "drifted": !drift.is_empty(),
        "findings": drift.iter().map(|drift| json!({
            "address": drift.address, "finding": drift.finding, "text": wording::finding(&drift.finding),
        })).collect::<Vec<_>>(),
    })
}

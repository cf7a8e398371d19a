//! What moved outside, and whether the way back is still open.

use seachange_core::observed::Observed;
use seachange_core::plan::Drift;
use seachange_core::state::State;
use serde_json::{Value, json};

use crate::{Paint, Style, status, wording};

/// One line if nothing moved, else one a finding; and whether a rollback would work, if there is a release.
pub fn text(state: &State, observed: &Observed, drift: &[Drift], style: Style) -> String {
    let rollback = (!state.releases.is_empty()).then(|| {
        format!("rollback: {}\n", status::rollback(state, observed).unwrap_or_else(|why| why))
    });
    let rollback = rollback.unwrap_or_default();
    if drift.is_empty() {
        return format!("No drift. The stack {} is as it was left.\n{rollback}", state.stack);
    }
    let lines = drift.iter().map(|drift| {
        format!(
            "  {} {}  {}\n",
            style.paint(Paint::Change, "!"),
            drift.address,
            wording::drift(drift)
        )
    });
    format!(
        "{}\n{rollback}seachange plan shows what apply would do about it.\n",
        lines.collect::<String>()
    )
}

/// The same as JSON.
pub fn json(state: &State, observed: &Observed, drift: &[Drift]) -> Value {
    json!({
        "type": "drift",
        "stack": state.stack,
        "drifted": !drift.is_empty(),
        "rollback_ready": status::rollback(state, observed).is_ok(),
        "findings": drift.iter().map(|drift| json!({
            "address": drift.address, "finding": drift.finding, "text": wording::drift(drift),
        })).collect::<Vec<_>>(),
    })
}

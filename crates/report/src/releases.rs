//! The release history.

use seachange_core::release::Kind;
use seachange_core::state::State;
use serde_json::{Value, json};

/// A table, newest first; the last one recorded is marked.
pub fn text(state: &State) -> String {
    if state.releases.is_empty() {
        return format!("The stack {} has no releases yet.\n", state.stack);
    }
    let rows = state.releases.iter().rev().enumerate().map(|(at, release)| {
        let kind = match release.kind {
            Kind::First => "first",
            Kind::Swap => "swap",
            Kind::Rollback => "rollback",
        };
        format!(
            "{} {:>4}  {:<16}  {}  {:<8}  worker[{}]  {}  {}\n",
            if at == 0 { "*" } else { " " },
            release.number,
            release.image.version(),
            release.digest.short(),
            kind,
            release.worker,
            release.at.strftime("%Y-%m-%d %H:%M:%S"),
            release.by,
        )
    });
    rows.collect()
}

/// The same as JSON.
pub fn json(state: &State) -> Value {
    json!({ "type": "releases", "stack": state.stack, "releases": state.releases })
}

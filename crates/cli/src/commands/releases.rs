//! `seachange releases`: the history, newest first. Reads the state only.

use seachange_core::state::State;
use seachange_report as report;

use crate::args::Target;
use crate::failure::{Context as _, Result};
use crate::output::Printer;
use crate::store;

/// Reads and shows.
pub(crate) async fn run(arguments: &Target, printer: Printer) -> Result<u8> {
    let state = store::visit(&arguments.spec, printer, async |_, log| {
        let head = log.head().await.context(|| "cannot read the state".to_owned())?;
        // Its lineage is shown nowhere.
        Ok(head.unwrap_or_else(|| State::empty("", log.stack())))
    })
    .await?;
    if printer.json {
        printer.out_json(&report::releases::json(&state));
    } else {
        printer.out(&report::releases::text(&state));
    }
    Ok(crate::exit::FINE)
}

//! `seachange releases`: the history, newest first. Reads the state only.

use seachange_core::state::State;
use seachange_report as report;

use crate::args::Target;
use crate::failure::{Context as _, Result};
use crate::output::Printer;
use crate::source::{Need, Source};
use crate::store::Place;

/// Reads and shows.
pub(crate) async fn run(arguments: &Target, printer: Printer) -> Result<u8> {
    let source = Source::read(&arguments.spec, Need::Access, printer)?;
    let head = Place::of_source(&source)?
        .log(&source.spec.stack)
        .head()
        .await
        .context(|| "cannot read the state".to_owned())?;
    // Its lineage is shown nowhere.
    let state = head.unwrap_or_else(|| State::empty("", &source.spec.stack));
    if printer.json {
        printer.out_json(&report::releases::json(&state));
    } else {
        printer.out(&report::releases::text(&state));
    }
    Ok(crate::exit::FINE)
}

//! `seachange releases`: the history, newest first. Reads the state only.

use seachange_report as report;

use crate::args::Target;
use crate::failure::Result;
use crate::output::Printer;
use crate::session::Session;
use crate::source::{Need, Source};
use crate::work;

/// Reads and shows.
pub(crate) async fn run(arguments: &Target, printer: Printer) -> Result<u8> {
    let source = Source::read(&arguments.spec, Need::Access, printer)?;
    let session = Session::open(&source, printer).await?;
    let state = work::state(&session, &session.context(1)).await;
    session.close().await;
    let state = state?;
    if printer.json {
        printer.out_json(&report::releases::json(&state));
    } else {
        printer.out(&report::releases::text(&state));
    }
    Ok(crate::exit::FINE)
}

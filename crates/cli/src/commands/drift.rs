//! `seachange drift`: what moved outside, in the cloud and on the hosts. Exit code 2 if anything did.

use seachange_core::plan::Purpose;
use seachange_core::planner;
use seachange_report as report;

use crate::args::Target;
use crate::failure::Result;
use crate::output::Printer;
use crate::session::Session;
use crate::source::{Need, Source};
use crate::{exit, work};

/// Looks and says.
pub(crate) async fn run(arguments: &Target, printer: Printer) -> Result<u8> {
    let source = Source::read(&arguments.spec, Need::Access, printer)?;
    let session = Session::open(&source, printer).await?;
    let outcome = drift(&session, printer).await;
    session.close().await;
    outcome
}

async fn drift(session: &Session, printer: Printer) -> Result<u8> {
    let context = session.context(1);
    let state = work::state(session, &context).await?;
    let observed =
        work::refresh(&context, &work::wanted(session, Purpose::Rollback), &state).await?;
    let drift = planner::drift(&state, &observed);
    if printer.json {
        printer.out_json(&report::drift::json(&state, &observed, &drift));
    } else {
        printer.out(&report::drift::text(&state, &observed, &drift, printer.style()));
    }
    Ok(if drift.is_empty() { exit::FINE } else { exit::CHANGES })
}

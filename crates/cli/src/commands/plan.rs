//! `seachange plan` and `seachange graph`: what apply would do, and why.

use std::path::Path;

use seachange_core::plan::{self, Plan, Purpose};
use seachange_report as report;
use serde_json::Value;

use crate::args::{self, Format};
use crate::failure::{Context as _, Result};
use crate::output::Printer;
use crate::session::Session;
use crate::source::{Need, Source};
use crate::store::Place;
use crate::{exit, work};

/// The budget of a merge request comment, in characters.
const COMMENT: usize = 65_536;

/// Plans and shows.
pub(crate) async fn run(arguments: &args::Plan, printer: Printer) -> Result<u8> {
    let (purpose, need) = match arguments.destroy {
        true => (Purpose::Destroy, Need::Whole),
        false => arguments.options.purpose(),
    };
    let source = Source::read(&arguments.spec, need, printer)?;
    let session = Session::open(&source, printer).await?;
    let outcome = plan(&session, &source, purpose, arguments, printer).await;
    session.close().await;
    outcome
}

async fn plan(
    session: &Session,
    source: &Source,
    purpose: Purpose,
    arguments: &args::Plan,
    printer: Printer,
) -> Result<u8> {
    let context = session.context(1);
    let mut state = work::state(session, &context).await?;
    work::settle(&context, &mut state).await?;
    let observed = work::refresh(&context, &work::wanted(session, purpose), &state).await?;
    let plan = work::plan(session, purpose, &arguments.options, &state, &observed)?;
    if let Some(path) = &arguments.out {
        save(&plan, path, &session.place)?;
    }
    show(&plan, arguments.format, &source.warnings, printer);
    let changes = arguments.detailed_exitcode && !plan.is_empty();
    Ok(if changes { exit::CHANGES } else { exit::FINE })
}

/// Shows a plan in a format. Warnings about its spec have been shown to people; machines get them with the plan.
pub(crate) fn show(plan: &Plan, format: Format, warnings: &[Value], printer: Printer) {
    let view = report::plan::view(plan);
    match format {
        _ if printer.json => {
            let mut object = report::plan::json(plan);
            object["warnings"] = warnings.into();
            printer.out_json(&object);
        }
        Format::Text => printer.out(&report::plan::text(&view, printer.style())),
        Format::Markdown => printer.out(&report::plan::markdown(&view, COMMENT)),
        Format::Gitlab => printer.out_json(&report::plan::gitlab(plan)),
        Format::Mermaid => printer.out(&report::plan::mermaid(plan)),
    }
}

fn save(plan: &Plan, path: &Path, place: &Place) -> Result<()> {
    std::fs::write(path, place.close(plan::file::write(plan))?)
        .context(|| format!("cannot write the plan to {}", path.display()))
}

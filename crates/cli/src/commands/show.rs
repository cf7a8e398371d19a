//! `seachange show`: a saved plan, without network. An encrypted one needs the spec it was made from.

use std::path::Path;

use seachange_core::plan::{self, Plan};
use seachange_engine::seal::{Seal, is_sealed};

use crate::args::Show;
use crate::failure::{Context as _, Failure, Result};
use crate::output::Printer;
use crate::source::{Need, Source};
use crate::store;

/// Reads and shows it.
pub(crate) fn run(arguments: &Show, printer: Printer) -> Result<u8> {
    let bytes = std::fs::read(&arguments.plan)
        .context(|| format!("cannot read the plan {}", arguments.plan.display()))?;
    let seal = match is_sealed(&bytes) {
        true => store::seal(&Source::read(&arguments.spec, Need::Access, printer)?.spec)?,
        false => None,
    };
    let plan = read(&arguments.plan, seal.as_deref())?;
    super::plan::show(&plan, arguments.format, &[], printer);
    Ok(crate::exit::FINE)
}

/// A plan from a file.
pub(crate) fn read(path: &Path, seal: Option<&Seal>) -> Result<Plan> {
    let bytes = store::open(path, seal)?;
    plan::file::read(&bytes).map_err(|error| {
        Failure::of(&error)
            .while_(format!("{} is no plan that can be used", path.display()))
            .help("make a new one: seachange plan --out FILE")
    })
}

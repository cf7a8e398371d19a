//! `seachange show`: a saved plan, without network or credentials.

use std::path::Path;

use seachange_core::plan::{self, Plan};

use crate::args::Show;
use crate::failure::{Context as _, Failure, Result};
use crate::output::Printer;

/// Reads and shows it.
pub(crate) fn run(arguments: &Show, printer: Printer) -> Result<u8> {
    super::plan::show(&read(&arguments.plan)?, arguments.format, &[], printer);
    Ok(crate::exit::FINE)
}

/// A plan from a file.
pub(crate) fn read(path: &Path) -> Result<Plan> {
    let bytes =
        std::fs::read(path).context(|| format!("cannot read the plan {}", path.display()))?;
    plan::file::read(&bytes).map_err(|error| {
        Failure::of(&error)
            .while_(format!("{} is no plan that can be used", path.display()))
            .help("make a new one: seachange plan --out FILE")
    })
}

//! `seachange validate`: everything that is wrong with a spec, without network or credentials.

use crate::args::SpecArguments;
use crate::failure::Result;
use crate::output::Printer;
use crate::source::{Need, Source};

/// Reads the spec and says so.
pub(crate) fn run(arguments: &SpecArguments, printer: Printer) -> Result<u8> {
    let source = Source::read(arguments, Need::Whole, printer)?;
    if printer.json {
        printer.out_json(&serde_json::json!({
            "valid": true, "stack": source.spec.stack, "warnings": source.warnings,
        }));
    } else {
        printer.out(&format!("{} is valid: stack {}", source.path.display(), source.spec.stack));
    }
    Ok(crate::exit::FINE)
}

//! `seachange schema`: the spec's JSON Schema, generated from what validation itself uses.

use seachange_core::spec;

use crate::output::Printer;

/// Prints the schema.
pub(crate) fn run(printer: Printer) -> u8 {
    printer.out(&format!("{:#}", spec::schema()));
    crate::exit::FINE
}

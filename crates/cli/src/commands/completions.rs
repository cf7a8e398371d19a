//! `seachange completions`: shell completions from the clap types.

use clap::CommandFactory as _;

use crate::args::Arguments;
use crate::output::Printer;

/// Prints the completions.
pub(crate) fn run(shell: clap_complete::Shell, printer: Printer) -> u8 {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "seachange", &mut text);
    printer.out(&String::from_utf8_lossy(&text));
    crate::exit::FINE
}

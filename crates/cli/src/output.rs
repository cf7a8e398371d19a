//! The one printer: results on stdout, everything else on stderr, readable without colour.

use std::io::{IsTerminal as _, Write as _};

use crate::args::{Arguments, Command};
use crate::env;

/// How to speak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    /// Data as JSON.
    pub(crate) json: bool,
    /// With `json`: one object a line while something runs, instead of one document at the end.
    pub(crate) stream: bool,
    /// Colour on stdout.
    pub(crate) colour: bool,
    /// Colour on stderr.
    pub(crate) colour_talk: bool,
    /// Bars and questions are possible: a terminal on both ends, and not CI.
    pub(crate) interactive: bool,
}

impl Printer {
    /// From what was typed and where we run.
    pub(crate) fn new(arguments: &Arguments) -> Self {
        let plain = arguments.no_color || arguments.json || env::is_set(env::NO_COLOR);
        Self {
            json: arguments.json,
            stream: arguments.json && runs(&arguments.command),
            colour: !plain && std::io::stdout().is_terminal(),
            colour_talk: !plain && std::io::stderr().is_terminal(),
            interactive: std::io::stdin().is_terminal()
                && std::io::stderr().is_terminal()
                && !arguments.json
                && !env::is_ci(),
        }
    }

    /// How reports shall look on stdout.
    pub(crate) fn style(self) -> seachange_report::Style {
        seachange_report::Style { colour: self.colour }
    }

    /// A result.
    pub(crate) fn out(self, text: &str) {
        write(&mut std::io::stdout().lock(), text);
    }

    /// A result as one line of JSON.
    pub(crate) fn out_json(self, value: &serde_json::Value) {
        self.out(&value.to_string());
    }

    /// Talk.
    pub(crate) fn talk(self, text: &str) {
        write(&mut std::io::stderr().lock(), text);
    }

    /// Asks a question that only `yes` answers with yes. Call only if interactive.
    pub(crate) fn ask(self, question: &str) -> bool {
        let mut stderr = std::io::stderr().lock();
        if write!(stderr, "{question}\n  Only `yes` is accepted: ")
            .and_then(|()| stderr.flush())
            .is_err()
        {
            return false;
        }
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).is_ok_and(|_| answer.trim() == "yes")
    }
}

/// Whether a command changes the world, and so has something to tell while it does.
fn runs(command: &Command) -> bool {
    matches!(
        command,
        Command::Apply(_) | Command::Destroy(_) | Command::Rollback(_) | Command::Demo(_)
    )
}

/// Writes a text and a final newline if it has none. A reader that went away (`| head`) is no error.
fn write(to: &mut dyn std::io::Write, text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let _: std::io::Result<()> = write!(to, "{text}{end}").and_then(|()| to.flush());
}

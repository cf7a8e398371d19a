//! The one place where errors become people's words: what failed, the chain of causes, the next command.

use std::error::Error;
use std::fmt::Write as _;

/// An error on its way to a person.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What went wrong, outermost first; later lines are causes.
    pub(crate) causes: Vec<String>,
    /// Text shown as it is, before the causes (rendered diagnostics).
    pub(crate) shown: Option<String>,
    /// The same for machines, one by one.
    pub(crate) diagnostics: Vec<serde_json::Value>,
    /// The next command or remedy.
    pub(crate) help: Option<String>,
}

/// The result of everything the commands do.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure in one sentence.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { causes: vec![message.into()], shown: None, diagnostics: Vec::new(), help: None }
    }

    /// A failure from an error and all its sources, with the remedy for it if one is known.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut causes = vec![error.to_string()];
        let mut source = error.source();
        while let Some(error) = source {
            causes.push(error.to_string());
            source = error.source();
        }
        Self {
            causes,
            shown: None,
            diagnostics: Vec::new(),
            help: crate::hint::of(error).map(str::to_owned),
        }
    }

    /// With the next command.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With what was being done in front.
    pub(crate) fn while_(mut self, doing: impl Into<String>) -> Self {
        self.causes.insert(0, doing.into());
        self
    }

    /// The text for stderr.
    pub(crate) fn text(&self) -> String {
        let mut text = self.shown.clone().unwrap_or_default();
        for (index, cause) in self.causes.iter().enumerate() {
            let lead = if index == 0 { "error" } else { "  caused by" };
            let _: std::fmt::Result = writeln!(text, "{lead}: {cause}");
        }
        if let Some(help) = &self.help {
            let _: std::fmt::Result = writeln!(text, "  help: {help}");
        }
        text
    }

    /// The same for `--json`.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "type": "diagnostic",
            "@level": "error",
            "@message": self.causes.join(": "),
            "level": "error",
            "diagnostics": self.diagnostics,
            "causes": self.causes,
            "text": self.shown,
            "help": self.help,
        })
    }
}

/// Adds what was being done to a foreign error.
pub(crate) trait Context<T> {
    /// With a sentence in front.
    fn context(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Error + 'static> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Failure::of(&error).while_(doing()))
    }
}

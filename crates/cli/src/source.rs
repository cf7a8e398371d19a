//! Finds and reads the spec a command is about, and says all that is wrong with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use seachange_core::diagnostic::{self, Diagnostic, Severity};
use seachange_core::spec::{self, Spec, Variables};
use serde_json::{Value, json};

use crate::args::SpecArguments;
use crate::env;
use crate::failure::{Failure, Result};
use crate::output::Printer;

/// The file that is read if none is named.
const DEFAULT: &str = "seachange.yaml";
/// Remembers the spec that was last applied in this folder: its path, nothing else.
const RECENT: &str = ".seachange/recent";
/// Stands for a variable that this command does not need.
const UNNEEDED: &str = "not-needed";

/// A spec that was read.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) spec: Spec,
    pub(crate) local: bool,
    /// What its author should know, as JSON: shown already, but a reader of JSON reads nothing else.
    pub(crate) warnings: Vec<Value>,
}

/// Which variables must have a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// All: what the spec says is going to be compared or done.
    Whole,
    /// Those outside `app`: the stack's name and the way to its hosts. A rollback at night needs no version.
    Access,
}

impl Source {
    /// Finds, reads and checks the spec. Warnings are shown; errors are the failure.
    pub(crate) fn read(arguments: &SpecArguments, need: Need, printer: Printer) -> Result<Self> {
        let path = find(arguments)?;
        let bytes = fs::read(&path).map_err(|error| {
            Failure::of(&error)
                .while_(format!("cannot read the spec {}", path.display()))
                .help("name it with -f FILE, or write a starter with: seachange init")
        })?;
        let vars = variables(arguments)?;
        let lookup = |name: &str| env::get(name);
        let supplied = |at: &str, _: &str| {
            let credential =
                ["ssh.", "app.registry.", "state."].iter().any(|prefix| at.starts_with(prefix));
            let stand_in =
                (arguments.local && credential) || (need == Need::Access && at.starts_with("app."));
            stand_in.then(|| UNNEEDED.to_owned())
        };
        let (spec, diagnostics) =
            spec::read(&bytes, &Variables { env: &lookup, vars: &vars, supplied: &supplied });
        let source =
            diagnostic::Source { name: path.display().to_string(), text: spec::shown(&bytes) };
        let errors = diagnostics.iter().filter(|found| found.severity == Severity::Error).count();
        let shown = diagnostic::render(&source, &diagnostics, printer.colour_talk);
        let found: Vec<Value> = diagnostics.iter().map(|found| as_json(&source, found)).collect();
        match spec {
            Some(spec) if errors == 0 => {
                if !diagnostics.is_empty() {
                    printer.talk(&shown);
                }
                Ok(Self { path, spec, local: arguments.local, warnings: found })
            }
            _ => {
                let noun = if errors == 1 { "error" } else { "errors" };
                let mut failure = Failure::new(format!("{} has {errors} {noun}", path.display()));
                failure.shown = Some(shown);
                failure.diagnostics = found;
                Err(failure)
            }
        }
    }

    /// Remembers this spec as the one of this folder, for commands without `-f`. Failing to is no failure.
    pub(crate) fn remember(&self) {
        let Ok(path) = self.path.canonicalize() else { return };
        let _: std::io::Result<()> = Path::new(RECENT).parent().map_or(Ok(()), fs::create_dir_all);
        let _: std::io::Result<()> = fs::write(RECENT, path.to_string_lossy().as_bytes());
    }
}

/// One problem for a machine. Its place, not its source line, which may be a secret.
fn as_json(source: &diagnostic::Source, found: &Diagnostic) -> Value {
    let place = found.span.as_ref().map(|span| diagnostic::position(&source.text, span.start));
    json!({
        "severity": match found.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "message": found.message,
        "file": source.name,
        "line": place.map(|(line, _)| line),
        "column": place.map(|(_, column)| column),
        "path": found.path,
        "help": found.help,
    })
}

fn find(arguments: &SpecArguments) -> Result<PathBuf> {
    if let Some(path) = &arguments.file {
        return Ok(path.clone());
    }
    if Path::new(DEFAULT).exists() {
        return Ok(DEFAULT.into());
    }
    fs::read_to_string(RECENT).map(PathBuf::from).map_err(|_| {
        Failure::new(format!(
            "no spec: there is no {DEFAULT} here, and none was applied in this folder"
        ))
        .help("name one with -f FILE, or write a starter with: seachange init")
    })
}

/// `--var` before `SEACHANGE_VAR_`.
fn variables(arguments: &SpecArguments) -> Result<BTreeMap<String, String>> {
    let mut vars = env::variables();
    for text in &arguments.vars {
        let (name, value) = text.split_once('=').ok_or_else(|| {
            Failure::new(format!("--var {text}: expected NAME=VALUE"))
                .help(format!("--var {text}=…"))
        })?;
        vars.insert(name.to_owned(), value.to_owned());
    }
    Ok(vars)
}

//! Problems found in a text, each with its place, shown in rustc's look.
//!
//! Source lines go into terminals and CI logs: a text that may hold secrets comes in with them blotted out
//! ([`spec::shown`](crate::spec::shown)), and no control character of it goes out.

use std::ops::Range;

use annotate_snippets::{
    AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str,
};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The text cannot be used.
    Error,
    /// It can, but its author should know.
    Warning,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Where, in bytes of the text.
    pub span: Option<Range<usize>>,
    /// What is said at that place.
    pub label: Option<String>,
    /// Where, as a path of keys: `workers.size`.
    pub path: String,
    /// What to do.
    pub help: Option<String>,
}

/// The text, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// A file name.
    pub name: String,
    /// The text.
    pub text: String,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(path: &str, span: Option<Range<usize>>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            span,
            label: None,
            path: path.to_owned(),
            help: None,
        }
    }

    /// The same as a warning.
    pub fn warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    /// With words at the place.
    pub fn label(self, label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    /// With what to do.
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// Line and column of a byte, both counted from 1; the column counts characters.
pub fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte.min(text.len())).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// All problems as text, each with its source lines.
pub fn render(source: &Source, diagnostics: &[Diagnostic], colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let blocks: Vec<String> =
        diagnostics.iter().map(|found| renderer.render(&[group(source, found)])).collect();
    let mut text = blocks.join("\n\n");
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    text
}

fn group<'a>(source: &'a Source, found: &'a Diagnostic) -> Group<'a> {
    let level = match found.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(found.message.as_str()));
    let span = found.span.clone().filter(|span| source.text.get(span.clone()).is_some());
    if let Some(span) = span {
        let mut annotation = AnnotationKind::Primary.span(span);
        if let Some(label) = &found.label {
            annotation = annotation.label(label.as_str());
        }
        let snippet =
            Snippet::source(source.text.as_str()).path(source.name.as_str()).annotation(annotation);
        group = group.element(snippet);
    } else {
        group = group.element(Origin::path(source.name.as_str()));
    }
    if let Some(help) = &found.help {
        // A help may quote the text, and the renderer takes a message as it is: no escape sequence may pass.
        group = group.element(Level::HELP.message(normalize_untrusted_str(help)));
    }
    group
}

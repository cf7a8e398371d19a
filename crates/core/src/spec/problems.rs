//! The problems found so far, bounded: a text that is wrong in every line must fill neither memory nor screen.

use crate::diagnostic::{Diagnostic, Severity};

/// The most that are told; nobody reads further before mending these.
const MOST: usize = 100;

/// Problems in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Diagnostic>,
    more: usize,
}

impl Problems {
    /// Adds one; past the bound it is only counted.
    pub(super) fn push(&mut self, problem: Diagnostic) {
        if self.found.len() < MOST {
            self.found.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// Whether something was already said of a value at this place or below: what is missing may only be unusable.
    pub(super) fn mention(&self, path: &str) -> bool {
        self.found.iter().any(|problem| problem.path.starts_with(path))
    }

    /// Whether the text cannot be used.
    pub(super) fn refuse(&self) -> bool {
        // What was only counted may have been an error.
        self.more > 0 || self.found.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// All of them in the order of the text; what has no place comes first, what is not told last.
    pub(super) fn told(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
        if self.more > 0 {
            self.found.push(Diagnostic::error("", None, format!("{} more problems", self.more)));
        }
        self.found
    }
}

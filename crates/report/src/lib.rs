//! Plans, runs and states as text: for a terminal, a merge request, a CI system, a machine.
//!
//! Pure: everything comes in as values, everything goes out as a `String` or a JSON value. [`plan::view()`] is the one
//! view model of a plan; every format renders it and none computes anything anew. [`wording`] is the one place where
//! reasons, findings and effects become words. Nothing here reads the world, and no secret can be in what it is given.

pub mod drift;
pub mod event;
pub mod plan;
pub mod releases;
pub mod run;
pub mod state;
pub mod status;
pub mod wording;

/// How a text shall look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours. Everything is readable without.
    pub colour: bool,
}

/// A colour with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Add,
    Change,
    Destroy,
    Swap,
    Strong,
}

impl Style {
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Add => "32",
            Paint::Change => "33",
            Paint::Destroy => "31",
            Paint::Swap => "36",
            Paint::Strong => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

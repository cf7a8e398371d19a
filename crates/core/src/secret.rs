//! A value that never leaves by accident: it redacts itself and cannot be serialised.
//!
//! Reading the text takes a call to [`Secret::expose`], which is easy to search for. Two secrets are compared in
//! tests and nowhere else, so there is no constant-time comparison here.

use std::fmt;

/// A secret text: a token, a password, a private key. `Debug` and `Display` print `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Call it only where the text is sent to the one who must know it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

//! A plan for people and for machines. [`view()`] decides what is said; the formats decide how it looks.

mod formats;
mod text;
mod view;

pub use formats::{gitlab, json, markdown, mermaid};
pub use text::text;
pub use view::{Item, ReleaseView, View, view};

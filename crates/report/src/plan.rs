//! A plan for people and for machines. [`view()`] decides what is said; the formats decide how it looks.

mod fate;
mod formats;
mod markdown;
mod mermaid;
mod text;
mod view;

pub use formats::{gitlab, json};
pub use markdown::markdown;
pub use mermaid::mermaid;
pub use text::text;
pub use view::{Item, ReleaseView, View, view};

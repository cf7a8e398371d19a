//! A plan on a terminal.

use seachange_core::plan::ActionKind;

use super::view::{Item, View};
use crate::wording::sign;
use crate::{Paint, Style};

/// The plan as text: what changed outside, what users will get, what is done, what it costs, how much it is.
pub fn text(view: &View, style: Style) -> String {
    let mut blocks = Vec::new();
    if !view.drift.is_empty() {
        let lines = view.drift.iter().map(|line| format!("  ! {line}"));
        blocks.push(block("Changed outside:", lines));
    }
    if let Some(nothing) = &view.nothing {
        blocks.push(nothing.clone());
        return blocks.join("\n\n") + "\n";
    }
    blocks.extend(changes(view, style));
    if !view.sentences.is_empty() {
        blocks.push(view.sentences.join("\n"));
    }
    blocks.extend(view.cost.clone());
    blocks.extend(notes(view));
    blocks.push(style.paint(Paint::Strong, &view.summary));
    blocks.join("\n\n") + "\n"
}

/// What is done: the changes by address, then the release as a picture. `None` if neither is there.
pub(super) fn changes(view: &View, style: Style) -> Option<String> {
    let mut blocks = Vec::new();
    if !view.items.is_empty() {
        let items: Vec<String> = view.items.iter().map(|found| item(found, style)).collect();
        blocks.push(items.join("\n"));
    }
    if let Some(release) = &view.release {
        let width = release.rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
        let mut lines = vec![format!(
            "  {} {}",
            style.paint(Paint::Swap, release.sign),
            style.paint(Paint::Strong, &release.title)
        )];
        lines.extend(
            release.rows.iter().map(|(left, right)| format!("      {left:width$}   {right}")),
        );
        lines.extend(release.steps.lines().map(|line| format!("      {line}")));
        blocks.push(lines.join("\n"));
    }
    (!blocks.is_empty()).then(|| blocks.join("\n\n"))
}

fn notes(view: &View) -> Option<String> {
    let lines = view.notes.iter().map(|note| format!("  note: {note}"));
    (!view.notes.is_empty()).then(|| lines.collect::<Vec<_>>().join("\n"))
}

fn block(title: &str, lines: impl Iterator<Item = String>) -> String {
    std::iter::once(title.to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
}

fn item(item: &Item, style: Style) -> String {
    let paint = match item.action {
        ActionKind::Create | ActionKind::Adopt => Paint::Add,
        ActionKind::Update | ActionKind::Repair | ActionKind::Forget => Paint::Change,
        ActionKind::Replace | ActionKind::Delete => Paint::Destroy,
        ActionKind::Swap => Paint::Swap,
    };
    // What stands for several has been signed by those above it.
    let sign = if item.title.starts_with('…') { " " } else { sign(item.action) };
    let title = format!("  {} {}", style.paint(paint, sign), item.title);
    block(&title, item.lines.iter().map(|line| format!("      {line}")))
}

//! A plan as the comment of a merge request.
//!
//! A comment that is too long is refused by the forge, and a pipeline must not fail for that. So the parts stand in the
//! order of their weight, and when the room ends, the rest is counted instead of shown. Counted in bytes, which are
//! never fewer than characters. What came from outside stands in fences only: it must not format, link or mention.

use super::text::changes;
use super::view::View;
use crate::Style;

/// Said instead of what did not fit.
const REST: &str = "the whole plan: seachange show FILE";

/// Up to so many lines of changes are shown without a click.
const AT_ONCE: usize = 30;

/// Room kept for the line that counts what did not fit.
const REST_ROOM: usize = 80;

/// The plan as a merge request's comment of at most so many bytes. Summary and warning are never dropped, whatever the
/// limit.
///
/// The first line is an invisible mark that stays the same for a stack, so that a bot finds its comment again.
pub fn markdown(view: &View, limit: usize) -> String {
    let title = view.nothing.as_ref().unwrap_or(&view.summary);
    let mut text = format!("<!-- seachange:{} -->\n### {title}\n", view.stack);
    if view.destroys {
        text.push_str("\n**⚠ This plan destroys resources.**\n");
    }
    for fact in view.sentences.iter().chain(&view.cost).map(|fact| format!("\n{fact}\n")) {
        if text.len() + fact.len() <= limit {
            text.push_str(&fact);
        }
    }
    let drift: Vec<String> = view.drift.iter().map(|line| format!("! {line}")).collect();
    if view.nothing.is_some() {
        push(&mut text, limit, "Changed outside", "diff", &drift, Open::Yes);
        return text;
    }
    push(&mut text, limit, "Notes", "text", &view.notes, Open::Yes);
    push(&mut text, limit, "Changed outside", "diff", &drift, Open::Yes);
    let changes: Vec<String> =
        changes(view, Style::default()).iter().flat_map(|all| all.lines()).map(diff).collect();
    let open = if changes.len() <= AT_ONCE { Open::Yes } else { Open::No };
    push(&mut text, limit, "Changes", "diff", &changes, open);
    text
}

/// Whether a reader has to click first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Yes,
    No,
}

/// Appends a folding section with as many of the lines as there is room for, or nothing.
fn push(
    text: &mut String,
    limit: usize,
    title: &str,
    language: &str,
    lines: &[String],
    open: Open,
) {
    if lines.is_empty() {
        return;
    }
    let open = if open == Open::Yes { " open" } else { "" };
    let fence = fence(lines);
    let head = format!("\n<details{open}><summary>{title}</summary>\n\n{fence}{language}\n");
    let foot = format!("{fence}\n\n</details>\n");
    let room = limit.saturating_sub(text.len() + head.len() + foot.len());
    let all: usize = lines.iter().map(|line| line.len() + 1).sum();
    let mut shown = lines.len();
    if all > room {
        let mut left = room.saturating_sub(REST_ROOM);
        shown = lines
            .iter()
            .take_while(|line| {
                let fits = line.len() < left;
                left = left.saturating_sub(line.len() + 1);
                fits
            })
            .count();
        if shown == 0 {
            return;
        }
    }
    text.push_str(&head);
    for line in &lines[..shown] {
        text.push_str(line);
        text.push('\n');
    }
    if shown < lines.len() {
        text.push_str(&format!("… {} more lines; {REST}\n", lines.len() - shown));
    }
    text.push_str(&foot);
}

/// A fence that nothing in the lines can close.
fn fence(lines: &[String]) -> String {
    let mut longest = 0;
    for line in lines {
        let mut run = 0;
        for sign in line.chars() {
            run = if sign == '`' { run + 1 } else { 0 };
            longest = longest.max(run);
        }
    }
    "`".repeat((longest + 1).max(3))
}

/// Forges colour what has its sign in the first column; `!` is their sign for changed.
fn diff(line: &str) -> String {
    let line = line.strip_prefix("  ").unwrap_or(line);
    line.strip_prefix("~ ").map_or_else(|| line.to_owned(), |rest| format!("! {rest}"))
}

#[cfg(test)]
mod tests {
    use super::{fence, markdown};
    use crate::plan::View;

    fn long(lines: usize) -> View {
        View {
            stack: "webgui".to_owned(),
            nothing: None,
            drift: (0..lines).map(|line| format!("record.{line}  is gone")).collect(),
            items: Vec::new(),
            release: None,
            sentences: vec!["After apply, users get webgui 1.1 from webgui-worker-02.".to_owned()],
            destroys: true,
            cost: None,
            notes: (0..lines).map(|line| format!("note {line}")).collect(),
            summary: "Plan: 0 to add, 0 to change, 1 to destroy.".to_owned(),
        }
    }

    #[test]
    fn whatever_the_limit_it_holds_and_what_matters_stays() {
        let least = markdown(&long(0), 0).len();
        for limit in (0..6000).step_by(7) {
            let text = markdown(&long(200), limit);
            assert!(text.len() <= limit.max(least), "{} bytes of {limit}", text.len());
            assert!(text.contains("1 to destroy."), "{limit}: no summary");
            assert!(text.contains('⚠'), "{limit}: no warning");
            assert_eq!(text.matches("<details").count(), text.matches("</details>").count());
            assert_eq!(text.matches("```").count() % 2, 0, "{limit}: an open fence");
        }
        let whole = markdown(&long(200), usize::MAX);
        assert!(whole.contains("note 199") && whole.contains("record.199"), "{whole}");
        assert_eq!(markdown(&long(200), whole.len()), whole, "it fits exactly");
    }

    #[test]
    fn what_is_fenced_cannot_close_the_fence() {
        assert_eq!(fence(&["plain".to_owned()]), "```");
        assert_eq!(fence(&["a ``` b".to_owned(), "````".to_owned()]), "`````");
    }
}

//! A spec's text as it may be shown: whatever is or may be a secret is blotted out, and every other byte stays in its place.
//!
//! Driven by the table of forms, so that a secret that is added there is hidden here. What stands under a key that is not
//! in the table is hidden too wherever a secret may stand: a typo in `password` must not print the password. A text that
//! is no YAML has no tree; there the lines decide.

use std::ops::Range;

use super::document::{self, Node, Value};
use super::problems::Problems;
use super::shape::{self, Field, Format, SPEC, Shape};
use super::variables;

/// The text with its secrets blotted out.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let spans = match document::parse(bytes, &mut Problems::default()) {
        Some(root) => {
            let mut spans = Vec::new();
            in_node(&root, &SPEC, false, &mut spans);
            spans
        }
        None => in_lines(&text),
    };
    let mut shown = text.into_owned().into_bytes();
    for span in spans {
        let hidden = shown.get_mut(span).unwrap_or_default();
        hidden.iter_mut().filter(|byte| !byte.is_ascii_whitespace()).for_each(|byte| *byte = b'*');
    }
    String::from_utf8(shown).unwrap_or_default()
}

/// Whether a text looks like a secret, wherever it stands.
pub(super) fn looks_secret(text: &str) -> bool {
    text.contains("PRIVATE KEY")
}

/// `near`: a secret may stand where this node stands, in another form.
fn in_node(node: &Node, shape: &Shape, near: bool, spans: &mut Vec<Range<usize>>) {
    match (shape, &node.value) {
        (Shape::Object(fields), Value::Map(entries)) => {
            for entry in entries {
                match fields.iter().find(|field| field.name == entry.key) {
                    Some(field) => in_node(&entry.value, &field.shape, false, spans),
                    None if near || may_hold_secrets(shape) => all(&entry.value, spans),
                    None => {}
                }
            }
        }
        (Shape::Either(shapes), _) => {
            let near = near || may_hold_secrets(shape);
            match shapes.iter().find(|shape| shape.takes(node)) {
                Some(shape) => in_node(node, shape, near, spans),
                None if near => all(node, spans),
                None => {}
            }
        }
        (Shape::List(item, _), Value::List(items)) => {
            items.iter().for_each(|node| in_node(node, item, near, spans));
        }
        (_, Value::Scalar(text, _)) if looks_secret(text) => all(node, spans),
        _ if may_hold_secrets(shape) => all(node, spans),
        _ => {}
    }
}

fn all(node: &Node, spans: &mut Vec<Range<usize>>) {
    match &node.value {
        Value::Scalar(text, _) if variables::only(text) => {}
        Value::Scalar(..) => spans.push(node.span.clone()),
        Value::List(items) => items.iter().for_each(|item| all(item, spans)),
        Value::Map(entries) => entries.iter().for_each(|entry| all(&entry.value, spans)),
    }
}

fn may_hold_secrets(shape: &Shape) -> bool {
    match shape {
        Shape::Object(fields) => fields.iter().any(|field| may_hold_secrets(&field.shape)),
        Shape::List(item, _) => may_hold_secrets(item),
        Shape::Texts | Shape::Text(Format::Secret) => true,
        Shape::Text(_) | Shape::Number(..) | Shape::Flag => false,
        Shape::Either(shapes) => shapes.iter().any(may_hold_secrets),
    }
}

/// From a key that is not known to be harmless to the next line that begins with a key and is not deeper.
fn in_lines(text: &str) -> Vec<Range<usize>> {
    let known = shape::every_field();
    let mut spans = Vec::new();
    // Where what is hidden begins, and how deep the line of its key is.
    let mut open: Option<(usize, usize)> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let depth = line.len() - line.trim_start_matches([' ', '-']).len();
        let keys = keys(line);
        if let Some((from, above)) = open
            && depth <= above
            && keys.first().is_some_and(|key| key.start <= depth + 1)
        {
            spans.push(from..start);
            open = None;
        }
        if open.is_none() {
            let suspect =
                keys.iter().find(|key| !harmless(&line[(*key).clone()], &line[key.end..], &known));
            let after = |key: &Range<usize>| {
                line[key.end..].find(':').map_or(key.end, |at| key.end + at + 1)
            };
            let from = if looks_secret(line) { Some(0) } else { suspect.map(after) };
            open = from.map(|from| (start + from, depth));
        }
        start += line.len();
    }
    spans.extend(open.map(|(from, _)| from..text.len()));
    spans
}

/// Where the keys of a line stand: words before a colon that ends them.
fn keys(line: &str) -> Vec<Range<usize>> {
    let ends = |at: &usize| {
        line[at + 1..].chars().next().is_none_or(|c| c.is_whitespace() || "\"'{[".contains(c))
    };
    let word = |c: char| c.is_alphanumeric() || "_-.<".contains(c);
    line.match_indices(':')
        .map(|(at, _)| at)
        .filter(ends)
        .map(|at| {
            let end = line[..at].trim_end_matches(['"', '\'', ' ']).len();
            line[..end].trim_end_matches(word).len()..end
        })
        .filter(|key| !key.is_empty())
        .collect()
}

/// Whether what follows a key of this name is no secret, whichever block it stands in.
fn harmless(key: &str, rest: &str, known: &[(String, &Field)]) -> bool {
    let rest = rest.trim_start_matches(['"', '\'', ':', ' ']);
    let block = rest.trim_end().is_empty() || rest.starts_with(['{', '#', '&']);
    let mut named = known.iter().filter(|(_, field)| field.name == key).peekable();
    named.peek().is_some()
        && named.all(|(_, field)| match &field.shape {
            Shape::Object(_) if block => true,
            shape => !may_hold_secrets(shape),
        })
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_secret_is_hidden_wherever_it_was_put() {
        for text in [
            "app: { registry: { password: hunter2 } }",
            "app: { registry: { pasword: hunter2 } }",
            "app: { registry: [hunter2] }",
            "app: { registry: hunter2 }",
            "app: hunter2",
            "app: { env: { A: \"hunter2${env:B}\" } }",
            "app: { env: { A: \"${env:B:-hunter2}\" } }",
            "app: { environment: { A: hunter2 } }",
            "app: { env: { A: a, A: hunter2 } }",
            "app: { registry: { password: a } }\napp: { registry: { password: hunter2 } }",
            "ssh: { private_key: { text: hunter2 } }",
            "ssh: { keys: [\"-----BEGIN RSA PRIVATE KEY-----hunter2\"] }",
            "x-base: &a hunter2\nssh: { passphrase: *a }",
            "password: hunter2",
            // No YAML, so that the lines decide.
            "app: { registry: { username: ${env:U}, password: hunter2 } }",
            "app:\n  registry:\n    \"password\": \"hunter2\n",
            "app:\n  registry: hunter2 [\n    a: {\n",
            "app:\n  env:\n    A: hunter2\n    B: {\n",
            "app:\n  environment:\n    A: hunter2\n    B: {\n",
            "ssh:\n  private_key: |\n-----BEGIN KEY-----\nhunter2\nProc-Type: 4,hunter2\n-----END KEY-----\n",
            "ssh:\n  keys: [-----BEGIN RSA PRIVATE KEY-----\nhunter2\n",
            "pasword: \"hunter2\n",
            "password: a\0hunter2\n",
        ] {
            let shown = shown(text.as_bytes());
            assert_eq!(shown.len(), text.len(), "{text}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        for text in [
            "stack: a\nworkers: { count: 2, sise: b }\nssh: { user: root, keys: [] }",
            "app: { image: a, registry: { password: \"${env:A}${env:B:-}\" } }",
            "app:\n  image: a\n  port: [\n",
            "stack: \"never closed\nregion: fra1\n",
        ] {
            assert_eq!(shown(text.as_bytes()), text);
        }
        let cut = "app:\n  env: { A: b }\n  port: 80\nstack: {\n";
        assert_eq!(shown(cut.as_bytes()), "app:\n  env: * ** * *\n  port: 80\nstack: {\n");
    }
}

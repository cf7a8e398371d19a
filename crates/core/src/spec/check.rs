//! Holds a document against the table of forms, fills variables in, and reports everything that does not fit.
//!
//! What comes out is a tree of the same form with texts filled in and numbers read; it has only what fitted.

use std::collections::BTreeMap;
use std::ops::Range;

use super::document::{Entry, Node, Value};
use super::shape::{Field, Format, Shape};
use super::variables::{Problem, Variables, fill};
use crate::diagnostic::Diagnostic;

/// A value that has the form it should.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) value: Fitting,
    pub(super) span: Range<usize>,
    /// A text that stands in the file as it is, without a variable.
    pub(super) literal: bool,
}

/// What it is.
#[derive(Debug, Clone)]
pub(super) enum Fitting {
    Text(String),
    Number(u64),
    List(Vec<Checked>),
    Map(BTreeMap<String, Checked>),
}

impl Checked {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Fitting::Map(map) => map.get(key),
            Fitting::Text(_) | Fitting::Number(_) | Fitting::List(_) => None,
        }
    }

    /// The text of a key.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Self::as_text)
    }

    /// This text.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Fitting::Text(text) => Some(text),
            Fitting::Number(_) | Fitting::List(_) | Fitting::Map(_) => None,
        }
    }

    /// The number of a key.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        match self.get(key)?.value {
            Fitting::Number(number) => Some(number),
            Fitting::Text(_) | Fitting::List(_) | Fitting::Map(_) => None,
        }
    }

    /// The items of a key's list.
    pub(super) fn list(&self, key: &str) -> &[Self] {
        match self.get(key).map(|checked| &checked.value) {
            Some(Fitting::List(items)) => items,
            _ => &[],
        }
    }
}

/// Checks a node against a form.
pub(super) fn check(
    node: &Node,
    shape: &Shape,
    path: &str,
    variables: &Variables<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Checked> {
    Check { variables, problems }.node(node, shape, path)
}

struct Check<'a> {
    variables: &'a Variables<'a>,
    problems: &'a mut Vec<Diagnostic>,
}

impl Check<'_> {
    fn node(&mut self, node: &Node, shape: &Shape, path: &str) -> Option<Checked> {
        let checked = |value, literal| Some(Checked { value, span: node.span.clone(), literal });
        match (shape, &node.value) {
            (Shape::Either(shapes), _) => {
                let fits = |shape: &&Shape| {
                    matches!(
                        (shape, &node.value),
                        (Shape::Text(_), Value::Scalar(..)) | (Shape::Object(_), Value::Map(_))
                    )
                };
                match shapes.iter().find(fits) {
                    Some(shape) => self.node(node, shape, path),
                    None => self.wrong_kind(node, "a text or a mapping", path),
                }
            }
            (Shape::Object(fields), Value::Map(entries)) => {
                let map = self.object(node, entries, fields, path);
                checked(Fitting::Map(map), false)
            }
            (Shape::Object(_), _) if node.is_null() => {
                self.problems.push(
                    Diagnostic::error(
                        path,
                        Some(node.span.clone()),
                        format!("`{path}` has no value"),
                    )
                    .help(format!("write `{}: {{}}`, or leave it out", last(path))),
                );
                None
            }
            (Shape::Object(_), _) => self.wrong_kind(node, "a mapping", path),
            (Shape::List(shape, noun), Value::List(items)) => {
                if items.is_empty() {
                    let message = format!("`{path}` is empty: at least one {noun} is needed");
                    self.problems.push(Diagnostic::error(path, Some(node.span.clone()), message));
                    return None;
                }
                let items = items.iter().enumerate();
                let items: Vec<Checked> = items
                    .filter_map(|(at, item)| self.node(item, shape, &format!("{path}[{at}]")))
                    .collect();
                checked(Fitting::List(items), false)
            }
            (Shape::List(..), _) => self.wrong_kind(node, "a list", path),
            (Shape::Texts, Value::Map(entries)) => {
                let map = self.texts(entries, path);
                checked(Fitting::Map(map), false)
            }
            (Shape::Texts, _) => self.wrong_kind(node, "a mapping of names to texts", path),
            (Shape::Text(format), Value::Scalar(text, _)) => {
                let filled = self.fill(text, node, path)?;
                self.fits(&filled.text, *format, node, path)?;
                checked(Fitting::Text(filled.text), !filled.variable)
            }
            (Shape::Text(_), _) => self.wrong_kind(node, "a text", path),
            (Shape::Number(least, most), Value::Scalar(text, quoted)) => {
                let filled = self.fill(text, node, path)?;
                let whole = filled.text.parse::<u64>().ok().filter(|_| !quoted || filled.variable);
                let Some(number) = whole else {
                    let message = format!("`{path}` must be a whole number");
                    self.problems.push(
                        Diagnostic::error(path, Some(node.span.clone()), message)
                            .label(format!("expected a number from {least} to {most}")),
                    );
                    return None;
                };
                if (*least..=*most).contains(&number) {
                    return checked(Fitting::Number(number), !filled.variable);
                }
                self.problems.push(out_of_range(path, node.span.clone(), number, *least, *most));
                None
            }
            (Shape::Number(..), _) => self.wrong_kind(node, "a whole number", path),
        }
    }

    fn object(
        &mut self,
        node: &Node,
        entries: &[Entry],
        fields: &[Field],
        path: &str,
    ) -> BTreeMap<String, Checked> {
        let mut map = BTreeMap::new();
        for Entry { key, key_span, value } in entries {
            let below = join(path, key);
            match fields.iter().find(|field| field.name == key) {
                Some(field) => {
                    if let Some(checked) = self.node(value, &field.shape, &below) {
                        map.insert(key.clone(), checked);
                    }
                }
                None if path.is_empty() && key.starts_with("x-") => {}
                None => self.unknown(key, key_span, fields, path),
            }
        }
        let present = |name: &str| entries.iter().any(|entry| entry.key == name);
        for field in fields.iter().filter(|field| field.required && !present(field.name)) {
            let below = join(path, field.name);
            let message = format!("`{below}` is missing");
            let start = node.span.start..node.span.start;
            self.problems.push(
                Diagnostic::error(&below, (!path.is_empty()).then_some(start), message)
                    .help(format!("add `{}`: {}", field.name, field.about)),
            );
        }
        map
    }

    fn unknown(&mut self, key: &str, span: &Range<usize>, fields: &[Field], path: &str) {
        let known: Vec<&str> = fields.iter().map(|field| field.name).collect();
        let message = match path {
            "" => format!("unknown key `{key}`"),
            path => format!("unknown key `{key}` in `{path}`"),
        };
        let help = match nearest(key, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "nothing can be said here: write `{}`".to_owned(),
            None => format!("known keys: {}", known.join(", ")),
        };
        self.problems
            .push(Diagnostic::error(&join(path, key), Some(span.clone()), message).help(help));
    }

    fn texts(&mut self, entries: &[Entry], path: &str) -> BTreeMap<String, Checked> {
        let mut map = BTreeMap::new();
        for Entry { key, key_span, value } in entries {
            let below = join(path, key);
            let sound =
                !key.is_empty() && !key.contains(['=', '\0']) && !key.contains(char::is_whitespace);
            if !sound {
                let message = format!("`{key}` cannot be the name of an environment variable");
                self.problems.push(Diagnostic::error(&below, Some(key_span.clone()), message));
                continue;
            }
            let checked = match &value.value {
                Value::Scalar(text, _) => self.fill(text, value, &below).map(|filled| Checked {
                    literal: !filled.variable,
                    value: Fitting::Text(filled.text),
                    span: value.span.clone(),
                }),
                Value::List(_) | Value::Map(_) => self.wrong_kind(value, "a text", &below),
            };
            map.extend(checked.map(|checked| (key.clone(), checked)));
        }
        map
    }

    fn fill(&mut self, text: &str, node: &Node, path: &str) -> Option<super::variables::Filled> {
        match fill(text, path, self.variables) {
            Ok(filled) => Some(filled),
            Err(Problem::Missing { name, var }) => {
                let kind = if var { "var" } else { "env" };
                let export = if var {
                    format!("export SEACHANGE_VAR_{name}=…")
                } else {
                    format!("export {name}=…")
                };
                self.problems.push(
                    Diagnostic::error(
                        path,
                        Some(node.span.clone()),
                        format!("the variable {name} has no value"),
                    )
                    .label("needed here")
                    .help(format!(
                        "--var {name}=… or {export}, or give it a default: ${{{kind}:{name}:-…}}"
                    )),
                );
                None
            }
            Err(Problem::Form(form)) => {
                self.problems.push(
                    Diagnostic::error(path, Some(node.span.clone()), format!("`{form}` is no variable"))
                        .help("write ${env:NAME}, ${env:NAME:-default} or ${var:NAME}; a plain ${ is written $${"),
                );
                None
            }
        }
    }

    fn fits(&mut self, text: &str, format: Format, node: &Node, path: &str) -> Option<()> {
        if super::format::fits(format, text) {
            return Some(());
        }
        let (_, expected) = format.pattern();
        let message = if format == Format::Secret || text.is_empty() {
            format!("`{path}` is empty")
        } else {
            format!("`{text}` cannot be `{path}`")
        };
        let mut problem = Diagnostic::error(path, Some(node.span.clone()), message)
            .label(format!("expected {expected}"));
        if let Some(help) = super::format::advice(format, text) {
            problem = problem.help(help);
        }
        self.problems.push(problem);
        None
    }

    fn wrong_kind(&mut self, node: &Node, expected: &str, path: &str) -> Option<Checked> {
        let name = if path.is_empty() { "the spec".to_owned() } else { format!("`{path}`") };
        let message = format!("{name} must be {expected}, not {}", node.kind());
        self.problems.push(Diagnostic::error(path, Some(node.span.clone()), message));
        None
    }
}

fn out_of_range(path: &str, span: Range<usize>, number: u64, least: u64, most: u64) -> Diagnostic {
    let problem = Diagnostic::error(path, Some(span), format!("`{path}` cannot be {number}"));
    if path == "version" {
        return problem
            .label("the newest known version is 1")
            .help("use a newer seachange, or write `version: 1`");
    }
    problem.label(format!("expected a number from {least} to {most}"))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// The known word that a typo probably meant: at most a third of its letters away.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word: String = word.chars().take(64).collect::<String>().to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|&candidate| (distance(&word, candidate), candidate))
        .filter(|&(far, candidate)| far * 3 <= candidate.len().max(3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be put in, taken out or changed.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = at;
        row[0] = at + 1;
        for (column, &candidate) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != candidate);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

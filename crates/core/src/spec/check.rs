//! Holds a document against the table of forms, fills variables in, and reports everything that does not fit.
//!
//! What comes out is a tree of the same form with texts filled in and numbers read; it has only what fitted.

use std::collections::BTreeMap;
use std::ops::Range;

use super::document::{Entry, Node, Value};
use super::format::brief;
use super::problems::Problems;
use super::shape::{Field, Format, Shape, join};
use super::variables::{self, Filled, Problem, Variables, fill};
use super::{redact, suggest};
use crate::diagnostic::Diagnostic;

/// A value that has the form it should.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) value: Fitting,
    pub(super) span: Range<usize>,
    /// Where its key stands, if it has one: what to point at when a whole block is meant.
    pub(super) key: Option<Range<usize>>,
    /// Whether something of the value stands in the file itself.
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
    /// The same, under a key.
    fn at(self, key: &Range<usize>) -> Self {
        Self { key: Some(key.clone()), ..self }
    }

    /// What to point at when all of it is meant.
    pub(super) fn place(&self) -> Range<usize> {
        self.key.clone().unwrap_or_else(|| self.span.clone())
    }

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

    /// Whether a flag is set; `None` if it is not there.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.text(key).map(|text| text == "true")
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
    problems: &mut Problems,
) -> Option<Checked> {
    Check { variables, problems }.node(node, shape, path)
}

struct Check<'a> {
    variables: &'a Variables<'a>,
    problems: &'a mut Problems,
}

impl Check<'_> {
    fn node(&mut self, node: &Node, shape: &Shape, path: &str) -> Option<Checked> {
        match (shape, &node.value) {
            (Shape::Either(shapes), _) => match shapes.iter().find(|shape| shape.takes(node)) {
                Some(shape) => self.node(node, shape, path),
                None => self.wrong_kind(node, "a text or a mapping", path),
            },
            (Shape::Object(fields), Value::Map(entries)) => {
                let map = self.object(node, entries, fields, path);
                checked(node, Fitting::Map(map), false)
            }
            (Shape::Object(_), _) => self.wrong_kind(node, "a mapping", path),
            (Shape::List(shape, noun), Value::List(items)) => {
                if items.is_empty() {
                    let message = format!("`{path}` is empty: at least one {noun} is needed");
                    return self.refuse(path, node, message);
                }
                let items = items.iter().enumerate();
                let items: Vec<Checked> = items
                    .filter_map(|(at, item)| self.node(item, shape, &format!("{path}[{at}]")))
                    .collect();
                checked(node, Fitting::List(items), false)
            }
            (Shape::List(..), _) => self.wrong_kind(node, "a list", path),
            (Shape::Texts, Value::Map(entries)) => {
                let map = self.texts(entries, path);
                checked(node, Fitting::Map(map), false)
            }
            (Shape::Texts, _) => self.wrong_kind(node, "a mapping of names to texts", path),
            (Shape::Text(format), Value::Scalar(text, _)) if !node.is_null() => {
                let filled = self.fill(text, node, path)?;
                if !super::format::fits(*format, &filled.text) {
                    return self.unfit(text, &filled, *format, node, path);
                }
                checked(node, Fitting::Text(filled.text), !variables::only(text))
            }
            (Shape::Text(_), _) => self.wrong_kind(node, "a text", path),
            (&Shape::Number(least, most), Value::Scalar(text, quoted)) if !node.is_null() => {
                let filled = self.fill(text, node, path)?;
                let whole = filled.text.parse::<u64>().ok().filter(|_| !quoted || filled.variable);
                match whole {
                    Some(number) if (least..=most).contains(&number) => {
                        checked(node, Fitting::Number(number), !variables::only(text))
                    }
                    Some(number) => {
                        let shown = if filled.variable { brief(text) } else { number.to_string() };
                        self.problems.push(out_of_range(path, node, &shown, least, most));
                        None
                    }
                    None => {
                        let message = format!("`{path}` must be a whole number");
                        let problem = Diagnostic::error(path, Some(node.span.clone()), message);
                        let quotes = *quoted && filled.text.parse::<u64>().is_ok();
                        let label = match quotes {
                            true => "this is a text: leave out the quotes".to_owned(),
                            false => format!("expected a number from {least} to {most}"),
                        };
                        self.problems.push(problem.label(label));
                        None
                    }
                }
            }
            (Shape::Number(..), _) => self.wrong_kind(node, "a whole number", path),
            (Shape::Flag, Value::Scalar(text, quoted)) if !node.is_null() => {
                let filled = self.fill(text, node, path)?;
                let is_flag = ["true", "false"].contains(&filled.text.as_str());
                if !is_flag || (*quoted && !filled.variable) {
                    return self.wrong_kind(node, "true or false", path);
                }
                checked(node, Fitting::Text(filled.text), !variables::only(text))
            }
            (Shape::Flag, _) => self.wrong_kind(node, "true or false", path),
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
        for Entry { key, key_span, value, .. } in entries.iter().filter(|entry| !entry.repeated) {
            let below = join(path, key);
            match fields.iter().find(|field| field.name == key) {
                Some(field) => {
                    if let Some(checked) = self.node(value, &field.shape, &below) {
                        map.insert(key.clone(), checked.at(key_span));
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
        let message = match path {
            "" => format!("unknown key `{}`", brief(key)),
            path => format!("unknown key `{}` in `{path}`", brief(key)),
        };
        self.problems.push(
            Diagnostic::error(&join(path, key), Some(span.clone()), message)
                .help(suggest::for_key(key, fields)),
        );
    }

    fn texts(&mut self, entries: &[Entry], path: &str) -> BTreeMap<String, Checked> {
        let mut map = BTreeMap::new();
        for Entry { key, key_span, value, .. } in entries.iter().filter(|entry| !entry.repeated) {
            let below = join(path, key);
            let strange = |c: char| c == '=' || c.is_whitespace() || c.is_control();
            if key.is_empty() || key.contains(strange) {
                let message =
                    format!("`{}` cannot be the name of an environment variable", brief(key));
                self.problems.push(Diagnostic::error(&below, Some(key_span.clone()), message));
                continue;
            }
            let text = match &value.value {
                Value::Scalar(text, _) if !value.is_null() => self.fill(text, value, &below),
                _ => self.wrong_kind(value, "a text", &below).and(None),
            };
            let checked = text.and_then(|filled| checked(value, Fitting::Text(filled.text), true));
            map.extend(checked.map(|checked| (key.clone(), checked)));
        }
        map
    }

    fn fill(&mut self, text: &str, node: &Node, path: &str) -> Option<Filled> {
        let problem = |message: String| Diagnostic::error(path, Some(node.span.clone()), message);
        let problem = match fill(text, path, self.variables) {
            Ok(filled) if filled.text.contains('\0') => {
                problem(format!("`{path}` has a NUL in it"))
                    .help("neither a container nor a command can be given one")
            }
            Ok(filled) => return Some(filled),
            Err(Problem::Missing { name, var }) => {
                let (kind, export) = if var { ("var", "SEACHANGE_VAR_") } else { ("env", "") };
                problem(format!("the variable {name} has no value")).label("needed here").help(format!(
                    "--var {name}=… or export {export}{name}=…, or give it a default: ${{{kind}:{name}:-…}}"
                ))
            }
            Err(Problem::Form) => problem(format!("a `${{` in `{path}` begins no variable")).help(
                "write ${env:NAME}, ${env:NAME:-default} or ${var:NAME}; a plain ${ is written $${",
            ),
        };
        self.problems.push(problem);
        None
    }

    /// Refuses a text that has not its format. What a variable holds may be a secret, whatever it is used for, and is not
    /// shown; nor is a secret that was put in the wrong place.
    fn unfit(
        &mut self,
        text: &str,
        filled: &Filled,
        format: Format,
        node: &Node,
        path: &str,
    ) -> Option<Checked> {
        let secret = format == Format::Secret || redact::looks_secret(text);
        let message = if filled.text.is_empty() {
            format!("`{path}` is empty")
        } else if secret {
            format!("this cannot be `{path}`")
        } else if filled.variable {
            format!("`{}`, with its variables filled in, cannot be `{path}`", brief(text))
        } else {
            format!("`{}` cannot be `{path}`", brief(text))
        };
        let (_, expected) = format.pattern();
        let mut problem = Diagnostic::error(path, Some(node.span.clone()), message)
            .label(format!("expected {expected}"));
        if let Some(help) = super::format::advice(format, text)
            && !secret
            && !filled.variable
        {
            problem = problem.help(help);
        }
        self.problems.push(problem);
        None
    }

    fn refuse(&mut self, path: &str, node: &Node, message: String) -> Option<Checked> {
        self.problems.push(Diagnostic::error(path, Some(node.span.clone()), message));
        None
    }

    fn wrong_kind(&mut self, node: &Node, expected: &str, path: &str) -> Option<Checked> {
        if node.is_null() {
            let message = format!("`{path}` has no value");
            let problem = Diagnostic::error(path, Some(node.span.clone()), message)
                .label(format!("expected {expected}"));
            self.problems.push(match expected {
                "a mapping" => {
                    problem.help(format!("write `{}: {{}}`, or leave it out", last(path)))
                }
                _ => problem,
            });
            return None;
        }
        let name = if path.is_empty() { "the spec".to_owned() } else { format!("`{path}`") };
        self.refuse(path, node, format!("{name} must be {expected}, not {}", node.kind()))
    }
}

fn checked(node: &Node, value: Fitting, literal: bool) -> Option<Checked> {
    Some(Checked { value, span: node.span.clone(), key: None, literal })
}

fn out_of_range(path: &str, node: &Node, shown: &str, least: u64, most: u64) -> Diagnostic {
    let message = format!("`{path}` cannot be {shown}");
    let problem = Diagnostic::error(path, Some(node.span.clone()), message);
    if path == "version" {
        return problem
            .label("the newest known version is 1")
            .help("use a newer seachange, or write `version: 1`");
    }
    problem.label(format!("expected a number from {least} to {most}"))
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

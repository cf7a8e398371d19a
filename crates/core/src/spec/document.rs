//! YAML text as a tree with places: what must be known of the text before its meaning is looked at.
//!
//! Bounded in every direction: size, depth, and what aliases expand to, in values as in bytes, so that no text takes more
//! than some hundreds of megabytes. Two equal keys are an error: the second would silently win. YAML 1.2: only `true` and
//! `false` are booleans, and `no` is a string.

use std::collections::BTreeMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle};

use super::format::brief;
use super::problems::Problems;
use crate::diagnostic::Diagnostic;

/// The most bytes a spec may have.
pub(super) const MOST_BYTES: usize = 16 << 20;
/// The deepest nesting.
const MOST_DEEP: usize = 32;
/// The most nodes: those of the text, and the weights of all that is kept for aliases and put in for them.
const MOST_NODES: usize = 600_000;
/// So many bytes of text weigh as much as a node, or a long text under many aliases would cost nothing.
const NODE_BYTES: usize = 64;

/// A node and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) span: Range<usize>,
    /// What a copy of it costs: its nodes, and their texts.
    weight: usize,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A scalar's text, and whether it stood in quotes.
    Scalar(String, bool),
    List(Vec<Node>),
    /// In the order of the text.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) value: Node,
    /// Whether this key stood in the mapping before. That is a problem already told; only the first one counts.
    pub(super) repeated: bool,
}

impl Node {
    /// Whether this is nothing: an empty plain scalar, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(text, false) if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// What it is, in words.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::Scalar(..) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// The tree of a text. `None`: there is none, and the problems say why.
pub(super) fn parse(bytes: &[u8], problems: &mut Problems) -> Option<Node> {
    let mut refuse = |span, message: String, help: &str| {
        problems.push(Diagnostic::error("", span, message).help(help));
        None
    };
    if bytes.len() > MOST_BYTES {
        let message = format!("the spec has {} bytes; at most {MOST_BYTES} are read", bytes.len());
        return refuse(None, message, "a spec is written by people: is this the right file?");
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let message = format!(
                "the spec is not UTF-8: byte {} is the first wrong one",
                error.valid_up_to()
            );
            return refuse(None, message, "save the file as UTF-8");
        }
    };
    if let Some(at) = text.find('\0') {
        return refuse(
            Some(at..at + 1),
            "the spec contains a NUL byte".to_owned(),
            "is this the right file?",
        );
    }
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        text,
        anchors: BTreeMap::new(),
        nodes: 0,
        line: 1,
        problems,
    };
    match builder.document() {
        Ok(root) => root,
        Err(problem) => {
            builder.problems.push(*problem);
            None
        }
    }
}

type Step<T> = Result<T, Box<Diagnostic>>;

struct Builder<'t, 'p> {
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    text: &'t str,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    /// The line of the latest event.
    line: usize,
    problems: &'p mut Problems,
}

impl<'t> Builder<'t, '_> {
    fn next(&mut self) -> Step<(Event<'t>, Range<usize>)> {
        loop {
            let (event, span) = match self.parser.next_event() {
                None => return Ok((Event::StreamEnd, self.text.len()..self.text.len())),
                Some(Ok((event, span))) => {
                    self.line = span.start.line();
                    (event, span.byte_range().unwrap_or(0..0))
                }
                Some(Err(error)) => {
                    let at = error.marker().byte_offset().unwrap_or(0).min(self.text.len());
                    let message = format!("this is not YAML: {}", error.info());
                    let mut problem = Diagnostic::error("", Some(at..at), message);
                    if self.text[..at].ends_with('$') && self.text[at..].starts_with('{') {
                        problem = problem.help(
                            "between { } or [ ] a variable stands in quotes: \"${env:NAME}\"",
                        );
                    }
                    return Err(Box::new(problem));
                }
            };
            if !matches!(event, Event::Comment(..)) {
                return Ok((event, span));
            }
        }
    }

    fn document(&mut self) -> Step<Option<Node>> {
        loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(..), _) => {}
                (Event::StreamEnd | Event::DocumentEnd, _) => {
                    return Err(empty());
                }
                (event, span) => {
                    let root = self.node(event, span, 0)?;
                    return match self.next()? {
                        (Event::DocumentEnd | Event::StreamEnd, _) => self.only(root),
                        (_, span) => Err(Box::new(Diagnostic::error(
                            "",
                            Some(span),
                            "nothing may follow the spec",
                        ))),
                    };
                }
            }
        }
    }

    fn only(&mut self, root: Node) -> Step<Option<Node>> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) if root.is_null() => return Err(empty()),
                (Event::StreamEnd, _) => return Ok(Some(root)),
                (Event::DocumentStart(..), span) => {
                    let message = "a second document begins here";
                    return Err(Box::new(
                        Diagnostic::error("", Some(span), message).help("one file holds one spec"),
                    ));
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: Range<usize>, depth: usize) -> Step<Node> {
        let fail =
            |message: String| Err(Box::new(Diagnostic::error("", Some(span.clone()), message)));
        if depth > MOST_DEEP {
            return fail(format!("nested more than {MOST_DEEP} deep"));
        }
        let anchor = event.anchor_id();
        if let Some(tag) = event.tag() {
            let message = format!("a tag, {}: a spec has none", brief(&tag.original()));
            self.problems.push(
                Diagnostic::error("", Some(span.clone()), message)
                    .help("write the value without it"),
            );
        }
        let node = match event {
            Event::Scalar(text, style, ..) => Node {
                weight: weight(&text),
                value: Value::Scalar(text.into_owned(), style != ScalarStyle::Plain),
                span: span.clone(),
            },
            Event::SequenceStart(..) => self.list(span.clone(), depth)?,
            Event::MappingStart(..) => self.map(span.clone(), depth)?,
            Event::Alias(id) => {
                let Some(target) = self.anchors.get(&id) else {
                    return fail("this alias stands inside what it names".to_owned());
                };
                let weight = target.weight;
                self.count(weight, &span)?;
                return Ok(Node { span, ..self.anchors[&id].clone() });
            }
            _ => return fail("a value is expected here".to_owned()),
        };
        self.count(1, &span)?;
        if let Some(id) = anchor {
            self.count(node.weight, &span)?;
            self.anchors.insert(id, node.clone());
        }
        Ok(node)
    }

    fn count(&mut self, more: usize, span: &Range<usize>) -> Step<()> {
        self.nodes += more;
        if self.nodes <= MOST_NODES {
            return Ok(());
        }
        let message = format!("more than {MOST_NODES} values, with those that aliases stand for");
        Err(Box::new(Diagnostic::error("", Some(span.clone()), message)))
    }

    fn list(&mut self, start: Range<usize>, depth: usize) -> Step<Node> {
        let mut items = Vec::new();
        let mut weight = 1;
        loop {
            match self.next()? {
                (Event::SequenceEnd, end) => {
                    return Ok(Node {
                        value: Value::List(items),
                        span: start.start..end.end.max(start.end),
                        weight,
                    });
                }
                (event, span) => {
                    let item = self.node(event, span, depth + 1)?;
                    weight += item.weight;
                    items.push(item);
                }
            }
        }
    }

    fn map(&mut self, start: Range<usize>, depth: usize) -> Step<Node> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        let mut sum = 1;
        loop {
            let (event, key_span) = self.next()?;
            let line = self.line;
            let key = match event {
                Event::MappingEnd => {
                    let last = entries.last().map_or(start.end, |entry| entry.value.span.end);
                    let span = start.start..last.max(start.end);
                    return Ok(Node { value: Value::Map(entries), span, weight: sum });
                }
                Event::Scalar(text, ..) => text.into_owned(),
                _ => {
                    let message = "a key must be a plain text";
                    return Err(Box::new(Diagnostic::error("", Some(key_span), message)));
                }
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            sum += value.weight + weight(&key);
            let first = lines.get(&key);
            if let Some(first) = first {
                let message = format!("the key `{}` stands here a second time", brief(&key));
                self.problems.push(
                    Diagnostic::error(&key, Some(key_span.clone()), message)
                        .help(format!("the first one is on line {first}; keep one of them")),
                );
            }
            let repeated = first.is_some();
            if !repeated {
                lines.insert(key.clone(), line);
            }
            entries.push(Entry { key, key_span, value, repeated });
        }
    }
}

/// What a text weighs in the budget.
fn weight(text: &str) -> usize {
    1 + text.len() / NODE_BYTES
}

fn empty() -> Box<Diagnostic> {
    let problem = Diagnostic::error("", None, "the spec is empty");
    Box::new(problem.help("write a starter with: seachange init"))
}

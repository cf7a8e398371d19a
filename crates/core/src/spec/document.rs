//! YAML text as a tree with places: what must be known of the text before its meaning is looked at.
//!
//! Bounded in every direction: size, depth, and the number of nodes after aliases are expanded, so that no text takes more
//! than some tens of megabytes. Two equal keys are an error: the second would silently win. YAML 1.2: only `true` and
//! `false` are booleans, and `no` is a string.

use std::collections::BTreeMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle};

use crate::diagnostic::Diagnostic;

/// The most bytes a spec may have.
pub(super) const MOST_BYTES: usize = 16 << 20;
/// The deepest nesting.
const MOST_DEEP: usize = 32;
/// The most nodes, aliases expanded.
const MOST_NODES: usize = 600_000;

/// A node and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) span: Range<usize>,
    /// Nodes in it, itself included.
    size: usize,
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

    /// The value of a key, if this is a mapping that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => {
                entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
            }
            Value::Scalar(..) | Value::List(_) => None,
        }
    }
}

/// Where the secrets of a spec stand that are written in the file itself.
pub(super) fn secrets(root: &Node) -> Vec<Range<usize>> {
    let at = |path: &[&str]| path.iter().try_fold(root, |node, key| node.get(key));
    let mut found: Vec<&Node> = [
        &["ssh", "private_key"][..],
        &["ssh", "passphrase"],
        &["app", "registry", "password"],
        &["app", "registry", "username"],
    ]
    .into_iter()
    .filter_map(at)
    .collect();
    if let Some(Node { value: Value::Map(entries), .. }) = at(&["app", "env"]) {
        found.extend(entries.iter().map(|entry| &entry.value));
    }
    let literal = |node: &&Node| matches!(&node.value, Value::Scalar(text, _) if !text.contains("${") && text != "agent");
    found.into_iter().filter(literal).map(|node| node.span.clone()).collect()
}

/// The tree of a text. `None`: there is none, and the problems say why.
pub(super) fn parse(bytes: &[u8], problems: &mut Vec<Diagnostic>) -> Option<Node> {
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
        problems: Vec::new(),
    };
    let root = match builder.document() {
        Ok(root) => root,
        Err(problem) => {
            builder.problems.push(*problem);
            None
        }
    };
    problems.append(&mut builder.problems);
    root
}

type Step<T> = Result<T, Box<Diagnostic>>;

struct Builder<'t> {
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    text: &'t str,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    problems: Vec<Diagnostic>,
}

impl<'t> Builder<'t> {
    fn next(&mut self) -> Step<(Event<'t>, Range<usize>)> {
        loop {
            let (event, span) = match self.parser.next_event() {
                None => return Ok((Event::StreamEnd, self.text.len()..self.text.len())),
                Some(Ok((event, span))) => (event, span.byte_range().unwrap_or(0..0)),
                Some(Err(error)) => {
                    let at = error.marker().byte_offset().unwrap_or(0).min(self.text.len());
                    let message = format!("this is not YAML: {}", error.info());
                    return Err(Box::new(Diagnostic::error("", Some(at..at), message)));
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
                    self.problems.push(
                        Diagnostic::error("", None, "the spec is empty")
                            .help("write a starter with: seachange init"),
                    );
                    return Ok(None);
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
        let node = match event {
            Event::Scalar(text, style, ..) => Node {
                value: Value::Scalar(text.into_owned(), style != ScalarStyle::Plain),
                span: span.clone(),
                size: 1,
            },
            Event::SequenceStart(..) => self.list(span.clone(), depth)?,
            Event::MappingStart(..) => self.map(span.clone(), depth)?,
            Event::Alias(id) => {
                let Some(target) = self.anchors.get(&id) else {
                    return fail("this alias stands inside what it names".to_owned());
                };
                let size = target.size;
                self.count(size, &span)?;
                return Ok(Node { span, ..self.anchors[&id].clone() });
            }
            _ => return fail("a value is expected here".to_owned()),
        };
        self.count(1, &span)?;
        if let Some(id) = anchor {
            self.anchors.insert(id, node.clone());
        }
        Ok(node)
    }

    fn count(&mut self, more: usize, span: &Range<usize>) -> Step<()> {
        self.nodes += more;
        if self.nodes <= MOST_NODES {
            return Ok(());
        }
        let message = format!("more than {MOST_NODES} values, aliases expanded");
        Err(Box::new(Diagnostic::error("", Some(span.clone()), message)))
    }

    fn list(&mut self, start: Range<usize>, depth: usize) -> Step<Node> {
        let mut items = Vec::new();
        let mut size = 1;
        loop {
            match self.next()? {
                (Event::SequenceEnd, end) => {
                    return Ok(Node {
                        value: Value::List(items),
                        span: start.start..end.end.max(start.end),
                        size,
                    });
                }
                (event, span) => {
                    let item = self.node(event, span, depth + 1)?;
                    size += item.size;
                    items.push(item);
                }
            }
        }
    }

    fn map(&mut self, start: Range<usize>, depth: usize) -> Step<Node> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: BTreeMap<String, Range<usize>> = BTreeMap::new();
        let mut size = 1;
        loop {
            let (event, key_span) = self.next()?;
            let key = match event {
                Event::MappingEnd => {
                    let end = entries
                        .last()
                        .map_or(start.end, |entry| entry.value.span.end)
                        .max(start.end);
                    return Ok(Node { value: Value::Map(entries), span: start.start..end, size });
                }
                Event::Scalar(text, ..) => text.into_owned(),
                _ => {
                    return Err(Box::new(Diagnostic::error(
                        "",
                        Some(key_span),
                        "a key must be a plain text",
                    )));
                }
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            size += value.size + 1;
            if let Some(first) = places.get(&key) {
                let (line, _) = crate::diagnostic::position(self.text, first.start);
                self.problems.push(
                    Diagnostic::error(
                        &key,
                        Some(key_span),
                        format!("the key `{key}` stands here a second time"),
                    )
                    .help(format!("the first one is on line {line}; keep one of them")),
                );
                continue;
            }
            places.insert(key.clone(), key_span.clone());
            entries.push(Entry { key, key_span, value });
        }
    }
}

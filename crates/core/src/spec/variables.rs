//! `${env:NAME}`, `${env:NAME:-default}` and `${var:NAME}` in the texts of a spec. `$${` stands for `${`.
//!
//! A value that was put in is never shown: problems name the variable, and the place as it stands in the file.

use std::collections::BTreeMap;

/// Where the values of variables come from.
#[derive(Clone, Copy)]
pub struct Variables<'a> {
    /// The environment, for `${env:NAME}`.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// `--var NAME=…`: for `${var:NAME}`, and before the environment for `${env:NAME}`.
    pub vars: &'a BTreeMap<String, String>,
    /// The last resort, by the place (`ssh.private_key`) and the name: what the local cloud supplies.
    pub supplied: &'a dyn Fn(&str, &str) -> Option<String>,
}

/// A text with its variables filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) text: String,
    /// Whether any variable stood in it.
    pub(super) variable: bool,
}

/// What is wrong with a text's variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// No value for this one.
    Missing { name: String, var: bool },
    /// Not of a known form. The text is not in here: it may be part of a secret that happens to have a `${`.
    Form,
}

/// Whether a text is variables from end to end, none with a default: nothing of its value stands in the file.
pub(super) fn only(text: &str) -> bool {
    let mut rest = text;
    while let Some((inside, after)) = rest.strip_prefix("${").and_then(|from| from.split_once('}'))
    {
        if inside.split_once(":-").is_some_and(|(_, default)| !default.is_empty()) {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

/// Fills in a text's variables.
pub(super) fn fill(text: &str, path: &str, variables: &Variables<'_>) -> Result<Filled, Problem> {
    let mut filled = Filled { text: String::with_capacity(text.len()), variable: false };
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(literal) = before.strip_suffix('$') {
            filled.text.push_str(literal);
            filled.text.push_str("${");
            rest = &from[2..];
            continue;
        }
        filled.text.push_str(before);
        let Some(end) = from.find('}') else {
            return Err(Problem::Form);
        };
        filled.text.push_str(&value(&from[2..end], path, variables)?);
        filled.variable = true;
        rest = &from[end + 1..];
    }
    filled.text.push_str(rest);
    Ok(filled)
}

fn value(inside: &str, path: &str, variables: &Variables<'_>) -> Result<String, Problem> {
    let (kind, rest) = inside.split_once(':').ok_or(Problem::Form)?;
    let (name, default) = match rest.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (rest, None),
    };
    let sound = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let found = match kind {
        _ if !sound => return Err(Problem::Form),
        "env" => variables.vars.get(name).cloned().or_else(|| (variables.env)(name)),
        "var" => variables.vars.get(name).cloned(),
        _ => return Err(Problem::Form),
    };
    found
        .or_else(|| default.map(str::to_owned))
        .or_else(|| (variables.supplied)(path, name))
        .ok_or_else(|| Problem::Missing { name: name.to_owned(), var: kind == "var" })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Problem, Variables, fill, only};

    #[test]
    fn values_come_from_the_right_place() {
        let vars = BTreeMap::from([("A".to_owned(), "var".to_owned())]);
        let env = |name: &str| ["A", "B"].contains(&name).then(|| format!("env-{name}"));
        let variables = Variables {
            env: &env,
            vars: &vars,
            supplied: &|path, _| (path == "ssh").then(|| "lent".to_owned()),
        };
        let fill = |text: &str, path: &str| fill(text, path, &variables).map(|filled| filled.text);
        assert_eq!(fill("a ${env:A} ${env:B} ${var:A}", ""), Ok("a var env-B var".into()));
        assert_eq!(fill("${env:C:-x:y}", ""), Ok("x:y".into()));
        assert_eq!(fill("$${env:A} $$ {}", ""), Ok("${env:A} $$ {}".into()));
        assert_eq!(fill("${env:C}", "ssh"), Ok("lent".into()));
        assert_eq!(fill("${var:B}", ""), Err(Problem::Missing { name: "B".into(), var: true }));
        for bad in ["${A}", "${env:}", "${env:A", "${foo:A}", "${env:a b}"] {
            assert!(matches!(fill(bad, ""), Err(Problem::Form)), "{bad}");
        }
    }

    #[test]
    fn a_text_of_nothing_but_variables_holds_nothing_itself() {
        for text in ["${env:A}", "${env:A}${var:B}", "${env:A:-}", ""] {
            assert!(only(text), "{text}");
        }
        for text in ["a${env:A}", "${env:A}a", "${env:A:-a}", "$${env:A}", "${env:A", "a"] {
            assert!(!only(text), "{text}");
        }
    }
}

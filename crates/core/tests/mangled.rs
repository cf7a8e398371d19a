//! Whatever comes in from outside may be anything. Real inputs, cut, spliced and sprinkled with the letters that mean
//! something to their readers: a clear refusal or success in bounded output, never a panic.

#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]
#![expect(clippy::disallowed_methods, reason = "core reads no files, but its examples are files")]

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use seachange_core::diagnostic::{Source, render};
use seachange_core::spec::{self, Variables};
use seachange_core::state;

/// What means something to a reader of YAML, JSON or of our own texts.
const LETTERS: &[&str] = &[
    ":",
    "-",
    "- ",
    "\n",
    "\n  ",
    "\t",
    "\"",
    "'",
    "{",
    "}",
    "[",
    "]",
    ",",
    "&a ",
    "*a",
    "!!str ",
    "|",
    ">",
    "#",
    "%",
    "---\n",
    "...\n",
    "${",
    "${env:",
    "}",
    "$${",
    "<<: ",
    "? ",
    "\0",
    "\u{feff}",
    "é",
    "\u{202e}",
    "9999999999999999999",
    "null",
    "true",
    "1e999",
    "\\u0000",
    "\r\n",
];

/// One change of a text.
#[derive(Debug, Clone)]
enum Edit {
    Insert(Index, usize),
    Cut(Index, usize),
    Copy(Index, Index, usize),
    Byte(Index, u8),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        4 => (any::<Index>(), 0..LETTERS.len()).prop_map(|(at, letter)| Edit::Insert(at, letter)),
        2 => (any::<Index>(), 1..80_usize).prop_map(|(at, length)| Edit::Cut(at, length)),
        2 => (any::<Index>(), any::<Index>(), 1..200_usize)
            .prop_map(|(from, to, length)| Edit::Copy(from, to, length)),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Byte(at, byte)),
    ];
    prop::collection::vec(edit, 1..8)
}

fn mangle(original: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for edit in edits {
        let place = |index: &Index, bytes: &[u8]| index.index(bytes.len() + 1);
        match edit {
            Edit::Insert(at, letter) => {
                let at = place(at, &bytes);
                bytes.splice(at..at, LETTERS[*letter].bytes());
            }
            Edit::Cut(at, length) => {
                let at = place(at, &bytes);
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Edit::Copy(from, to, length) => {
                let from = place(from, &bytes);
                let piece = bytes[from..(from + length).min(bytes.len())].to_vec();
                let to = place(to, &bytes);
                bytes.splice(to..to, piece);
            }
            Edit::Byte(at, byte) => {
                let at = place(at, &bytes);
                bytes.splice(at..at, [*byte]);
            }
        }
    }
    bytes
}

fn folder(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "yaml" || end == "json"));
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("readable")).collect()
}

/// Every text of a folder, each in so many mangled forms; the same ones in every run.
fn each(texts: &[Vec<u8>], cases: u32, check: impl Fn(&[u8])) {
    assert!(!texts.is_empty());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    for text in texts {
        let rng = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
        let mut runner = proptest::test_runner::TestRunner::new_with_rng(config.clone(), rng);
        let outcome = runner.run(&edits(), |edits| {
            check(&mangle(text, &edits));
            Ok(())
        });
        assert!(outcome.is_ok(), "{outcome:?}");
    }
}

#[test]
fn a_spec_may_be_anything() {
    let vars = std::collections::BTreeMap::new();
    let value = |name: &str| name.len().is_multiple_of(2).then(|| "canary-hunter2".to_owned());
    let variables = Variables { env: &value, vars: &vars, supplied: &|_, _| None };
    let mut texts = folder("specs");
    texts.extend(folder("specs/invalid"));
    each(&texts, 300, |bytes| {
        let (spec, problems) = spec::read(bytes, &variables);
        assert!(spec.is_some() || !problems.is_empty(), "refused without a word");
        assert!(problems.len() <= 101, "{} problems", problems.len());
        let source = Source { name: "spec.yaml".to_owned(), text: spec::shown(bytes) };
        let shown = render(&source, &problems, true);
        assert!(!shown.contains("canary-hunter2"), "{shown}");
    });
}

#[test]
fn a_state_may_be_anything() {
    each(&folder("state-fixtures/v1"), 2_000, |bytes| {
        // What is read is written back alike, or it was not understood.
        if let Ok(state) = state::file::read(bytes) {
            assert_eq!(state::file::read(&state::file::write(&state)), Ok(state));
        }
    });
}

//! Real texts, cut, spliced and sprinkled with the letters that mean something to their readers; the same in every run.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

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

/// The YAML and JSON of a folder of the repository, with their names.
pub(crate) fn folder_named(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "yaml" || end == "json"));
    paths.sort();
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    paths.iter().map(|path| (stem(path), std::fs::read(path).expect("readable"))).collect()
}

/// Every text of a folder, each in so many mangled forms; the same ones in every run.
pub(crate) fn each(texts: &[Vec<u8>], cases: u32, check: impl Fn(&[u8])) {
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

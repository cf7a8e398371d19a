//! The house style, as far as a machine can check it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who may import whom. Dev-dependencies are free: the engine's tests run on the local cloud.
const ARROWS: [(&str, &[&str]); 7] = [
    ("core", &[]),
    ("engine", &["core"]),
    ("report", &["core"]),
    ("digitalocean", &["core"]),
    ("host", &["core"]),
    ("local-cloud", &["core"]),
    ("cli", &["core", "engine", "report", "digitalocean", "host", "local-cloud"]),
];

/// The most lines a module may have. Over it is a discussion, and the outcome an entry in [`LONG`].
const MOST_LINES: usize = 600;

/// Modules that may be longer, each with its reason.
const LONG: [(&str, &str); 0] = [];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace's folder")
}

/// Every tracked-looking file below the folder with this ending, relative to the root.
fn files(below: &str, ending: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, ending, found);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    walk(&root.join(below), ending, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("UTF-8 text");
            (path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned(), text)
        })
        .collect()
}

fn rust_files() -> Vec<(String, String)> {
    let files: Vec<_> =
        ["crates", "tests"].iter().flat_map(|folder| files(folder, ".rs")).collect();
    assert!(files.len() > 50, "the walk found only {} files", files.len());
    files
}

fn none<T: std::fmt::Debug>(what: &str, found: &[T]) {
    assert!(found.is_empty(), "{what}: {found:#?}");
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<_> = rust_files()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    none("modules without a `//!` head", &silent);
}

#[test]
fn modules_are_of_readable_size() {
    let long: Vec<_> = rust_files()
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(path, lines)| {
            *lines > MOST_LINES && !LONG.iter().any(|(allowed, _)| allowed == path)
        })
        .collect();
    none("modules that are too long; split by subject", &long);
}

#[test]
fn crates_import_only_along_the_arrows() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.into();
    for (name, allowed) in &arrows {
        let manifest = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml"))
            .expect("a manifest");
        let section = manifest
            .split("\n[")
            .find(|part| part.starts_with("dependencies]"))
            .expect("dependencies");
        let imports: BTreeSet<&str> = section
            .lines()
            .filter_map(|line| line.strip_prefix("seachange-"))
            .filter_map(|line| line.split(['.', ' ', '=']).next())
            .collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert_eq!(imports, allowed, "crates/{name} imports something else than the arrows say");
    }
    let folders: Vec<_> = fs::read_dir(root().join("crates")).expect("crates").collect();
    assert_eq!(folders.len(), arrows.len(), "a crate is missing from the arrows");
}

#[test]
fn core_is_pure_down_to_its_dependencies() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--package",
            "seachange-core",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8(tree.stdout).expect("UTF-8");
    assert!(tree.contains("serde"), "cargo tree said nothing");
    let impure: Vec<_> = tree
        .lines()
        .filter(|line| {
            ["tokio", "reqwest", "hyper", "rand", "mio", "socket2"]
                .iter()
                .any(|name| line.split(' ').next() == Some(name))
        })
        .collect();
    none("core depends on", &impure);
    let asynchronous: Vec<_> = ["crates/core/src/planner", "crates/report/src"]
        .iter()
        .flat_map(|folder| files(folder, ".rs"))
        .filter(|(_, text)| text.contains("async fn"))
        .map(|(path, _)| path)
        .collect();
    none("deciding and rendering are synchronous, but async stands in", &asynchronous);
}

#[test]
fn tests_neither_sleep_nor_skip() {
    let needles = [["#[ig", "nore"], ["#[should", "_panic"], ["thread::", "sleep"]]
        .map(|halves| halves.concat());
    let found: Vec<_> = rust_files()
        .into_iter()
        .flat_map(|(path, text)| {
            let hits: Vec<_> =
                needles.iter().filter(|needle| text.contains(*needle)).cloned().collect();
            hits.into_iter().map(move |needle| format!("{path}: {needle}"))
        })
        .collect();
    none("ruled out by the house style", &found);
}

#[test]
fn every_link_in_the_documents_resolves() {
    let mut broken = Vec::new();
    let documents = files("docs", ".md").into_iter().chain(
        ["README.md", "CHANGELOG.md"]
            .map(|name| (name.to_owned(), fs::read_to_string(root().join(name)).expect(name))),
    );
    for (path, text) in documents {
        let folder = root().join(&path).parent().expect("a folder").to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            let outside = link.starts_with("http") || target.is_empty();
            if !outside && !folder.join(target).exists() {
                broken.push(format!("{path}: {link}"));
            }
        }
    }
    none("broken links", &broken);
}

#[test]
fn the_environment_table_is_complete() {
    let code = fs::read_to_string(root().join("crates/cli/src/env.rs")).expect("env.rs");
    let table = fs::read_to_string(root().join("docs/environment.md")).expect("environment.md");
    let names: Vec<&str> = code
        .lines()
        .filter(|line| line.contains("const "))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .collect();
    assert!(names.len() > 10, "found only {names:?}");
    let missing: Vec<_> =
        names.iter().filter(|name| !table.contains(&format!("`{name}"))).collect();
    none("variables that docs/environment.md does not name", &missing);
}

#[test]
fn every_fixture_is_used() {
    let tests: String = rust_files().into_iter().map(|(_, text)| text).collect();
    let stray: Vec<_> = ["specs", "state-fixtures"]
        .iter()
        .flat_map(|folder| {
            fs::read_dir(root().join(folder))
                .expect("a folder")
                .map(move |entry| (folder, entry.expect("an entry")))
        })
        .map(|(folder, entry)| format!("{folder}/{}", entry.file_name().to_string_lossy()))
        .filter(|path| {
            let name = path.rsplit('/').next().unwrap_or(path);
            !tests.contains(name)
        })
        .collect();
    none("no test names", &stray);
}

#[test]
fn nothing_speaks_of_the_machine_it_was_written_on() {
    let needles = [["/wo", "rk/"], ["/ro", "ot/"], ["/home", "/"]].map(|halves| halves.concat());
    let found: Vec<_> = rust_files()
        .into_iter()
        .chain(files("docs", ".md"))
        .filter(|(_, text)| needles.iter().any(|needle| text.contains(needle)))
        .map(|(path, _)| path)
        .collect();
    none("paths of one machine", &found);
}

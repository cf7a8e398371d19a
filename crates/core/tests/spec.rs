//! Every example spec and every kind of mistake, as people would see them; and texts that were made to do harm.

#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]
#![expect(clippy::disallowed_methods, reason = "core reads no files, but its examples are files")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use seachange_core::diagnostic::{Source, render};
use seachange_core::spec::{self, Spec, Variables};

fn specs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs")
}

/// The files of a folder with this ending, by name.
fn files(folder: &Path, ending: &str) -> BTreeMap<String, PathBuf> {
    let entries =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), path))
        .collect()
}

fn read(text: &[u8], vars: &[(&str, &str)]) -> (Option<Spec>, String) {
    let vars = vars.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let (spec, problems) =
        spec::read(text, &Variables { env: &|_| None, vars: &vars, supplied: &|_, _| None });
    let source = Source { name: "spec.yaml".to_owned(), text: spec::shown(text) };
    (spec, render(&source, &problems, false))
}

const EVERYTHING: [(&str, &str); 6] = [
    ("VERSION", "1.0"),
    ("PRIVKEY_PLAIN", "key-canary"),
    ("REGISTRY_USER", "user-canary"),
    ("REGISTRY_PASSWORD", "password-canary"),
    ("STATE_PASSPHRASE", "passphrase-canary"),
    ("STATE_PASSPHRASE_OLD", "earlier-canary"),
];

#[test]
fn every_example_is_valid_and_its_schema_agrees() {
    let validator = jsonschema::validator_for(&spec::schema()).expect("a schema");
    let examples = files(&specs(), "yaml");
    assert!(examples.len() >= 5, "{examples:?}");
    for (name, path) in examples {
        let text = fs::read(&path).expect("readable");
        let (spec, problems) = read(&text, &EVERYTHING);
        assert_eq!(problems, "", "{name}");
        let spec = spec.expect("no problem, so a spec");
        assert!(!format!("{spec:?}").contains("canary"), "{name} shows a secret");
        let json = to_json(&text);
        let refusals: Vec<String> =
            validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(refusals.is_empty(), "{name}: {refusals:?}");
    }
}

#[test]
fn every_mistake_is_told_as_recorded() {
    let folder = specs().join("invalid");
    let mistakes = files(&folder, "yaml");
    assert!(mistakes.len() >= 20);
    insta::with_settings!({ snapshot_path => "../../../specs/invalid", prepend_module_to_snapshot => false, omit_expression => true }, {
        for (name, path) in &mistakes {
            let (spec, problems) = read(&fs::read(path).expect("readable"), &[]);
            assert!(!problems.is_empty(), "{name} has no problem");
            assert!(!problems.contains("hunter2"), "{name} shows a secret:\n{problems}");
            assert!(spec.is_none(), "{name} was accepted");
            insta::assert_snapshot!(name.as_str(), problems);
        }
    });
}

#[test]
fn the_schema_refuses_what_validation_refuses_for_its_form() {
    let validator = jsonschema::validator_for(&spec::schema()).expect("a schema");
    let forms = [
        "unknown-key",
        "wrong-type",
        "missing-key",
        "impossible-number",
        "newer-version",
        "stack-name",
        "dotted-record",
        "fingerprint",
        "public-key",
        "duration",
        "empty-block",
        "literal-secret",
    ];
    for name in forms {
        let text = fs::read(specs().join(format!("invalid/{name}.yaml"))).expect(name);
        assert!(!validator.is_valid(&to_json(&text)), "the schema accepts {name}");
    }
}

#[test]
fn a_secret_changes_neither_digest_nor_debug_but_a_setting_does() {
    let text = fs::read(specs().join("webgui.yaml")).expect("readable");
    let with = |vars: &[(&str, &str)]| read(&text, vars).0.expect("valid");
    let one = with(&EVERYTHING);
    let mut other = EVERYTHING;
    other[3].1 = "another";
    assert_eq!(one.digest(), with(&other).digest());
    other[0].1 = "1.1";
    assert_ne!(one.digest(), with(&other).digest());
}

#[test]
fn a_changed_environment_is_another_configuration() {
    let text = |value: &str| {
        format!(
            "version: 1\nstack: s\nregion: fra1\nworkers: {{ size: a }}\nfloating_ip: {{}}\n\
             ssh: {{ keys: [\"3b:16:bf:e4:8b:00:8b:b8:59:8c:a9:d3:f0:19:45:fa\"] }}\napp: {{ image: r.example/a, env: {{ A: \"{value}\" }} }}\n"
        )
    };
    let digest = |value: &str| {
        read(text(value).as_bytes(), &[]).0.expect("valid").app.expect("an app").config_digest("s")
    };
    assert_eq!(digest("1"), digest("1"));
    assert_ne!(digest("1"), digest("2"));
    assert!(!digest("1").contains('1') || digest("1").len() == 64);
}

#[test]
fn yaml_words_are_texts() {
    let text = b"version: 1\nstack: no\nregion: on\nworkers: { size: off }\n";
    let spec = read(text, &[]).0.expect("valid");
    assert_eq!(
        (spec.stack.as_str(), spec.region.as_str(), spec.workers.size.as_str()),
        ("no", "on", "off")
    );
}

#[test]
fn a_hundred_thousand_entries_pass() {
    let mut text = "version: 1\nstack: s\nregion: fra1\nworkers: { size: a }\nfloating_ip: {}\n\
                    ssh: { keys: [\"3b:16:bf:e4:8b:00:8b:b8:59:8c:a9:d3:f0:19:45:fa\"] }\napp:\n  image: r.example/a\n  env:\n"
        .to_owned();
    for number in 0..100_000 {
        text.push_str(&format!("    NAME_{number}: value\n"));
    }
    let (spec, problems) = read(text.as_bytes(), &[]);
    assert_eq!(problems, "");
    assert_eq!(spec.expect("valid").app.expect("an app").env.len(), 100_000);
}

#[test]
fn bombs_are_refused() {
    let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        aliases.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
    }
    let deep = "[".repeat(100_000);
    let block = (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>();
    let long = vec![b'a'; (16 << 20) + 1];
    for (name, text) in [
        ("aliases", aliases.as_bytes()),
        ("depth", deep.as_bytes()),
        ("block depth", block.as_bytes()),
        ("size", &long),
        ("NUL", b"version: 1\nstack: \0\n"),
        ("UTF-8", b"version: 1\nstack: \xff\n"),
        ("tabs", b"\tversion: 1\n"),
        ("only a scalar", b"hello"),
        ("only a list", b"- 1"),
        ("a byte order mark", b"\xef\xbb\xbf"),
    ] {
        let (spec, problems) = read(text, &[]);
        assert!(spec.is_none() && problems.starts_with("error"), "{name}: {problems}");
        assert!(problems.len() < 20_000, "{name} says {} bytes", problems.len());
    }
}

/// What a JSON Schema validator sees of a YAML text. Scalars by the rules of YAML 1.2's core schema.
fn to_json(text: &[u8]) -> serde_json::Value {
    serde_saphyr::from_str(std::str::from_utf8(text).expect("UTF-8")).expect("YAML")
}

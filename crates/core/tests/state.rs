//! Every state format ever written still loads: state-fixtures/v1/ holds real states, never edited.

#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]
#![expect(clippy::disallowed_methods, reason = "core reads no files, but its fixtures are files")]

use std::path::Path;

use seachange_core::state::file::{FORMAT, ReadError, read, write};

fn fixtures(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../state-fixtures").join(folder);
    let entries = std::fs::read_dir(folder).expect("the fixtures");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    let name = |path: &Path| path.file_stem().expect("a name").to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), std::fs::read(path).expect("readable"))).collect()
}

#[test]
fn states_of_format_1_load_and_are_written_back_alike() {
    let fixtures = fixtures("v1");
    let has = |wanted: &str| fixtures.iter().any(|(name, _)| name == wanted);
    for phase in ["staging", "gating", "switching", "verifying", "retagging", "recording"] {
        assert!(has(&format!("first-{phase}")) && has(&format!("swap-{phase}")), "{phase}");
    }
    assert!(
        has("empty")
            && has("stable")
            && has("drifted")
            && has("create-pending")
            && has("a-thousand-workers")
    );
    for (name, bytes) in fixtures {
        let state = read(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(state.is_empty(), name == "empty");
        assert_eq!(state.transition.is_some(), name.ends_with("ing") && name != "create-pending");
        assert_eq!(read(&write(&state)), Ok(state), "{name}");
        for cut in [0, 1, bytes.len() / 2, bytes.len() - 3] {
            let refused = read(&bytes[..cut]);
            let malformed = matches!(refused, Err(ReadError::Malformed { .. }));
            assert!(malformed, "{name} cut at {cut}: {refused:?}");
        }
    }
}

#[test]
fn what_is_no_state_is_refused_with_the_reason() {
    let refused = fixtures("v1/refused").into_iter().map(|(name, bytes)| match read(&bytes) {
        Ok(_) => panic!("{name} was read"),
        Err(error) => format!("{name}: {error}"),
    });
    insta::assert_snapshot!(refused.collect::<Vec<_>>().join("\n"), @r"
    bit-flipped: not a readable state: missing field `serial`
    newer: state format 2 is newer than the newest this version knows (1): use a newer seachange
    truncated: not a readable state: EOF while parsing a string at line 1 column 1500
    unknown-key: not a readable state: `colour` is not known to this version
    ");
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let newer = FORMAT + 1;
    let text = format!("{{\"format\":{newer},\"state\":{{\"anything\":1}}}}");
    assert_eq!(read(text.as_bytes()), Err(ReadError::Newer { found: newer }));
}

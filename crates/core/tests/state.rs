//! Every state format ever written still loads: state-fixtures/v1/ holds real states, never edited.

#![expect(clippy::disallowed_methods, reason = "core reads no files, but its fixtures are files")]

use std::path::Path;

use seachange_core::state::file::{FORMAT, ReadError, read, write};

#[test]
fn states_of_format_1_load_and_are_written_back_alike() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../state-fixtures/v1");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the fixtures") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("readable");
        let state = read(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!state.is_empty(), "{}", path.display());
        assert_eq!(read(&write(&state)), Ok(state), "{}", path.display());
        for cut in [0, 1, bytes.len() / 2, bytes.len() - 3] {
            let refused = read(&bytes[..cut]);
            assert!(
                matches!(refused, Err(ReadError::Malformed { .. })),
                "cut at {cut}: {refused:?}"
            );
        }
        count += 1;
    }
    assert!(count > 0, "no fixture");
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let newer = FORMAT + 1;
    let text = format!("{{\"format\":{newer},\"state\":{{\"anything\":1}}}}");
    assert_eq!(read(text.as_bytes()), Err(ReadError::Newer { found: newer }));
}

//! Whatever comes in from outside may be anything: a clear refusal or success in bounded output, never a panic.

#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]
#![expect(clippy::disallowed_methods, reason = "core reads no files, but its examples are files")]

#[path = "mangled/mangle.rs"]
mod mangle;

use mangle::{each, folder_named};
use seachange_core::diagnostic::{Source, render};
use seachange_core::observed::Observed;
use seachange_core::plan::{Plan, check, file};
use seachange_core::spec::{self, Variables};
use seachange_core::state::{self, State};

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

#[test]
fn a_plan_may_be_anything() {
    let state = State::empty("lineage", "webgui");
    let observed = Observed::nothing(jiff::Timestamp::UNIX_EPOCH);
    let plans = folder("crates/core/tests/corpus");
    assert!(
        plans.iter().all(|bytes| file::read(bytes).is_ok()),
        "make the corpus anew: plan --out"
    );
    each(&plans, 4_000, |bytes| {
        assert!(file::read(bytes).is_err() || plans.iter().any(|plan| reads_alike(plan, bytes)));
        // Past its digest: somebody who writes a plan can compute one.
        let text = String::from_utf8_lossy(bytes);
        let inner = text.split_once("\"plan\":").map(|(_, rest)| rest.trim_end());
        let Some(inner) = inner.and_then(|rest| rest.strip_suffix('}')) else { return };
        if let Ok(plan) = serde_json::from_str::<Plan>(inner) {
            assert_eq!(file::read(&file::write(&plan)).as_ref(), Ok(&plan));
            check::check(&plan, &state, &observed);
        }
    });
}

fn reads_alike(one: &[u8], other: &[u8]) -> bool {
    file::read(one) == file::read(other)
}

fn folder(name: &str) -> Vec<Vec<u8>> {
    folder_named(name).into_iter().map(|(_, text)| text).collect()
}

//! Specs for tests: the examples that users see, read as users' files are read.

use std::collections::BTreeMap;

use seachange_core::spec::{self, Spec, Variables};

/// The tutorial's stack, with this version of the app.
pub(crate) fn webgui(version: &str) -> Spec {
    read(include_str!("../../../../specs/webgui.yaml"), version)
}

/// The smallest useful stack.
pub(crate) fn minimal(version: &str) -> Spec {
    read(include_str!("../../../../specs/minimal.yaml"), version)
}

/// Droplets, address and names, and nothing on them.
pub(crate) fn infrastructure() -> Spec {
    read(include_str!("../../../../specs/infrastructure.yaml"), "-")
}

fn read(text: &str, version: &str) -> Spec {
    let vars: BTreeMap<String, String> = [
        ("VERSION", version),
        ("PRIVKEY_PLAIN", "key"),
        ("REGISTRY_USER", "user"),
        ("REGISTRY_PASSWORD", "password"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let variables = Variables { env: &|_| None, vars: &vars, supplied: &|_, _| None };
    let (spec, problems) = spec::read(text.as_bytes(), &variables);
    spec.unwrap_or_else(|| panic!("{problems:?}"))
}

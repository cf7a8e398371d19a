//! The one place that reads the environment: every variable that means something, as a documented constant.
//!
//! `docs/environment.md` is this table in prose; a test compares them.

use std::collections::BTreeMap;

use seachange_core::secret::Secret;
use seachange_digitalocean::space::Credentials;

/// The API token.
pub(crate) const TOKEN: &str = "DIGITALOCEAN_TOKEN";
/// The API token, in doctl's and Terraform's second spelling.
pub(crate) const ACCESS_TOKEN: &str = "DIGITALOCEAN_ACCESS_TOKEN";
/// Base URL of the API.
pub(crate) const API_URL: &str = "DIGITALOCEAN_API_URL";
/// A Spaces key: its id, and its secret.
pub(crate) const SPACES_KEY: [&str; 2] = ["SPACES_ACCESS_KEY_ID", "SPACES_SECRET_ACCESS_KEY"];
/// The same in the spelling of every other S3 client; asked second.
pub(crate) const AWS_KEY: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
/// URL of another object store than the one the spec names, with the bucket in the path (the local cloud prints one).
pub(crate) const SPACES_ENDPOINT: &str = "SEACHANGE_SPACES_ENDPOINT";
/// The SSH agent's socket.
pub(crate) const SSH_AUTH_SOCK: &str = "SSH_AUTH_SOCK";
/// Set to anything: no colour.
pub(crate) const NO_COLOR: &str = "NO_COLOR";
/// Set to anything: this is CI; lines instead of bars, no question asked.
pub(crate) const CI: &str = "CI";
/// What to log to stderr, as in `seachange=debug`.
pub(crate) const LOG: &str = "SEACHANGE_LOG";
/// `SEACHANGE_VAR_NAME` is `--var NAME=…`.
pub(crate) const VAR_PREFIX: &str = "SEACHANGE_VAR_";
/// URL of an image registry to ask instead of every other (the local cloud prints one).
pub(crate) const REGISTRY_MIRROR: &str = "SEACHANGE_REGISTRY_MIRROR";
/// Added to ports below 1024 of every droplet and floating IP (the local cloud needs no root, so it cannot have them).
pub(crate) const PORT_OFFSET: &str = "SEACHANGE_PORT_OFFSET";
/// URLs by which CI systems name a job, in the order in which they are asked.
pub(crate) const JOB_URLS: [&str; 4] =
    ["CI_JOB_URL", "BUILD_URL", "CIRCLE_BUILD_URL", "BUILDKITE_BUILD_URL"];
/// GitHub's three parts of a job URL.
pub(crate) const GITHUB: [&str; 3] = ["GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"];
/// Who is logged in.
pub(crate) const USER: &str = "USER";
/// The machine's name.
pub(crate) const HOSTNAME: &str = "HOSTNAME";

/// A variable, if it is set and not empty.
#[expect(clippy::disallowed_methods, reason = "this is the file where the environment is read")]
pub(crate) fn get(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether a variable is there at all.
#[expect(clippy::disallowed_methods, reason = "this is the file where the environment is read")]
pub(crate) fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// The API token, and the name of the variable it came from.
pub(crate) fn token() -> Option<Secret> {
    get(TOKEN).or_else(|| get(ACCESS_TOKEN)).map(|token| Secret::new(token.trim()))
}

/// The key of the store for states: both halves of the first pair that is set.
pub(crate) fn spaces_key() -> Option<Credentials> {
    [SPACES_KEY, AWS_KEY].into_iter().find_map(|[id, key]| {
        let (id, key) = (get(id)?, get(key)?);
        Some(Credentials { id: id.trim().to_owned(), key: Secret::new(key.trim()) })
    })
}

/// Every `SEACHANGE_VAR_NAME`, by `NAME`.
#[expect(clippy::disallowed_methods, reason = "this is the file where the environment is read")]
pub(crate) fn variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let name = name.to_str()?.strip_prefix(VAR_PREFIX)?.to_owned();
            Some((name, value.to_str()?.to_owned()))
        })
        .collect()
}

/// Who is at work, for the history and the lock: the CI job's URL, else user@host.
pub(crate) fn who() -> String {
    if let Some(url) = JOB_URLS.iter().find_map(|name| get(name)) {
        return url;
    }
    if let [Some(server), Some(repository), Some(run)] = GITHUB.map(get) {
        return format!("{server}/{repository}/actions/runs/{run}");
    }
    let user = get(USER).unwrap_or_else(|| "someone".to_owned());
    format!("{user}@{}", host_name())
}

/// The machine's name.
pub(crate) fn host_name() -> String {
    get(HOSTNAME)
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .map_or_else(|| "localhost".to_owned(), |name| name.trim().to_owned())
}

/// Whether a CI system runs us.
pub(crate) fn is_ci() -> bool {
    is_set(CI)
}

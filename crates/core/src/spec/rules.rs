//! The rules that need more than one key. Each says why it is one, and what to write instead.

use std::collections::BTreeSet;

use super::check::Checked;
use super::compile::{app_port, count, health, listen, ssh_port};
use super::keys;
use super::problems::Problems;
use crate::diagnostic::Diagnostic;

/// Tells what does not go together.
pub(super) fn check(root: &Checked, problems: &mut Problems) {
    app(root, problems);
    addresses(root, problems);
    state(root, problems);
    ports(root, problems);
    twice(root, problems);
    literals(root, problems);
}

/// Refuses the block or value at a path of keys.
fn refuse(root: &Checked, path: &str, message: String, help: &str, problems: &mut Problems) {
    problems.push(Diagnostic::error(path, at(root, path).map(Checked::place), message).help(help));
}

fn at<'c>(root: &'c Checked, path: &str) -> Option<&'c Checked> {
    path.split('.').try_fold(root, |at, key| at.get(key))
}

fn address(root: &Checked) -> bool {
    root.get("floating_ip").or_else(|| root.get("reserved_ip")).is_some()
}

fn app(root: &Checked, problems: &mut Problems) {
    let Some(app) = root.get("app") else {
        if root.get("load_balancer").is_some() && root.get("ssh").is_some() {
            let message = "a load balancer that is set up over SSH needs an `app`: its port is where requests go";
            let help = "add app: { image: … }, or leave out ssh: then the droplet is made and nothing is put on it";
            refuse(root, "load_balancer", message.to_owned(), help, problems);
        }
        return;
    };
    if root.get("ssh").is_none() {
        let message = "an app needs `ssh`: it is put on the workers over SSH";
        let help = "add ssh: { keys: […], private_key: … }";
        refuse(root, "app", message.to_owned(), help, problems);
    }
    if !address(root) {
        let message = "an app needs a `floating_ip`: a release moves it from worker to worker";
        refuse(root, "app", message.to_owned(), "add floating_ip: {}", problems);
    }
    if root.get("workers").is_some_and(|workers| count(workers) < 2) {
        let message =
            "an app needs at least 2 workers: a new release starts on one while the other serves";
        let path = if at(root, "workers.count").is_some() { "workers.count" } else { "workers" };
        refuse(root, path, message.to_owned(), "write count: 2", problems);
    }
    let gate = health(app);
    let least = gate.interval.saturating_mul(gate.successes.saturating_sub(1));
    if least >= gate.timeout {
        let message = format!(
            "no app can pass this gate: {} successes, {:?} apart, take {least:?}, and the deadline is {:?}",
            gate.successes, gate.interval, gate.timeout
        );
        let help = "raise `timeout`, or ask for fewer successes or a shorter interval";
        refuse(root, "app.health", message, help, problems);
    }
}

fn addresses(root: &Checked, problems: &mut Problems) {
    if root.get("floating_ip").is_some() && root.get("reserved_ip").is_some() {
        let message = "`floating_ip` and `reserved_ip` are the same thing";
        refuse(root, "reserved_ip", message.to_owned(), "keep one of them", problems);
    }
    if address(root) {
        return;
    }
    if root.get("load_balancer").is_some() {
        let message = "a load balancer needs a `floating_ip`: that is where it sends requests";
        refuse(root, "load_balancer", message.to_owned(), "add floating_ip: {}", problems);
    } else if root.get("domain").is_some() {
        let message = "a domain needs a `load_balancer` or a `floating_ip` to point to";
        refuse(root, "domain", message.to_owned(), "add floating_ip: {}", problems);
    }
}

fn state(root: &Checked, problems: &mut Problems) {
    let Some(state) = root.get("state") else { return };
    if state.get("local").is_some() == state.get("spaces").is_some() {
        let help = "write either local: { path: … } or spaces: { bucket: … }";
        refuse(root, "state", "the state is kept in exactly one place".to_owned(), help, problems);
    }
    if let Some(spaces) = state.get("spaces")
        && spaces.get("region").is_none()
        && spaces.get("endpoint").is_none()
        && !problems.mention("state.spaces.")
    {
        let message = "`state.spaces` needs a `region` or an `endpoint`";
        refuse(root, "state.spaces", message.to_owned(), "add region: ams3", problems);
    }
    if let Some(encryption) = state.get("encryption")
        && encryption.get("passphrase").is_none()
        && encryption.get("recipients").is_none()
        && !problems.mention("state.encryption.")
    {
        let message =
            "`state.encryption` needs a `passphrase` or `recipients`: nothing else can seal";
        let help = "add passphrase: ${env:STATE_PASSPHRASE}";
        refuse(root, "state.encryption", message.to_owned(), help, problems);
    }
}

/// Two listeners cannot share a port of one droplet, and the one that would lose is the way in.
fn ports(root: &Checked, problems: &mut Problems) {
    let Some(ssh) = root.get("ssh").map(ssh_port) else { return };
    let taken = [
        ("app", "port", root.get("app").map(app_port)),
        ("load_balancer", "listen", root.get("load_balancer").map(listen)),
    ];
    for (block, key, port) in taken {
        if port == Some(ssh) {
            let path = format!("{block}.{key}");
            let path = if at(root, &path).is_some() { path.as_str() } else { block };
            let message = format!("port {ssh} is taken by SSH on the same droplet");
            refuse(root, path, message, "choose another port", problems);
        }
    }
}

/// Things that are told apart by a name must have different ones.
fn twice(root: &Checked, problems: &mut Problems) {
    let records = root.get("domain").map_or(&[][..], |domain| domain.list("records"));
    let keys = root.get("ssh").map_or(&[][..], |ssh| ssh.list("keys"));
    let material = |key: &Checked| match key.as_text() {
        Some(fingerprint) => Some(fingerprint.to_owned()),
        None => keys::fingerprint(key.text("public_key")?),
    };
    let name = |item: &Checked| item.text("name").map(str::to_owned);
    repeated("domain.records", "record", records, name, problems);
    repeated("ssh.keys", "key named", keys, name, problems);
    repeated("ssh.keys", "key", keys, material, problems);
}

fn repeated(
    path: &str,
    noun: &str,
    items: &[Checked],
    name: impl Fn(&Checked) -> Option<String>,
    problems: &mut Problems,
) {
    let mut seen = BTreeSet::new();
    for item in items {
        let Some(name) = name(item) else { continue };
        let message = format!("the {noun} `{name}` stands here a second time");
        if !seen.insert(name) {
            problems.push(
                Diagnostic::error(path, Some(item.span.clone()), message).help("keep one of them"),
            );
        }
    }
}

/// Secrets that stand in the file itself.
fn literals(root: &Checked, problems: &mut Problems) {
    for path in [
        "app.registry.password",
        "ssh.passphrase",
        "ssh.private_key",
        "state.encryption.passphrase",
    ] {
        let Some(found) = at(root, path) else { continue };
        if found.literal && found.as_text().is_some_and(|text| text != "agent") {
            problems.push(
                Diagnostic::error(
                    path,
                    Some(found.place()),
                    format!("`{path}` stands in the file as it is"),
                )
                .warning()
                .help("take it from the environment: ${env:NAME}"),
            );
        }
    }
}

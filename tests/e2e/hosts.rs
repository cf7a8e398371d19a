//! What the droplets themselves refuse: a host key that is not the recorded one, and a key that they do not know.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Sandbox, Served};

const APPLY: &str = "apply -f webgui.yaml --auto-approve --var";

/// The tutorial's stack with release 1.0, served.
fn released() -> (Sandbox, Served) {
    let mut sandbox = Sandbox::new();
    let served = sandbox.serve("");
    sandbox.spec_for_served(|text| text);
    sandbox.run(&format!("{APPLY} VERSION=1.0")).code(0);
    (sandbox, served)
}

/// Both fingerprints of a refusal.
fn fingerprints(stderr: &str) -> (&str, &str) {
    let after = |word: &str| {
        let found = stderr.split(word).nth(1).and_then(|rest| rest.split(['\n', ',', ')']).next());
        found.expect("a fingerprint").trim()
    };
    (after("expected SHA256:"), after("got SHA256:"))
}

#[test]
fn a_host_key_that_is_not_the_recorded_one_is_refused_with_both() {
    let (sandbox, served) = released();
    let before = served.seen_by_users();
    let commit = sandbox.newest_commit();
    let text = std::fs::read_to_string(&commit).expect("a commit");
    let state: Value =
        serde_json::from_str(text.lines().nth(1).expect("a state")).expect("a state in JSON");
    let key = |worker: u32| {
        let found = &state["state"]["resources"][format!("droplet.worker[{worker}]")]["host_key"];
        found.as_str().expect("a pinned key").to_owned()
    };
    std::fs::write(&commit, text.replace(&key(2), &key(1))).expect("writable");

    let said = sandbox
        .run(&format!("{APPLY} VERSION=1.1"))
        .code(1)
        .complains("another host key")
        .complains("help:")
        .complains("--replace");
    let (expected, observed) = fingerprints(&said.stderr);
    assert_ne!(expected, observed, "{said}");
    assert_eq!(served.seen_by_users(), before);
    sandbox
        .run("logs -f webgui.yaml droplet.worker[2]")
        .code(1)
        .complains(expected)
        .complains(observed);

    sandbox.run(&format!("{APPLY} VERSION=1.1 --replace droplet.worker[2]")).code(0);
    sandbox.run("plan -f webgui.yaml --var VERSION=1.1 --detailed-exitcode").code(0);
}

#[test]
fn the_key_of_the_first_contact_is_written_nowhere_and_refused_afterwards() {
    let (mut sandbox, served) = released();
    let world = served.world();
    drop(served);
    let droplets = world["droplets"].as_object().expect("droplets");
    let second = droplets.iter().find(|(_, droplet)| droplet["name"] == "webgui-worker-02");
    let (second, _) = second.expect("a second worker");
    let path = sandbox.path().join("served/world.json");
    let mut kept: Value =
        serde_json::from_slice(&std::fs::read(&path).expect("a world")).expect("JSON");
    // The key of the first contact is worth nothing any more.
    let user_data = kept["resources"]["droplets"][second]["user_data"].as_str().expect("text");
    let (_, key) = user_data.split_once("ed25519_private: |\n").expect("a key");
    let (key, _) = key.split_once("  ed25519_public:").expect("its end");
    let key = key.replace("    ", "");
    let secret = key.lines().nth(2).expect("the private half");
    for file in files_below(&sandbox.path().join("kept")) {
        let text = std::fs::read_to_string(&file).expect("text");
        assert!(!text.contains(secret) && !text.contains("PRIVATE KEY"), "{}", file.display());
    }
    kept["resources"]["machines"][second]["active_host_key"] = key.clone().into();
    std::fs::write(&path, kept.to_string()).expect("writable");

    let served = sandbox.serve("");
    let before = served.seen_by_users();
    let said = sandbox.run(&format!("{APPLY} VERSION=1.1")).code(1).complains("another host key");
    let (expected, observed) = fingerprints(&said.stderr);
    assert_ne!(expected, observed, "{said}");
    assert_eq!(served.seen_by_users(), before);
    assert!(!said.stderr.contains(secret), "{said}");
    sandbox.run("status -f webgui.yaml").code(0).says(expected).says(observed);
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn a_key_that_no_host_knows_is_refused_by_its_fingerprint() {
    let (sandbox, served) = released();
    let mut elsewhere = Sandbox::new();
    let _other = elsewhere.serve("");
    let stranger = elsewhere.path().join("served/id_ed25519");
    let before = served.seen_by_users();
    let spec = std::fs::read_to_string(sandbox.path().join("webgui.yaml")).expect("the spec");
    let strange = spec.replace("${env:SSH_PRIVATE_KEY_FILE}", &stranger.display().to_string());
    std::fs::write(sandbox.path().join("webgui.yaml"), strange).expect("writable");

    sandbox
        .run(&format!("{APPLY} VERSION=1.1"))
        .code(1)
        .complains("accepts none of the SSH keys offered (SHA256:")
        .complains("help:");
    assert_eq!(served.seen_by_users(), before);
    sandbox
        .run("logs -f webgui.yaml")
        .code(1)
        .complains("droplet.worker[1]")
        .complains("ssh.private_key must belong to one of ssh.keys");

    std::fs::write(sandbox.path().join("webgui.yaml"), spec).expect("writable");
    sandbox.run(&format!("{APPLY} VERSION=1.1")).code(0).says("1 swapped");
}

#[test]
fn a_key_file_that_is_none_is_refused_before_anything_is_asked() {
    let (sandbox, _served) = released();
    std::fs::write(sandbox.path().join("garbage"), "no key\n").expect("writable");
    let spec = std::fs::read_to_string(sandbox.path().join("webgui.yaml")).expect("the spec");
    for (file, why) in
        [("absent", "No such file"), ("served", "directory"), ("garbage", "PRIVATE KEY")]
    {
        let spec = spec.replace("${env:SSH_PRIVATE_KEY_FILE}", file);
        std::fs::write(sandbox.path().join("webgui.yaml"), spec).expect("writable");
        sandbox
            .run(&format!("{APPLY} VERSION=1.1"))
            .code(1)
            .complains(&format!("SSH key file {file}"))
            .complains(why)
            .complains("help: ssh.private_key takes");
    }
}

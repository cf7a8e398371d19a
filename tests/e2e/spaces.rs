//! The state in a Space, over the wire: with the right key, with wrong ones, and with somebody else at it.

use std::io::BufRead as _;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::harness::{Sandbox, Served};

const APPLY: &str = "apply -f webgui.yaml --auto-approve --var VERSION=1.0";

/// A served cloud, and the tutorial's spec with its own `state`.
fn stage() -> (Sandbox, Served) {
    let mut sandbox = Sandbox::new();
    let served = sandbox.serve("");
    sandbox.spec_for_served(|text| {
        text.replace("local: { path: kept }", "spaces: { bucket: gotcha-state, region: ams3 }")
    });
    (sandbox, served)
}

/// Requests that may have changed something in the account.
fn changing(served: &Served) -> usize {
    let requests: Value =
        serde_json::from_str(&served.ask("GET", "/_local/requests", "")).expect("JSON");
    let changes = |request: &&Value| request[0] != "GET";
    requests.as_array().expect("a list").iter().filter(changes).count()
}

/// A run that goes on beside others, from when it wrote this to stderr.
fn beside(sandbox: &Sandbox, line: &str, said: &str) -> Child {
    let mut command = sandbox.command(line);
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    let mut lines = std::io::BufReader::new(child.stderr.as_mut().expect("piped")).lines();
    assert!(lines.any(|line| line.expect("UTF-8").contains(said)), "{line} never said {said:?}");
    child
}

#[test]
fn the_tutorials_state_lives_in_its_space() {
    let (sandbox, _served) = stage();
    sandbox.run(APPLY).code(0);
    sandbox.run(APPLY).code(0).says("No changes");
    sandbox.run("lock status -f webgui.yaml").code(0).says("is not locked");
    sandbox
        .run("state history -f webgui.yaml")
        .code(0)
        .says("tester@testhost")
        .says("released 1.0");
    sandbox.run("releases -f webgui.yaml").code(0).says("1.0");
    sandbox.run("state list -f webgui.yaml").code(0).says("droplet.worker[2]");
    let pulled = sandbox.run("state pull -f webgui.yaml").code(0).stdout;
    std::fs::write(sandbox.path().join("pulled.json"), &pulled).expect("writable");
    sandbox.run("state rm record.www -f webgui.yaml").code(0);
    sandbox.run("state push pulled.json -f webgui.yaml").code(1).complains("serial");
    let serial =
        serde_json::from_str::<Value>(&pulled).expect("JSON")["state"]["serial"].to_string();
    sandbox.run(&format!("state restore {serial} -f webgui.yaml")).code(0);
    sandbox.run(APPLY).code(0).says("No changes");

    // Everything is in the bucket, and no secret is.
    let objects = sandbox.path().join("served/spaces/gotcha-state");
    let mut count = 0;
    for entry in std::fs::read_dir(&objects).expect("a bucket") {
        let text = std::fs::read_to_string(entry.expect("an object").path()).expect("text");
        for secret in ["canary-password", "PRIVATE KEY", "dop_v1_"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        count += 1;
    }
    assert!(count > 10, "{count} objects");
    assert!(!sandbox.path().join("kept").exists());
}

#[test]
fn each_way_not_to_get_in_is_one_clear_error_before_anything_is_changed() {
    let (mut sandbox, served) = stage();
    let identity = std::fs::read(sandbox.path().join("served/identity.json")).expect("an identity");
    let keys = serde_json::from_slice::<Value>(&identity).expect("JSON")["spaces"].clone();
    let key = |name: &str| keys[name].as_str().expect("a key").to_owned();
    let endpoint = sandbox.get("SEACHANGE_SPACES_ENDPOINT");
    for (changed, to, why) in [
        ("SPACES_ACCESS_KEY_ID", "DO00NOBODY".to_owned(), "the access key is not known there"),
        ("SPACES_SECRET_ACCESS_KEY", "wrong".to_owned(), "the secret key does not fit"),
        ("SEACHANGE_SPACES_ENDPOINT", "http://127.0.0.1:9".to_owned(), "onnection refused"),
    ] {
        let was = sandbox.get(changed);
        sandbox.set(changed, &to);
        let said = sandbox.run(APPLY).code(1).complains(why).complains("help:");
        assert!(said.stderr.contains("gotcha-state"), "{said}");
        assert!(!said.stderr.contains(&key("secret")), "{said}");
        sandbox.set(changed, &was);
    }
    sandbox.set("SPACES_ACCESS_KEY_ID", &key("read_only_id"));
    sandbox.set("SPACES_SECRET_ACCESS_KEY", &key("read_only_secret"));
    sandbox.run(APPLY).code(1).complains("the access key may not do that").complains("help:");
    sandbox.run("plan -f webgui.yaml --var VERSION=1.0").code(0).says("Plan: 7 to add");
    sandbox.set("SPACES_ACCESS_KEY_ID", &key("id"));
    sandbox.set("SPACES_SECRET_ACCESS_KEY", &key("secret"));
    served.ask("PUT", "/_local/spaces", &json!({ "absent": ["gotcha-state"] }).to_string());
    sandbox.run(APPLY).code(1).complains("there is no bucket gotcha-state").complains("help:");
    assert_eq!(changing(&served), 0);

    served.ask("PUT", "/_local/spaces", "{}");
    assert_eq!(sandbox.get("SEACHANGE_SPACES_ENDPOINT"), endpoint);
    sandbox.run(APPLY).code(0);
}

#[test]
fn of_two_applies_at_once_one_works_and_the_other_waits_or_is_told_who_does() {
    let (sandbox, _served) = stage();
    let first = beside(&sandbox, APPLY, "booting");
    let pid = first.id().to_string();
    sandbox
        .run(APPLY)
        .code(1)
        .complains("tester@testhost")
        .complains("(apply)")
        .complains("--lock-timeout");
    sandbox.run("lock status -f webgui.yaml --json").code(0).says(&pid).says("tester@testhost");
    // Looking needs no lock.
    sandbox.run("status -f webgui.yaml").code(0);
    sandbox
        .run(&format!("{APPLY} --lock-timeout 2m"))
        .code(0)
        .complains("waiting: ")
        .says("No changes");
    assert!(first.wait_with_output().expect("ended").status.success());
}

#[test]
fn the_lock_of_a_killed_holder_is_taken_over_by_the_next_run() {
    let (sandbox, served) = stage();
    sandbox.kill_at(APPLY, "booting");
    sandbox.run("lock status -f webgui.yaml").code(0).says("tester@testhost");
    sandbox.run(APPLY).code(0);
    assert_eq!(served.world()["droplets"].as_object().expect("droplets").len(), 3);
    sandbox.run("plan -f webgui.yaml --var VERSION=1.0 --detailed-exitcode").code(0);
}

#[test]
fn a_state_of_a_foreign_lineage_is_refused() {
    let (sandbox, _served) = stage();
    sandbox.run(APPLY).code(0);
    let before = sandbox.run("state pull -f webgui.yaml").code(0).stdout;
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../state-fixtures/v1/foreign-lineage.json");
    std::fs::copy(fixture, sandbox.path().join("foreign.json")).expect("a fixture");
    sandbox
        .run("state push foreign.json -f webgui.yaml")
        .code(1)
        .complains("lineage")
        .complains("help:");
    assert_eq!(sandbox.run("state pull -f webgui.yaml").code(0).stdout, before);
}

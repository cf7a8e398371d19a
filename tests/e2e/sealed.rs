//! Encryption at rest: what lies in the store and in plan files is for those with a key, and a key can be rotated.

use std::path::PathBuf;

use crate::harness::{Sandbox, Served};

const APPLY: &str = "apply -f vault.yaml --auto-approve";

/// A served cloud, and a stack whose states are encrypted as this says.
fn stage(encryption: &str) -> (Sandbox, Served) {
    let mut sandbox = Sandbox::new();
    let served = sandbox.serve("");
    spec(&sandbox, encryption, 1);
    (sandbox, served)
}

fn spec(sandbox: &Sandbox, encryption: &str, count: u32) {
    let text = format!(
        "version: 1\nstack: vault\nregion: fra1\nstate:\n  spaces: {{ bucket: states, region: ams3 }}\n{encryption}\
         workers: {{ count: {count}, size: s-1vcpu-1gb }}\n"
    );
    std::fs::write(sandbox.path().join("vault.yaml"), text).expect("writable");
}

/// The commits in the bucket, as they lie there.
fn commits(sandbox: &Sandbox) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = std::fs::read_dir(sandbox.path().join("served/spaces/states")).expect("a bucket");
    let files = folder.map(|file| file.expect("an object").path());
    let states = files.filter(|path| path.to_string_lossy().contains("vault%2Fstate%2F"));
    let mut states: Vec<PathBuf> = states.collect();
    // Serials count down: the newest is first.
    states.sort_unstable();
    states.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("readable"))).collect()
}

fn is_age(bytes: &[u8]) -> bool {
    bytes.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----")
        || bytes.starts_with(b"age-encryption.org/v1")
}

#[test]
fn states_and_plans_are_for_those_with_the_passphrase() {
    let sealed = "  encryption: { passphrase: \"${env:STATE_PASSPHRASE}\", required: true }\n";
    let (mut sandbox, _served) = stage(sealed);
    sandbox.run(APPLY).code(1).complains("STATE_PASSPHRASE");
    sandbox.set("STATE_PASSPHRASE", "first-canary");
    sandbox.run("plan -f vault.yaml --out sealed.plan").code(0);
    let plan = std::fs::read(sandbox.path().join("sealed.plan")).expect("a plan");
    assert!(is_age(&plan));
    sandbox.run("show sealed.plan -f vault.yaml").code(0).says("droplet.worker[1]");
    sandbox.run("apply sealed.plan -f vault.yaml").code(0);
    let written = commits(&sandbox);
    assert!(written.len() > 1 && written.iter().all(|(_, bytes)| is_age(bytes)));
    sandbox.run("state list -f vault.yaml").code(0).says("droplet.worker[1]");
    sandbox.run("state history -f vault.yaml").code(0).says("+ droplet.worker[1]");

    sandbox.set("STATE_PASSPHRASE", "wrong");
    let refused = sandbox.run(APPLY).code(1).complains("none of the 1 keys given opens it");
    assert!(!refused.stderr.contains("canary"), "{refused}");
    sandbox.run("show sealed.plan -f vault.yaml").code(1).complains("none of the 1 keys");
    assert_eq!(commits(&sandbox), written);
}

#[test]
fn a_passphrase_is_rotated_without_a_flag_day() {
    let one = "  encryption: { passphrase: one }\n";
    let both = "  encryption: { passphrase: two, keys: [one] }\n";
    let (sandbox, _served) = stage(one);
    sandbox.run(APPLY).code(0);
    spec(&sandbox, both, 2);
    sandbox.run(APPLY).code(0);
    sandbox.run("state history -f vault.yaml").code(0).says("+ droplet.worker[1]");
    spec(&sandbox, "  encryption: { passphrase: two }\n", 2);
    sandbox.run("plan -f vault.yaml --detailed-exitcode").code(0);
    spec(&sandbox, one, 2);
    sandbox.run("plan -f vault.yaml").code(1).complains("none of the 1 keys given opens it");
}

#[test]
fn plain_text_is_refused_where_encryption_is_required() {
    let (sandbox, _served) = stage("");
    sandbox.run(APPLY).code(0);
    let written = commits(&sandbox);
    assert!(!written.iter().any(|(_, bytes)| is_age(bytes)));
    spec(&sandbox, "  encryption: { passphrase: one, required: true }\n", 1);
    sandbox
        .run(APPLY)
        .code(1)
        .complains("it is plain text, and encryption is required")
        .complains("help:");
    assert_eq!(commits(&sandbox), written);
    // Without that word a plain one is read, and the next is encrypted.
    spec(&sandbox, "  encryption: { passphrase: one }\n", 2);
    sandbox.run(APPLY).code(0);
    assert!(is_age(&commits(&sandbox)[0].1));
    spec(&sandbox, "", 2);
    sandbox.run(APPLY).code(1).complains("encrypted").complains("help:");
}

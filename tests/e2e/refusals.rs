//! Bad input and bad luck: one clear error each, with the next command; nothing is lost.

use crate::harness::Sandbox;

#[test]
fn an_app_that_never_becomes_healthy_leaves_users_alone() {
    let sandbox = Sandbox::new();
    sandbox.spec("webgui.yaml");
    sandbox.run("apply -f webgui.yaml --local --var VERSION=1.0 --auto-approve").code(0);
    let before = sandbox.run("status --local --json").code(0).stdout;
    sandbox.spec_with("webgui.yaml", |text| {
        text.replace("timeout: 2m", "timeout: 3s").replace("interval: 2s", "interval: 200ms")
    });
    sandbox
        .run("apply -f webgui.yaml --local --var VERSION=unhealthy --auto-approve")
        .code(1)
        .complains("503")
        .complains("help:");
    let after = sandbox.run("status --local --json").code(0).stdout;
    for field in ["\"live\"", "1.0"] {
        assert!(before.contains(field) && after.contains(field), "{before}\n{after}");
    }
    sandbox
        .run("apply -f webgui.yaml --local --var VERSION=1.1 --auto-approve")
        .code(0)
        .says("1 swapped");
}

#[test]
fn an_unknown_image_is_refused_before_anything_is_done() {
    let sandbox = Sandbox::new();
    sandbox.spec("webgui.yaml");
    sandbox
        .run("apply -f webgui.yaml --local --var VERSION=9.9 --auto-approve")
        .code(1)
        .complains("webgui:9.9")
        .complains("help:");
    sandbox.run("status --local").code(0).says("nothing");
}

#[test]
fn an_unknown_size_is_refused_before_anything_is_done() {
    let sandbox = Sandbox::new();
    sandbox.spec_with("webgui.yaml", |text| text.replace("size: s-1vcpu-1gb", "size: s-1vcpu-1bg"));
    sandbox
        .run("apply -f webgui.yaml --local --var VERSION=1.0 --auto-approve")
        .code(1)
        .complains("s-1vcpu-1bg")
        .complains("help:");
    sandbox.run("status --local").code(0).says("nothing");
}

#[test]
fn without_a_token_nothing_is_tried() {
    let sandbox = Sandbox::new();
    sandbox.spec("infrastructure.yaml");
    sandbox
        .run("plan -f infrastructure.yaml")
        .code(1)
        .complains("DIGITALOCEAN_TOKEN")
        .complains("--local");
}

#[test]
fn an_api_that_is_down_is_named() {
    let mut sandbox = Sandbox::new();
    sandbox.spec("infrastructure.yaml");
    sandbox.set("DIGITALOCEAN_TOKEN", "canary-token");
    sandbox.set("DIGITALOCEAN_API_URL", "http://127.0.0.1:9");
    let said = sandbox.run("plan -f infrastructure.yaml").code(1).complains("http://127.0.0.1:9");
    assert!(!said.stderr.contains("canary"), "{said}");
}

#[test]
fn a_missing_variable_is_named_with_its_remedy() {
    let sandbox = Sandbox::new();
    sandbox.spec("webgui.yaml");
    sandbox
        .run("plan -f webgui.yaml --local")
        .code(1)
        .complains("VERSION")
        .complains("--var VERSION=");
}

#[test]
fn no_question_without_a_terminal() {
    let sandbox = Sandbox::new();
    sandbox.spec("infrastructure.yaml");
    sandbox.run("apply -f infrastructure.yaml --local").code(1).complains("--auto-approve");
    sandbox.run("status -f infrastructure.yaml --local").code(0).says("nothing");
}

#[test]
fn limits_of_the_account_are_refused_before_anything_is_done() {
    for (options, named) in
        [("--droplet-limit 2", "droplet"), ("--reserved-ip-limit 0", "reserved IPs")]
    {
        let mut sandbox = Sandbox::new();
        let _served = sandbox.serve(options);
        sandbox.spec("infrastructure.yaml");
        sandbox
            .run("apply -f infrastructure.yaml --auto-approve")
            .code(1)
            .complains(named)
            .complains("help:");
        sandbox.run("status -f infrastructure.yaml").code(0).says("nothing");
    }
}

#[test]
fn a_wrong_token_is_refused_with_its_remedy() {
    let mut sandbox = Sandbox::new();
    let _served = sandbox.serve("");
    sandbox.spec("infrastructure.yaml");
    sandbox.set("DIGITALOCEAN_TOKEN", "canary-token");
    let said =
        sandbox.run("plan -f infrastructure.yaml").code(1).complains("401").complains("help:");
    assert!(!said.stderr.contains("canary"), "{said}");
}

#[test]
fn a_key_that_the_account_does_not_have_is_refused() {
    let mut sandbox = Sandbox::new();
    let _served = sandbox.serve("");
    sandbox.set("PRIVKEY_PLAIN", "not a key");
    sandbox.set("REGISTRY_USER", "user");
    sandbox.set("REGISTRY_PASSWORD", "canary-password");
    sandbox.spec_with("webgui.yaml", |text| {
        text.replace("spaces: { bucket: gotcha-state, region: ams3 }", "local: { path: kept }")
    });
    let said = sandbox
        .run("plan -f webgui.yaml --var VERSION=1.0")
        .code(1)
        .complains("SSH")
        .complains("help:");
    assert!(!said.stderr.contains("canary"), "{said}");
}

//! What works without any cloud: init, validate, schema, completions, help.

use crate::harness::{Sandbox, specs};

#[test]
fn the_starter_is_valid_and_is_never_overwritten() {
    let sandbox = Sandbox::new();
    sandbox.run("init").code(0);
    sandbox.run("validate --local --var VERSION=1.0").code(0);
    let text = std::fs::read_to_string(sandbox.path().join("seachange.yaml")).expect("the starter");
    assert!(text.starts_with("# yaml-language-server: $schema="));
    sandbox.run("init").code(1).complains("nothing was written");
    sandbox.run("apply --local --var VERSION=1.0 --auto-approve").code(0);
}

#[test]
fn every_example_spec_is_valid() {
    let sandbox = Sandbox::new();
    for name in [
        "webgui.yaml",
        "minimal.yaml",
        "many-workers.yaml",
        "no-load-balancer.yaml",
        "infrastructure.yaml",
        "encrypted.yaml",
    ] {
        sandbox.spec(name);
        sandbox.run(&format!("validate -f {name} --local --var VERSION=1.0")).code(0);
    }
    let listed = std::fs::read_dir(specs()).expect("specs").count();
    assert_eq!(listed, 6 + 1, "an example is missing here (the seventh is the folder invalid/)");
}

#[test]
fn help_has_an_example_for_every_command_that_takes_a_spec() {
    let sandbox = Sandbox::new();
    for command in
        ["plan", "apply", "destroy", "drift", "status", "rollback", "releases", "logs", "show"]
    {
        sandbox.run(&format!("{command} --help")).code(0).says("Example:");
    }
}

#[test]
fn schema_and_completions_go_to_stdout() {
    let sandbox = Sandbox::new();
    let schema = sandbox.run("schema").code(0).stdout;
    serde_json::from_str::<serde_json::Value>(&schema).expect("JSON");
    sandbox.run("completions bash").code(0).says("seachange");
}

//! The main job, as the README tells it.

use crate::harness::Sandbox;

#[test]
fn the_tutorials_stack_from_nothing_to_nothing() {
    let sandbox = Sandbox::new();
    sandbox.spec("webgui.yaml");

    sandbox.run("validate -f webgui.yaml --var VERSION=1.0 --local").code(0);
    sandbox
        .run("plan -f webgui.yaml --local --var VERSION=1.0")
        .code(0)
        .says("droplet.worker[1]")
        .says("Plan: 7 to add, 0 to change, 0 to destroy.");
    sandbox
        .run("apply -f webgui.yaml --local --var VERSION=1.0 --auto-approve")
        .code(0)
        .says("Apply complete!");

    let again =
        sandbox.run("plan -f webgui.yaml --local --var VERSION=1.0 --detailed-exitcode").code(0);
    assert_eq!(again.stdout.lines().count(), 1, "{again}");
    let again =
        sandbox.run("apply -f webgui.yaml --local --var VERSION=1.0 --auto-approve").code(0);
    assert_eq!(again.stdout.lines().count(), 1, "{again}");

    sandbox
        .run("plan -f webgui.yaml --local --var VERSION=1.1 --detailed-exitcode")
        .code(2)
        .says("1 to swap")
        .says("Plan: 0 to add, 0 to change, 0 to destroy.");
    sandbox
        .run("apply -f webgui.yaml --local --var VERSION=1.1 --auto-approve")
        .code(0)
        .says("0 added, 0 changed, 0 destroyed")
        .says("1 swapped");

    sandbox.run("status --local").code(0).says("1.1").says("worker[2]");
    sandbox.run("releases --local").code(0).says("1.1").says("1.0");
    sandbox.run("drift --local").code(0);
    sandbox.run("logs --local").code(0);
    sandbox.run("rollback --local --auto-approve").code(0);
    sandbox.run("status --local").code(0).says("worker[1]");

    sandbox.run("destroy -f webgui.yaml --local --auto-approve").code(0).says("destroyed");
    sandbox.run("status --local").code(0).says("nothing");
}

#[test]
fn a_saved_plan_is_applied_exactly_and_only_once() {
    let sandbox = Sandbox::new();
    sandbox.spec("webgui.yaml");
    sandbox.run("plan -f webgui.yaml --local --var VERSION=1.0 --out first.plan").code(0);
    sandbox.run("show first.plan").code(0).says("Plan: 7 to add");
    sandbox
        .run("apply first.plan -f webgui.yaml --local --var VERSION=1.0")
        .code(0)
        .says("Apply complete!");
    sandbox
        .run("apply first.plan -f webgui.yaml --local --var VERSION=1.0")
        .code(1)
        .complains("stale");
}

#[test]
fn infrastructure_alone_is_never_contacted_over_ssh() {
    let sandbox = Sandbox::new();
    sandbox.spec("infrastructure.yaml");
    sandbox
        .run("apply -f infrastructure.yaml --local --auto-approve")
        .code(0)
        .says("Apply complete!");
    sandbox.run("plan -f infrastructure.yaml --local --detailed-exitcode").code(0);
    sandbox.run("destroy -f infrastructure.yaml --local --auto-approve").code(0);
}

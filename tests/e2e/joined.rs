//! Several commands on one local cloud at a time: whoever comes second uses the world that the first one serves.

use std::io::BufRead as _;
use std::process::{Child, Stdio};

use crate::harness::Sandbox;

/// A run that goes on beside others, after it wrote this to the stream that `lines` takes from it.
fn beside(sandbox: &Sandbox, line: &str, said: &str) -> Child {
    let mut command = sandbox.command(line);
    let serves = line.starts_with("local serve");
    let (out, err) =
        if serves { (Stdio::piped(), Stdio::null()) } else { (Stdio::null(), Stdio::piped()) };
    let mut child = command.stdout(out).stderr(err).spawn().expect("the binary runs");
    let found = if serves {
        let mut lines = std::io::BufReader::new(child.stdout.as_mut().expect("piped")).lines();
        lines.any(|line| line.expect("UTF-8").contains(said))
    } else {
        let mut lines = std::io::BufReader::new(child.stderr.as_mut().expect("piped")).lines();
        lines.any(|line| line.expect("UTF-8").contains(said))
    };
    assert!(found, "{line} never said {said:?}");
    child
}

/// The rest of what it says is read, so that it is never stopped by a full pipe.
fn succeeds(child: Child) -> bool {
    child.wait_with_output().expect("ended").status.success()
}

#[test]
fn a_command_joins_the_world_that_is_served_in_its_folder() {
    let sandbox = Sandbox::new();
    sandbox.spec("webgui.yaml");
    let mut served = beside(&sandbox, "local serve", "SSH_KEY_FINGERPRINT");
    sandbox.run("apply -f webgui.yaml --local --var VERSION=1.0 --auto-approve").code(0);
    let process = served.id().to_string();
    for line in ["local serve", "local reset"] {
        sandbox
            .run(line)
            .code(1)
            .complains("in use")
            .complains(&format!("help: process {process} serves it at http://127.0.0.1:"))
            .complains("--local");
    }
    sandbox.run("status --local").code(0).says("1.0");
    served.kill().expect("killed");
    served.wait().expect("ended");

    // The killed process has left its note behind. What happened in its world is there.
    sandbox.run("plan -f webgui.yaml --local --var VERSION=1.0 --detailed-exitcode").code(0);
    sandbox.run("local reset").code(0);
}

#[test]
fn a_command_stays_until_its_guests_are_done() {
    let sandbox = Sandbox::new();
    sandbox.spec("webgui.yaml");
    let first = beside(
        &sandbox,
        "apply -f webgui.yaml --local --var VERSION=1.0 --auto-approve",
        "booting",
    );
    // While it holds the lock of the state, others may look; and another stack is another lock.
    sandbox.spec("infrastructure.yaml");
    sandbox.run("status -f webgui.yaml --local").code(0);
    let second = sandbox.run("apply -f infrastructure.yaml --local --auto-approve").code(0);
    assert!(succeeds(first), "{second}");
    sandbox.run("plan -f webgui.yaml --local --var VERSION=1.0 --detailed-exitcode").code(0);
    sandbox.run("plan -f infrastructure.yaml --local --detailed-exitcode").code(0);
}

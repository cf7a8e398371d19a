//! What stands between a new release and its users: the health gate and the user's own checks. Whatever they find, the
//! live side is not touched.

use serde_json::Value;

use crate::harness::{Sandbox, Served};

const APPLY: &str = "apply -f webgui.yaml --auto-approve --var";

fn released(sandbox: &mut Sandbox) -> Served {
    let served = sandbox.serve("");
    sandbox.spec_for_served(|text| text);
    sandbox.run(&format!("{APPLY} VERSION=1.0")).code(0);
    served
}

fn address(world: &Value, name: &str) -> String {
    let droplets = world["droplets"].as_object().expect("droplets");
    let droplet = droplets.values().find(|droplet| droplet["name"] == name).expect(name);
    droplet["address"].as_str().expect("an address").to_owned()
}

#[test]
fn a_check_that_says_no_ends_the_release_before_the_switch() {
    let mut sandbox = Sandbox::new();
    let served = released(&mut sandbox);
    let (before, candidate) =
        (served.seen_by_users(), address(&served.world(), "webgui-worker-02"));
    let check = "deploy:\n  verify:\n    - [sh, -c, \"echo looked at $SEACHANGE_CANDIDATE_URL; \
                 echo worker $SEACHANGE_WORKER of $SEACHANGE_STACK >&2; exit 3\"]\napp:";
    sandbox.spec_for_served(|text| text.replace("\napp:", &format!("\n{check}")));
    sandbox
        .run(&format!("{APPLY} VERSION=1.1"))
        .code(1)
        .complains("error: droplet.worker[2]: deploy.verify")
        .complains("exited with 3")
        .complains(&format!("looked at http://{candidate}:8080/"))
        .complains("worker 2 of webgui")
        .complains("help: users were never on it")
        .says("Nothing users see was changed.");
    assert_eq!(served.seen_by_users(), before);

    sandbox.spec_for_served(|text| {
        text.replace("\napp:", &format!("\n{}", check.replace("exit 3", "exit 0")))
    });
    sandbox.run(&format!("{APPLY} VERSION=1.1")).code(0).says("1 swapped");
}

#[test]
fn a_check_that_cannot_be_started_ends_the_release_too() {
    let mut sandbox = Sandbox::new();
    let served = released(&mut sandbox);
    let before = served.seen_by_users();
    sandbox.spec_for_served(|text| {
        text.replace("\napp:", "\ndeploy: { verify: [[./no-such-check]] }\napp:")
    });
    sandbox
        .run(&format!("{APPLY} VERSION=1.1"))
        .code(1)
        .complains("`./no-such-check` could not be started")
        .complains("help:");
    assert_eq!(served.seen_by_users(), before);
}

#[test]
fn an_app_that_does_not_become_healthy_is_shown_with_all_its_evidence() {
    let mut sandbox = Sandbox::new();
    let served = released(&mut sandbox);
    let before = served.seen_by_users();
    for (version, evidence) in [
        (
            "unhealthy",
            &[
                "it did not answer 3 × 200 in a row within 2 s",
                "last probe: 503 in ",
                "container: running",
                "the database at db.internal:5432 refuses the connection",
            ][..],
        ),
        (
            "crash",
            &[
                "last probe: connection refused",
                "container: ",
                "the setting DATABASE_URL is missing",
                "exiting with code 1",
            ][..],
        ),
    ] {
        let said = sandbox
            .run(&format!("{APPLY} VERSION={version}"))
            .code(1)
            .complains("error: droplet.worker[2]: health gate on /")
            .complains("help: users were never on it; look at it as it is: seachange logs")
            .says("Nothing users see was changed.");
        for text in evidence {
            assert!(said.stderr.contains(text), "stderr lacks {text:?}\n{said}");
        }
        assert_eq!(served.seen_by_users(), before, "{version}");
    }
    // The help names a command; it works.
    sandbox.run("logs -f webgui.yaml droplet.worker[2]").code(0).says("DATABASE_URL");
}

//! The state in a bucket, over the wire: engines that do not keep what conditional writes promise are refused before
//! anything is done, and what goes wrong on the way to one that does costs nothing.

use serde_json::{Value, json};

use crate::harness::{Said, Sandbox, Served};

const APPLY: &str = "apply -f infrastructure.yaml --auto-approve";
const PLAN: &str = "plan -f infrastructure.yaml --detailed-exitcode";
const HISTORY: &str = "state history -f infrastructure.yaml --limit 1000 --json";
/// Every commit of the stack.
const COMMITS: &str = "/gotcha-state/seachange/bare/state/*";
/// For ever, as far as a run is concerned.
const ALWAYS: u32 = 1_000_000;

/// A stack without hosts, whose states are in a bucket of the served cloud.
fn stage() -> (Sandbox, Served) {
    let mut sandbox = Sandbox::new();
    let served = sandbox.serve("");
    sandbox.spec_with("infrastructure.yaml", |text| {
        format!("{text}state: {{ spaces: {{ bucket: gotcha-state, region: ams3 }} }}\n")
    });
    (sandbox, served)
}

/// The bucket behaves so from now on.
fn behaves(served: &Served, habits: &Value) {
    served.ask("PUT", "/_local/spaces", &habits.to_string());
}

/// What the cloud was asked to change so far.
fn changes(served: &Served) -> Vec<Value> {
    let asked: Vec<Value> =
        serde_json::from_str(&served.ask("GET", "/_local/requests", "")).expect("requests");
    asked.into_iter().filter(|request| request[0] != "GET").collect()
}

/// Serials of all commits, newest first.
fn serials(sandbox: &Sandbox) -> Vec<u64> {
    let history = sandbox.run(HISTORY).code(0).json();
    let commits = history["commits"].as_array().expect("commits");
    commits.iter().map(|commit| commit["serial"].as_u64().expect("a serial")).collect()
}

/// Everything is there once and recorded, and the log has each serial once.
fn is_whole(sandbox: &Sandbox, served: &Served, what: &str) {
    let plan = sandbox.run(PLAN);
    assert_eq!(plan.code, 0, "{what}\n{plan}");
    let world = served.world();
    assert_eq!(world["droplets"].as_object().expect("droplets").len(), 3, "{what}");
    assert_eq!(world["reserved"].as_object().expect("addresses").len(), 1, "{what}");
    let serials = serials(sandbox);
    assert!(serials.len() > 3, "{what}: {serials:?}");
    let expected: Vec<u64> = (1..=serials.len() as u64).rev().collect();
    assert_eq!(serials, expected, "{what}");
}

#[test]
fn an_engine_that_does_not_honour_conditions_is_refused_with_its_name() {
    let (sandbox, served) = stage();
    for (habits, versioning) in [
        (json!({ "conditions": "ignored" }), "versioning was never on"),
        (json!({ "conditions": "looked_at_first" }), "versioning was never on"),
        (json!({ "conditions": "ignored", "versioning": true }), "versioning is on"),
    ] {
        behaves(&served, &habits);
        for line in [APPLY, "lock acquire -m freeze -f infrastructure.yaml"] {
            sandbox
                .run(line)
                .code(1)
                .complains("Space gotcha-state at 127.0.0.1:")
                .complains("does not honour conditional writes")
                .complains("seachange-local-cloud")
                .complains(versioning)
                .complains("help: turn the bucket's versioning off")
                .complains("--lock=advisory");
        }
    }
    assert_eq!(changes(&served), Vec::<Value>::new());
    // A versioned bucket that honours them all the same is as good as any.
    behaves(&served, &json!({ "versioning": true }));
    sandbox.run("lock acquire -m freeze -f infrastructure.yaml").code(0);
}

#[test]
fn advisory_locking_goes_on_without_conditions() {
    let (sandbox, served) = stage();
    behaves(&served, &json!({ "conditions": "ignored" }));
    sandbox.run(&format!("{APPLY} --lock=advisory")).code(0);
    is_whole(&sandbox, &served, "advisory");
    // What it wrote is good for a store that does better.
    behaves(&served, &json!({}));
    sandbox.run("destroy -f infrastructure.yaml --auto-approve").code(0);
}

/// An apply all of whose commits meet this effect, every one or at the first try.
fn applies_under(effect: &Value, at_each_try: bool) {
    let (sandbox, served) = stage();
    let rule = |after: u32, times: u32| json!({ "method": "PUT", "path": COMMITS, "after": after, "times": times, "effect": effect });
    match at_each_try {
        true => served.fault(&rule(0, ALWAYS)),
        // A rule counts what no rule before it struck, so that of any two tries one is struck.
        false => (0..50).for_each(|commit| served.fault(&rule(commit, 1))),
    }
    sandbox.run(APPLY).code(0);
    served.no_faults();
    is_whole(&sandbox, &served, &effect.to_string());
}

#[test]
fn a_commit_that_was_made_without_an_answer_is_recognised() {
    applies_under(&json!("drop_after"), true);
    applies_under(&json!({ "fail_after": { "status": 500 } }), true);
}

#[test]
fn a_commit_that_was_not_answered_and_not_made_is_made_again() {
    applies_under(&json!("drop_before"), false);
}

#[test]
fn a_bucket_that_asks_for_patience_gets_it() {
    applies_under(&json!({ "fail": { "status": 503 } }), false);
}

#[test]
fn a_list_that_is_behind_delays_nothing_but_the_newest() {
    let (sandbox, served) = stage();
    behaves(&served, &json!({ "stale_list_millis": 300 }));
    sandbox.run(APPLY).code(0);
    behaves(&served, &json!({}));
    is_whole(&sandbox, &served, "a list that is behind");
}

/// The command that a refusal tells the user to run, without the program's name.
fn told(said: &Said, command: &str) -> String {
    let begins = format!("seachange {command} ");
    let found = said.stderr.split(&begins).nth(1).and_then(|rest| rest.split([';', '\n']).next());
    format!("{command} {}", found.unwrap_or_else(|| panic!("no {begins:?}\n{said}")))
}

/// From the fourth commit on the bucket takes none.
fn is_saved_and_comes_back(status: u16) {
    let (sandbox, served) = stage();
    // A droplet that is up at once has an address whenever the next run looks at it.
    let timings = served.ask("GET", "/_local/timings", "");
    let mut timings: Value = serde_json::from_str(&timings).expect("timings");
    (timings["boot"], timings["address"]) = (0.into(), 0.into());
    served.ask("PUT", "/_local/timings", &timings.to_string());
    let effect = json!({ "fail": { "status": status } });
    let rule =
        json!({ "method": "PUT", "path": COMMITS, "after": 3, "times": ALWAYS, "effect": effect });
    served.fault(&rule);
    let said = sandbox.run(APPLY).code(1).complains(&status.to_string()).complains("help:");
    let push = told(&said, "state push");
    let file = push.rsplit(' ').next().expect("a file");
    assert!(sandbox.path().join(file).is_file(), "{said}");
    assert!(!changes(&served).is_empty(), "{said}");

    served.no_faults();
    sandbox.run(&push).code(0);
    let again = sandbox.run(APPLY).code(0);
    is_whole(&sandbox, &served, &format!("after HTTP {status}: {said}\n{again}"));
}

#[test]
fn a_state_that_the_bucket_refuses_is_saved_and_comes_back() {
    is_saved_and_comes_back(403);
}

#[test]
fn a_state_that_the_bucket_cannot_take_for_long_is_saved_and_comes_back() {
    is_saved_and_comes_back(503);
}

#[test]
fn with_local_no_other_bucket_is_touched_whatever_is_exported() {
    // The served cloud stands for the real one: its keys and its endpoint are exported.
    let (sandbox, served) = stage();
    sandbox.run(&format!("{APPLY} --local")).code(0);
    sandbox.run(&format!("{PLAN} --local")).code(0);
    sandbox.run("state list --local").code(0).says("droplet.worker[2]");
    assert!(sandbox.path().join(".seachange/local/spaces/gotcha-state").is_dir());
    assert!(!sandbox.path().join("served/spaces").exists());
    assert_eq!(changes(&served), Vec::<Value>::new());

    // A state in a folder stays in one.
    let spec = sandbox.spec("infrastructure.yaml");
    sandbox.run(&format!("state list -f {spec} --local")).code(0);
    sandbox.run("lock acquire -m freeze --local").code(0);
    assert!(sandbox.path().join(".seachange/local/state/bare/lock").is_dir());
}

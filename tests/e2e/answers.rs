//! Every changing request of a first apply and of a swap × every answer that is an error, over the wire: what the client
//! makes of it, and what the next run makes of that.
//!
//! Takes minutes, so it has a feature of its own: cargo test -p seachange --features kills --test e2e answers

use std::sync::Mutex;

use serde_json::{Value, json};

use crate::harness::{Sandbox, Served};

const FIRST: &str = "apply -f webgui.yaml --auto-approve --var VERSION=1.0";
const SWAP: &str = "apply -f webgui.yaml --auto-approve --var VERSION=1.1";

fn stage() -> (Sandbox, Served) {
    let mut sandbox = Sandbox::new();
    let served = sandbox.serve("");
    sandbox.spec_for_served(|text| text);
    (sandbox, served)
}

/// A changing request: method, path, and how many like it were before.
type Request = (String, String, usize);

/// Those of a run, with `*` for what differs from world to world.
fn changing(served: &Served, from: usize) -> Vec<Request> {
    let all: Vec<(String, String)> =
        serde_json::from_str(&served.ask("GET", "/_local/requests", "")).expect("requests");
    let mut found: Vec<Request> = Vec::new();
    for (method, path) in all.into_iter().skip(from).filter(|(method, _)| method != "GET") {
        let alike = |segment: &str| match segment.parse::<u64>().is_ok() || segment.contains('.') {
            true => "*".to_owned(),
            false => segment.to_owned(),
        };
        let path = path.split('/').map(alike).collect::<Vec<_>>().join("/");
        let before = found.iter().filter(|(m, p, _)| (m, p) == (&method, &path)).count();
        found.push((method, path, before));
    }
    found
}

fn requests_so_far(served: &Served) -> usize {
    let all: Vec<Value> =
        serde_json::from_str(&served.ask("GET", "/_local/requests", "")).expect("requests");
    all.len()
}

/// Strikes one request of the run with one answer; then everything must come right.
fn strike(run: &str, (method, path, after): &Request, effect: &Value) {
    let told = format!("{run}\n{method} {path} after {after}: {effect}");
    let (sandbox, served) = stage();
    if run == SWAP {
        sandbox.run(FIRST).code(0);
    }
    let rule = json!({ "method": method, "path": path, "after": after, "effect": effect });
    served.fault(&rule);
    let struck = sandbox.run(run);
    assert!(struck.code == 0 || struck.stderr.contains("help:"), "{told}\n{struck}");
    served.no_faults();
    sandbox.run(run).code(0);
    let world = served.world();
    let count = |kind: &str| world[kind].as_object().expect("things").len();
    assert_eq!((count("droplets"), count("reserved"), count("zones")), (3, 1, 1), "{told}");
    let plan = run.replace("apply", "plan").replace("--auto-approve", "--detailed-exitcode");
    sandbox.run(&plan).code(0);
}

#[test]
fn whatever_a_changing_request_is_answered_the_next_run_converges() {
    let (sandbox, served) = stage();
    sandbox.run(FIRST).code(0);
    let first = changing(&served, 0);
    let so_far = requests_so_far(&served);
    sandbox.run(SWAP).code(0);
    let swap = changing(&served, so_far);
    assert!(first.len() >= 6 && swap.len() >= 5, "{first:?} {swap:?}");

    let fail = |status: u16, body: &str| json!({ "fail": { "status": status, "body": body } });
    let answers = [
        json!({ "fail": { "status": 429, "retry_after": 1 } }),
        fail(429, "json"),
        fail(500, "json"),
        fail(502, "html"),
        fail(503, "empty"),
        fail(422, "json"),
        json!({ "fail_after": { "status": 502 } }),
    ];
    let (runs, answers) = ([(FIRST, &first), (SWAP, &swap)], &answers);
    let cases = runs.iter().flat_map(|(run, requests)| {
        requests
            .iter()
            .flat_map(move |request| answers.iter().map(move |answer| (*run, request, answer)))
    });
    let cases: Vec<_> = cases.collect();
    let todo = Mutex::new(cases.iter());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let next = todo.lock().expect("nobody panicked").next();
                    let Some((run, request, answer)) = next else { return };
                    strike(run, request, answer);
                }
            });
        }
    });
    println!(
        "{} cases: {} requests × {} answers",
        cases.len(),
        first.len() + swap.len(),
        answers.len()
    );
}

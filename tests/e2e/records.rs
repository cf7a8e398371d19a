//! After a run that failed or was killed: what was done is recorded, nothing is orphaned, and the next run brings about
//! what the spec says, with nothing twice.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Sandbox, Served};

const PLAN: &str = "plan -f webgui.yaml --var VERSION=1.0";
const APPLY: &str = "apply -f webgui.yaml --auto-approve --var VERSION=1.0";
const SWAP: &str = "apply -f webgui.yaml --auto-approve --var VERSION=1.1";

fn stage() -> (Sandbox, Served) {
    let mut sandbox = Sandbox::new();
    let served = sandbox.serve("");
    sandbox.spec_for_served(|text| text);
    (sandbox, served)
}

fn all<'a>(world: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    world[kind].as_object().into_iter().flat_map(|all| all.values())
}

/// Ids of droplets and records, and the floating IPs.
type Things = BTreeSet<String>;

/// What there is, besides the records that every zone has by itself.
fn there(world: &Value) -> Things {
    let droplets = all(world, "droplets").map(|droplet| format!("droplet {}", droplet["id"]));
    let reserved = all(world, "reserved").map(|reserved| format!("ip {}", reserved["ip"]));
    let records = all(world, "zones")
        .flat_map(|zone| zone["records"].as_object().into_iter().flat_map(|all| all.values()))
        .filter(|record| record["type"] == "A")
        .map(|record| format!("record {}", record["id"]));
    droplets.chain(reserved).chain(records).collect()
}

/// What the state says there is.
fn recorded(sandbox: &Sandbox) -> Things {
    let state = sandbox.run("state list -f webgui.yaml --json").code(0).json();
    let resources = state["resources"].as_object().expect("resources").values();
    let thing = |resource: &Value| {
        Some(match resource["kind"].as_str()? {
            "droplet" => format!("droplet {}", resource["id"]),
            "floating_ip" => format!("ip {}", resource["ip"]),
            "record" => format!("record {}", resource["id"]),
            _ => return None,
        })
    };
    resources.filter_map(thing).collect()
}

/// The next run ends well, and everything is there exactly once, recorded and with nothing left to do.
#[track_caller]
fn converges(sandbox: &Sandbox, served: &Served, apply: &str, what: &str) {
    // What a killed run had asked for is found by its tags, so it is in nobody's plan a second time.
    let before = served.world();
    let plan = sandbox.run(&apply.replace("--auto-approve", "--json").replace("apply", "plan"));
    let plan = plan.code(0).json();
    let droplets = all(&before, "droplets").count();
    let new = plan["changes"].as_array().expect("changes").iter().filter(|change| {
        change["action"] == "create"
            && change["address"].as_str().is_some_and(|address| address.starts_with("droplet."))
    });
    assert_eq!(droplets + new.count(), 3, "{what}: {plan:#}");

    sandbox.run(apply).code(0);
    let world = served.world();
    let count = |kind: &str| all(&world, kind).count();
    assert_eq!((count("droplets"), count("reserved")), (3, 1), "{what}: {world:#}");
    assert_eq!(there(&world).len(), 5, "{what}: {:?}", there(&world));
    assert_eq!(recorded(sandbox), there(&world), "{what}");
    assert!(there(&before).is_subset(&there(&world)), "{what}: something was made anew");
    let prod = all(&world, "droplets").filter(|droplet| {
        droplet["tags"].as_array().is_some_and(|tags| tags.contains(&"PROD".into()))
    });
    assert_eq!(prod.count(), 1, "{what}");
    let line = apply.replace("--auto-approve", "--detailed-exitcode").replace("apply", "plan");
    sandbox.run(&line).code(0);
}

#[test]
fn a_request_that_is_refused_in_the_middle_leaves_a_record_of_the_rest() {
    let refusal = |message: &str| json!({ "fail": { "status": 422, "message": message } });
    let limit = "creating this/these droplet(s) will exceed your droplet limit";
    for (rule, named) in [
        (
            json!({ "method": "POST", "path": "/v2/droplets", "effect": refusal(limit) }),
            "droplet limit",
        ),
        (
            json!({ "method": "POST", "path": "/v2/droplets", "after": 1, "effect": refusal(limit) }),
            "droplet limit",
        ),
        (
            json!({ "method": "POST", "path": "/v2/reserved_ips", "effect": refusal("You have reached your reserved IP limit reached") }),
            "reserved IP limit",
        ),
        (
            json!({ "method": "POST", "path": "/v2/domains/*/records", "effect": refusal("Record limit exceeded") }),
            "limit exceeded",
        ),
    ] {
        let (sandbox, served) = stage();
        served.fault(&rule);
        let said = sandbox.run(APPLY).code(1).complains(named).complains("help:");
        assert!(said.stdout.contains("Apply incomplete"), "{said}");
        assert_eq!(recorded(&sandbox), there(&served.world()), "{rule}");
        converges(&sandbox, &served, APPLY, &rule.to_string());
    }
}

#[test]
fn an_api_that_goes_away_in_the_middle_leaves_nothing_behind_that_is_not_found_again() {
    // Each is answered once, by the refresh, and never again.
    for path in ["/v2/reserved_ips", "/v2/domains/*/records"] {
        let (sandbox, served) = stage();
        let effect = json!({ "fail": { "status": 503, "body": "html", "retry_after": 0 } });
        let rule = json!({
            "method": "GET", "path": path, "after": 1, "times": 1_000_000, "effect": effect,
        });
        served.fault(&rule);
        sandbox
            .run(APPLY)
            .code(1)
            .complains("503")
            .complains("cannot be reached")
            .complains("help:");
        assert_eq!(recorded(&sandbox), there(&served.world()), "{path}");
        served.no_faults();
        converges(&sandbox, &served, APPLY, path);
    }
}

#[test]
fn a_create_whose_answer_is_lost_is_looked_for_instead_of_sent_again() {
    for path in ["/v2/droplets", "/v2/reserved_ips", "/v2/domains/*/records"] {
        let (sandbox, served) = stage();
        served.fault(&json!({ "method": "POST", "path": path, "effect": "drop_after" }));
        // It may end well in the same run, or leave it to the next; but never make it twice.
        let said = sandbox.run(APPLY);
        assert!(said.code == 0 || said.stderr.contains("help:"), "{said}");
        converges(&sandbox, &served, APPLY, path);
    }
}

#[test]
fn an_image_that_the_registry_does_not_have_is_refused_with_nothing_done() {
    let (sandbox, served) = stage();
    sandbox.run(&APPLY.replace("1.0", "9.9")).code(1).complains("webgui:9.9");
    assert_eq!(there(&served.world()), Things::new());
    sandbox.run(PLAN).code(0).says("Plan: 7 to add");
    converges(&sandbox, &served, APPLY, "after an unknown image");
}

#[test]
fn a_first_apply_that_is_killed_is_finished_by_the_next() {
    for at in
        ["creating", "booting", "reserving", "first boot:", "release: stage", "release: verify"]
    {
        let (sandbox, served) = stage();
        sandbox.kill_at(APPLY, at);
        converges(&sandbox, &served, APPLY, &format!("killed at {at}"));
    }
}

#[test]
fn a_swap_that_is_killed_is_taken_back_by_abort() {
    let abort = "apply -f webgui.yaml --abort --auto-approve";
    for (at, before) in [
        ("release: stage", true),
        ("release: health", true),
        ("release: verify", false),
        ("release: retag", false),
    ] {
        let (sandbox, served) = stage();
        sandbox.run(APPLY).code(0);
        sandbox.run(abort).code(1).complains("there is nothing to take back");
        let world = served.seen_by_users();
        sandbox.kill_at(SWAP, at);
        let plan = sandbox.run("plan -f webgui.yaml --var VERSION=1.1").code(0);
        assert!(plan.stdout.contains("to take it back: seachange apply --abort"), "{at}: {plan}");
        assert!(plan.stdout.contains(" of 6 done since "), "{at}: {plan}");
        let taken = sandbox.run(abort).code(0);
        assert_eq!(taken.stdout.contains("will be taken back"), !before, "{at}: {taken}");
        assert_eq!(served.seen_by_users()["ip"], world["ip"], "{at}: {taken}");
        assert_eq!(served.seen_by_users()["live"], world["live"], "{at}: {taken}");
        sandbox.run("status -f webgui.yaml").code(0).says("1.0");
        sandbox.run(SWAP).code(0).says("1 swapped");
    }
}

#[test]
fn a_swap_that_is_killed_is_finished_by_the_next() {
    for at in [
        "release: stage",
        "release: health",
        "release: switch",
        "release: verify",
        "release: retag",
    ] {
        let (sandbox, served) = stage();
        sandbox.run(APPLY).code(0);
        sandbox.kill_at(SWAP, at);
        converges(&sandbox, &served, SWAP, &format!("killed at {at}"));
        sandbox.run("status -f webgui.yaml").code(0).says("1.1").says("rollback: ready, to 1.0");
    }
}

#[test]
fn a_droplet_of_ours_that_belongs_to_nothing_is_told_with_its_remedy() {
    let (sandbox, served) = stage();
    sandbox.run(APPLY).code(0);
    let stray = json!({
        "name": "stray", "region": "fra1", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64",
        "tags": ["seachange:webgui"],
    });
    let created = served.ask("POST", "/v2/droplets", &stray.to_string());
    let id = serde_json::from_str::<Value>(&created).expect("JSON")["droplet"]["id"].to_string();
    let remedy = format!("to remove it: doctl compute droplet delete {id}");
    sandbox.run(PLAN).code(0).says(&remedy);
    sandbox.run("drift -f webgui.yaml").code(2).says(&remedy);
    sandbox.run(APPLY).code(0);
    assert_eq!(all(&served.world(), "droplets").count(), 4, "it is somebody's, and left alone");
}

#[test]
fn a_run_that_is_told_to_stop_is_parked_and_the_next_goes_on() {
    for at in ["booting", "release: stage", "release: switch"] {
        let (sandbox, served) = stage();
        if at != "booting" {
            sandbox.run(APPLY).code(0);
        }
        let line = if at == "booting" { APPLY } else { SWAP };
        let stopped = sandbox.signal_at(line, at, "TERM");
        // From the switch on it goes forward to rest.
        let expected = if at == "release: switch" { 0 } else { 1 };
        assert_eq!(stopped.code, expected, "{at}: {stopped}");
        if at != "release: switch" {
            assert!(stopped.stdout.contains("stopped"), "{at}: {stopped}");
        }
        sandbox.run("lock status -f webgui.yaml").code(0).says("is not locked");
        converges(&sandbox, &served, line, &format!("stopped at {at}"));
    }
}

#[test]
fn a_droplet_that_had_no_address_yet_when_its_run_was_killed_is_waited_for() {
    let mut sandbox = Sandbox::new();
    let served = sandbox.serve("");
    sandbox.spec_with("infrastructure.yaml", |text| {
        text.replace("region: fra1", "region: fra1\nstate: { local: { path: kept } }")
    });
    let apply = "apply -f infrastructure.yaml --auto-approve";
    let mut timings: Value =
        serde_json::from_str(&served.ask("GET", "/_local/timings", "")).expect("JSON");
    (timings["boot"], timings["address"]) = (1.into(), 3_000.into());
    served.ask("PUT", "/_local/timings", &timings.to_string());
    sandbox.kill_at(apply, "booting");
    let unaddressed =
        |world: &Value| all(world, "droplets").any(|droplet| droplet["address"].is_null());
    assert!(unaddressed(&served.world()), "killed too late to show anything");
    sandbox.run(apply).code(0);
    assert!(!unaddressed(&served.world()));
    sandbox.run("plan -f infrastructure.yaml --detailed-exitcode").code(0);
}

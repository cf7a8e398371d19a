//! kill -9 of the real binary at random instants, with users on the domain: nobody notices, and the next run goes on.
//!
//! Takes minutes, so it has a feature of its own: cargo test --release -p seachange --features kills --test e2e kills

#[path = "../../crates/cli/src/load.rs"]
#[expect(dead_code, reason = "the demo asks it for more")]
mod load;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use load::Load;
use serde_json::Value;

use crate::harness::{Sandbox, Served};

const KILLS: u32 = 200;
/// After so many kills a run is let through, and everything has to be as it should.
const BETWEEN: u32 = 10;
const RATE: u32 = 50;
/// Asked what the next run does; a run that is let through is always an apply.
const RUNS: [&str; 5] = [
    "apply -f webgui.yaml --auto-approve --var VERSION=1.1",
    "apply -f webgui.yaml --auto-approve --var VERSION=1.0",
    "rollback -f webgui.yaml --auto-approve",
    "apply -f webgui.yaml --auto-approve --abort",
    "apply -f webgui.yaml --auto-approve --var VERSION=1.1 --replace droplet.worker[2]",
];

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    /// Below the bound.
    fn roll(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Runs it for so long at most; whether it had to be killed.
fn run_or_kill(sandbox: &Sandbox, line: &str, after: Duration) -> bool {
    let mut command = sandbox.command(line);
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs");
    let began = Instant::now();
    while began.elapsed() < after {
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    child.kill().expect("killed");
    child.wait().expect("ended").code().is_none()
}

fn entrance(world: &Value) -> SocketAddr {
    let droplets = world["droplets"].as_object().expect("droplets").values();
    let mut balancers = droplets.filter(|droplet| droplet["name"] == "webgui-load-balancer");
    let address = &balancers.next().expect("a load balancer")["address"];
    format!("{}:10080", address.as_str().expect("an address")).parse().expect("an address")
}

/// Everything is there once, and one worker is live.
fn is_whole(world: &Value, told: &str) {
    let droplets = || world["droplets"].as_object().expect("droplets").values();
    let names: BTreeSet<&str> = droplets().filter_map(|droplet| droplet["name"].as_str()).collect();
    let whole = ["webgui-load-balancer", "webgui-worker-01", "webgui-worker-02"];
    assert_eq!(names, BTreeSet::from(whole), "{told}");
    assert_eq!(droplets().count(), 3, "{told}: {world:#}");
    assert_eq!(world["reserved"].as_object().expect("addresses").len(), 1, "{told}");
    let live = droplets().filter(|droplet| {
        droplet["tags"].as_array().is_some_and(|tags| tags.contains(&"PROD".into()))
    });
    assert_eq!(live.count(), 1, "{told}: {world:#}");
}

/// The next run ends well, and leaves nothing to do.
fn settles(sandbox: &Sandbox) {
    let plan = RUNS[1].replace("apply", "plan").replace("--auto-approve", "--detailed-exitcode");
    sandbox.run(RUNS[1]).code(0);
    sandbox.run(&plan).code(0);
}

fn served() -> (Sandbox, Served) {
    let mut sandbox = Sandbox::new();
    let served = sandbox.serve("");
    sandbox.spec_for_served(|text| text);
    (sandbox, served)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_kills_and_nobody_notices() {
    let (sandbox, served) = served();
    let began = Instant::now();
    sandbox.run(RUNS[1]).code(0);
    let load = Load::start(entrance(&served.world()), "www.gotcha-app.de", RATE);
    let began_swap = Instant::now();
    sandbox.run(RUNS[0]).code(0);
    let whole_run = u64::try_from(began_swap.elapsed().as_millis()).expect("a short run");

    let mut dice = Dice(20_261_123);
    let (mut kills, mut ended) = (0, 0);
    while kills < KILLS {
        let line = RUNS[usize::try_from(dice.roll(RUNS.len() as u64)).expect("small")];
        let after = Duration::from_millis(dice.roll(whole_run + whole_run / 4));
        match run_or_kill(&sandbox, line, after) {
            true => kills += 1,
            false => ended += 1,
        }
        let tally = load.tally();
        assert_eq!(tally.failed, 0, "after {kills} kills, {line} for {after:?}: {tally:?}");
        if kills % BETWEEN == 0 && kills > 0 {
            settles(&sandbox);
            is_whole(&served.world(), &format!("after {kills} kills"));
        }
    }
    let tally = load.finish().await;
    assert_eq!(tally.failed, 0, "{tally:?}");
    println!(
        "{kills} kills, {ended} runs that ended first, {} requests, {} failed, {:.0} s",
        tally.sent,
        tally.failed,
        began.elapsed().as_secs_f64()
    );
}

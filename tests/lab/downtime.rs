//! Zero downtime, measured: releases and rollbacks under load, on an address translation that cuts what is connected when
//! the floating IP moves. The tutorial's own way has the same load, in the same minutes, on the same machine.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ground::{DOMAIN, Lab};
use crate::load::{Kind, Load, Plan, Report, Window};
use crate::tutorial;

/// Requests a second.
const RATE: u32 = 400;
/// What has to be sent at least before the count of failures means anything.
const REQUESTS: usize = 100_000;
/// How long users are left alone, for something to compare with.
const REST: Duration = Duration::from_secs(30);
/// Swap, swap, rollback: so often.
const ROUNDS: usize = 10;
/// Of the tutorial, which has no rollback but its release.
const TUTORIAL_MOVES: usize = 10;
const SETTLED: Duration = Duration::from_secs(5);
const VERSIONS: [&str; 4] = ["1.0", "1.1", "1.2", "2.0"];

/// One change of what users get.
struct Move {
    old: String,
    new: String,
    /// When answers may come from either.
    during: Window,
    /// From the command to its end.
    took: Duration,
}

fn start(lab: &Lab) -> Load {
    Load::start(Plan {
        address: lab.entrance(),
        host: DOMAIN.to_owned(),
        rate: RATE,
        slow_every: 100,
        upload_every: 200,
    })
}

/// Leaves users alone until then.
fn rest_until(load: &Load, end: Duration) -> Window {
    let begin = load.now();
    std::thread::park_timeout(end.saturating_sub(begin));
    while load.now() < end {
        std::thread::park_timeout(Duration::from_millis(10));
    }
    (begin, load.now())
}

/// Does something that changes what users get, and notes when.
fn moved(lab: &Lab, load: &Load, act: impl FnOnce()) -> Move {
    let (old, begin) = (lab.seen().version, load.now());
    act();
    let end = load.now();
    Move { old, during: (begin, end), took: end - begin, new: lab.seen().version }
}

/// The figures of a way.
#[derive(Debug)]
#[expect(dead_code, reason = "people read them all")]
struct Figures {
    moves: usize,
    longest_move: Duration,
    requests: usize,
    failed: usize,
    reasons: BTreeMap<String, usize>,
    p99_at_rest: Duration,
    p99_during_moves: Duration,
    /// `None` if a new version was not seen at all.
    slowest_cutover: Option<Duration>,
    longest_gap: Duration,
    reconnected: usize,
    generator_late_p99: Duration,
}

fn figures(report: &Report, rest: &[Window], moves: &[Move]) -> Figures {
    let during: Vec<Window> = moves.iter().map(|moved| moved.during).collect();
    let cutover = |moved: &Move| report.cutover(moved.during, &moved.old, &moved.new);
    let cutovers: Option<Vec<Duration>> = moves.iter().map(cutover).collect();
    Figures {
        moves: moves.len(),
        longest_move: moves.iter().map(|moved| moved.took).max().unwrap_or_default(),
        requests: report.sent(),
        failed: report.failed(),
        reasons: report.reasons(),
        p99_at_rest: report.quantile(0.99, Kind::Quick, rest),
        p99_during_moves: report.quantile(0.99, Kind::Quick, &during),
        slowest_cutover: cutovers.and_then(|all| all.into_iter().max()),
        longest_gap: report.longest_gap(),
        reconnected: report.reconnected(),
        generator_late_p99: report.late(0.99),
    }
}

#[test]
fn twenty_swaps_and_ten_rollbacks_without_a_failed_request() {
    let lab = Lab::open();
    lab.apply("1.0").code(0);
    lab.apply("1.1").code(0);
    let load = start(&lab);
    let mut rest = vec![rest_until(&load, REST)];
    let mut moves = Vec::new();
    // Never what is on one of the two workers already, so that every swap pulls, starts and replaces a container.
    let mut versions = VERSIONS.iter().cycle().skip(2);
    for _ in 0..ROUNDS {
        for _ in 0..2 {
            let on_workers = on_workers(&lab);
            let version = versions.find(|version| !on_workers.contains_key(**version));
            let version = version.expect("an endless row");
            moves.push(moved(&lab, &load, || {
                lab.apply(version).code(0).says("1 swapped");
            }));
            assert_eq!(moves.last().map(|moved| moved.new.as_str()), Some(*version));
        }
        let before = lab.live();
        moves.push(moved(&lab, &load, || {
            drop(lab.run("rollback --auto-approve", "1.0").code(0));
        }));
        assert_ne!(lab.live(), before);
    }
    let enough = Duration::from_secs_f64(REQUESTS as f64 / f64::from(RATE) + 1.0);
    rest.push(rest_until(&load, enough.max(load.now() + REST / 3)));
    let report = load.finish();
    let seen = figures(&report, &rest, &moves);
    println!("seachange: {seen:#?}");
    assert!(seen.requests >= REQUESTS);
    assert_eq!(seen.failed, 0);
    // Times are for people: another program on the same cores would fail a test.
    println!(
        "within the bars: cutover {}, p99 {}",
        seen.slowest_cutover.is_some_and(|time| time < Duration::from_secs(1)),
        seen.p99_during_moves <= seen.p99_at_rest * 2
    );
    assert!(seen.slowest_cutover.is_some(), "a new version was not seen at all");
}

#[test]
fn the_tutorial_s_own_way_under_the_same_load() {
    let lab = tutorial::open();
    let load = start(&lab);
    let rest = [rest_until(&load, REST)];
    let versions = VERSIONS.iter().cycle().skip(1).take(TUTORIAL_MOVES);
    let moves: Vec<Move> = versions
        .zip(VERSIONS.iter().cycle())
        .map(|(new, old)| {
            let begin = load.now();
            tutorial::release(&lab, new);
            let took = load.now() - begin;
            // It does not wait until users have it, so we do.
            let during = rest_until(&load, load.now() + SETTLED);
            let (old, new) = ((*old).to_owned(), (*new).to_owned());
            Move { old, new, during: (begin, during.1), took }
        })
        .collect();
    let report = load.finish();
    let seen = figures(&report, &rest, &moves);
    println!("the tutorial's way: {seen:#?}");
    // That the load can see it is what makes the other test's zero worth something.
    assert!(seen.failed > 0);
}

/// Which versions run on the workers, and where.
fn on_workers(lab: &Lab) -> BTreeMap<String, &'static str> {
    let workers = ["webgui-worker-01", "webgui-worker-02"];
    let version = |worker: &str| {
        lab.on(worker, "docker inspect -f '{{range .Config.Env}}{{println .}}{{end}}' webgui")
            .lines()
            .find_map(|line| line.strip_prefix("APP_VERSION=").map(str::to_owned))
            .expect("an app")
    };
    workers.into_iter().map(|worker| (version(worker), worker)).collect()
}

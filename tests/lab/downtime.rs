//! Zero downtime, measured: releases and rollbacks under load, on an address translation that cuts what is connected when
//! the floating IP moves. The tutorial's own way has the same load beside it, and so has a drain that waits for nobody.

use std::time::Duration;

use crate::ground::{DOMAIN, Lab};
use crate::load::{Cutover, Kind, Load, Plan, Report, Window};
use crate::tutorial;

/// Requests a second.
const RATE: u32 = 400;
/// What has to be sent at least before the count of failures means anything.
const REQUESTS: usize = 100_000;
/// How long users are left alone, for something to compare with.
const REST: Duration = Duration::from_secs(20);
/// Swap, swap, rollback: so often.
const ROUNDS: usize = 10;
/// Of the tutorial, which has no rollback but its release.
const TUTORIAL_MOVES: usize = 6;
/// Until what a move does to requests that were under way then has been seen.
const SETTLED: Duration = Duration::from_secs(5);
const VERSIONS: [&str; 3] = ["1.0", "1.1", "1.2"];

/// One change of what users get.
struct Move {
    old: String,
    new: String,
    begin: Duration,
    /// When its command ended.
    end: Duration,
}

/// A way of releasing under load.
struct Measured {
    report: Report,
    rest: Vec<Window>,
    moves: Vec<Move>,
}

fn start(lab: &Lab) -> Load {
    Load::start(Plan {
        address: lab.entrance(),
        host: DOMAIN.to_owned(),
        rate: RATE,
        slow_every: 100,
    })
}

/// Leaves users alone until then.
fn rest_until(load: &Load, end: Duration) -> Window {
    let begin = load.now();
    while load.now() < end {
        std::thread::park_timeout(end.saturating_sub(load.now()));
    }
    (begin, load.now())
}

/// Does something that changes what users get from one version to another, and notes when.
fn moved(load: &Load, old: &str, new: &str, act: impl FnOnce()) -> Move {
    let begin = load.now();
    act();
    Move { old: old.to_owned(), new: new.to_owned(), begin, end: load.now() }
}

/// The version that is on no worker: with three of them, there is one.
fn third(lab: &Lab) -> &'static str {
    let on_workers = on_workers(lab);
    VERSIONS
        .into_iter()
        .find(|version| !on_workers.iter().any(|there| there == version))
        .expect("three")
}

fn seachange() -> (Lab, Measured) {
    let lab = Lab::open();
    for version in VERSIONS {
        lab.offer(version);
    }
    lab.apply("1.0").code(0);
    lab.apply("1.1").code(0);
    let load = start(&lab);
    let mut rest = vec![rest_until(&load, REST)];
    let mut moves = Vec::new();
    for _ in 0..ROUNDS {
        for _ in 0..2 {
            let (old, new) = (lab.seen().version, third(&lab));
            // It is pulled, started, and put in the place of another one.
            lab.on(lab.standby(), "docker image prune --all --force");
            moves.push(moved(&load, &old, new, || drop(lab.apply(new).code(0).says("1 swapped"))));
        }
        let (old, before) = (lab.seen().version, lab.live());
        let mut back =
            moved(&load, &old, "", || drop(lab.run("rollback --auto-approve", "1.0").code(0)));
        back.new = lab.seen().version;
        assert_ne!(lab.live(), before);
        moves.push(back);
    }
    let enough = Duration::from_secs_f64(REQUESTS as f64 / f64::from(RATE) + 1.0);
    rest.push(rest_until(&load, enough.max(load.now() + REST / 2)));
    (lab, Measured { report: load.finish(), rest, moves })
}

/// A release whose drain is over at once; how many requests it said that it cut.
fn hasty(lab: &Lab) -> (Measured, usize) {
    lab.edit_spec(|text| text + "deploy: { drain: 1ms }\n");
    let load = start(lab);
    let rest = vec![rest_until(&load, REST / 2)];
    let (old, new, mut cut) = (lab.seen().version, third(lab), None);
    let moves = vec![moved(&load, &old, new, || {
        let said = lab.apply(new).code(0);
        let count =
            said.stderr.lines().find_map(|line| Some(line.split_once("(deploy.drain): ")?.1));
        cut = count.and_then(|count| count.trim().parse().ok());
    })];
    rest_until(&load, load.now() + 2 * SETTLED);
    (Measured { report: load.finish(), rest, moves }, cut.expect("it says how many"))
}

fn tutorial_s() -> Measured {
    let lab = tutorial::open();
    for version in VERSIONS {
        lab.offer(version);
    }
    // It does not wait until users have what it has released, so we do: its set-up ends with releases.
    std::thread::park_timeout(2 * SETTLED);
    let load = start(&lab);
    let rest = vec![rest_until(&load, REST / 2)];
    let mut moves = Vec::new();
    let versions = VERSIONS.into_iter().cycle();
    for (old, new) in versions.clone().zip(versions.skip(1)).take(TUTORIAL_MOVES) {
        moves.push(moved(&load, old, new, || tutorial::release(&lab, new)));
        rest_until(&load, load.now() + SETTLED);
    }
    Measured { report: load.finish(), rest, moves }
}

impl Measured {
    /// From the command of each move to when what it did has been seen.
    fn during_moves(&self) -> Vec<Window> {
        self.moves.iter().map(|moved| (moved.begin, moved.end + SETTLED)).collect()
    }

    /// From each move to the next one.
    fn until_the_next(&self) -> impl Iterator<Item = (&Move, Duration)> {
        let next = self.moves.iter().skip(1).map(|moved| moved.begin);
        self.moves.iter().zip(next.chain([Duration::MAX]))
    }

    /// `None` if a new version was not seen at all.
    fn slowest_cutover(&self) -> Option<Cutover> {
        let cutover = |(moved, next): (&Move, Duration)| {
            self.report.cutover((moved.begin, next), &moved.old, &moved.new)
        };
        let all: Option<Vec<Cutover>> = self.until_the_next().map(cutover).collect();
        all?.into_iter().max_by_key(|cutover| cutover.took)
    }

    /// Requests that were sent after a move was said to be over, and answered by the release before it all the same.
    fn answered_too_late(&self) -> usize {
        let late = |(moved, next): (&Move, Duration)| {
            self.report.answered_by(&moved.old, Kind::Quick, (moved.end, next))
        };
        self.until_the_next().map(late).sum()
    }

    fn p99(&self, windows: &[Window]) -> Duration {
        self.report.quantile(0.99, Kind::Quick, windows)
    }

    fn slowest(&self) -> Duration {
        self.report.quantile(1.0, Kind::Quick, &[(Duration::ZERO, Duration::MAX)])
    }

    /// A column of the table.
    fn figures(&self) -> Vec<String> {
        let millis = |time: Duration| match time.as_micros() {
            tenths if tenths < 100_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
            _ => format!("{:.2} s", time.as_secs_f64()),
        };
        let report = &self.report;
        let of = |kind| report.failed_of(kind);
        let longest = self.moves.iter().map(|moved| moved.end - moved.begin).max();
        let cutover = self.slowest_cutover().map(|cutover| millis(cutover.took));
        vec![
            self.moves.len().to_string(),
            report.sent().to_string(),
            report.failed().to_string(),
            format!("{}, {}, {}", of(Kind::Quick), of(Kind::Slow), of(Kind::Upload)),
            format!("{}, {}", millis(self.p99(&self.rest)), millis(self.p99(&self.during_moves()))),
            millis(self.slowest()),
            cutover.unwrap_or_else(|| "never seen".to_owned()),
            self.answered_too_late().to_string(),
            millis(report.longest_gap()),
            millis(longest.unwrap_or_default()),
            report.reconnected().to_string(),
            millis(report.late(0.99)),
            format!("{:.0} %", report.stolen() * 100.0),
        ]
    }
}

const ROWS: [&str; 13] = [
    "moves of users",
    "requests",
    "failed",
    "of them quick, slow, uploads",
    "p99 of quick ones at rest, during moves (a failure took 20 s)",
    "slowest quick one",
    "slowest cutover",
    "quick ones answered by the old release after the command had ended",
    "longest time without a good answer",
    "longest move, from the command to its end",
    "kept connections replaced",
    "generator late by (p99)",
    "of the machine's time, taken by others on its host",
];

fn table(columns: &[(&str, &Measured)]) -> String {
    let row = |head: &str, cells: &[String]| format!("| {head} | {} |\n", cells.join(" | "));
    let heads: Vec<String> = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
    let figures: Vec<Vec<String>> = columns.iter().map(|(_, way)| way.figures()).collect();
    let mut text = row("", &heads) + &row("---", &vec!["---".to_owned(); heads.len()]);
    for (number, head) in ROWS.iter().enumerate() {
        let cells: Vec<String> = figures.iter().map(|column| column[number].clone()).collect();
        text += &row(head, &cells);
    }
    text
}

#[test]
fn no_request_fails_and_the_same_load_shows_what_other_ways_cost() {
    let (lab, ours) = seachange();
    let (hasty, cut) = hasty(&lab);
    drop(lab);
    let theirs = tutorial_s();
    println!(
        "{}",
        table(&[
            ("seachange", &ours),
            ("its drain cut short", &hasty),
            ("the tutorial's own way", &theirs)
        ])
    );
    for (name, way) in [("its drain cut short", &hasty), ("the tutorial's own way", &theirs)] {
        println!("{name}: {:#?}", way.report.reasons());
    }
    println!("its drain cut short: {cut} requests were said to be cut");

    let report = &ours.report;
    assert!(report.sent() >= REQUESTS, "{}", report.sent());
    assert_eq!(report.failed(), 0, "{:?}", report.reasons());
    assert_eq!(ours.answered_too_late(), 0);
    // Bars are counted, not timed: a second of users, and a request that nothing was in the way of.
    let cutover = ours.slowest_cutover().expect("each new version was seen");
    assert!(cutover.old_answers < RATE as usize, "{cutover:?}");
    assert!(ours.slowest() < SETTLED, "{:?}", ours.slowest());
    let bar = ours.p99(&ours.rest) * 2;
    println!(
        "p99 during moves within twice that at rest: {}",
        ours.p99(&ours.during_moves()) <= bar
    );

    // What outlives the drain is cut, and said: uploads, since an answer of which nothing came yet is asked for again.
    let failed = hasty.report.failed();
    assert!(
        failed > 0 && failed == hasty.report.failed_of(Kind::Upload),
        "{:?}",
        hasty.report.reasons()
    );
    assert!(cut >= failed, "{cut}");
    // That the load can see it is what makes our zero worth something.
    assert!(theirs.report.failed_of(Kind::Quick) > 0);
}

/// Which versions run on the workers.
fn on_workers(lab: &Lab) -> Vec<String> {
    let version = |worker: &str| {
        lab.on(worker, "docker inspect -f '{{range .Config.Env}}{{println .}}{{end}}' webgui")
            .lines()
            .find_map(|line| line.strip_prefix("APP_VERSION=").map(str::to_owned))
            .expect("an app")
    };
    ["webgui-worker-01", "webgui-worker-02"].into_iter().map(version).collect()
}

//! kill -9 of an apply at random moments, on real parts, with users on the domain: nobody notices, and the next run goes on.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::ground::{Lab, Seen, get, line};

const KILLS: u32 = 10;

/// Somebody who asks for the domain again and again.
struct User {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Vec<(Seen, Duration)>>,
}

impl User {
    fn begin(lab: &Lab) -> Self {
        let (stop, entrance) = (Arc::new(AtomicBool::new(false)), lab.entrance());
        let stopped = Arc::clone(&stop);
        let asking = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                seen.push((get(entrance, "/"), began.elapsed()));
                std::thread::park_timeout(Duration::from_millis(10));
            }
            seen
        });
        Self { stop, asking }
    }

    /// What came, and how long it took.
    fn end(self) -> Vec<(Seen, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.join().expect("every answer came")
    }
}

/// Runs it for so long at most; whether it had to be killed.
fn run_or_kill(lab: &Lab, command: &str, after: Duration) -> bool {
    let mut command = lab.sandbox.command(command);
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

#[test]
fn ten_kills_and_nobody_notices() {
    let lab = Lab::open();
    lab.apply("1.0").code(0);
    let began = Instant::now();
    lab.apply("1.1").code(0);
    let whole_run = began.elapsed();

    let user = User::begin(&lab);
    let chance = u32::from(rand::random::<u16>());
    let (mut kills, mut tries) = (0, 0);
    while kills < KILLS {
        // Spread over the whole run, from a random beginning.
        let part = (chance + tries * 40_503) % 65_536;
        let after = whole_run * part / 65_536;
        let version = if lab.live().ends_with("01") { "1.1" } else { "1.0" };
        kills += u32::from(run_or_kill(&lab, &line("apply --auto-approve", version), after));
        tries += 1;
        println!("{kills} kills: {version} for {after:?}, now {} is live", lab.live());
    }
    lab.apply("1.0").code(0);
    lab.is_settled("1.0");
    assert_eq!(lab.seen(), Seen { status: 200, version: "1.0".to_owned() });
    let seen = user.end();
    let failed: Vec<_> = seen.iter().filter(|(seen, _)| seen.status != 200).collect();
    assert!(failed.is_empty(), "of {}: {failed:?}", seen.len());
    let slowest = seen.iter().map(|(_, took)| *took).max().unwrap_or_default();
    println!(
        "{kills} kills in {tries} tries, {} requests, none failed, slowest {slowest:?}",
        seen.len()
    );
}

#[test]
fn a_first_apply_is_killed_again_and_again_and_leaves_nothing_behind() {
    let lab = Lab::open();
    let mut after = Duration::from_millis(300);
    let mut kills = 0;
    while run_or_kill(&lab, &line("apply --auto-approve", "1.0"), after) {
        kills += 1;
        after = after * 3 / 2;
    }
    lab.is_settled("1.0");
    let names = lab.droplets().iter().map(|droplet| droplet["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(lab.seen().status, 200);
    println!("{kills} kills of a first apply");
}

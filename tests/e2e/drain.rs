//! Requests in flight when the floating IP moves: waited for, and cut only when they outlive the drain.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::harness::{Sandbox, Served};

const APPLY: &str = "apply -f webgui.yaml --auto-approve --var";

/// The tutorial's stack with release 1.0, served, and where users come in.
fn released(change: impl FnOnce(String) -> String) -> (Sandbox, Served, SocketAddr) {
    let mut sandbox = Sandbox::new();
    let served = sandbox.serve("");
    sandbox.spec_for_served(change);
    sandbox.run(&format!("{APPLY} VERSION=1.0")).code(0);
    let world = served.world();
    let droplets = world["droplets"].as_object().expect("droplets").values();
    let mut balancers = droplets.filter(|droplet| droplet["name"] == "webgui-load-balancer");
    let address = balancers.next().expect("a load balancer")["address"].clone();
    let entrance = format!("{}:10080", address.as_str().expect("an address"));
    (sandbox, served, entrance.parse().expect("an address"))
}

/// Sends a head, then the body piece by piece, one in 100 ms; the answer, or what there was of it.
fn ask(entrance: SocketAddr, head: String, pieces: usize) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(entrance).expect("connected");
        write!(stream, "{head}\r\nhost: www.gotcha-app.de\r\nconnection: close\r\n\r\n")
            .expect("sent");
        for _ in 0..pieces {
            std::thread::park_timeout(Duration::from_millis(100));
            if stream.write_all(&[b'x'; PIECE]).is_err() {
                break;
            }
        }
        let mut answer = Vec::new();
        // A connection that is cut has said what it had to say.
        drop(stream.read_to_end(&mut answer));
        String::from_utf8_lossy(&answer).into_owned()
    })
}

const PIECE: usize = 4096;

fn slow(entrance: SocketAddr, millis: u32) -> JoinHandle<String> {
    ask(entrance, format!("GET /slow?ms={millis} HTTP/1.1"), 0)
}

fn upload(entrance: SocketAddr, pieces: usize) -> JoinHandle<String> {
    let length = pieces * PIECE;
    ask(entrance, format!("POST /upload HTTP/1.1\r\ncontent-length: {length}"), pieces)
}

/// Asks again and again while something is done; every answer.
fn meanwhile(
    act: impl FnOnce(),
    ask: impl Fn() -> JoinHandle<String> + Send + 'static,
) -> Vec<String> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let asking = std::thread::spawn(move || {
        let mut answers = Vec::new();
        while !stopped.load(Ordering::Relaxed) {
            answers.push(ask().join().expect("an answer"));
        }
        answers
    });
    act();
    stop.store(true, Ordering::Relaxed);
    asking.join().expect("answers")
}

#[track_caller]
fn all_good(answers: &[String]) {
    let is_good = |answer: &&String| answer.starts_with("HTTP/1.1 200");
    let bad: Vec<&String> = answers.iter().filter(|answer| !is_good(answer)).collect();
    assert!(!answers.is_empty() && bad.is_empty(), "of {}: {bad:?}", answers.len());
}

#[test]
fn a_slow_answer_and_an_upload_are_finished_by_the_old_release() {
    let (sandbox, _served, entrance) = released(|text| text);
    // Longer than a swap takes without them.
    for (command, old) in [
        (format!("{APPLY} VERSION=1.1"), "1.0"),
        ("rollback -f webgui.yaml --auto-approve".to_owned(), "1.1"),
    ] {
        let under_way = [slow(entrance, 4_000), upload(entrance, 40)];
        let said = sandbox.run(&command).code(0);
        let [slow, upload] = under_way.map(|asked| asked.join().expect("an answer"));
        assert!(
            slow.starts_with("HTTP/1.1 200") && slow.contains(&format!("{old} after")),
            "{slow}\n{said}"
        );
        assert!(upload.contains(&format!("{old} took {} bytes", 40 * PIECE)), "{upload}\n{said}");
        assert!(said.stderr.contains("requests in flight"), "{said}");
    }
}

#[test]
fn a_request_that_outlives_the_drain_is_cut_and_counted() {
    let (sandbox, _served, entrance) = released(|text| text + "deploy: { drain: 200ms }\n");
    // 32 KiB is more than a load balancer keeps, so it cannot be sent again.
    let upload = upload(entrance, 60);
    let said = sandbox.run(&format!("{APPLY} VERSION=1.1")).code(0);
    let answer = upload.join().expect("an answer");
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}\n{said}");
    drop(said.complains("are cut (deploy.drain): 1\n"));
    sandbox.run("plan -f webgui.yaml --var VERSION=1.1 --detailed-exitcode").code(0);
}

#[test]
fn a_run_that_is_killed_on_the_detour_leaves_what_the_next_one_ends() {
    let (sandbox, _served, entrance) = released(|text| text);
    let under_way = upload(entrance, 60);
    sandbox.kill_at(&format!("{APPLY} VERSION=1.1"), "requests in flight");
    // Users are on the release that passed the gate, and the plan says that something is left.
    let now = slow(entrance, 1).join().expect("an answer");
    assert!(now.contains("1.1 after"), "{now}");
    sandbox.run("plan -f webgui.yaml --var VERSION=1.1 --detailed-exitcode").code(2);
    assert!(under_way.join().expect("an answer").contains("1.0 took"));
    sandbox.run(&format!("{APPLY} VERSION=1.0")).code(0);
    let now = slow(entrance, 1).join().expect("an answer");
    assert!(now.contains("1.0 after"), "{now}");
    sandbox.run("plan -f webgui.yaml --var VERSION=1.0 --detailed-exitcode").code(0);
}

#[test]
fn the_next_run_ends_the_detour_before_it_plans() {
    let (mut sandbox, _served, entrance) = released(|text| text);
    let under_way = upload(entrance, 60);
    sandbox.kill_at(&format!("{APPLY} VERSION=1.1"), "requests in flight");
    assert!(under_way.join().expect("an answer").contains("1.0 took"));
    // A plan may replace the worker that users are sent round to; this one comes to nothing at all.
    sandbox.spec_for_served(|text| text.replace("size: s-1vcpu-1gb", "size: s-99vcpu-1gb"));
    drop(sandbox.run(&format!("{APPLY} VERSION=1.1")).code(1).complains("s-99vcpu-1gb"));
    let now = slow(entrance, 1).join().expect("an answer");
    assert!(now.contains("1.0 after"), "{now}");
}

#[test]
fn users_stay_on_the_detour_of_a_killed_run_until_the_address_has_moved() {
    let (sandbox, served, entrance) = released(|text| text);
    let timings = served.ask("GET", "/_local/timings", "");
    let mut timings: serde_json::Value = serde_json::from_str(&timings).expect("JSON");
    timings["action"] = 3_000.into();
    served.ask("PUT", "/_local/timings", &timings.to_string());
    let swap = format!("{APPLY} VERSION=1.1");
    let mut command = sandbox.command(&swap);
    let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("runs");
    while !is_moving(&served) {
        assert_eq!(child.try_wait().expect("a child"), None, "it ended before it moved anything");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    // An upload of half a second is on its way at any time.
    let answers = meanwhile(|| drop(sandbox.run(&swap).code(0)), move || upload(entrance, 5));
    all_good(&answers);
}

#[test]
fn what_came_by_the_configuration_of_before_is_waited_for_too() {
    let (mut sandbox, _served, entrance) = released(|text| text);
    // One apply installs another configuration and releases: the old process goes on with what it has begun.
    let under_way = upload(entrance, 60);
    sandbox.spec_for_served(|text| text.replace("listen: 80 ", "listen: 81 "));
    let said = sandbox.run(&format!("{APPLY} VERSION=1.1")).code(0);
    let answer = under_way.join().expect("an answer");
    assert!(answer.contains("1.0 took"), "{answer}\n{said}");
    assert!(said.stderr.contains("requests in flight"), "{said}");
}

#[test]
fn users_who_were_taken_back_stay_on_the_old_release_whatever_becomes_of_the_run() {
    let (mut sandbox, _served, entrance) = released(|text| text);
    sandbox.spec_for_served(|text| {
        text.replace("app:\n", "app:\n  verify: { contains: nothing says this, timeout: 1s }\n")
    });
    let version = || slow(entrance, 1).join().expect("an answer");
    // On the way back an upload is waited for that the release which is found wrong has begun.
    let mut command = sandbox.command(&format!("{APPLY} VERSION=1.1"));
    let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("runs");
    while !version().contains("1.1 after") {
        assert_eq!(child.try_wait().expect("a child"), None, "it ended before users were moved");
    }
    let under_way = upload(entrance, 60);
    while !version().contains("1.0 after") {
        assert_eq!(
            child.try_wait().expect("a child"),
            None,
            "it ended before users were taken back"
        );
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    let answers = meanwhile(
        || drop(sandbox.run(&format!("{APPLY} VERSION=1.1")).code(1).says("it was switched back")),
        move || slow(entrance, 1),
    );
    assert!(answers.iter().all(|answer| answer.contains("1.0 after")), "{answers:?}");
    assert!(under_way.join().expect("an answer").contains("1.1 took"));
    assert!(version().contains("1.0 after"));
}

fn is_moving(served: &Served) -> bool {
    let answer = served.ask("GET", "/v2/reserved_ips", "");
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    answer["reserved_ips"][0]["locked"] == true
}

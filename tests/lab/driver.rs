//! What the driver of containers promises: an answer is true, a move cuts, nothing is left, and what is missing is named.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::ground::{DOMAIN, Lab, docker, get};
use crate::harness::Sandbox;

/// Of the app on a worker.
const PORT: u16 = 8080;
/// How often the address is moved.
const MOVES: usize = 10;
/// How long an app takes that is asked for a slow answer.
const SLOW: Duration = Duration::from_secs(1);

#[test]
fn a_move_that_is_answered_is_in_force_and_has_cut_what_was_connected() {
    let lab = Lab::open();
    lab.apply("1.0").code(0);
    lab.apply("1.1").code(0);
    let world = lab.served.world();
    let ip = world["reserved"].as_object().and_then(|all| all.keys().next());
    let ip = ip.expect("a floating IP").parse::<Ipv4Addr>().expect("an address");
    let address = SocketAddr::from((ip, PORT));
    for _ in 0..MOVES {
        let (before, standby) = (get(address, "/").version, lab.standby());
        let mut idle = connected(address);
        ask(&mut idle, "/").expect("sent");
        assert!(answer(&mut idle).contains(&before), "it is kept, and it works");
        let mut waiting = connected(address);
        ask(&mut waiting, &format!("/slow?ms={}", SLOW.as_millis())).expect("sent");

        assign(&lab, ip, standby);
        let after = get(address, "/").version;
        assert_ne!(after, before, "it moved to {standby}");

        // What is sent now comes to a droplet that knows nothing of the connection, and what the old one says to nobody.
        assert_eq!(ask(&mut idle, "/").map_or(String::new(), |()| answer(&mut idle)), "");
        assert_eq!(answer(&mut waiting), "");
    }

    // A droplet that is deleted takes along what it was handed, which has a private key in it.
    let id = lab.droplet(lab.standby())["id"].to_string();
    let seed = lab.sandbox.path().join("served/droplets").join(&id);
    assert!(seed.join("user-data").exists());
    lab.served.ask("DELETE", &format!("/v2/droplets/{id}"), "");
    until(|| !seed.exists());
}

fn connected(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(SLOW * 2)).expect("a socket");
    stream
}

fn ask(stream: &mut TcpStream, path: &str) -> std::io::Result<()> {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {DOMAIN}\r\n\r\n")
}

/// What comes first; nothing if the connection is cut.
fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 4096];
    let read = stream.read(&mut bytes).unwrap_or_default();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

/// Moves the floating IP as somebody else would; returns when the API says that it is done.
fn assign(lab: &Lab, ip: Ipv4Addr, droplet: &str) {
    let id = lab.droplet(droplet)["id"].clone();
    let body = serde_json::json!({ "type": "assign", "droplet_id": id }).to_string();
    let action = |said: &str| {
        let said: Value = serde_json::from_str(said).expect("JSON");
        (said["action"]["id"].to_string(), said["action"]["status"] == "completed")
    };
    let path = format!("/v2/reserved_ips/{ip}/actions");
    let (id, mut done) = action(&lab.served.ask("POST", &path, &body));
    while !done {
        done = action(&lab.served.ask("GET", &format!("/v2/actions/{id}"), "")).1;
    }
}

#[test]
fn nothing_is_left_of_a_world_whose_process_is_killed() {
    let create =
        r#"{"name":"left-behind","region":"fra1","size":"s-1vcpu-1gb","image":"ubuntu-24-04-x64"}"#;
    // Once a droplet was asked for, while it is made, and when it is there. It ends by SIGKILL.
    let moments: [fn() -> bool; 3] =
        [|| true, || is_running("docker run "), || !droplets().is_empty()];
    for come in moments {
        let lab = Lab::open();
        lab.served.ask("POST", "/v2/droplets", create);
        until(come);
        let Lab { sandbox, served, .. } = lab;
        drop(served);
        nothing_is_left();
        let seeds = sandbox.path().join("served/droplets");
        assert!(!seeds.exists(), "what droplets are handed has private keys in it");
    }
    // While it makes the network, and somewhere on the way.
    let sandbox = Sandbox::new();
    for moment in 0..10 {
        let mut command = sandbox.command("local serve --folder served --droplets docker");
        let command = command.env("PATH", PROGRAMS).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the binary runs");
        match moment {
            0 => until(|| is_running("docker network create ")),
            _ => std::thread::park_timeout(Duration::from_millis(100 * moment)),
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        nothing_is_left();
    }
}

#[track_caller]
fn until(come: impl Fn() -> bool) {
    let began = Instant::now();
    while !come() {
        assert!(began.elapsed() < Duration::from_secs(60), "it does not come");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn droplets() -> String {
    docker(&["ps", "--all", "--quiet", "--filter", "label=seachange.lab"])
}

const PROGRAMS: &str = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Waits for those who take a world away, and for whatever is still at work for it; and then there is nothing of it.
#[track_caller]
fn nothing_is_left() {
    let waited =
        Command::new("flock").args(["--wait", "90", "/run/seachange-lab.lock", "true"]).status();
    assert!(waited.expect("flock runs").success(), "a world is still there");
    until(|| !["docker ", "iptables"].into_iter().any(is_running));
    assert_eq!(droplets(), "");
    assert_eq!(docker(&["network", "ls", "--quiet", "--filter", "name=^seachange-lab$"]), "");
    let rules = Command::new("iptables").args(["-w", "-t", "nat", "-S"]).output();
    let rules = String::from_utf8(rules.expect("iptables runs").stdout).expect("UTF-8");
    assert!(!rules.to_lowercase().contains("seachange-lab"), "{rules}");
}

/// Whether a program is at work on something of the lab's whose command line begins so.
fn is_running(beginning: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("processes").filter_map(Result::ok);
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    let words = |line: Vec<u8>| String::from_utf8_lossy(&line).replace('\0', " ");
    let ours = |line: &str| line.to_lowercase().contains("seachange");
    lines.map(words).any(|line| line.starts_with(beginning) && ours(&line))
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    let serve = "local serve --folder served --droplets docker";
    let sandbox = |path: &str| {
        let mut sandbox = Sandbox::new();
        sandbox.set("PATH", path);
        sandbox
    };
    // A program that says who it is, and does nothing else but this.
    let broken = |program: &str, does: &str| {
        let mut sandbox = sandbox("");
        let path = sandbox.path().join(program);
        let script = format!("#!/bin/sh\n[ \"$1\" = --version ] && exit\n{does}\n");
        std::fs::write(&path, script).expect("writable");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("ours");
        sandbox.set("PATH", &format!("{}:{PROGRAMS}", sandbox.path().display()));
        sandbox
    };

    let said = sandbox("/nowhere").run(serve).code(1);
    said.complains("docker-registry (Debian's package docker-registry), iptables")
        .complains("conntrack (Debian's package conntrack)")
        .complains("sudo tests/lab/setup");

    let mut no_engine = sandbox(PROGRAMS);
    no_engine.set("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let said = no_engine.run(serve).code(1);
    drop(said.complains("/nowhere/docker.sock").complains("systemctl start docker"));

    let said = broken("conntrack", "echo Operation failed >&2; exit 1").run(serve).code(1);
    drop(said.complains("cut: Operation failed").complains("modprobe nf_conntrack_netlink"));
    let said = broken("docker-registry", "echo out of ink").run(serve).code(1);
    drop(said.complains("198.18.0.1:5000").complains("registry.log ends with: out of ink"));

    let stranger = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 5_000)).expect("a free port");
    let said = sandbox(PROGRAMS).run(serve).code(1);
    drop(said.complains("198.18.0.1:5000").complains("in use").complains("ss -ltnp"));
    drop(stranger);
    nothing_is_left();
}

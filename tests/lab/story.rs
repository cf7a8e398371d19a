//! The main job on real parts: from nothing, through everything that happens to a stack, to nothing.

use std::time::{Duration, Instant};

use crate::ground::{Lab, Seen, docker, get};

fn served(version: &str) -> Seen {
    Seen { status: 200, version: version.to_owned() }
}

#[test]
fn the_main_job() {
    let lab = Lab::open();
    lab.apply("1.0").code(0).says("Apply complete!");
    assert_eq!(lab.seen(), served("1.0"));
    lab.is_settled("1.0");
    lab.apply("1.0").code(0).says("No changes.");

    // A swap, and the way back; the old release stays where it is, running.
    assert_eq!(lab.live(), "webgui-worker-01");
    lab.apply("1.1").code(0).says("1 swapped");
    assert_eq!((lab.seen(), lab.live()), (served("1.1"), "webgui-worker-02".to_owned()));
    lab.is_settled("1.1");
    lab.run("rollback --auto-approve", "1.1").code(0);
    assert_eq!((lab.seen(), lab.live()), (served("1.0"), "webgui-worker-01".to_owned()));
    lab.is_settled("1.0");

    // Releases that are no good: users keep what they have, and the words say what was seen.
    lab.apply("unhealthy").code(1).complains("503").complains("the database");
    assert_eq!(lab.seen(), served("1.0"));
    lab.apply("crash").code(1).complains("DATABASE_URL");
    assert_eq!(lab.seen(), served("1.0"));
    lab.apply("slow").code(0).says("1 swapped");
    assert_eq!(lab.seen(), served("slow"));
    lab.apply("1.0").code(0);
    assert_eq!(lab.seen(), served("1.0"));
    lab.is_settled("1.0");

    // One that takes ten seconds to go is waited for when its worker is needed.
    for version in ["lingers", "1.1"] {
        lab.apply(version).code(0).says("1 swapped");
    }
    let began = Instant::now();
    lab.apply("1.0").code(0).says("1 swapped");
    assert!(began.elapsed() > Duration::from_secs(10), "killed after {:?}", began.elapsed());
    assert_eq!(lab.seen(), served("1.0"));

    // Another port for users: a new configuration by a reload of the same HAProxy.
    let before = lab.haproxy();
    lab.edit_spec(|text| text.replace("listen: 80 ", "listen: 8000 "));
    lab.apply("1.0").code(0).says("1 changed");
    let mut entrance = lab.entrance();
    entrance.set_port(8000);
    assert_eq!(get(entrance, "/"), served("1.0"));
    assert_eq!(lab.haproxy(), before, "reloaded, never restarted");
    lab.is_settled("1.0");

    lab.run("destroy --auto-approve", "1.0").code(0);
    assert!(lab.droplets().is_empty(), "{:?}", lab.droplets());
    assert_eq!(docker(&["ps", "--quiet", "--filter", "label=seachange.lab"]), "");
}

#[test]
fn what_was_changed_by_hand_is_seen_and_put_right() {
    let lab = Lab::open();
    lab.apply("1.0").code(0);
    lab.apply("1.1").code(0);
    let standby = lab.standby();
    let drift = |word: &str| drop(lab.run("drift", "1.1").code(2).says(word));

    lab.on(standby, "docker kill webgui");
    drift("worker[1]");
    lab.apply("1.1").code(0);
    lab.is_settled("1.1");
    lab.run("rollback --auto-approve", "1.1").code(0);
    assert_eq!(lab.seen(), served("1.0"));
    lab.apply("1.1").code(0);

    // The live worker's own container dies, and users with it: the next apply has it again.
    let live = lab.live();
    lab.on(&live, "docker kill webgui");
    assert_eq!(lab.seen().status, 503);
    drift("worker[2]");
    lab.apply("1.1").code(0);
    assert_eq!(lab.seen(), served("1.1"));
    lab.is_settled("1.1");

    // Somebody runs another image under our name.
    let standby = lab.standby();
    lab.on(standby, "docker rm -f webgui && docker run -d --name webgui -p 8080:8080 registry.lab:5000/webgui:1.1");
    drift(if standby.ends_with("01") { "worker[1]" } else { "worker[2]" });
    lab.apply("1.1").code(0);
    lab.is_settled("1.1");

    // haproxy.cfg is edited, and HAProxy reloaded with it: the next apply writes its own, by a reload.
    let before = lab.haproxy();
    lab.on(
        "webgui-load-balancer",
        "sed -i 's/retries 3/retries 0/' /etc/haproxy/haproxy.cfg && systemctl reload haproxy",
    );
    drift("load_balancer");
    lab.apply("1.1").code(0);
    let file = lab.on("webgui-load-balancer", "cat /etc/haproxy/haproxy.cfg");
    assert!(file.contains("retries 3"), "{file}");
    assert_eq!(lab.haproxy(), before, "reloaded, never restarted");
    lab.is_settled("1.1");

    // A worker is replaced by way of the standby: users are moved first.
    let live = lab.live();
    let number = if live.ends_with("01") { 1 } else { 2 };
    let old = lab.droplet(&live)["id"].clone();
    lab.run(&format!("apply --auto-approve --replace droplet.worker[{number}]"), "1.1").code(0);
    assert_ne!(lab.droplet(&live)["id"], old);
    assert_eq!(lab.seen(), served("1.1"));
    lab.is_settled("1.1");
}

//! A droplet that shows another host key than the one that was put in is not talked to: nothing is sent there.

use crate::ground::{Lab, line};

#[test]
fn a_wrong_key_at_the_first_contact_ends_the_run_before_anything_is_sent() {
    let lab = Lab::open();
    let apply = line("apply --auto-approve", "1.0");
    // Killed while the droplets boot: the key that went in by user-data is written down, and no contact was made.
    lab.sandbox.kill_at(&apply, "booting");
    let worker = "webgui-worker-01";
    lab.wait_for_boot(worker);
    lab.on(worker, "rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh");
    let said = lab.sandbox.run(&apply).code(1).complains("another host key").complains("SHA256:");
    assert_eq!(lab.on(worker, "docker ps --all --quiet; docker images --quiet"), "", "{said}");
    let logins = lab.on(worker, "journalctl --unit=ssh --output=cat --no-pager");
    assert!(!logins.contains("Accepted publickey"), "{logins}");

    lab.run("apply --auto-approve --replace droplet.worker[1]", "1.0").code(0);
    assert_eq!(lab.seen().status, 200);
    lab.is_settled("1.0");
    // What went in by user-data is worth nothing any more.
    let names = ["webgui-worker-01", "webgui-worker-02", "webgui-load-balancer"];
    for name in names {
        let given = lab.on(name, "cat /var/lib/cloud/instance/user-data.txt");
        let key = given.lines().find_map(|line| line.trim().strip_prefix("ed25519_public: "));
        let key = key.expect("a key in the user-data").trim_matches('"').to_owned();
        let now = lab.on(name, "cat /etc/ssh/ssh_host_ed25519_key.pub");
        let half = |text: &str| text.split_whitespace().nth(1).map(str::to_owned);
        assert!(half(&key).is_some() && half(&key) != half(&now), "{name}: {key} {now}");
    }
}

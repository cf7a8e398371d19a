//! The tutorial's own set-up, made by its own calls: two workers, a floating IP, and a load balancer with the lines that it
//! appends to the packaged haproxy.cfg.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::ground::Lab;

const WORKERS: [&str; 2] = ["webgui-worker-01", "webgui-worker-02"];
const BALANCER: &str = "webgui-load-balancer";

/// A world with the tutorial's stack and release 1.0 on both workers.
pub(crate) fn open() -> Lab {
    let lab = Lab::open();
    create(&lab, &WORKERS, "docker.io");
    create(&lab, &[BALANCER], "haproxy");
    let id = |name: &str| lab.droplet(name)["id"].to_string();
    for (worker, tag) in WORKERS.into_iter().zip(["PROD", "FALLBACK"]) {
        lab.served.ask("POST", "/v2/tags", &json!({ "name": tag }).to_string());
        let resource = json!({ "resource_id": id(worker), "resource_type": "droplet" });
        let body = json!({ "resources": [resource] }).to_string();
        lab.served.ask("POST", &format!("/v2/tags/{tag}/resources"), &body);
    }
    let first = lab.droplet(WORKERS[0])["id"].clone();
    let body = json!({ "droplet_id": first }).to_string();
    let reserved = lab.served.ask("POST", "/v2/floating_ips", &body);
    let reserved: Value = serde_json::from_str(&reserved).expect("JSON");
    let ip = reserved["floating_ip"]["ip"].as_str().expect("an address").to_owned();
    let own = lab.droplet(BALANCER)["address"].as_str().expect("an address").to_owned();
    lab.on(
        BALANCER,
        &format!(
            "printf '\\toption forwardfor' >> /etc/haproxy/haproxy.cfg; \
             printf '\\n\\nfrontend http\\n\\tbind {own}:80\\n\\tdefault_backend web-backend\\n' >> /etc/haproxy/haproxy.cfg; \
             printf '\\nbackend web-backend\\n\\tserver floatingIP {ip}:8080 check\\n' >> /etc/haproxy/haproxy.cfg; \
             systemctl restart haproxy"
        ),
    );
    for _ in WORKERS {
        release(&lab, "1.0");
    }
    lab
}

/// Releases a version as the tutorial does.
pub(crate) fn release(lab: &Lab, version: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/lab/tutorial.sh");
    let mut command = Command::new("sh");
    command.arg(script).arg(format!("registry.lab:5000/webgui:{version}"));
    for name in ["PATH", "DIGITALOCEAN_API_URL", "DIGITALOCEAN_TOKEN", "SSH_PRIVATE_KEY_FILE"] {
        command.env(name, lab.sandbox.get(name));
    }
    let output = command.current_dir(lab.sandbox.path()).output().expect("sh runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Creates droplets with a package, and waits for the end of their first boot.
fn create(lab: &Lab, names: &[&str], package: &str) {
    let body = json!({
        "names": names, "region": "fra1", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64",
        "ssh_keys": [lab.sandbox.get("SSH_KEY_FINGERPRINT")],
        "user_data": format!(
            "#cloud-config\npackage_update: true\npackages: [{package}]\nruncmd:\n  - [systemctl, enable, --now, {}]\n",
            package.trim_end_matches(".io")
        ),
    });
    lab.served.ask("POST", "/v2/droplets", &body.to_string());
    for name in names {
        lab.wait_for_boot(name);
    }
}

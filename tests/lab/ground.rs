//! What every test of the lab stands on: a world whose droplets are containers, its images, and a look inside.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use seachange_local_cloud::docker::Droplets;

use crate::harness::{Said, Sandbox, Served};

/// Whom users ask for.
pub(crate) const DOMAIN: &str = "www.gotcha-app.de";
/// An answer takes no longer, or there is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// A served world with nothing in it but images.
pub(crate) struct Lab {
    pub(crate) sandbox: Sandbox,
    pub(crate) served: Served,
    /// What its registry has of what `tests/lab/images` makes.
    offered: RefCell<BTreeSet<String>>,
}

impl Lab {
    /// Serves it. One at a time: whoever comes next waits until this one is gone.
    pub(crate) fn open() -> Self {
        let mut sandbox = Sandbox::new();
        sandbox.set("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let served = sandbox.serve("--droplets docker");
        sandbox.spec_for_served(|text| {
            text.replace("registry.gitlab.com/mebbinghaus", "registry.lab:5000")
                .replace("timeout: 2s", "timeout: 20s")
        });
        let lab = Self { sandbox, served, offered: RefCell::default() };
        lab.offer("1.0");
        lab
    }

    /// Puts a version into its registry.
    pub(crate) fn offer(&self, version: &str) {
        if self.offered.borrow_mut().insert(version.to_owned()) {
            docker(&[
                "push",
                "--quiet",
                &format!("{}/webgui:{version}", Droplets::local_registry()),
            ]);
        }
    }

    /// A command line on the tutorial's spec.
    pub(crate) fn run(&self, command: &str, version: &str) -> Said {
        self.offer(version);
        self.sandbox.run(&line(command, version))
    }

    /// Changes the spec.
    pub(crate) fn edit_spec(&self, change: impl FnOnce(String) -> String) {
        let path = self.sandbox.path().join("webgui.yaml");
        let text = std::fs::read_to_string(&path).expect("the spec");
        let changed = change(text.clone());
        assert_ne!(changed, text, "nothing changed");
        std::fs::write(path, changed).expect("writable");
    }

    /// Applies a version, and says how it went.
    pub(crate) fn apply(&self, version: &str) -> Said {
        self.run("apply --auto-approve", version)
    }

    /// Nothing is left to do.
    #[track_caller]
    pub(crate) fn is_settled(&self, version: &str) {
        drop(self.run("plan --detailed-exitcode", version).code(0));
    }

    /// Runs a shell command on a droplet; what it wrote.
    #[track_caller]
    pub(crate) fn on(&self, droplet: &str, command: &str) -> String {
        let container = format!("seachange-lab-{}", self.droplet(droplet)["id"]);
        docker(&["exec", &container, "sh", "-c", command])
    }

    /// HAProxy's process on the load balancer, which a reload leaves and a restart does not.
    pub(crate) fn haproxy(&self) -> String {
        self.on("webgui-load-balancer", "systemctl show haproxy --property MainPID --value")
    }

    /// Returns when the droplet's first boot is over, however long its container takes to appear.
    pub(crate) fn wait_for_boot(&self, droplet: &str) {
        let name = loop {
            match self.droplets().into_iter().find(|known| known["name"] == droplet) {
                Some(known) => break format!("name=seachange-lab-{}", known["id"]),
                None => std::thread::park_timeout(Duration::from_millis(100)),
            }
        };
        while docker(&["ps", "--quiet", "--filter", &name]).is_empty() {
            std::thread::park_timeout(Duration::from_millis(100));
        }
        self.on(droplet, "cloud-init status --wait");
    }

    /// What the API knows of a droplet.
    #[track_caller]
    pub(crate) fn droplet(&self, name: &str) -> Value {
        let droplets = self.droplets();
        let found = droplets.into_iter().find(|droplet| droplet["name"] == name);
        found.unwrap_or_else(|| panic!("there is no droplet {name}"))
    }

    pub(crate) fn droplets(&self) -> Vec<Value> {
        let world = self.served.world();
        world["droplets"].as_object().map(|all| all.values().cloned().collect()).unwrap_or_default()
    }

    /// Where users come in.
    pub(crate) fn entrance(&self) -> SocketAddr {
        let address = self.droplet("webgui-load-balancer")["address"].clone();
        format!("{}:80", address.as_str().expect("an address")).parse().expect("an address")
    }

    /// What a user gets now, by way of the load balancer.
    pub(crate) fn seen(&self) -> Seen {
        get(self.entrance(), "/")
    }

    /// The droplet that the floating IP points to, by name.
    pub(crate) fn live(&self) -> String {
        let world = self.served.world();
        let reserved = world["reserved"].as_object().and_then(|all| all.values().next().cloned());
        let id = reserved.expect("a floating IP")["droplet"].clone();
        let live = self.droplets().into_iter().find(|droplet| droplet["id"] == id);
        live.expect("a live worker")["name"].as_str().expect("a name").to_owned()
    }

    /// The other worker, by name.
    pub(crate) fn standby(&self) -> &'static str {
        if self.live() == "webgui-worker-01" { "webgui-worker-02" } else { "webgui-worker-01" }
    }
}

/// A command with the spec and a version.
pub(crate) fn line(command: &str, version: &str) -> String {
    format!("{command} -f webgui.yaml --var VERSION={version}")
}

/// What a user got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    /// Which version answered, if one did.
    pub(crate) version: String,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.version)
    }
}

/// Asks for a path as a user of the domain would.
#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str) -> Seen {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {DOMAIN}\r\nconnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let head = answer.split("\r\n\r\n").next().unwrap_or_default().to_lowercase();
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let version = head.lines().find_map(|line| line.strip_prefix("x-app-version: "));
    Seen {
        status: status.expect("a status"),
        version: version.unwrap_or_default().trim().to_owned(),
    }
}

/// Runs docker on this machine.
#[track_caller]
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("docker runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(output.status.success(), "docker {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

//! Runs the binary in a folder of its own, with an environment of its own, and keeps what it said.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A folder in which the binary runs. Two sandboxes share nothing.
pub(crate) struct Sandbox {
    folder: TempDir,
    environment: Vec<(String, String)>,
}

/// What a run said.
pub(crate) struct Said {
    command: String,
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().expect("a temporary folder"), environment: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Adds a variable to the environment of every later run.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// A variable of every later run.
    pub(crate) fn get(&self, name: &str) -> String {
        let found = self.environment.iter().rev().find(|(known, _)| known == name);
        found.expect("it is set").1.clone()
    }

    /// Copies an example spec in, changed by the function, under its own name.
    pub(crate) fn spec_with(&self, name: &str, change: impl FnOnce(String) -> String) -> String {
        let text = std::fs::read_to_string(specs().join(name)).expect(name);
        std::fs::write(self.path().join(name), change(text)).expect("writable");
        name.to_owned()
    }

    /// Copies an example spec in as it is.
    pub(crate) fn spec(&self, name: &str) -> String {
        self.spec_with(name, |text| text)
    }

    /// Runs the binary with the words of a line.
    #[must_use = "look at the exit code"]
    pub(crate) fn run(&self, line: &str) -> Said {
        let output = self.command(line).output().expect("the binary runs");
        Said::from(line, &output)
    }

    /// Serves a local cloud with these options, and gives its environment to every later run.
    pub(crate) fn serve(&mut self, options: &str) -> Served {
        let mut command = self.command(&format!("local serve --folder served {options}"));
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary runs");
        let stdout = child.stdout.take().expect("piped");
        let mut exports = BTreeMap::new();
        for line in std::io::BufReader::new(stdout).lines() {
            let line = line.expect("UTF-8");
            let (name, value) = line
                .strip_prefix("export ")
                .and_then(|rest| rest.split_once('='))
                .expect("an export");
            self.set(name, value);
            exports.insert(name.to_owned(), value.to_owned());
            if name == "SSH_KEY_FINGERPRINT" {
                break;
            }
        }
        let export = |name: &str| exports.get(name).expect("exported").clone();
        Served {
            child,
            api_url: export("DIGITALOCEAN_API_URL"),
            token: export("DIGITALOCEAN_TOKEN"),
        }
    }

    /// The tutorial's spec for a served cloud: its key, a state in the folder `kept`, and a gate that is quickly decided.
    pub(crate) fn spec_for_served(&mut self, change: impl FnOnce(String) -> String) {
        self.set("REGISTRY_USER", "user");
        self.set("REGISTRY_PASSWORD", "canary-password");
        self.spec_with("webgui.yaml", |text| {
            change(
                text.replace(
                    "spaces: { bucket: gotcha-state, region: ams3 }",
                    "local: { path: kept }",
                )
                .replace(
                    "3b:16:bf:e4:8b:00:8b:b8:59:8c:a9:d3:f0:19:45:fa",
                    "${env:SSH_KEY_FINGERPRINT}",
                )
                .replace("${env:PRIVKEY_PLAIN}", "{ file: \"${env:SSH_PRIVATE_KEY_FILE}\" }")
                .replace("timeout: 2m", "timeout: 2s")
                .replace("interval: 2s", "interval: 100ms"),
            )
        });
    }

    /// Runs the binary until it has written a line with this text to stderr, and kills it there and then.
    pub(crate) fn kill_at(&self, line: &str, text: &str) {
        let mut command = self.command(line);
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let stderr = child.stderr.take().expect("piped");
        let mut said = std::io::BufReader::new(stderr).lines().map(|line| line.expect("UTF-8"));
        assert!(said.any(|line| line.contains(text)), "{line} ended before it said {text:?}");
        child.kill().expect("killed");
        child.wait().expect("ended");
    }

    /// Runs the binary until it has written a line with this text to stderr, sends it a signal, and lets it end.
    pub(crate) fn signal_at(&self, line: &str, text: &str, signal: &str) -> Said {
        let mut command = self.command(line);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
        let stderr = std::io::BufReader::new(child.stderr.take().expect("piped"));
        let mut lines = stderr.lines().map(|line| line.expect("UTF-8"));
        assert!(lines.any(|line| line.contains(text)), "{line} ended before it said {text:?}");
        // A shell has it built in; the program is not on every machine.
        let kill = format!("kill -{signal} {}", child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status();
        assert!(sent.expect("kill runs").success());
        let rest: Vec<String> = lines.collect();
        let mut output = child.wait_with_output().expect("ended");
        output.stderr = rest.join("\n").into_bytes();
        Said::from(line, &output)
    }

    /// The newest state's file, as it lies in the folder `kept`: one line about the commit, one with the state.
    pub(crate) fn newest_commit(&self) -> PathBuf {
        let folder = std::fs::read_dir(self.path().join("kept/webgui/state")).expect("a state");
        let files = folder.map(|file| file.expect("a file").path());
        // Serials count down, so that the newest is listed first.
        files.min().expect("a commit")
    }

    /// The command for a line, for whoever wants to keep the process.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seachange"));
        command
            .args(line.split_whitespace())
            .current_dir(self.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("USER", "tester")
            .env("HOSTNAME", "testhost")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Said {
    fn from(line: &str, output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Self {
            command: line.to_owned(),
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// The run ended with this code.
    #[track_caller]
    pub(crate) fn code(self, expected: i32) -> Self {
        assert_eq!(self.code, expected, "{self}");
        self
    }

    /// Stdout has this text.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "stdout lacks {text:?}\n{self}");
        self
    }

    /// Stdout is one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is no JSON document: {error}\n{self}"))
    }

    /// Stdout is one JSON object a line.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let object = |line: &str| {
            let value = serde_json::from_str::<Value>(line).ok().filter(Value::is_object);
            value.unwrap_or_else(|| panic!("a line is no JSON object: {line}\n{self}"))
        };
        self.stdout.lines().map(object).collect()
    }

    /// Stderr has this text.
    #[track_caller]
    pub(crate) fn complains(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "stderr lacks {text:?}\n{self}");
        self
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, code, stdout, stderr } = self;
        write!(
            f,
            "$ seachange {command}\nexit code {code}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        )
    }
}

/// A local cloud served beside the runs, as for curl or another shell. It ends with this value.
pub(crate) struct Served {
    child: std::process::Child,
    api_url: String,
    token: String,
}

impl Served {
    /// Everything there is in the world.
    pub(crate) fn world(&self) -> Value {
        serde_json::from_str(&self.ask("GET", "/_local/world", "")).expect("JSON")
    }

    /// What users get: where the floating IP points, every droplet's tags, and what runs on the live worker.
    pub(crate) fn seen_by_users(&self) -> Value {
        let world = self.world();
        let first = |kind: &str| world[kind].as_object().and_then(|all| all.values().next());
        let live = first("reserved").expect("a floating IP")["droplet"].to_string();
        let containers = &world["machines"][live]["engine"]["containers"];
        assert!(containers.is_object(), "no worker is live: {world:#}");
        let droplets = world["droplets"].as_object().expect("droplets").values();
        let tags: Vec<&Value> = droplets.map(|droplet| &droplet["tags"]).collect();
        serde_json::json!({ "ip": world["reserved"], "tags": tags, "live": containers })
    }

    /// Switches a fault on.
    pub(crate) fn fault(&self, rule: &Value) {
        self.ask("POST", "/_local/faults", &rule.to_string());
    }

    /// Switches all faults off.
    pub(crate) fn no_faults(&self) {
        self.ask("DELETE", "/_local/faults", "");
    }

    /// Asks the API, as somebody beside us would; the answer's body.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let address = self.api_url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("served");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.token,
            body.len()
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let status = head.split_whitespace().nth(1).unwrap_or_default();
        assert!(status.starts_with('2'), "{method} {path}: {head}\n{body}");
        body.to_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _: std::io::Result<()> = self.child.kill();
        let _: std::io::Result<std::process::ExitStatus> = self.child.wait();
    }
}

/// The folder of example specs.
pub(crate) fn specs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs")
}

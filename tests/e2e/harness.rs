//! Runs the binary in a folder of its own, with an environment of its own, and keeps what it said.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

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
        use std::io::BufRead as _;
        let mut command = self.command(&format!("local serve --folder served {options}"));
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary runs");
        let stdout = child.stdout.take().expect("piped");
        for line in std::io::BufReader::new(stdout).lines() {
            let line = line.expect("UTF-8");
            let (name, value) = line
                .strip_prefix("export ")
                .and_then(|rest| rest.split_once('='))
                .expect("an export");
            self.set(name, value);
            if name == "SSH_KEY_FINGERPRINT" {
                break;
            }
        }
        Served { child }
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

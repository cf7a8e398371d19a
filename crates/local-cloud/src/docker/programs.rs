//! The programs of this machine that do the work, and whether they are there.
//!
//! What is begun is finished, also when this process is killed meanwhile: a program runs in a process group of its own, and
//! its standard input is a file with a shared lock on it, which ends with the program. The janitor takes that lock for itself
//! before it looks for what is left, so that nothing appears behind its back.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use tokio::process::Command;

use super::{DockerError, IMAGE};

/// Held by every program that is at work.
pub(super) const AT_WORK: &str = "/run/seachange-lab.at-work";

/// What is needed: a program, a word it only says who it is to, and Debian's package with it.
const NEEDED: [(&str, &str, &str); 8] = [
    ("docker", "--version", "docker.io"),
    ("docker-registry", "--version", "docker-registry"),
    ("iptables", "--version", "iptables"),
    ("iptables-restore", "--version", "iptables"),
    ("conntrack", "--version", "conntrack"),
    ("ip", "-Version", "iproute2"),
    ("flock", "--version", "util-linux"),
    ("setpriv", "--version", "util-linux"),
];

/// Whether droplets can be containers here, before anything is begun.
pub(super) async fn check() -> Result<(), DockerError> {
    let user = std::fs::metadata("/proc/self").map_or(0, |own| own.uid());
    if user != 0 {
        return Err(DockerError::NotRoot { user });
    }
    let mut missing = Vec::new();
    for (program, word, package) in NEEDED {
        let mut command = Command::new(program);
        let run = command.arg(word).stdin(Stdio::null()).output().await;
        if run.is_err() {
            missing.push(format!("{program} (Debian's package {package})"));
        }
    }
    if !missing.is_empty() {
        return Err(DockerError::Missing { programs: missing.join(", ") });
    }
    let look = |words: [&'static str; 3]| run("docker", words, Stdio::null());
    let engine = look(["version", "--format", "{{.Server.Version}}"]).await;
    engine.map_err(|error| match error {
        DockerError::Failed { detail, .. } => DockerError::NoEngine { detail },
        other => other,
    })?;
    let image = look(["image", "inspect", IMAGE]).await;
    image.map(drop).map_err(|error| match error {
        DockerError::Failed { detail, .. } if detail.contains("No such image") => {
            DockerError::NoImage
        }
        other => other,
    })
}

/// Runs a program that changes something to its end; what it wrote.
pub(super) async fn command<I, S>(program: &str, arguments: I) -> Result<String, DockerError>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    run(program, arguments, at_work()?.into()).await
}

async fn run<I, S>(program: &str, arguments: I, stdin: Stdio) -> Result<String, DockerError>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command.args(arguments).process_group(0);
    let words = command.as_std().get_args().take(2).map(OsStr::to_string_lossy);
    let name = words.fold(program.to_owned(), |line, word| format!("{line} {word}"));
    let unrun = |source| DockerError::NotRun { program: program.to_owned(), source };
    let child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(unrun)?;
    // Nothing of ours holds the lock any more.
    drop(command);
    let output = child.wait_with_output().await.map_err(unrun)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let detail = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(DockerError::Failed { command: name, detail })
}

/// The lock, shared with all that are at work. Nobody has it for himself but a janitor who cleans up.
fn at_work() -> Result<File, DockerError> {
    let failed = |source| DockerError::File { path: AT_WORK.to_owned(), source };
    let mut options = File::options();
    let file = options.read(true).append(true).create(true).open(AT_WORK).map_err(failed)?;
    file.try_lock_shared().map_err(|error| failed(error.into()))?;
    Ok(file)
}

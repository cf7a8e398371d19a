//! The user's own checks (`deploy.verify`), run as processes with a deadline. Their output is shown only if they fail.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use seachange_core::checks::{CheckFailed, Checks};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How long a check may take.
const DEADLINE: Duration = Duration::from_secs(300);
/// How many of its last lines are kept.
const LINES: usize = 20;

/// Runs checks as child processes of this one.
#[derive(Debug)]
pub(crate) struct Processes;

#[async_trait]
impl Checks for Processes {
    async fn run(
        &self,
        command: &[String],
        environment: &[(String, String)],
    ) -> Result<(), CheckFailed> {
        let failed = |ended: String, output: Vec<String>| CheckFailed {
            command: command.join(" "),
            ended,
            output,
        };
        let Some((program, arguments)) = command.split_first() else {
            return Err(failed("is empty".to_owned(), Vec::new()));
        };
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("could not be started: {error}"), Vec::new()))?;
        // Kept out here, so that a check that is stopped has still said what it said.
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let ended = tokio::time::timeout(DEADLINE, async {
            tokio::join!(drain(out, &mut stdout), drain(err, &mut stderr));
            child.wait().await
        })
        .await;
        let ended = match ended {
            Ok(Ok(status)) if status.success() => return Ok(()),
            Ok(Ok(status)) => {
                status.code().map_or("was killed".to_owned(), |code| format!("exited with {code}"))
            }
            Ok(Err(error)) => format!("was lost: {error}"),
            Err(_) => {
                // One that has ended by itself meanwhile is as good as killed.
                let _: std::io::Result<()> = child.kill().await;
                format!("was stopped after {} s", DEADLINE.as_secs())
            }
        };
        Err(failed(ended, last_lines(&[stdout, stderr].concat())))
    }
}

/// Reads what a process writes, until it closes that end.
async fn drain(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    while from.read_buf(into).await.is_ok_and(|read| read > 0) {}
}

fn last_lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(script: &str) -> Result<(), CheckFailed> {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        Processes.run(&command, &[("SEACHANGE_WORKER".to_owned(), "2".to_owned())]).await
    }

    #[tokio::test]
    async fn a_check_says_no_with_its_exit_code_and_its_last_lines() {
        assert_eq!(run("test $SEACHANGE_WORKER = 2").await, Ok(()));
        let failed = run("seq 30; echo worse >&2; exit 3").await.unwrap_err();
        assert_eq!(failed.ended, "exited with 3");
        assert_eq!(failed.output.len(), LINES);
        assert_eq!(failed.output.last().map(String::as_str), Some("worse"));
    }

    #[tokio::test]
    async fn a_check_that_cannot_be_started_is_named() {
        let failed = Processes.run(&["/no/such/check".to_owned()], &[]).await.unwrap_err();
        assert!(
            failed.to_string().starts_with("`/no/such/check` could not be started"),
            "{failed}"
        );
    }

    /// The check tells when it hangs, and only then does the clock run out.
    #[tokio::test]
    async fn a_check_that_hangs_is_stopped_at_its_deadline_and_has_said_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("hangs");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        let script = format!("echo looking; echo $$ > {}; exec sleep 100000", fifo.display());
        let checking = tokio::spawn(async move { run(&script).await });
        let process = tokio::fs::read_to_string(&fifo).await.unwrap();
        tokio::time::pause();
        tokio::time::advance(DEADLINE).await;
        let failed = checking.await.unwrap().unwrap_err();
        assert_eq!(failed.ended, "was stopped after 300 s");
        assert_eq!(failed.output, ["looking"]);
        let stat = format!("/proc/{}/stat", process.trim());
        let alive = std::fs::read_to_string(stat).is_ok_and(|stat| !stat.contains(") Z "));
        assert!(!alive, "the check outlived its deadline");
    }
}

//! The user's own checks (`deploy.verify`), run as processes with a deadline. Their output is shown only if they fail.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use seachange_core::checks::{CheckFailed, Checks};

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
        let child = tokio::process::Command::new(program)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("could not be started: {error}"), Vec::new()))?;
        let ended = tokio::time::timeout(DEADLINE, child.wait_with_output()).await;
        let output = match ended {
            Err(_) => {
                return Err(failed(
                    format!("was stopped after {}s", DEADLINE.as_secs()),
                    Vec::new(),
                ));
            }
            Ok(Err(error)) => return Err(failed(format!("was lost: {error}"), Vec::new())),
            Ok(Ok(output)) => output,
        };
        if output.status.success() {
            return Ok(());
        }
        let text = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .concat();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let last = lines[lines.len().saturating_sub(LINES)..].to_vec();
        Err(failed(
            output
                .status
                .code()
                .map_or("was killed".to_owned(), |code| format!("exited with {code}")),
            last,
        ))
    }
}

//! The boundary to the user's own checks: `deploy.verify` commands that run here, before the switch.

use async_trait::async_trait;

/// A check that said no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{command}` {ended}")]
pub struct CheckFailed {
    /// The command, as a person would type it.
    pub command: String,
    /// How it ended ("exited with 3", "could not be started: not found", "was stopped after 60s").
    pub ended: String,
    /// The last lines it wrote.
    pub output: Vec<String>,
}

/// Runs a user's check. Implemented by starting a process; by a closure in tests.
#[async_trait]
pub trait Checks: Send + Sync {
    /// Runs the command with these variables added to its environment; zero is yes.
    async fn run(
        &self,
        command: &[String],
        environment: &[(String, String)],
    ) -> Result<(), CheckFailed>;
}

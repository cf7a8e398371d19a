//! Commands on the droplet.
//!
//! SSH knows no argument lists: the server hands one string to the login shell. So a command is a list here, quoted by
//! one function. No secret is ever an argument: everybody on the host can read those.

use russh::ChannelMsg;
use seachange_core::host::{HostError, Target};

use super::session::words;
use super::{Door, Ssh, failed};

/// Enough for any message worth showing.
const MOST_OUTPUT: usize = 64 * 1024;

/// What a command did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// Exit status; `None` if a signal ended it.
    pub(crate) status: Option<u32>,
    /// What it wrote, both streams in the order of arrival.
    pub(crate) text: String,
}

impl Output {
    pub(crate) fn is_success(&self) -> bool {
        self.status == Some(0)
    }

    /// Its own words, or its exit status if it had none.
    pub(crate) fn words(&self) -> String {
        match (self.text.trim(), self.status) {
            ("", Some(status)) => format!("exit status {status}"),
            ("", None) => "ended by a signal".to_owned(),
            (text, _) => text.to_owned(),
        }
    }
}

/// Runs a command to its end. Any exit status is an answer.
pub(crate) async fn run(
    ssh: &Ssh,
    target: &Target,
    arguments: &[&str],
) -> Result<Output, HostError> {
    let command = quote(arguments);
    let limit = ssh.config.operation_timeout;
    let error = |detail: String| failed(target.address, &format!("`{command}`"), detail);
    match tokio::time::timeout(limit, exchange(ssh, target, &command)).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(ExchangeError::Host(error))) => Err(error),
        Ok(Err(ExchangeError::Broken(detail))) => Err(error(detail)),
        Err(_) => Err(error(format!("no end within {limit:?}"))),
    }
}

/// Runs a command that must succeed.
pub(crate) async fn run_well(
    ssh: &Ssh,
    target: &Target,
    arguments: &[&str],
) -> Result<(), HostError> {
    let output = run(ssh, target, arguments).await?;
    if output.is_success() {
        return Ok(());
    }
    Err(failed(target.address, &format!("`{}`", quote(arguments)), output.words()))
}

enum ExchangeError {
    Host(HostError),
    Broken(String),
}

async fn exchange(ssh: &Ssh, target: &Target, command: &str) -> Result<Output, ExchangeError> {
    let opened = ssh.open(target, Door::Session).await;
    let mut channel = opened
        .map_err(|error| ExchangeError::Host(error.during(target.address, "opening a session")))?;
    channel.exec(true, command).await.map_err(|error| ExchangeError::Broken(words(&error)))?;
    let mut written = Vec::new();
    let mut status = None;
    let mut ended = false;
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => {
                let room = MOST_OUTPUT.saturating_sub(written.len()).min(data.len());
                written.extend_from_slice(&data[..room]);
            }
            ChannelMsg::ExitStatus { exit_status } => {
                status = Some(exit_status);
                ended = true;
            }
            ChannelMsg::ExitSignal { .. } => ended = true,
            ChannelMsg::Failure => {
                return Err(ExchangeError::Broken("the SSH server runs no commands".to_owned()));
            }
            _ => {}
        }
    }
    if !ended {
        return Err(ExchangeError::Broken("the connection was closed before its end".to_owned()));
    }
    Ok(Output { status, text: String::from_utf8_lossy(&written).into_owned() })
}

/// One string that a POSIX shell splits into exactly these arguments.
pub(crate) fn quote(arguments: &[&str]) -> String {
    arguments.iter().map(|argument| quote_one(argument)).collect::<Vec<_>>().join(" ")
}

fn quote_one(argument: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./:=@%+,-".contains(&byte);
    if !argument.is_empty() && argument.bytes().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_arguments_stay_readable() {
        let command = quote(&["haproxy", "-c", "-f", "/etc/haproxy/haproxy.cfg.seachange-new"]);
        assert_eq!(command, "haproxy -c -f /etc/haproxy/haproxy.cfg.seachange-new");
    }

    #[test]
    fn a_shell_gives_the_arguments_back() {
        let arguments = [
            "", "a b", "it's", "''", "$HOME", "`id`", "\\", "\"", "*", "~", "#", "a\nb", ";", "ü",
            "!", "-n", "=",
        ];
        let mut command = vec!["printf", "%s\\0"];
        command.extend(arguments);
        let output =
            std::process::Command::new("sh").arg("-c").arg(quote(&command)).output().unwrap();
        assert!(output.status.success());
        let given: Vec<&[u8]> = output.stdout.split(|byte| *byte == 0).collect();
        let wanted: Vec<&[u8]> =
            arguments.iter().map(|argument| argument.as_bytes()).chain([&b""[..]]).collect();
        assert_eq!(given, wanted);
    }

    #[test]
    fn a_silent_failure_still_says_something() {
        let output = |status, text: &str| Output { status, text: text.to_owned() }.words();
        assert_eq!(output(Some(1), " oops\n"), "oops");
        assert_eq!(output(Some(3), "\n"), "exit status 3");
        assert_eq!(output(None, ""), "ended by a signal");
    }
}

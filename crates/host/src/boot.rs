//! How far a droplet's first boot is: cloud-init first, then the service the droplet is for.

use seachange_core::host::{Boot, Contact, HostError, Service, Target};

use crate::engine::{Engine, EngineError};
use crate::ssh::exec::{self, Output};
use crate::ssh::{Ssh, failed};

/// One look.
pub(crate) async fn contact(
    ssh: &Ssh,
    target: &Target,
    service: Service,
) -> Result<Contact, HostError> {
    let connection = ssh.connection(target).await?;
    let host_key = connection
        .host_key()
        .map_err(|error| failed(target.address, "reading the host key", error))?;
    let boot = match cloud_init(&exec::run(ssh, target, &["cloud-init", "status"]).await?) {
        CloudInit::Running { detail } => Boot::Running { detail },
        CloudInit::Failed => Boot::Failed { detail: why_failed(ssh, target).await? },
        CloudInit::Over => match unready(ssh, target, service).await? {
            None => Boot::Ready,
            Some(detail) => Boot::Running { detail },
        },
    };
    Ok(Contact { host_key, boot })
}

/// What `cloud-init status` says.
#[derive(Debug, PartialEq, Eq)]
enum CloudInit {
    Running { detail: String },
    Over,
    Failed,
}

/// The word decides; the exit status cannot: it is 0 or 2 for "done", and 0 or 1 for "error", by version.
fn cloud_init(output: &Output) -> CloudInit {
    let word =
        output.text.lines().find_map(|line| line.trim().strip_prefix("status:")).map(str::trim);
    match word {
        Some("done" | "degraded done" | "disabled") => CloudInit::Over,
        Some("error") => CloudInit::Failed,
        Some(word) => CloudInit::Running { detail: format!("cloud-init: {word}") },
        // An image without cloud-init has nothing to wait for but its service.
        None if output.status == Some(127) => CloudInit::Over,
        None => CloudInit::Running { detail: format!("cloud-init: {}", output.words()) },
    }
}

async fn why_failed(ssh: &Ssh, target: &Target) -> Result<String, HostError> {
    let output = exec::run(ssh, target, &["cloud-init", "status", "--long"]).await?;
    Ok(output
        .words()
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; "))
}

/// Why the service is not ready; `None` if it is.
async fn unready(
    ssh: &Ssh,
    target: &Target,
    service: Service,
) -> Result<Option<String>, HostError> {
    match service {
        Service::Docker => match (Engine { ssh, target }).ping().await {
            Ok(()) => Ok(None),
            Err(EngineError::Host(error)) => Err(error),
            Err(EngineError::Silent(detail) | EngineError::Answered { message: detail, .. }) => {
                Ok(Some(format!("Docker Engine: {detail}")))
            }
        },
        Service::Haproxy => {
            let output = exec::run(ssh, target, &["systemctl", "is-active", "haproxy"]).await?;
            Ok((!output.is_success()).then(|| format!("HAProxy: {}", output.words())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: u32, text: &str) -> CloudInit {
        cloud_init(&Output { status: Some(status), text: text.to_owned() })
    }

    #[test]
    fn the_word_decides_in_every_version() {
        assert_eq!(seen(0, "status: done\n"), CloudInit::Over);
        assert_eq!(seen(2, "status: done\n"), CloudInit::Over);
        assert_eq!(seen(2, "status: degraded done\n"), CloudInit::Over);
        assert_eq!(seen(0, "\nstatus: disabled\n"), CloudInit::Over);
        assert_eq!(seen(0, "status: error\n"), CloudInit::Failed);
        assert_eq!(seen(1, "status: error\n"), CloudInit::Failed);
        // Dots are printed while waiting, in some versions without --wait too.
        assert_eq!(
            seen(0, "....\nstatus: running\n"),
            CloudInit::Running { detail: "cloud-init: running".to_owned() }
        );
        for word in ["not run", "not started"] {
            let detail = format!("cloud-init: {word}");
            assert_eq!(seen(0, &format!("status: {word}")), CloudInit::Running { detail });
        }
    }

    #[test]
    fn an_image_without_cloud_init_is_past_it_and_a_broken_answer_is_not() {
        assert_eq!(seen(127, "bash: cloud-init: command not found\n"), CloudInit::Over);
        assert!(matches!(seen(1, "Traceback …"), CloudInit::Running { .. }));
    }
}

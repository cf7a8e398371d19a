//! The next command for each error of the outside world, by its type: the one table of remedies.

use std::error::Error;

use seachange_core::cloud::CloudError;
use seachange_core::host::{HostError, RegistryError};
use seachange_core::state::edit::EditError;
use seachange_core::store::StoreError;
use seachange_engine::RecoverError;
use seachange_engine::apply::ApplyError;
use seachange_engine::store::LogError;
use seachange_engine::store::commit::CommitError;
use seachange_local_cloud::docker::DockerError;

/// What to do about an error: the remedy of the outermost cause that has one.
pub(crate) fn of(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    while let Some(error) = next {
        let found = one(error);
        if found.is_some() {
            return found;
        }
        next = error.source();
    }
    None
}

fn one(error: &(dyn Error + 'static)) -> Option<&'static str> {
    error
        .downcast_ref()
        .and_then(cloud)
        .or_else(|| error.downcast_ref().and_then(host))
        .or_else(|| error.downcast_ref().map(registry))
        .or_else(|| error.downcast_ref().map(log))
        .or_else(|| error.downcast_ref().map(store))
        .or_else(|| error.downcast_ref().map(edit))
        .or_else(|| error.downcast_ref().and_then(apply))
        .or_else(|| error.downcast_ref().and_then(recover))
        .or_else(|| error.downcast_ref().map(docker))
}

fn docker(error: &DockerError) -> &'static str {
    match error {
        DockerError::NotRoot { .. } => {
            "run it as root (sudo), or serve simulated droplets, which need nothing: seachange local serve"
        }
        DockerError::InUse => {
            "stop that one first (Ctrl-C), or serve simulated droplets: seachange local serve"
        }
        DockerError::Missing { .. } | DockerError::NoImage => {
            "in a checkout of github.com/seachange-tool/seachange: sudo tests/lab/setup, which installs and makes what is missing; then run the same command again"
        }
        DockerError::NoEngine { .. } => {
            "start it (sudo systemctl start docker; where no systemd runs: sudo dockerd), then run the same command again"
        }
        DockerError::NoTracking { .. } => {
            "give the kernel what conntrack needs (sudo modprobe nf_conntrack_netlink), then run the same command again"
        }
        DockerError::PortTaken { .. } => {
            "see who does: sudo ss -ltnp 'sport = :5000'; stop that one (Debian's own registry: sudo systemctl disable --now docker-registry), then run the same command again"
        }
        DockerError::NoRegistry { .. }
        | DockerError::NotRun { .. }
        | DockerError::File { .. }
        | DockerError::Failed { .. } => {
            "put right what it says, then run the same command again; what was begun has been taken away"
        }
    }
}

fn cloud(error: &CloudError) -> Option<&'static str> {
    Some(match error {
        CloudError::Unauthorized { .. } => {
            "check DIGITALOCEAN_TOKEN: a new one comes from cloud.digitalocean.com/account/api/tokens"
        }
        CloudError::Forbidden { .. } => {
            "the token may not do this: it needs read and write scopes for droplets, reserved IPs, domains, tags and SSH keys"
        }
        CloudError::Unavailable { .. } => {
            "check the network and DIGITALOCEAN_API_URL, then run the same command again: nothing was changed"
        }
        CloudError::RateLimited { .. } => "run the same command again when the limit has come back",
        CloudError::LimitReached { .. } => {
            "raise the limit (cloud.digitalocean.com/account/team/droplet_limit_increase) or ask for less, then run the same command again"
        }
        CloudError::Unknown { .. } | CloudError::Malformed { .. } | CloudError::Pending { .. } => {
            "run the same command again: it looks first at what became of it"
        }
        CloudError::NotFound { .. } | CloudError::Conflict { .. } | CloudError::Invalid { .. } => {
            return None;
        }
    })
}

fn host(error: &HostError) -> Option<&'static str> {
    Some(match error {
        HostError::WrongHostKey { .. } => {
            "if the droplet was really rebuilt outside: seachange apply --replace ADDRESS; otherwise somebody is in between"
        }
        HostError::AuthenticationRefused { .. } => {
            "ssh.private_key must belong to one of ssh.keys, which are put in when a droplet is created"
        }
        HostError::Unreachable { .. } => {
            "check that port 22 of the droplet is open to this machine, then run the same command again"
        }
        HostError::PullFailed { .. }
        | HostError::ConfigRefused { .. }
        | HostError::Failed { .. } => return None,
    })
}

fn registry(error: &RegistryError) -> &'static str {
    match error {
        RegistryError::NotFound { .. } => {
            "push the image, or name one that exists; nothing was changed"
        }
        RegistryError::Refused { .. } => {
            "check app.registry.username and app.registry.password; nothing was changed"
        }
        RegistryError::Unavailable { .. } => {
            "check the network and the image's name, then run the same command again: nothing was changed"
        }
    }
}

fn log(error: &LogError) -> &'static str {
    match error {
        LogError::Held { .. } => {
            "wait for that run (--lock-timeout 10m), or look closer: seachange lock status"
        }
        LogError::Frozen { .. } => "ask that person; when it is over: seachange lock release",
        LogError::Forked { .. } => {
            "see both: seachange state history; then choose one of an earlier serial: seachange state restore SERIAL"
        }
        LogError::Unfit { .. } => {
            "begin from the newest: seachange state pull; nothing was changed"
        }
        LogError::Absent { .. } => "see the serials there are: seachange state history",
        LogError::Lost { .. } => {
            "see who has it: seachange lock status; then run the same command again"
        }
        LogError::Overtaken { .. } => {
            "see what was written: seachange state history; then run the same command again"
        }
        LogError::Stopped { .. } => "run the same command again",
        LogError::Unreadable { source: CommitError::Sealed, .. } => {
            "name what opens it in the spec: state.encryption with its passphrase or keys; nothing was changed"
        }
        LogError::Unreadable { .. } => {
            "an older serial can be made the newest again: seachange state history, seachange state restore SERIAL"
        }
        LogError::UnreadableLock { .. } => "if nobody works on this stack: seachange unlock",
        LogError::Store(error) => store(error),
    }
}

fn store(error: &StoreError) -> &'static str {
    match error {
        StoreError::Refused { .. } => {
            "check the spec's `state` and the credentials of the store; nothing was changed"
        }
        StoreError::Unknown { .. } => "run the same command again: it reads back what was written",
    }
}

fn edit(error: &EditError) -> &'static str {
    match error {
        EditError::Absent { .. } | EditError::Occupied { .. } | EditError::Kind { .. } => {
            "see the addresses there are: seachange state list"
        }
        EditError::UnderWay { .. } => "finish it first: seachange apply",
    }
}

fn apply(error: &ApplyError) -> Option<&'static str> {
    match error {
        ApplyError::Stale { .. } => Some("make a new plan: seachange plan"),
        ApplyError::Journal { .. } => None,
    }
}

fn recover(error: &RecoverError) -> Option<&'static str> {
    match error {
        RecoverError::Detour { .. } => Some(
            "make droplet.load_balancer reachable, then run the same command again; one that is lost for good is replaced by the next apply once its droplet is deleted",
        ),
        RecoverError::Look { .. }
        | RecoverError::Observe(_)
        | RecoverError::Journal(_)
        | RecoverError::Stopped => None,
    }
}

#[cfg(test)]
mod tests {
    use seachange_core::cloud::CloudError;
    use seachange_engine::observe::ObserveError;

    #[test]
    fn a_remedy_is_found_below_what_was_being_done() {
        let source = CloudError::Unauthorized { detail: "no".to_owned() };
        let error = ObserveError::Cloud { what: "droplets".to_owned(), source };
        assert!(super::of(&error).is_some_and(|help| help.contains("DIGITALOCEAN_TOKEN")));
    }
}

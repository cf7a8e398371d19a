//! What was seen in a worker's engine, judged against what was put there.
//!
//! A host that nobody looked at is `Unknown`: neither right nor wrong.

use crate::cloud::DropletId;
use crate::host::{Container, ContainerState};
use crate::image::{Digest, ImageRef};
use crate::observed::{HostSeen, Observed};
use crate::state::Deployed;

/// A worker's container, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Content<'a> {
    /// Nobody looked, and why.
    Unknown(&'a str),
    /// There is none.
    Empty,
    /// There is this one.
    Holds(&'a Container),
}

/// A worker's container against what was put there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody looked.
    Unknown,
    /// It runs what was put there.
    Right,
    /// It is what was put there, or nothing at all, and does not run.
    Down(String),
    /// It is something else.
    Foreign(String),
}

/// What the worker with this droplet holds.
pub(super) fn content<'a>(observed: &'a Observed, stack: &str, droplet: DropletId) -> Content<'a> {
    match observed.hosts.get(&droplet) {
        None => Content::Unknown("nobody looked"),
        Some(HostSeen::NotObserved { why }) => Content::Unknown(why),
        Some(HostSeen::LoadBalancer { .. }) => Content::Unknown("seen as a load balancer"),
        Some(HostSeen::Worker { containers, .. }) => containers
            .iter()
            .find(|container| container.name == stack)
            .or(containers.first())
            .map_or(Content::Empty, Content::Holds),
    }
}

/// Whether the container says that it is exactly this.
pub(super) fn is(container: &Container, digest: &Digest, config: &str) -> bool {
    let label = |name: &str| container.labels.get(name).map(String::as_str);
    label("digest") == Some(digest.as_str()) && label("config") == Some(config)
}

/// Judges what a worker holds against what was put there.
pub(super) fn judge(content: Content<'_>, deployed: &Deployed) -> Verdict {
    let container = match content {
        Content::Unknown(_) => return Verdict::Unknown,
        Content::Empty => return Verdict::Down("no container".to_owned()),
        Content::Holds(container) => container,
    };
    if !is(container, &deployed.digest, &deployed.config) {
        return Verdict::Foreign(what(container, deployed));
    }
    match &container.state {
        ContainerState::Running => Verdict::Right,
        other => Verdict::Down(state(other)),
    }
}

/// The image and digest a container's labels speak of.
pub(super) fn labelled(container: &Container) -> Option<(ImageRef, Digest)> {
    let image = container.labels.get("image")?.parse().ok()?;
    let digest = container.labels.get("digest")?.parse().ok()?;
    Some((image, digest))
}

/// A container's state in words.
pub(super) fn state(state: &ContainerState) -> String {
    match state {
        ContainerState::Created => "created, never started".to_owned(),
        ContainerState::Running => "running".to_owned(),
        ContainerState::Restarting => "restarting".to_owned(),
        ContainerState::Exited { code } => format!("exited with code {code}"),
        ContainerState::Other(word) => word.clone(),
    }
}

fn what(container: &Container, deployed: &Deployed) -> String {
    match container.labels.get("digest") {
        Some(digest) if digest == deployed.digest.as_str() => {
            format!("{digest} with another configuration")
        }
        Some(digest) => digest.clone(),
        None => format!("container {} without our labels", container.name),
    }
}

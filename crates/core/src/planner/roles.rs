//! Who is live: the floating IP's target is the truth, the tags are a view of it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::cloud::{self, DropletId};
use crate::names::{FALLBACK, PROD, same_tag};
use crate::observed::Observed;
use crate::state::{Deployed, State};

/// Where the floating IP points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pointing {
    /// There is no floating IP.
    Nowhere,
    /// At this worker.
    Worker(u32),
    /// At nothing, or at what is no worker of the stack.
    Elsewhere(Option<DropletId>),
}

impl Pointing {
    /// Where `ip` points, given who has which droplet.
    pub(super) fn of(
        ip: Option<Ipv4Addr>,
        observed: &Observed,
        worker_of: impl Fn(DropletId) -> Option<u32>,
    ) -> Self {
        let Some(seen) = ip.and_then(|ip| observed.reserved_ips.get(&ip)) else {
            return Self::Nowhere;
        };
        match seen.droplet.map(|droplet| (droplet, worker_of(droplet))) {
            Some((_, Some(number))) => Self::Worker(number),
            Some((droplet, None)) => Self::Elsewhere(Some(droplet)),
            None => Self::Elsewhere(None),
        }
    }

    /// The worker it points at.
    pub(super) fn worker(self) -> Option<u32> {
        match self {
            Self::Worker(number) => Some(number),
            Self::Nowhere | Self::Elsewhere(_) => None,
        }
    }
}

/// The worker the state holds for live: that of the last release, if what was released is still there.
pub(super) fn recorded_live(state: &State) -> Option<u32> {
    let last = state.releases.last()?;
    let deployed = state.deployed.get(&last.worker)?;
    (deployed.digest == last.digest).then_some(last.worker)
}

/// Whether users ever had this release. A container is put on a standby before the gate, so one that never went live is
/// what a failed release left: nothing to go back to.
pub(super) fn was_live(state: &State, release: &Deployed) -> bool {
    state.releases.iter().any(|past| past.digest == release.digest)
}

/// Whether a droplet carries a tag; `None` if the token may not know.
pub(super) fn carries(droplet: &cloud::Droplet, tag: &str) -> Option<bool> {
    Some(droplet.tags.as_ref()?.iter().any(|own| same_tag(own, tag)))
}

/// Whether a droplet's role tags are those of a live worker or of a standby; `None` if the token may not know.
pub(super) fn tagged_as(droplet: &cloud::Droplet, live: bool) -> Option<bool> {
    Some(carries(droplet, PROD)? == live && carries(droplet, FALLBACK)? != live)
}

/// The workers that were seen with PROD.
pub(super) fn prod(workers: &BTreeMap<DropletId, u32>, observed: &Observed) -> Vec<u32> {
    let mut prod: Vec<u32> = workers
        .iter()
        .filter(|(id, _)| {
            observed.droplets.get(id).is_some_and(|seen| carries(seen, PROD) == Some(true))
        })
        .map(|(_, number)| *number)
        .collect();
    prod.sort_unstable();
    prod
}

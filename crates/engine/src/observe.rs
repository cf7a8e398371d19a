//! The refresh: looks at everything a stack consists of, all at once, and decides nothing.
//!
//! It costs pages, not resources: one list each for droplets, addresses and zones, whatever the number of workers. A
//! droplet that the state knows and the list does not show is asked for by its id before anybody may conclude that it
//! is gone: the list lags, and a tag can be taken off by hand. Hosts that cannot be seen are not observed; that is a
//! finding for people, never an assumption.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use futures::{FutureExt as _, try_join};
use seachange_core::address::Address;
use seachange_core::cloud::{CloudError, DnsRecord, Droplet, DropletId, DropletStatus, SshKey};
use seachange_core::event::Event;
use seachange_core::host::{Boot, Credentials, Host, HostError, RegistryError, Service, Target};
use seachange_core::image::{Digest, ImageRef};
use seachange_core::names;
use seachange_core::observed::{Catalogue, HostSeen, Observed};
use seachange_core::state::{Resource, State};
use tokio::time::Instant;

use crate::context::Context;

/// So many hosts are looked at at a time: each is another machine, so it may be more than a run's own parallelism.
const HOSTS_AT_A_TIME: usize = 64;
/// A host that does not answer within this time was not observed.
const HOST_DEADLINE: Duration = Duration::from_secs(20);

/// What a refresh looks at, beside what the state names.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Zones of the spec.
    pub zones: Vec<String>,
    /// Fingerprints of the keys of the spec.
    pub ssh_fingerprints: Vec<String>,
    /// The app's image, to be resolved to a digest.
    pub image: Option<(ImageRef, Option<Credentials>)>,
    /// Look into the hosts.
    pub hosts: bool,
    /// Whether to ask what the account offers.
    pub catalogue: Need,
}

/// When to ask what the account offers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Need {
    /// Not at all.
    #[default]
    Never,
    /// If a droplet is missing, or has another size than asked for: only then can there be anything to create.
    IfMissing {
        /// Workers asked for.
        workers: u32,
        /// A load balancer is asked for.
        load_balancer: bool,
        /// Sizes asked for.
        sizes: Vec<String>,
        /// Base images asked for.
        images: Vec<String>,
    },
}

/// Why a refresh ended without a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObserveError {
    /// The cloud.
    #[error("cannot look at {what}")]
    Cloud {
        /// At what.
        what: String,
        /// Why not.
        #[source]
        source: CloudError,
    },
    /// The image's digest.
    #[error("cannot resolve the image {image} to a digest")]
    Registry {
        /// The image.
        image: String,
        /// Why not.
        #[source]
        source: RegistryError,
    },
    /// An image is asked for, and there is nobody to ask.
    #[error("cannot resolve the image {image} to a digest: this run has no registry")]
    NoRegistry {
        /// The image.
        image: String,
    },
}

/// Looks at everything.
pub async fn observe(
    context: &Context<'_>,
    wanted: &Wanted,
    state: &State,
) -> Result<Observed, ObserveError> {
    let (began, before) = (Instant::now(), context.cloud.requests_sent());
    context.tell(&Event::RefreshStarted);
    let mut observed = Observed::nothing(context.clock.now());
    let inside = async {
        let droplets = droplets(context, state).await?;
        let (hosts, catalogue) = try_join!(
            hosts(context, wanted, state, &droplets).map(Ok),
            catalogue(context, wanted, state, &droplets),
        )?;
        Ok((droplets, hosts, catalogue))
    };
    let reserved_ips = context.cloud.reserved_ips().map(cloud("the reserved IPs"));
    let (inside, reserved_ips, zones, ssh_keys, image) = try_join!(
        inside,
        reserved_ips,
        zones(context, wanted, state),
        ssh_keys(context, wanted, state),
        image(context, wanted),
    )?;
    (observed.droplets, observed.hosts, observed.catalogue) = inside;
    observed.reserved_ips = reserved_ips.into_iter().map(|found| (found.ip, found)).collect();
    (observed.zones, observed.ssh_keys, observed.image) = (zones, ssh_keys, image);
    context.tell(&Event::RefreshFinished {
        requests: context.cloud.requests_sent() - before,
        took: began.elapsed(),
    });
    Ok(observed)
}

/// Every droplet of the stack: by its owner tag, and by the ids the state knows.
pub(crate) async fn droplets(
    context: &Context<'_>,
    state: &State,
) -> Result<BTreeMap<DropletId, Droplet>, ObserveError> {
    let listed = context.cloud.droplets_by_tag(&names::owner_tag(context.stack)).await;
    let listed = cloud("the stack's droplets")(listed)?;
    let mut found: BTreeMap<_, _> =
        listed.into_iter().map(|droplet| (droplet.id, droplet)).collect();
    let known = state.resources.values().filter_map(|resource| match resource {
        Resource::Droplet(droplet) => Some(droplet.id),
        _ => None,
    });
    let missing: Vec<DropletId> =
        known.chain(state.deposed.keys().copied()).filter(|id| !found.contains_key(id)).collect();
    let asked = stream::iter(missing).map(async |id| match context.cloud.droplet(id).await {
        Ok(droplet) => Ok(Some(droplet)),
        Err(CloudError::NotFound { .. }) => Ok(None),
        Err(source) => Err(ObserveError::Cloud { what: format!("droplet {id}"), source }),
    });
    let asked: Vec<_> = asked.buffered(context.parallelism.max(1)).try_collect().await?;
    found.extend(asked.into_iter().flatten().map(|droplet| (droplet.id, droplet)));
    found.retain(|_, droplet| droplet.status != DropletStatus::Archive);
    Ok(found)
}

async fn zones(
    context: &Context<'_>,
    wanted: &Wanted,
    state: &State,
) -> Result<BTreeMap<String, Option<Vec<DnsRecord>>>, ObserveError> {
    let mut zones: BTreeSet<&str> = wanted.zones.iter().map(String::as_str).collect();
    for (address, resource) in &state.resources {
        match (address, resource) {
            (Address::Domain(zone), _) | (_, Resource::Record { zone, .. }) => {
                zones.insert(zone);
            }
            _ => {}
        }
    }
    let asked = stream::iter(zones).map(async |zone| {
        let records = absent(context.cloud.dns_records(zone).await);
        Ok((zone.to_owned(), cloud(format!("the records of {zone}"))(records)?))
    });
    asked.buffered(context.parallelism.max(1)).try_collect().await
}

async fn ssh_keys(
    context: &Context<'_>,
    wanted: &Wanted,
    state: &State,
) -> Result<BTreeMap<String, Option<SshKey>>, ObserveError> {
    let mut fingerprints: BTreeSet<&str> =
        wanted.ssh_fingerprints.iter().map(String::as_str).collect();
    for resource in state.resources.values() {
        if let Resource::SshKey { fingerprint, .. } = resource {
            fingerprints.insert(fingerprint);
        }
    }
    let asked = stream::iter(fingerprints).map(async |fingerprint| {
        let key = absent(context.cloud.ssh_key(fingerprint).await);
        Ok((fingerprint.to_owned(), cloud(format!("the SSH key {fingerprint}"))(key)?))
    });
    asked.buffered(context.parallelism.max(1)).try_collect().await
}

async fn image(context: &Context<'_>, wanted: &Wanted) -> Result<Option<Digest>, ObserveError> {
    let Some((image, credentials)) = &wanted.image else { return Ok(None) };
    if let Some(digest) = &image.digest {
        return Ok(Some(digest.clone()));
    }
    let Some(registry) = context.registry else {
        return Err(ObserveError::NoRegistry { image: image.to_string() });
    };
    let resolved = registry.resolve(image, credentials.as_ref()).await;
    let named = |source| ObserveError::Registry { image: image.to_string(), source };
    resolved.map(Some).map_err(named)
}

async fn catalogue(
    context: &Context<'_>,
    wanted: &Wanted,
    state: &State,
    droplets: &BTreeMap<DropletId, Droplet>,
) -> Result<Option<Catalogue>, ObserveError> {
    let Need::IfMissing { workers, load_balancer, sizes, images } = &wanted.catalogue else {
        return Ok(None);
    };
    let there = |address: &Address| {
        let droplet = state.droplet(address).and_then(|droplet| droplets.get(&droplet.id));
        droplet.is_some_and(|droplet| sizes.contains(&droplet.size))
    };
    let workers_there = (1..=*workers).all(|number| there(&Address::Worker(number)));
    if workers_there && (!load_balancer || there(&Address::LoadBalancer)) {
        return Ok(None);
    }
    let images: BTreeSet<&str> = images.iter().map(String::as_str).collect();
    let images = stream::iter(images).map(async |slug| {
        let image = absent(context.cloud.base_image(slug).await);
        Ok((slug.to_owned(), cloud(format!("the base image {slug}"))(image)?))
    });
    let account = context.cloud.account().map(|account| match account {
        Ok(account) => Ok(Some(account)),
        Err(CloudError::Forbidden { .. }) => Ok(None),
        Err(source) => Err(ObserveError::Cloud { what: "the account's limits".to_owned(), source }),
    });
    let (sizes, images, account) = try_join!(
        context.cloud.sizes().map(cloud("the sizes on offer")),
        images.buffered(context.parallelism.max(1)).try_collect(),
        account,
    )?;
    let sizes = sizes.into_iter().map(|size| (size.slug.clone(), size)).collect();
    // At least the stack's own: what that is too much for, the account refuses for certain.
    let droplets_in_account = Some(droplets.len() as u64);
    Ok(Some(Catalogue { sizes, images, account, droplets_in_account }))
}

async fn hosts(
    context: &Context<'_>,
    wanted: &Wanted,
    state: &State,
    droplets: &BTreeMap<DropletId, Droplet>,
) -> BTreeMap<DropletId, HostSeen> {
    let Some(host) = context.host.filter(|_| wanted.hosts) else {
        let why =
            if wanted.hosts { "there is no `ssh` in the spec" } else { "it was not asked for" };
        let unseen = |id: &DropletId| (*id, HostSeen::NotObserved { why: why.to_owned() });
        return droplets.keys().map(unseen).collect();
    };
    let looked = stream::iter(droplets.values()).map(async |droplet| {
        let looked = tokio::time::timeout(HOST_DEADLINE, look(context, host, state, droplet));
        let seen = looked.await.unwrap_or_else(|_| HostSeen::NotObserved {
            why: format!("it did not answer within {} s", HOST_DEADLINE.as_secs()),
        });
        (droplet.id, seen)
    });
    looked.buffer_unordered(HOSTS_AT_A_TIME).collect().await
}

async fn look(
    context: &Context<'_>,
    host: &dyn Host,
    state: &State,
    droplet: &Droplet,
) -> HostSeen {
    let unseen = |why: String| HostSeen::NotObserved { why };
    let named = names::address_of(context.stack, &droplet.name);
    let Some(address) = state.address_of(droplet.id).cloned().or(named) else {
        return unseen("it stands for no address of the stack".to_owned());
    };
    let Some(ipv4) = droplet.public_ipv4.filter(|_| droplet.status == DropletStatus::Active) else {
        return unseen("it is not running".to_owned());
    };
    let pinned = state.droplet(&address).filter(|known| known.id == droplet.id);
    let mut target = Target {
        address: ipv4,
        host_key: pinned.and_then(|known| known.host_key.clone()),
        next_host_key: pinned.and_then(|known| known.next_host_key.clone()),
    };
    let was_ready = pinned.is_some_and(|known| known.ready);
    let service = if address == Address::LoadBalancer { Service::Haproxy } else { Service::Docker };
    let seen = async {
        if target.host_key.is_none() || !was_ready {
            let contact = host.contact(&target, service).await?;
            if contact.boot != Boot::Ready {
                return Ok(unseen("its first boot has not ended".to_owned()));
            }
            target.host_key = Some(contact.host_key);
        }
        let Some(host_key) = target.host_key.clone() else {
            return Ok(unseen("it has shown no host key".to_owned()));
        };
        Ok::<_, HostError>(match service {
            Service::Docker => {
                let containers = host.containers(&target, context.stack).await?;
                HostSeen::Worker { host_key, containers }
            }
            Service::Haproxy => {
                HostSeen::LoadBalancer { host_key, balancing: host.balancing(&target).await? }
            }
        })
    };
    seen.await.unwrap_or_else(|error| unseen(error.to_string()))
}

/// Says what was looked at.
fn cloud<T>(
    what: impl Into<String>,
) -> impl FnOnce(Result<T, CloudError>) -> Result<T, ObserveError> {
    move |result| result.map_err(|source| ObserveError::Cloud { what: what.into(), source })
}

/// Not found is an answer.
fn absent<T>(result: Result<T, CloudError>) -> Result<Option<T>, CloudError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(CloudError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

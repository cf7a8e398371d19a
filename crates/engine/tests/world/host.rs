//! The droplets' side of the world.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use async_trait::async_trait;
use seachange_core::host::{
    Balancing, Boot, Contact, Container, ContainerSpec, ContainerState, Credentials, FirstHostKey,
    Host, HostError, HostKey, Installed, Probe, ProbeOutcome, PullProgress, Route, Service, Target,
};
use seachange_core::image::{Digest, ImageRef};
use seachange_core::secret::Secret;
use tokio::time::Instant;

use super::{ADDRESS, BOOT, READY, World};

impl World {
    /// The droplet at an address, if SSH answers there.
    fn reach(&self, target: &Target) -> Result<Instant, HostError> {
        let mut inner = self.inner();
        inner.settle();
        let refused = || HostError::Unreachable {
            address: target.address,
            detail: "connection refused".to_owned(),
        };
        let (_, born, _) = inner.droplet_at(target.address).ok_or_else(refused)?;
        Ok(*born + BOOT + ADDRESS)
    }

    /// The key that a droplet shows.
    fn shown(&self, target: &Target) -> HostKey {
        if self.inner().impostor {
            return HostKey("ssh-ed25519 stranger".to_owned());
        }
        let first = !self.inner().own_keys.contains(&target.address);
        if first { self.first_host_key().public } else { own_key(target.address) }
    }
}

fn own_key(address: Ipv4Addr) -> HostKey {
    HostKey(format!("ssh-ed25519 {address}"))
}

#[async_trait]
impl Host for World {
    fn first_host_key(&self) -> FirstHostKey {
        FirstHostKey {
            public: HostKey("ssh-ed25519 first".to_owned()),
            private: Secret::new("the first key's private half"),
        }
    }

    async fn next_host_key(&self, target: &Target) -> Result<HostKey, HostError> {
        self.reach(target)?;
        Ok(own_key(target.address))
    }

    async fn use_next_host_key(&self, target: &Target) -> Result<(), HostError> {
        self.reach(target)?;
        self.inner().own_keys.insert(target.address);
        Ok(())
    }

    async fn contact(&self, target: &Target, _: Service) -> Result<Contact, HostError> {
        let up = self.reach(target)?;
        let boot = if Instant::now() >= up + READY {
            Boot::Ready
        } else {
            Boot::Running { detail: "modules-final".to_owned() }
        };
        let host_key = self.shown(target);
        if !target.accepts(&host_key) {
            let HostKey(expected) = target.host_key.clone().unwrap_or(HostKey(String::new()));
            let (address, HostKey(observed)) = (target.address, host_key);
            return Err(HostError::WrongHostKey { address, expected, observed });
        }
        Ok(Contact { host_key, boot })
    }

    async fn containers(&self, target: &Target, _: &str) -> Result<Vec<Container>, HostError> {
        self.reach(target)?;
        Ok(self.inner().containers.get(&target.address).cloned().into_iter().collect())
    }

    async fn pull(
        &self,
        target: &Target,
        _: &ImageRef,
        _: &Digest,
        _: Option<&Credentials>,
        progress: PullProgress<'_>,
    ) -> Result<(), HostError> {
        self.reach(target)?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        progress(100, Some(100));
        Ok(())
    }

    async fn ensure_container(
        &self,
        target: &Target,
        spec: &ContainerSpec,
    ) -> Result<Container, HostError> {
        self.reach(target)?;
        let changed = self
            .change(format!("container {}", spec.digest.short()), |inner| {
                let ipv4 = target.address;
                let same = inner.containers.get(&ipv4).is_some_and(|there| {
                    there.labels["digest"] == spec.labels["digest"]
                        && there.labels["config"] == spec.labels["config"]
                });
                let live = inner.ips.values().find_map(|(live, _)| *live);
                let at = inner.droplet_at(ipv4).map(|(droplet, ..)| droplet.id);
                if live == at && inner.containers.contains_key(&ipv4) && !same {
                    inner.violations.push("the live container was replaced".to_owned());
                }
                let state = if inner.crashing.contains(spec.digest.as_str()) {
                    ContainerState::Exited { code: 137 }
                } else {
                    ContainerState::Running
                };
                let container = Container {
                    id: "c".to_owned(),
                    name: spec.name.clone(),
                    state,
                    labels: spec.labels.clone(),
                    created_at: None,
                };
                inner.containers.insert(ipv4, container.clone());
                Ok(container)
            })
            .await;
        changed.map_err(|error| HostError::Failed {
            address: target.address,
            operation: "ensure".to_owned(),
            detail: error.to_string(),
        })
    }

    async fn logs(&self, _: &Target, _: &str, _: usize) -> Result<Vec<String>, HostError> {
        Ok(vec!["out of memory".to_owned()])
    }

    async fn remove_container(&self, _: &Target, _: &str) -> Result<(), HostError> {
        Ok(())
    }

    async fn balancing(&self, _: &Target) -> Result<Balancing, HostError> {
        Ok(Balancing::default())
    }

    async fn install_config(&self, target: &Target, text: &str) -> Result<Installed, HostError> {
        self.reach(target)?;
        let before = self.inner().configs.insert(target.address, text.to_owned());
        Ok(if before.as_deref() == Some(text) { Installed::AlreadySo } else { Installed::Changed })
    }

    async fn detour(&self, target: &Target, _: Option<SocketAddrV4>) -> Result<u64, HostError> {
        self.reach(target).map(|_| 0)
    }

    async fn probe(&self, probe: &Probe) -> ProbeOutcome {
        tokio::time::sleep(Duration::from_millis(3)).await;
        let mut inner = self.inner();
        inner.settle();
        let (ipv4, outside) = match &probe.route {
            Route::Container { target, .. } => (Some(target.address), false),
            Route::Public { .. } => {
                let live = inner.ips.values().find_map(|(live, _)| *live);
                let droplet = live.and_then(|live| inner.droplets.get(&live));
                (droplet.and_then(|(droplet, ..)| droplet.public_ipv4), true)
            }
        };
        let refused = ProbeOutcome::NoAnswer { detail: "connection refused".to_owned() };
        let Some(container) = ipv4.and_then(|ipv4| inner.containers.get(&ipv4)) else {
            return refused;
        };
        if container.state != ContainerState::Running {
            return refused;
        }
        let took = Duration::from_millis(3);
        let digest = container.labels["digest"].clone();
        inner.probes += 1;
        let status = match outside {
            true if inner.broken_outside.contains(&digest) => 502,
            false if inner.flapping && inner.probes.is_multiple_of(3) => 503,
            _ => 200,
        };
        ProbeOutcome::Answer { status, body: digest, took }
    }

    async fn forget(&self, _: Ipv4Addr) {}
}

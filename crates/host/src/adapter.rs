//! The droplets as [`Host`]: each method is one function of the modules beside.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use async_trait::async_trait;
use seachange_core::host::{
    Balancing, Contact, Container, ContainerSpec, Credentials, FirstHostKey, Host, HostError,
    HostKey, Installed, Probe, ProbeOutcome, PullProgress, Service, Target,
};
use seachange_core::image::{Digest, ImageRef};

use crate::engine::{Engine, containers, logs, pull};
use crate::ssh::keys::KeyError;
use crate::ssh::{Config, Ssh};
use crate::{boot, haproxy, host_key, probe};

/// All droplets of a stack, over SSH. Connections are kept until [`Host::forget`] or the end of this value.
pub struct SshHost {
    ssh: Ssh,
}

impl SshHost {
    /// Reads and checks the private key; connects nowhere. An agent is asked at the first connection.
    pub fn new(config: Config) -> Result<Self, KeyError> {
        Ok(Self { ssh: Ssh::new(config)? })
    }

    fn engine<'a>(&'a self, target: &'a Target) -> Engine<'a> {
        Engine { ssh: &self.ssh, target }
    }
}

impl fmt::Debug for SshHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshHost").field("config", &self.ssh.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl Host for SshHost {
    fn first_host_key(&self) -> FirstHostKey {
        host_key::first()
    }

    async fn next_host_key(&self, target: &Target) -> Result<HostKey, HostError> {
        host_key::make_next(&self.ssh, target).await
    }

    async fn use_next_host_key(&self, target: &Target) -> Result<(), HostError> {
        host_key::use_next(&self.ssh, target).await
    }

    async fn contact(&self, target: &Target, service: Service) -> Result<Contact, HostError> {
        boot::contact(&self.ssh, target, service).await
    }

    async fn containers(&self, target: &Target, stack: &str) -> Result<Vec<Container>, HostError> {
        containers::list(self.engine(target), stack).await
    }

    async fn pull(
        &self,
        target: &Target,
        image: &ImageRef,
        digest: &Digest,
        credentials: Option<&Credentials>,
        progress: PullProgress<'_>,
    ) -> Result<(), HostError> {
        pull::pull(self.engine(target), image, digest, credentials, progress).await
    }

    async fn ensure_container(
        &self,
        target: &Target,
        spec: &ContainerSpec,
    ) -> Result<Container, HostError> {
        containers::ensure(self.engine(target), spec).await
    }

    async fn logs(
        &self,
        target: &Target,
        container: &str,
        lines: usize,
    ) -> Result<Vec<String>, HostError> {
        logs::tail(self.engine(target), container, lines).await
    }

    async fn remove_container(&self, target: &Target, container: &str) -> Result<(), HostError> {
        containers::remove(self.engine(target), container).await
    }

    async fn balancing(&self, target: &Target) -> Result<Balancing, HostError> {
        haproxy::look(&self.ssh, target).await
    }

    async fn install_config(&self, target: &Target, text: &str) -> Result<Installed, HostError> {
        haproxy::install(&self.ssh, target, text).await
    }

    async fn detour(&self, target: &Target, to: Option<SocketAddrV4>) -> Result<u64, HostError> {
        haproxy::detour(&self.ssh, target, to).await
    }

    async fn probe(&self, probe: &Probe) -> ProbeOutcome {
        probe::probe(&self.ssh, probe).await
    }

    async fn forget(&self, address: Ipv4Addr) {
        self.ssh.forget(address).await;
    }
}

//! The boundary to the droplets and their containers: what a host can be asked and told.
//!
//! Every call names its [`Target`]; connections are the implementation's own affair and may be kept between calls.
//! No call waits for a host to become ready or for an app to become healthy: it answers with what it saw, and the
//! engine decides whether to ask again. Nothing secret is ever put on the host's disk or in an argument list.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::image::{Digest, ImageRef};
use crate::secret::Secret;

/// A host's public key, one line as in `known_hosts`: algorithm and base64.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct HostKey(pub String);

/// The key pair a droplet shows at the first contact. It goes in by user-data, which others can read, so it is
/// replaced before anything relies on it for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstHostKey {
    /// What is pinned.
    pub public: HostKey,
    /// The private half, in OpenSSH's format. It is in memory and in the create request, and nowhere else.
    pub private: Secret,
}

/// Where a host is and which key it must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Public address.
    pub address: Ipv4Addr,
    /// The pinned key; `None` only for the first contact with a droplet that was adopted by its mark alone.
    pub host_key: Option<HostKey>,
    /// The key that is about to replace the pinned one, or has done so already: it is as good.
    pub next_host_key: Option<HostKey>,
}

impl Target {
    /// The keys the host may show, the pinned one first; without any it is trusted with whatever it shows.
    pub fn host_keys(&self) -> impl Iterator<Item = &HostKey> {
        self.host_key.iter().chain(&self.next_host_key)
    }

    /// Whether the host may show this key.
    pub fn accepts(&self, shown: &HostKey) -> bool {
        self.host_key.is_none() || self.host_keys().any(|key| key == shown)
    }
}

/// How far the first boot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// cloud-init is at work.
    Running {
        /// What it does, if it says.
        detail: String,
    },
    /// cloud-init has ended well and the service the droplet is for (Docker, HAProxy) answers.
    Ready,
    /// cloud-init ended in an error. Final.
    Failed {
        /// Its own words.
        detail: String,
    },
}

/// What a contact showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The key the host showed; to be pinned.
    pub host_key: HostKey,
    /// How far the first boot is.
    pub boot: Boot,
}

/// Which service makes a droplet ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Docker Engine, on workers.
    Docker,
    /// HAProxy, on the load balancer.
    Haproxy,
}

/// How a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Created, never started.
    Created,
    /// Running.
    Running,
    /// Being restarted by its policy.
    Restarting,
    /// Ended.
    Exited {
        /// Its exit code.
        code: i64,
    },
    /// Any other word of the engine (`paused`, `dead`, `removing`).
    Other(String),
}

/// A container of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Engine's id.
    pub id: String,
    /// Name, without the leading slash.
    pub name: String,
    /// How it is.
    pub state: ContainerState,
    /// Labels under `seachange.`, without that prefix: `stack`, `release`, `image`, `digest`, `config`.
    pub labels: std::collections::BTreeMap<String, String>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
}

/// A container to run. The environment may hold secrets; it goes to the Engine API only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Name, such as `webgui`.
    pub name: String,
    /// Repository the digest belongs to.
    pub image: ImageRef,
    /// What exactly to run.
    pub digest: Digest,
    /// Environment.
    pub env: Vec<(String, Secret)>,
    /// Published port: the same number outside (on all addresses) and inside.
    pub port: u16,
    /// Labels without the `seachange.` prefix.
    pub labels: std::collections::BTreeMap<String, String>,
    /// How long a stopping container may take before it is killed.
    pub stop_timeout: Duration,
}

/// User name and password of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: Secret,
    /// Password or token.
    pub password: Secret,
}

/// Where a probe goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Straight to the container's published port, from the droplet itself, through SSH.
    Container {
        /// The droplet.
        target: Target,
        /// The port.
        port: u16,
    },
    /// From here, as a user's request would go.
    Public {
        /// Address to connect to (floating IP or load balancer).
        address: Ipv4Addr,
        /// Port to connect to.
        port: u16,
        /// Host header, if the app is asked for by a domain.
        domain: Option<String>,
    },
}

/// One HTTP GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Where it goes.
    pub route: Route,
    /// Path and query.
    pub path: String,
    /// How long it may take.
    pub timeout: Duration,
}

/// What a probe saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// An HTTP answer.
    Answer {
        /// Its status.
        status: u16,
        /// Its first 4 KiB.
        body: String,
        /// How long it took.
        took: Duration,
    },
    /// No HTTP answer.
    NoAnswer {
        /// Why, in words (`connection refused`, `timed out after 2s`).
        detail: String,
    },
}

/// What [`Host::install_config`] found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// The file had the content already; nothing was reloaded.
    AlreadySo,
    /// The file was replaced and the service reloaded.
    Changed,
}

/// Progress of a pull: bytes so far and in all, as far as known.
pub type PullProgress<'a> = &'a (dyn Fn(u64, Option<u64>) + Send + Sync);

/// What went wrong with a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Not reachable (yet): refused, no route, timed out, closed during the handshake. Try again within a bound.
    #[error("{address} cannot be reached over SSH: {detail}")]
    Unreachable {
        /// The host's address.
        address: Ipv4Addr,
        /// What was seen.
        detail: String,
    },
    /// The host shows another key than the pinned one. Final; nothing was sent.
    #[error(
        "{address} shows another host key than the one recorded: expected {expected}, got {observed}"
    )]
    WrongHostKey {
        /// The host's address.
        address: Ipv4Addr,
        /// SHA-256 fingerprint of the pinned key.
        expected: String,
        /// SHA-256 fingerprint of the shown key.
        observed: String,
    },
    /// The host accepts none of our keys. Final.
    #[error("{address} accepts none of the SSH keys offered ({offered})")]
    AuthenticationRefused {
        /// The host's address.
        address: Ipv4Addr,
        /// Fingerprints of the keys offered, or why there are none.
        offered: String,
    },
    /// The registry has no such image, or not for these credentials. Final.
    #[error("the host cannot pull {image}: {detail}")]
    PullFailed {
        /// The image.
        image: String,
        /// The engine's words.
        detail: String,
    },
    /// A new configuration was refused by the service's own check; the old one is untouched.
    #[error("{path} was refused by its own check, the old file is in place: {detail}")]
    ConfigRefused {
        /// Path on the host.
        path: String,
        /// The check's words.
        detail: String,
    },
    /// A command, file operation or engine call failed.
    #[error("{address}: {operation} failed: {detail}")]
    Failed {
        /// The host's address.
        address: Ipv4Addr,
        /// What was tried.
        operation: String,
        /// What was seen. Holds no secret.
        detail: String,
    },
}

/// How a load balancer is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Balancing {
    /// SHA-256 (hex) of its haproxy.cfg; `None` if there is no file.
    pub config: Option<String>,
    /// Users may be sent round the floating IP: [`Host::detour`].
    pub detour: bool,
}

/// All hosts of a stack, reached over SSH.
#[async_trait]
pub trait Host: Send + Sync {
    /// A new key pair for the droplets of one create request to show at the first contact. Asks nobody.
    fn first_host_key(&self) -> FirstHostKey;
    /// Makes a key pair on the host, beside the one in use, unless there is one already; answers its public half.
    /// Dead in between: nothing, or a pair that the next call answers. What the host shows is as before.
    async fn next_host_key(&self, target: &Target) -> Result<HostKey, HostError>;
    /// Makes the host show the key made by [`Host::next_host_key`] and no other, and forgets kept connections.
    /// Harmless twice. Dead in between: the host shows one of the two, and the next call goes on from there.
    async fn use_next_host_key(&self, target: &Target) -> Result<(), HostError>;
    /// One attempt to contact the host and to see how far it is. Changes nothing.
    async fn contact(&self, target: &Target, service: Service) -> Result<Contact, HostError>;
    /// The stack's containers, running or not, newest first. Changes nothing.
    async fn containers(&self, target: &Target, stack: &str) -> Result<Vec<Container>, HostError>;
    /// Pulls exactly this digest. Harmless twice; a digest that is there costs one look.
    async fn pull(
        &self,
        target: &Target,
        image: &ImageRef,
        digest: &Digest,
        credentials: Option<&Credentials>,
        progress: PullProgress<'_>,
    ) -> Result<(), HostError>;
    /// Makes the named container the one specified: an equal running one (labels `digest` and `config`) is left, an
    /// equal stopped one is started, any other of that name is stopped, removed and replaced. Dead in between: no
    /// container, or a created one; the next call goes on from there. Answers the container as it is now.
    async fn ensure_container(
        &self,
        target: &Target,
        spec: &ContainerSpec,
    ) -> Result<Container, HostError>;
    /// The last lines a container wrote, oldest first.
    async fn logs(
        &self,
        target: &Target,
        container: &str,
        lines: usize,
    ) -> Result<Vec<String>, HostError>;
    /// Stops and removes a container. An absent one is success.
    async fn remove_container(&self, target: &Target, container: &str) -> Result<(), HostError>;
    /// How the load balancer is configured. Changes nothing.
    async fn balancing(&self, target: &Target) -> Result<Balancing, HostError>;
    /// Puts the whole haproxy.cfg in place: written beside, checked by HAProxy itself, moved over, reloaded (never
    /// restarted). Dead in between: the old or the new file, never a part; the next call reloads if in doubt.
    async fn install_config(&self, target: &Target, text: &str) -> Result<Installed, HostError>;
    /// Sends new requests that come to the load balancer straight to this address (`Some`), or to the floating IP as ever
    /// (`None`), and tells how many are in flight by way of the floating IP, those included that a process from before a
    /// reload still has. Those under way stay where they are. Harmless twice. A detour ends with a reload or a restart; while
    /// one is taken [`Balancing::detour`] says so and the next [`Host::install_config`] reloads, so that a run that died
    /// meanwhile leaves nothing that the next one does not see.
    async fn detour(&self, target: &Target, to: Option<SocketAddrV4>) -> Result<u64, HostError>;
    /// One GET. A failing host is an outcome, not an error.
    async fn probe(&self, probe: &Probe) -> ProbeOutcome;
    /// Forgets kept connections to the address (the droplet was replaced).
    async fn forget(&self, address: Ipv4Addr);
}

/// Why an image could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The registry answers that there is no such image.
    #[error("{image} is not in the registry: {detail}")]
    NotFound {
        /// The image.
        image: String,
        /// The registry's words.
        detail: String,
    },
    /// The credentials are missing or wrong.
    #[error("the registry refuses the login for {image}: {detail}")]
    Refused {
        /// The image.
        image: String,
        /// The registry's words.
        detail: String,
    },
    /// The registry cannot be reached or fails.
    #[error("the registry of {image} cannot be reached: {detail}")]
    Unavailable {
        /// The image.
        image: String,
        /// What was seen.
        detail: String,
    },
}

/// An image registry, read side.
#[async_trait]
pub trait Registry: Send + Sync {
    /// The digest the reference stands for now. One or two requests; changes nothing.
    async fn resolve(
        &self,
        image: &ImageRef,
        credentials: Option<&Credentials>,
    ) -> Result<Digest, RegistryError>;
}

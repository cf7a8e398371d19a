//! Droplets as containers: real systemd, cloud-init, OpenSSH, Docker Engine and HAProxy behind the same world.
//!
//! The world decides as always; this driver keeps a Docker Engine and the kernel's address translation in step with it, as
//! [`crate::doors`] keeps its sockets. A droplet is a container of the image [`IMAGE`] that boots by itself and is handed its
//! user-data and keys by cloud-init's NoCloud source, on a bridge of its own; a floating IP is a DNAT rule. Everything
//! has a fixed name, so that one set of it exists on a machine and whatever an earlier one left can be taken away.
//!
//! Needs root, a running Docker Engine, and the programs named in `docker/programs.rs`; `tests/lab/setup` installs them.

mod droplet;
mod janitor;
mod network;
mod programs;

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::world::{Addresses, World};
use janitor::Janitor;
pub use network::InStep;
use programs::command;

/// The image that droplets are made of.
pub const IMAGE: &str = "seachange-lab/droplet";
/// The first droplet and the first reserved IP. RFC 2544 keeps 198.18.0.0/15 for tests of networks.
pub const ADDRESSES: Addresses = Addresses {
    droplets: Ipv4Addr::new(198, 18, 0, 10),
    // On the same bridge, where nobody has them: what is sent there does not leave this machine.
    private: Ipv4Addr::new(198, 18, 128, 10),
    reserved: Ipv4Addr::new(198, 19, 0, 10),
};
/// The host as droplets see it; the image registry is here.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Leads this machine's own Docker Engine to the registry: on loopback it speaks plain HTTP without being told to.
const LOOPBACK: Ipv4Addr = Ipv4Addr::new(127, 198, 18, 1);
/// The registry as droplets and specs call it.
pub const REGISTRY: &str = "registry.lab:5000";
const REGISTRY_PORT: u16 = 5_000;
/// The registry listens within a second, or not at all.
const REGISTRY_PATIENCE: Duration = Duration::from_secs(15);

/// Why no droplets can be had.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// Not root.
    #[error("containers with systems in them need root, and this process runs as user {user}")]
    NotRoot {
        /// Who it runs as.
        user: u32,
    },
    /// One world at a time.
    #[error("another process has droplets in containers on this machine")]
    InUse,
    /// Programs are missing.
    #[error("needed and not found: {programs}")]
    Missing {
        /// All of them, with the packages they come in.
        programs: String,
    },
    /// Nobody answers behind `docker`.
    #[error("no Docker Engine answers: {detail}")]
    NoEngine {
        /// What `docker` says.
        detail: String,
    },
    /// Nothing to make droplets of.
    #[error("the Docker Engine has no image {IMAGE}, of which droplets are made")]
    NoImage,
    /// The kernel's memory of connections cannot be changed.
    #[error("connections to an address that moves cannot be cut: {detail}")]
    NoTracking {
        /// What `conntrack` says.
        detail: String,
    },
    /// A program that is there does not run.
    #[error("{program} cannot be run")]
    NotRun {
        /// Its name.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A file or folder of ours cannot be changed.
    #[error("{path} cannot be changed")]
    File {
        /// Its path.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A command failed.
    #[error("{command} failed: {detail}")]
    Failed {
        /// The command.
        command: String,
        /// Its words.
        detail: String,
    },
    /// Somebody else listens where the image registry should.
    #[error("the image registry cannot listen at {GATEWAY}:{REGISTRY_PORT}")]
    PortTaken {
        /// Why not.
        source: std::io::Error,
    },
    /// Nobody listens where the image registry should.
    #[error("docker-registry was started and does not answer at {GATEWAY}:{REGISTRY_PORT}")]
    NoRegistry {
        /// What it wrote last.
        #[source]
        said: LastWords,
    },
}

/// What a program wrote before it ended.
#[derive(Debug, thiserror::Error)]
#[error("{file} ends with: {line}")]
pub struct LastWords {
    file: String,
    line: String,
}

/// A world's droplets. They end with this value, with [`Droplets::shutdown`], and with the process, however it ends.
#[derive(Debug)]
pub struct Droplets {
    in_step: InStep,
    tasks: JoinSet<()>,
    janitor: Janitor,
}

impl Droplets {
    /// Where the image registry is.
    pub fn registry_url() -> String {
        format!("http://{GATEWAY}:{REGISTRY_PORT}")
    }

    /// What this machine's Docker Engine calls it, to push to.
    pub fn local_registry() -> String {
        format!("{LOOPBACK}:{REGISTRY_PORT}")
    }

    /// Tells when floating IPs point where the world says.
    pub fn in_step(&self) -> InStep {
        self.in_step.clone()
    }

    /// Returns when they do.
    pub async fn settle(&self) {
        if let Err(error) = self.in_step.wait().await {
            tracing::error!(%error, "reserved IPs do not point where they should");
        }
    }

    /// Removes all containers, the bridge and the rules. Returns when they are gone.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
        self.janitor.dismiss().await;
    }
}

/// Makes the network and keeps droplets and addresses in step with the world. Droplets of an earlier process ended with
/// it, so the world forgets them. The folder keeps images and what the registry writes.
pub async fn start(world: Arc<World>, folder: &Path) -> Result<Droplets, DockerError> {
    programs::check().await?;
    let mut janitor = Janitor::call(folder).await?;
    let mut tasks = JoinSet::new();
    if let Err(error) = prepare(folder, &mut janitor, &mut tasks).await {
        janitor.dismiss().await;
        return Err(error);
    }
    for droplet in world.blueprints() {
        world.lose(droplet.id);
    }
    tasks.spawn(droplet::keep_all(Arc::clone(&world), folder.join(janitor::SEEDS)));
    let (progress, in_step) = InStep::of(Arc::clone(&world));
    tasks.spawn(network::keep_addresses(world, folder.join(TABLE), progress));
    Ok(Droplets { in_step, tasks, janitor })
}

/// The rules in force, below the world's folder.
const TABLE: &str = "translation";

async fn prepare(
    folder: &Path,
    janitor: &mut Janitor,
    tasks: &mut JoinSet<()>,
) -> Result<(), DockerError> {
    network::create(&folder.join(TABLE)).await?;
    // Whoever else listens there would be taken for ours.
    let free = TcpListener::bind((GATEWAY, REGISTRY_PORT)).await;
    drop(free.map_err(|source| DockerError::PortTaken { source })?);
    let ended = janitor.open_registry().await?;
    let log = folder.join(janitor::REGISTRY_LOG);
    let mut ended = Box::pin(ended);
    tokio::select! {
        () = listening() => {}
        () = &mut ended => return Err(no_registry(&log)),
        () = tokio::time::sleep(REGISTRY_PATIENCE) => return Err(no_registry(&log)),
    }
    tasks.spawn(async move {
        ended.await;
        tracing::error!(error = %no_registry(&log), "no more images: the image registry has ended");
    });
    Ok(())
}

async fn listening() {
    while TcpStream::connect((GATEWAY, REGISTRY_PORT)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn no_registry(log: &Path) -> DockerError {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let line = text.trim_end().lines().next_back().unwrap_or("nothing").to_owned();
    DockerError::NoRegistry { said: LastWords { file: log.display().to_string(), line } }
}

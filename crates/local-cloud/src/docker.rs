//! Droplets as containers: real systemd, cloud-init, OpenSSH, Docker Engine and HAProxy behind the same world.
//!
//! The world decides as always; this driver keeps a Docker Engine and the kernel's address translation in step with it, as
//! [`crate::doors`] keeps its sockets. A droplet is a container of the image [`IMAGE`] that boots by itself and is handed its
//! user-data and keys by cloud-init's NoCloud source, on a bridge of its own; a floating IP is a DNAT rule. Everything
//! has a fixed name, so that one set of it exists on a machine and whatever an earlier one left can be taken away.
//!
//! Needs root, a running Docker Engine, `iptables`, `conntrack`, `ip` and `docker-registry`; `tests/lab/setup` installs them.

mod droplet;
mod janitor;
mod network;

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::world::{Addresses, World};
use janitor::Janitor;
use network::Rules;

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
    /// One world at a time.
    #[error("another process has droplets in containers on this machine")]
    InUse,
    /// A program is missing.
    #[error("{program} cannot be run")]
    Missing {
        /// Its name.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A file that others read cannot be written.
    #[error("{path} cannot be written")]
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
    /// Nobody listens where the image registry should.
    #[error("docker-registry does not answer at {GATEWAY}:{REGISTRY_PORT}: see {log}")]
    NoRegistry {
        /// What it wrote.
        log: String,
    },
}

/// A world's droplets. They end with this value, with [`Droplets::shutdown`], and with the process, however it ends.
#[derive(Debug)]
pub struct Droplets {
    world: Arc<World>,
    pointing: watch::Receiver<Rules>,
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

    /// Returns when floating IPs point where the world says.
    pub async fn settle(&self) {
        let mut pointing = self.pointing.clone();
        // It fails when nobody moves them any more, and then there is nothing to wait for.
        drop(pointing.wait_for(|now| *now == network::pointing(&self.world)).await);
    }

    /// Removes all containers, the bridge and the rules. Returns when they are gone.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
        self.janitor.dismiss().await;
    }
}

/// Makes the network and keeps droplets and addresses in step with the world. Droplets of an earlier process ended with
/// it, so the world forgets them. The folder keeps images, seeds and what the registry writes.
pub async fn start(world: Arc<World>, folder: &Path) -> Result<Droplets, DockerError> {
    let image = ["image", "inspect", "--format", "{{.Id}}", IMAGE];
    command("docker", image).await?;
    let mut janitor = Janitor::call(folder).await?;
    let prepared = async {
        network::create().await?;
        janitor.open_registry().await?;
        listening(folder).await
    };
    if let Err(error) = prepared.await {
        janitor.dismiss().await;
        return Err(error);
    }
    for droplet in world.blueprints() {
        world.lose(droplet.id);
    }
    let mut tasks = JoinSet::new();
    tasks.spawn(droplet::keep_all(Arc::clone(&world), folder.join("droplets")));
    let (moved, pointing) = watch::channel(Rules::new());
    tasks.spawn(network::keep_addresses(Arc::clone(&world), moved));
    Ok(Droplets { world, pointing, tasks, janitor })
}

async fn listening(folder: &Path) -> Result<(), DockerError> {
    let asked = async {
        while TcpStream::connect((GATEWAY, REGISTRY_PORT)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let log = folder.join(janitor::REGISTRY_LOG).display().to_string();
    let waited = tokio::time::timeout(REGISTRY_PATIENCE, asked).await;
    waited.map_err(|_| DockerError::NoRegistry { log })
}

/// Runs a command to its end; what it wrote.
async fn command<I, S>(program: &str, arguments: I) -> Result<String, DockerError>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    fed(program, arguments, "").await
}

/// The same, with a text on its standard input.
async fn fed<I, S>(program: &str, arguments: I, input: &str) -> Result<String, DockerError>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    let name = || {
        let words = command.as_std().get_args().take(2).map(OsStr::to_string_lossy);
        words.fold(program.to_owned(), |line, word| format!("{line} {word}"))
    };
    let name = name();
    let missing = |source| DockerError::Missing { program: program.to_owned(), source };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(missing)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that ends without reading says why on stderr.
        let _: std::io::Result<()> =
            tokio::io::AsyncWriteExt::write_all(&mut stdin, input.as_bytes()).await;
    }
    let Output { status, stdout, stderr } = child.wait_with_output().await.map_err(missing)?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).trim().to_owned());
    }
    let detail = String::from_utf8_lossy(&stderr).trim().to_owned();
    Err(DockerError::Failed { command: name, detail })
}

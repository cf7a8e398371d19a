//! All doors of one world, for `--local`, `seachange local serve`, and whoever wants a DigitalOcean on this machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use russh::keys::{Algorithm, HashAlg, PrivateKey, ssh_key::LineEnding};
use seachange_core::secret::Secret;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::docker::{self, DockerError};
use crate::doors::{self, Doors};
use crate::http::{self, Http, InStep};
use crate::join;
use crate::spaces::{self, Access, Spaces};
use crate::world::{Addresses, Limits, Races, StoreError, Timings, World, WorldConfig, account};

/// What droplets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Simulated, behind real protocols on loopback addresses.
    Simulated,
    /// Containers that boot a system of their own ([`crate::docker`]).
    Docker,
}

/// What to serve.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Where the world is kept.
    pub folder: PathBuf,
    /// Port of the API on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// What droplets are.
    pub driver: Driver,
    /// How long things take.
    pub timings: Timings,
    /// What happens at bad moments.
    pub races: Races,
    /// The account's limits.
    pub limits: Limits,
    /// 5,000 requests an hour and 250 a minute, as documented.
    pub rate_limits: bool,
    /// Fingerprints that shall count as keys of the account: the world's own key stands in for them.
    pub extra_key_fingerprints: Vec<String>,
}

impl ServeConfig {
    /// A quick world in a folder.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self {
            folder,
            port: 0,
            driver: Driver::Simulated,
            timings: Timings::quick(),
            races: Races::default(),
            limits: Limits::default(),
            rate_limits: false,
            extra_key_fingerprints: Vec::new(),
        }
    }
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The world cannot be kept there.
    #[error("the world cannot be kept")]
    Store(#[from] StoreError),
    /// No key could be made or read.
    #[error("the world's identity in {} cannot be read or made: {detail}", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why not.
        detail: String,
    },
    /// No loopback addresses or port free.
    #[error("cannot listen on {what}")]
    Listen {
        /// What was tried.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// No droplets in containers.
    #[error("droplets cannot be containers here")]
    Docker(#[from] DockerError),
}

/// What a world is for ever, besides what happens in it.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Identity {
    seed: u64,
    block: (u8, u8),
    pub(crate) token: String,
    pub(crate) ssh_private_key: String,
    // A world of before there were Spaces gets its keys when it is served again.
    #[serde(default = "spaces::Keys::random")]
    pub(crate) spaces: spaces::Keys,
}

/// A world being served.
#[derive(Debug)]
pub struct Serving {
    /// The API.
    pub api_url: String,
    /// The token it takes.
    pub token: Secret,
    /// The image registry, which answers for every registry host.
    pub registry_url: String,
    /// The key every droplet lets in.
    pub ssh_private_key: Secret,
    /// Its fingerprint in the account.
    pub ssh_fingerprint: String,
    /// Where its Spaces are, and the keys for them.
    pub spaces: Access,
    /// Added to ports below 1024.
    pub port_offset: u16,
    /// The world.
    pub world: Arc<World>,
    droplets: Droplets,
    http: Http,
    buckets: Spaces,
    turning: JoinHandle<()>,
    folder: PathBuf,
    _block: TcpListener,
}

impl Serving {
    /// Closes all doors, once other processes that joined have ended. The world is on disk already.
    pub async fn shutdown(self) {
        let _door = join::last_out(&self.folder).await;
        self.turning.abort();
        match self.droplets {
            Droplets::Simulated(doors) => doors.shutdown().await,
            Droplets::Docker(droplets) => droplets.shutdown().await,
        }
        drop((self.http, self.buckets));
    }
}

/// What keeps droplets in step with the world.
#[derive(Debug)]
enum Droplets {
    Simulated(Doors),
    Docker(docker::Droplets),
}

impl Droplets {
    async fn start(
        driver: Driver,
        world: &Arc<World>,
        folder: &Path,
    ) -> Result<(Self, Reached), ServeError> {
        let world = Arc::clone(world);
        match driver {
            Driver::Simulated => {
                let started = doors::start(world, doors::Config::default()).await;
                let doors = started.map_err(|source| ServeError::Listen {
                    what: "the registry's port".to_owned(),
                    source,
                })?;
                let registry_url = format!("http://{}", doors.registry());
                // Its sockets look up where an address points at each connection.
                let in_step = http::at_once();
                let reached = Reached { registry_url, port_offset: doors::PORT_OFFSET, in_step };
                Ok((Self::Simulated(doors), reached))
            }
            Driver::Docker => {
                let droplets = docker::start(world, folder).await?;
                let registry_url = docker::Droplets::registry_url();
                let known = droplets.in_step();
                let in_step: InStep = Arc::new(move || {
                    let known = known.clone();
                    Box::pin(async move { known.wait().await })
                });
                Ok((Self::Docker(droplets), Reached { registry_url, port_offset: 0, in_step }))
            }
        }
    }
}

/// How droplets and their images are reached.
struct Reached {
    registry_url: String,
    port_offset: u16,
    /// When what the world says is so.
    in_step: InStep,
}

/// Opens a folder's world and all its doors.
pub async fn serve(config: ServeConfig) -> Result<Serving, ServeError> {
    let folder = config.folder;
    let mut identity = Identity::default();
    let mut public_key = String::new();
    let unreadable =
        |detail: String| ServeError::Identity { path: folder.join("identity.json"), detail };
    // The folder is ours alone while the world is open, so the identity beside it has one writer.
    let world = World::kept(&folder, || {
        identity = read_identity(&folder)?;
        let key = PrivateKey::from_openssh(&identity.ssh_private_key)
            .map_err(|error| unreadable(error.to_string()))?;
        public_key =
            key.public_key().to_openssh().map_err(|error| unreadable(error.to_string()))?;
        let lent = config.extra_key_fingerprints.into_iter();
        Ok::<_, ServeError>(WorldConfig {
            seed: identity.seed,
            epoch: Timestamp::now(),
            timings: config.timings,
            races: config.races,
            spaces: spaces::Habits::default(),
            limits: config.limits,
            addresses: match config.driver {
                Driver::Simulated => Addresses::loopback(identity.block),
                Driver::Docker => docker::ADDRESSES,
            },
            rate_limits: config.rate_limits,
            token: Some(identity.token.clone()),
            lent_keys: lent.map(|fingerprint| (fingerprint, public_key.clone())).collect(),
        })
    })?;
    let block = claim(identity.block).await?;
    let ssh_fingerprint = account::fingerprint(&public_key).unwrap_or_default();
    if world.key(&ssh_fingerprint).is_err() {
        world
            .add_key("local-cloud", &public_key)
            .map_err(|refusal| unreadable(refusal.to_string()))?;
    }
    let listen = |what: String| move |source| ServeError::Listen { what, source };
    let api = SocketAddr::from((Ipv4Addr::LOCALHOST, config.port));
    let listener = TcpListener::bind(api).await.map_err(listen(api.to_string()))?;
    let (droplets, reached) = Droplets::start(config.driver, &world, &folder).await?;
    let Reached { registry_url, port_offset, in_step } = reached;
    let http = Http::behind(listener, Arc::clone(&world), in_step);
    let http = http.map_err(listen(api.to_string()))?;
    let keys = identity.spaces;
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let buckets = Spaces::open(Arc::clone(&world), folder.join("spaces"), keys.clone(), anywhere)
        .await
        .map_err(listen("a port for its Spaces".to_owned()))?;
    let turning = tokio::spawn(turn(Arc::clone(&world)));
    let api_url = format!("http://{}", http.address());
    let spaces = Access::new(format!("http://{}", buckets.address()), keys);
    let note = join::Note {
        process: std::process::id(),
        api_url: api_url.clone(),
        registry_url: registry_url.clone(),
        spaces_url: spaces.endpoint.clone(),
        port_offset,
    };
    join::invite(&folder, &note)
        .map_err(|error| unreadable(format!("cannot write beside it: {error}")))?;
    Ok(Serving {
        api_url,
        token: Secret::new(identity.token),
        registry_url,
        ssh_private_key: Secret::new(identity.ssh_private_key),
        ssh_fingerprint,
        spaces,
        port_offset,
        world,
        droplets,
        http,
        buckets,
        turning,
        folder,
        _block: block,
    })
}

/// Turns the world when something is due, so that the doors see it in time.
async fn turn(world: Arc<World>) {
    let mut changes = world.changes();
    loop {
        match world.turn() {
            Some(next) => tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                changed = changes.changed() => if changed.is_err() { return },
            },
            None => {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The world's identity, made if it is new; what this version adds to an older one is written down at once.
fn read_identity(folder: &Path) -> Result<Identity, ServeError> {
    let path = folder.join("identity.json");
    let failed = |detail: String| ServeError::Identity { path: path.clone(), detail };
    let known = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed(error.to_string())),
    };
    let identity = if known.is_empty() {
        let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519)
            .map_err(|error| failed(error.to_string()))?;
        let text =
            key.to_openssh(LineEnding::LF).map_err(|error| failed(error.to_string()))?.to_string();
        tracing::debug!(fingerprint = %key.fingerprint(HashAlg::Sha256), "a new world");
        let seed: u64 = rand::random();
        Identity {
            seed,
            block: free_block(seed, folder),
            token: format!("dop_v1_local{:016x}", rand::random::<u64>()),
            ssh_private_key: text,
            spaces: spaces::Keys::random(),
        }
    } else {
        serde_json::from_slice(&known).map_err(|error| failed(error.to_string()))?
    };
    let bytes = serde_json::to_vec(&identity).map_err(|error| failed(error.to_string()))?;
    if bytes != known {
        write_private(&path, &bytes).map_err(|error| failed(error.to_string()))?;
    }
    Ok(identity)
}

/// Replaces a file that only its owner can read.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let beside = path.with_extension("json.new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    std::fs::rename(beside, path)
}

/// A block of loopback addresses for a new world: one that no other world of this machine keeps, be it served at this moment or
/// not. 64 to 127 in the second place, every eighth below 128 in the third: room for 2,000 droplets each.
fn free_block(seed: u64, folder: &Path) -> (u8, u8) {
    let candidates = (0..1024_u64).map(|step| {
        let number = seed.wrapping_add(step.wrapping_mul(7919));
        (64 + (number % 64) as u8, ((number / 64) % 16) as u8 * 8)
    });
    let silent = |&(a, b): &(u8, u8)| {
        std::net::TcpListener::bind((Ipv4Addr::new(127, a, b, 1), BLOCK_PORT)).is_ok()
    };
    let mut free = candidates.filter(|block| silent(block) && reserve(*block, folder));
    free.next().unwrap_or((77, 0))
}

/// Writes down that this folder's world has the block, unless another world that still exists has it.
fn reserve((a, b): (u8, u8), folder: &Path) -> bool {
    let book = std::env::temp_dir().join("seachange-blocks");
    let page = book.join(format!("{a}-{b}"));
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let write = || {
        std::fs::create_dir_all(&book)?;
        std::io::Write::write_all(
            &mut std::fs::File::create_new(&page)?,
            folder.as_os_str().as_encoded_bytes(),
        )
    };
    let kept = std::fs::read_to_string(&page).is_ok_and(|text| Path::new(&text).exists());
    if kept {
        return false;
    }
    // Absent is fine: then nobody had it.
    let _: std::io::Result<()> = std::fs::remove_file(&page);
    write().is_ok()
}

/// Held while a block is served.
const BLOCK_PORT: u16 = 7_000;

async fn claim((a, b): (u8, u8)) -> Result<TcpListener, ServeError> {
    let address = SocketAddr::from((Ipv4Addr::new(127, a, b, 1), BLOCK_PORT));
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { what: format!("the block of {address}"), source })
}

#[cfg(test)]
mod tests {
    use super::read_identity;

    #[test]
    fn an_identity_of_before_there_were_spaces_gets_keys_and_keeps_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.json");
        let old = br#"{"seed":7,"block":[77,8],"token":"dop_v1_local7","ssh_private_key":"a key"}"#;
        std::fs::write(&path, old).unwrap();
        let first = read_identity(folder.path()).unwrap();
        assert_eq!((first.seed, first.block, first.token.as_str()), (7, (77, 8), "dop_v1_local7"));
        let again = read_identity(folder.path()).unwrap();
        let keys = |identity: &super::Identity| serde_json::to_value(&identity.spaces).unwrap();
        assert_eq!(keys(&first), keys(&again));
        assert!(keys(&first)["secret"].as_str().is_some_and(|secret| secret.len() > 32));
    }
}

//! The composition root: the only place that chooses which cloud, which hosts, which registry and which store.
//!
//! With `--local` the local cloud is started inside this process, or joined if another one serves it, and talked to over
//! its sockets, by the same client and with the same code as DigitalOcean would be.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use seachange_core::clock::Clock;
use seachange_core::secret::Secret;
use seachange_core::spec::{PrivateKey, Spec};
use seachange_digitalocean as digitalocean;
use seachange_engine::context::{AppSecrets, Caller, Context, Ids, Patience, Stop};
use seachange_engine::store::Log;
use seachange_host::{Dial, Keys, OciRegistry, RegistryConfig, SshHost};

use crate::checks::Processes;
use crate::env;
use crate::failure::{Context as _, Failure, Result};
use crate::output::Printer;
use crate::progress::Progress;
use crate::source::Source;
use crate::store::Place;
use crate::world::World;

/// DigitalOcean's API.
const DEFAULT_URL: &str = "https://api.digitalocean.com";
/// Where `--local` keeps its world.
pub(crate) const LOCAL_FOLDER: &str = ".seachange/local";

/// Everything a command about a stack works with.
pub(crate) struct Session {
    pub(crate) spec: Spec,
    pub(crate) log: Log,
    pub(crate) place: Place,
    cloud: digitalocean::Client,
    host: Option<SshHost>,
    registry: OciRegistry,
    progress: Progress,
    stop: Stop,
    ids: RandomIds,
    world: Option<World>,
}

/// Where things are and how to get in: DigitalOcean's account, or what the local cloud supplies instead.
struct Surroundings {
    api_url: String,
    token: Secret,
    keys: Option<Keys>,
    passphrase: Option<Secret>,
    mirror: Option<String>,
    dial: Dial,
    place: Place,
    world: Option<World>,
}

impl Session {
    /// Reads the spec's surroundings and opens what they name. No request is sent.
    pub(crate) async fn open(source: &Source, printer: Printer) -> Result<Self> {
        let spec = source.spec.clone();
        let surroundings = if source.local {
            locally(&spec, LOCAL_FOLDER.into()).await?
        } else {
            for_real(&spec)?
        };
        Self::assemble(spec, surroundings, printer)
    }

    /// The same on a local cloud in a folder of its own.
    pub(crate) async fn open_local(spec: Spec, folder: PathBuf, printer: Printer) -> Result<Self> {
        let surroundings = locally(&spec, folder).await?;
        Self::assemble(spec, surroundings, printer)
    }

    fn assemble(spec: Spec, surroundings: Surroundings, printer: Printer) -> Result<Self> {
        let Surroundings { api_url, token, keys, passphrase, mirror, dial, place, world } =
            surroundings;
        let cloud = {
            let mut config = digitalocean::Config::new(token);
            config.base_url = api_url;
            digitalocean::Client::new(config)
                .context(|| "cannot set up the API client".to_owned())?
        };
        let host = match (&spec.ssh, keys) {
            (Some(ssh), Some(keys)) => {
                let mut config = seachange_host::Config::new(keys);
                config.passphrase = passphrase;
                config.user.clone_from(&ssh.user);
                config.ssh_port = ssh.port;
                config.dial = dial;
                let host = SshHost::new(config).map_err(|error| {
                    Failure::of(&error)
                        .while_("the SSH private key of the spec cannot be used")
                        .help("ssh.private_key takes the text of an OpenSSH private key, { file: PATH }, or agent")
                })?;
                Some(host)
            }
            _ => None,
        };
        let registry = OciRegistry::new(RegistryConfig { mirror, ..RegistryConfig::default() })
            .context(|| "cannot set up the registry client".to_owned())?;
        let log = place.log(&spec.stack);
        let stop = Stop::new();
        heed_signals(stop.clone());
        Ok(Self {
            spec,
            log,
            place,
            cloud,
            host,
            registry,
            progress: Progress::new(printer),
            stop,
            ids: RandomIds,
            world,
        })
    }

    /// The context of a run.
    pub(crate) fn context(&self, parallelism: usize) -> Context<'_> {
        Context {
            stack: &self.spec.stack,
            cloud: &self.cloud,
            host: self.host.as_ref().map(|host| host as _),
            registry: Some(&self.registry),
            clock: &SystemClock,
            ids: &self.ids,
            listener: &self.progress,
            checks: &Processes,
            by: env::who(),
            parallelism,
            stop: self.stop.clone(),
            patience: self.patience(),
        }
    }

    /// How long to wait for what. The local cloud is quick, and answers at once.
    fn patience(&self) -> Patience {
        let mut patience = Patience::default();
        if self.world.is_some() {
            patience.poll_first = Duration::from_millis(50);
        }
        patience
    }

    /// What only a run needs to know of the app.
    pub(crate) fn secrets(&self) -> AppSecrets {
        let Some(app) = &self.spec.app else { return AppSecrets::default() };
        AppSecrets {
            env: app.environment(),
            registry: app.registry.clone(),
            checks: self.spec.deploy.verify.clone(),
        }
    }

    /// Requests sent to the API so far.
    pub(crate) fn requests(&self) -> u64 {
        seachange_core::cloud::Cloud::requests_sent(&self.cloud)
    }

    /// What the local cloud adds to ports below 1024, if there is one.
    pub(crate) fn port_offset(&self) -> Option<u16> {
        self.world.as_ref().map(World::port_offset)
    }

    /// Leaves the local cloud, if there is one, with its world on disk.
    pub(crate) async fn close(self) {
        if let Some(world) = self.world {
            world.leave().await;
        }
    }
}

fn for_real(spec: &Spec) -> Result<Surroundings> {
    let token = env::token().ok_or_else(|| {
        Failure::new(format!("no API token: neither {} nor {} is set", env::TOKEN, env::ACCESS_TOKEN)).help(format!(
            "export {}=… (cloud.digitalocean.com/account/api/tokens), or add --local to rehearse without an account",
            env::TOKEN
        ))
    })?;
    let place = Place::of(spec)?;
    let (keys, passphrase) = match &spec.ssh {
        None => (None, None),
        Some(ssh) => {
            let keys = match &ssh.private_key {
                PrivateKey::Text(text) => Keys::Text(text.clone()),
                PrivateKey::File(path) => Keys::File(expand_home(path)),
                PrivateKey::Agent => {
                    let socket = env::get(env::SSH_AUTH_SOCK).ok_or_else(|| {
                        Failure::new(format!("no SSH agent: {} is not set", env::SSH_AUTH_SOCK))
                            .help("start one (eval $(ssh-agent); ssh-add), or name a key: ssh.private_key: { file: ~/.ssh/id_ed25519 }")
                    })?;
                    Keys::Agent(socket.into())
                }
            };
            (Some(keys), ssh.passphrase.clone())
        }
    };
    let offset =
        env::get(env::PORT_OFFSET).map(|text| text.parse::<u16>()).transpose().map_err(|_| {
            Failure::new(format!("{} is no port number", env::PORT_OFFSET))
                .help(format!("unset {}", env::PORT_OFFSET))
        })?;
    Ok(Surroundings {
        api_url: env::get(env::API_URL).unwrap_or_else(|| DEFAULT_URL.to_owned()),
        token,
        keys,
        passphrase,
        mirror: env::get(env::REGISTRY_MIRROR),
        dial: offset.map_or(Dial::default(), Dial::offset_privileged),
        place,
        world: None,
    })
}

async fn locally(spec: &Spec, folder: PathBuf) -> Result<Surroundings> {
    let fingerprints: Vec<String> = spec.ssh.iter().flat_map(|ssh| ssh.fingerprints()).collect();
    let world = World::enter(&folder, &fingerprints).await?;
    let place = Place::on(&world, &folder, spec)?;
    Ok(Surroundings {
        api_url: world.api_url().to_owned(),
        token: world.token().clone(),
        keys: spec.ssh.is_some().then(|| Keys::Text(world.ssh_private_key().clone())),
        passphrase: None,
        mirror: Some(world.registry_url().to_owned()),
        dial: Dial::offset_privileged(world.port_offset()),
        place,
        world: Some(world),
    })
}

fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), env::get("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(path),
    }
}

/// First SIGINT or SIGTERM: finish or park what is under way. Second: stop at once.
pub(crate) fn heed_signals(stop: Stop) {
    use tokio::signal::unix::{SignalKind, signal};
    tokio::spawn(async move {
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        for _ in 0..2 {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if stop.requested() {
                #[expect(
                    clippy::exit,
                    clippy::disallowed_methods,
                    reason = "the second signal means: at once; the journal makes that safe"
                )]
                std::process::exit(i32::from(crate::exit::ERROR));
            }
            stop.request();
        }
    });
}

/// Who works on a state here, without a cloud.
pub(crate) fn caller<'a>(progress: &'a Progress, stop: &Stop) -> Caller<'a> {
    Caller {
        clock: &SystemClock,
        ids: &RandomIds,
        listener: progress,
        by: env::who(),
        stop: stop.clone(),
    }
}

/// The system's clock.
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Unique names of operations: time first, so that they sort, then chance.
struct RandomIds;

impl Ids for RandomIds {
    fn next(&self) -> String {
        let millis = Timestamp::now().as_millisecond();
        format!("{millis:011x}{:016x}", rand::random::<u64>())
    }
}

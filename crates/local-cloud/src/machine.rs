//! A simulated droplet from the inside: first boot, files, Docker Engine, HAProxy, shell.
//!
//! Pure: a machine knows neither sockets nor the cloud that made it, and every question comes with the time, from which
//! stages and container lives follow. [`crate::doors`] lets real protocols in, [`crate::in_process_host`] the core trait.
//! [`Machine::revision`] grows with every change, so that whoever keeps a machine can tell a look from a change.

pub mod containers;
pub mod files;
pub mod haproxy;
pub mod shell;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use seachange_core::cloud::DropletId;
use seachange_core::host::HostKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use containers::Engine;
use files::{FileError, Files};
use haproxy::{Server, Usage};

/// Where HAProxy's configuration lies.
pub const HAPROXY_CONFIG: &str = "/etc/haproxy/haproxy.cfg";
/// Where SSH's host key lies.
pub const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key";
/// The engine's socket.
pub const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// How long the stages of a first boot take, counted from the moment the droplet is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootTimings {
    /// Until SSH answers.
    #[serde(with = "crate::millis")]
    pub ssh: Duration,
    /// Until cloud-init has ended.
    #[serde(with = "crate::millis")]
    pub cloud_init: Duration,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    id: DropletId,
    seed: u64,
    ssh_at: Timestamp,
    set_up_at: Timestamp,
    packages: Packages,
    unpacked: bool,
    files: Files,
    engine: Engine,
    /// What the running HAProxy has read last.
    active_config: String,
    reloads: u64,
    /// What was said on HAProxy's admin socket since then, by back end and server.
    #[serde(default)]
    servers: BTreeMap<String, (Ipv4Addr, u16, Usage)>,
    revision: u64,
    /// The private key that SSH has read last; none if the image made its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    active_host_key: Option<String>,
    #[serde(skip)]
    shown: Shown,
    #[serde(skip)]
    connections: Connections,
}

/// Connections that stand from a machine, by where they lead to. They are the kernel's: whichever process made them.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<Mutex<BTreeMap<SocketAddrV4, usize>>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Connected {
    all: Connections,
    to: SocketAddrV4,
}

impl Connections {
    /// Counts one more.
    pub fn open(&self, to: SocketAddrV4) -> Connected {
        *self.counts().entry(to).or_default() += 1;
        Connected { all: self.clone(), to }
    }

    /// How many lead there.
    pub fn to(&self, address: SocketAddrV4) -> usize {
        self.counts().get(&address).copied().unwrap_or_default()
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<SocketAddrV4, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        if let Some(count) = self.all.counts().get_mut(&self.to) {
            *count = count.saturating_sub(1);
        }
    }
}

impl PartialEq for Connections {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Connections {}

/// The host key once it was asked for. It follows from the fields, but making it is slow, and it is asked for often.
#[derive(Debug, Clone, Default)]
struct Shown(OnceLock<HostKey>);

impl PartialEq for Shown {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Shown {}

/// What cloud-init is asked to install.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Packages {
    docker: bool,
    haproxy: bool,
    /// A name that no repository has.
    unknown: Option<String>,
}

/// How far cloud-init is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setup {
    /// At work.
    Running,
    /// Ended well.
    Done,
    /// Ended in an error.
    Failed {
        /// Its words.
        detail: String,
    },
}

impl Machine {
    /// Begins the first boot of a droplet that became active at this time. The seed makes its host key.
    pub fn boot(
        id: DropletId,
        user_data: Option<&str>,
        at: Timestamp,
        timings: &BootTimings,
        seed: u64,
    ) -> Self {
        let mut machine = Self {
            id,
            seed,
            ssh_at: at + timings.ssh,
            set_up_at: at + timings.cloud_init,
            packages: user_data.map(Packages::asked_for).unwrap_or_default(),
            unpacked: false,
            files: Files::default(),
            engine: Engine::default(),
            active_config: String::new(),
            reloads: 0,
            servers: BTreeMap::new(),
            revision: 0,
            active_host_key: None,
            shown: Shown::default(),
            connections: Connections::default(),
        };
        if let Some(key) = user_data.and_then(ssh_key)
            && machine.files.write(HOST_KEY, key.into()).is_ok()
        {
            // A key that cannot be read leaves the image's own.
            machine.reload_ssh();
        }
        machine
    }

    /// Carries out what is due by now. Called before anything that reads or changes files.
    pub fn settle(&mut self, now: Timestamp) {
        if self.unpacked || !self.has_haproxy(now) {
            return;
        }
        self.unpacked = true;
        self.files.make_folder("/etc/haproxy");
        // The folder is there, so this cannot fail; were it missing, the first reload would say so.
        if self.files.write(HAPROXY_CONFIG, haproxy::PACKAGED.into()).is_ok() {
            haproxy::PACKAGED.clone_into(&mut self.active_config);
        }
        self.touch();
    }

    /// Whether SSH answers.
    pub fn answers_ssh(&self, now: Timestamp) -> bool {
        now >= self.ssh_at
    }

    /// How far cloud-init is.
    pub fn setup(&self, now: Timestamp) -> Setup {
        match &self.packages.unknown {
            _ if now < self.set_up_at => Setup::Running,
            Some(package) => Setup::Failed {
                detail: format!(
                    "('package_update_upgrade_install', ProcessExecutionError(\"E: Unable to locate package {package}\"))"
                ),
            },
            None => Setup::Done,
        }
    }

    /// Whether Docker Engine runs.
    pub fn has_docker(&self, now: Timestamp) -> bool {
        self.packages.docker && self.setup(now) == Setup::Done
    }

    /// Whether HAProxy runs.
    pub fn has_haproxy(&self, now: Timestamp) -> bool {
        self.packages.haproxy && self.setup(now) == Setup::Done
    }

    /// When this machine will be different without anybody doing anything.
    pub fn next_event(&self, now: Timestamp) -> Option<Timestamp> {
        let stages = [self.ssh_at, self.set_up_at].into_iter().filter(|at| *at > now);
        stages.chain(self.engine.next_event(now)).min()
    }

    /// Grows with every change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Its droplet.
    pub fn id(&self) -> DropletId {
        self.id
    }

    /// The host key pair in use: the one SSH has read last, else the image's own, which follows from droplet and seed.
    pub fn private_host_key(&self) -> PrivateKey {
        let read = self.active_host_key.as_ref();
        read.and_then(|text| PrivateKey::from_openssh(text).ok())
            .unwrap_or_else(|| self.made_key("host key"))
    }

    /// A key pair that follows from droplet, seed and name.
    fn made_key(&self, name: &str) -> PrivateKey {
        let seed = Sha256::digest(format!("{name} of {} with seed {}", self.id, self.seed));
        Ed25519Keypair::from_seed(&seed.into()).into()
    }

    /// Makes a key pair in two files, as `ssh-keygen` does. Another one each time.
    pub(crate) fn generate_key(&mut self, path: &str) -> Result<(), FileError> {
        let pair = self.made_key(&format!("key {}", self.revision));
        // An Ed25519 key always has a text.
        let private = pair.to_openssh(LineEnding::LF).unwrap_or_default();
        let public = pair.public_key().to_openssh().unwrap_or_default();
        self.files.write(path, private.as_bytes().to_vec())?;
        self.files.get_mut(path)?.mode = 0o600;
        self.files.write(&format!("{path}.pub"), format!("{public}\n").into())?;
        self.touch();
        Ok(())
    }

    /// Makes SSH read its key again; one that cannot be read leaves it as it is. Whether it was read.
    pub fn reload_ssh(&mut self) -> bool {
        let Ok(file) = self.files.get(HOST_KEY) else { return false };
        let text = String::from_utf8_lossy(&file.bytes).into_owned();
        if PrivateKey::from_openssh(&text).is_err() {
            return false;
        }
        self.active_host_key = Some(text);
        self.shown = Shown::default();
        self.touch();
        true
    }

    /// From now on somebody else answers at this machine's address: another host key, and no way to learn the right one.
    pub fn impersonate(&mut self) {
        let strange = self.made_key("impostor");
        self.active_host_key = strange.to_openssh(LineEnding::LF).ok().map(|text| text.to_string());
        self.shown = Shown::default();
        self.touch();
    }

    /// The public half, as in `known_hosts`.
    pub fn host_key(&self) -> HostKey {
        let make = || {
            // An Ed25519 key always has a text; an empty one would match no pinned key.
            HostKey(self.private_host_key().public_key().to_openssh().unwrap_or_default())
        };
        self.shown.0.get_or_init(make).clone()
    }

    /// Its files.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Its files, to change them.
    pub fn files_mut(&mut self) -> &mut Files {
        self.touch();
        &mut self.files
    }

    /// Its engine's images and containers. Empty where there is no engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The same, to change them.
    pub fn engine_mut(&mut self) -> &mut Engine {
        self.touch();
        &mut self.engine
    }

    /// What the running HAProxy balances by; `None` where none runs.
    pub fn balancer(&self, now: Timestamp) -> Option<haproxy::Config> {
        let is_running = self.has_haproxy(now) && self.unpacked;
        let mut config = is_running
            .then(|| haproxy::read(&self.active_config, HAPROXY_CONFIG).unwrap_or_default())?;
        for (name, backend) in &mut config.backends {
            for server in &mut backend.servers {
                if let Some(set) = self.servers.get(&format!("{name}/{}", server.name)) {
                    (server.address, server.port, server.usage) = *set;
                }
            }
        }
        Some(config)
    }

    /// Changes a server (`BACKEND/SERVER`) until the next reload; `None` if there is none of this name.
    pub fn set_server<T>(
        &mut self,
        now: Timestamp,
        name: &str,
        change: impl FnOnce(&mut Server) -> T,
    ) -> Option<T> {
        let (backend, server) = name.split_once('/')?;
        let config = self.balancer(now)?;
        let found = config.backends.get(backend)?.servers.iter().find(|known| known.name == server);
        let mut server = found?.clone();
        let answer = change(&mut server);
        let set = (server.address, server.port, server.usage);
        if self.servers.insert(name.to_owned(), set) != Some(set) {
            self.touch();
        }
        Some(answer)
    }

    /// Whether requests go to the servers that the configuration names, or something else was said since.
    pub fn has_detour(&self, now: Timestamp) -> bool {
        let usage = |config: haproxy::Config| -> Vec<Usage> {
            let servers = config.backends.into_values().flat_map(|backend| backend.servers);
            servers.map(|server| server.usage).collect()
        };
        let read = haproxy::read(&self.active_config, HAPROXY_CONFIG).unwrap_or_default();
        self.balancer(now).is_some_and(|now| usage(now) != usage(read))
    }

    /// The connections that stand from it.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// The number of the process that serves; each reload makes a new one.
    pub fn haproxy_process(&self) -> u64 {
        1_000 + self.reloads
    }

    /// What the running HAProxy has read last, as text.
    pub fn active_config(&self) -> &str {
        &self.active_config
    }

    /// How often HAProxy was reloaded.
    pub fn reloads(&self) -> u64 {
        self.reloads
    }

    /// Makes the running HAProxy read its file; a bad file leaves it as it is.
    pub fn reload_haproxy(&mut self) -> Result<(), Vec<String>> {
        let file = self.files.get(HAPROXY_CONFIG).map_err(|error| vec![error.to_string()])?;
        let text = String::from_utf8_lossy(&file.bytes).into_owned();
        haproxy::read(&text, HAPROXY_CONFIG)?;
        self.active_config = text;
        self.servers.clear();
        self.reloads += 1;
        self.touch();
        Ok(())
    }

    fn touch(&mut self) {
        self.revision += 1;
    }
}

/// The private host key in a cloud-config: the block below `ed25519_private:`.
fn ssh_key(user_data: &str) -> Option<String> {
    let mut lines = user_data.lines().skip_while(|line| line.trim() != "ed25519_private: |");
    lines.next()?;
    let block = lines.map_while(|line| line.strip_prefix("    "));
    Some(block.flat_map(|line| [line, "\n"]).collect())
}

impl Packages {
    /// A cloud-config that mentions a service gets it, as a list entry or in a command; a listed package that no
    /// repository has ends cloud-init in an error.
    fn asked_for(user_data: &str) -> Self {
        const REPOSITORY: [&str; 6] =
            ["ca-certificates", "curl", "docker-ce", "docker.io", "haproxy", "ufw"];
        let mut lines = user_data.lines().skip_while(|line| line.trim_end() != "packages:").skip(1);
        let listed = lines.by_ref().map_while(|line| line.trim_start().strip_prefix("- "));
        let unknown = listed.map(str::trim).find(|package| !REPOSITORY.contains(package));
        Self {
            docker: user_data.contains("docker"),
            haproxy: user_data.contains("haproxy"),
            unknown: unknown.map(str::to_owned),
        }
    }
}

/// How long it was from one time to another; nothing, if that lies before.
pub(crate) fn passed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests;

//! A machine's Docker Engine: pulled images and containers, with the engine's own refusals.
//!
//! A container's life is a function of time: what it is doing *now* follows from when it was started and how its image
//! behaves, so no timer has to fire for a container to crash, restart or become ready. The environment of a container is
//! kept out of `Debug` and out of the world's file, for it may hold secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use seachange_core::bootstrap::hex;
use seachange_core::image::{Digest, ImageRef};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::passed;
use crate::app::{self, Process};
use crate::images::{self, Behaviour};

/// The engine's wait before the first restart; it doubles up to [`LONGEST_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// How many runs of a crashing container its log goes back.
const LOGGED_RUNS: usize = 10;
/// How many lines of earlier starts are kept.
const MOST_LINES: usize = 200;

/// The exit code of a killed process.
pub const KILLED: i64 = 137;

/// Images and containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// Digest to the repositories it was pulled from.
    pulled: BTreeMap<Digest, BTreeSet<String>>,
    /// `repository:tag` to digest, as of the last pull by that tag.
    tags: BTreeMap<String, Digest>,
    containers: BTreeMap<String, Container>,
    created: u64,
}

/// Environment, `NAME=value`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Env(pub Vec<String>);

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} redacted]", self.0.len())
    }
}

/// What happens when a container's process ends by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// It stays ended.
    #[default]
    No,
    /// It is started again.
    Always,
    /// It is started again if it failed.
    OnFailure,
    /// It is started again, and after a reboot unless somebody stopped it.
    UnlessStopped,
}

/// What a new container shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewContainer {
    /// Name; made up if empty.
    pub name: String,
    /// Image, by tag or digest.
    pub image: String,
    /// Environment.
    pub env: Env,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Container's port to the machine's.
    pub ports: BTreeMap<u16, u16>,
    /// Restart policy.
    pub restart: Restart,
    /// Seconds to stop in.
    pub stop_timeout: Option<u64>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Id, 64 hex digits.
    pub id: String,
    /// Name, without a slash.
    pub name: String,
    /// Image as it was asked for.
    pub image: String,
    /// What exactly runs.
    pub digest: Digest,
    /// Environment; lost when the world is loaded from its file.
    #[serde(skip)]
    pub env: Env,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Container's port to the machine's.
    pub ports: BTreeMap<u16, u16>,
    /// Restart policy.
    pub restart: Restart,
    /// Seconds to stop in.
    pub stop_timeout: Option<u64>,
    /// When it was created.
    pub created_at: Timestamp,
    phase: Phase,
    /// What was written before the last start.
    log: Vec<String>,
}

/// What was last done to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Created,
    Started {
        at: Timestamp,
    },
    /// Told to stop; finishes what it is at, until it is killed.
    Stopping {
        started: Timestamp,
        until: Timestamp,
    },
    Stopped {
        code: i64,
        at: Timestamp,
    },
}

/// How a container is, in the engine's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Never started.
    Created,
    /// Running.
    Running,
    /// Waiting to be started again by its policy.
    Restarting {
        /// The code it ended with.
        code: i64,
    },
    /// Ended.
    Exited {
        /// Its exit code.
        code: i64,
        /// When.
        at: Timestamp,
    },
}

/// A container at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// How it is.
    pub state: State,
    /// When its process was last started.
    pub started: Option<Timestamp>,
    /// How often its policy has restarted it.
    pub restarts: u32,
    /// Whether its ports answer.
    pub listening: bool,
    /// When this will be different without anybody doing anything.
    pub changes_at: Option<Timestamp>,
}

/// A refusal, in the engine's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// No container of that name or id.
    #[error("No such container: {0}")]
    NoContainer(String),
    /// The image is not on the machine.
    #[error("No such image: {0}")]
    NoImage(String),
    /// The name is in use.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        id: String,
    },
    /// The name cannot be one.
    #[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    BadName(String),
    /// Another running container has published the port.
    #[error(
        "driver failed programming external connectivity on endpoint {name} ({id}): Bind for 0.0.0.0:{port} failed: port is already allocated"
    )]
    PortTaken {
        /// Who wanted it.
        name: String,
        /// Its id.
        id: String,
        /// The port.
        port: u16,
    },
    /// A running container cannot be removed without force.
    #[error(
        "cannot remove container \"/{name}\": container is running: stop the container before removing or force remove"
    )]
    StillRunning {
        /// The container.
        name: String,
    },
    /// Only a running container can be killed.
    #[error("cannot kill container: {name}: container {id} is not running")]
    NotRunning {
        /// The container.
        name: String,
        /// Its id.
        id: String,
    },
}

impl EngineError {
    /// The HTTP status the engine sends with it.
    pub fn status(&self) -> u16 {
        match self {
            Self::NoContainer(_) | Self::NoImage(_) => 404,
            Self::NameTaken { .. } | Self::StillRunning { .. } | Self::NotRunning { .. } => 409,
            Self::BadName(_) => 400,
            Self::PortTaken { .. } => 500,
        }
    }
}

/// What a listening container is reached by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listening {
    /// The machine's port.
    pub port: u16,
    /// The container.
    pub container: String,
    /// When its process was started: another start is another process.
    pub started: Timestamp,
    /// The image.
    pub digest: Digest,
}

impl Container {
    /// The image's behaviour. An image that is no longer in the catalogue cannot start.
    fn behaviour(&self) -> Behaviour {
        images::by_digest(&self.digest).map_or(Behaviour::Crashes, |image| image.behaviour)
    }

    /// What the app calls itself.
    pub fn version(&self) -> &'static str {
        images::by_digest(&self.digest).map_or("unknown", |image| image.version)
    }

    /// How it is at this instant.
    pub fn life(&self, now: Timestamp) -> Life {
        let still = |state, started| Life {
            state,
            started,
            restarts: 0,
            listening: false,
            changes_at: None,
        };
        match self.phase {
            Phase::Created => still(State::Created, None),
            Phase::Stopped { code, at } => still(State::Exited { code, at }, None),
            Phase::Stopping { until, .. } if now >= until => {
                still(State::Exited { code: KILLED, at: until }, None)
            }
            Phase::Stopping { started, .. } => still(State::Running, Some(started)),
            Phase::Started { at } => self.alive(at, now),
        }
    }

    fn alive(&self, first: Timestamp, now: Timestamp) -> Life {
        let mut started = first;
        let mut backoff = FIRST_BACKOFF;
        let mut restarts = 0;
        loop {
            let age = passed(started, now);
            let life = |state, listening, changes_at| Life {
                state,
                started: Some(started),
                restarts,
                listening,
                changes_at,
            };
            match app::process(self.behaviour(), age) {
                Process::Listening => return life(State::Running, true, None),
                Process::Starting { until } => {
                    return life(State::Running, false, Some(started + until));
                }
                Process::Exited { code, at } => {
                    let ended = started + at;
                    if self.restart == Restart::No {
                        return life(State::Exited { code, at: ended }, false, None);
                    }
                    let again = ended + backoff;
                    if now < again {
                        return life(State::Restarting { code }, false, Some(again));
                    }
                    started = again;
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                    restarts += 1;
                }
            }
        }
    }

    /// Everything it has written, oldest first.
    pub fn lines(&self, now: Timestamp) -> Vec<String> {
        let (Phase::Started { at: since } | Phase::Stopping { started: since, .. }) = self.phase
        else {
            return self.log.clone();
        };
        let port = self.ports.keys().next().copied().unwrap_or(8080);
        let life = self.life(now);
        let current = life.started.unwrap_or(since);
        let write = |age| app::log_lines(self.version(), self.behaviour(), port, age);
        let whole_run = write(app::CRASH_AFTER);
        let earlier = usize::try_from(life.restarts).unwrap_or(LOGGED_RUNS).min(LOGGED_RUNS);
        let mut lines = self.log.clone();
        lines.extend((0..earlier).flat_map(|_| whole_run.clone()));
        if matches!(self.phase, Phase::Stopping { .. }) {
            lines.push("asked to stop: finishing open requests".to_owned());
        } else {
            lines.extend(write(passed(current, now)));
        }
        lines
    }

    fn holds_ports(&self, now: Timestamp) -> bool {
        matches!(self.life(now).state, State::Running | State::Restarting { .. })
    }

    /// Seconds it may take to stop; the engine's default is 10.
    pub fn stop_seconds(&self) -> u64 {
        self.stop_timeout.unwrap_or(10)
    }
}

impl Engine {
    /// Notes an image as pulled.
    pub fn pulled(&mut self, image: &ImageRef, digest: &Digest) {
        let repository = repository(image);
        if let Some(tag) = &image.tag {
            self.tags.insert(format!("{repository}:{tag}"), digest.clone());
        }
        self.pulled.entry(digest.clone()).or_default().insert(repository);
    }

    /// The digest a reference stands for on this machine, if it was pulled.
    pub fn image(&self, reference: &str) -> Option<&Digest> {
        if let Ok(digest) = reference.parse::<Digest>() {
            return self.pulled.get_key_value(&digest).map(|(digest, _)| digest);
        }
        let image: ImageRef = reference.parse().ok()?;
        let repository = repository(&image);
        match (&image.digest, &image.tag) {
            (Some(digest), _) => {
                let (digest, repositories) = self.pulled.get_key_value(digest)?;
                repositories.contains(&repository).then_some(digest)
            }
            (None, Some(tag)) => self.tags.get(&format!("{repository}:{tag}")),
            (None, None) => None,
        }
    }

    /// The repositories an image was pulled from.
    pub fn repositories(&self, digest: &Digest) -> Vec<String> {
        self.pulled.get(digest).into_iter().flatten().cloned().collect()
    }

    /// All containers, by id.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        self.containers.values()
    }

    /// A container by name, id, or the beginning of its id.
    pub fn find(&self, name: &str) -> Result<&Container, EngineError> {
        let wanted = name.trim_start_matches('/');
        let by_name = self.containers.values().find(|container| container.name == wanted);
        let by_id =
            || self.containers.values().find(|c| !wanted.is_empty() && c.id.starts_with(wanted));
        by_name.or_else(by_id).ok_or_else(|| EngineError::NoContainer(wanted.to_owned()))
    }

    fn find_mut(&mut self, name: &str) -> Result<&mut Container, EngineError> {
        let id = self.find(name)?.id.clone();
        self.containers.get_mut(&id).ok_or(EngineError::NoContainer(id))
    }

    /// Creates a container; answers its id.
    pub fn create(&mut self, new: NewContainer, now: Timestamp) -> Result<String, EngineError> {
        let digest = self.image(&new.image).cloned();
        let digest = digest.ok_or_else(|| EngineError::NoImage(new.image.clone()))?;
        let seed = format!("{} {} {now}", self.created, new.name);
        let id = hex(&Sha256::digest(seed));
        let name = if new.name.is_empty() { format!("app_{}", &id[..12]) } else { new.name };
        let letter = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if !name.chars().all(letter) || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(EngineError::BadName(name));
        }
        if let Some(other) = self.containers.values().find(|other| other.name == name) {
            return Err(EngineError::NameTaken { name, id: other.id.clone() });
        }
        self.created += 1;
        let container = Container {
            id: id.clone(),
            name,
            image: new.image,
            digest,
            env: new.env,
            labels: new.labels,
            ports: new.ports,
            restart: new.restart,
            stop_timeout: new.stop_timeout,
            created_at: now,
            phase: Phase::Created,
            log: Vec::new(),
        };
        self.containers.insert(id.clone(), container);
        Ok(id)
    }

    /// Starts a container; false if it runs already.
    pub fn start(&mut self, name: &str, now: Timestamp) -> Result<bool, EngineError> {
        let container = self.find(name)?;
        if container.holds_ports(now) {
            return Ok(false);
        }
        let others = || self.containers.values().filter(|other| other.id != container.id);
        let taken = container.ports.values().find(|port| {
            others().any(|other| other.holds_ports(now) && other.ports.values().any(|p| p == *port))
        });
        if let Some(port) = taken {
            let Container { name, id, .. } = container.clone();
            return Err(EngineError::PortTaken { name, id, port: *port });
        }
        let mut log = container.lines(now);
        log.drain(..log.len().saturating_sub(MOST_LINES));
        let container = self.find_mut(name)?;
        container.log = log;
        container.phase = Phase::Started { at: now };
        Ok(true)
    }

    /// Tells a container to stop within this time; false if it does not run. It no longer accepts connections, and counts
    /// as running until [`Engine::stopped`], or until the time is over: then it was killed.
    pub fn begin_stop(
        &mut self,
        name: &str,
        within: Duration,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        let container = self.find_mut(name)?;
        match container.life(now) {
            Life { state: State::Running, started, .. } => {
                let started = started.unwrap_or(now);
                container.log = container.lines(now);
                container.phase = Phase::Stopping { started, until: now + within };
                Ok(true)
            }
            // Between two runs there is no process to wait for.
            Life { state: State::Restarting { code }, .. } => {
                container.log = container.lines(now);
                container.phase = Phase::Stopped { code, at: now };
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The process has ended with this code.
    pub fn stopped(&mut self, name: &str, code: i64, now: Timestamp) -> Result<(), EngineError> {
        let container = self.find_mut(name)?;
        if matches!(container.phase, Phase::Started { .. } | Phase::Stopping { .. }) {
            container.log = container.lines(now);
            container.log.push(format!("stopped with code {code}"));
            container.phase = Phase::Stopped { code, at: now };
        }
        Ok(())
    }

    /// Ends the process at once, as SIGKILL does.
    pub fn kill(&mut self, name: &str, now: Timestamp) -> Result<(), EngineError> {
        let container = self.find(name)?;
        if !container.holds_ports(now) {
            let Container { name, id, .. } = container.clone();
            return Err(EngineError::NotRunning { name, id });
        }
        self.stopped(name, KILLED, now)
    }

    /// Removes a container; a running one only by force.
    pub fn remove(&mut self, name: &str, force: Force, now: Timestamp) -> Result<(), EngineError> {
        let container = self.find(name)?;
        if force == Force::No && container.holds_ports(now) {
            return Err(EngineError::StillRunning { name: container.name.clone() });
        }
        let id = container.id.clone();
        self.containers.remove(&id);
        Ok(())
    }

    /// What is listening on the machine's ports.
    pub fn listening(&self, now: Timestamp) -> Vec<Listening> {
        let of = |container: &Container| {
            let life = container.life(now);
            let started = life.started.filter(|_| life.listening);
            let (id, digest) = (container.id.clone(), container.digest.clone());
            let ports: Vec<u16> = container.ports.values().copied().collect();
            ports.into_iter().filter_map(move |port| {
                Some(Listening {
                    port,
                    container: id.clone(),
                    started: started?,
                    digest: digest.clone(),
                })
            })
        };
        self.containers.values().flat_map(of).collect()
    }

    /// When some container will be different without anybody doing anything. Crashes and restarts are left out: they
    /// change nothing that a socket shows.
    pub fn next_event(&self, now: Timestamp) -> Option<Timestamp> {
        let starts = self.containers.values().filter(|c| c.behaviour() != Behaviour::Crashes);
        starts.filter_map(|container| container.life(now).changes_at).min()
    }
}

/// Whether a running container may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// It may.
    Yes,
    /// It may not.
    No,
}

fn repository(image: &ImageRef) -> String {
    format!("{}/{}", image.registry, image.repository)
}

#[cfg(test)]
mod tests;

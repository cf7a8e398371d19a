//! The core traits `Host` and `Registry` on the machines of a world, without sockets.
//!
//! For tests on a virtual clock: every call is one instant of the world (after the configured latency), so a run is
//! repeatable to the nanosecond. It refuses what the real doors refuse, in the same variants; [`served`] tells what a user
//! would get at this instant, whatever anybody believes.

mod route;

use std::cmp::Reverse;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{HashAlg, PrivateKey, PublicKey};
use seachange_core::bootstrap::hex;
use seachange_core::host::{
    Balancing, Boot, Contact, Container, ContainerSpec, ContainerState, Credentials, FirstHostKey,
    Host, HostError, HostKey, Installed, Probe, ProbeOutcome, PullProgress, Registry,
    RegistryError, Route, Service, Target,
};
use seachange_core::image::{Digest, ImageRef};
use seachange_core::secret::Secret;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::fault::{self, Effect};
use crate::images::{Images, NotHad};
use crate::machine::containers::{self, EngineError, Env, Force, NewContainer, Restart, State};
use crate::machine::haproxy::admin;
use crate::machine::{HAPROXY_CONFIG, HOST_KEY, Machine, Setup, shell};
use crate::world::World;

pub use route::served;

/// Every label of ours begins with it on the engine.
const LABEL_PREFIX: &str = "seachange.";
/// Where a machine's next host key lies.
const NEXT_KEY: &str = "/etc/ssh/seachange_next_host_key";
/// Enough to find a release's mark in a page, as over a socket.
const MOST_BODY: usize = 4 * 1024;

/// How the hosts behave.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// What can be pulled, and by whom.
    pub images: Images,
    /// How long every call takes.
    pub latency: Duration,
    /// How long pulling takes, beyond that.
    pub pull: Duration,
    /// The public key that is offered; `None`: one that every droplet accepts.
    pub public_key: Option<String>,
}

/// The hosts of a world.
#[derive(Debug, Clone)]
pub struct InProcessHost {
    world: Arc<World>,
    config: Config,
    first_keys: Arc<AtomicU64>,
}

/// The registry of a world.
#[derive(Debug, Clone, Default)]
pub struct InProcessRegistry {
    images: Images,
    latency: Duration,
}

impl InProcessHost {
    /// The hosts of this world.
    pub fn new(world: Arc<World>, config: Config) -> Self {
        Self { world, config, first_keys: Arc::default() }
    }

    /// The registry they pull from.
    pub fn registry(&self) -> InProcessRegistry {
        InProcessRegistry { images: self.config.images.clone(), latency: self.config.latency }
    }

    /// Does something on the machine, if it can be reached over SSH by whoever knows the target. The world's faults strike
    /// it as a request with method `HOST` and path `/hosts/ADDRESS/CALL`.
    async fn on<T>(
        &self,
        target: &Target,
        call: &str,
        act: impl FnOnce(&mut Machine, Timestamp) -> T,
    ) -> Result<T, HostError> {
        pass(self.config.latency).await;
        let address = target.address;
        let path = format!("/hosts/{address}/{call}");
        let broken =
            || HostError::Unreachable { address, detail: "the connection was closed".to_owned() };
        match self.world.with_faults(|faults| faults.strike("HOST", &path)) {
            None | Some(Effect::ActionErrors | Effect::Forget) => self.reach(target, act),
            Some(Effect::Fail { status, .. }) => {
                Err(failed(target, call, format!("ended with status {status}")))
            }
            Some(Effect::FailAfter { status }) => self.reach(target, act).and(Err(failed(
                target,
                call,
                format!("ended with status {status}"),
            ))),
            Some(Effect::DropBefore) => Err(broken()),
            Some(Effect::DropAfter) => self.reach(target, act).and(Err(broken())),
            Some(Effect::Stall { millis }) => {
                let answer = self.reach(target, act);
                pass(fault::late(millis)).await;
                answer
            }
        }
    }

    /// The same without delay and faults.
    fn reach<T>(
        &self,
        target: &Target,
        act: impl FnOnce(&mut Machine, Timestamp) -> T,
    ) -> Result<T, HostError> {
        let address = target.address;
        let unreachable =
            |detail: &str| HostError::Unreachable { address, detail: detail.to_owned() };
        let offered = self.config.public_key.as_ref();
        let authorized = offered.map(|_| self.world.authorized_keys(address)).unwrap_or_default();
        let answered = self.world.with_machine(address, |machine, now| {
            if !machine.answers_ssh(now) {
                return Err(unreachable("connection refused"));
            }
            let shown = machine.host_key();
            if let Some(expected) = target.host_key.as_ref().filter(|_| !target.accepts(&shown)) {
                let (expected, observed) = (fingerprint(expected), fingerprint(&shown));
                return Err(HostError::WrongHostKey { address, expected, observed });
            }
            if let Some(offered) = offered
                && !authorized.iter().any(|key| same_key(key, offered))
            {
                let offered = fingerprint(&HostKey(offered.clone()));
                return Err(HostError::AuthenticationRefused { address, offered });
            }
            machine.settle(now);
            Ok(act(machine, now))
        });
        answered.unwrap_or_else(|| Err(unreachable("no route to the host")))
    }

    /// The same with the machine's engine.
    async fn on_engine<T>(
        &self,
        target: &Target,
        call: &str,
        operation: &str,
        act: impl FnOnce(&mut Machine, Timestamp) -> Result<T, EngineError>,
    ) -> Result<T, HostError> {
        let done = self
            .on(target, call, |machine, now| match machine.has_docker(now) {
                true => act(machine, now).map_err(|error| error.to_string()),
                false => Err("connection refused".to_owned()),
            })
            .await?;
        done.map_err(|detail| failed(target, operation, detail))
    }
}

#[async_trait]
impl Host for InProcessHost {
    fn first_host_key(&self) -> FirstHostKey {
        let number = self.first_keys.fetch_add(1, Ordering::Relaxed);
        let seed = Sha256::digest(format!("first host key {number}"));
        let pair = PrivateKey::from(Ed25519Keypair::from_seed(&seed.into()));
        let private = pair.to_openssh(LineEnding::LF).map(|text| text.to_string());
        FirstHostKey {
            public: HostKey(pair.public_key().to_openssh().unwrap_or_default()),
            private: Secret::new(private.unwrap_or_default()),
        }
    }

    async fn next_host_key(&self, target: &Target) -> Result<HostKey, HostError> {
        let made = self.on(target, "next_host_key", |machine, now| {
            let make =
                format!("test -f {NEXT_KEY} || ssh-keygen -q -t ed25519 -N '' -C '' -f {NEXT_KEY}");
            let output = shell::run(machine, now, &format!("{make} && cat {NEXT_KEY}.pub"));
            match output.status {
                0 => Ok(HostKey(String::from_utf8_lossy(&output.stdout).trim().to_owned())),
                _ => Err(failed(target, "ssh-keygen", output.stderr)),
            }
        });
        made.await?
    }

    async fn use_next_host_key(&self, target: &Target) -> Result<(), HostError> {
        let used = self.on(target, "use_next_host_key", |machine, now| {
            let moved = ["", ".pub"].map(|half| {
                format!("test -f {NEXT_KEY}{half} && mv -f {NEXT_KEY}{half} {HOST_KEY}{half}")
            });
            let line = format!("{}; systemctl reload ssh", moved.join("; "));
            match shell::run(machine, now, &line) {
                output if output.status == 0 => Ok(()),
                output => Err(failed(target, "systemctl reload ssh", output.stderr)),
            }
        });
        used.await?
    }

    async fn contact(&self, target: &Target, service: Service) -> Result<Contact, HostError> {
        self.on(target, "contact", |machine, now| {
            let is_up = match service {
                Service::Docker => machine.has_docker(now),
                Service::Haproxy => machine.has_haproxy(now),
            };
            let boot = match machine.setup(now) {
                Setup::Running => Boot::Running { detail: "cloud-init: running".to_owned() },
                Setup::Failed { detail } => Boot::Failed { detail },
                Setup::Done if is_up => Boot::Ready,
                Setup::Done => Boot::Running { detail: format!("{service:?}: connection refused") },
            };
            Contact { host_key: machine.host_key(), boot }
        })
        .await
    }

    async fn containers(&self, target: &Target, stack: &str) -> Result<Vec<Container>, HostError> {
        let label = format!("{LABEL_PREFIX}stack");
        self.on_engine(target, "containers", "listing containers", |machine, now| {
            let of_stack = machine.engine().containers().filter(|container| {
                container.labels.get(&label).is_some_and(|value| value == stack)
            });
            let mut found: Vec<_> = of_stack.map(|container| as_core(container, now)).collect();
            found.sort_by_key(|container| Reverse(container.created_at));
            Ok(found)
        })
        .await
    }

    async fn pull(
        &self,
        target: &Target,
        image: &ImageRef,
        digest: &Digest,
        credentials: Option<&Credentials>,
        progress: PullProgress<'_>,
    ) -> Result<(), HostError> {
        let pinned = image.pinned(digest);
        let operation = format!("pulling {pinned}");
        let is_there = self
            .on_engine(target, "pull", &operation, |machine, _| {
                Ok(machine.engine().image(&pinned).is_some())
            })
            .await?;
        if is_there {
            return Ok(());
        }
        let found = self.config.images.get(digest.as_str(), credentials);
        let found = found.map_err(|why| HostError::PullFailed {
            image: pinned.clone(),
            detail: why.to_string(),
        })?;
        let size = found.layer.bytes.len() as u64;
        progress(0, Some(size));
        pass(self.config.pull).await;
        let exactly = ImageRef { tag: None, digest: Some(digest.clone()), ..image.clone() };
        self.on_engine(target, "pull", &operation, |machine, _| {
            machine.engine_mut().pulled(&exactly, digest);
            Ok(())
        })
        .await?;
        progress(size, Some(size));
        Ok(())
    }

    async fn ensure_container(
        &self,
        target: &Target,
        spec: &ContainerSpec,
    ) -> Result<Container, HostError> {
        let name = spec.name.as_str();
        self.on_engine(
            target,
            "ensure_container",
            &format!("starting container {name}"),
            |machine, now| {
                let there = machine.engine().find(name).ok();
                let is_wanted = |container: &containers::Container| {
                    container.labels.get("seachange.digest").map(String::as_str)
                        == Some(spec.digest.as_str())
                        && container.labels.get("seachange.config") == spec.labels.get("config")
                };
                let is_right = there.is_some_and(is_wanted);
                let is_up = there.is_some_and(|container| {
                    matches!(container.life(now).state, State::Running | State::Restarting { .. })
                });
                if !(is_right && is_up) {
                    let engine = machine.engine_mut();
                    if !is_right {
                        take_away(engine, name, now)?;
                        engine.create(as_asked(spec), now)?;
                    }
                    engine.start(name, now)?;
                }
                Ok(as_core(machine.engine().find(name)?, now))
            },
        )
        .await
    }

    async fn logs(
        &self,
        target: &Target,
        container: &str,
        lines: usize,
    ) -> Result<Vec<String>, HostError> {
        self.on_engine(
            target,
            "logs",
            &format!("reading the log of {container}"),
            |machine, now| {
                let mut all = machine.engine().find(container)?.lines(now);
                Ok(all.split_off(all.len().saturating_sub(lines)))
            },
        )
        .await
    }

    async fn remove_container(&self, target: &Target, container: &str) -> Result<(), HostError> {
        self.on_engine(
            target,
            "remove_container",
            &format!("removing container {container}"),
            |machine, now| match machine.engine().find(container) {
                Ok(_) => take_away(machine.engine_mut(), container, now),
                Err(_) => Ok(()),
            },
        )
        .await
    }

    async fn balancing(&self, target: &Target) -> Result<Balancing, HostError> {
        self.on(target, "balancing", |machine, now| Balancing {
            config: machine
                .files()
                .get(HAPROXY_CONFIG)
                .ok()
                .map(|file| hex(&Sha256::digest(&file.bytes))),
            detour: machine.has_detour(now),
        })
        .await
    }

    async fn install_config(&self, target: &Target, text: &str) -> Result<Installed, HostError> {
        const CANDIDATE: &str = "/etc/haproxy/haproxy.cfg.seachange-new";
        self.on(target, "install_config", |machine, now| {
            let is_there =
                machine.files().get(HAPROXY_CONFIG).is_ok_and(|file| file.bytes == text.as_bytes());
            if is_there && machine.active_config() == text && !machine.has_detour(now) {
                return Ok(Installed::AlreadySo);
            }
            machine.files_mut().write(CANDIDATE, text.into()).map_err(|error| {
                failed(target, &format!("writing {CANDIDATE}"), error.to_string())
            })?;
            let check = shell::run(machine, now, &format!("haproxy -c -f {CANDIDATE}"));
            let finish = match check.status {
                0 => format!("mv -f {CANDIDATE} {HAPROXY_CONFIG} && systemctl reload haproxy"),
                _ => format!("rm -f {CANDIDATE}"),
            };
            let finished = shell::run(machine, now, &finish);
            match (check.status, finished.status) {
                (0, 0) => Ok(Installed::Changed),
                (0, _) => Err(failed(target, "systemctl reload haproxy", finished.stderr)),
                (127, _) => Err(failed(target, "haproxy -c", check.stderr)),
                (_, _) => Err(HostError::ConfigRefused {
                    path: HAPROXY_CONFIG.to_owned(),
                    detail: check.stderr.trim().to_owned(),
                }),
            }
        })
        .await?
    }

    async fn detour(&self, target: &Target, to: Option<SocketAddrV4>) -> Result<u64, HostError> {
        let line = match to {
            Some(to) => format!(
                "set server live/detour addr {} port {};set server live/detour state ready;\
                 set server live/floating_ip state drain",
                to.ip(),
                to.port()
            ),
            None => "set server live/floating_ip state ready;set server live/detour state maint"
                .to_owned(),
        };
        let said = self.on(target, "detour", |machine, now| {
            // Without sockets every request is over within its instant.
            admin::answer(machine, now, &line, &|_, _| 0)
        });
        match said.await? {
            said if said.contains("No such server") => {
                Err(failed(target, "sending users round the floating IP", said))
            }
            _ => Ok(0),
        }
    }

    async fn probe(&self, probe: &Probe) -> ProbeOutcome {
        let began = Instant::now();
        let no_answer = |detail: String| ProbeOutcome::NoAnswer { detail };
        let reply = match &probe.route {
            Route::Container { target, port } => {
                match self
                    .on(target, "probe", |machine, now| {
                        route::app(machine, *port, &probe.path, now)
                    })
                    .await
                {
                    Ok(Some(reply)) => reply,
                    Ok(None) => return no_answer("connection refused".to_owned()),
                    Err(error) => return no_answer(error.to_string()),
                }
            }
            Route::Public { address, port, .. } => {
                pass(self.config.latency).await;
                match route::ask(&self.world, *address, *port, &probe.path) {
                    Ok(answered) => answered.reply,
                    Err(why) => return no_answer(why.to_string()),
                }
            }
        };
        let left = probe.timeout.saturating_sub(began.elapsed());
        pass(reply.after.min(left)).await;
        if reply.after > left {
            return no_answer(format!("timed out after {:?}", probe.timeout));
        }
        let mut body = reply.body;
        body.truncate(body.floor_char_boundary(MOST_BODY));
        ProbeOutcome::Answer { status: reply.status, body, took: began.elapsed() }
    }

    async fn forget(&self, _address: Ipv4Addr) {}
}

#[async_trait]
impl Registry for InProcessRegistry {
    async fn resolve(
        &self,
        image: &ImageRef,
        credentials: Option<&Credentials>,
    ) -> Result<Digest, RegistryError> {
        pass(self.latency).await;
        let tag = image.tag.as_deref().unwrap_or("latest");
        let reference = image.digest.as_ref().map_or(tag, Digest::as_str);
        let found = self.images.get(reference, credentials);
        found.map(|found| found.digest().clone()).map_err(|why| {
            let (image, detail) = (image.to_string(), why.to_string());
            match why {
                NotHad::Unknown => RegistryError::NotFound { image, detail },
                NotHad::Unauthorized => RegistryError::Refused { image, detail },
            }
        })
    }
}

/// Lets time pass; none at all does not even yield.
async fn pass(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

fn take_away(
    engine: &mut containers::Engine,
    name: &str,
    now: Timestamp,
) -> Result<(), EngineError> {
    if engine.find(name).is_err() {
        return Ok(());
    }
    if engine.begin_stop(name, Duration::ZERO, now)? {
        engine.stopped(name, 0, now)?;
    }
    engine.remove(name, Force::Yes, now)
}

fn as_asked(spec: &ContainerSpec) -> NewContainer {
    let prefixed =
        |(name, value): (&String, &String)| (format!("{LABEL_PREFIX}{name}"), value.clone());
    let mut labels: std::collections::BTreeMap<_, _> = spec.labels.iter().map(prefixed).collect();
    labels.insert(format!("{LABEL_PREFIX}digest"), spec.digest.to_string());
    let env = spec.env.iter().map(|(name, value)| format!("{name}={}", value.expose()));
    NewContainer {
        name: spec.name.clone(),
        image: spec.image.pinned(&spec.digest),
        env: Env(env.collect()),
        labels,
        ports: [(spec.port, spec.port)].into(),
        restart: Restart::UnlessStopped,
        stop_timeout: Some(spec.stop_timeout.as_secs()),
    }
}

fn as_core(container: &containers::Container, now: Timestamp) -> Container {
    let ours = container.labels.iter().filter_map(|(name, value)| {
        Some((name.strip_prefix(LABEL_PREFIX)?.to_owned(), value.clone()))
    });
    Container {
        id: container.id.clone(),
        name: container.name.clone(),
        state: match container.life(now).state {
            State::Created => ContainerState::Created,
            State::Running => ContainerState::Running,
            State::Restarting { .. } => ContainerState::Restarting,
            State::Exited { code, .. } => ContainerState::Exited { code },
        },
        labels: ours.collect(),
        created_at: Some(container.created_at),
    }
}

fn failed(target: &Target, operation: &str, detail: impl Into<String>) -> HostError {
    let detail = detail.into().trim().to_owned();
    HostError::Failed { address: target.address, operation: operation.to_owned(), detail }
}

fn same_key(one: &str, other: &str) -> bool {
    let read = |text| PublicKey::from_openssh(text).ok();
    match (read(one), read(other)) {
        (Some(one), Some(other)) => one.key_data() == other.key_data(),
        _ => false,
    }
}

fn fingerprint(key: &HostKey) -> String {
    match PublicKey::from_openssh(&key.0) {
        Ok(key) => key.fingerprint(HashAlg::Sha256).to_string(),
        Err(_) => "no readable key".to_owned(),
    }
}

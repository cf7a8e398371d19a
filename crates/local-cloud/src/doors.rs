//! Real protocols on loopback addresses: SSH with SFTP and the Docker Engine API, the apps' own ports, an image registry,
//! forwarding floating IPs and a balancing load balancer.
//!
//! One task keeps the open sockets in step with the world: whatever changes, it compares what should be open with what
//! is, and opens or closes the difference. Where a change has to be visible before an answer is given (a container was
//! started, HAProxy reloaded), the door that made the change calls the same comparison itself. The doors decide nothing:
//! what a droplet, a container or HAProxy does is in [`crate::machine`].
//!
//! Ports below 1024 are served at the port plus [`Config::port_offset`], since nothing here needs root.

mod apps;
mod balancer;
mod docker;
mod forward;
pub(crate) mod open;
mod registry;
mod sftp;
mod ssh;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use seachange_core::cloud::DropletId;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::images::Images;
use crate::machine::containers::Listening;
use crate::machine::haproxy::admin;
use crate::machine::{Machine, passed};
use crate::world::World;
use balancer::Balancer;
use open::Door;

pub use apps::App;
pub use docker::EngineVersion;

/// The usual offset for ports below 1024.
pub const PORT_OFFSET: u16 = 10_000;
/// The SSH server's port, before the offset.
pub const SSH_PORT: u16 = 22;

/// How the doors behave.
#[derive(Debug, Clone)]
pub struct Config {
    /// Added to ports below 1024.
    pub port_offset: u16,
    /// What the registry holds, and for whom.
    pub images: Images,
    /// Where the registry listens; port 0 for any free one.
    pub registry: SocketAddr,
    /// Which Docker Engine the droplets have.
    pub engine: EngineVersion,
    /// How long pulling an image takes.
    pub pull: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port_offset: PORT_OFFSET,
            images: Images::default(),
            registry: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            engine: EngineVersion::NOBLE,
            pull: Duration::ZERO,
        }
    }
}

/// What went through the load balancers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests taken from users.
    pub requests: u64,
    /// Of them, those that no server answered.
    pub failures: u64,
    /// Tries beyond the first.
    pub retries: u64,
    /// Connections made to servers.
    pub connections: u64,
}

/// The open doors of a world. They close when this is dropped, or before [`Doors::shutdown`] returns.
pub struct Doors {
    site: Arc<Site>,
    open: Arc<Opened>,
    registry: Door,
    registry_at: SocketAddr,
    tasks: JoinSet<()>,
}

/// What all doors share.
pub(crate) struct Site {
    world: Arc<World>,
    config: Config,
    counters: Counters,
    /// Held by [`Doors`] alone: what is open knows the site, so the site must not keep it open.
    open: Weak<Opened>,
}

type Opened = tokio::sync::Mutex<Open>;

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    failures: AtomicU64,
    retries: AtomicU64,
    connections: AtomicU64,
}

/// What is open.
#[derive(Default)]
struct Open {
    ssh: BTreeMap<(Ipv4Addr, DropletId), Door>,
    apps: BTreeMap<(Ipv4Addr, Listening), Door>,
    forwards: BTreeMap<SocketAddr, Door>,
    balancers: BTreeMap<SocketAddr, Balancer>,
}

/// What should be open.
#[derive(Default)]
struct Wanted {
    ssh: BTreeSet<(Ipv4Addr, DropletId)>,
    apps: BTreeSet<(Ipv4Addr, Listening)>,
    forwards: BTreeMap<SocketAddr, (Ipv4Addr, u16)>,
    balancers: BTreeMap<SocketAddr, balancer::Wanted>,
    next_event: Option<Timestamp>,
}

/// Opens the doors of a world and keeps them in step with it.
pub async fn start(world: Arc<World>, config: Config) -> std::io::Result<Doors> {
    let (registry, registry_at) = registry::open(config.registry, config.images.clone()).await?;
    let changes = world.changes();
    let open = Arc::new(Opened::default());
    let (counters, opened) = (Counters::default(), Arc::downgrade(&open));
    let site = Arc::new(Site { world, config, counters, open: opened });
    site.settle().await;
    let mut tasks = JoinSet::new();
    tasks.spawn(keep_in_step(Arc::clone(&site), changes));
    Ok(Doors { site, open, registry, registry_at, tasks })
}

impl Doors {
    /// Where the registry listens.
    pub fn registry(&self) -> SocketAddr {
        self.registry_at
    }

    /// What went through the load balancers so far.
    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { requests, failures, retries, connections } = &self.site.counters;
        Stats {
            requests: read(requests),
            failures: read(failures),
            retries: read(retries),
            connections: read(connections),
        }
    }

    /// Returns when the sockets show the world as it is now, instead of soon.
    pub async fn settle(&self) {
        self.site.settle().await;
    }

    /// Closes all doors; open connections end.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
        let open = std::mem::take(&mut *self.open.lock().await);
        let doors = open.ssh.into_values().chain(open.apps.into_values());
        for door in doors.chain(open.forwards.into_values()).chain([self.registry]) {
            door.shut().await;
        }
        for balancer in open.balancers.into_values() {
            balancer.shut().await;
        }
    }
}

impl std::fmt::Debug for Doors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doors").field("config", &self.site.config).finish_non_exhaustive()
    }
}

async fn keep_in_step(site: Arc<Site>, mut changes: watch::Receiver<u64>) {
    loop {
        changes.borrow_and_update();
        let next = site.settle().await;
        let wait = next.map(|at| passed(site.world.now(), at));
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    break;
                }
            }
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
        }
    }
}

impl Site {
    /// Looks at a machine or changes it; `None` if there is none at the address.
    fn machine<T>(
        &self,
        address: Ipv4Addr,
        act: impl FnOnce(&mut Machine, Timestamp) -> T,
    ) -> Option<T> {
        self.world.with_machine(address, |machine, now| {
            machine.settle(now);
            act(machine, now)
        })
    }

    /// The socket that stands for an address and port.
    fn socket(&self, address: Ipv4Addr, port: u16) -> SocketAddr {
        let offset = if port < 1024 { self.config.port_offset } else { 0 };
        SocketAddr::from((address, port.saturating_add(offset)))
    }

    /// Opens what should be open and is not, closes what is and should not; answers when to look again.
    async fn settle(self: &Arc<Self>) -> Option<Timestamp> {
        let open = self.open.upgrade()?;
        let mut open = open.lock().await;
        let wanted = self.wanted();
        // A droplet that is gone takes its connections along; so does an app that was killed.
        let gone_ssh = open.ssh.extract_if(.., |key, _| !wanted.ssh.contains(key));
        let mut gone: Vec<Door> = gone_ssh.map(|(_, door)| door).collect();
        gone.extend(
            open.apps.extract_if(.., |key, _| !wanted.apps.contains(key)).map(|(_, door)| door),
        );
        for door in gone {
            door.shut().await;
        }
        for (address, droplet) in wanted.ssh {
            if let Entry::Vacant(place) = open.ssh.entry((address, droplet))
                && let Some(door) = ssh::open(self, address).await
            {
                place.insert(door);
            }
        }
        for (address, listening) in wanted.apps {
            let socket = self.socket(address, listening.port);
            if let Entry::Vacant(place) = open.apps.entry((address, listening))
                && let Some(door) = noted(apps::open(socket, &place.key().1.digest).await, socket)
            {
                place.insert(door);
            }
        }
        for (socket, (ip, port)) in &wanted.forwards {
            if !open.forwards.contains_key(socket)
                && let Some(door) = noted(forward::open(self, *ip, *port).await, *socket)
            {
                open.forwards.insert(*socket, door);
            }
        }
        // Open connections stay, as they do when a translation rule or a front end is taken away.
        let unwanted = |socket: &SocketAddr| !wanted.forwards.contains_key(socket);
        let gone: Vec<_> = open.forwards.extract_if(.., |socket, _| unwanted(socket)).collect();
        for (_, door) in gone {
            door.retire().await;
        }
        let unwanted = |socket: &SocketAddr| !wanted.balancers.contains_key(socket);
        let gone: Vec<_> = open.balancers.extract_if(.., |socket, _| unwanted(socket)).collect();
        for (_, balancer) in gone {
            balancer.retire().await;
        }
        for (socket, wanted) in wanted.balancers {
            match open.balancers.get(&socket) {
                Some(balancer) => balancer.reload(self, wanted),
                None => {
                    if let Some(door) = noted(Balancer::open(self, socket, wanted).await, socket) {
                        open.balancers.insert(socket, door);
                    }
                }
            }
        }
        wanted.next_event
    }

    /// What should be open now.
    fn wanted(&self) -> Wanted {
        let topology = self.world.topology();
        let mut wanted = Wanted::default();
        for (_, address) in topology.machines {
            self.machine(address, |machine, now| {
                if machine.answers_ssh(now) {
                    wanted.ssh.insert((address, machine.id()));
                }
                let listening = machine.engine().listening(now);
                wanted.apps.extend(listening.into_iter().map(|listening| (address, listening)));
                for frontend in balancer::wanted(machine, now) {
                    for port in frontend.ports() {
                        wanted.balancers.insert(self.socket(address, port), frontend.clone());
                    }
                }
                wanted.next_event =
                    wanted.next_event.into_iter().chain(machine.next_event(now)).min();
            });
        }
        for (ip, target) in topology.reserved {
            let ports = wanted.apps.iter().filter(|(address, _)| Some(*address) == target);
            let forward = |port: u16| (self.socket(ip, port), (ip, port));
            wanted.forwards.extend(ports.map(|(_, listening)| forward(listening.port)));
        }
        wanted
    }

    /// Answers a line on the admin socket of a machine's HAProxy. What it changed is in force when the answer is given.
    async fn administer(self: &Arc<Self>, address: Ipv4Addr, line: &str) -> String {
        let Some(open) = self.open.upgrade() else { return String::new() };
        let open_now = open.lock().await;
        let said = self.machine(address, |machine, now| {
            let droplet = machine.id();
            let balancers = || open_now.balancers.values();
            admin::answer(machine, now, line, &|backend, server| {
                balancers().map(|balancer| balancer.in_flight(droplet, backend, server)).sum()
            })
        });
        drop(open_now);
        self.settle().await;
        said.unwrap_or_default()
    }

    /// Takes an app's doors out of what is open, so that it can end in its own time. What is done meanwhile is not seen
    /// half done by [`Site::settle`].
    async fn take_app<T>(
        &self,
        address: Ipv4Addr,
        container: &str,
        meanwhile: impl FnOnce() -> T,
    ) -> (Vec<Door>, T) {
        let Some(open) = self.open.upgrade() else { return (Vec::new(), meanwhile()) };
        let mut open = open.lock().await;
        let done = meanwhile();
        let of = |(at, listening): &&(Ipv4Addr, Listening)| {
            *at == address && listening.container == container
        };
        let keys: Vec<_> = open.apps.keys().filter(of).cloned().collect();
        (keys.iter().filter_map(|key| open.apps.remove(key)).collect(), done)
    }
}

/// A door that cannot be opened is said once, and tried again at the next change.
fn noted<T>(opened: std::io::Result<T>, socket: SocketAddr) -> Option<T> {
    opened.inspect_err(|error| tracing::warn!(%socket, %error, "cannot listen")).ok()
}

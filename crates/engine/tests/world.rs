//! A small account with its droplets, on tokio's virtual clock: asynchronous where the real one is, lagging where the
//! real one lags, and with faults at any changing request.
//!
//! It watches what no run may ever do: change something that the durable journal does not speak of, stop the live
//! worker's container, or move users to a worker that does not answer.

mod cloud;
mod host;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use jiff::Timestamp;
use seachange_core::checks::{CheckFailed, Checks};
use seachange_core::clock::Clock;
use seachange_core::cloud::{
    CloudError, DnsRecord, Droplet, DropletId, DropletStatus, ReservedIp, SshKey,
};
use seachange_core::event::{Event, Listener};
use seachange_core::host::{Container, ContainerState};
use seachange_core::journal::OperationKind;
use seachange_core::names;
use seachange_core::state::State;
use seachange_engine::store::memory::MemoryStore;
use seachange_engine::store::{Lease, Log, Owner};
use seachange_engine::{Context, Ids, Patience, Stop};
use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) const STACK: &str = "webgui";
/// Of every request.
pub(crate) const LATENCY: Duration = Duration::from_millis(200);
/// From a droplet's create to `active`.
pub(crate) const BOOT: Duration = Duration::from_secs(40);
/// From `active` to an address that can be read.
pub(crate) const ADDRESS: Duration = Duration::from_secs(2);
/// From the address to the end of the first boot.
pub(crate) const READY: Duration = Duration::from_secs(60);
/// Of an assign.
pub(crate) const ASSIGN: Duration = Duration::from_secs(11);
/// Until a deleted droplet is gone.
pub(crate) const GOING: Duration = Duration::from_secs(6);
/// How far the listing lags behind a create.
pub(crate) const LAG: Duration = Duration::from_secs(4);

/// What happens to one changing request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies before it is sent.
    DieBefore,
    /// It is done, and the process dies before the answer.
    DieAfter,
    /// It never arrives, and there is no answer.
    Lost,
    /// It is done, and the answer is lost.
    AnswerLost,
    /// 422: an earlier event holds the object.
    Pending,
}

/// Where an address is on its way to, and when it gets there.
type Move = Option<(DropletId, Instant)>;

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) droplets: BTreeMap<DropletId, (Droplet, Instant, Option<Instant>)>,
    pub(crate) ips: BTreeMap<Ipv4Addr, (Option<DropletId>, Move)>,
    pub(crate) zones: BTreeMap<String, Vec<DnsRecord>>,
    pub(crate) keys: Vec<SshKey>,
    pub(crate) containers: BTreeMap<Ipv4Addr, Container>,
    pub(crate) configs: BTreeMap<Ipv4Addr, String>,
    /// Where a droplet shows a key of its own already.
    pub(crate) own_keys: BTreeSet<Ipv4Addr>,
    /// Somebody else answers at every address.
    pub(crate) impostor: bool,
    pub(crate) faults: BTreeMap<u64, Fault>,
    pub(crate) changes: u64,
    pub(crate) requests: u64,
    /// Every changing request that was done.
    pub(crate) trace: Vec<String>,
    /// What no run may ever do.
    pub(crate) violations: Vec<String>,
    /// Digests whose container ends at once.
    pub(crate) crashing: BTreeSet<String>,
    /// Digests that answer the gate, but not users.
    pub(crate) broken_outside: BTreeSet<String>,
    pub(crate) events: Vec<Event>,
    /// Every third probe of a container is answered with 503.
    pub(crate) flapping: bool,
    probes: u64,
    /// Assigns are accepted and never take effect.
    pub(crate) stuck: bool,
    next: u64,
}

pub(crate) struct World {
    pub(crate) inner: Mutex<Inner>,
    pub(crate) store: MemoryStore,
    pub(crate) stop: Stop,
    pub(crate) checks: Mutex<Vec<Vec<(String, String)>>>,
    dead: watch::Sender<bool>,
    names: AtomicU64,
    began: Instant,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            inner: Mutex::default(),
            store: MemoryStore::new(),
            stop: Stop::new(),
            checks: Mutex::default(),
            dead: watch::Sender::new(false),
            names: AtomicU64::new(0),
            began: Instant::now(),
        }
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            stack: STACK,
            cloud: self,
            host: Some(self),
            registry: None,
            clock: self,
            ids: self,
            listener: self,
            checks: self,
            by: "tester".to_owned(),
            parallelism: 10,
            stop: self.stop.clone(),
            patience: Patience::default(),
        }
    }

    pub(crate) fn log(&self) -> Log {
        Log::new(Arc::new(self.store.clone()), STACK)
    }

    /// Returns once the process has died.
    pub(crate) async fn died(&self) {
        self.dead.subscribe().wait_for(|&dead| dead).await.unwrap();
        self.dead.send_replace(false);
    }

    /// Frees the lock of a process that died, so that the next run begins within every lag and every event under way.
    pub(crate) async fn unlock(&self) {
        let log = self.log();
        if let Some(holder) = log.holder().await.unwrap() {
            log.unlock(holder.epoch).await.unwrap();
        }
    }

    /// The worker's container, by its droplet's name.
    pub(crate) fn runs(&self, name: &str) -> Option<String> {
        let inner = self.inner();
        let (droplet, ..) = inner.droplets.values().find(|(droplet, ..)| droplet.name == name)?;
        let container = inner.containers.get(&droplet.public_ipv4?)?;
        (container.state == ContainerState::Running).then(|| container.labels["digest"].clone())
    }

    /// The name of the droplet that users are on.
    pub(crate) fn live(&self) -> Option<String> {
        let mut inner = self.inner();
        inner.settle();
        let target = inner.ips.values().next()?.0?;
        Some(inner.droplets.get(&target)?.0.name.clone())
    }

    /// The tags of roles, by droplet name.
    pub(crate) fn roles(&self) -> Vec<(String, Vec<String>)> {
        let inner = self.inner();
        let is_role = |tag: &&String| [names::PROD, names::FALLBACK].contains(&tag.as_str());
        let workers =
            inner.droplets.values().filter(|(droplet, ..)| droplet.name.contains("worker"));
        workers
            .map(|(droplet, ..)| {
                let tags = droplet.tags.iter().flatten();
                (droplet.name.clone(), tags.filter(is_role).cloned().collect())
            })
            .collect()
    }

    async fn read<T>(
        &self,
        read: impl FnOnce(&mut Inner) -> Result<T, CloudError>,
    ) -> Result<T, CloudError> {
        tokio::time::sleep(LATENCY).await;
        let mut inner = self.inner();
        inner.requests += 1;
        inner.settle();
        read(&mut inner)
    }

    async fn change<T>(
        &self,
        what: String,
        change: impl FnOnce(&mut Inner) -> Result<T, CloudError>,
    ) -> Result<T, CloudError> {
        let fault = {
            let mut inner = self.inner();
            inner.requests += 1;
            inner.changes += 1;
            let number = inner.changes;
            inner.faults.remove(&number)
        };
        let unknown = || CloudError::Unknown { request: what.clone(), detail: "reset".to_owned() };
        match fault {
            Some(Fault::DieBefore) => self.die().await,
            Some(Fault::Lost) => {
                tokio::time::sleep(LATENCY).await;
                return Err(unknown());
            }
            Some(Fault::Pending) => {
                tokio::time::sleep(LATENCY).await;
                let (request, detail) = (what, "pending event".to_owned());
                return Err(CloudError::Pending { request, detail });
            }
            Some(Fault::DieAfter | Fault::AnswerLost) | None => {}
        }
        tokio::time::sleep(LATENCY / 2).await;
        self.must_be_written_down(&what);
        let result = {
            let mut inner = self.inner();
            inner.settle();
            let result = change(&mut inner);
            if result.is_ok() {
                inner.trace.push(what.clone());
            }
            result
        };
        match fault {
            Some(Fault::DieAfter) => self.die().await,
            Some(Fault::AnswerLost) => result.and_then(|_| Err(unknown())),
            _ => {
                tokio::time::sleep(LATENCY / 2).await;
                result
            }
        }
    }

    async fn die<T>(&self) -> T {
        self.dead.send_replace(true);
        std::future::pending().await
    }

    /// The newest durable state.
    pub(crate) fn durable(&self) -> Option<State> {
        let log = self.log();
        log.head().now_or_never().unwrap().unwrap()
    }

    fn must_be_written_down(&self, what: &str) {
        let state = self.durable();
        let speaks = state.as_ref().is_some_and(|state| {
            let release = what.starts_with("assign") || what.contains("tag");
            let fits = |kind: &OperationKind| match kind {
                OperationKind::CreateDroplets { .. } => what.starts_with("create droplets"),
                OperationKind::ReserveIp { .. } => {
                    what.starts_with("reserve") || what.starts_with("assign")
                }
                OperationKind::CreateZone => what.starts_with("create zone"),
                OperationKind::CreateRecord { .. } => what.starts_with("create record"),
                OperationKind::CreateSshKey { .. } => what.starts_with("create key"),
                OperationKind::Repeatable => !what.starts_with("create"),
            };
            let on_host = what.starts_with("container");
            let pending = state.pending.values().any(|operation| fits(&operation.kind));
            pending || (state.transition.is_some() && (release || on_host))
        });
        if !speaks {
            self.inner().violations.push(format!("{what}: not in the durable journal"));
        }
    }
}

pub(crate) async fn lease(log: &Log, world: &World) -> Lease {
    let owner = Owner { by: "tester".to_owned(), operation: "apply".to_owned(), process: None };
    log.acquire(&world.context(), owner).await.unwrap()
}

impl Inner {
    /// Lets what is due by now happen.
    pub(crate) fn settle(&mut self) {
        let now = Instant::now();
        self.droplets.retain(|_, (_, _, going)| going.is_none_or(|gone| now < gone));
        for (droplet, born, _) in self.droplets.values_mut() {
            if now >= *born + BOOT {
                droplet.status = DropletStatus::Active;
                droplet.locked = false;
            }
            if now >= *born + BOOT + ADDRESS && droplet.public_ipv4.is_none() {
                let [.., high, low] = droplet.id.0.to_be_bytes();
                droplet.public_ipv4 = Some(Ipv4Addr::new(10, 0, high, low));
            }
        }
        let stuck = self.stuck;
        let mut moved = Vec::new();
        for (target, moving) in self.ips.values_mut() {
            if let Some((to, _)) = moving.take_if(|(_, at)| now >= *at)
                && !stuck
            {
                *target = Some(to);
                moved.push(to);
            }
            if target.is_some_and(|target| !self.droplets.contains_key(&target)) {
                *target = None;
            }
        }
        for to in moved {
            let ipv4 = self.droplets.get(&to).and_then(|(droplet, ..)| droplet.public_ipv4);
            let runs = ipv4
                .and_then(|ipv4| self.containers.get(&ipv4))
                .is_some_and(|container| container.state == ContainerState::Running);
            if !runs && !self.containers.is_empty() {
                self.violations
                    .push(format!("users were moved to droplet {to}, which runs nothing"));
            }
        }
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn droplet_at(&self, ipv4: Ipv4Addr) -> Option<&(Droplet, Instant, Option<Instant>)> {
        self.droplets.values().find(|(droplet, ..)| droplet.public_ipv4 == Some(ipv4))
    }

    fn reserved(&self, ip: Ipv4Addr) -> Option<ReservedIp> {
        let (target, moving) = self.ips.get(&ip)?;
        let region = "fra1".to_owned();
        Some(ReservedIp { ip, region, droplet: *target, locked: moving.is_some() })
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + self.began.elapsed()
    }
}

impl Ids for World {
    fn next(&self) -> String {
        format!("id{:04}", self.names.fetch_add(1, Ordering::Relaxed))
    }
}

impl Listener for World {
    fn event(&self, event: &Event) {
        self.inner().events.push(event.clone());
    }
}

#[async_trait]
impl Checks for World {
    async fn run(
        &self,
        command: &[String],
        environment: &[(String, String)],
    ) -> Result<(), CheckFailed> {
        self.checks.lock().unwrap().push(environment.to_vec());
        let command = command.join(" ");
        if command == "false" {
            let (ended, output) = ("exited with 1".to_owned(), vec!["smoke".to_owned()]);
            return Err(CheckFailed { command, ended, output });
        }
        Ok(())
    }
}

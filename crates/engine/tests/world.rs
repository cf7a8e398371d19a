//! A small account with its droplets, on tokio's virtual clock: asynchronous where the real one is, lagging where the
//! real one lags, and with faults at any changing request.
//!
//! It watches what no run may ever do: change something that the durable journal does not speak of, stop the live
//! worker's container, or move users to a worker that does not answer.

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
    Account, Action, ActionId, ActionStatus, BaseImage, Cloud, CloudError, DnsRecord,
    DnsRecordWrite, Droplet, DropletCreate, DropletId, DropletStatus, RecordId, RequestAllowance,
    ReservedIp, Size, SshKey, SshKeyId,
};
use seachange_core::event::{Event, Listener};
use seachange_core::host::{
    Boot, Contact, Container, ContainerSpec, ContainerState, Credentials, Host, HostError, HostKey,
    Installed, Probe, ProbeOutcome, PullProgress, Route, Service, Target,
};
use seachange_core::image::{Digest, ImageRef};
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

fn not_found<T>(object: impl ToString) -> Result<T, CloudError> {
    Err(CloudError::NotFound { object: object.to_string() })
}

#[async_trait]
impl Cloud for World {
    async fn droplets_by_tag(&self, tag: &str) -> Result<Vec<Droplet>, CloudError> {
        let pages = {
            let inner = self.inner();
            inner.droplets.len().div_ceil(200).max(1) as u64
        };
        self.read(|inner| {
            inner.requests += pages - 1;
            let now = Instant::now();
            let listed = inner.droplets.values().filter(|(droplet, born, _)| {
                let tags = droplet.tags.iter().flatten();
                now >= *born + LAG && tags.into_iter().any(|there| names::same_tag(there, tag))
            });
            Ok(listed.map(|(droplet, ..)| droplet.clone()).collect())
        })
        .await
    }

    async fn droplet(&self, id: DropletId) -> Result<Droplet, CloudError> {
        self.read(|inner| match inner.droplets.get(&id) {
            Some((droplet, ..)) => Ok(droplet.clone()),
            None => not_found(id),
        })
        .await
    }

    async fn create_droplets(&self, create: &DropletCreate) -> Result<Vec<Droplet>, CloudError> {
        assert!((1..=10).contains(&create.names.len()));
        let owned = create.tags.iter().any(|tag| *tag == names::owner_tag(STACK));
        let pending = self.durable().map(|state| state.pending).unwrap_or_default();
        let attempt = create.tags.iter().find_map(|tag| names::attempt_of(STACK, tag));
        let known = pending.keys().any(|operation| attempt == Some(operation.0.as_str()));
        if !owned || !known {
            self.inner().violations.push("a create without owner or attempt".to_owned());
        }
        self.change(format!("create droplets {}", create.names.join(" ")), |inner| {
            let born = Instant::now();
            let one = |name: &String| {
                let droplet = Droplet {
                    id: DropletId(inner.id()),
                    name: name.clone(),
                    status: DropletStatus::New,
                    locked: true,
                    size: create.size.clone(),
                    region: create.region.clone(),
                    image: Some(create.image.clone()),
                    public_ipv4: None,
                    private_ipv4: None,
                    tags: Some(create.tags.clone()),
                    created_at: Timestamp::UNIX_EPOCH,
                };
                inner.droplets.insert(droplet.id, (droplet.clone(), born, None));
                droplet
            };
            Ok(create.names.iter().map(one).collect())
        })
        .await
    }

    async fn delete_droplet(&self, id: DropletId) -> Result<(), CloudError> {
        self.change(format!("delete droplet {id}"), |inner| {
            if let Some((_, _, going)) = inner.droplets.get_mut(&id) {
                going.get_or_insert(Instant::now() + GOING);
            }
            Ok(())
        })
        .await
    }

    async fn tag_droplets(&self, tag: &str, ids: &[DropletId]) -> Result<(), CloudError> {
        self.change(format!("tag {tag} {ids:?}"), |inner| {
            for id in ids {
                let Some((droplet, ..)) = inner.droplets.get_mut(id) else { return not_found(id) };
                let tags = droplet.tags.get_or_insert_default();
                if !tags.iter().any(|there| names::same_tag(there, tag)) {
                    tags.push(tag.to_owned());
                }
            }
            Ok(())
        })
        .await
    }

    async fn untag_droplets(&self, tag: &str, ids: &[DropletId]) -> Result<(), CloudError> {
        self.change(format!("untag {tag} {ids:?}"), |inner| {
            for id in ids {
                if let Some((droplet, ..)) = inner.droplets.get_mut(id) {
                    droplet
                        .tags
                        .get_or_insert_default()
                        .retain(|there| !names::same_tag(there, tag));
                }
            }
            let workers = inner.droplets.values();
            let prod = |tags: &Vec<String>| tags.iter().any(|tag| tag == names::PROD);
            if !workers.into_iter().any(|(droplet, ..)| droplet.tags.as_ref().is_some_and(prod)) {
                inner.violations.push("an instant without PROD".to_owned());
            }
            Ok(())
        })
        .await
    }

    async fn delete_tag(&self, tag: &str) -> Result<(), CloudError> {
        self.change(format!("delete tag {tag}"), |_| Ok(())).await
    }

    async fn reserved_ips(&self) -> Result<Vec<ReservedIp>, CloudError> {
        self.read(|inner| Ok(inner.ips.keys().filter_map(|ip| inner.reserved(*ip)).collect())).await
    }

    async fn reserved_ip(&self, ip: Ipv4Addr) -> Result<ReservedIp, CloudError> {
        self.read(|inner| inner.reserved(ip).map_or_else(|| not_found(ip), Ok)).await
    }

    async fn create_reserved_ip(&self, droplet: DropletId) -> Result<ReservedIp, CloudError> {
        self.change(format!("reserve for {droplet}"), |inner| {
            let last = u8::try_from(inner.ips.len() + 5).unwrap();
            let ip = Ipv4Addr::new(203, 0, 113, last);
            inner.ips.insert(ip, (None, Some((droplet, Instant::now() + ASSIGN))));
            inner.reserved(ip).map_or_else(|| not_found(ip), Ok)
        })
        .await
    }

    async fn assign_reserved_ip(
        &self,
        ip: Ipv4Addr,
        droplet: DropletId,
    ) -> Result<Action, CloudError> {
        self.change(format!("assign {ip} {droplet}"), |inner| {
            let id = ActionId(inner.id());
            let Some((_, moving)) = inner.ips.get_mut(&ip) else { return not_found(ip) };
            if moving.is_some() {
                let (request, detail) = ("assign".to_owned(), "pending event".to_owned());
                return Err(CloudError::Pending { request, detail });
            }
            *moving = Some((droplet, Instant::now() + ASSIGN));
            Ok(Action { id, status: ActionStatus::InProgress, kind: "assign_ip".to_owned() })
        })
        .await
    }

    async fn reserved_ip_action(&self, ip: Ipv4Addr, _: ActionId) -> Result<Action, CloudError> {
        self.read(|_| not_found(ip)).await
    }

    async fn delete_reserved_ip(&self, ip: Ipv4Addr) -> Result<(), CloudError> {
        self.change(format!("delete ip {ip}"), |inner| {
            inner.ips.remove(&ip);
            Ok(())
        })
        .await
    }

    async fn dns_records(&self, zone: &str) -> Result<Vec<DnsRecord>, CloudError> {
        self.read(|inner| inner.zones.get(zone).cloned().map_or_else(|| not_found(zone), Ok)).await
    }

    async fn create_zone(&self, zone: &str) -> Result<(), CloudError> {
        self.change(format!("create zone {zone}"), |inner| {
            if inner.zones.contains_key(zone) {
                let (request, detail) = ("create zone".to_owned(), "it exists".to_owned());
                return Err(CloudError::Invalid { request, detail });
            }
            inner.zones.insert(zone.to_owned(), Vec::new());
            Ok(())
        })
        .await
    }

    async fn delete_zone(&self, zone: &str) -> Result<(), CloudError> {
        self.change(format!("delete zone {zone}"), |inner| {
            inner.zones.remove(zone);
            Ok(())
        })
        .await
    }

    async fn create_dns_record(
        &self,
        zone: &str,
        record: &DnsRecordWrite,
    ) -> Result<DnsRecord, CloudError> {
        self.change(format!("create record {}", record.name), |inner| {
            let id = RecordId(inner.id());
            let DnsRecordWrite { kind, name, data, ttl } = record.clone();
            let Some(records) = inner.zones.get_mut(zone) else { return not_found(zone) };
            let record = DnsRecord { id, kind, name, data, ttl };
            records.push(record.clone());
            Ok(record)
        })
        .await
    }

    async fn update_dns_record(
        &self,
        zone: &str,
        id: RecordId,
        write: &DnsRecordWrite,
    ) -> Result<DnsRecord, CloudError> {
        self.change(format!("update record {}", write.name), |inner| {
            let records = inner.zones.get_mut(zone).into_iter().flatten();
            let Some(record) = records.into_iter().find(|record| record.id == id) else {
                return not_found(zone);
            };
            let DnsRecordWrite { kind, name, data, ttl } = write.clone();
            *record = DnsRecord { id, kind, name, data, ttl };
            Ok(record.clone())
        })
        .await
    }

    async fn delete_dns_record(&self, zone: &str, id: RecordId) -> Result<(), CloudError> {
        self.change(format!("delete record {}", id.0), |inner| {
            if let Some(records) = inner.zones.get_mut(zone) {
                records.retain(|record| record.id != id);
            }
            Ok(())
        })
        .await
    }

    async fn ssh_key(&self, fingerprint: &str) -> Result<SshKey, CloudError> {
        self.read(|inner| {
            let key = inner.keys.iter().find(|key| key.fingerprint == fingerprint);
            key.cloned().map_or_else(|| not_found(fingerprint), Ok)
        })
        .await
    }

    async fn create_ssh_key(&self, name: &str, public_key: &str) -> Result<SshKey, CloudError> {
        self.change(format!("create key {name}"), |inner| {
            let key = SshKey {
                id: SshKeyId(inner.id()),
                name: name.to_owned(),
                fingerprint: format!("fp:{public_key}"),
                public_key: public_key.to_owned(),
            };
            inner.keys.push(key.clone());
            Ok(key)
        })
        .await
    }

    async fn delete_ssh_key(&self, id: SshKeyId) -> Result<(), CloudError> {
        self.change(format!("delete key {}", id.0), |inner| {
            inner.keys.retain(|key| key.id != id);
            Ok(())
        })
        .await
    }

    async fn sizes(&self) -> Result<Vec<Size>, CloudError> {
        self.read(|_| Ok(Vec::new())).await
    }

    async fn base_image(&self, slug: &str) -> Result<BaseImage, CloudError> {
        self.read(|_| not_found(slug)).await
    }

    async fn account(&self) -> Result<Account, CloudError> {
        self.read(|_| Ok(Account { droplet_limit: 10, reserved_ip_limit: 3 })).await
    }

    fn allowance(&self) -> Option<RequestAllowance> {
        None
    }

    fn requests_sent(&self) -> u64 {
        self.inner().requests
    }
}

impl World {
    /// The droplet at an address, if SSH answers there.
    fn reach(&self, target: &Target) -> Result<Instant, HostError> {
        let mut inner = self.inner();
        inner.settle();
        let refused = || HostError::Unreachable {
            address: target.address,
            detail: "connection refused".to_owned(),
        };
        let (_, born, _) = inner.droplet_at(target.address).ok_or_else(refused)?;
        Ok(*born + BOOT + ADDRESS)
    }
}

#[async_trait]
impl Host for World {
    async fn contact(&self, target: &Target, _: Service) -> Result<Contact, HostError> {
        let up = self.reach(target)?;
        let boot = if Instant::now() >= up + READY {
            Boot::Ready
        } else {
            Boot::Running { detail: "modules-final".to_owned() }
        };
        Ok(Contact { host_key: HostKey(format!("ssh-ed25519 {}", target.address)), boot })
    }

    async fn containers(&self, target: &Target, _: &str) -> Result<Vec<Container>, HostError> {
        self.reach(target)?;
        Ok(self.inner().containers.get(&target.address).cloned().into_iter().collect())
    }

    async fn pull(
        &self,
        target: &Target,
        _: &ImageRef,
        _: &Digest,
        _: Option<&Credentials>,
        progress: PullProgress<'_>,
    ) -> Result<(), HostError> {
        self.reach(target)?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        progress(100, Some(100));
        Ok(())
    }

    async fn ensure_container(
        &self,
        target: &Target,
        spec: &ContainerSpec,
    ) -> Result<Container, HostError> {
        self.reach(target)?;
        let changed = self
            .change(format!("container {}", spec.digest.short()), |inner| {
                let ipv4 = target.address;
                let same = inner.containers.get(&ipv4).is_some_and(|there| {
                    there.labels["digest"] == spec.labels["digest"]
                        && there.labels["config"] == spec.labels["config"]
                });
                let live = inner.ips.values().find_map(|(live, _)| *live);
                let at = inner.droplet_at(ipv4).map(|(droplet, ..)| droplet.id);
                if live == at && inner.containers.contains_key(&ipv4) && !same {
                    inner.violations.push("the live container was replaced".to_owned());
                }
                let state = if inner.crashing.contains(spec.digest.as_str()) {
                    ContainerState::Exited { code: 137 }
                } else {
                    ContainerState::Running
                };
                let container = Container {
                    id: "c".to_owned(),
                    name: spec.name.clone(),
                    state,
                    labels: spec.labels.clone(),
                    created_at: None,
                };
                inner.containers.insert(ipv4, container.clone());
                Ok(container)
            })
            .await;
        changed.map_err(|error| HostError::Failed {
            address: target.address,
            operation: "ensure".to_owned(),
            detail: error.to_string(),
        })
    }

    async fn logs(&self, _: &Target, _: &str, _: usize) -> Result<Vec<String>, HostError> {
        Ok(vec!["out of memory".to_owned()])
    }

    async fn remove_container(&self, _: &Target, _: &str) -> Result<(), HostError> {
        Ok(())
    }

    async fn config_digest(&self, _: &Target) -> Result<Option<String>, HostError> {
        Ok(None)
    }

    async fn install_config(&self, target: &Target, text: &str) -> Result<Installed, HostError> {
        self.reach(target)?;
        let before = self.inner().configs.insert(target.address, text.to_owned());
        Ok(if before.as_deref() == Some(text) { Installed::AlreadySo } else { Installed::Changed })
    }

    async fn probe(&self, probe: &Probe) -> ProbeOutcome {
        tokio::time::sleep(Duration::from_millis(3)).await;
        let mut inner = self.inner();
        inner.settle();
        let (ipv4, outside) = match &probe.route {
            Route::Container { target, .. } => (Some(target.address), false),
            Route::Public { .. } => {
                let live = inner.ips.values().find_map(|(live, _)| *live);
                let droplet = live.and_then(|live| inner.droplets.get(&live));
                (droplet.and_then(|(droplet, ..)| droplet.public_ipv4), true)
            }
        };
        let refused = ProbeOutcome::NoAnswer { detail: "connection refused".to_owned() };
        let Some(container) = ipv4.and_then(|ipv4| inner.containers.get(&ipv4)) else {
            return refused;
        };
        if container.state != ContainerState::Running {
            return refused;
        }
        let took = Duration::from_millis(3);
        let digest = container.labels["digest"].clone();
        let status = if outside && inner.broken_outside.contains(&digest) { 502 } else { 200 };
        ProbeOutcome::Answer { status, body: digest, took }
    }

    async fn forget(&self, _: Ipv4Addr) {}
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

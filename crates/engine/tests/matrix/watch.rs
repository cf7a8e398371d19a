//! The account and the hosts as a run sees them, with somebody who watches: before and after every changing call it is
//! looked whether users are served and whether the call was written down, and at one of them something goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use seachange_core::cloud::*;
use seachange_core::host::*;
use seachange_core::image::{Digest, ImageRef};
use seachange_core::names;
use seachange_core::state::State;
use seachange_core::store::{Created, StateStore, StoreError};
use seachange_engine::store::Log;
use seachange_engine::store::memory::MemoryStore;
use seachange_local_cloud::fault::{Effect, Rule};
use seachange_local_cloud::in_process::InProcess;
use seachange_local_cloud::in_process_host::{InProcessHost, served};
use seachange_local_cloud::world::World;
use tokio::sync::Notify;

use crate::stage::{PORT, STACK};

/// Healthy answers in a row that make a gate.
const SUCCESSES: u32 = 3;

/// What goes wrong at a changing call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is killed before it is sent,
    KilledBefore,
    /// when it was carried out and the answer is on its way,
    KilledAfter,
    /// or when the answer was read and its entry is about to be written.
    KilledUnrecorded,
    /// It never arrives.
    DroppedBefore,
    /// It is carried out, and its answer is lost.
    DroppedAfter,
    /// It is refused for being one too many.
    TooMany,
    /// It is refused by a service that fails.
    ServerError,
    /// It is carried out by a service that fails afterwards.
    ServerErrorAfter,
    /// An earlier event is said to be under way.
    Pending,
    /// It is carried out, and the answer comes when nobody waits any more.
    Stall,
    /// The action it starts ends in `errored`.
    ActionErrors,
    /// Lists do not show for five seconds what it made.
    ListLag,
}

impl Fault {
    pub(crate) const ALL: [Self; 12] = [
        Self::KilledBefore,
        Self::KilledAfter,
        Self::KilledUnrecorded,
        Self::DroppedBefore,
        Self::DroppedAfter,
        Self::TooMany,
        Self::ServerError,
        Self::ServerErrorAfter,
        Self::Pending,
        Self::Stall,
        Self::ActionErrors,
        Self::ListLag,
    ];
}

/// A bug that is put in on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A create without an answer is sent again.
    ResendsCreates,
    /// The journal says that it wrote, and did not.
    ForgetsToWrite,
    /// The floating IP moves as soon as a container starts.
    MovesEarly,
}

/// What all calls of all runs of a case have in common.
pub(crate) struct Watch {
    pub(crate) world: Arc<World>,
    pub(crate) store: MemoryStore,
    run: Mutex<Arc<Run>>,
    pub(crate) bug: Option<Bug>,
    /// Users are served, and must be from here on.
    pub(crate) serves: AtomicBool,
    /// Somebody carries PROD, and somebody must from here on.
    pub(crate) tagged: AtomicBool,
    destroying: AtomicBool,
    /// Healthy answers in a row from the container of each host, since it was put there.
    passed: Mutex<BTreeMap<Ipv4Addr, u32>>,
    /// Where the floating IP was last seen to lead.
    leads_to: Mutex<Option<Ipv4Addr>>,
    violations: Mutex<Vec<String>>,
}

/// One process, from its beginning to its end.
#[derive(Default)]
struct Run {
    /// Which changing call is struck, and how.
    strike: Option<(u32, Fault)>,
    calls: AtomicU32,
    dies_at_commit: AtomicBool,
    died: Notify,
}

impl Watch {
    pub(crate) fn new(
        world: Arc<World>,
        store: MemoryStore,
        bug: Option<Bug>,
        passed: BTreeMap<Ipv4Addr, u32>,
    ) -> Self {
        Self {
            world,
            store,
            run: Mutex::default(),
            bug,
            serves: AtomicBool::new(false),
            tagged: AtomicBool::new(false),
            destroying: AtomicBool::new(false),
            passed: Mutex::new(passed),
            leads_to: Mutex::default(),
            violations: Mutex::default(),
        }
    }

    /// The next run begins, and is struck there.
    pub(crate) fn strike(&self, strike: Option<(u32, Fault)>) {
        let run = Run { strike, ..Run::default() };
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(run);
    }

    fn run(&self) -> Arc<Run> {
        Arc::clone(&self.run.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changing calls of this run so far.
    pub(crate) fn calls(&self) -> u32 {
        self.run().calls.load(Ordering::Relaxed)
    }

    /// Healthy answers in a row of each host's container.
    pub(crate) fn passed(&self) -> BTreeMap<Ipv4Addr, u32> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Users may be left: the stack is destroyed.
    pub(crate) fn promise_nothing(&self) {
        self.destroying.store(true, Ordering::Relaxed);
    }

    /// Returns when the process is killed.
    pub(crate) async fn died(&self) {
        self.run().died.notified().await;
    }

    /// What was seen that must not be.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn violation(&self, what: String) {
        let mut violations = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
        if !violations.contains(&what) {
            violations.push(what);
        }
    }

    async fn die<T>(&self) -> T {
        self.run().died.notify_one();
        std::future::pending().await
    }

    /// The newest state that is durable.
    pub(crate) fn durable(&self) -> State {
        let log = Log::new(Arc::new(self.store.clone()), STACK);
        let head = log.head().now_or_never().unwrap().unwrap();
        head.unwrap_or_else(|| State::empty("", STACK))
    }

    /// What must hold at every instant.
    pub(crate) fn look(&self, when: &str) {
        if self.destroying.load(Ordering::Relaxed) {
            return;
        }
        let world = &self.world;
        let (entrance, target) = world.topology().reserved.first().copied().unzip();
        self.look_where_it_leads(when, target.flatten());
        let serves = entrance.is_some_and(|ip| served(world, ip, PORT).is_some());
        if self.serves.fetch_or(serves, Ordering::Relaxed) && !serves {
            self.violation(format!("{when}: users are not served"));
        }
        let all = world.snapshot();
        let droplets = all["droplets"].as_object().into_iter().flat_map(|all| all.values());
        let (mut tagged, mut made) = (false, BTreeSet::new());
        for droplet in droplets {
            let tags = droplet["tags"].as_array().into_iter().flatten();
            for tag in tags.filter_map(|tag| tag.as_str()) {
                tagged |= tag == names::PROD;
                if names::attempt_of(STACK, tag).is_some()
                    && !made.insert(format!("{tag} {}", droplet["name"]))
                {
                    self.violation(format!("{when}: one attempt made {} twice", droplet["name"]));
                }
            }
        }
        // Promised from the first time that users are served by somebody who carries it.
        if self.tagged.fetch_or(tagged && serves, Ordering::Relaxed) && !tagged {
            self.violation(format!("{when}: nobody carries PROD"));
        }
    }

    /// Users are only ever moved to a container that has just passed the gate.
    fn look_where_it_leads(&self, when: &str, target: Option<Ipv4Addr>) {
        let before = {
            let mut leads_to = self.leads_to.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *leads_to, target)
        };
        let moved = before.is_some() && target.is_some() && before != target;
        let passed = target.and_then(|target| self.passed().get(&target).copied());
        if moved && self.serves.load(Ordering::Relaxed) && passed < Some(SUCCESSES) {
            self.violation(format!("{when}: users were moved to what had not passed the gate"));
        }
    }

    /// A container was put on a host, or answered.
    fn note(&self, address: Ipv4Addr, answer: Option<bool>) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = passed.entry(address).or_default();
        *count = if answer == Some(true) { *count + 1 } else { 0 };
    }

    /// A changing call: watched, and perhaps struck.
    async fn changing<T, E>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, E>> + Send,
        errors: impl Fn(Fault) -> E + Send,
    ) -> Result<T, E>
    where
        T: Send,
        E: Send,
    {
        let run = self.run();
        let number = run.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let state = self.durable();
        if state.pending.is_empty() && state.transition.is_none() {
            self.violation(format!("{what}: nothing durable says that it is under way"));
        }
        self.look(&format!("before {what}"));
        let fault = run.strike.filter(|(at, _)| *at == number).map(|(_, fault)| fault);
        let result = match fault {
            Some(Fault::KilledBefore) => self.die().await,
            Some(
                fault @ (Fault::DroppedBefore
                | Fault::TooMany
                | Fault::ServerError
                | Fault::Pending),
            ) => {
                return Err(errors(fault));
            }
            Some(Fault::ActionErrors) => {
                let rule = Rule::next("POST", "", Effect::ActionErrors);
                self.world.with_faults(|faults| faults.add(rule));
                let result = call.await;
                self.world.with_faults(seachange_local_cloud::fault::Faults::clear);
                result
            }
            Some(Fault::ListLag) => {
                let five = Duration::from_secs(5);
                let usual = self
                    .world
                    .with_manners(|timings, _| std::mem::replace(&mut timings.list_lag, five));
                let result = call.await;
                self.world.with_manners(|timings, _| timings.list_lag = usual);
                result
            }
            _ => call.await,
        };
        self.look(&format!("after {what}"));
        match fault {
            Some(Fault::KilledAfter) => self.die().await,
            Some(Fault::KilledUnrecorded) => run.dies_at_commit.store(true, Ordering::Relaxed),
            Some(fault @ (Fault::DroppedAfter | Fault::ServerErrorAfter)) => {
                return Err(errors(fault));
            }
            Some(Fault::Stall) => {
                tokio::time::sleep(Duration::from_secs(40)).await;
                return Err(errors(Fault::Stall));
            }
            _ => {}
        }
        result
    }
}

/// The account, watched.
pub(crate) struct WatchedCloud<'w> {
    pub(crate) inner: InProcess,
    pub(crate) watch: &'w Watch,
}

/// What a client says of it.
fn told(what: &str) -> impl Fn(Fault) -> CloudError + Send + use<'_> {
    move |fault| {
        let (request, detail) = (what.to_owned(), format!("{fault:?}"));
        match fault {
            Fault::TooMany => CloudError::RateLimited { detail },
            Fault::Pending => CloudError::Pending { request, detail },
            _ => CloudError::Unknown { request, detail },
        }
    }
}

#[async_trait]
impl Cloud for WatchedCloud<'_> {
    async fn droplets_by_tag(&self, tag: &str) -> Result<Vec<Droplet>, CloudError> {
        self.inner.droplets_by_tag(tag).await
    }

    async fn droplet(&self, id: DropletId) -> Result<Droplet, CloudError> {
        self.inner.droplet(id).await
    }

    async fn create_droplets(&self, create: &DropletCreate) -> Result<Vec<Droplet>, CloudError> {
        let what = format!("create {}", create.names.join(" "));
        let attempt = create.tags.iter().find_map(|tag| names::attempt_of(STACK, tag));
        let pending = self.watch.durable().pending;
        if !pending.keys().any(|operation| attempt == Some(operation.0.as_str())) {
            self.watch.violation(format!("{what}: its attempt is not durable"));
        }
        let call = self.inner.create_droplets(create);
        let result = self.watch.changing(&what, call, told(&what)).await;
        match (self.watch.bug, &result) {
            (Some(Bug::ResendsCreates), Err(CloudError::Unknown { .. })) => {
                self.inner.create_droplets(create).await
            }
            _ => result,
        }
    }

    async fn delete_droplet(&self, id: DropletId) -> Result<(), CloudError> {
        let what = format!("delete droplet {id}");
        self.watch.changing(&what, self.inner.delete_droplet(id), told(&what)).await
    }

    async fn tag_droplets(&self, tag: &str, ids: &[DropletId]) -> Result<(), CloudError> {
        let what = format!("tag {tag}");
        self.watch.changing(&what, self.inner.tag_droplets(tag, ids), told(&what)).await
    }

    async fn untag_droplets(&self, tag: &str, ids: &[DropletId]) -> Result<(), CloudError> {
        let what = format!("untag {tag}");
        self.watch.changing(&what, self.inner.untag_droplets(tag, ids), told(&what)).await
    }

    async fn delete_tag(&self, tag: &str) -> Result<(), CloudError> {
        let what = format!("delete tag {tag}");
        self.watch.changing(&what, self.inner.delete_tag(tag), told(&what)).await
    }

    async fn reserved_ips(&self) -> Result<Vec<ReservedIp>, CloudError> {
        self.inner.reserved_ips().await
    }

    async fn reserved_ip(&self, ip: Ipv4Addr) -> Result<ReservedIp, CloudError> {
        self.inner.reserved_ip(ip).await
    }

    async fn create_reserved_ip(&self, droplet: DropletId) -> Result<ReservedIp, CloudError> {
        let call = self.inner.create_reserved_ip(droplet);
        self.watch.changing("reserve an address", call, told("reserve an address")).await
    }

    async fn assign_reserved_ip(
        &self,
        ip: Ipv4Addr,
        droplet: DropletId,
    ) -> Result<Action, CloudError> {
        let call = self.inner.assign_reserved_ip(ip, droplet);
        self.watch.changing("assign the address", call, told("assign the address")).await
    }

    async fn reserved_ip_action(
        &self,
        ip: Ipv4Addr,
        action: ActionId,
    ) -> Result<Action, CloudError> {
        self.inner.reserved_ip_action(ip, action).await
    }

    async fn delete_reserved_ip(&self, ip: Ipv4Addr) -> Result<(), CloudError> {
        let call = self.inner.delete_reserved_ip(ip);
        self.watch.changing("give the address back", call, told("give the address back")).await
    }

    async fn dns_records(&self, zone: &str) -> Result<Vec<DnsRecord>, CloudError> {
        self.inner.dns_records(zone).await
    }

    async fn create_zone(&self, zone: &str) -> Result<(), CloudError> {
        self.watch.changing("create zone", self.inner.create_zone(zone), told("create zone")).await
    }

    async fn delete_zone(&self, zone: &str) -> Result<(), CloudError> {
        self.watch.changing("delete zone", self.inner.delete_zone(zone), told("delete zone")).await
    }

    async fn create_dns_record(
        &self,
        zone: &str,
        record: &DnsRecordWrite,
    ) -> Result<DnsRecord, CloudError> {
        let call = self.inner.create_dns_record(zone, record);
        self.watch.changing("create record", call, told("create record")).await
    }

    async fn update_dns_record(
        &self,
        zone: &str,
        id: RecordId,
        record: &DnsRecordWrite,
    ) -> Result<DnsRecord, CloudError> {
        let call = self.inner.update_dns_record(zone, id, record);
        self.watch.changing("update record", call, told("update record")).await
    }

    async fn delete_dns_record(&self, zone: &str, id: RecordId) -> Result<(), CloudError> {
        let call = self.inner.delete_dns_record(zone, id);
        self.watch.changing("delete record", call, told("delete record")).await
    }

    async fn ssh_key(&self, fingerprint: &str) -> Result<SshKey, CloudError> {
        self.inner.ssh_key(fingerprint).await
    }

    async fn create_ssh_key(&self, name: &str, public_key: &str) -> Result<SshKey, CloudError> {
        let call = self.inner.create_ssh_key(name, public_key);
        self.watch.changing("create key", call, told("create key")).await
    }

    async fn delete_ssh_key(&self, id: SshKeyId) -> Result<(), CloudError> {
        let call = self.inner.delete_ssh_key(id);
        self.watch.changing("delete key", call, told("delete key")).await
    }

    async fn sizes(&self) -> Result<Vec<Size>, CloudError> {
        self.inner.sizes().await
    }

    async fn base_image(&self, slug: &str) -> Result<BaseImage, CloudError> {
        self.inner.base_image(slug).await
    }

    async fn account(&self) -> Result<Account, CloudError> {
        self.inner.account().await
    }

    fn allowance(&self) -> Option<RequestAllowance> {
        self.inner.allowance()
    }

    fn requests_sent(&self) -> u64 {
        self.inner.requests_sent()
    }
}

/// The hosts, watched.
pub(crate) struct WatchedHost<'w> {
    pub(crate) inner: InProcessHost,
    pub(crate) watch: &'w Watch,
}

fn failed(address: Ipv4Addr, what: &str) -> impl Fn(Fault) -> HostError + Send + use<'_> {
    move |fault| {
        let detail = format!("{fault:?}");
        match fault {
            Fault::TooMany | Fault::ServerError | Fault::ServerErrorAfter | Fault::Pending => {
                HostError::Failed { address, operation: what.to_owned(), detail }
            }
            _ => HostError::Unreachable { address, detail },
        }
    }
}

#[async_trait]
impl Host for WatchedHost<'_> {
    async fn contact(&self, target: &Target, service: Service) -> Result<Contact, HostError> {
        self.inner.contact(target, service).await
    }

    async fn containers(&self, target: &Target, stack: &str) -> Result<Vec<Container>, HostError> {
        self.inner.containers(target, stack).await
    }

    async fn pull(
        &self,
        target: &Target,
        image: &ImageRef,
        digest: &Digest,
        credentials: Option<&Credentials>,
        progress: PullProgress<'_>,
    ) -> Result<(), HostError> {
        let call = self.inner.pull(target, image, digest, credentials, progress);
        self.watch.changing("pull", call, failed(target.address, "pull")).await
    }

    async fn ensure_container(
        &self,
        target: &Target,
        spec: &ContainerSpec,
    ) -> Result<Container, HostError> {
        // One that is there already is left alone, and what it answered counts.
        let running = self.inner.containers(target, STACK).await.unwrap_or_default();
        let same = |there: &Container| {
            there.state == ContainerState::Running
                && there.labels.get("digest") == spec.labels.get("digest")
        };
        if !running.iter().any(same) {
            self.watch.note(target.address, None);
        }
        let call = self.inner.ensure_container(target, spec);
        let what = "put the container there";
        let result = self.watch.changing(what, call, failed(target.address, what)).await;
        if self.watch.bug == Some(Bug::MovesEarly) {
            let topology = self.watch.world.topology();
            let droplet = topology.machines.iter().find(|(_, address)| *address == target.address);
            if let (Some((droplet, _)), Some((ip, _))) = (droplet, topology.reserved.first()) {
                let client = InProcess::new(Arc::clone(&self.watch.world), Duration::ZERO);
                drop(client.assign_reserved_ip(*ip, *droplet).await);
            }
        }
        result
    }

    async fn logs(
        &self,
        target: &Target,
        container: &str,
        lines: usize,
    ) -> Result<Vec<String>, HostError> {
        self.inner.logs(target, container, lines).await
    }

    async fn remove_container(&self, target: &Target, container: &str) -> Result<(), HostError> {
        let call = self.inner.remove_container(target, container);
        let what = "remove the container";
        self.watch.changing(what, call, failed(target.address, what)).await
    }

    async fn config_digest(&self, target: &Target) -> Result<Option<String>, HostError> {
        self.inner.config_digest(target).await
    }

    async fn install_config(&self, target: &Target, text: &str) -> Result<Installed, HostError> {
        let call = self.inner.install_config(target, text);
        let what = "install haproxy.cfg";
        self.watch.changing(what, call, failed(target.address, what)).await
    }

    async fn probe(&self, probe: &Probe) -> ProbeOutcome {
        let outcome = self.inner.probe(probe).await;
        if let Route::Container { target, .. } = &probe.route {
            let healthy = matches!(outcome, ProbeOutcome::Answer { status: 200, .. });
            self.watch.note(target.address, Some(healthy));
        }
        outcome
    }

    async fn forget(&self, address: Ipv4Addr) {
        self.inner.forget(address).await;
    }
}

/// The store, in which a process can die before it writes.
pub(crate) struct WatchedStore {
    pub(crate) inner: MemoryStore,
    pub(crate) watch: Arc<Watch>,
}

#[async_trait]
impl StateStore for WatchedStore {
    fn name(&self) -> String {
        self.inner.name()
    }

    async fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        if key.contains("/state/") {
            if self.watch.run().dies_at_commit.load(Ordering::Relaxed) {
                self.watch.die::<()>().await;
            }
            if self.watch.bug == Some(Bug::ForgetsToWrite) {
                return Ok(Created::Yes);
            }
        }
        self.inner.create(key, bytes).await
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        self.inner.list(prefix, limit).await
    }

    async fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.put(key, bytes).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }
}

//! The account, the hosts and the store as a run sees them: what changes something is watched.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use seachange_core::cloud::*;
use seachange_core::host::*;
use seachange_core::image::{Digest, ImageRef};
use seachange_core::names;
use seachange_core::state::Resource;
use seachange_core::store::{Created, StateStore, StoreError};
use seachange_engine::store::memory::MemoryStore;
use seachange_local_cloud::in_process::InProcess;
use seachange_local_cloud::in_process_host::InProcessHost;

use crate::stage::STACK;
use crate::watch::{Bug, Fault, Watch};

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
            Fault::Forbidden => CloudError::Forbidden { request, detail },
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

impl WatchedHost<'_> {
    /// What is secret is sent only to who shows a key that was made on the droplet.
    fn must_be_own(&self, target: &Target) {
        let durable = self.watch.durable();
        let is_own = durable.resources.values().any(|resource| match resource {
            Resource::Droplet(droplet) => {
                droplet.ready && droplet.target().as_ref() == Some(target)
            }
            _ => false,
        });
        let shown = self.watch.world.with_machine(target.address, |machine, _| machine.host_key());
        if !is_own || target.next_host_key.is_some() || shown != target.host_key {
            self.watch.violation(format!("{} shows no key of its own yet", target.address));
        }
    }
}

#[async_trait]
impl Host for WatchedHost<'_> {
    fn first_host_key(&self) -> FirstHostKey {
        self.inner.first_host_key()
    }

    async fn next_host_key(&self, target: &Target) -> Result<HostKey, HostError> {
        let call = self.inner.next_host_key(target);
        let what = "make the next host key";
        self.watch.changing(what, call, failed(target.address, what)).await
    }

    async fn use_next_host_key(&self, target: &Target) -> Result<(), HostError> {
        let durable = self.watch.durable();
        let known = durable.resources.values().any(|resource| match resource {
            Resource::Droplet(droplet) => {
                droplet.next_host_key.is_some() && droplet.next_host_key == target.next_host_key
            }
            _ => false,
        });
        let what = "use the next host key";
        if !known {
            self.watch.violation(format!("{what}: it is not durable"));
        }
        let call = self.inner.use_next_host_key(target);
        self.watch.changing(what, call, failed(target.address, what)).await
    }

    async fn contact(&self, target: &Target, service: Service) -> Result<Contact, HostError> {
        // A deposed droplet is only looked at, and its key is forgotten with it.
        let durable = self.watch.durable();
        let is_known = durable.resources.values().any(|resource| match resource {
            Resource::Droplet(droplet) => droplet.ipv4 == Some(target.address),
            _ => false,
        });
        if is_known && target.host_key.is_none() {
            self.watch.violation(format!("{} is trusted at first sight", target.address));
        }
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
        self.must_be_own(target);
        let call = self.inner.pull(target, image, digest, credentials, progress);
        self.watch.changing("pull", call, failed(target.address, "pull")).await
    }

    async fn ensure_container(
        &self,
        target: &Target,
        spec: &ContainerSpec,
    ) -> Result<Container, HostError> {
        self.must_be_own(target);
        // One that is there already is left alone, and what it answered counts.
        let running = self.inner.containers(target, STACK).await.unwrap_or_default();
        let same = |there: &Container| {
            there.state == ContainerState::Running
                && there.labels.get("digest") == spec.labels.get("digest")
        };
        if !running.iter().any(same) {
            self.watch.note(target.address, None);
            if let Some(to) = self.watch.detour() {
                self.watch.look_at_detour("a container is put where users are sent round to", to);
            }
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

    async fn balancing(&self, target: &Target) -> Result<Balancing, HostError> {
        self.inner.balancing(target).await
    }

    async fn install_config(&self, target: &Target, text: &str) -> Result<Installed, HostError> {
        let call = self.inner.install_config(target, text);
        let what = "install haproxy.cfg";
        self.watch.changing(what, call, failed(target.address, what)).await
    }

    async fn detour(&self, target: &Target, to: Option<SocketAddrV4>) -> Result<u64, HostError> {
        if let Some(to) = to {
            self.watch.look_at_detour("a detour", *to.ip());
        }
        let call = self.inner.detour(target, to);
        self.watch.changing("detour", call, failed(target.address, "detour")).await
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
            if self.watch.dies_at_commit() {
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

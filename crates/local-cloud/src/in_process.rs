//! The world as core's [`Cloud`], without sockets: for runs on a virtual clock. Same decisions, same faults, same count of
//! requests as a client would send that reads lists 200 a page.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use seachange_core::cloud::{
    Account, Action, ActionId, ActionStatus, BaseImage, Cloud, CloudError, DnsRecord,
    DnsRecordWrite, Droplet, DropletCreate, DropletId, DropletStatus, RecordId, RequestAllowance,
    ReservedIp, Size, SshKey, SshKeyId,
};

use crate::fault::{self, Effect, under};
use crate::world::droplets::{Filter, Progress, Status};
use crate::world::refusal::{Answer, Kind, Refusal};
use crate::world::{World, account, addresses, catalogue, dns, droplets};

/// How many items a page has.
const PAGE: usize = 200;
/// A client waits no longer for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client of a world, in process.
#[derive(Debug)]
pub struct InProcess {
    world: Arc<World>,
    latency: Duration,
    sent: AtomicU64,
}

impl InProcess {
    /// A client whose every request takes so long.
    pub fn new(world: Arc<World>, latency: Duration) -> Self {
        Self { world, latency, sent: AtomicU64::new(0) }
    }

    /// One request: counted, delayed, struck by faults, carried out.
    async fn request<T>(
        &self,
        method: &str,
        path: &str,
        act: impl FnOnce(&World) -> Answer<T>,
    ) -> Result<T, CloudError> {
        let request = format!("{method} {path}");
        let unknown = |detail: &str| CloudError::Unknown {
            request: request.clone(),
            detail: detail.to_owned(),
        };
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.world.note_request(method, path);
        tokio::time::sleep(self.latency).await;
        let strike = self.world.with_faults(|faults| faults.strike(method, path));
        let carry_out = || under(strike.as_ref(), || act(&self.world));
        let answer = match &strike {
            None | Some(Effect::ActionErrors | Effect::Forget) => carry_out(),
            Some(Effect::Fail { status, .. }) => return Err(failed(*status, &request, method)),
            Some(Effect::FailAfter { status }) => {
                drop(carry_out());
                return Err(failed(*status, &request, method));
            }
            Some(Effect::DropBefore) => return Err(unknown("the connection was closed")),
            Some(Effect::DropAfter) => {
                drop(carry_out());
                return Err(unknown("the connection was closed"));
            }
            Some(Effect::Stall { millis }) => {
                let (answer, late) = (carry_out(), fault::late(*millis));
                tokio::time::sleep(late.min(PATIENCE)).await;
                if late >= PATIENCE {
                    return Err(unknown("no answer in time"));
                }
                answer
            }
        };
        answer.map_err(|refusal| refused(&refusal, &request))
    }

    /// A list, read as the HTTP client reads it: one page, then all others at the same time. Each page is cut from the
    /// list as it is at that moment.
    async fn list<T>(
        &self,
        path: &str,
        act: impl Fn(&World) -> Answer<Vec<T>>,
    ) -> Result<Vec<T>, CloudError> {
        let first = self.request("GET", path, &act).await?;
        let pages = 1..first.len().div_ceil(PAGE);
        let mut items: Vec<T> = first.into_iter().take(PAGE).collect();
        let act = &act;
        let others = pages.map(|page| async move {
            let all = self.request("GET", path, act).await?;
            Ok(all.into_iter().skip(page * PAGE).take(PAGE).collect::<Vec<T>>())
        });
        for page in futures::future::try_join_all(others).await? {
            items.extend(page);
        }
        Ok(items)
    }
}

fn failed(status: u16, request: &str, method: &str) -> CloudError {
    let request = request.to_owned();
    let detail = format!("status {status}");
    match status {
        401 => CloudError::Unauthorized { detail },
        403 => CloudError::Forbidden { request, detail },
        404 => CloudError::NotFound { object: request },
        409 | 412 => CloudError::Conflict { request, detail },
        422 => CloudError::Pending { request, detail },
        429 => CloudError::RateLimited { detail },
        _ if method == "GET" => {
            CloudError::Unavailable { endpoint: "the local world".to_owned(), detail }
        }
        _ => CloudError::Unknown { request, detail },
    }
}

fn refused(refusal: &Refusal, request: &str) -> CloudError {
    let request = request.to_owned();
    let detail = refusal.message.clone();
    match (refusal.kind, refusal.status) {
        (Kind::Pending, _) => CloudError::Pending { request, detail },
        (Kind::Limit, _) => CloudError::LimitReached { request, detail },
        (_, 401) => CloudError::Unauthorized { detail },
        (_, 404) => CloudError::NotFound { object: request },
        (_, 409) => CloudError::Conflict { request, detail },
        (_, 429) => CloudError::RateLimited { detail },
        _ => CloudError::Invalid { request, detail },
    }
}

#[async_trait]
impl Cloud for InProcess {
    async fn droplets_by_tag(&self, tag: &str) -> Result<Vec<Droplet>, CloudError> {
        let filter = Filter { tag: Some(tag.to_owned()), name: None };
        let found = self.list("/v2/droplets", |world| Ok(world.droplets(&filter))).await?;
        Ok(found.into_iter().map(|droplet| self.droplet_of(droplet)).collect())
    }

    async fn droplet(&self, id: DropletId) -> Result<Droplet, CloudError> {
        let found =
            self.request("GET", &format!("/v2/droplets/{id}"), |world| world.droplet(id)).await?;
        Ok(self.droplet_of(found))
    }

    async fn create_droplets(&self, create: &DropletCreate) -> Result<Vec<Droplet>, CloudError> {
        let created =
            self.request("POST", "/v2/droplets", |world| world.create_droplets(create)).await?;
        Ok(created.into_iter().map(|(droplet, _)| self.droplet_of(droplet)).collect())
    }

    async fn delete_droplet(&self, id: DropletId) -> Result<(), CloudError> {
        gone(
            self.request("DELETE", &format!("/v2/droplets/{id}"), |world| world.delete_droplet(id))
                .await,
        )
    }

    async fn tag_droplets(&self, tag: &str, ids: &[DropletId]) -> Result<(), CloudError> {
        let path = format!("/v2/tags/{tag}/resources");
        match self.request("POST", &path, |world| world.mark(tag, ids, true)).await {
            Err(CloudError::NotFound { .. }) => {}
            other => return other,
        }
        let canonical = self.request("POST", "/v2/tags", |world| world.create_tag(tag)).await?.name;
        self.request("POST", &path, |world| world.mark(&canonical, ids, true)).await
    }

    async fn untag_droplets(&self, tag: &str, ids: &[DropletId]) -> Result<(), CloudError> {
        let path = format!("/v2/tags/{tag}/resources");
        match self.request("DELETE", &path, |world| world.mark(tag, ids, false)).await {
            Err(CloudError::NotFound { .. }) => {}
            other => return other,
        }
        let tags = self.list("/v2/tags", |world| Ok(world.tags())).await?;
        match tags.into_iter().find(|(found, _)| found.name.eq_ignore_ascii_case(tag)) {
            None => Ok(()),
            Some((found, _)) => gone(
                self.request("DELETE", &path, |world| world.mark(&found.name, ids, false)).await,
            ),
        }
    }

    async fn delete_tag(&self, tag: &str) -> Result<(), CloudError> {
        gone(
            self.request("DELETE", &format!("/v2/tags/{tag}"), |world| world.delete_tag(tag)).await,
        )
    }

    async fn reserved_ips(&self) -> Result<Vec<ReservedIp>, CloudError> {
        let found = self.list("/v2/reserved_ips", |world| Ok(world.reserved_ips())).await?;
        Ok(found.into_iter().map(|(reserved, locked)| reserved_of(reserved, locked)).collect())
    }

    async fn reserved_ip(&self, ip: Ipv4Addr) -> Result<ReservedIp, CloudError> {
        let (reserved, locked) = self
            .request("GET", &format!("/v2/reserved_ips/{ip}"), |world| world.reserved_ip(ip))
            .await?;
        Ok(reserved_of(reserved, locked))
    }

    async fn create_reserved_ip(&self, droplet: DropletId) -> Result<ReservedIp, CloudError> {
        let (reserved, _) = self
            .request("POST", "/v2/reserved_ips", |world| world.reserve(Some(droplet), None))
            .await?;
        Ok(reserved_of(reserved, true))
    }

    async fn assign_reserved_ip(
        &self,
        ip: Ipv4Addr,
        droplet: DropletId,
    ) -> Result<Action, CloudError> {
        let path = format!("/v2/reserved_ips/{ip}/actions");
        self.request("POST", &path, |world| world.move_reserved_ip(ip, Some(droplet)))
            .await
            .map(action_of)
    }

    async fn reserved_ip_action(
        &self,
        ip: Ipv4Addr,
        action: ActionId,
    ) -> Result<Action, CloudError> {
        let path = format!("/v2/reserved_ips/{ip}/actions/{}", action.0);
        self.request("GET", &path, |world| world.action(action.0)).await.map(action_of)
    }

    async fn delete_reserved_ip(&self, ip: Ipv4Addr) -> Result<(), CloudError> {
        gone(
            self.request("DELETE", &format!("/v2/reserved_ips/{ip}"), |world| world.release(ip))
                .await,
        )
    }

    async fn dns_records(&self, zone: &str) -> Result<Vec<DnsRecord>, CloudError> {
        let path = format!("/v2/domains/{zone}/records");
        let found = self.list(&path, |world| world.records(zone)).await?;
        Ok(found.into_iter().map(record_of).collect())
    }

    async fn create_zone(&self, zone: &str) -> Result<(), CloudError> {
        self.request("POST", "/v2/domains", |world| world.create_zone(zone, None)).await
    }

    async fn delete_zone(&self, zone: &str) -> Result<(), CloudError> {
        gone(
            self.request("DELETE", &format!("/v2/domains/{zone}"), |world| world.delete_zone(zone))
                .await,
        )
    }

    async fn create_dns_record(
        &self,
        zone: &str,
        record: &DnsRecordWrite,
    ) -> Result<DnsRecord, CloudError> {
        let path = format!("/v2/domains/{zone}/records");
        self.request("POST", &path, |world| world.create_record(zone, written(record)))
            .await
            .map(record_of)
    }

    async fn update_dns_record(
        &self,
        zone: &str,
        id: RecordId,
        record: &DnsRecordWrite,
    ) -> Result<DnsRecord, CloudError> {
        let path = format!("/v2/domains/{zone}/records/{}", id.0);
        let edit = |_| Ok(written(record));
        self.request("PUT", &path, |world| world.edit_record(zone, Some(id.0), edit))
            .await
            .map(record_of)
    }

    async fn delete_dns_record(&self, zone: &str, id: RecordId) -> Result<(), CloudError> {
        let path = format!("/v2/domains/{zone}/records/{}", id.0);
        gone(self.request("DELETE", &path, |world| world.delete_record(zone, id.0)).await)
    }

    async fn ssh_key(&self, fingerprint: &str) -> Result<SshKey, CloudError> {
        self.request("GET", &format!("/v2/account/keys/{fingerprint}"), |world| {
            world.key(fingerprint)
        })
        .await
        .map(key_of)
    }

    async fn create_ssh_key(&self, name: &str, public_key: &str) -> Result<SshKey, CloudError> {
        self.request("POST", "/v2/account/keys", |world| world.add_key(name, public_key))
            .await
            .map(key_of)
    }

    async fn delete_ssh_key(&self, id: SshKeyId) -> Result<(), CloudError> {
        let path = format!("/v2/account/keys/{}", id.0);
        gone(self.request("DELETE", &path, |world| world.remove_key(&id.0.to_string())).await)
    }

    async fn sizes(&self) -> Result<Vec<Size>, CloudError> {
        self.request("GET", "/v2/sizes", |_| Ok(())).await?;
        let size = |size: &catalogue::Size| Size {
            slug: size.slug.to_owned(),
            monthly_cents: size.monthly_cents,
            regions: size.regions.iter().map(|&region| region.to_owned()).collect(),
            available: true,
            disk_gb: size.disk_gb,
        };
        Ok(catalogue::SIZES.iter().map(size).collect())
    }

    async fn base_image(&self, slug: &str) -> Result<BaseImage, CloudError> {
        let found = |_: &World| catalogue::image(slug).ok_or_else(Refusal::not_found);
        let image = self.request("GET", &format!("/v2/images/{slug}"), found).await?;
        Ok(BaseImage {
            slug: image.slug.to_owned(),
            regions: catalogue::REGIONS.map(str::to_owned).to_vec(),
            min_disk_gb: image.min_disk_gb,
        })
    }

    async fn account(&self) -> Result<Account, CloudError> {
        let limits = self.request("GET", "/v2/account", |world| Ok(world.limits())).await?;
        Ok(Account { droplet_limit: limits.droplets, reserved_ip_limit: limits.reserved_ips })
    }

    fn allowance(&self) -> Option<RequestAllowance> {
        None
    }

    fn requests_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl InProcess {
    fn droplet_of(&self, droplet: droplets::Droplet) -> Droplet {
        Droplet {
            locked: droplet.locked,
            id: droplet.id,
            name: droplet.name,
            status: match droplet.status {
                Status::New => DropletStatus::New,
                Status::Active => DropletStatus::Active,
                Status::Off => DropletStatus::Off,
            },
            size: droplet.size,
            region: droplet.region,
            image: Some(droplet.image),
            public_ipv4: droplet.address,
            private_ipv4: droplet.address.map(|_| droplet.private),
            tags: Some(droplet.tags),
            created_at: droplet.created_at,
        }
    }
}

/// An absent object is what a delete wanted.
fn gone(answer: Result<(), CloudError>) -> Result<(), CloudError> {
    match answer {
        Err(CloudError::NotFound { .. }) => Ok(()),
        other => other,
    }
}

fn reserved_of(reserved: addresses::Reserved, locked: bool) -> ReservedIp {
    ReservedIp { ip: reserved.ip, region: reserved.region, droplet: reserved.droplet, locked }
}

fn action_of(action: droplets::Action) -> Action {
    let status = match action.status {
        Progress::InProgress => ActionStatus::InProgress,
        Progress::Completed => ActionStatus::Completed,
        Progress::Errored => ActionStatus::Errored,
    };
    Action { id: ActionId(action.id), status, kind: action.kind }
}

fn record_of(record: dns::Record) -> DnsRecord {
    DnsRecord {
        id: RecordId(record.id),
        kind: record.kind,
        name: record.name,
        data: record.data,
        ttl: record.ttl,
    }
}

fn written(record: &DnsRecordWrite) -> dns::Record {
    dns::Record {
        kind: record.kind.clone(),
        name: record.name.clone(),
        data: record.data.clone(),
        ttl: record.ttl,
        ..dns::blank(0)
    }
}

fn key_of(key: account::Key) -> SshKey {
    SshKey {
        id: SshKeyId(key.id),
        name: key.name,
        fingerprint: key.fingerprint,
        public_key: key.public_key,
    }
}

//! [`Client`]: the cloud's verbs put together from requests, pages and conversions.

use std::net::Ipv4Addr;

use async_trait::async_trait;
use seachange_core::cloud::{
    Account, Action, ActionId, BaseImage, Cloud, CloudError, DnsRecord, DnsRecordWrite, Droplet,
    DropletCreate, DropletId, RecordId, RequestAllowance, ReservedIp, Size, SshKey, SshKeyId,
};

use crate::config::{Config, ConfigError};
use crate::request::{Request, account, domains, droplets, reserved_ips};
use crate::transport::Transport;
use crate::wire::{self, Envelope, Item};
use crate::{convert, pages};

mod tagging;

/// One account, by its token. Cheap to share behind a reference; it pools connections and counts its requests.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
    spellings: tagging::Spellings,
}

impl Client {
    /// Checks the configuration and sets the connection pool up. No request.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Self { transport: Transport::new(&config)?, spellings: tagging::Spellings::default() })
    }

    async fn one<T: Item + serde::de::DeserializeOwned>(
        &self,
        request: Request<Envelope<T>>,
    ) -> Result<T, CloudError> {
        self.transport.send(&request).await?.into_one(&request)
    }

    /// One thing that a request has just made. An answer without it leaves open what was made.
    async fn made<T: Item + serde::de::DeserializeOwned>(
        &self,
        request: Request<Envelope<T>>,
    ) -> Result<T, CloudError> {
        self.one(request).await.map_err(in_doubt)
    }

    async fn remove(&self, request: Request<wire::Nothing>) -> Result<(), CloudError> {
        match self.transport.send(&request).await {
            Ok(_) | Err(CloudError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Cloud for Client {
    async fn droplets_by_tag(&self, tag: &str) -> Result<Vec<Droplet>, CloudError> {
        let tag = self.spellings.known(tag);
        let all = pages::all(&self.transport, |number| droplets::page_by_tag(&tag, number)).await?;
        Ok(all.into_iter().map(convert::droplet).collect())
    }

    async fn droplet(&self, id: DropletId) -> Result<Droplet, CloudError> {
        self.one(droplets::get(id)).await.map(convert::droplet)
    }

    async fn create_droplets(&self, create: &DropletCreate) -> Result<Vec<Droplet>, CloudError> {
        let request = droplets::create(create);
        if !(1..=10).contains(&create.names.len()) {
            return Err(CloudError::Invalid {
                request: request.to_string(),
                detail: format!("{} names: one to ten go in a request", create.names.len()),
            });
        }
        let answer = self.transport.send(&request).await?;
        let made = match (answer.one, answer.many) {
            (Some(one), None) => vec![one],
            (_, Some(many)) => many,
            (None, None) => {
                return Err(in_doubt(wire::envelope::lacks(&request, wire::Droplet::ONE)));
            }
        };
        Ok(made.into_iter().map(convert::droplet).collect())
    }

    async fn delete_droplet(&self, id: DropletId) -> Result<(), CloudError> {
        self.remove(droplets::delete(id)).await
    }

    async fn tag_droplets(&self, tag: &str, ids: &[DropletId]) -> Result<(), CloudError> {
        tagging::tag(&self.transport, &self.spellings, tag, ids).await
    }

    async fn untag_droplets(&self, tag: &str, ids: &[DropletId]) -> Result<(), CloudError> {
        tagging::untag(&self.transport, &self.spellings, tag, ids).await
    }

    async fn delete_tag(&self, tag: &str) -> Result<(), CloudError> {
        tagging::delete(&self.transport, &self.spellings, tag).await
    }

    async fn reserved_ips(&self) -> Result<Vec<ReservedIp>, CloudError> {
        let all = pages::all(&self.transport, reserved_ips::page).await?;
        all.into_iter().map(target_read).collect()
    }

    async fn reserved_ip(&self, ip: Ipv4Addr) -> Result<ReservedIp, CloudError> {
        target_read(self.one(reserved_ips::get(ip)).await?)
    }

    async fn create_reserved_ip(&self, droplet: DropletId) -> Result<ReservedIp, CloudError> {
        let made = self.made(reserved_ips::create(droplet)).await?;
        let target = made.droplet.flatten();
        Ok(convert::reserved_ip(made, target))
    }

    async fn assign_reserved_ip(
        &self,
        ip: Ipv4Addr,
        droplet: DropletId,
    ) -> Result<Action, CloudError> {
        self.made(reserved_ips::assign(ip, droplet)).await.map(convert::action)
    }

    async fn reserved_ip_action(
        &self,
        ip: Ipv4Addr,
        action: ActionId,
    ) -> Result<Action, CloudError> {
        self.one(reserved_ips::action(ip, action)).await.map(convert::action)
    }

    async fn delete_reserved_ip(&self, ip: Ipv4Addr) -> Result<(), CloudError> {
        self.remove(reserved_ips::delete(ip)).await
    }

    async fn dns_records(&self, zone: &str) -> Result<Vec<DnsRecord>, CloudError> {
        let all = pages::all(&self.transport, |number| domains::records_page(zone, number)).await?;
        Ok(all.into_iter().map(convert::record).collect())
    }

    async fn create_zone(&self, zone: &str) -> Result<(), CloudError> {
        self.transport.send(&domains::create(zone)).await.map(drop)
    }

    async fn delete_zone(&self, zone: &str) -> Result<(), CloudError> {
        self.remove(domains::delete(zone)).await
    }

    async fn create_dns_record(
        &self,
        zone: &str,
        record: &DnsRecordWrite,
    ) -> Result<DnsRecord, CloudError> {
        self.made(domains::create_record(zone, record)).await.map(convert::record)
    }

    async fn update_dns_record(
        &self,
        zone: &str,
        id: RecordId,
        record: &DnsRecordWrite,
    ) -> Result<DnsRecord, CloudError> {
        self.one(domains::update_record(zone, id, record)).await.map(convert::record)
    }

    async fn delete_dns_record(&self, zone: &str, id: RecordId) -> Result<(), CloudError> {
        self.remove(domains::delete_record(zone, id)).await
    }

    async fn ssh_key(&self, fingerprint: &str) -> Result<SshKey, CloudError> {
        self.one(account::ssh_key(fingerprint)).await.map(convert::ssh_key)
    }

    async fn create_ssh_key(&self, name: &str, public_key: &str) -> Result<SshKey, CloudError> {
        self.made(account::create_ssh_key(name, public_key)).await.map(convert::ssh_key)
    }

    async fn delete_ssh_key(&self, id: SshKeyId) -> Result<(), CloudError> {
        self.remove(account::delete_ssh_key(id)).await
    }

    async fn sizes(&self) -> Result<Vec<Size>, CloudError> {
        let all = pages::all(&self.transport, account::sizes_page).await?;
        Ok(all.into_iter().map(convert::size).collect())
    }

    async fn base_image(&self, slug: &str) -> Result<BaseImage, CloudError> {
        self.one(account::image(slug)).await.map(|image| convert::image(image, slug))
    }

    async fn account(&self) -> Result<Account, CloudError> {
        self.one(account::get()).await.map(|account| convert::account(&account))
    }

    fn allowance(&self) -> Option<RequestAllowance> {
        self.transport.allowance()
    }

    fn requests_sent(&self) -> u64 {
        self.transport.requests_sent()
    }
}

/// A reserved IP whose target decides who is live: "left out" must not be read as "nobody".
fn target_read(wire: wire::ReservedIp) -> Result<ReservedIp, CloudError> {
    match wire.droplet {
        Some(target) => Ok(convert::reserved_ip(wire, target)),
        None => Err(CloudError::Forbidden {
            request: format!("GET /v2/reserved_ips/{}", wire.ip),
            detail: "the answer leaves out which droplet the address points to: \
                     the token needs the scope droplet:read"
                .to_owned(),
        }),
    }
}

/// A change was answered with success but not with what it made: only a look can tell.
fn in_doubt(error: CloudError) -> CloudError {
    match error {
        CloudError::Malformed { request, detail } => CloudError::Unknown { request, detail },
        other => other,
    }
}

//! The account's side of the world.

use std::net::Ipv4Addr;

use async_trait::async_trait;
use jiff::Timestamp;
use seachange_core::cloud::{
    Account, Action, ActionId, ActionStatus, BaseImage, Cloud, CloudError, DnsRecord,
    DnsRecordWrite, Droplet, DropletCreate, DropletId, DropletStatus, RecordId, RequestAllowance,
    ReservedIp, Size, SshKey, SshKeyId,
};
use seachange_core::names;
use tokio::time::Instant;

use super::{ASSIGN, GOING, LAG, STACK, World};

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

//! Zones and records. The service accepts a second equal record, so a create always looks first.

use std::net::Ipv4Addr;

use seachange_core::address::Address;
use seachange_core::cloud::{CloudError, DnsRecord, DnsRecordWrite, RecordId};
use seachange_core::event::Outcome;
use seachange_core::journal::{Change, OperationKind};
use seachange_core::state::Resource;

use super::{droplets, floating_ip};
use crate::step::{Done, Step, Trouble};

/// Records written here are address records.
pub(crate) const KIND: &str = "A";

/// Creates the zone, unless the account has it.
pub(crate) async fn create_zone(step: &mut Step<'_>, zone: &str) -> Result<Done, Trouble> {
    let run = step.run;
    let address = Address::Domain(zone.to_owned());
    let put = |ours| Change::Put { address: address.clone(), resource: Resource::Domain { ours } };
    if exists(step, zone).await? {
        step.learn(vec![put(false)]).await?;
        return Ok((Outcome::Adopted, zone.to_owned()));
    }
    let operation = step.begin(OperationKind::CreateZone, std::slice::from_ref(&address)).await?;
    let pace = step.pace(run.context.patience.action);
    let sent = step.send(&pace, async |cloud| cloud.create_zone(zone).await).await;
    match sent {
        Ok(()) => {}
        // A zone's name is unique: whatever the answer was, looking tells.
        Err(Trouble::Cloud(error)) => {
            if !exists(step, zone).await? {
                step.end(operation, Vec::new()).await?;
                return Err(error.into());
            }
        }
        Err(other) => return Err(other),
    }
    step.end(operation, vec![put(true)]).await?;
    Ok((Outcome::Added, zone.to_owned()))
}

async fn exists(step: &Step<'_>, zone: &str) -> Result<bool, Trouble> {
    match step.run.context.cloud.dns_records(zone).await {
        Ok(_) => Ok(true),
        Err(CloudError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What a record shall be.
pub(crate) struct Wanted<'a> {
    /// Relative name.
    pub(crate) name: &'a str,
    /// Its zone.
    pub(crate) zone: &'a str,
    /// Seconds.
    pub(crate) ttl: u32,
    /// The address whose IPv4 address is its data.
    pub(crate) data: &'a Address,
}

/// Makes the record say what is wanted: the one of this id, or an equal one that is there, or a new one.
pub(crate) async fn write_record(
    step: &mut Step<'_>,
    wanted: &Wanted<'_>,
    id: Option<RecordId>,
) -> Result<Done, Trouble> {
    let data = ipv4(step, wanted.data).await?.to_string();
    let write = DnsRecordWrite {
        kind: KIND.to_owned(),
        name: wanted.name.to_owned(),
        data,
        ttl: wanted.ttl,
    };
    if let Some(id) = id {
        match update(step, wanted.zone, id, &write).await {
            Err(Trouble::Cloud(CloudError::NotFound { .. })) => {}
            updated => {
                updated?;
                return Ok((Outcome::Changed, format!("{} → {}", write.name, write.data)));
            }
        }
    }
    let listed = step.run.context.cloud.dns_records(wanted.zone).await?;
    let outcome = match equal(&listed, &write) {
        Some(there) if there.ttl == write.ttl => {
            step.learn(vec![put(wanted.zone, there.id, &write)]).await?;
            Outcome::Adopted
        }
        Some(there) => {
            update(step, wanted.zone, there.id, &write).await?;
            Outcome::Adopted
        }
        None => {
            create(step, wanted.zone, &write).await?;
            Outcome::Added
        }
    };
    Ok((outcome, format!("{} → {}", write.name, write.data)))
}

async fn create(step: &mut Step<'_>, zone: &str, write: &DnsRecordWrite) -> Result<(), Trouble> {
    let run = step.run;
    let kind = OperationKind::CreateRecord {
        zone: zone.to_owned(),
        data: write.data.clone(),
        ttl: write.ttl,
    };
    let operation = step.begin(kind, &[Address::Record(write.name.clone())]).await?;
    let pace = step.pace(run.context.patience.action);
    let sent = step.send(&pace, async |cloud| cloud.create_dns_record(zone, write).await).await;
    let record = match sent {
        Ok(record) => record,
        Err(Trouble::Cloud(error)) => {
            let listed = match error {
                CloudError::Unknown { .. } => run.context.cloud.dns_records(zone).await?,
                _ => Vec::new(),
            };
            let Some(found) = equal(&listed, write) else {
                step.end(operation, Vec::new()).await?;
                return Err(error.into());
            };
            found.clone()
        }
        Err(other) => return Err(other),
    };
    step.end(operation, vec![put(zone, record.id, write)]).await
}

async fn update(
    step: &mut Step<'_>,
    zone: &str,
    id: RecordId,
    write: &DnsRecordWrite,
) -> Result<(), Trouble> {
    let pace = step.pace(step.run.context.patience.action);
    let operation =
        step.begin(OperationKind::Repeatable, &[Address::Record(write.name.clone())]).await?;
    let sent = step
        .send_repeatable(&pace, async |cloud| cloud.update_dns_record(zone, id, write).await)
        .await;
    let changes = match &sent {
        Ok(record) => vec![put(zone, record.id, write)],
        Err(_) => Vec::new(),
    };
    step.end(operation, changes).await?;
    sent.map(|_| ())
}

/// The record that says the same, TTL aside.
pub(crate) fn equal<'r>(listed: &'r [DnsRecord], write: &DnsRecordWrite) -> Option<&'r DnsRecord> {
    listed.iter().find(|there| {
        there.kind == write.kind && there.name == write.name && there.data == write.data
    })
}

pub(crate) fn put(zone: &str, id: RecordId, write: &DnsRecordWrite) -> Change {
    Change::Put {
        address: Address::Record(write.name.clone()),
        resource: Resource::Record {
            id,
            zone: zone.to_owned(),
            data: write.data.clone(),
            ttl: write.ttl,
        },
    }
}

/// The IPv4 address an address stands for.
async fn ipv4(step: &mut Step<'_>, address: &Address) -> Result<Ipv4Addr, Trouble> {
    match address {
        Address::FloatingIp => floating_ip::ours(step),
        droplet => droplets::reached(step, droplet).await.map(|target| target.address),
    }
}

/// Deletes a record.
pub(crate) async fn delete_record(
    step: &mut Step<'_>,
    name: &str,
    zone: &str,
    id: RecordId,
) -> Result<Done, Trouble> {
    let address = Address::Record(name.to_owned());
    let operation = step.begin(OperationKind::Repeatable, std::slice::from_ref(&address)).await?;
    let pace = step.pace(step.run.context.patience.delete);
    step.send_repeatable(&pace, async |cloud| cloud.delete_dns_record(zone, id).await).await?;
    // The address may be another record's by now, if only this one was to go.
    let is_present = step.run.journal.with(|state| {
        matches!(state.resources.get(&address),
            Some(Resource::Record { id: known, .. }) if *known == id)
    });
    let changes = if is_present { vec![Change::Remove { address }] } else { Vec::new() };
    step.end(operation, changes).await?;
    Ok((Outcome::Removed, format!("{name}.{zone}")))
}

/// Deletes the zone with everything in it.
pub(crate) async fn delete_zone(step: &mut Step<'_>, zone: &str) -> Result<Done, Trouble> {
    let address = Address::Domain(zone.to_owned());
    let operation = step.begin(OperationKind::Repeatable, std::slice::from_ref(&address)).await?;
    let pace = step.pace(step.run.context.patience.delete);
    step.send_repeatable(&pace, async |cloud| cloud.delete_zone(zone).await).await?;
    step.end(operation, vec![Change::Remove { address }]).await?;
    Ok((Outcome::Removed, zone.to_owned()))
}

//! Zones and their records. Duplicates are accepted, and records of one name and type share one TTL, as on the service.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::World;
use super::refusal::{Answer, Refusal};
use crate::fault::{Wrong, is_at_work};

/// A zone.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Zone {
    /// Its records by id.
    pub records: BTreeMap<u64, Record>,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: u64,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Relative name.
    pub name: String,
    /// Its data.
    pub data: String,
    /// Seconds.
    pub ttl: u32,
    /// For MX and SRV.
    pub priority: Option<u32>,
    /// For SRV.
    pub port: Option<u32>,
    /// For SRV.
    pub weight: Option<u32>,
    /// For CAA.
    pub flags: Option<u32>,
    /// For CAA.
    pub tag: Option<String>,
}

const KINDS: [&str; 9] = ["A", "AAAA", "CAA", "CNAME", "MX", "NS", "SOA", "SRV", "TXT"];
const TTL: u32 = 1800;

impl World {
    /// Creates a zone with its own records, and an A record at its apex if an address is given.
    pub(crate) fn create_zone(&self, name: &str, address: Option<Ipv4Addr>) -> Answer<()> {
        self.act(|inner, _| {
            if !name.contains('.')
                || !name.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c))
            {
                return Err(Refusal::unprocessable("Name is not a valid domain."));
            }
            if inner.resources.zones.contains_key(name) {
                return Err(Refusal::unprocessable("Name already exists"));
            }
            let mut records: Vec<(&str, String)> = vec![("SOA", TTL.to_string())];
            records.extend((1..=3).map(|number| ("NS", format!("ns{number}.digitalocean.com"))));
            records.extend(address.map(|address| ("A", address.to_string())));
            let mut zone = Zone::default();
            for (kind, data) in records {
                let id = inner.id();
                let record = Record {
                    kind: kind.to_owned(),
                    name: "@".to_owned(),
                    data,
                    ttl: TTL,
                    ..blank(id)
                };
                zone.records.insert(id, record);
            }
            inner.resources.zones.insert(name.to_owned(), zone);
            inner.changed();
            Ok(())
        })
    }

    /// The zones' names.
    pub(crate) fn zones(&self) -> Vec<String> {
        self.act(|inner, _| inner.resources.zones.keys().cloned().collect())
    }

    /// A zone's records.
    pub(crate) fn records(&self, zone: &str) -> Answer<Vec<Record>> {
        self.act(|inner, _| {
            let zone = inner.resources.zones.get(zone).ok_or_else(Refusal::not_found)?;
            Ok(zone.records.values().cloned().collect())
        })
    }

    /// Deletes a zone with all its records.
    pub(crate) fn delete_zone(&self, zone: &str) -> Answer<()> {
        self.act(|inner, _| {
            inner.resources.zones.remove(zone).ok_or_else(Refusal::not_found)?;
            inner.changed();
            Ok(())
        })
    }

    /// Creates a record.
    pub(crate) fn create_record(&self, zone: &str, record: Record) -> Answer<Record> {
        self.edit_record(zone, None, |_| Ok(record))
    }

    /// Makes a record what an edit of the old one says; without an id, a new one of a blank one.
    pub(crate) fn edit_record(
        &self,
        zone: &str,
        id: Option<u64>,
        edit: impl FnOnce(Record) -> Answer<Record>,
    ) -> Answer<Record> {
        self.act(|inner, _| {
            let fresh = inner.id();
            let shares = inner.config.races.shared_ttl;
            let zone = inner.resources.zones.get_mut(zone).ok_or_else(Refusal::not_found)?;
            let old = match id {
                Some(id) => zone.records.get(&id).cloned().ok_or_else(Refusal::not_found)?,
                None => blank(fresh),
            };
            let id = old.id;
            let record = edit(old)?;
            let data = record.data.trim_end_matches('.').to_owned();
            let record = Record { id, data, ..record };
            check(&record, zone)?;
            for sibling in zone
                .records
                .values_mut()
                .filter(|sibling| sibling.name == record.name && sibling.kind == record.kind)
                .filter(|_| shares)
            {
                sibling.ttl = record.ttl;
            }
            zone.records.insert(record.id, record.clone());
            inner.changed();
            Ok(record)
        })
    }

    /// Deletes a record.
    pub(crate) fn delete_record(&self, zone: &str, id: u64) -> Answer<()> {
        self.act(|inner, _| {
            let zone = inner.resources.zones.get_mut(zone).ok_or_else(Refusal::not_found)?;
            let record = zone.records.get(&id).ok_or_else(Refusal::not_found)?;
            if record.kind == "SOA" {
                return Err(Refusal::unprocessable("An SOA record cannot be deleted"));
            }
            if !is_at_work(Wrong::Forget) {
                zone.records.remove(&id);
                inner.changed();
            }
            Ok(())
        })
    }
}

/// A record of which nothing is known yet but its id.
pub(crate) fn blank(id: u64) -> Record {
    Record {
        id,
        kind: String::new(),
        name: String::new(),
        data: String::new(),
        ttl: TTL,
        priority: None,
        port: None,
        weight: None,
        flags: None,
        tag: None,
    }
}

fn check(record: &Record, zone: &Zone) -> Answer<()> {
    let refuse = |message: &str| Err(Refusal::unprocessable(message));
    if !KINDS.contains(&record.kind.as_str()) {
        return refuse("Type is not included in the list");
    }
    let before = zone.records.get(&record.id);
    let of_zone = [before, Some(record)].into_iter().flatten().any(|record| record.kind == "SOA");
    let only_ttl = |before: &Record| *before == Record { ttl: before.ttl, ..record.clone() };
    if of_zone && !before.is_some_and(only_ttl) {
        return refuse("Only the TTL of an SOA record can be changed");
    }
    if record.name.is_empty() {
        return refuse("Name can't be blank");
    }
    if record.data.is_empty() {
        return refuse("Data needs to be specified");
    }
    if record.kind == "A" && record.data.parse::<Ipv4Addr>().is_err() {
        return refuse("IP address did not match IPv4 format (e.g. 127.0.0.1).");
    }
    if record.kind == "AAAA" && record.data.parse::<Ipv6Addr>().is_err() {
        return refuse("IP address did not match IPv6 format (e.g. 2001:db8::1).");
    }
    let needs: &[(&str, bool)] = match record.kind.as_str() {
        "MX" => &[("Priority", record.priority.is_none())],
        "SRV" => &[
            ("Priority", record.priority.is_none()),
            ("Port", record.port.is_none()),
            ("Weight", record.weight.is_none()),
        ],
        "CAA" => &[("Flags", record.flags.is_none()), ("Tag", record.tag.is_none())],
        _ => &[],
    };
    if let Some((field, _)) = needs.iter().find(|(_, missing)| *missing) {
        return refuse(&format!("{field} can't be blank"));
    }
    if record.flags.is_some_and(|flags| flags > 255) {
        return refuse("Flags must be between 0 and 255");
    }
    let tag = record.tag.as_deref().filter(|_| record.kind == "CAA");
    if tag.is_some_and(|tag| !["issue", "issuewild", "iodef"].contains(&tag)) {
        return refuse("Tag must be issue, issuewild or iodef");
    }
    if record.ttl < 30 {
        return refuse("TTL must be greater than or equal to 30");
    }
    let others =
        || zone.records.values().filter(|other| other.id != record.id && other.name == record.name);
    if record.kind == "CNAME" && others().next().is_some() {
        return refuse("CNAME records cannot share a name with other records");
    }
    if others().any(|other| other.kind == "CNAME") {
        return refuse("Name can't be shared with a CNAME record");
    }
    Ok(())
}

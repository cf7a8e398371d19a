//! The zone and its records, which lead users to the load balancer, or to the floating IP without one.
//!
//! A zone that was there before us is used and never deleted. A record that somebody else wrote is never changed.

use std::collections::{BTreeMap, BTreeSet};

use super::Refusal;
use super::desired::Domain;
use super::draft::{Draft, gone, to};
use super::fleet::{Fate, Fleet};
use super::floating_ip;
use crate::address::Address;
use crate::cloud::{DnsRecord, RecordId};
use crate::plan::{ActionKind, Attribute, Effect, Reason, Value};
use crate::state::Resource;

/// The type of every record we write.
const KIND: &str = "A";

/// Records and zones that the spec no longer has go first, so that an address is free for its next use.
pub(super) fn remove(draft: &mut Draft<'_>) -> BTreeMap<Address, usize> {
    let wanted: BTreeSet<&str> =
        draft.desired.domain.iter().map(|domain| domain.zone.as_str()).collect();
    let mut freed = BTreeMap::new();
    let mut in_zone: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let state = draft.state;
    for (address, resource) in &state.resources {
        let (Address::Record(name), Resource::Record { id, zone, data, .. }) = (address, resource)
        else {
            continue;
        };
        let stays = draft.desired.domain.as_ref().is_some_and(|domain| {
            domain.zone == *zone && domain.records.iter().any(|(wanted, _)| wanted == name)
        });
        if stays {
            continue;
        }
        let moves = draft
            .desired
            .domain
            .as_ref()
            .filter(|domain| domain.records.iter().any(|(wanted, _)| wanted == name));
        let step = match seen(draft, zone, *id) {
            Some(_) => {
                let (action, reason, attribute) = match moves {
                    Some(domain) => {
                        let reason = Reason::CannotUpdate { attributes: vec!["zone".to_owned()] };
                        (ActionKind::Replace, reason, to("zone", Some(zone.clone()), &domain.zone))
                    }
                    None => (ActionKind::Delete, Reason::NotInSpec, gone("data", data)),
                };
                draft.change(address, action, reason, vec![attribute]);
                let (name, zone) = (name.clone(), zone.clone());
                draft.step(Effect::DeleteRecord { name, zone, id: *id }, [])
            }
            None => {
                draft.change(address, ActionKind::Forget, Reason::DeletedOutside, Vec::new());
                draft.step(Effect::Forget { address: address.clone() }, [])
            }
        };
        freed.insert(address.clone(), step);
        in_zone.entry(zone).or_default().push(step);
    }
    for (address, resource) in &state.resources {
        let (Address::Domain(zone), Resource::Domain { ours }) = (address, resource) else {
            continue;
        };
        if !wanted.contains(zone.as_str()) {
            let after = in_zone.remove(zone.as_str()).unwrap_or_default();
            remove_zone(draft, zone, *ours, Reason::NotInSpec, after);
        }
    }
    freed
}

/// Deletes a zone of ours, if nobody else has put anything into it; otherwise only forgets it.
pub(super) fn remove_zone(
    draft: &mut Draft<'_>,
    zone: &str,
    ours: bool,
    reason: Reason,
    after: Vec<usize>,
) -> usize {
    let address = Address::Domain(zone.to_owned());
    let seen = draft.observed.zones.get(zone).map(Option::is_some);
    let foreign = foreign_records(draft, zone);
    if seen == Some(true) && ours && foreign == 0 {
        draft.change(&address, ActionKind::Delete, reason, Vec::new());
        return draft.step(Effect::DeleteZone { zone: zone.to_owned() }, after);
    }
    match seen {
        Some(false) => {}
        None => draft.note(format!("the zone {zone} was not looked at and is kept")),
        Some(true) if ours => draft.note(format!(
            "the zone {zone} is kept: it has {foreign} records that are not this stack's"
        )),
        Some(true) => {
            draft.note(format!("the zone {zone} was there before this stack and is kept"));
        }
    }
    let reason = if seen == Some(false) { Reason::DeletedOutside } else { reason };
    draft.change(&address, ActionKind::Forget, reason, Vec::new());
    draft.step(Effect::Forget { address }, after)
}

fn foreign_records(draft: &Draft<'_>, zone: &str) -> usize {
    let own: BTreeSet<RecordId> = draft
        .state
        .resources
        .values()
        .filter_map(|resource| match resource {
            Resource::Record { id, .. } => Some(*id),
            _ => None,
        })
        .collect();
    let records = draft.observed.zones.get(zone).and_then(Option::as_ref);
    let by_itself = |record: &DnsRecord| matches!(record.kind.as_str(), "NS" | "SOA");
    records.map_or(0, |records| {
        records.iter().filter(|record| !by_itself(record) && !own.contains(&record.id)).count()
    })
}

/// Makes the zone and its records what the spec says.
pub(super) fn ensure(draft: &mut Draft<'_>, fleet: &Fleet<'_>, freed: &BTreeMap<Address, usize>) {
    let Some(domain) = draft.desired.domain.as_ref() else { return };
    let Some(records) = draft.observed.zones.get(&domain.zone) else {
        draft.note(format!(
            "the zone {} was not looked at, so its records stay as they are",
            domain.zone
        ));
        return;
    };
    let zone = Address::Domain(domain.zone.clone());
    let recorded = draft.state.resources.contains_key(&zone);
    match (recorded, records) {
        (true, Some(_)) => {}
        (false, Some(_)) => {
            let resource = Resource::Domain { ours: false };
            let step = draft.step(Effect::Adopt { address: zone.clone(), resource }, []);
            draft.set_made(&zone, step);
            let found = "the account has this zone already; it is never deleted".to_owned();
            draft.change(&zone, ActionKind::Adopt, Reason::ChangedOutside { found }, Vec::new());
        }
        (_, None) => {
            let forget = recorded.then(|| draft.step(Effect::Forget { address: zone.clone() }, []));
            let step = draft.step(Effect::CreateZone { zone: domain.zone.clone() }, forget);
            draft.set_made(&zone, step);
            let reason = if recorded { Reason::DeletedOutside } else { Reason::NotCreatedYet };
            draft.change(&zone, ActionKind::Create, reason, Vec::new());
        }
    }
    let seen: BTreeMap<&str, Vec<&DnsRecord>> =
        records.iter().flatten().fold(BTreeMap::new(), |mut by_name, record| {
            by_name.entry(record.name.as_str()).or_insert_with(Vec::new).push(record);
            by_name
        });
    let target = Target::of(draft, fleet);
    for (name, ttl) in &domain.records {
        let same_name = seen.get(name.as_str()).map_or(&[][..], Vec::as_slice);
        let freed = freed.get(&Address::Record(name.clone())).copied();
        record(draft, domain, &Wanted { name, ttl: *ttl, target: &target, same_name, freed });
    }
}

/// Where records lead.
struct Target {
    address: Address,
    /// The data, if it is known before the plan is carried out.
    data: Option<String>,
}

impl Target {
    fn of(draft: &Draft<'_>, fleet: &Fleet<'_>) -> Self {
        if draft.desired.balancer.is_some() {
            let address = Address::LoadBalancer;
            let kept = fleet.members.get(&address).filter(|member| member.kept());
            let ipv4 =
                kept.and_then(|member| member.droplet.as_ref()).and_then(|droplet| droplet.ipv4);
            return Self { address, data: ipv4.map(|ip| ip.to_string()) };
        }
        let ip = floating_ip::current(draft, fleet);
        Self { address: Address::FloatingIp, data: ip.map(|ip| ip.to_string()) }
    }

    fn value(&self) -> Value {
        match &self.data {
            Some(data) => Value::Known(data.clone()),
            None => Value::After(self.address.clone()),
        }
    }
}

struct Wanted<'w> {
    name: &'w str,
    ttl: u32,
    target: &'w Target,
    same_name: &'w [&'w DnsRecord],
    freed: Option<usize>,
}

fn record(draft: &mut Draft<'_>, domain: &Domain, wanted: &Wanted<'_>) {
    let address = Address::Record(wanted.name.to_owned());
    let recorded = match draft.state.resources.get(&address) {
        Some(Resource::Record { id, zone, data, ttl }) if *zone == domain.zone => {
            Some((*id, data.as_str(), *ttl))
        }
        _ => None,
    };
    let ours = recorded.and_then(|(id, ..)| wanted.same_name.iter().find(|record| record.id == id));
    let others =
        || wanted.same_name.iter().filter(|record| Some(record.id) != recorded.map(|(id, ..)| id));
    let equal = others()
        .find(|record| record.kind == KIND && Some(&record.data) == wanted.target.data.as_ref());
    let stranger = others().find(|record| {
        matches!(record.kind.as_str(), KIND | "CNAME")
            && Some(record.id) != equal.map(|equal| equal.id)
    });
    let forget = (recorded.is_some() && ours.is_none())
        .then(|| draft.step(Effect::Forget { address: address.clone() }, []));
    let lead = wanted.freed.or(forget);
    match (ours, equal) {
        (Some(ours), _) => {
            if let Some(stranger) = stranger {
                draft.note(format!(
                    "{} is not this stack's and answers for {address} too",
                    words(stranger)
                ));
            }
            update(draft, domain, wanted, &address, ours, recorded);
        }
        (None, Some(equal)) => {
            let resource = Resource::Record {
                id: equal.id,
                zone: domain.zone.clone(),
                data: equal.data.clone(),
                ttl: equal.ttl,
            };
            let step = draft.step(Effect::Adopt { address: address.clone(), resource }, lead);
            draft.set_made(&address, step);
            let found = words(equal);
            let attributes = vec![to("data", None, &equal.data)];
            draft.change(&address, ActionKind::Adopt, Reason::UnfinishedRun { found }, attributes);
            if equal.ttl != wanted.ttl {
                write(draft, domain, wanted, Some(equal.id), Some(step));
            }
        }
        (None, None) => {
            if let Some(stranger) = stranger {
                draft.refuse(conflict(&address, domain, wanted, stranger));
                return;
            }
            let reason =
                if recorded.is_some() { Reason::DeletedOutside } else { Reason::NotCreatedYet };
            let attributes = vec![
                Attribute {
                    name: "data".to_owned(),
                    before: None,
                    after: Some(wanted.target.value()),
                },
                to("ttl", None, wanted.ttl.to_string()),
            ];
            draft.change(&address, ActionKind::Create, reason, attributes);
            write(draft, domain, wanted, None, lead);
        }
    }
}

/// Makes the record that is ours say what it should, and the state what it says.
fn update(
    draft: &mut Draft<'_>,
    domain: &Domain,
    wanted: &Wanted<'_>,
    address: &Address,
    ours: &DnsRecord,
    recorded: Option<(RecordId, &str, u32)>,
) {
    let same_data = wanted.target.data.as_ref() == Some(&ours.data);
    let moved = recorded.is_some_and(|(_, data, ttl)| data != ours.data || ttl != ours.ttl);
    if same_data && ours.ttl == wanted.ttl {
        if moved {
            let resource = Resource::Record {
                id: ours.id,
                zone: domain.zone.clone(),
                data: ours.data.clone(),
                ttl: ours.ttl,
            };
            draft.step(Effect::Adopt { address: address.clone(), resource }, []);
            let reason = Reason::ChangedOutside { found: words(ours) };
            draft.change(address, ActionKind::Adopt, reason, Vec::new());
        }
        return;
    }
    let mut attributes = Vec::new();
    if !same_data {
        attributes.push(Attribute {
            name: "data".to_owned(),
            before: Some(ours.data.clone()),
            after: Some(wanted.target.value()),
        });
    }
    if ours.ttl != wanted.ttl {
        attributes.push(to("ttl", Some(ours.ttl.to_string()), wanted.ttl.to_string()));
    }
    let (action, reason) = if moved {
        (ActionKind::Repair, Reason::ChangedOutside { found: words(ours) })
    } else if wanted.target.data.is_none() {
        (ActionKind::Update, Reason::Needed { by: wanted.target.address.clone() })
    } else {
        let names = attributes.iter().map(|attribute| attribute.name.clone()).collect();
        (ActionKind::Update, Reason::SpecChanged { attributes: names })
    };
    draft.change(address, action, reason, attributes);
    write(draft, domain, wanted, Some(ours.id), None);
}

/// A record never points at what does not answer yet, so it waits for its target to be ready.
fn write(
    draft: &mut Draft<'_>,
    domain: &Domain,
    wanted: &Wanted<'_>,
    id: Option<RecordId>,
    lead: Option<usize>,
) {
    let zone = draft.made(&Address::Domain(domain.zone.clone()));
    let target = draft.ready(&wanted.target.address);
    let effect = Effect::WriteRecord {
        name: wanted.name.to_owned(),
        zone: domain.zone.clone(),
        ttl: wanted.ttl,
        data: wanted.target.address.clone(),
        id,
    };
    let step = draft.step(effect, zone.into_iter().chain(target).chain(lead));
    draft.set_made(&Address::Record(wanted.name.to_owned()), step);
}

fn conflict(
    address: &Address,
    domain: &Domain,
    wanted: &Wanted<'_>,
    stranger: &DnsRecord,
) -> Refusal {
    let expected = match &wanted.target.data {
        Some(data) => {
            format!("no other record {KIND} {}, or one with the data {data}", wanted.name)
        }
        None => format!("no other record {KIND} {}", wanted.name),
    };
    Refusal {
        object: address.to_string(),
        expected,
        observed: words(stranger),
        why: format!("the zone {} has a record of this name that is not this stack's", domain.zone),
        help: format!(
            "delete it (doctl compute domain records delete {} {}) or take {} out of domain.records",
            domain.zone, stranger.id.0, wanted.name
        ),
        allowed_by: None,
    }
}

fn words(record: &DnsRecord) -> String {
    format!(
        "{} {} {} (ttl {}, id {})",
        record.name, record.kind, record.data, record.ttl, record.id.0
    )
}

fn seen<'o>(draft: &Draft<'o>, zone: &str, id: RecordId) -> Option<&'o DnsRecord> {
    draft.observed.zones.get(zone)?.iter().flatten().find(|record| record.id == id)
}

/// Waits out cached answers that lead to a load balancer or a floating IP that goes. Answers what its deletion waits
/// for.
pub(super) fn outlive(draft: &mut Draft<'_>, fleet: &Fleet<'_>) -> Vec<usize> {
    let goes = fleet.members.get(&Address::LoadBalancer).is_some_and(|member| {
        member.droplet.is_some() && matches!(member.fate, Fate::Replace(..) | Fate::Remove)
    });
    let deposed = draft.state.deposed.values().any(|address| *address == Address::LoadBalancer);
    let given_back = !draft.desired.floating_ip && draft.state.floating_ip().is_some();
    let pointed_at_ip = draft.state.floating_ip().is_some_and(|ip| {
        draft.state.resources.values().any(
            |resource| matches!(resource, Resource::Record { data, .. } if *data == ip.to_string()),
        )
    });
    let ready = draft.ready(&Address::LoadBalancer);
    let mut led = draft.state.resources.values().filter_map(ttl).max();
    let mut after: Vec<usize> = ready.into_iter().collect();
    for step in &draft.steps {
        match &step.effect {
            Effect::WriteRecord { .. } | Effect::DeleteRecord { .. } => after.push(step.id),
            Effect::Adopt { resource, .. } => led = led.max(ttl(resource)),
            _ => {}
        }
    }
    match led.filter(|_| goes || deposed || given_back && pointed_at_ip) {
        Some(seconds) => vec![draft.step(Effect::OutliveDns { seconds }, after)],
        None => after,
    }
}

fn ttl(resource: &Resource) -> Option<u32> {
    match resource {
        Resource::Record { ttl, .. } => Some(*ttl),
        _ => None,
    }
}

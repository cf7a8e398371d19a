//! The world's things as the API writes them.

use std::net::Ipv4Addr;

use seachange_core::cloud::DropletId;
use serde_json::{Value, json};

use crate::world::account::Limits;
use crate::world::droplets::{Action, Droplet, Status, Subject};
use crate::world::tags::Tag;
use crate::world::{World, addresses, catalogue, dns};

/// A droplet.
pub(super) fn droplet(droplet: &Droplet) -> Value {
    let size = catalogue::size_by_slug(&droplet.size);
    let networks = match droplet.address {
        None => json!({ "v4": [], "v6": [] }),
        Some(address) => json!({
            "v4": [network(droplet.private, "private"), network(address, "public")],
            "v6": [],
        }),
    };
    let status = match droplet.status {
        Status::New => "new",
        Status::Active => "active",
        Status::Off => "off",
    };
    json!({
        "id": droplet.id,
        "name": droplet.name,
        "memory": size.map_or(0, |size| size.memory_mb),
        "vcpus": size.map_or(0, |size| size.vcpus),
        "disk": size.map_or(0, |size| size.disk_gb),
        "disk_info": [],
        "locked": droplet.locked,
        "status": status,
        "kernel": null,
        "created_at": seconds(droplet.created_at),
        "features": ["private_networking"],
        "backup_ids": [],
        "next_backup_window": null,
        "snapshot_ids": [],
        "image": catalogue::image(&droplet.image).map(image),
        "volume_ids": [],
        "size": size.map(self::size),
        "size_slug": droplet.size,
        "networks": networks,
        "region": region(&droplet.region),
        "tags": droplet.tags,
        "vpc_uuid": "5a4981aa-9653-4bd1-bef5-d6bff52042e4",
    })
}

fn network(address: Ipv4Addr, kind: &str) -> Value {
    let [a, b, ..] = address.octets();
    json!({ "ip_address": address, "netmask": "255.255.0.0", "gateway": Ipv4Addr::new(a, b, 0, 1), "type": kind })
}

/// An action. `family` is `reserved_ip` or `floating_ip`, whichever path it was asked for under.
pub(super) fn action(action: &Action, family: &str) -> Value {
    let (id, kind) = match action.on {
        Subject::Droplet(DropletId(id)) => (id, "droplet"),
        Subject::Address(ip) => (u64::from(u32::from(ip)), family),
    };
    json!({
        "id": action.id,
        "status": action.status,
        "type": action.kind,
        "started_at": seconds(action.started_at),
        "completed_at": action.completed_at.map(seconds),
        "resource_id": id,
        "resource_type": kind,
        "region": region(&action.region),
        "region_slug": action.region,
    })
}

/// A link to an action.
pub(super) fn action_link(id: u64, rel: &str) -> Value {
    json!({ "id": id, "rel": rel, "href": format!("https://api.digitalocean.com/v2/actions/{id}") })
}

/// A tag.
pub(super) fn tag(tag: &Tag, ids: &[DropletId]) -> Value {
    let uri = |id: &DropletId| format!("https://api.digitalocean.com/v2/droplets/{id}");
    let mut droplets = json!({ "count": ids.len() });
    if let Some(last) = ids.last() {
        droplets["last_tagged_uri"] = json!(uri(last));
    }
    let none = || json!({ "count": 0 });
    json!({
        "name": tag.name,
        "resources": {
            "count": ids.len(),
            "droplets": droplets,
            "imgages": none(),
            "volumes": none(),
            "volume_snapshots": none(),
            "databases": none(),
        },
    })
}

/// A reserved IP.
pub(super) fn reserved(world: &World, reserved: &addresses::Reserved, locked: bool) -> Value {
    let droplet = reserved.droplet.and_then(|id| world.droplet_now(id));
    json!({
        "ip": reserved.ip,
        "region": region(&reserved.region),
        "droplet": droplet.map(|found| self::droplet(&found)),
        "locked": locked,
        "project_id": "746c6152-2fa2-11ed-92d3-27aaa54e4988",
    })
}

/// A zone.
pub(super) fn zone(name: &str, records: &[dns::Record]) -> Value {
    let lines = records.iter().map(|record| {
        format!("{} {} IN {} {}\n", record.name, record.ttl, record.kind, record.data)
    });
    json!({ "name": name, "ttl": 1800, "zone_file": format!("$ORIGIN {name}.\n{}", lines.collect::<String>()) })
}

/// The account.
pub(super) fn account(limits: Limits) -> Value {
    json!({
        "droplet_limit": limits.droplets,
        "floating_ip_limit": limits.reserved_ips,
        "email": "someone@example.org",
        "name": "Local Cloud",
        "uuid": "b6fr89dbf6d9156cace5f3c78dc9851d957381ef",
        "email_verified": true,
        "status": "active",
        "status_message": "",
    })
}

/// A size.
pub(super) fn size(size: &catalogue::Size) -> Value {
    let monthly = size.monthly_cents as f64 / 100.0;
    json!({
        "slug": size.slug,
        "memory": size.memory_mb,
        "vcpus": size.vcpus,
        "disk": size.disk_gb,
        "transfer": size.transfer_tb,
        "price_monthly": monthly,
        // Single precision widened, as the service sends it.
        "price_hourly": f64::from((monthly / 672.0) as f32),
        "regions": size.regions,
        "available": true,
        "description": size.about,
    })
}

/// A region.
pub(super) fn region(slug: &str) -> Value {
    let sizes =
        catalogue::SIZES.iter().filter(|size| size.regions.contains(&slug)).map(|size| size.slug);
    json!({
        "name": slug.to_uppercase(),
        "slug": slug,
        "features": ["backups", "ipv6", "metadata", "install_agent", "storage", "image_transfer"],
        "available": true,
        "sizes": sizes.collect::<Vec<_>>(),
    })
}

/// A base image.
pub(super) fn image(image: &catalogue::Image) -> Value {
    json!({
        "id": image.id,
        "name": image.name,
        "type": "base",
        "distribution": image.distribution,
        "slug": image.slug,
        "public": true,
        "regions": catalogue::REGIONS.iter().filter(|&&slug| slug != "atl1").collect::<Vec<_>>(),
        "created_at": "2025-11-03T12:00:00Z",
        "min_disk_size": image.min_disk_gb,
        "size_gigabytes": 2.36,
        "description": image.name,
        "tags": [],
        "status": "available",
    })
}

fn seconds(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

//! What every `Cloud` must do.

use std::collections::BTreeSet;
use std::time::Duration;

use seachange_core::cloud::{
    ActionStatus, Cloud, CloudError, DnsRecordWrite, Droplet, DropletCreate, DropletId,
    DropletStatus,
};

const OWNER: &str = "seachange:conformance";
const ZONE: &str = "conformance.example";
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDmL5BvDgMTzJ3uT0sS1GkO0mG2mJqY1mE8nF4v2vZ7a conformance";
/// More than two pages of the largest size.
const MANY: usize = 450;

/// Everything, in an account of its own that may have 460 droplets and 2 reserved IPs.
pub(crate) async fn suite(cloud: &dyn Cloud) {
    let workers = droplets(cloud).await;
    tags(cloud, &workers).await;
    addresses(cloud, &workers).await;
    deletes(cloud, workers).await;
    names(cloud).await;
    keys(cloud).await;
    catalogue(cloud).await;
    pages(cloud).await;
}

fn create(names: &[&str], tags: &[&str]) -> DropletCreate {
    DropletCreate {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        region: "fra1".to_owned(),
        size: "s-1vcpu-1gb".to_owned(),
        image: "ubuntu-24-04-x64".to_owned(),
        ssh_keys: Vec::new(),
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        user_data: None,
    }
}

/// Waits for something that happens by itself, and not for ever.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..2_000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came true: {what}");
}

async fn ready(cloud: &dyn Cloud, id: DropletId) -> Droplet {
    until("a droplet is active, unlocked and has its addresses", async || {
        let droplet = cloud.droplet(id).await.unwrap();
        let is_so = droplet.status == DropletStatus::Active
            && !droplet.locked
            && droplet.public_ipv4.is_some()
            && droplet.private_ipv4.is_some();
        is_so.then_some(droplet)
    })
    .await
}

/// Created alone or together, with all their tags at once; booting takes its time.
async fn droplets(cloud: &dyn Cloud) -> Vec<DropletId> {
    let mut made = cloud.create_droplets(&create(&["one"], &[OWNER, "PROD"])).await.unwrap();
    assert_eq!(made.len(), 1);
    let both = cloud.create_droplets(&create(&["two", "three"], &[OWNER])).await.unwrap();
    assert_eq!(both.iter().map(|made| made.name.as_str()).collect::<Vec<_>>(), ["two", "three"]);
    made.extend(both);
    for droplet in &made {
        assert_eq!((droplet.status, droplet.locked), (DropletStatus::New, true));
        assert_eq!(droplet.region, "fra1");
        assert_eq!(droplet.image.as_deref(), Some("ubuntu-24-04-x64"));
        assert!(droplet.tags.iter().flatten().any(|tag| tag == OWNER));
    }
    let ids: Vec<DropletId> = made.iter().map(|droplet| droplet.id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 3);
    let early = cloud.create_reserved_ip(ids[0]).await;
    assert!(matches!(early, Err(CloudError::Pending { .. })), "{early:?}");
    let mut addresses = BTreeSet::new();
    for id in &ids {
        addresses.insert(ready(cloud, *id).await.public_ipv4);
    }
    assert_eq!(addresses.len(), 3);

    let listed = cloud.droplets_by_tag(OWNER).await.unwrap();
    assert_eq!(
        listed.iter().map(|droplet| droplet.id).collect::<BTreeSet<_>>(),
        ids.iter().copied().collect()
    );
    assert_eq!(cloud.droplets_by_tag("nobody-has-this").await, Ok(Vec::new()));
    let unknown = cloud.droplet(DropletId(1)).await;
    assert!(matches!(unknown, Err(CloudError::NotFound { .. })), "{unknown:?}");
    for (wrong, what) in [
        (DropletCreate { size: "none".to_owned(), ..create(&["x"], &[]) }, "size"),
        (DropletCreate { region: "none".to_owned(), ..create(&["x"], &[]) }, "region"),
        (DropletCreate { image: "none".to_owned(), ..create(&["x"], &[]) }, "image"),
        (create(&["no_hostname"], &[]), "name"),
        (create(&["x"], &["no tag"]), "tag"),
    ] {
        let refused = cloud.create_droplets(&wrong).await;
        assert!(matches!(refused, Err(CloudError::Invalid { .. })), "{what}: {refused:?}");
    }
    ids
}

/// The first spelling wins, comparison is without case, and both directions are harmless twice.
async fn tags(cloud: &dyn Cloud, ids: &[DropletId]) {
    let with = async |tag: &str| {
        let found = cloud.droplets_by_tag(tag).await.unwrap();
        found.into_iter().map(|droplet| droplet.id).collect::<BTreeSet<_>>()
    };
    assert_eq!(with("prod").await, BTreeSet::from([ids[0]]));
    for _ in 0..2 {
        cloud.tag_droplets("prod", &[ids[1]]).await.unwrap();
    }
    assert_eq!(with("PROD").await, BTreeSet::from([ids[0], ids[1]]));
    let spelled = cloud.droplet(ids[1]).await.unwrap().tags.unwrap();
    assert!(spelled.contains(&"PROD".to_owned()), "{spelled:?}");
    for _ in 0..2 {
        cloud.untag_droplets("Prod", &[ids[0]]).await.unwrap();
    }
    assert_eq!(with("PROD").await, BTreeSet::from([ids[1]]));
    cloud.tag_droplets("FALLBACK", &[ids[0], ids[2]]).await.unwrap();
    assert_eq!(with("FALLBACK").await, BTreeSet::from([ids[0], ids[2]]));
    cloud.untag_droplets("nobody-has-this", &[ids[0]]).await.unwrap();
    for _ in 0..2 {
        cloud.delete_tag("FALLBACK").await.unwrap();
    }
    assert_eq!(with("FALLBACK").await, BTreeSet::new());
}

/// One address, moved without a gap of its own, one event at a time; it outlives its droplet.
async fn addresses(cloud: &dyn Cloud, ids: &[DropletId]) {
    let reserved = cloud.create_reserved_ip(ids[0]).await.unwrap();
    let ip = reserved.ip;
    assert!(reserved.locked, "the assign is under way");
    let busy = cloud.assign_reserved_ip(ip, ids[1]).await;
    assert!(matches!(busy, Err(CloudError::Pending { .. })), "{busy:?}");
    let points_to = async |droplet: DropletId| {
        until("the address points there, and nothing holds it", async || {
            let now = cloud.reserved_ip(ip).await.unwrap();
            (now.droplet == Some(droplet) && !now.locked).then_some(())
        })
        .await;
    };
    points_to(ids[0]).await;
    let second = cloud.create_reserved_ip(ids[0]).await;
    assert!(matches!(second, Err(CloudError::Invalid { .. })), "one a droplet: {second:?}");

    let action = cloud.assign_reserved_ip(ip, ids[1]).await.unwrap();
    assert_eq!(action.status, ActionStatus::InProgress);
    let now = cloud.reserved_ip(ip).await.unwrap();
    assert_eq!(now.droplet, Some(ids[0]), "users stay where they are until the move ends");
    until("the action ends", async || {
        let action = cloud.reserved_ip_action(ip, action.id).await.unwrap();
        (action.status == ActionStatus::Completed).then_some(())
    })
    .await;
    points_to(ids[1]).await;

    let other = cloud.create_reserved_ip(ids[2]).await.unwrap().ip;
    until("the second address is at rest", async || {
        (!cloud.reserved_ip(other).await.unwrap().locked).then_some(())
    })
    .await;
    let third = cloud.create_reserved_ip(ids[0]).await;
    assert!(matches!(third, Err(CloudError::LimitReached { .. })), "{third:?}");
    let all: BTreeSet<_> =
        cloud.reserved_ips().await.unwrap().into_iter().map(|reserved| reserved.ip).collect();
    assert_eq!(all, BTreeSet::from([ip, other]));
    for _ in 0..2 {
        cloud.delete_reserved_ip(other).await.unwrap();
    }
    let gone = cloud.reserved_ip(other).await;
    assert!(matches!(gone, Err(CloudError::NotFound { .. })), "{gone:?}");

    cloud.delete_droplet(ids[1]).await.unwrap();
    until("the droplet is gone", async || {
        matches!(cloud.droplet(ids[1]).await, Err(CloudError::NotFound { .. })).then_some(())
    })
    .await;
    assert_eq!(cloud.reserved_ip(ip).await.unwrap().droplet, None);
    cloud.delete_reserved_ip(ip).await.unwrap();
}

/// A delete is answered at once and done later; deleting what is gone is no error.
async fn deletes(cloud: &dyn Cloud, ids: Vec<DropletId>) {
    for id in &ids {
        cloud.delete_droplet(*id).await.unwrap();
    }
    until("the list is empty", async || {
        cloud.droplets_by_tag(OWNER).await.unwrap().is_empty().then_some(())
    })
    .await;
    for id in ids {
        cloud.delete_droplet(id).await.unwrap();
    }
}

/// Zones and records: equal ones are accepted twice, so whoever lost an answer has to look.
async fn names(cloud: &dyn Cloud) {
    let absent = cloud.dns_records(ZONE).await;
    assert!(matches!(absent, Err(CloudError::NotFound { .. })), "{absent:?}");
    cloud.create_zone(ZONE).await.unwrap();
    let twice = cloud.create_zone(ZONE).await;
    assert!(
        matches!(twice, Err(CloudError::Invalid { .. } | CloudError::Conflict { .. })),
        "{twice:?}"
    );
    let own = cloud.dns_records(ZONE).await.unwrap();
    assert!(own.iter().any(|record| record.kind == "NS"), "a zone comes with its own records");

    let write = |data: &str, ttl| DnsRecordWrite {
        kind: "A".to_owned(),
        name: "www".to_owned(),
        data: data.to_owned(),
        ttl,
    };
    let first = cloud.create_dns_record(ZONE, &write("192.0.2.1", 300)).await.unwrap();
    let second = cloud.create_dns_record(ZONE, &write("192.0.2.1", 300)).await.unwrap();
    assert_ne!(first.id, second.id);
    let changed = cloud.update_dns_record(ZONE, first.id, &write("192.0.2.2", 600)).await.unwrap();
    assert_eq!((changed.id, changed.data.as_str(), changed.ttl), (first.id, "192.0.2.2", 600));
    let www = async || {
        let records = cloud.dns_records(ZONE).await.unwrap();
        records.into_iter().filter(|record| record.name == "www").collect::<Vec<_>>()
    };
    let records = www().await;
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record.ttl == 600), "records of one name share a TTL");
    for (wrong, what) in [(write("nonsense", 300), "data"), (write("192.0.2.1", 29), "TTL")] {
        let refused = cloud.create_dns_record(ZONE, &wrong).await;
        assert!(matches!(refused, Err(CloudError::Invalid { .. })), "{what}: {refused:?}");
    }
    for _ in 0..2 {
        cloud.delete_dns_record(ZONE, second.id).await.unwrap();
    }
    assert_eq!(www().await.len(), 1);
    for _ in 0..2 {
        cloud.delete_zone(ZONE).await.unwrap();
    }
}

/// Keys are found by their fingerprint, which is made of their text.
async fn keys(cloud: &dyn Cloud) {
    let key = cloud.create_ssh_key("conformance", KEY).await.unwrap();
    assert_eq!(cloud.ssh_key(&key.fingerprint).await.unwrap().id, key.id);
    let twice = cloud.create_ssh_key("again", KEY).await;
    assert!(matches!(twice, Err(CloudError::Invalid { .. })), "{twice:?}");
    for _ in 0..2 {
        cloud.delete_ssh_key(key.id).await.unwrap();
    }
    let gone = cloud.ssh_key(&key.fingerprint).await;
    assert!(matches!(gone, Err(CloudError::NotFound { .. })), "{gone:?}");
}

async fn catalogue(cloud: &dyn Cloud) {
    let sizes = cloud.sizes().await.unwrap();
    let small = sizes.iter().find(|size| size.slug == "s-1vcpu-1gb").unwrap();
    assert!(small.monthly_cents > 0 && small.regions.iter().any(|region| region == "fra1"));
    assert_eq!(cloud.base_image("ubuntu-24-04-x64").await.unwrap().slug, "ubuntu-24-04-x64");
    let absent = cloud.base_image("none").await;
    assert!(matches!(absent, Err(CloudError::NotFound { .. })), "{absent:?}");
    let account = cloud.account().await.unwrap();
    assert_eq!((account.droplet_limit, account.reserved_ip_limit), (460, 2));
}

/// More than two pages: every droplet once; and the limit after them.
async fn pages(cloud: &dyn Cloud) {
    let mut made = BTreeSet::new();
    for batch in 0..MANY / 10 {
        let names: Vec<String> = (0..10).map(|at| format!("many-{batch}-{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let droplets = cloud.create_droplets(&create(&names, &[OWNER])).await.unwrap();
        made.extend(droplets.into_iter().map(|droplet| droplet.id));
    }
    let before = cloud.requests_sent();
    let listed = cloud.droplets_by_tag(OWNER).await.unwrap();
    assert_eq!(cloud.requests_sent() - before, 3);
    assert_eq!((listed.len(), made.len()), (MANY, MANY));
    assert_eq!(listed.into_iter().map(|droplet| droplet.id).collect::<BTreeSet<_>>(), made);
    let names: Vec<String> = (0..10).map(|at| format!("more-{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    cloud.create_droplets(&create(&names, &[OWNER])).await.unwrap();
    let beyond = cloud.create_droplets(&create(&["beyond"], &[OWNER])).await;
    assert!(matches!(beyond, Err(CloudError::LimitReached { .. })), "{beyond:?}");
}

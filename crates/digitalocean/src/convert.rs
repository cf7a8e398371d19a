//! From wire types to domain types. What the API leaves open is decided here, once.

use seachange_core::cloud::{
    Account, Action, ActionId, ActionStatus, BaseImage, DnsRecord, Droplet, DropletId,
    DropletStatus, RecordId, ReservedIp, Size, SshKey, SshKeyId,
};

use crate::wire;

/// A droplet. A status that this program does not know is taken as "not there yet".
pub(crate) fn droplet(wire: wire::Droplet) -> Droplet {
    let address = |kind: &str| {
        let found = wire.networks.v4.iter().find(|address| address.kind == kind)?;
        found.ip_address.parse().ok()
    };
    Droplet {
        id: DropletId(wire.id),
        status: match wire.status {
            wire::DropletStatus::New | wire::DropletStatus::Other => DropletStatus::New,
            wire::DropletStatus::Active => DropletStatus::Active,
            wire::DropletStatus::Off => DropletStatus::Off,
            wire::DropletStatus::Archive => DropletStatus::Archive,
        },
        locked: wire.locked,
        size: wire.size_slug,
        region: slug(wire.region).unwrap_or_default(),
        image: slug(wire.image),
        public_ipv4: address("public"),
        private_ipv4: address("private"),
        name: wire.name,
        tags: wire.tags,
        created_at: wire.created_at,
    }
}

/// A reserved IP with its target, which the caller knows how to read.
pub(crate) fn reserved_ip(wire: wire::ReservedIp, droplet: Option<wire::Id>) -> ReservedIp {
    ReservedIp {
        ip: wire.ip,
        region: slug(wire.region).unwrap_or_default(),
        droplet: droplet.map(|droplet| DropletId(droplet.id)),
        locked: wire.locked,
    }
}

/// An action. A status that this program does not know is taken as "under way"; whoever waits has a deadline.
pub(crate) fn action(wire: wire::Action) -> Action {
    Action {
        id: ActionId(wire.id),
        status: match wire.status {
            wire::ActionStatus::InProgress | wire::ActionStatus::Other => ActionStatus::InProgress,
            wire::ActionStatus::Completed => ActionStatus::Completed,
            wire::ActionStatus::Errored => ActionStatus::Errored,
        },
        kind: wire.kind,
    }
}

/// A record. Names in its data lose the trailing dot, if the service shows one, so that they compare equal.
pub(crate) fn record(wire: wire::DomainRecord) -> DnsRecord {
    let mut data = wire.data;
    let names_a_host = matches!(wire.kind.as_str(), "CNAME" | "MX" | "NS" | "SRV");
    if names_a_host && data.len() > 1 && data.ends_with('.') {
        data.pop();
    }
    DnsRecord { id: RecordId(wire.id), kind: wire.kind, name: wire.name, data, ttl: wire.ttl }
}

/// A key.
pub(crate) fn ssh_key(wire: wire::SshKey) -> SshKey {
    SshKey {
        id: SshKeyId(wire.id),
        name: wire.name,
        fingerprint: wire.fingerprint,
        public_key: wire.public_key,
    }
}

/// A size. Prices are floats with noise; cents are what a person pays.
pub(crate) fn size(wire: wire::Size) -> Size {
    Size {
        slug: wire.slug,
        monthly_cents: cents(wire.price_monthly),
        regions: wire.regions,
        available: wire.available,
        disk_gb: wire.disk,
    }
}

/// A base image, under the slug it was asked for (which may be an alias of the slug it shows).
pub(crate) fn image(wire: wire::Image, slug: &str) -> BaseImage {
    BaseImage {
        slug: wire.slug.unwrap_or_else(|| slug.to_owned()),
        regions: wire.regions,
        min_disk_gb: wire.min_disk_size.unwrap_or(0),
    }
}

/// The account. A limit that the token may not see is no limit for us: the service will enforce it.
pub(crate) fn account(wire: &wire::Account) -> Account {
    Account {
        droplet_limit: wire.droplet_limit.unwrap_or(u64::MAX),
        reserved_ip_limit: wire.floating_ip_limit.unwrap_or(u64::MAX),
    }
}

fn slug(wire: Option<wire::Slug>) -> Option<String> {
    wire.and_then(|thing| thing.slug)
}

/// Casts from floats saturate, so nonsense becomes zero or very much rather than a panic.
fn cents(dollars: f64) -> u64 {
    (dollars * 100.0).round() as u64
}

#[cfg(test)]
mod tests {
    use seachange_core::cloud::{ActionStatus, DropletStatus};

    use super::{action, cents, droplet, record};

    #[test]
    fn addresses_are_found_by_type_and_absence_is_kept() {
        let text = r#"{"id":5000000000,"name":"a","status":"active","locked":true,"size_slug":"s",
            "created_at":"2020-07-21T18:37:44Z","region":{"slug":"fra1","x":[]},"image":null,"networks":{"v4":[
            {"ip_address":"10.0.0.2","type":"private"},{"ip_address":"192.0.2.1","type":"public"}],"v6":[]}}"#;
        let read = droplet(serde_json::from_str(text).unwrap());
        assert_eq!(read.public_ipv4, Some([192, 0, 2, 1].into()));
        assert_eq!(read.private_ipv4, Some([10, 0, 0, 2].into()));
        assert_eq!((read.tags, read.image, read.id.0), (None, None, 5_000_000_000));
        assert!(read.locked);
    }

    #[test]
    fn words_that_are_not_known_mean_not_yet() {
        let text =
            r#"{"id":1,"name":"a","status":"migrating","created_at":"2020-07-21T18:37:44Z"}"#;
        assert_eq!(droplet(serde_json::from_str(text).unwrap()).status, DropletStatus::New);
        let status = |word: &str| {
            let text = format!(r#"{{"id":1,"status":"{word}","type":"assign_ip"}}"#);
            action(serde_json::from_str(&text).unwrap()).status
        };
        assert_eq!(status("in-progress"), ActionStatus::InProgress);
        assert_eq!(status("completed"), ActionStatus::Completed);
        assert_eq!(status("done"), ActionStatus::Completed);
        assert_eq!(status("errored"), ActionStatus::Errored);
        assert_eq!(status("queued"), ActionStatus::InProgress);
    }

    #[test]
    fn a_target_name_loses_its_dot_and_a_text_keeps_it() {
        let data = |kind: &str| {
            let text =
                format!(r#"{{"id":1,"type":"{kind}","name":"@","data":"a.example.","ttl":30}}"#);
            record(serde_json::from_str(&text).unwrap()).data
        };
        assert_eq!(data("CNAME"), "a.example");
        assert_eq!(data("TXT"), "a.example.");
    }

    #[test]
    fn prices_are_rounded_to_cents() {
        assert_eq!(
            [cents(6.0), cents(4.999_999_9), cents(0.1 + 0.2), cents(-1.0)],
            [600, 500, 30, 0]
        );
    }
}

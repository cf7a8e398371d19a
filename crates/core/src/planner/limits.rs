//! What the account can give: sizes, images, limits and prices. Said before anything is done, not halfway through.

use std::collections::{BTreeMap, BTreeSet};

use super::Refusal;
use super::draft::Draft;
use super::fleet::Fleet;
use crate::observed::Catalogue;
use crate::plan::{Cost, DropletTemplate, Effect};

/// Refuses creates that the account would refuse.
pub(super) fn check(draft: &mut Draft<'_>) {
    let Some(catalogue) = &draft.observed.catalogue else { return };
    let mut templates: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
    let mut droplets = 0_u64;
    let mut addresses = 0_u64;
    for step in &draft.steps {
        match &step.effect {
            Effect::CreateDroplets { addresses, template } => {
                let DropletTemplate { region, size, image, .. } = template;
                templates.insert((region, size, image));
                droplets += addresses.len() as u64;
            }
            Effect::ReserveFloatingIp { .. } => addresses += 1,
            _ => {}
        }
    }
    let mut refusals = Vec::new();
    for (region, size, image) in templates {
        refusals.extend(size_refusal(catalogue, region, size));
        refusals.extend(image_refusal(catalogue, region, size, image));
    }
    refusals.dedup();
    if let Some(account) = &catalogue.account {
        let reserved = draft.observed.reserved_ips.len() as u64;
        let limits = [
            ("droplets", catalogue.droplets_in_account, droplets, account.droplet_limit),
            ("reserved IPs", Some(reserved), addresses, account.reserved_ip_limit),
        ];
        for (what, present, more, limit) in limits {
            let Some(present) = present.filter(|present| more > 0 && present + more > limit) else {
                continue;
            };
            refusals.push(Refusal {
                object: "account".to_owned(),
                expected: format!("room for {more} more {what} under the limit of {limit}"),
                observed: format!("{present} {what} in the account"),
                why: format!("the account may have {limit} {what} at a time"),
                help: "ask DigitalOcean for a higher limit (cloud.digitalocean.com/account/team), or delete what is not needed"
                    .to_owned(),
                allowed_by: None,
            });
        }
    }
    draft.refusals.extend(refusals);
}

fn size_refusal(catalogue: &Catalogue, region: &str, slug: &str) -> Option<Refusal> {
    let refusal = |observed: String, why: &str| Refusal {
        object: format!("size {slug}"),
        expected: format!("a size that is on offer in {region}"),
        observed,
        why: why.to_owned(),
        help: "see: doctl compute size list".to_owned(),
        allowed_by: None,
    };
    let Some(size) = catalogue.sizes.get(slug) else {
        let near = nearest(slug, catalogue.sizes.keys().map(String::as_str));
        let observed = near.map_or("no such size".to_owned(), |near| {
            format!("no such size; did you mean {near}?")
        });
        return Some(refusal(observed, "DigitalOcean does not know this size"));
    };
    if size.available && size.regions.iter().any(|offered| offered == region) {
        return None;
    }
    Some(refusal(format!("offered in {}", list(&size.regions)), "this size is not on offer there"))
}

fn image_refusal(catalogue: &Catalogue, region: &str, size: &str, slug: &str) -> Option<Refusal> {
    let refusal = |expected: String, observed: String, why: &str| Refusal {
        object: format!("image {slug}"),
        expected,
        observed,
        why: why.to_owned(),
        help: "see: doctl compute image list-distribution --public".to_owned(),
        allowed_by: None,
    };
    let Some(image) = catalogue.images.get(slug)? else {
        let expected = format!("a base image that is on offer in {region}");
        return Some(refusal(
            expected,
            "no such image".to_owned(),
            "DigitalOcean does not know this image",
        ));
    };
    if !image.regions.iter().any(|offered| offered == region) {
        let expected = format!("a base image that is on offer in {region}");
        let observed = format!("offered in {}", list(&image.regions));
        return Some(refusal(expected, observed, "this image is not on offer there"));
    }
    let disk = catalogue.sizes.get(size)?.disk_gb;
    (disk < image.min_disk_gb).then(|| {
        let expected = format!("a disk of {} GB or more", image.min_disk_gb);
        refusal(
            expected,
            format!("{disk} GB with size {size}"),
            "this image does not fit on the size's disk",
        )
    })
}

fn list(regions: &[String]) -> String {
    if regions.is_empty() { "no region".to_owned() } else { regions.join(", ") }
}

/// The slug that differs least, if it differs little.
fn nearest<'s>(slug: &str, slugs: impl Iterator<Item = &'s str>) -> Option<&'s str> {
    slugs
        .map(|other| (distance(slug, other), other))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, other)| other)
}

fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

/// Prices of the stack's droplets before and after, if every size's price is known.
pub(super) fn cost(draft: &Draft<'_>, fleet: &Fleet<'_>) -> Option<Cost> {
    let prices = &draft.observed.catalogue.as_ref()?.sizes;
    let mut sizes: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (address, member) in &fleet.members {
        for seen in member.seen.iter().chain(&member.extras) {
            sizes.entry(&seen.size).or_default().0 += 1;
        }
        let after = match (&member.droplet, draft.desired.machine(address)) {
            (_, Some(machine)) if !member.kept() => Some(&machine.size),
            (Some(droplet), Some(_)) => Some(&droplet.size),
            (Some(_) | None, _) => None,
        };
        if let Some(size) = after {
            sizes.entry(size).or_default().1 += 1;
        }
    }
    for seen in draft.state.deposed.keys().filter_map(|id| draft.observed.droplets.get(id)) {
        sizes.entry(&seen.size).or_default().0 += 1;
    }
    let mut cost = Cost { before_cents: 0, after_cents: 0 };
    for (size, (before, after)) in sizes {
        let price = prices.get(size)?.monthly_cents;
        cost.before_cents += price * before;
        cost.after_cents += price * after;
    }
    Some(cost)
}

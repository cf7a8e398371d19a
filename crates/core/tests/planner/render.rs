//! A plan in few words, one line a thing, for goldens: short enough to be read by a reviewer of this code.

use std::fmt::Write as _;

use seachange_core::image::Digest;
use seachange_core::plan::{Change, Effect, Finding, Plan, Reason, Value};
use seachange_core::planner::Refusal;

/// The whole plan.
pub(crate) fn plan(plan: &Plan) -> String {
    let mut text = format!("{:?} at serial {}\n", plan.purpose, plan.serial);
    for drift in &plan.drift {
        let _ = writeln!(text, "! {}: {}", drift.address, finding(&drift.finding));
    }
    for one in &plan.changes {
        text.push_str(&change(one));
    }
    for step in &plan.steps {
        let after: Vec<String> = step.after.iter().map(usize::to_string).collect();
        let after =
            if after.is_empty() { String::new() } else { format!("  < {}", after.join(" ")) };
        let _ = writeln!(text, "{:2}. {}{after}", step.id, effect(&step.effect));
    }
    if let Some(release) = &plan.release {
        let live = release.live.as_ref().map_or("nothing".to_owned(), |(image, _)| image.version());
        let from = release.from.map_or("-".to_owned(), |from| from.to_string());
        let _ = writeln!(
            text,
            "release: {:?} {live} → {}, worker {from} → {}, resumes {:?}{}",
            release.kind,
            release.image.version(),
            release.to,
            release.resumes.as_ref().map(|resumes| resumes.phase),
            if release.undoes() { ", taken back" } else { "" }
        );
    }
    for note in &plan.notes {
        let _ = writeln!(text, "note: {note}");
    }
    if let Some(cost) = plan.cost {
        let _ = writeln!(text, "cents a month: {} → {}", cost.before_cents, cost.after_cents);
    }
    text
}

/// Refusals, one after the other.
pub(crate) fn refusals(refusals: &[Refusal]) -> String {
    refusals.iter().fold(String::new(), |mut text, refusal| {
        let _ = writeln!(text, "{refusal}\n  help: {}", refusal.help);
        if let Some(option) = refusal.allowed_by {
            let _ = writeln!(text, "  allowed by {option}");
        }
        text
    })
}

fn change(change: &Change) -> String {
    let mut text = format!("{:?} {} ({})\n", change.action, change.address, reason(&change.reason));
    for attribute in &change.attributes {
        let before = attribute.before.as_deref().map_or("-".to_owned(), short);
        let after = match &attribute.after {
            None => "-".to_owned(),
            Some(Value::Known(value)) => short(value),
            Some(Value::After(address)) => format!("(after {address})"),
        };
        let _ = writeln!(text, "    {}: {before} → {after}", attribute.name);
    }
    text
}

fn reason(reason: &Reason) -> String {
    match reason {
        Reason::CannotUpdate { attributes } => format!("cannot update {}", attributes.join(", ")),
        Reason::SpecChanged { attributes } => format!("spec changed {}", attributes.join(", ")),
        Reason::ChangedOutside { found } => format!("changed outside: {}", short_words(found)),
        Reason::UnfinishedRun { found } => format!("unfinished run: {found}"),
        Reason::Needed { by } => format!("needed by {by}"),
        other => format!("{other:?}"),
    }
}

fn finding(finding: &Finding) -> String {
    match finding {
        Finding::Changed { attribute, recorded, observed } => {
            format!("{attribute} {} → {}", short(recorded), short(observed))
        }
        Finding::ForeignImage { worker, observed, .. } => {
            format!("worker {worker} runs {}", short_words(observed))
        }
        other => format!("{other:?}"),
    }
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Adopt { address, .. } => format!("adopt {address}"),
        Effect::Forget { address } => format!("forget {address}"),
        Effect::CreateSshKey { name, .. } => format!("create ssh_key.{name}"),
        Effect::CreateDroplets { addresses, template } => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!(
                "create {} {} [{}] {:?}",
                addresses.join(" "),
                template.size,
                template.tags.join(" "),
                template.bootstrap
            )
        }
        Effect::PrepareHost { address } => format!("prepare {address}"),
        Effect::ReserveFloatingIp { worker } => format!("reserve floating_ip for worker {worker}"),
        Effect::AssignFloatingIp { worker } => format!("assign floating_ip to worker {worker}"),
        Effect::CreateZone { zone } => format!("create domain.{zone}"),
        Effect::WriteRecord { name, zone, ttl, data, id } => {
            let id = id.map_or("new".to_owned(), |id| id.0.to_string());
            format!("write record.{name} ({id}) in {zone}: {data}, ttl {ttl}")
        }
        Effect::ConfigureLoadBalancer { listen, port } => {
            format!("configure load balancer {listen} → {port}")
        }
        Effect::Retag => "retag".to_owned(),
        Effect::Warm { worker, image, .. } => {
            format!("warm worker {worker} with {}", image.version())
        }
        Effect::Release => "release".to_owned(),
        Effect::OutliveDns { seconds } => format!("outlive DNS by {seconds} s"),
        Effect::DeleteDroplet { address, droplet } => {
            format!("delete {address} = droplet {droplet}")
        }
        Effect::DeleteFloatingIp { ip } => format!("delete floating_ip {ip}"),
        Effect::DeleteRecord { name, id, .. } => format!("delete record.{name} ({})", id.0),
        Effect::DeleteZone { zone } => format!("delete domain.{zone}"),
        Effect::DeleteSshKey { name, .. } => format!("delete ssh_key.{name}"),
        Effect::DeleteTags { tags } => format!("delete tags {}", tags.join(" ")),
    }
}

fn short(value: &str) -> String {
    if let Ok(digest) = value.parse::<Digest>() {
        return digest.short();
    }
    if value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return format!("{}…", &value[..8]);
    }
    value.to_owned()
}

fn short_words(text: &str) -> String {
    text.split(' ').map(short).collect::<Vec<_>>().join(" ")
}

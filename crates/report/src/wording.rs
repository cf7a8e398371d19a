//! Reasons, findings, effects and phases in words. One word per concept: docs/glossary.md.

use seachange_core::plan::{ActionKind, Effect, Finding, Reason, Value};

/// The sign in front of a change.
pub fn sign(action: ActionKind) -> &'static str {
    match action {
        ActionKind::Create => "+",
        ActionKind::Update | ActionKind::Repair => "~",
        ActionKind::Replace => "+/-",
        ActionKind::Delete => "-",
        ActionKind::Swap => "⇄",
        ActionKind::Adopt => "<=",
        ActionKind::Forget => "x",
    }
}

/// What is done, as a verb.
pub fn verb(action: ActionKind) -> &'static str {
    match action {
        ActionKind::Create => "will be created",
        ActionKind::Update => "will be changed",
        ActionKind::Repair => "will be repaired",
        ActionKind::Replace => "will be replaced: a successor is created, then the old one deleted",
        ActionKind::Delete => "will be destroyed",
        ActionKind::Swap => "will be swapped",
        ActionKind::Adopt => "will be adopted: it is there with our mark",
        ActionKind::Forget => "will be forgotten",
    }
}

/// Why.
pub fn reason(reason: &Reason) -> String {
    match reason {
        Reason::NotCreatedYet => "not created yet".to_owned(),
        Reason::DeletedOutside => "it was deleted outside".to_owned(),
        Reason::NotInSpec => "the spec no longer asks for it".to_owned(),
        Reason::Destroy => "the whole stack is destroyed".to_owned(),
        Reason::CannotUpdate { attributes } => {
            format!("{} can only be set at creation", attributes.join(" and "))
        }
        Reason::SpecChanged { attributes } => {
            format!("the spec has another {}", attributes.join(" and "))
        }
        Reason::ChangedOutside { found } => format!("changed outside: {found}"),
        Reason::UnfinishedRun { found } => format!("an earlier run did not end: {found}"),
        Reason::NewImage => "the spec has another image".to_owned(),
        Reason::NewConfiguration => "the spec has another configuration of the app".to_owned(),
        Reason::Requested => "asked for".to_owned(),
        Reason::Needed { by } => format!("needed by {by}"),
    }
}

/// A value.
pub fn value(value: &Value) -> String {
    match value {
        Value::Known(text) => text.clone(),
        Value::After(address) => format!("(known after {address})"),
    }
}

/// What moved outside.
pub fn finding(finding: &Finding) -> String {
    match finding {
        Finding::Missing => "is gone".to_owned(),
        Finding::Changed { attribute, recorded, observed } => {
            format!("{attribute} is {observed}, recorded was {recorded}")
        }
        Finding::TwoLive { workers } => {
            format!("{} workers carry PROD: {}", workers.len(), numbers(workers))
        }
        Finding::NoneLive => "no worker carries PROD".to_owned(),
        Finding::TagDiffersFromIp { tag, ip } => {
            format!("PROD is on worker[{tag}], but the floating IP points to worker[{ip}]")
        }
        Finding::MovedByHand { recorded, observed } => {
            format!(
                "points to worker[{observed}]; the last recorded release made worker[{recorded}] live"
            )
        }
        Finding::PointsElsewhere { droplet: Some(droplet) } => {
            format!("points to droplet {droplet}, which is no worker of this stack")
        }
        Finding::PointsElsewhere { droplet: None } => {
            "points to nothing: users reach nobody".to_owned()
        }
        Finding::ForeignImage { worker, recorded, observed } => {
            let recorded = recorded
                .as_ref()
                .map_or("nothing".to_owned(), seachange_core::image::Digest::short);
            format!("worker[{worker}] runs {observed}, recorded was {recorded}")
        }
        Finding::ContainerDown { worker, state } => {
            format!("the container of worker[{worker}] does not run: {state}")
        }
        Finding::Orphan { droplet, name } => {
            format!("droplet {droplet} ({name}) carries our mark and belongs to nothing")
        }
    }
}

/// What a step does, in a few words.
pub fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Adopt { address, .. } => format!("adopt {address}"),
        Effect::Forget { address } => format!("forget {address}"),
        Effect::CreateSshKey { name, .. } => format!("add ssh_key.{name}"),
        Effect::CreateDroplets { addresses, .. } => match addresses.as_slice() {
            [only] => format!("create {only}"),
            [first, .., last] => format!("create {first} to {last}"),
            [] => "create no droplet".to_owned(),
        },
        Effect::PrepareHost { address } => format!("first boot of {address}"),
        Effect::ReserveFloatingIp { worker } => format!("reserve floating_ip for worker[{worker}]"),
        Effect::AssignFloatingIp { worker } => format!("move floating_ip to worker[{worker}]"),
        Effect::CreateZone { zone } => format!("create domain.{zone}"),
        Effect::WriteRecord { name, data, .. } => format!("record.{name} to {data}"),
        Effect::ConfigureLoadBalancer { .. } => "configure droplet.load_balancer".to_owned(),
        Effect::Retag => "PROD and FALLBACK follow the floating IP".to_owned(),
        Effect::Warm { worker, image, .. } => {
            format!("warm worker[{worker}] with {}", image.version())
        }
        Effect::Release => "release".to_owned(),
        Effect::OutliveDns { seconds } => format!("wait {seconds} s for cached DNS answers"),
        Effect::DeleteDroplet { address, droplet } => format!("delete {address} ({droplet})"),
        Effect::DeleteFloatingIp { ip } => format!("give back floating_ip {ip}"),
        Effect::DeleteRecord { name, .. } => format!("delete record.{name}"),
        Effect::DeleteZone { zone } => format!("delete domain.{zone}"),
        Effect::DeleteSshKey { name, .. } => format!("remove ssh_key.{name}"),
        Effect::DeleteTags { .. } => "delete the stack's tags".to_owned(),
    }
}

/// US cents a month as `$18.00`.
pub fn dollars(cents: u64) -> String {
    format!("${}.{:02}", cents / 100, cents % 100)
}

fn numbers(workers: &[u32]) -> String {
    workers.iter().map(|number| format!("worker[{number}]")).collect::<Vec<_>>().join(", ")
}

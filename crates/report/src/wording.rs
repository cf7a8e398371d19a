//! Reasons, findings, effects and phases in words. One word per concept: docs/glossary.md.
//!
//! What comes from the world (a record's data, an app's log) is made [`printable`] before anyone shows it: an escape
//! sequence in it must not reach a terminal or a CI log.

use seachange_core::address::Address;
use seachange_core::image::Digest;
use seachange_core::plan::{ActionKind, Drift, Effect, Finding, Reason, Value};
use seachange_core::release::Phase;

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
        ActionKind::Replace => "will be replaced, successor first",
        ActionKind::Delete => "will be destroyed",
        ActionKind::Swap => "will be swapped",
        ActionKind::Adopt => "will be adopted",
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
        Reason::ChangedOutside { found } => format!("changed outside: {}", brief(found)),
        Reason::UnfinishedRun { found } => format!("an earlier run did not end: {}", brief(found)),
        Reason::NewImage => "the spec has another image".to_owned(),
        Reason::NewConfiguration => "the spec has another configuration of the app".to_owned(),
        Reason::Requested => "asked for".to_owned(),
        Reason::Needed { by } => format!("needed by {by}"),
    }
}

/// A value.
pub fn value(value: &Value) -> String {
    match value {
        Value::Known(text) => brief(text),
        Value::After(address) => format!("(known after {address})"),
    }
}

/// What moved outside.
pub fn drift(drift: &Drift) -> String {
    match &drift.finding {
        Finding::Orphan { droplet, name } if drift.address != Address::Release => {
            format!(
                "droplet {droplet} ({}) carries our mark and is not in the state; the next apply sees to it",
                printable(name)
            )
        }
        Finding::Missing => "is gone".to_owned(),
        Finding::Changed { attribute, recorded, observed } => {
            format!("{attribute} is {}, recorded was {}", brief(observed), brief(recorded))
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
            format!("worker[{worker}] runs {}, recorded was {recorded}", brief(observed))
        }
        Finding::ContainerDown { worker, state } => {
            format!("the container of worker[{worker}] does not run: {}", printable(state))
        }
        Finding::Orphan { droplet, name } => {
            format!(
                "droplet {droplet} ({}) carries our mark and belongs to nothing; to remove it: doctl compute droplet delete {droplet}",
                printable(name)
            )
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

/// How far a release is: `verify (4 of 6)`.
pub fn phase(phase: Phase) -> String {
    format!("{} ({} of 6)", phase.word(), phase.step())
}

/// Names in a sentence: the first five, and how many more.
pub fn list<T: ToString>(names: &[T]) -> String {
    const SHOWN: usize = 5;
    let shown = if names.len() > SHOWN + 1 { SHOWN } else { names.len() };
    let first: Vec<String> = names[..shown].iter().map(ToString::to_string).collect();
    match names.len() - shown {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// A text from the world without what a terminal would obey: escape sequences are dropped, other control characters
/// become a replacement character.
pub fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut signs = text.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            '\u{1b}' if signs.next_if_eq(&'[').is_some() => {
                while signs.next_if(|sign| !('@'..='~').contains(sign)).is_some() {}
                signs.next();
            }
            '\t' => clean.push_str("    "),
            sign if sign.is_control() => clean.push('\u{fffd}'),
            sign => clean.push(sign),
        }
    }
    clean
}

/// A printable text with its digests and hashes shortened; JSON has them whole.
pub fn brief(text: &str) -> String {
    let short = |word: &str| match word.parse::<Digest>() {
        Ok(digest) => digest.short(),
        Err(_) if word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            format!("{}…", &word[..8])
        }
        Err(_) => word.to_owned(),
    };
    printable(text).split(' ').map(short).collect::<Vec<_>>().join(" ")
}

fn numbers(workers: &[u32]) -> String {
    workers.iter().map(|number| format!("worker[{number}]")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{brief, list, printable};

    #[test]
    fn what_a_terminal_would_obey_is_taken_out() {
        assert_eq!(printable("\x1b[31mred\x1b[0m\tand\r\x07"), "red    and\u{fffd}\u{fffd}");
        assert_eq!(printable("\x1b]0;title\x07"), "\u{fffd}]0;title\u{fffd}");
        assert_eq!(printable("\x1b[0Ksection_start:1:x"), "section_start:1:x");
        assert_eq!(printable("cut off \x1b[3"), "cut off ");
        assert_eq!(printable("grün → ok"), "grün → ok");
    }

    #[test]
    fn digests_are_short_and_other_words_are_not() {
        let hash = "0123456789abcdef".repeat(4);
        assert_eq!(brief(&format!("runs sha256:{hash} now")), "runs sha256:0123… now");
        assert_eq!(brief(&hash), "01234567…");
        assert_eq!(brief("s-1vcpu-1gb"), "s-1vcpu-1gb");
    }

    #[test]
    fn a_long_list_ends_in_a_number() {
        assert_eq!(list(&[1, 2, 3, 4, 5, 6]), "1, 2, 3, 4, 5, 6");
        assert_eq!(list(&[1, 2, 3, 4, 5, 6, 7]), "1, 2, 3, 4, 5 and 2 more");
    }
}

//! What is said of a plan, in the order in which it is said.

use std::net::Ipv4Addr;

use seachange_core::address::Address;
use seachange_core::names::droplet_name;
use seachange_core::plan::{ActionKind, Change, Plan, Purpose};
use seachange_core::release::Kind;

use crate::wording;

/// How many changes of one kind are shown before the rest is counted.
const SHOWN: usize = 3;

/// A plan, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Nothing is to be done: this one line says it.
    pub nothing: Option<String>,
    /// What moved outside.
    pub drift: Vec<String>,
    /// What users will get: the reviewer's sentences.
    pub sentences: Vec<String>,
    /// The changes, equal ones folded.
    pub items: Vec<Item>,
    /// The release.
    pub release: Option<ReleaseView>,
    /// Prices.
    pub cost: Option<String>,
    /// What people should know.
    pub notes: Vec<String>,
    /// `Plan: 1 to add, 0 to change, 0 to destroy.`
    pub summary: String,
    /// Whether anything is destroyed.
    pub destroys: bool,
}

/// One change, or several that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What is done.
    pub action: ActionKind,
    /// `droplet.worker[1]  will be created: not created yet`.
    pub title: String,
    /// Attributes, one a line.
    pub lines: Vec<String>,
}

/// The blue-green swap, line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseView {
    /// The sign: `⇄`, or `+` for a first release.
    pub sign: &'static str,
    /// `release  webgui 1.0 (sha256:aa41…) → 1.1 (sha256:bb07…)`.
    pub title: String,
    /// What it means for each worker and the floating IP: left and right.
    pub rows: Vec<(String, String)>,
    /// `steps: … undo: …`.
    pub steps: String,
}

/// Decides what is said of a plan.
pub fn view(plan: &Plan) -> View {
    let counts = plan.count();
    let drift = plan
        .drift
        .iter()
        .map(|drift| format!("{}  {}", drift.address, wording::finding(&drift.finding)));
    View {
        nothing: plan.is_empty().then(|| nothing(plan)),
        drift: drift.collect(),
        sentences: sentences(plan),
        items: items(plan),
        release: release(plan),
        cost: cost(plan),
        notes: plan.notes.clone(),
        summary: summary(plan),
        destroys: counts.destroy > 0,
    }
}

fn nothing(plan: &Plan) -> String {
    match plan.purpose {
        Purpose::Apply => format!("No changes. The stack {} is as the spec says.", plan.stack),
        Purpose::Rollback => {
            format!("No changes. The stack {} is where a rollback would lead.", plan.stack)
        }
        Purpose::Destroy => format!("No changes. The stack {} owns nothing.", plan.stack),
    }
}

/// Terraform's words first, since other tools read them; ours after.
fn summary(plan: &Plan) -> String {
    let counts = plan.count();
    let mut text = format!(
        "Plan: {} to add, {} to change, {} to destroy.",
        counts.add, counts.change, counts.destroy
    );
    for (count, what) in [(counts.swap, "swap"), (counts.adopt, "adopt"), (counts.forget, "forget")]
    {
        if count > 0 {
            text.push_str(&format!(" {count} to {what}."));
        }
    }
    text
}

fn items(plan: &Plan) -> Vec<Item> {
    let mut items = Vec::new();
    let changes: Vec<&Change> =
        plan.changes.iter().filter(|change| change.address != Address::Release).collect();
    for group in changes.chunk_by(|one, next| alike(one, next)) {
        let shown = if group.len() > SHOWN + 1 { SHOWN } else { group.len() };
        items.extend(group[..shown].iter().map(|change| item(change)));
        if let [first, .., last] = &group[shown..] {
            let title = format!(
                "… {} more like these ({} to {})",
                group.len() - shown,
                first.address,
                last.address
            );
            items.push(Item { action: first.action, title, lines: Vec::new() });
        }
    }
    items
}

fn alike(one: &Change, other: &Change) -> bool {
    let same_kind = one.address.worker().is_some() == other.address.worker().is_some()
        && one.address.is_droplet()
        && other.address.is_droplet();
    let differ = |change: &Change| {
        change
            .attributes
            .iter()
            .filter(|attribute| attribute.name != "name" && attribute.name != "tags")
            .cloned()
            .collect::<Vec<_>>()
    };
    same_kind
        && one.action == other.action
        && one.reason == other.reason
        && differ(one) == differ(other)
}

fn item(change: &Change) -> Item {
    let width = change.attributes.iter().map(|attribute| attribute.name.len()).max().unwrap_or(0);
    let lines = change.attributes.iter().map(|attribute| {
        let after = attribute.after.as_ref().map_or("(none)".to_owned(), wording::value);
        let values = match &attribute.before {
            Some(before)
                if attribute.after.as_ref().map(wording::value).as_ref() == Some(before) =>
            {
                after
            }
            Some(before) => format!("{before} → {after}"),
            None => after,
        };
        format!("{:width$}  {values}", attribute.name)
    });
    Item {
        action: change.action,
        title: format!(
            "{}  {}: {}",
            change.address,
            wording::verb(change.action),
            wording::reason(&change.reason)
        ),
        lines: lines.collect(),
    }
}

fn name(plan: &Plan, worker: u32) -> String {
    droplet_name(&plan.stack, &Address::Worker(worker)).unwrap_or_default()
}

fn release(plan: &Plan) -> Option<ReleaseView> {
    let release = plan.release.as_ref()?;
    let app = release.image.short_name();
    let new = format!("{} ({})", release.image.version(), release.digest.short());
    let title = match &release.live {
        Some((image, digest)) => {
            format!("release  {app} {} ({}) → {new}", image.version(), digest.short())
        }
        None => format!("release  {app} {new}"),
    };
    let to = name(plan, release.to);
    let mut rows = Vec::new();
    let worker = |number: u32| format!("droplet.worker[{number}]");
    if let Some(from) = release.from {
        rows.push((worker(release.to), format!("FALLBACK → PROD     {to}")));
        let keeps =
            release.live.as_ref().map_or("its release".to_owned(), |(image, _)| image.version());
        rows.push((
            worker(from),
            format!(
                "PROD → FALLBACK     {}  keeps {keeps} running, ready to roll back",
                name(plan, from)
            ),
        ));
        let ip =
            release.floating_ip.map_or("the floating IP".to_owned(), |ip: Ipv4Addr| ip.to_string());
        rows.push(("floating_ip".to_owned(), format!("{ip}: {} → {to}", name(plan, from))));
    } else {
        rows.push((worker(release.to), format!("PROD                {to}")));
    }
    let health = &release.settings.health;
    let gate = format!("health ({} × {} on {})", health.successes, health.status, health.path);
    let steps = match release.kind {
        Kind::First => format!("steps: stage → {gate} → verify → record"),
        Kind::Swap | Kind::Rollback => {
            format!(
                "steps: stage → {gate} → switch → verify → retag → record      undo: switch back"
            )
        }
    };
    let steps = match release.resumes {
        Some(phase) => format!(
            "{steps}\ngoes on where an earlier run stopped: {} ({} of 6)",
            phase.word(),
            phase.step()
        ),
        None => steps,
    };
    Some(ReleaseView { sign: if release.from.is_some() { "⇄" } else { "+" }, title, rows, steps })
}

fn sentences(plan: &Plan) -> Vec<String> {
    let destroyed = plan.count().destroy;
    let mut sentences = Vec::new();
    if plan.purpose == Purpose::Destroy && !plan.is_empty() {
        sentences.push(format!(
            "After apply, nothing of the stack {} is left, and users reach nobody.",
            plan.stack
        ));
    }
    if let Some(release) = &plan.release {
        let app = release.image.short_name();
        let gets = format!(
            "After apply, users get {app} {} from {}",
            release.image.version(),
            name(plan, release.to)
        );
        match (release.from, &release.live) {
            (Some(from), Some((live, _))) => sentences.push(format!(
                "{gets}; {} stays warm on {}. Expected interruption: none.",
                live.version(),
                name(plan, from)
            )),
            _ => sentences.push(format!("{gets}.")),
        }
    }
    if plan.purpose != Purpose::Destroy && destroyed > 0 {
        sentences.push(format!(
            "{destroyed} {} destroyed.",
            if destroyed == 1 { "resource is" } else { "resources are" }
        ));
    }
    sentences
}

fn cost(plan: &Plan) -> Option<String> {
    let cost = plan.cost?;
    let after = wording::dollars(cost.after_cents);
    let delta = cost.after_cents.abs_diff(cost.before_cents);
    let sign = if cost.after_cents >= cost.before_cents { "+" } else { "-" };
    (delta > 0)
        .then(|| format!("Droplets: {sign}{} a month, {after} in all.", wording::dollars(delta)))
}

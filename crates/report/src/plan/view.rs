//! What is said of a plan, in the order in which it is said.

use std::mem::discriminant;

use seachange_core::address::Address;
use seachange_core::names::droplet_name;
use seachange_core::plan::{
    ActionKind, Attribute, Change, Drift, Effect, Finding, Plan, Purpose, Reason, ReleasePlan,
    Resumes,
};

use super::fate::{Course, Fate, interruption};
use crate::wording;
use seachange_core::release::STEPS;

/// How many findings are shown one by one.
const FEW: usize = 10;

/// How many changes of one kind are shown before the rest is counted.
const SHOWN: usize = 3;

/// A plan, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Nothing is to be done: this one line says it.
    pub nothing: Option<String>,
    /// The stack.
    pub stack: String,
    /// What moved outside; if it is much, what is alike is folded.
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
    View {
        stack: plan.stack.clone(),
        nothing: plan.is_empty().then(|| nothing(plan)),
        drift: drift(&plan.drift),
        sentences: sentences(plan),
        items: items(plan),
        release: release(plan),
        cost: cost(plan),
        notes: plan.notes.iter().map(|note| wording::brief(note)).collect(),
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

/// The findings in their order; if they are many, those of a kind together and folded.
fn drift(drift: &[Drift]) -> Vec<String> {
    let line = |one: &Drift| format!("{}  {}", one.address, wording::drift(one));
    if drift.len() <= FEW {
        return drift.iter().map(line).collect();
    }
    let mut kinds: Vec<Vec<&Drift>> = Vec::new();
    for one in drift {
        match kinds.iter_mut().find(|kind| same_finding(kind[0], one)) {
            Some(kind) => kind.push(one),
            None => kinds.push(vec![one]),
        }
    }
    let mut lines = Vec::new();
    for kind in kinds {
        let (shown, more) = fold(&kind);
        lines.extend(shown.iter().map(|one| line(one)));
        if let [first, .., last] = more {
            lines.push(more_like_these(more.len(), &first.address, &last.address));
        }
    }
    lines
}

fn same_finding(one: &Drift, other: &Drift) -> bool {
    let attribute = |drift: &Drift| match &drift.finding {
        Finding::Changed { attribute, .. } => Some(attribute.clone()),
        _ => None,
    };
    discriminant(&one.address) == discriminant(&other.address)
        && discriminant(&one.finding) == discriminant(&other.finding)
        && attribute(one) == attribute(other)
}

fn items(plan: &Plan) -> Vec<Item> {
    let drawn = |change: &&Change| change.address == Address::Release && plan.release.is_some();
    let changes: Vec<&Change> = plan.changes.iter().filter(|change| !drawn(change)).collect();
    let mut items = Vec::new();
    for group in changes.chunk_by(|one, next| alike(one, next)) {
        let (shown, more) = fold(group);
        items.extend(shown.iter().map(|change| item(change)));
        if let [first, .., last] = more {
            let title = more_like_these(more.len(), &first.address, &last.address);
            items.push(Item { action: first.action, title, lines: Vec::new() });
        }
    }
    items
}

/// The first few of a group, and the rest if it is worth a line of its own.
fn fold<T>(group: &[T]) -> (&[T], &[T]) {
    group.split_at(if group.len() > SHOWN + 1 { SHOWN } else { group.len() })
}

fn more_like_these(count: usize, first: &Address, last: &Address) -> String {
    format!("… {count} more like these ({first} to {last})")
}

/// Whether two changes differ in nothing but what each droplet has for itself.
fn alike(one: &Change, other: &Change) -> bool {
    let shared = |change: &Change| -> Vec<Attribute> {
        let own = |attribute: &&Attribute| matches!(&*attribute.name, "id" | "name" | "tags");
        change.attributes.iter().filter(|attribute| !own(attribute)).cloned().collect()
    };
    discriminant(&one.address) == discriminant(&other.address)
        && one.action == other.action
        && one.reason == other.reason
        && shared(one) == shared(other)
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
            Some(before) => format!("{} → {after}", wording::brief(before)),
            None => after,
        };
        format!("{:width$}  {values}", attribute.name)
    });
    Item {
        action: change.action,
        title: format!(
            "{}  {} ({})",
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
    let change = plan.changes.iter().find(|change| change.address == Address::Release);
    let sign = wording::sign(change.map_or(ActionKind::Swap, |change| change.action));
    let health = &release.settings.health;
    let gate = format!("health ({} × {} on {})", health.successes, health.status, health.path);
    let mut steps = match release.from {
        _ if release.leads_back() => "steps: switch back → retag".to_owned(),
        None => format!("steps: stage → {gate} → verify → record"),
        Some(_) => format!(
            "steps: stage → {gate} → switch → verify → retag → record      undo: switch back"
        ),
    };
    if let Some(resumes) = &release.resumes {
        steps.push_str(&format!("\n{}", under_way(resumes)));
    } else if let Some(why) = change.and_then(|change| why(&change.reason)) {
        steps = format!("why: {why}\n{steps}");
    }
    Some(ReleaseView { sign, title: title(release), rows: rows(plan, release), steps })
}

/// How far the earlier run was, and what becomes of it.
fn under_way(resumes: &Resumes) -> String {
    let Resumes { phase, since, by, undo } = resumes;
    let began = format!("since {since:.0} by {by}");
    match (undo, phase.steps_done()) {
        (true, Some(done)) => format!("{done} of {STEPS} done {began}: will be taken back"),
        (false, Some(done)) => format!(
            "{done} of {STEPS} done {began}: will be finished; to take it back: seachange apply --abort"
        ),
        (_, None) => format!("was being taken back {began}: that will be finished"),
    }
}

fn title(release: &ReleasePlan) -> String {
    let app = release.image.short_name();
    let new = format!("{} ({})", release.image.version(), release.digest.short());
    match &release.live {
        Some((image, digest)) if release.leads_back() => {
            format!("release  {app} {new} → {} ({})", image.version(), digest.short())
        }
        None => format!("release  {app} {new}"),
        Some((_, digest)) if *digest == release.digest => {
            format!("release  {app} {new}, the same image")
        }
        Some((image, digest)) => {
            format!("release  {app} {} ({}) → {new}", image.version(), digest.short())
        }
    }
}

/// Why, unless the picture says it already.
fn why(reason: &Reason) -> Option<String> {
    match reason {
        Reason::NewImage | Reason::NotCreatedYet | Reason::Requested => None,
        Reason::DeletedOutside
        | Reason::NotInSpec
        | Reason::Destroy
        | Reason::CannotUpdate { .. }
        | Reason::SpecChanged { .. }
        | Reason::ChangedOutside { .. }
        | Reason::UnfinishedRun { .. }
        | Reason::NewConfiguration
        | Reason::Needed { .. } => Some(wording::reason(reason)),
    }
}

/// What it means for each worker and the floating IP.
fn rows(plan: &Plan, release: &ReleasePlan) -> Vec<(String, String)> {
    let to = name(plan, release.to);
    let worker = |number: u32| Address::Worker(number).to_string();
    let Some(from) = release.from else {
        return vec![(worker(release.to), format!("PROD                {to}"))];
    };
    let old = name(plan, from);
    let fate = match Course::of(release) {
        Course::Back => String::new(),
        Course::Ahead | Course::Switched => format!("  {}", Fate::of(plan, release, from).words()),
    };
    let ip = release.floating_ip.map_or("the floating IP".to_owned(), |ip| ip.to_string());
    let (new_role, old_role, way) = match Course::of(release) {
        Course::Ahead => ("FALLBACK → PROD", "PROD → FALLBACK", format!("{old} → {to}")),
        Course::Switched => ("FALLBACK → PROD", "PROD → FALLBACK", format!("{to} already")),
        Course::Back => ("FALLBACK       ", "PROD           ", format!("back to {old}")),
    };
    vec![
        (worker(release.to), format!("{new_role}     {to}")),
        (worker(from), format!("{old_role}     {old}{fate}")),
        (Address::FloatingIp.to_string(), format!("{ip}: {way}")),
    ]
}

fn sentences(plan: &Plan) -> Vec<String> {
    if plan.is_empty() {
        return Vec::new();
    }
    if plan.purpose == Purpose::Destroy {
        return vec![format!(
            "After destroy, nothing that the stack {} owns is left, and users reach nobody.",
            plan.stack
        )];
    }
    let mut sentences: Vec<String> = match &plan.release {
        Some(found) => vec![release_sentence(plan, found)],
        None => {
            plan.steps.iter().rev().find_map(|step| moved(plan, &step.effect)).into_iter().collect()
        }
    };
    sentences.extend(lost(plan, ActionKind::Delete, "destroyed"));
    sentences.extend(lost(plan, ActionKind::Replace, "replaced, successor first"));
    sentences
}

fn moved(plan: &Plan, effect: &Effect) -> Option<String> {
    match effect {
        Effect::AssignFloatingIp { worker } => {
            Some(format!("After apply, the floating IP points to {}.", name(plan, *worker)))
        }
        _ => None,
    }
}

fn lost(plan: &Plan, action: ActionKind, done: &str) -> Option<String> {
    let changes = plan.changes.iter().filter(|change| change.action == action);
    let addresses: Vec<&Address> = changes.map(|change| &change.address).collect();
    let what = match addresses.len() {
        0 => return None,
        1 => "1 resource is".to_owned(),
        several => format!("{several} resources are"),
    };
    Some(format!("{what} {done}: {}.", wording::list(&addresses)))
}

fn release_sentence(plan: &Plan, release: &ReleasePlan) -> String {
    let what = format!("{} {}", release.image.short_name(), release.image.version());
    let to = name(plan, release.to);
    let after = match plan.purpose {
        Purpose::Apply | Purpose::Destroy => "After apply",
        Purpose::Rollback => "After the rollback",
    };
    let Some(from) = release.from else {
        let adopts = |change: &Change| {
            change.address == Address::Release && change.action == ActionKind::Adopt
        };
        return if plan.changes.iter().any(adopts) {
            format!("Users get {what} from {to} already; apply writes that into the history.")
        } else {
            format!("{after}, users get {what} from {to}.")
        };
    };
    let old = name(plan, from);
    let gets = match Course::of(release) {
        Course::Ahead => format!("{after}, users get {what} from {to}"),
        Course::Switched => format!("Users get {what} from {to} already"),
        Course::Back => {
            let kept = release.live.as_ref().map_or("what they had".to_owned(), |(image, _)| {
                format!("{} {}", image.short_name(), image.version())
            });
            let why = match release.undoes() {
                true => format!("the release of {what} is taken back"),
                false => format!("after the switch to {what}, what they saw was wrong"),
            };
            return format!("{after}, users get {kept} from {old} again: {why}.");
        }
    };
    let clause = Fate::of(plan, release, from).clause(&old);
    format!("{gets}{clause}. {}", interruption(plan, release, from))
}

fn cost(plan: &Plan) -> Option<String> {
    let cost = plan.cost?;
    let after = wording::dollars(cost.after_cents);
    let delta = cost.after_cents.abs_diff(cost.before_cents);
    let sign = if cost.after_cents >= cost.before_cents { "+" } else { "-" };
    (delta > 0)
        .then(|| format!("Droplets: {sign}{} a month, {after} in all.", wording::dollars(delta)))
}

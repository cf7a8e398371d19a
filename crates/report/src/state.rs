//! The state itself, its history, and what lies between two of its serials.

use std::fmt::Write as _;

use jiff::Timestamp;
use seachange_core::address::Address;
use seachange_core::journal::Operation;
use seachange_core::state::{Droplet, Resource, State};
use serde_json::{Value, json};
use similar::ChangeTag;
use similar::algorithms::{Capture, Compact, myers};
use similar::udiff::UnifiedHunkHeader;

use crate::wording;

/// Unchanged lines around a change.
const CONTEXT: usize = 3;

/// One commit of the log, as the history shows it.
#[derive(Debug, Clone)]
pub struct Commit<'a> {
    /// When, by the writer's clock.
    pub at: Timestamp,
    /// Who: user, host or CI job.
    pub by: &'a str,
    /// The state it made.
    pub state: &'a State,
}

/// The addresses and what they are in the cloud, a line each.
pub fn list(state: &State) -> String {
    let mut text = String::new();
    let width = state.resources.keys().map(|address| address.to_string().len()).max();
    for (address, resource) in &state.resources {
        let (address, width) = (address.to_string(), width.unwrap_or_default());
        let _: std::fmt::Result = writeln!(text, "{address:<width$}  {}", line(resource));
    }
    for (id, address) in &state.deposed {
        let _: std::fmt::Result =
            writeln!(text, "{address} (replaced, still to be deleted)  droplet {id}");
    }
    if text.is_empty() {
        text = format!("The state of {} holds nothing.\n", state.stack);
    }
    text
}

/// A whole state for a person.
pub fn show(commit: &Commit<'_>) -> String {
    let state = commit.state;
    let mut text = format!(
        "{} serial {}, lineage {}\nwritten {:.0} by {}\n\n{}",
        state.stack,
        state.serial,
        state.lineage,
        commit.at,
        commit.by,
        list(state)
    );
    for (worker, deployed) in &state.deployed {
        let _: std::fmt::Result = writeln!(
            text,
            "droplet.worker[{worker}] runs {} ({}) since {:.0}",
            deployed.image,
            deployed.digest.short(),
            deployed.at
        );
    }
    for operation in state.pending.values() {
        let _: std::fmt::Result = writeln!(text, "no end is known of: {}", under_way(operation));
    }
    if let Some(transition) = &state.transition {
        let _: std::fmt::Result = writeln!(
            text,
            "a release is under way: {} to droplet.worker[{}], {}, since {:.0} by {}",
            transition.image,
            transition.to,
            wording::phase(transition.phase),
            transition.since,
            transition.by
        );
    }
    text
}

/// One resource of a state for a person: everything known of it.
pub fn one(address: &Address, resource: &Resource) -> String {
    let value = serde_json::to_string_pretty(resource).unwrap_or_default();
    format!("{address}  {}\n{value}\n", line(resource))
}

/// The first `limit` of the commits, newest first, each with what it changed against the one after it.
pub fn history(commits: &[Commit<'_>], limit: usize) -> String {
    let mut text = String::new();
    for (commit, changed) in changes(commits).take(limit) {
        let _: std::fmt::Result = writeln!(
            text,
            "{:>6}  {:.0}  {}  {changed}",
            commit.state.serial, commit.at, commit.by,
        );
    }
    if text.is_empty() {
        text.push_str("The state has no commits yet.\n");
    }
    text
}

/// The history as JSON.
pub fn history_json(stack: &str, commits: &[Commit<'_>], limit: usize) -> Value {
    let commits: Vec<Value> = changes(commits)
        .take(limit)
        .map(|(commit, changed)| {
            json!({ "serial": commit.state.serial, "at": commit.at, "by": commit.by, "changed": changed })
        })
        .collect();
    json!({ "type": "state_history", "stack": stack, "commits": commits })
}

fn changes<'c>(commits: &'c [Commit<'c>]) -> impl Iterator<Item = (&'c Commit<'c>, String)> {
    let older = commits.iter().skip(1).map(Some).chain([None]);
    commits
        .iter()
        .zip(older)
        .map(|(commit, older)| (commit, changed(older.map(|older| older.state), commit.state)))
}

/// A unified diff of two states' own files, laid out for reading; empty if they say the same.
pub fn diff(old: &State, new: &State) -> String {
    let pretty = |state: &State| {
        let mut text = serde_json::to_string_pretty(state).unwrap_or_default();
        text.push('\n');
        text
    };
    let (before, after) = (pretty(old), pretty(new));
    let before: Vec<&str> = before.split_inclusive('\n').collect();
    let after: Vec<&str> = after.split_inclusive('\n').collect();
    // One algorithm by its name: similar's own unified diff links all six, which is 0.8 MB.
    let mut found = Compact::new(Capture::new(), &before[..], &after[..]);
    let (olds, news) = (0..before.len(), 0..after.len());
    let Ok(()) = myers::diff_deadline_raw(&mut found, &before[..], olds, &after[..], news, None);
    let mut text = String::new();
    for hunk in found.into_inner().into_grouped_ops(CONTEXT) {
        if text.is_empty() {
            text = format!(
                "--- {0} serial {1}\n+++ {2} serial {3}\n",
                old.stack, old.serial, new.stack, new.serial
            );
        }
        let _: std::fmt::Result = writeln!(text, "{}", UnifiedHunkHeader::new(&hunk));
        for change in hunk.iter().flat_map(|part| part.iter_changes(&before[..], &after[..])) {
            let sign = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            text.push(sign);
            text.push_str(change.value());
        }
    }
    text
}

/// What one commit changed, in a few words. If the one before it is not known, only the very first can be told.
fn changed(old: Option<&State>, new: &State) -> String {
    let empty = State::empty("", &new.stack);
    let old = match old {
        Some(old) => old,
        None if new.serial == 1 => &empty,
        None => return "…".to_owned(),
    };
    let mut words = Vec::new();
    for (address, resource) in &new.resources {
        match old.resources.get(address) {
            None => words.push(format!("+ {address}")),
            Some(before) if before != resource => words.push(format!("~ {address}")),
            Some(_) => {}
        }
    }
    let gone = old.resources.keys().filter(|address| !new.resources.contains_key(address));
    words.extend(gone.map(|address| format!("- {address}")));
    let known = old.releases.last().map(|release| release.number);
    let fresh = new.releases.iter().filter(|release| Some(release.number) > known);
    words.extend(fresh.map(|release| format!("released {}", release.image.version())));
    let deployed =
        new.deployed.iter().filter(|(worker, now)| old.deployed.get(worker) != Some(now));
    words.extend(
        deployed.map(|(worker, now)| format!("{} on worker[{worker}]", now.image.version())),
    );
    if new.transition != old.transition {
        words.push(match &new.transition {
            Some(transition) => format!("release: {}", wording::phase(transition.phase)),
            None => "release: at rest".to_owned(),
        });
    }
    let begun = new.pending.iter().filter(|(id, _)| !old.pending.contains_key(*id));
    words.extend(begun.map(|(_, operation)| format!("begins {}", under_way(operation))));
    match words.len() {
        0 => "nothing".to_owned(),
        1..=4 => words.join(", "),
        count => format!("{}, and {} more", words[..3].join(", "), count - 3),
    }
}

fn under_way(operation: &Operation) -> String {
    match operation.addresses.as_slice() {
        [] => "a step".to_owned(),
        addresses => wording::list(addresses),
    }
}

fn line(resource: &Resource) -> String {
    let whose = |ours: bool| if ours { "" } else { "  (not made by us: never deleted)" };
    match resource {
        Resource::SshKey { id, fingerprint, ours } => {
            format!("key {}  {fingerprint}{}", id.0, whose(*ours))
        }
        Resource::Droplet(Droplet { id, name, size, ipv4, .. }) => match ipv4 {
            Some(address) => format!("droplet {id}  {name}  {size}  {address}"),
            None => format!("droplet {id}  {name}  {size}  no address known yet"),
        },
        Resource::FloatingIp { ip } => ip.to_string(),
        Resource::Domain { ours } => format!("zone{}", whose(*ours)),
        Resource::Record { id, zone, data, ttl } => {
            format!("record {}  in {zone}  A {data}  ttl {ttl}", id.0)
        }
    }
}

//! The planner: spec, state and observed world in; a plan or every reason against one out.
//!
//! Pure and deterministic: the same three give the same plan, byte for byte. It reads from top to bottom as a list of
//! passes. Each pass looks at one subject and appends changes (for people) and steps (for the executor) to a draft; a
//! step waits only for steps that are there already, so the order of passes is the order in which things need each
//! other.
//!
//! Comparison is three-way: state against observed is drift, spec against observed is action, and the state says which
//! object an address is. What was not looked at is never assumed to be right or wrong.

mod balancer;
mod choice;
mod desired;
mod destroy;
mod dns;
mod draft;
mod drift;
mod droplets;
mod fleet;
mod floating_ip;
mod hosts;
mod keys;
mod limits;
mod release;
mod retag;
mod roles;
mod rollback;
mod warm;

use jiff::Timestamp;

use self::desired::Desired;
use self::draft::Draft;
use self::fleet::Fleet;
use self::hosts::Content;
use crate::address::Address;
use crate::observed::Observed;
use crate::plan::{Cost, Pinned, Plan, Purpose};
use crate::spec::Spec;
use crate::state::State;

pub use self::destroy::plan_destroy;
pub use self::drift::drift;
pub use self::rollback::{plan_abort, plan_rollback};

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// What is wanted.
    pub spec: &'a Spec,
    /// What was last written.
    pub state: &'a State,
    /// What is there.
    pub observed: &'a Observed,
    /// What a person allows or asks for besides.
    pub options: &'a Options,
    /// When.
    pub now: Timestamp,
}

/// What a person allows or asks for besides the spec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Users may be cut off for a while (`--allow-downtime`).
    pub allow_downtime: bool,
    /// These droplets get a successor (`--replace`).
    pub replace: Vec<Address>,
}

/// Something that cannot be planned, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {why}: expected {expected}, found {observed}")]
pub struct Refusal {
    /// What it is about.
    pub object: String,
    /// What would have to be so.
    pub expected: String,
    /// What is so.
    pub observed: String,
    /// Why that is in the way.
    pub why: String,
    /// The next command or remedy.
    pub help: String,
    /// The option that allows it nevertheless.
    pub allowed_by: Option<&'static str>,
}

/// Plans to make the world what the spec says; all refusals if that cannot be.
pub fn plan(input: &Input<'_>) -> Result<Plan, Vec<Refusal>> {
    let Input { spec, state, observed, options, now } = *input;
    let desired = Desired::compile(spec, observed).map_err(|refusal| vec![*refusal])?;
    let mut draft = Draft::new(&desired, state, observed);
    let mut fleet = Fleet::survey(&desired, state, observed, &options.replace);
    refuse_strange_replacements(&mut draft, &fleet, options);

    let roles = release::decide(&mut draft, &fleet, options);
    if roles.resumes().is_some() {
        for address in fleet.hold() {
            draft.note(format!(
                "{address} changes when the release under way is at rest, in the same apply"
            ));
        }
    }
    keys::ensure(&mut draft);
    droplets::early(&mut draft, &fleet, &roles);
    floating_ip::ensure(&mut draft, &fleet, &roles);
    let before_switch = balancer::configure(&mut draft, &fleet, &roles);
    let freed = dns::remove(&mut draft);
    dns::ensure(&mut draft, &fleet, &freed);
    warm::release(&mut draft, &roles, before_switch);
    droplets::late(&mut draft, &fleet, &roles);
    warm::standbys(&mut draft, &fleet, &roles);
    retag::repair(&mut draft, &fleet, &roles);
    let outlived = dns::outlive(&mut draft, &fleet);
    droplets::clean_up(&mut draft, &fleet, &outlived);
    floating_ip::give_back(&mut draft, outlived);
    keys::finish(&mut draft);
    limits::check(&mut draft);
    note_unseen_hosts(&mut draft, &fleet);

    let cost = limits::cost(&draft, &fleet);
    finish(draft, Purpose::Apply, spec.digest(), cost, now)
}

/// The plan, or the refusals.
fn finish(
    draft: Draft<'_>,
    purpose: Purpose,
    spec_digest: String,
    cost: Option<Cost>,
    at: Timestamp,
) -> Result<Plan, Vec<Refusal>> {
    let Draft { state, observed, changes, steps, release, notes, refusals, .. } = draft;
    if !refusals.is_empty() {
        return Err(refusals);
    }
    Ok(Plan {
        purpose,
        stack: state.stack.clone(),
        lineage: if state.serial == 0 { String::new() } else { state.lineage.clone() },
        serial: state.serial,
        spec_digest,
        at,
        pinned: Pinned::of(state, observed),
        drift: drift(state, observed),
        changes: changes.into_values().collect(),
        steps,
        release,
        notes,
        cost,
    })
}

fn refuse_strange_replacements(draft: &mut Draft<'_>, fleet: &Fleet<'_>, options: &Options) {
    for address in &options.replace {
        let there = fleet.members.get(address).is_some_and(|member| member.droplet.is_some());
        if there && draft.desired.has(address) {
            continue;
        }
        let present: Vec<String> = fleet
            .members
            .iter()
            .filter(|(address, member)| member.droplet.is_some() && draft.desired.has(address))
            .map(|(address, _)| address.to_string())
            .collect();
        draft.refuse(Refusal {
            object: address.to_string(),
            expected: "a droplet of the stack".to_owned(),
            observed: if present.is_empty() {
                "no droplets yet".to_owned()
            } else {
                present.join(", ")
            },
            why: "only droplets that are there can be replaced".to_owned(),
            help: "see what there is: seachange status".to_owned(),
            allowed_by: None,
        });
    }
}

/// Says which workers nobody could look into although that is part of the picture.
fn note_unseen_hosts(draft: &mut Draft<'_>, fleet: &Fleet<'_>) {
    if draft.desired.app.is_none() {
        return;
    }
    let mut unseen = fleet
        .workers()
        .filter(|(_, member)| {
            member.kept() && member.droplet.as_ref().is_some_and(|droplet| droplet.ready)
        })
        .filter_map(|(number, member)| {
            match hosts::content(draft.observed, &draft.desired.stack, member.id()?) {
                Content::Unknown(why) => Some(format!("{} ({why})", Address::Worker(number))),
                Content::Empty | Content::Holds(_) => None,
            }
        });
    let first: Vec<String> = unseen.by_ref().take(3).collect();
    let more = unseen.count();
    match (first.as_slice(), more) {
        ([], _) => {}
        (first, 0) => draft.note(format!("containers not looked at: {}", first.join(", "))),
        (first, more) => {
            draft.note(format!("containers not looked at: {} and {more} more", first.join(", ")));
        }
    }
}

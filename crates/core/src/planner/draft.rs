//! A plan while it is being made: passes append to it, in an order in which every step refers to earlier ones only.
//!
//! It knows which step makes an address exist or usable, so that a later pass asks for an address, not for a step.

use std::collections::BTreeMap;

use super::Refusal;
use super::desired::Desired;
use crate::address::Address;
use crate::observed::Observed;
use crate::plan::{ActionKind, Attribute, Change, Effect, Reason, ReleasePlan, Step, Value};
use crate::state::State;

/// What the passes share.
pub(super) struct Draft<'a> {
    pub(super) desired: &'a Desired,
    pub(super) state: &'a State,
    pub(super) observed: &'a Observed,
    pub(super) changes: BTreeMap<Address, Change>,
    pub(super) steps: Vec<Step>,
    pub(super) release: Option<ReleasePlan>,
    pub(super) notes: Vec<String>,
    pub(super) refusals: Vec<Refusal>,
    /// The step after which an address is in the state and has its id and IPv4 address.
    made: BTreeMap<Address, usize>,
    /// The step after which it can be worked with.
    ready: BTreeMap<Address, usize>,
    /// Steps that move the floating IP: what it points to before may be deleted only after all of them.
    pub(super) moves: Vec<usize>,
    /// The last thing done to each worker's container.
    pub(super) warmed: BTreeMap<u32, usize>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(desired: &'a Desired, state: &'a State, observed: &'a Observed) -> Self {
        Self {
            desired,
            state,
            observed,
            changes: BTreeMap::new(),
            steps: Vec::new(),
            release: None,
            notes: Vec::new(),
            refusals: Vec::new(),
            made: BTreeMap::new(),
            ready: BTreeMap::new(),
            moves: Vec::new(),
            warmed: BTreeMap::new(),
        }
    }

    /// Appends a step.
    pub(super) fn step(&mut self, effect: Effect, after: impl IntoIterator<Item = usize>) -> usize {
        let id = self.steps.len();
        let mut after: Vec<usize> = after.into_iter().collect();
        after.sort_unstable();
        after.dedup();
        self.steps.push(Step { id, effect, after });
        id
    }

    /// Says what changes at an address. The first pass that speaks of it names the reason; what later ones do to it is
    /// part of the same change.
    pub(super) fn change(
        &mut self,
        address: &Address,
        action: ActionKind,
        reason: Reason,
        attributes: Vec<Attribute>,
    ) {
        self.changes.entry(address.clone()).or_insert_with(|| Change {
            address: address.clone(),
            action,
            reason,
            attributes,
        });
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refusals.push(refusal);
    }

    /// From this step on the address exists.
    pub(super) fn set_made(&mut self, address: &Address, step: usize) {
        self.made.insert(address.clone(), step);
        self.ready.insert(address.clone(), step);
    }

    /// From this step on the address can be worked with.
    pub(super) fn set_ready(&mut self, address: &Address, step: usize) {
        self.ready.insert(address.clone(), step);
    }

    /// The step after which the address exists, if it is not there already.
    pub(super) fn made(&self, address: &Address) -> Option<usize> {
        self.made.get(address).copied()
    }

    /// The step after which the address can be worked with, if it cannot already.
    pub(super) fn ready(&self, address: &Address) -> Option<usize> {
        self.ready.get(address).copied()
    }
}

/// An attribute that appears or changes to a known value.
pub(super) fn to(name: &str, before: Option<String>, after: impl Into<String>) -> Attribute {
    Attribute { name: name.to_owned(), before, after: Some(Value::Known(after.into())) }
}

/// An attribute that goes away.
pub(super) fn gone(name: &str, before: impl Into<String>) -> Attribute {
    Attribute { name: name.to_owned(), before: Some(before.into()), after: None }
}

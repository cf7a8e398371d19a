//! The protocols that must not fail, explored exhaustively at a small bound: every interleaving of two runs, crashes at
//! every point, leases taken over, answers lost, and a person who moves the address by hand.
//!
//! A model is worth what it can find: each is also run with bugs put in on purpose, which it must find.

#![expect(clippy::print_stdout, reason = "how much was explored is part of the result")]

mod log;
mod release;

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker as _, HasDiscoveries, Model};

/// The protocol holds, and what it is for can happen.
fn must_hold<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Hash + PartialEq + Send + Sync + Debug + 'static,
    M::Action: Clone + PartialEq + Debug + Send + Sync + 'static,
{
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).threads(2);
    let checker = checker.spawn_bfs().join();
    println!("{name}: {} states, all there are", checker.unique_state_count());
    checker.assert_properties();
}

/// The bug is found, as what it breaks.
fn must_break<M>(model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Hash + PartialEq + Send + Sync + Debug + 'static,
    M::Action: Clone + PartialEq + Debug + Send + Sync + 'static,
{
    let finish = HasDiscoveries::AllOf([property].into());
    let checker = model.checker().finish_when(finish).threads(2).spawn_bfs().join();
    assert!(checker.discovery(property).is_some(), "a bug that breaks `{property}` was not found");
}

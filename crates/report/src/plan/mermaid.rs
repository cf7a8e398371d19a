//! A plan's steps as a mermaid graph, which merge requests render.
//!
//! Forges draw no more than a few hundred edges, so in a large plan steps of a kind that can run side by side become
//! one node. Steps of one level never wait for each other, so that makes no cycle out of a graph.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;

use seachange_core::plan::{Effect, Plan, Step};

use crate::wording;

/// Up to so many steps each has a node of its own.
const EACH: usize = 60;

/// The steps as a mermaid graph.
pub fn mermaid(plan: &Plan) -> String {
    let nodes = nodes(&plan.steps);
    let node_of: BTreeMap<usize, usize> = nodes
        .iter()
        .enumerate()
        .flat_map(|(node, steps)| steps.iter().map(move |step| (step.id, node)))
        .collect();
    let edges: BTreeSet<(usize, usize)> = plan
        .steps
        .iter()
        .flat_map(|step| step.after.iter().map(|before| (*before, step.id)))
        .filter_map(|(before, step)| Some((*node_of.get(&before)?, *node_of.get(&step)?)))
        .collect();
    let mut text = "graph LR\n".to_owned();
    for (node, steps) in nodes.iter().enumerate() {
        let label = match steps.as_slice() {
            [only] => label(plan, &only.effect),
            [first, ..] => {
                format!("{} and {} more", label(plan, &first.effect), steps.len() - 1)
            }
            [] => continue,
        };
        text.push_str(&format!("  s{node}[\"{}\"]\n", escaped(&label)));
    }
    for (before, after) in edges {
        text.push_str(&format!("  s{before} --> s{after}\n"));
    }
    text
}

fn nodes(steps: &[Step]) -> Vec<Vec<&Step>> {
    if steps.len() <= EACH {
        return steps.iter().map(|step| vec![step]).collect();
    }
    let mut levels: Vec<usize> = Vec::with_capacity(steps.len());
    let mut nodes: Vec<(usize, Vec<&Step>)> = Vec::new();
    for step in steps {
        let before = step.after.iter().filter_map(|before| levels.get(*before));
        let level = before.max().map_or(0, |level| level + 1);
        levels.push(level);
        let alike = |(of, steps): &&mut (usize, Vec<&Step>)| {
            *of == level && discriminant(&steps[0].effect) == discriminant(&step.effect)
        };
        match nodes.iter_mut().find(alike) {
            Some((_, steps)) => steps.push(step),
            None => nodes.push((level, vec![step])),
        }
    }
    nodes.into_iter().map(|(_, steps)| steps).collect()
}

fn label(plan: &Plan, effect: &Effect) -> String {
    match (effect, &plan.release) {
        (Effect::Release, Some(release)) => format!(
            "release {} {} on worker[{}]",
            release.image.short_name(),
            release.image.version(),
            release.to
        ),
        _ => wording::effect(effect),
    }
}

/// A label in quotes may hold anything but these.
fn escaped(label: &str) -> String {
    label.replace('#', "#35;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;")
}

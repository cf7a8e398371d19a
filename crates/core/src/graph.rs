//! The order of a plan's steps, as a graph: who must wait for whom, directly or not.
//!
//! Steps refer to earlier ones only, so the list itself is one valid order and cycles cannot be written down.

use crate::plan::Step;

/// Who waits for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
}

/// A list of steps that is no graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// A step's number is not its place.
    #[error("the step at place {place} has the number {id}")]
    Misplaced {
        /// Its place.
        place: usize,
        /// Its number.
        id: usize,
    },
    /// A step waits for itself, a later one or none at all.
    #[error("step {step} waits for {wanted}, which is not an earlier step")]
    NotEarlier {
        /// The step.
        step: usize,
        /// What it waits for.
        wanted: usize,
    },
}

impl Graph {
    /// The graph of a list of steps.
    pub fn of(steps: &[Step]) -> Result<Self, GraphError> {
        let mut after: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
        for (place, step) in steps.iter().enumerate() {
            if step.id != place {
                return Err(GraphError::Misplaced { place, id: step.id });
            }
            for &wanted in &step.after {
                if wanted >= place {
                    return Err(GraphError::NotEarlier { step: place, wanted });
                }
                after[wanted].push(place);
            }
        }
        Ok(Self { before: steps.iter().map(|step| step.after.clone()).collect(), after })
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.before.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.before.is_empty()
    }

    /// The steps that wait for this one directly, in order.
    pub fn dependents(&self, step: usize) -> &[usize] {
        self.after.get(step).map_or(&[], Vec::as_slice)
    }

    /// For every step whether it comes after this one in every order.
    pub fn follows(&self, step: usize) -> Vec<bool> {
        let mut follows = vec![false; self.len()];
        let mut front = self.dependents(step).to_vec();
        while let Some(next) = front.pop() {
            if !std::mem::replace(&mut follows[next], true) {
                front.extend(self.dependents(next));
            }
        }
        follows
    }

    /// Whether `first` is over before `second` begins, in every order.
    pub fn precedes(&self, first: usize, second: usize) -> bool {
        let mut seen = std::collections::BTreeSet::new();
        let mut front = vec![second];
        while let Some(step) = front.pop() {
            for &before in self.before.get(step).map_or(&[][..], Vec::as_slice) {
                if before == first {
                    return true;
                }
                // Numbers only fall on the way back: what is below `first` cannot lead to it.
                if before > first && seen.insert(before) {
                    front.push(before);
                }
            }
        }
        false
    }

    /// How many steps must be done one after the other, at the least: the longest chain.
    pub fn depth(&self) -> usize {
        let mut depths = Vec::with_capacity(self.len());
        for before in &self.before {
            let deepest = before.iter().map(|&step| depths[step]).max().unwrap_or(0);
            depths.push(deepest + 1);
        }
        depths.into_iter().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Graph, GraphError};
    use crate::plan::{Effect, Step};

    fn steps(after: &[&[usize]]) -> Vec<Step> {
        let step = |(id, after): (usize, &&[usize])| Step {
            id,
            effect: Effect::Retag,
            after: after.to_vec(),
        };
        after.iter().enumerate().map(step).collect()
    }

    #[test]
    fn order_is_followed_through_other_steps() {
        let graph = Graph::of(&steps(&[&[], &[0], &[], &[1, 2], &[2]])).expect("a graph");
        assert!(graph.precedes(0, 3) && graph.precedes(2, 4));
        assert!(!graph.precedes(0, 4) && !graph.precedes(3, 0) && !graph.precedes(1, 1));
        assert_eq!(graph.follows(0), [false, true, false, true, false]);
        assert_eq!(graph.dependents(2), [3, 4]);
        assert_eq!(graph.depth(), 3);
    }

    #[test]
    fn a_list_that_is_no_graph_is_refused() {
        assert_eq!(Graph::of(&steps(&[&[0]])), Err(GraphError::NotEarlier { step: 0, wanted: 0 }));
        let mut misplaced = steps(&[&[], &[]]);
        misplaced[1].id = 0;
        assert_eq!(Graph::of(&misplaced), Err(GraphError::Misplaced { place: 1, id: 0 }));
    }
}

//! Placeholder, replaced with the planner.

//! How a release is looked at: port, health gate, verification. Free of secrets, so that it can stand in a state and a
//! plan, and a rollback at night needs neither the spec's variables nor the registry.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a release is reached and judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The app's port on its worker and on the floating IP.
    pub port: u16,
    /// The gate before the switch.
    pub health: Health,
    /// The look after the switch.
    pub verify: Verify,
    /// How long a stopping container may take before it is killed.
    pub stop_timeout: Duration,
    /// How long requests in flight are waited for before the floating IP moves and cuts them.
    #[serde(default = "usual_drain")]
    pub drain: Duration,
    /// The load balancer's port, if there is one.
    pub listen: Option<u16>,
    /// Names users ask for, sent as Host header in the look after the switch.
    pub domains: Vec<String>,
}

/// What is waited for requests in flight, unless a spec says otherwise.
pub const USUAL_DRAIN: Duration = Duration::from_secs(30);

fn usual_drain() -> Duration {
    USUAL_DRAIN
}

/// The gate: so many successes in a row against the container itself, before a deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Path and query.
    pub path: String,
    /// The status that is a success.
    pub status: u16,
    /// Successes in a row.
    pub successes: u32,
    /// From one probe to the next.
    pub interval: Duration,
    /// Deadline for all of it.
    pub timeout: Duration,
}

/// The look after the switch, along the way users come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// Path and query.
    pub path: String,
    /// The status that is a success.
    pub status: u16,
    /// A text that the body must contain, such as the version.
    pub contains: Option<String>,
    /// Deadline for all of it.
    pub timeout: Duration,
}

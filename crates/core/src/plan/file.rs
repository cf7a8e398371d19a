//! A saved plan: a JSON envelope with a format number and a digest over the content, and the comparison of a plan with
//! the world it is to be applied to.
//!
//! A plan holds no secret, so it may travel as a CI artefact. What was approved is what runs: a changed or cut-off file
//! is refused, and so is a world that moved since.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Pinned, Plan};
use crate::bootstrap::hex;
use crate::cloud::DropletId;
use crate::names::{PROD, same_tag};
use crate::observed::Observed;
use crate::state::State;
use crate::state::file::unknown;

/// The newest format this version writes, and the only one so far.
pub const FORMAT: u32 = 1;

/// Why bytes are not a plan that can be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not JSON, cut off, or not of the form the format has.
    #[error("not a readable plan: {detail}")]
    Malformed {
        /// Where and why.
        detail: String,
    },
    /// The content is not what was written.
    #[error(
        "the plan was changed after it was written: its digest is {found}, the file says {written}"
    )]
    Tampered {
        /// What the content has.
        found: String,
        /// What the file says.
        written: String,
    },
    /// Written by a newer version.
    #[error(
        "plan format {found} is newer than the newest this version knows ({FORMAT}): use a newer seachange"
    )]
    Newer {
        /// The format found.
        found: u32,
    },
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct File<P> {
    format: u32,
    digest: String,
    plan: P,
}

/// The bytes of a plan, ending in a newline.
pub fn write(plan: &Plan) -> Vec<u8> {
    let file = File { format: FORMAT, digest: digest(plan), plan };
    let mut bytes = serde_json::to_vec(&file).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// A plan from its bytes.
pub fn read(bytes: &[u8]) -> Result<Plan, ReadError> {
    let malformed = |error: serde_json::Error| ReadError::Malformed { detail: error.to_string() };
    let head: Head = serde_json::from_slice(bytes).map_err(malformed)?;
    if head.format > FORMAT {
        return Err(ReadError::Newer { found: head.format });
    }
    let file: File<Value> = serde_json::from_slice(bytes).map_err(malformed)?;
    let plan = Plan::deserialize(&file.plan).map_err(malformed)?;
    let found = digest(&plan);
    if found != file.digest {
        return Err(ReadError::Tampered { found, written: file.digest });
    }
    match serde_json::to_value(&plan).map(|known| unknown(&file.plan, &known)) {
        Ok(None) => Ok(plan),
        Ok(Some(path)) => {
            Err(ReadError::Malformed { detail: format!("`{path}` is not known to this version") })
        }
        Err(error) => Err(malformed(error)),
    }
}

/// Digest of what the plan says, in this version's own writing of it: space between values is free.
fn digest(plan: &Plan) -> String {
    let content = serde_json::to_vec(plan).unwrap_or_default();
    format!("sha256:{}", hex(&Sha256::digest(&content)))
}

/// Something that is not as it was when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// What it is.
    pub what: String,
    /// As it was.
    pub planned: String,
    /// As it is.
    pub now: String,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, planned, now } = self;
        write!(f, "{what}: planned for {planned}, now {now}")
    }
}

/// What moved since the plan was made; empty if it can be applied.
pub fn stale(plan: &Plan, state: &State, observed: &Observed) -> Vec<Stale> {
    let mut stale = Vec::new();
    let mut compare = |what: &str, planned: String, now: String| {
        if planned != now {
            stale.push(Stale { what: what.to_owned(), planned, now });
        }
    };
    compare("stack", plan.stack.clone(), state.stack.clone());
    let lineage = |lineage: &str| {
        if lineage.is_empty() { "a stack without a state".to_owned() } else { lineage.to_owned() }
    };
    let known = if state.serial == 0 { "" } else { &state.lineage };
    compare("lineage of the state", lineage(&plan.lineage), lineage(known));
    compare("serial of the state", plan.serial.to_string(), state.serial.to_string());
    let (then, now) = (&plan.pinned, Pinned::of(state, observed));
    compare("floating_ip", target(then), target(&now));
    compare("workers", workers(then), workers(&now));
    compare("tag.PROD", numbers(&then.prod), numbers(&now.prod));
    if let (Some(planned), Some(now)) = (&then.image, &now.image) {
        compare("digest of app.image", planned.to_string(), now.to_string());
    }
    stale
}

fn target(pinned: &Pinned) -> String {
    match pinned.floating_ip {
        None => "none".to_owned(),
        Some((ip, None)) => format!("{ip} at nothing"),
        Some((ip, Some(droplet))) => format!("{ip} at droplet {droplet}"),
    }
}

fn workers(pinned: &Pinned) -> String {
    let workers =
        pinned.workers.iter().map(|(number, droplet)| format!("{number} = droplet {droplet}"));
    let workers: Vec<String> = workers.collect();
    if workers.is_empty() { "none".to_owned() } else { workers.join(", ") }
}

fn numbers(numbers: &[u32]) -> String {
    let numbers: Vec<String> =
        numbers.iter().map(|number| format!("droplet.worker[{number}]")).collect();
    if numbers.is_empty() {
        "on no worker".to_owned()
    } else {
        format!("on {}", numbers.join(", "))
    }
}

impl Pinned {
    /// What of the world a plan is made for.
    pub fn of(state: &State, observed: &Observed) -> Self {
        let present = |id: &DropletId| observed.droplets.contains_key(id);
        let workers: std::collections::BTreeMap<u32, DropletId> = state
            .workers()
            .filter(|(_, droplet)| present(&droplet.id))
            .map(|(number, droplet)| (number, droplet.id))
            .collect();
        let carries_prod = |id: &DropletId| {
            let tags = observed.droplets.get(id).and_then(|seen| seen.tags.as_ref());
            tags.is_some_and(|tags| tags.iter().any(|tag| same_tag(tag, PROD)))
        };
        let prod = workers.iter().filter(|(_, id)| carries_prod(id)).map(|(number, _)| *number);
        let floating_ip = state
            .floating_ip()
            .and_then(|ip| observed.reserved_ips.get(&ip))
            .map(|seen| (seen.ip, seen.droplet));
        Self { floating_ip, prod: prod.collect(), workers, image: observed.image.clone() }
    }
}

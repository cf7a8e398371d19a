//! Which worker is live, with what, and whether a rollback would work: what a person wants at 3 a.m.

use seachange_core::address::Address;
use seachange_core::host::ContainerState;
use seachange_core::names::droplet_name;
use seachange_core::observed::{HostSeen, Observed};
use seachange_core::plan::Drift;
use seachange_core::state::State;
use serde_json::{Value, json};

use crate::{Paint, Style, wording};

/// What is said of one worker.
struct Worker {
    number: u32,
    live: bool,
    release: Option<(String, String)>,
    container: String,
    running: bool,
}

/// The worker the floating IP points to.
fn live(state: &State, observed: &Observed) -> Option<u32> {
    let droplet = observed.reserved_ips.get(&state.floating_ip()?)?.droplet?;
    state.address_of(droplet)?.worker()
}

fn workers(state: &State, observed: &Observed) -> Vec<Worker> {
    let live = live(state, observed);
    let look = |(number, droplet): (u32, &seachange_core::state::Droplet)| {
        let deployed = state.deployed.get(&number);
        let (container, running) = match observed.hosts.get(&droplet.id) {
            Some(HostSeen::Worker { containers, .. }) => match containers.first() {
                None => ("no container".to_owned(), false),
                Some(container) => match &container.state {
                    ContainerState::Running => ("running".to_owned(), true),
                    ContainerState::Created => ("created, not started".to_owned(), false),
                    ContainerState::Restarting => ("restarting".to_owned(), false),
                    ContainerState::Exited { code } => (format!("exited with {code}"), false),
                    ContainerState::Other(word) => (word.clone(), false),
                },
            },
            Some(HostSeen::NotObserved { why }) => (format!("not looked at: {why}"), false),
            Some(HostSeen::LoadBalancer { .. }) | None => ("not looked at".to_owned(), false),
        };
        Worker {
            number,
            live: live == Some(number),
            release: deployed.map(|deployed| (deployed.image.version(), deployed.digest.short())),
            container,
            running,
        }
    };
    state.workers().map(look).collect()
}

/// The status as text.
pub fn text(state: &State, observed: &Observed, drift: &[Drift], style: Style) -> String {
    if state.is_empty() {
        return format!("The stack {} owns nothing.\n", state.stack);
    }
    let workers = workers(state, observed);
    let mut text = format!("stack {}, serial {}\n", state.stack, state.serial);
    if let Some(release) = state.releases.last() {
        text.push_str(&format!(
            "release {}: {} since {} by {}\n",
            release.number,
            release.image.version(),
            release.at.strftime("%Y-%m-%d %H:%M:%S"),
            release.by
        ));
    }
    for entrance in entrances(state) {
        text.push_str(&format!("users come in at {entrance}\n"));
    }
    for worker in &workers {
        let role = if worker.live { style.paint(Paint::Add, "live") } else { "standby".to_owned() };
        let name = droplet_name(&state.stack, &Address::Worker(worker.number)).unwrap_or_default();
        let release = worker
            .release
            .as_ref()
            .map_or("no release".to_owned(), |(version, digest)| format!("{version} ({digest})"));
        text.push_str(&format!(
            "  worker[{}]  {name}  {role}  {release}  {}\n",
            worker.number, worker.container
        ));
    }
    text.push_str(&format!("rollback: {}\n", rollback(&workers).unwrap_or_else(|why| why)));
    if let Some(transition) = &state.transition {
        text.push_str(&format!(
            "unfinished: {} to {} stopped at {} ({} of 6), begun {} by {}; seachange apply finishes it\n",
            if transition.kind == seachange_core::release::Kind::Rollback { "rollback" } else { "release" },
            transition.image.version(),
            transition.phase.word(),
            transition.phase.step(),
            transition.since.strftime("%Y-%m-%d %H:%M:%S"),
            transition.by
        ));
    }
    for drift in drift {
        text.push_str(&format!(
            "  {} {}  {}\n",
            style.paint(Paint::Change, "!"),
            drift.address,
            wording::finding(&drift.finding)
        ));
    }
    text
}

/// The status as JSON.
pub fn json(state: &State, observed: &Observed, drift: &[Drift]) -> Value {
    let workers = workers(state, observed);
    json!({
        "type": "status",
        "stack": state.stack,
        "serial": state.serial,
        "empty": state.is_empty(),
        "live": workers.iter().find(|worker| worker.live).map(|worker| worker.number),
        "release": state.releases.last(),
        "entrances": entrances(state),
        "workers": workers.iter().map(|worker| json!({
            "number": worker.number, "live": worker.live, "version": worker.release.as_ref().map(|release| &release.0),
            "digest": state.deployed.get(&worker.number).map(|deployed| &deployed.digest), "container": worker.container,
        })).collect::<Vec<_>>(),
        "rollback_ready": rollback(&workers).is_ok(),
        "rollback": rollback(&workers).unwrap_or_else(|why| why),
        "unfinished": state.transition,
        "drift": drift.iter().map(|drift| wording::finding(&drift.finding)).collect::<Vec<_>>(),
    })
}

/// What a rollback would lead to, or why it cannot.
fn rollback(workers: &[Worker]) -> Result<String, String> {
    let live = workers.iter().find(|worker| worker.live).and_then(|worker| worker.release.clone());
    let mut other = workers
        .iter()
        .filter(|worker| !worker.live && worker.release.is_some() && worker.release != live);
    match other.find(|worker| worker.running) {
        Some(Worker { number, release: Some((version, _)), .. }) => {
            Ok(format!("ready, to {version} on worker[{number}]"))
        }
        _ => match workers.iter().find(|worker| !worker.live && worker.release.is_some()) {
            None => Err("not possible: no standby has an earlier release".to_owned()),
            Some(worker) if worker.release == live => {
                Err(format!("not possible: worker[{}] has the live release too", worker.number))
            }
            Some(worker) => Err(format!(
                "not ready: the container of worker[{}]: {}",
                worker.number, worker.container
            )),
        },
    }
}

fn entrances(state: &State) -> Vec<String> {
    let balancer = state.droplet(&Address::LoadBalancer).and_then(|droplet| droplet.ipv4);
    let mut entrances: Vec<String> = Vec::new();
    entrances.extend(balancer.map(|ip| format!("{ip} (load balancer)")));
    entrances.extend(state.floating_ip().map(|ip| format!("{ip} (floating IP)")));
    entrances
}

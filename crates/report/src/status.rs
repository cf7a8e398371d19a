//! Which worker is live, with what, and whether a rollback would work: what a person wants at 3 a.m.

use seachange_core::address::Address;
use seachange_core::host::ContainerState;
use seachange_core::names::droplet_name;
use seachange_core::observed::{HostSeen, Observed};
use seachange_core::plan::Drift;
use seachange_core::planner::{Refusal, plan_rollback};
use seachange_core::state::State;
use serde_json::{Value, json};

use crate::{Paint, Style, wording};

/// What is said of one worker.
struct Worker {
    number: u32,
    live: bool,
    release: Option<(String, String)>,
    container: String,
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
        let container = match observed.hosts.get(&droplet.id) {
            Some(HostSeen::Worker { containers, .. }) => match containers.first() {
                None => "no container".to_owned(),
                Some(container) => match &container.state {
                    ContainerState::Running => "running".to_owned(),
                    ContainerState::Created => "created, not started".to_owned(),
                    ContainerState::Restarting => "restarting".to_owned(),
                    ContainerState::Exited { code } => format!("exited with {code}"),
                    ContainerState::Other(word) => word.clone(),
                },
            },
            Some(HostSeen::NotObserved { why }) => format!("not looked at: {why}"),
            Some(HostSeen::LoadBalancer { .. }) | None => "not looked at".to_owned(),
        };
        Worker {
            number,
            live: live == Some(number),
            release: deployed.map(|deployed| (deployed.image.version(), deployed.digest.short())),
            container,
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
            "release {}: {} since {} by {}{}\n",
            release.number,
            release.image.version(),
            release.at.strftime("%Y-%m-%d %H:%M:%S UTC"),
            release.by,
            if live(state, observed) == Some(release.worker) { "" } else { ", not live now" }
        ));
    }
    for entrance in entrances(state, observed) {
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
    text.push_str(&format!("rollback: {}\n", rollback(state, observed).unwrap_or_else(|why| why)));
    if let Some(transition) = &state.transition {
        text.push_str(&format!(
            "unfinished: {} to {} stopped at {} ({} of 6), begun {} by {}; seachange apply finishes it\n",
            if transition.kind == seachange_core::release::Kind::Rollback { "rollback" } else { "release" },
            transition.image.version(),
            transition.phase.word(),
            transition.phase.step(),
            transition.since.strftime("%Y-%m-%d %H:%M:%S UTC"),
            transition.by
        ));
    }
    for drift in drift {
        text.push_str(&format!(
            "  {} {}  {}\n",
            style.paint(Paint::Change, "!"),
            drift.address,
            wording::drift(drift)
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
        "entrances": entrances(state, observed),
        "workers": workers.iter().map(|worker| json!({
            "number": worker.number, "live": worker.live, "version": worker.release.as_ref().map(|release| &release.0),
            "digest": state.deployed.get(&worker.number).map(|deployed| &deployed.digest), "container": worker.container,
        })).collect::<Vec<_>>(),
        "rollback_ready": rollback(state, observed).is_ok(),
        "rollback": rollback(state, observed).unwrap_or_else(|why| why),
        "unfinished": state.transition,
        "drift": drift.iter().map(wording::drift).collect::<Vec<_>>(),
    })
}

/// What a rollback would lead to, or why it cannot be. It is planned, so that this never says other than the command.
pub(crate) fn rollback(state: &State, observed: &Observed) -> Result<String, String> {
    let said = |refusals: Vec<Refusal>| {
        let why = refusals.iter().map(|refusal| format!("{}: {}", refusal.why, refusal.observed));
        format!("not possible: {}", why.collect::<Vec<_>>().join("; "))
    };
    let plan = plan_rollback(state, observed, observed.at).map_err(said)?;
    Ok(match &plan.release {
        Some(release) => format!(
            "ready, to {} on worker[{}]: seachange rollback",
            release.image.version(),
            release.to
        ),
        None => "ready, drops the unfinished release: seachange rollback".to_owned(),
    })
}

/// What to open: the way users come first.
fn entrances(state: &State, observed: &Observed) -> Vec<String> {
    let last = state.releases.last().map(|release| release.worker);
    let settings = live(state, observed)
        .or(last)
        .and_then(|worker| state.deployed.get(&worker))
        .map(|deployed| &deployed.settings);
    let listen = settings.and_then(|settings| settings.listen);
    let open = |host: &str, port: Option<u16>| match port {
        None | Some(80) => format!("http://{host}"),
        Some(port) => format!("http://{host}:{port}"),
    };
    let way = listen.or(settings.map(|settings| settings.port));
    let mut entrances: Vec<String> = settings
        .into_iter()
        .flat_map(|settings| &settings.domains)
        .map(|domain| open(domain, way))
        .collect();
    let balancer = state.droplet(&Address::LoadBalancer).and_then(|droplet| droplet.ipv4);
    entrances
        .extend(balancer.map(|ip| format!("{} (load balancer)", open(&ip.to_string(), listen))));
    let port = settings.map(|settings| settings.port);
    entrances.extend(
        state.floating_ip().map(|ip| format!("{} (floating IP)", open(&ip.to_string(), port))),
    );
    entrances
}

//! Plans by hand: what is missing of a stack with two workers, a load balancer, a floating IP, a zone, and a release.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use seachange_core::address::Address;
use seachange_core::bootstrap::Bootstrap;
use seachange_core::image::Digest;
use seachange_core::plan::{DropletTemplate, Effect, Pinned, Plan, Purpose, ReleasePlan, Step};
use seachange_core::release::Kind;
use seachange_core::run::RunRecord;
use seachange_core::settings::{Health, Settings, Verify};
use seachange_core::state::State;
use seachange_engine::{AppSecrets, Journal, apply, recover};

use crate::world::{STACK, World, lease};

pub(crate) const ZONE: &str = "example.org";

pub(crate) fn digest(digit: char) -> Digest {
    format!("sha256:{}", digit.to_string().repeat(64)).parse().unwrap()
}

pub(crate) fn settings() -> Settings {
    Settings {
        drain: std::time::Duration::from_secs(30),
        port: 8080,
        health: Health {
            path: "/".to_owned(),
            status: 200,
            successes: 3,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(30),
        },
        verify: Verify {
            path: "/".to_owned(),
            status: 200,
            contains: None,
            timeout: Duration::from_secs(20),
        },
        stop_timeout: Duration::from_secs(10),
        listen: Some(80),
        domains: vec![format!("www.{ZONE}")],
    }
}

fn template(bootstrap: Bootstrap) -> DropletTemplate {
    DropletTemplate {
        region: "fra1".to_owned(),
        size: "s-1vcpu-1gb".to_owned(),
        image: "ubuntu-24-04-x64".to_owned(),
        ssh_keys: vec!["fp:key".to_owned()],
        tags: vec![seachange_core::names::owner_tag(STACK)],
        bootstrap,
    }
}

/// A plan of these steps.
pub(crate) fn plan(
    state: &State,
    steps: Vec<(Effect, Vec<usize>)>,
    release: Option<ReleasePlan>,
) -> Plan {
    let steps = steps.into_iter().enumerate();
    Plan {
        purpose: Purpose::Apply,
        stack: STACK.to_owned(),
        lineage: if state.serial == 0 { String::new() } else { state.lineage.clone() },
        serial: state.serial,
        spec_digest: String::new(),
        at: Timestamp::UNIX_EPOCH,
        pinned: Pinned {
            floating_ip: None,
            workers: BTreeMap::new(),
            prod: Vec::new(),
            image: None,
        },
        drift: Vec::new(),
        changes: Vec::new(),
        steps: steps.map(|(id, (effect, after))| Step { id, effect, after }).collect(),
        release,
        notes: Vec::new(),
        cost: None,
    }
}

pub(crate) fn release(kind: Kind, digit: char, from: Option<u32>, to: u32) -> ReleasePlan {
    ReleasePlan {
        kind,
        image: "registry.example/webgui:1".parse().unwrap(),
        digest: digest(digit),
        config: "c1".to_owned(),
        settings: settings(),
        live: None,
        from,
        to,
        floating_ip: None,
        resumes: None,
    }
}

/// What is missing of the infrastructure, and of the release of `1…`, by the state alone.
pub(crate) fn missing(state: &State) -> Plan {
    let mut steps: Vec<(Effect, Vec<usize>)> = Vec::new();
    let mut add = |effect, after: Vec<Option<usize>>| {
        steps.push((effect, after.into_iter().flatten().collect()));
        Some(steps.len() - 1)
    };
    let lacks = |address: &Address| !state.resources.contains_key(address);
    let key = lacks(&Address::SshKey("deploy".to_owned())).then_some(()).and_then(|()| {
        let (name, public_key) = ("deploy".to_owned(), "key".to_owned());
        let fingerprint = "fp:key".to_owned();
        add(Effect::CreateSshKey { name, public_key, fingerprint }, vec![])
    });
    let workers: Vec<Address> = (1..=2).map(Address::Worker).filter(&lacks).collect();
    let created = if workers.is_empty() {
        None
    } else {
        let template = template(Bootstrap::Docker);
        add(Effect::CreateDroplets { addresses: workers, template }, vec![key])
    };
    let balancer = if lacks(&Address::LoadBalancer) {
        let (addresses, template) = (vec![Address::LoadBalancer], template(Bootstrap::Haproxy));
        add(Effect::CreateDroplets { addresses, template }, vec![key])
    } else {
        None
    };
    let mut prepared = Vec::new();
    for (address, created) in [
        (Address::Worker(1), created),
        (Address::Worker(2), created),
        (Address::LoadBalancer, balancer),
    ] {
        if !state.droplet(&address).is_some_and(|droplet| droplet.ready) {
            prepared.push(add(Effect::PrepareHost { address }, vec![created]));
        }
    }
    let reserved = lacks(&Address::FloatingIp)
        .then_some(())
        .and_then(|()| add(Effect::ReserveFloatingIp { worker: 1 }, vec![created]));
    let zone = lacks(&Address::Domain(ZONE.to_owned()))
        .then_some(())
        .and_then(|()| add(Effect::CreateZone { zone: ZONE.to_owned() }, vec![]));
    if lacks(&Address::Record("www".to_owned())) {
        let (name, zone_name) = ("www".to_owned(), ZONE.to_owned());
        let data = Address::LoadBalancer;
        let write = Effect::WriteRecord { name, zone: zone_name, ttl: 300, data, id: None };
        add(write, vec![zone, balancer]);
    }
    let configured = if state.droplet(&Address::LoadBalancer).is_none_or(|b| b.config.is_none()) {
        let mut after = prepared.clone();
        after.push(reserved);
        add(Effect::ConfigureLoadBalancer { listen: 80, port: 8080 }, after)
    } else {
        None
    };
    let mut first = None;
    if state.releases.is_empty() {
        let mut after = prepared;
        after.extend([reserved, configured]);
        add(Effect::Release, after);
        first = Some(release(Kind::First, '1', None, 1));
    }
    plan(state, steps, first)
}

/// Opens the journal, recovers, plans and applies, as a command does.
pub(crate) async fn run(world: &World, planned: impl FnOnce(&State) -> Plan) -> RunRecord {
    run_with(world, planned, &AppSecrets::default()).await
}

pub(crate) async fn run_with(
    world: &World,
    planned: impl FnOnce(&State) -> Plan,
    secrets: &AppSecrets,
) -> RunRecord {
    let lease = lease(&world.log(), world).await;
    let context = world.context();
    let journal = Journal::open(&context, &lease).await.unwrap();
    recover(&context, &journal).await.unwrap();
    let plan = planned(&journal.state());
    let record = apply(&context, &journal, &plan, secrets).await.unwrap();
    drop(journal);
    lease.release().await.unwrap();
    record
}

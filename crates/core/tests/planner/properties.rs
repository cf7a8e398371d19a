//! Generated stacks, and what may happen to them: every plan passes the check, keeps users served in any order of its
//! steps and at any crash, and what it leaves needs no further plan.

use proptest::prelude::*;
use proptest::test_runner::Config;
use seachange_core::address::Address;
use seachange_core::cloud::{Droplet, DropletId};
use seachange_core::host::ContainerState;
use seachange_core::names::{FALLBACK, PROD};
use seachange_core::observed::HostSeen;
use seachange_core::planner::{Options, plan_destroy};
use seachange_core::release::Phase;
use seachange_core::spec::{LoadBalancer, Record, Spec, SshKeyRef};

use crate::render;
use crate::specs::{infrastructure, webgui};
use crate::world::{Crash, World};

/// What a spec may say, as far as plans depend on it.
#[derive(Debug, Clone)]
struct Wish {
    count: u32,
    large: bool,
    balancer: Option<bool>,
    listen: u16,
    records: Vec<(&'static str, u32)>,
    other_zone: bool,
    version: u8,
    configuration: bool,
    managed_key: Option<u8>,
}

fn wish() -> impl Strategy<Value = Wish> {
    let records =
        prop::sample::subsequence(vec![("www", 300), ("@", 300), ("www", 60), ("api", 30)], 0..=3)
            .prop_map(|mut records| {
                let mut seen = std::collections::BTreeSet::new();
                records.retain(|(name, _)| seen.insert(*name));
                records
            });
    let looks = (any::<bool>(), any::<bool>(), prop::option::of(0..3_u8));
    (2..=4_u32, any::<bool>(), prop::option::of(any::<bool>()), 80..82_u16, records, 0..3_u8, looks)
        .prop_map(
            |(
                count,
                large,
                balancer,
                listen,
                records,
                version,
                (other_zone, configuration, managed_key),
            )| Wish {
                count,
                large,
                balancer,
                listen,
                records,
                other_zone,
                version,
                configuration,
                managed_key,
            },
        )
}

impl Wish {
    fn spec(&self, app: bool) -> Spec {
        let mut spec = if app { webgui(&format!("1.{}", self.version)) } else { infrastructure() };
        let size = |large: bool| if large { "s-1vcpu-2gb" } else { "s-1vcpu-1gb" }.to_owned();
        "stack".clone_into(&mut spec.stack);
        spec.workers.count = self.count;
        spec.workers.size = size(self.large);
        spec.load_balancer = self.balancer.map(|large| LoadBalancer {
            size: size(large),
            image: "ubuntu-24-04-x64".to_owned(),
            listen: self.listen,
        });
        if let Some(domain) = &mut spec.domain {
            domain.zone = if self.other_zone { "example.com" } else { "example.org" }.to_owned();
            domain.records = self
                .records
                .iter()
                .map(|(name, ttl)| Record { name: (*name).to_owned(), ttl: *ttl })
                .collect();
        }
        if let (Some(app), true) = (&mut spec.app, self.configuration) {
            app.env.insert("COLOUR".to_owned(), seachange_core::secret::Secret::new("blue"));
        }
        if let (Some(ssh), Some(key)) = (&mut spec.ssh, self.managed_key) {
            ssh.keys.push(SshKeyRef::Managed {
                name: "deploy".to_owned(),
                public_key: format!("ssh-ed25519 {key}"),
                fingerprint: format!("00:{key}"),
            });
        }
        spec
    }
}

/// What may happen to a stack outside.
#[derive(Debug, Clone, Copy)]
enum Mishap {
    LoseWorker(u32),
    LoseBalancer,
    LoseIp,
    Point(Option<u32>),
    TagAll(bool),
    Stop(u32),
    Foreign(u32),
    RemoveContainer(u32),
    Hide(u32),
    EditRecords,
    LoseRecords,
    LoseZone,
    ForgetWorker(u32),
    ForgetIp,
    ForgetRecords,
    Twin(u32),
    Resize(u32),
    EditConfig,
    LoseKey,
}

fn mishap() -> impl Strategy<Value = Mishap> {
    let worker = || 1..=4_u32;
    prop_oneof![
        worker().prop_map(Mishap::LoseWorker),
        Just(Mishap::LoseBalancer),
        Just(Mishap::LoseIp),
        prop::option::of(worker()).prop_map(Mishap::Point),
        any::<bool>().prop_map(Mishap::TagAll),
        worker().prop_map(Mishap::Stop),
        worker().prop_map(Mishap::Foreign),
        worker().prop_map(Mishap::RemoveContainer),
        worker().prop_map(Mishap::Hide),
        Just(Mishap::EditRecords),
        Just(Mishap::LoseRecords),
        Just(Mishap::LoseZone),
        worker().prop_map(Mishap::ForgetWorker),
        Just(Mishap::ForgetIp),
        Just(Mishap::ForgetRecords),
        worker().prop_map(Mishap::Twin),
        worker().prop_map(Mishap::Resize),
        Just(Mishap::EditConfig),
        Just(Mishap::LoseKey),
    ]
}

impl Mishap {
    fn befall(self, world: &mut World) {
        let id = |world: &World, number| {
            world.state.droplet(&Address::Worker(number)).map(|known| known.id)
        };
        match self {
            Self::LoseWorker(number) => {
                if let Some(id) = id(world, number) {
                    world.lose(id);
                }
            }
            Self::LoseBalancer => {
                if let Some(id) = world.state.droplet(&Address::LoadBalancer).map(|known| known.id)
                {
                    world.lose(id);
                }
            }
            Self::LoseIp => world.real.reserved_ips.clear(),
            Self::Point(None) => world.point(None),
            Self::Point(Some(number)) => {
                if let Some(id) =
                    id(world, number).filter(|id| world.real.droplets.contains_key(id))
                {
                    world.point(Some(id));
                }
            }
            Self::TagAll(prod) => {
                for tags in world.real.droplets.values_mut().filter_map(|seen| seen.tags.as_mut()) {
                    tags.retain(|tag| tag != PROD && tag != FALLBACK);
                    tags.extend(prod.then(|| PROD.to_owned()));
                }
            }
            Self::Stop(number) => {
                if let Some(container) = id(world, number).and_then(|id| world.container(id)) {
                    container.state = ContainerState::Exited { code: 1 };
                }
            }
            Self::Foreign(number) => {
                if let Some(container) = id(world, number).and_then(|id| world.container(id)) {
                    container.labels.clear();
                }
            }
            Self::RemoveContainer(number) => {
                if let Some(HostSeen::Worker { containers, .. }) =
                    id(world, number).and_then(|id| world.real.hosts.get_mut(&id))
                {
                    containers.clear();
                }
            }
            Self::Hide(number) => world.hidden.extend(id(world, number)),
            Self::EditRecords => {
                for record in world.real.zones.values_mut().flatten().flatten() {
                    "192.0.2.1".clone_into(&mut record.data);
                }
            }
            Self::LoseRecords => {
                for records in world.real.zones.values_mut().flatten() {
                    records.clear();
                }
            }
            Self::LoseZone => world.real.zones.values_mut().for_each(|zone| *zone = None),
            Self::ForgetWorker(number) => {
                world.state.resources.remove(&Address::Worker(number));
                world.state.deployed.remove(&number);
            }
            Self::ForgetIp => {
                world.state.resources.remove(&Address::FloatingIp);
            }
            Self::ForgetRecords => {
                world.state.resources.retain(|address, _| !matches!(address, Address::Record(_)));
            }
            Self::Twin(number) => {
                let seen = id(world, number).and_then(|id| world.real.droplets.get(&id)).cloned();
                if let Some(seen) = seen {
                    let twin = DropletId(seen.id.0 + 10_000);
                    world.real.droplets.insert(twin, Droplet { id: twin, ..seen });
                }
            }
            Self::Resize(number) => {
                if let Some(seen) =
                    id(world, number).and_then(|id| world.real.droplets.get_mut(&id))
                {
                    "s-1vcpu-2gb".clone_into(&mut seen.size);
                }
            }
            Self::EditConfig => {
                for host in world.real.hosts.values_mut() {
                    if let HostSeen::LoadBalancer { balancing, .. } = host {
                        balancing.config = Some("edited".to_owned());
                    }
                }
            }
            Self::LoseKey => {
                for key in world.real.ssh_keys.values_mut() {
                    *key = None;
                }
            }
        }
    }
}

fn crash() -> impl Strategy<Value = Option<Crash>> {
    let phase = prop::sample::select(vec![
        Phase::Staging,
        Phase::Gating,
        Phase::Switching,
        Phase::Verifying,
        Phase::Retagging,
        Phase::Recording,
    ]);
    prop::option::of(prop_oneof![(0..12_usize).prop_map(Crash::After), phase.prop_map(Crash::In)])
}

/// Chooses by a simple generator, so that a failing order can be run again.
fn picks(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed | 1;
    move |count| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or(0) % count.max(1)
    }
}

/// A plan, unless it is refused for a reason that a person has to settle.
fn planned(world: &World, spec: &Spec) -> Option<seachange_core::plan::Plan> {
    match world.try_plan(spec, &Options::default()) {
        Ok(plan) => Some(plan),
        Err(refusals) => {
            for refusal in &refusals {
                let of_a_record = refusal.object.starts_with("record.");
                assert!(of_a_record, "{}", render::refusals(&refusals));
            }
            None
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 1_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn apply_then_plan_is_empty(
        app in any::<bool>(),
        wishes in prop::collection::vec(wish(), 1..4),
        mishaps in prop::collection::vec(mishap(), 0..3),
        crash in crash(),
        seed in any::<u64>(),
    ) {
        let mut world = World::empty("stack");
        let mut pick = picks(seed);
        let last = wishes.len() - 1;
        for (place, wish) in wishes.iter().enumerate() {
            let spec = wish.spec(app);
            if place == last {
                for mishap in &mishaps {
                    mishap.befall(&mut world);
                }
                let Some(plan) = planned(&world, &spec) else { return Ok(()) };
                world.run_in(&plan, crash, &mut pick);
                if crash.is_none() {
                    world.hidden.clear();
                }
            }
            let Some(plan) = planned(&world, &spec) else { return Ok(()) };
            world.run_in(&plan, None, &mut pick);
            let mut again = planned(&world, &spec).expect("what was planned before can be planned again");
            if plan.release.as_ref().is_some_and(|release| release.resumes.is_some()) || !world.hidden.is_empty() {
                world.hidden.clear();
                let again_before = planned(&world, &spec).expect("still");
                world.run_in(&again_before, None, &mut pick);
                again = planned(&world, &spec).expect("still");
            }
            prop_assert!(again.is_empty(), "after\n{}\nthere is still\n{}", render::plan(&plan), render::plan(&again));
            world.roles_agree();
            prop_assert!(!app || world.is_served());
            prop_assert_eq!(world.real.droplets.len() as u32, wish.count + u32::from(wish.balancer.is_some()));
        }
        let destroy = world.destroy();
        world.run_in(&destroy, None, &mut pick);
        prop_assert!(world.state.is_empty(), "{:?}", world.state);
        prop_assert!(world.real.droplets.is_empty());
        // An address that no state has and that points at nothing could be anybody's.
        let forgotten = mishaps.iter().any(|mishap| matches!(mishap, Mishap::ForgetIp));
        prop_assert!(forgotten || world.real.reserved_ips.is_empty());
        let rest = plan_destroy(&world.state, &world.real, world.real.at).expect("nothing in the way");
        prop_assert!(rest.is_empty(), "{}", render::plan(&rest));
    }
}

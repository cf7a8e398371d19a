//! A cloud of values: it does what a plan's effects say to a state and to an observed world, and nothing else.
//!
//! It watches, at every instant, the promise that plans are for: once users are served, they stay so, and the container
//! they are served from is not touched.

use std::collections::{BTreeMap, BTreeSet};

use seachange_core::address::Address;
use seachange_core::bootstrap::hex;
use seachange_core::cloud::{Account, BaseImage, DropletId, DropletStatus, Size, SshKey, SshKeyId};
use seachange_core::host::{Container, ContainerState};
use seachange_core::image::{Digest, ImageRef};
use seachange_core::names::{self, FALLBACK, PROD};
use seachange_core::observed::{Catalogue, HostSeen, Observed};
use seachange_core::plan::check::{Severity, check};
use seachange_core::plan::{Effect, Plan, Purpose};
use seachange_core::planner::{self, Input, Options, Refusal};
use seachange_core::release::Phase;
use seachange_core::spec::{Spec, SshKeyRef};
use seachange_core::state::State;
use sha2::Digest as _;

/// A state and the world it is about.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) real: Observed,
    /// Hosts that a refresh cannot see.
    pub(crate) hidden: BTreeSet<DropletId>,
    pub(crate) next: u64,
    served: bool,
}

/// Where a run ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// After so many steps.
    After(usize),
    /// In the release, when it is about to do what this phase waits for.
    In(Phase),
}

/// The digest that an image stands for in tests.
pub(crate) fn digest_of(image: &ImageRef) -> Digest {
    let hex = hex(&sha2::Sha256::digest(image.to_string().as_bytes()));
    format!("sha256:{hex}").parse().expect("a digest")
}

impl World {
    /// An account with nothing in it but the keys that specs name.
    pub(crate) fn empty(stack: &str) -> Self {
        let at = "2026-11-23T00:00:00Z".parse().expect("a time");
        let mut real = Observed::nothing(at);
        real.catalogue = Some(catalogue());
        Self {
            state: State::empty("lineage", stack),
            real,
            hidden: BTreeSet::new(),
            next: 100,
            served: false,
        }
    }

    /// A stack as its first apply left it.
    pub(crate) fn applied(spec: &Spec) -> Self {
        let mut world = Self::empty(&spec.stack);
        world.apply(spec);
        world
    }

    /// What a refresh for this spec sees.
    pub(crate) fn look(&self, spec: &Spec) -> Observed {
        let mut seen = self.real.clone();
        seen.image = spec.app.as_ref().map(|app| digest_of(&app.image));
        for zone in spec.domain.iter().map(|domain| &domain.zone) {
            seen.zones.entry(zone.clone()).or_insert(None);
        }
        for key in spec.ssh.iter().flat_map(|ssh| &ssh.keys) {
            let (fingerprint, there) = match key {
                SshKeyRef::Fingerprint(fingerprint) => (fingerprint, true),
                SshKeyRef::Managed { fingerprint, .. } => (fingerprint, false),
            };
            let key = || SshKey {
                id: SshKeyId(1),
                name: "there".to_owned(),
                fingerprint: fingerprint.clone(),
                public_key: String::new(),
            };
            seen.ssh_keys.entry(fingerprint.clone()).or_insert_with(|| there.then(key));
        }
        for id in &self.hidden {
            seen.hosts.insert(*id, HostSeen::NotObserved { why: "cannot be reached".to_owned() });
        }
        if let Some(catalogue) = &mut seen.catalogue {
            catalogue.droplets_in_account = Some(seen.droplets.len() as u64);
        }
        seen
    }

    /// The plan for a spec; it must have no contradiction.
    pub(crate) fn plan(&self, spec: &Spec) -> Plan {
        self.plan_with(spec, &Options::default())
    }

    /// The same with options.
    pub(crate) fn plan_with(&self, spec: &Spec, options: &Options) -> Plan {
        self.try_plan(spec, options).unwrap_or_else(|refusals| panic!("{refusals:#?}"))
    }

    /// The plan, or why there is none.
    pub(crate) fn try_plan(&self, spec: &Spec, options: &Options) -> Result<Plan, Vec<Refusal>> {
        let observed = self.look(spec);
        let now = observed.at;
        let input = Input { spec, state: &self.state, observed: &observed, options, now };
        let plan = planner::plan(&input)?;
        self.checked(&plan, &observed);
        Ok(plan)
    }

    /// The plan of a rollback, or why there is none.
    pub(crate) fn rollback(&self) -> Result<Plan, Vec<Refusal>> {
        let plan = planner::plan_rollback(&self.state, &self.seen(), self.real.at)?;
        self.checked(&plan, &self.real);
        Ok(plan)
    }

    /// The plan that takes an unfinished release back, or why there is none.
    pub(crate) fn abort(&self) -> Result<Plan, Vec<Refusal>> {
        let plan = planner::plan_abort(&self.state, &self.seen(), self.real.at)?;
        self.checked(&plan, &self.real);
        Ok(plan)
    }

    /// The plan that removes everything.
    pub(crate) fn destroy(&self) -> Plan {
        let plan = planner::plan_destroy(&self.state, &self.real, self.real.at);
        let plan = plan.unwrap_or_else(|refusals| panic!("{refusals:#?}"));
        self.checked(&plan, &self.real);
        plan
    }

    fn seen(&self) -> Observed {
        let mut seen = self.real.clone();
        for id in &self.hidden {
            seen.hosts.insert(*id, HostSeen::NotObserved { why: "cannot be reached".to_owned() });
        }
        seen
    }

    fn checked(&self, plan: &Plan, observed: &Observed) {
        let errors: Vec<String> = check(plan, &self.state, observed)
            .into_iter()
            .filter(|note| note.severity == Severity::Error)
            .map(|note| note.text)
            .collect();
        assert!(errors.is_empty(), "{errors:#?}\nin {}", crate::render::plan(plan));
        assert_eq!(plan.is_empty(), plan.changes.is_empty(), "{plan:#?}");
    }

    /// Plans and carries out; the plan.
    pub(crate) fn apply(&mut self, spec: &Spec) -> Plan {
        let plan = self.plan(spec);
        self.run(&plan);
        plan
    }

    /// Carries a plan out in the order of its list.
    pub(crate) fn run(&mut self, plan: &Plan) {
        self.run_in(plan, None, |_| 0);
    }

    /// Carries a plan out. `pick` chooses among so many steps that could be next.
    pub(crate) fn run_in(
        &mut self,
        plan: &Plan,
        crash: Option<Crash>,
        mut pick: impl FnMut(usize) -> usize,
    ) {
        self.served = self.is_served() && plan.purpose != Purpose::Destroy;
        let mut waits: Vec<usize> = plan.steps.iter().map(|step| step.after.len()).collect();
        let mut dependents: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for step in &plan.steps {
            for before in &step.after {
                dependents.entry(*before).or_default().push(step.id);
            }
        }
        let mut ready: BTreeSet<usize> =
            (0..plan.steps.len()).filter(|step| waits[*step] == 0).collect();
        let mut done = 0;
        while let Some(step) = ready.iter().copied().nth(pick(ready.len())) {
            if crash == Some(Crash::After(done)) {
                break;
            }
            ready.remove(&step);
            let effect = &plan.steps[step].effect;
            if *effect == Effect::Release {
                let release = plan.release.as_ref().expect("a release step has a release");
                if !self.release(release, crash) {
                    break;
                }
            } else {
                self.perform(effect);
            }
            if plan.purpose == Purpose::Destroy {
                self.served = false;
            }
            self.watch(|| format!("step {step} of\n{}", crate::render::plan(plan)));
            done += 1;
            for dependent in dependents.remove(&step).unwrap_or_default() {
                waits[dependent] -= 1;
                if waits[dependent] == 0 {
                    ready.insert(dependent);
                }
            }
        }
        self.state.serial += 1;
    }

    pub(crate) fn watch(&mut self, at: impl Fn() -> String) {
        let served = self.is_served();
        assert!(served || !self.served, "users are cut off by {}", at());
        self.served = served;
    }

    /// Whether the floating IP leads to a running container.
    pub(crate) fn is_served(&self) -> bool {
        let Some(target) = self.target() else { return false };
        let running = |container: &Container| container.state == ContainerState::Running;
        let up = self
            .real
            .droplets
            .get(&target)
            .is_some_and(|seen| seen.status == DropletStatus::Active);
        up && self.containers(target).iter().any(running)
    }

    /// The droplet the floating IP points at.
    pub(crate) fn target(&self) -> Option<DropletId> {
        self.real.reserved_ips.values().find_map(|ip| ip.droplet)
    }

    /// The worker the floating IP points at.
    pub(crate) fn live(&self) -> Option<u32> {
        self.state.address_of(self.target()?)?.worker()
    }

    /// The droplet of an address.
    pub(crate) fn id(&self, address: &Address) -> DropletId {
        self.state.droplet(address).expect("a droplet").id
    }

    /// A worker's droplet.
    pub(crate) fn worker(&self, number: u32) -> DropletId {
        self.id(&Address::Worker(number))
    }

    fn containers(&self, id: DropletId) -> &[Container] {
        match self.real.hosts.get(&id) {
            Some(HostSeen::Worker { containers, .. }) => containers,
            _ => &[],
        }
    }

    /// The container on a droplet.
    pub(crate) fn container(&mut self, id: DropletId) -> Option<&mut Container> {
        match self.real.hosts.get_mut(&id)? {
            HostSeen::Worker { containers, .. } => containers.first_mut(),
            _ => None,
        }
    }

    /// Deletes a droplet behind everybody's back.
    pub(crate) fn lose(&mut self, id: DropletId) {
        self.real.droplets.remove(&id);
        self.real.hosts.remove(&id);
        for ip in self.real.reserved_ips.values_mut() {
            ip.droplet = ip.droplet.filter(|droplet| *droplet != id);
        }
    }

    /// Points the floating IP somewhere.
    pub(crate) fn point(&mut self, droplet: Option<DropletId>) {
        for ip in self.real.reserved_ips.values_mut() {
            ip.droplet = droplet;
        }
    }

    /// At rest exactly one worker carries PROD, and it is the one that the floating IP points at.
    pub(crate) fn roles_agree(&self) {
        let live = self.live().expect("a live worker");
        for (number, droplet) in self.state.workers() {
            let tags = self.real.droplets[&droplet.id].tags.as_ref().expect("tags");
            let has = |tag: &str| tags.iter().any(|own| names::same_tag(own, tag));
            assert_eq!(
                (has(PROD), has(FALLBACK)),
                (number == live, number != live),
                "worker {number}: {tags:?}"
            );
        }
    }
}

/// An account with two sizes, one image, and room.
pub(crate) fn catalogue() -> Catalogue {
    let size = |slug: &str, monthly_cents| Size {
        slug: slug.to_owned(),
        monthly_cents,
        regions: vec!["fra1".to_owned()],
        available: true,
        disk_gb: 25,
    };
    let sizes = [size("s-1vcpu-1gb", 600), size("s-1vcpu-2gb", 1200)];
    let image = BaseImage {
        slug: "ubuntu-24-04-x64".to_owned(),
        regions: vec!["fra1".to_owned()],
        min_disk_gb: 7,
    };
    Catalogue {
        sizes: sizes.into_iter().map(|size| (size.slug.clone(), size)).collect(),
        images: BTreeMap::from([(image.slug.clone(), Some(image))]),
        account: Some(Account { droplet_limit: 25, reserved_ip_limit: 3 }),
        droplets_in_account: None,
    }
}

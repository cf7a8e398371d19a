//! A world, what a command does on it, and what a finished stack must be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use seachange_core::checks::{CheckFailed, Checks};
use seachange_core::clock::Clock;
use seachange_core::event::{Event, Listener};
use seachange_core::plan::{Plan, check};
use seachange_core::planner;
use seachange_core::run::RunRecord;
use seachange_core::spec::{self, Spec, Variables};
use seachange_core::state::{Resource, State};
use seachange_core::store::StateStore as _;
use seachange_engine::store::memory::MemoryStore;
use seachange_engine::store::{Log, Owner};
use seachange_engine::{
    AppSecrets, Context, Ids, Journal, Need, Patience, Stop, Wanted, apply, observe, recover,
};
use seachange_local_cloud::in_process::InProcess;
use seachange_local_cloud::in_process_host::{Config, InProcessHost, InProcessRegistry};
use seachange_local_cloud::world::{Timings, World, WorldConfig};

use crate::doors::{WatchedCloud, WatchedHost, WatchedStore};
use crate::watch::{Bug, Fault, Watch};

pub(crate) const STACK: &str = "webgui";
pub(crate) const PORT: u16 = 8080;
/// How long a request takes.
const LATENCY: Duration = Duration::from_millis(80);
/// The public half of a key that the account has.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqYG3fbrK2pvyb1Q8SO0nuJ3n5HeWyR1Cmtuf8AQM2O deploy";

/// What a command is to bring about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The spec with this version and size of the workers.
    Apply { version: &'static str, size: &'static str },
    /// The spec with a version that passes the gate and that users then see to be wrong.
    Refused { version: &'static str },
    /// The release before.
    Rollback,
    /// Nothing.
    Destroy,
}

/// A world and a store, and who watches them.
pub(crate) struct Stage {
    pub(crate) watch: Arc<Watch>,
    names: Numbers,
}

/// Unique names: the same in every run of the tests.
pub(crate) struct Numbers(AtomicU64);

impl Ids for Numbers {
    fn next(&self) -> String {
        format!("id{}", self.0.fetch_add(1, Ordering::Relaxed))
    }
}

struct Nobody;

impl Listener for Nobody {
    fn event(&self, _: &Event) {}
}

#[async_trait]
impl Checks for Nobody {
    async fn run(&self, _: &[String], _: &[(String, String)]) -> Result<(), CheckFailed> {
        Ok(())
    }
}

struct WorldClock<'a>(&'a World);

impl Clock for WorldClock<'_> {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl Stage {
    /// An empty account with one key.
    pub(crate) async fn new() -> Self {
        let config = WorldConfig { timings: Timings::quick(), ..WorldConfig::default() };
        let world = World::new(config);
        let cloud = InProcess::new(Arc::clone(&world), Duration::ZERO);
        seachange_core::cloud::Cloud::create_ssh_key(&cloud, "deploy", KEY).await.unwrap();
        Self::on(world, MemoryStore::new(), None, 1, BTreeMap::new())
    }

    fn on(
        world: Arc<World>,
        store: MemoryStore,
        bug: Option<Bug>,
        names: u64,
        passed: BTreeMap<Ipv4Addr, u32>,
    ) -> Self {
        let watch = Arc::new(Watch::new(world, store, bug, passed));
        watch.look("at the beginning");
        Self { watch, names: Numbers(AtomicU64::new(names)) }
    }

    /// The same stage once more, to be struck.
    pub(crate) async fn fork(&self, bug: Option<Bug>) -> Self {
        let passed = self.watch.passed();
        let store = MemoryStore::new();
        for key in self.watch.store.list("", usize::MAX).await.unwrap() {
            let bytes = self.watch.store.get(&key).await.unwrap().unwrap();
            store.put(&key, &bytes).await.unwrap();
        }
        let names = self.names.0.load(Ordering::Relaxed);
        Self::on(self.watch.world.fork(), store, bug, names, passed)
    }

    /// A run, as a command does it; `None` if it was killed.
    pub(crate) async fn run(&self, wish: Wish, strike: Option<(u32, Fault)>) -> Option<RunRecord> {
        self.watch.strike(strike);
        let done = tokio::select! {
            done = self.command(wish) => Some(done),
            () = self.watch.died() => None,
            () = self.look_on() => unreachable!("it looks for ever"),
        };
        // A dead holder's lock is taken over after its lease; that is proved elsewhere, and not waited for here.
        let log = Log::new(Arc::new(self.watch.store.clone()), STACK);
        if let Some(holder) = log.holder().await.unwrap() {
            log.unlock(holder.epoch).await.unwrap();
        }
        done.flatten()
    }

    /// Looks at what users have, ten times a second.
    async fn look_on(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.watch.look("in between");
        }
    }

    /// What an earlier run left under way is ended first; the rest follows in the same command.
    async fn command(&self, wish: Wish) -> Option<RunRecord> {
        let under_way = self.watch.durable().transition.is_some();
        let record = self.perform(wish).await?;
        match wish {
            Wish::Apply { .. } if under_way && record.succeeded() => self.perform(wish).await,
            _ => Some(record),
        }
    }

    async fn perform(&self, wish: Wish) -> Option<RunRecord> {
        let watch = &self.watch;
        let hosts = Config { latency: LATENCY, ..Config::default() };
        let cloud =
            WatchedCloud { inner: InProcess::new(Arc::clone(&watch.world), LATENCY), watch };
        let inner = InProcessHost::new(Arc::clone(&watch.world), hosts);
        let registry = inner.registry();
        let host = WatchedHost { inner, watch };
        let clock = WorldClock(&watch.world);
        let context = self.context(&cloud, &host, &registry, &clock);
        let store = WatchedStore { inner: watch.store.clone(), watch: Arc::clone(watch) };
        let log = Log::new(Arc::new(store), STACK);
        let owner = Owner { by: "a test".to_owned(), operation: "apply".to_owned(), process: None };
        let lease = log.acquire(&context, owner).await.unwrap();
        let journal = Journal::open(&context, &lease).await.unwrap();
        recover(&context, &journal).await.ok()?;
        let plan = make(&context, wish, &journal.state()).await?;
        let record = apply(&context, &journal, &plan, &AppSecrets::default()).await.ok();
        drop(journal);
        lease.release().await.unwrap();
        record
    }

    fn context<'a>(
        &'a self,
        cloud: &'a WatchedCloud<'a>,
        host: &'a WatchedHost<'a>,
        registry: &'a InProcessRegistry,
        clock: &'a WorldClock<'a>,
    ) -> Context<'a> {
        Context {
            stack: STACK,
            cloud,
            host: Some(host),
            registry: Some(registry),
            clock,
            ids: &self.names,
            listener: &Nobody,
            checks: &Nobody,
            by: "a test".to_owned(),
            parallelism: 10,
            stop: Stop::new(),
            patience: Patience::default(),
        }
    }

    /// What is wrong with the end of a case, if anything is.
    pub(crate) async fn faults_at_rest(&self, wish: Wish) -> Vec<String> {
        let mut wrong = self.watch.violations();
        let state = self.watch.durable();
        if !state.pending.is_empty() {
            wrong.push(format!("no end is known of {:?}", state.pending.keys()));
        }
        if state.transition.is_some() || !state.deposed.is_empty() {
            wrong.push(format!("under way: {:?} {:?}", state.transition, state.deposed));
        }
        let recorded: BTreeSet<String> = state.resources.values().filter_map(thing).collect();
        let there = self.things();
        if recorded != there {
            wrong.push(format!("there is {there:?}, and recorded is {recorded:?}"));
        }
        let expected = if wish == Wish::Destroy { 0 } else { 3 + 1 + 1 };
        if there.len() != expected {
            wrong.push(format!("{} things instead of {expected}: {there:?}", there.len()));
        }
        if wish == Wish::Destroy {
            return wrong;
        }
        let wanted = match wish {
            Wish::Apply { version, .. } => version,
            Wish::Refused { .. } | Wish::Rollback | Wish::Destroy => "1.0",
        };
        let ip = self.watch.world.topology().reserved.first().map(|(ip, _)| *ip);
        let serves = ip.and_then(|ip| {
            seachange_local_cloud::in_process_host::served(&self.watch.world, ip, PORT)
        });
        if serves.as_deref() != Some(wanted) {
            wrong.push(format!("users get {serves:?} instead of {wanted}"));
        }
        let again = match wish {
            Wish::Rollback | Wish::Refused { .. } => Wish::Apply { version: "1.0", size: SMALL },
            wish => wish,
        };
        match self.plan(again).await {
            Some(plan) if plan.is_empty() && plan.drift.is_empty() => {}
            Some(plan) => {
                wrong.push(format!("a further plan has {:?} {:?}", plan.changes, plan.drift));
            }
            None => wrong.push("a further plan is refused".to_owned()),
        }
        wrong
    }

    async fn plan(&self, wish: Wish) -> Option<Plan> {
        self.watch.strike(None);
        let watch = &self.watch;
        let cloud =
            WatchedCloud { inner: InProcess::new(Arc::clone(&watch.world), LATENCY), watch };
        let inner = InProcessHost::new(Arc::clone(&watch.world), Config::default());
        let registry = inner.registry();
        let host = WatchedHost { inner, watch };
        let clock = WorldClock(&watch.world);
        make(&self.context(&cloud, &host, &registry, &clock), wish, &watch.durable()).await
    }

    /// Droplets, addresses and records of the account, by their ids.
    fn things(&self) -> BTreeSet<String> {
        let all = self.watch.world.snapshot();
        let of = |kind: &str| all[kind].as_object().into_iter().flatten().map(|(_, one)| one);
        let droplets = of("droplets").map(|one| format!("droplet {}", one["id"]));
        let addresses = of("reserved").map(|one| format!("ip {}", one["ip"].as_str().unwrap()));
        let records =
            of("zones").flat_map(|zone| zone["records"].as_object().into_iter().flatten());
        let records = records.filter(|(_, record)| record["type"] == "A");
        let records = records.map(|(_, record)| format!("record {}", record["id"]));
        droplets.chain(addresses).chain(records).collect()
    }
}

fn thing(resource: &Resource) -> Option<String> {
    match resource {
        Resource::Droplet(droplet) => Some(format!("droplet {}", droplet.id)),
        Resource::FloatingIp { ip } => Some(format!("ip {ip}")),
        Resource::Record { id, .. } => Some(format!("record {}", id.0)),
        Resource::SshKey { .. } | Resource::Domain { .. } => None,
    }
}

/// The size workers have at first, and another.
pub(crate) const SMALL: &str = "s-1vcpu-1gb";
pub(crate) const LARGE: &str = "s-1vcpu-2gb";

async fn make(context: &Context<'_>, wish: Wish, state: &State) -> Option<Plan> {
    let (version, size) = match wish {
        Wish::Apply { version, size } => (version, size),
        Wish::Refused { version } => (version, SMALL),
        Wish::Rollback | Wish::Destroy => ("1.0", SMALL),
    };
    let applies = matches!(wish, Wish::Apply { .. } | Wish::Refused { .. });
    let contains = matches!(wish, Wish::Refused { .. }).then_some("what no release says");
    let spec = spec(version, size, contains);
    let wanted = Wanted {
        zones: spec.domain.iter().map(|domain| domain.zone.clone()).collect(),
        ssh_fingerprints: spec.ssh.iter().flat_map(|ssh| ssh.fingerprints()).collect(),
        image: spec.app.as_ref().filter(|_| applies).map(|app| (app.image.clone(), None)),
        hosts: wish != Wish::Destroy,
        catalogue: if applies {
            Need::IfMissing {
                workers: 2,
                load_balancer: true,
                sizes: vec![SMALL.to_owned(), LARGE.to_owned()],
                images: vec![spec.workers.image.clone()],
            }
        } else {
            Need::Never
        },
    };
    let observed = observe(context, &wanted, state).await.ok()?;
    let now = observed.at;
    let options = planner::Options::default();
    let plan = match wish {
        Wish::Apply { .. } | Wish::Refused { .. } => planner::plan(&planner::Input {
            spec: &spec,
            state,
            observed: &observed,
            options: &options,
            now,
        }),
        Wish::Rollback => planner::plan_rollback(state, &observed, now),
        Wish::Destroy => planner::plan_destroy(state, &observed, now),
    };
    let plan = plan.ok()?;
    let errors = check::check(&plan, state, &observed);
    assert!(!errors.iter().any(|note| note.severity == check::Severity::Error), "{errors:?}");
    Some(plan)
}

fn spec(version: &str, size: &str, contains: Option<&str>) -> Spec {
    let fingerprint = seachange_local_cloud::world::account::fingerprint(KEY).unwrap();
    let verify = contains
        .map_or(String::new(), |text| format!("  verify: {{ contains: {text}, timeout: 2s }}\n"));
    let text = format!(
        "version: 1\nstack: {STACK}\nregion: fra1\nssh: {{ keys: [\"{fingerprint}\"], private_key: agent }}\n\
         workers: {{ count: 2, size: {size} }}\nfloating_ip: {{}}\nload_balancer: {{ size: {SMALL} }}\n\
         domain: {{ zone: gotcha-app.de, records: [{{ name: www }}] }}\n\
         app:\n  image: registry.example.com/webgui:{version}\n  port: {PORT}\n\
         \x20 health: {{ interval: 200ms, timeout: 20s }}\n{verify}"
    );
    let vars = BTreeMap::new();
    let variables = Variables { env: &|_| None, vars: &vars, supplied: &|_, _| None };
    let (spec, problems) = spec::read(text.as_bytes(), &variables);
    spec.unwrap_or_else(|| panic!("{problems:?}"))
}

//! The budgets of docs/performance.md, held by counting: requests, round trips, and the world's own clock. Nothing here
//! measures real time; the world is in process and its clock is virtual.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use seachange_core::checks::{CheckFailed, Checks};
use seachange_core::clock::Clock;
use seachange_core::cloud::Cloud as _;
use seachange_core::event::{Event, Listener};
use seachange_core::plan::Plan;
use seachange_core::planner;
use seachange_core::spec::{self, Spec, Variables};
use seachange_core::state::State;
use seachange_engine::store::memory::MemoryStore;
use seachange_engine::store::{Log, Owner};
use seachange_engine::{
    AppSecrets, Context, Ids, Journal, Need, Patience, Stop, Wanted, apply, observe,
};
use seachange_local_cloud::in_process::InProcess;
use seachange_local_cloud::world::{Limits, Timings, World, WorldConfig};
use tokio::time::Instant;

use crate::harness::specs;

/// How long a request takes.
const LATENCY: Duration = Duration::from_millis(80);

struct Stage {
    world: Arc<World>,
    latency: Duration,
    log: Log,
    ids: Numbers,
}

/// What one run cost.
struct Cost {
    plan: Plan,
    requests: u64,
    /// Virtual time, from the first request to the end.
    took: Duration,
}

struct Numbers(AtomicU64);

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
    fn new() -> Self {
        let limits = Limits { droplets: 100_000, reserved_ips: 3 };
        let world = World::new(WorldConfig { limits, ..WorldConfig::default() });
        let log = Log::new(Arc::new(MemoryStore::new()), "bare");
        Self { world, latency: LATENCY, log, ids: Numbers(AtomicU64::new(1)) }
    }

    fn context<'a>(&'a self, cloud: &'a InProcess, clock: &'a WorldClock<'a>) -> Context<'a> {
        Context {
            stack: "bare",
            cloud,
            host: None,
            registry: None,
            clock,
            ids: &self.ids,
            listener: &Nobody,
            checks: &Nobody,
            by: "a test".to_owned(),
            parallelism: 10,
            stop: Stop::new(),
            patience: Patience::default(),
        }
    }

    /// Refreshes and plans.
    async fn plan(&self, spec: &Spec) -> Cost {
        let cloud = InProcess::new(Arc::clone(&self.world), self.latency);
        let clock = WorldClock(&self.world);
        let context = self.context(&cloud, &clock);
        let state = self
            .log
            .head()
            .await
            .expect("a store")
            .unwrap_or_else(|| State::empty("lineage", "bare"));
        let began = Instant::now();
        let plan = make(&context, spec, &state).await;
        Cost { plan, requests: cloud.requests_sent(), took: began.elapsed() }
    }

    /// The same, and carries it out.
    async fn apply(&self, spec: &Spec) -> Cost {
        let cloud = InProcess::new(Arc::clone(&self.world), self.latency);
        let clock = WorldClock(&self.world);
        let context = self.context(&cloud, &clock);
        let began = Instant::now();
        let lease =
            self.log.acquire(&context, Owner::here("a test", "apply")).await.expect("the lock");
        let journal = Journal::open(&context, &lease).await.expect("a journal");
        let plan = make(&context, spec, &journal.state()).await;
        let record = apply(&context, &journal, &plan, &AppSecrets::default()).await.expect("a run");
        assert!(record.succeeded(), "{:?}", record.failures().collect::<Vec<_>>());
        let took = began.elapsed();
        journal.close();
        lease.release().await.expect("released");
        Cost { plan, requests: cloud.requests_sent(), took }
    }
}

async fn make(context: &Context<'_>, spec: &Spec, state: &State) -> Plan {
    let wanted = Wanted {
        zones: spec.domain.iter().map(|domain| domain.zone.clone()).collect(),
        catalogue: Need::IfMissing {
            workers: spec.workers.count,
            load_balancer: true,
            sizes: vec![spec.workers.size.clone()],
            images: vec![spec.workers.image.clone()],
        },
        ..Wanted::default()
    };
    let observed = observe(context, &wanted, state).await.expect("a refresh");
    let options = planner::Options::default();
    planner::plan(&planner::Input {
        spec,
        state,
        observed: &observed,
        options: &options,
        now: observed.at,
    })
    .expect("a plan")
}

/// The infrastructure of the tutorial, as Terraform was measured on, with so many workers.
fn stack(workers: u32) -> Spec {
    let text = std::fs::read_to_string(specs().join("infrastructure.yaml")).expect("the example");
    let text = text.replace("count: 2", &format!("count: {workers}"));
    let vars = BTreeMap::new();
    let (spec, problems) = spec::read(
        text.as_bytes(),
        &Variables { env: &|_| None, vars: &vars, supplied: &|_, _| None },
    );
    spec.unwrap_or_else(|| panic!("{problems:?}"))
}

#[tokio::test(start_paused = true)]
async fn the_second_apply_of_the_tutorials_stack_changes_nothing() {
    let stage = Stage::new();
    stage.apply(&stack(2)).await;
    let before = stage.world.requests().len();
    let again = stage.apply(&stack(2)).await;
    assert!(again.plan.is_empty());
    let changing: Vec<_> = stage.world.requests()[before..]
        .iter()
        .filter(|(method, _)| method != "GET")
        .cloned()
        .collect();
    assert_eq!(changing, []);
}

#[tokio::test(start_paused = true)]
async fn a_no_op_plan_stays_within_its_requests_and_round_trips() {
    for (workers, requests) in [(2, 8), (1000, 12), (5000, 32)] {
        let stage = Stage::new();
        stage.apply(&stack(workers)).await;
        let plan = stage.plan(&stack(workers)).await;
        assert!(plan.plan.is_empty(), "{workers} workers: {:?}", plan.plan.changes.first());
        assert!(plan.requests <= requests, "{workers} workers: {} requests", plan.requests);
        assert!(
            plan.took <= LATENCY * 3,
            "{workers} workers: {:?} is more than 3 round trips",
            plan.took
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_apply_of_a_thousand_workers_stays_within_its_requests() {
    let cost = Stage::new().apply(&stack(1000)).await;
    assert!(cost.requests <= 350, "{} requests", cost.requests);
}

#[tokio::test(start_paused = true)]
async fn a_first_apply_takes_little_more_than_the_cloud_itself() {
    let stage = Stage { latency: Duration::ZERO, ..Stage::new() };
    let cost = stage.apply(&stack(2)).await;
    // A worker boots and gets its address, then the floating IP is assigned to it: nothing can be quicker.
    let Timings { boot, address, action, .. } = Timings::realistic();
    let critical = boot + address + action;
    assert!(cost.took <= critical.mul_f64(1.1), "{:?}, critical path {critical:?}", cost.took);
}

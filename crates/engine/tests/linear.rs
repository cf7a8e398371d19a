//! Whatever happens to its writers, the log stays one line: several of them at once over one store, each with delays,
//! lost requests, lost and late answers, stalls, deaths, take-overs, and locks that a person ends. The suite must find
//! the mistakes that others made: each of them is sown once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use seachange_core::address::Address;
use seachange_core::journal::{Change, Entry};
use seachange_core::state::Resource;
use seachange_core::store::{Created, StateStore, StoreError};
use seachange_engine::store::memory::MemoryStore;
use seachange_engine::store::{Lease, Locking, Log, LogError, Owner};
use seachange_engine::{Context, Journal};
use tokio::time::{Instant, sleep, sleep_until};

use crate::world::{STACK, World};

/// How long a client waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What one writer does next.
#[derive(Debug, Clone, Copy)]
enum Action {
    /// Takes the lock, unless it has it.
    Begin,
    Commit,
    /// Sends the cloud a request that takes so many seconds, if it may.
    Request(u64),
    /// Gets nothing done for so many seconds, its heartbeat included.
    Stall(u64),
    /// Goes on, but for so many seconds the store hears nothing of it.
    CutOff(u64),
    Wait(u64),
    Die,
    Release,
    /// A person ends whatever holding there is.
    Unlock,
}

/// What happens to one request to the store.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// So many milliseconds there, and back.
    Answered(u64, u64),
    RequestLost,
    AnswerLost,
    /// It arrives so many seconds after its sender gave up.
    Late(u64),
}

#[derive(Debug, Clone)]
struct Script {
    actions: Vec<Action>,
    /// In turn, and from the beginning again.
    fates: Vec<Fate>,
}

/// A mistake to be found.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sown {
    Nothing,
    /// What is there after an unclear create is taken for somebody else's.
    NoReadBack,
    /// Unlocking deletes the lock.
    DeletedLock,
    /// The store takes every create, as some do once versioning is on.
    NoConditions,
    /// The same, and a person opted in to what can be done about it.
    NoConditionsKnown,
}

fn scripts() -> impl Strategy<Value = Vec<Script>> {
    // Where nobody meddles, holders exclude each other in the cloud too.
    prop_oneof![
        3 => scripts_with(Just(Action::Request(20)).boxed()),
        1 => scripts_with(Just(Action::Unlock).boxed()),
    ]
}

fn scripts_with(people: BoxedStrategy<Action>) -> impl Strategy<Value = Vec<Script>> {
    let action = prop_oneof![
        3 => Just(Action::Begin),
        6 => Just(Action::Commit),
        4 => (0..30_u64).prop_map(Action::Request),
        1 => (1..150_u64).prop_map(Action::Stall),
        2 => (1..150_u64).prop_map(Action::CutOff),
        2 => (0..40_u64).prop_map(Action::Wait),
        1 => Just(Action::Die),
        1 => Just(Action::Release),
        1 => people,
    ];
    let script = (prop::collection::vec(action, 4..24), fates())
        .prop_map(|(actions, fates)| Script { actions, fates });
    prop::collection::vec(script, 2..=3)
}

/// One holder is cut off from the store and goes on with the cloud; a rival waits for its chance.
fn robberies() -> impl Strategy<Value = Vec<Script>> {
    let requests = prop::collection::vec(0..=30_u64, 3..8);
    (0..20_u64, 100..150_u64, requests, 0..40_u64, fates(), fates()).prop_map(
        |(before, cut_off, requests, later, fates, rival_fates)| {
            let mut actions = vec![Action::Begin, Action::Wait(before), Action::CutOff(cut_off)];
            actions.extend(requests.into_iter().map(Action::Request));
            let rival = [Action::Wait(later), Action::Begin, Action::Begin, Action::Request(30)];
            vec![Script { actions, fates }, Script { actions: rival.to_vec(), fates: rival_fates }]
        },
    )
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        12 => (0..300_u64, 0..300_u64).prop_map(|(there, back)| Fate::Answered(there, back)),
        1 => Just(Fate::RequestLost),
        1 => Just(Fate::AnswerLost),
        1 => (0..30_u64).prop_map(Fate::Late),
    ];
    prop::collection::vec(fate, 1..40)
}

/// One client's view of the store.
#[derive(Clone)]
struct Client {
    store: MemoryStore,
    sown: Sown,
    fates: Arc<Vec<Fate>>,
    line: Arc<Mutex<Line>>,
}

struct Line {
    sent: usize,
    stalled_until: Instant,
    unclear: BTreeSet<String>,
}

impl Client {
    fn new(store: &MemoryStore, sown: Sown, fates: &[Fate]) -> Self {
        let line = Line { sent: 0, stalled_until: Instant::now(), unclear: BTreeSet::new() };
        let (store, fates) = (store.clone(), Arc::new(fates.to_vec()));
        Self { store, sown, fates, line: Arc::new(Mutex::new(line)) }
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().unwrap()
    }

    /// Sends a request to its fate.
    async fn send<T: Send + 'static>(
        &self,
        done: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (fate, stalled_until) = {
            let mut line = self.line();
            line.sent += 1;
            (self.fates[line.sent % self.fates.len()], line.stalled_until)
        };
        sleep_until(stalled_until).await;
        match fate {
            Fate::Answered(there, back) => {
                sleep(Duration::from_millis(there)).await;
                let result = done.await;
                sleep(Duration::from_millis(back)).await;
                return result;
            }
            Fate::RequestLost => {}
            Fate::AnswerLost => drop(done.await?),
            Fate::Late(seconds) => drop(tokio::spawn(async move {
                sleep(TIMEOUT + Duration::from_secs(seconds)).await;
                drop(done.await);
            })),
        }
        sleep(TIMEOUT).await;
        let detail = format!("{fate:?}");
        Err(StoreError::Unknown { store: self.name(), operation: "request".to_owned(), detail })
    }
}

#[async_trait]
impl StateStore for Client {
    fn name(&self) -> String {
        "a store far away".to_owned()
    }

    async fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let (store, sown) = (self.store.clone(), self.sown);
        let (owned, bytes) = (key.to_owned(), bytes.to_vec());
        let answer = self
            .send(async move {
                if matches!(sown, Sown::NoConditions | Sown::NoConditionsKnown) {
                    return store.put(&owned, &bytes).await.map(|()| Created::Yes);
                }
                store.create(&owned, &bytes).await
            })
            .await;
        if answer != Ok(Created::Yes) && self.sown == Sown::NoReadBack {
            self.line().unclear.insert(key.to_owned());
        }
        answer
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let (store, owned) = (self.store.clone(), key.to_owned());
        let found = self.send(async move { store.get(&owned).await }).await?;
        let unclear = self.line().unclear.remove(key);
        Ok(found.map(|bytes| if unclear { b"not mine".to_vec() } else { bytes }))
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        let (store, prefix) = (self.store.clone(), prefix.to_owned());
        self.send(async move { store.list(&prefix, limit).await }).await
    }

    async fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (store, key, bytes) = (self.store.clone(), key.to_owned(), bytes.to_vec());
        self.send(async move { store.put(&key, &bytes).await }).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let (store, key) = (self.store.clone(), key.to_owned());
        self.send(async move { store.delete(&key).await }).await
    }
}

/// What must be true afterwards.
#[derive(Default)]
struct Truth {
    epochs: BTreeSet<u64>,
    /// Markers of entries that were answered.
    durable: Vec<Address>,
    /// Requests to the cloud: epoch, from, to.
    requests: Vec<(u64, Instant, Instant)>,
    unlocked: bool,
    broken: Vec<String>,
}

struct Writer<'a> {
    name: String,
    client: Client,
    truth: &'a Mutex<Truth>,
    world: &'a World,
    run: Option<Run>,
    runs: u32,
}

/// The lock and the journal of one run, and the name it commits under.
struct Run {
    by: String,
    lease: Lease,
    journal: Journal,
    recorded: u32,
}

impl Writer<'_> {
    async fn act(&mut self, action: Action) {
        match action {
            Action::Begin => self.begin().await,
            Action::Commit => self.commit().await,
            Action::Request(seconds) => self.request(seconds).await,
            Action::Stall(seconds) => sleep_until(self.cut_off(seconds)).await,
            Action::CutOff(seconds) => {
                self.cut_off(seconds);
            }
            Action::Wait(seconds) => sleep(Duration::from_secs(seconds)).await,
            Action::Die => self.run = None,
            Action::Release => {
                if let Some(run) = self.run.take() {
                    drop(run.journal);
                    // Where it fails the lease runs out.
                    drop(run.lease.release().await);
                }
            }
            Action::Unlock => self.unlock().await,
        }
    }

    fn cut_off(&self, seconds: u64) -> Instant {
        let until = Instant::now() + Duration::from_secs(seconds);
        self.client.line().stalled_until = until;
        until
    }

    fn log(&self) -> Log {
        let log = Log::new(Arc::new(self.client.clone()), STACK);
        if self.client.sown == Sown::NoConditionsKnown {
            return log.with_locking(Locking::Advisory);
        }
        log
    }

    async fn begin(&mut self) {
        if self.run.is_some() {
            return;
        }
        self.runs += 1;
        let by = format!("{}{}", self.name, self.runs);
        let context = Context { by: by.clone(), ..self.world.context() };
        let owner = Owner { by: by.clone(), operation: "apply".to_owned(), process: None };
        let Ok(lease) = self.log().acquire(&context, owner).await else { return };
        let epoch = lease.holding().epoch();
        if !self.truth.lock().unwrap().epochs.insert(epoch) {
            self.broken(format!("epoch {epoch} is held twice"));
        }
        if let Ok(journal) = Journal::open(&context, &lease).await {
            self.run = Some(Run { by, lease, journal, recorded: 0 });
        }
    }

    async fn commit(&mut self) {
        let Some(run) = &mut self.run else { return };
        run.recorded += 1;
        let address = Address::Domain(format!("{}-{}.example", run.by, run.recorded));
        let changes = vec![Change::Put {
            address: address.clone(),
            resource: Resource::Domain { ours: true },
        }];
        let Err(error) = run.journal.record(Entry::Note { changes }).await else {
            return self.truth.lock().unwrap().durable.push(address);
        };
        if let LogError::Overtaken { serial, .. } = *error.source {
            let theirs = Log::new(Arc::new(self.client.store.clone()), STACK).at(serial).await;
            match theirs {
                Ok(Some(commit)) if commit.envelope.by != run.by => {}
                other => {
                    let by = run.by.clone();
                    self.broken(format!("{by} was told that it lost serial {serial}: {other:?}"));
                }
            }
        }
        self.run = None;
    }

    async fn request(&self, seconds: u64) {
        let Some(run) = &self.run else { return };
        if run.journal.must_hold().is_ok() {
            let until = Instant::now() + Duration::from_secs(seconds);
            let request = (run.lease.holding().epoch(), Instant::now(), until);
            self.truth.lock().unwrap().requests.push(request);
            sleep_until(until).await;
        }
    }

    async fn unlock(&self) {
        let Ok(Some(holder)) = self.log().holder().await else { return };
        self.truth.lock().unwrap().unlocked = true;
        if self.client.sown != Sown::DeletedLock {
            return drop(self.log().unlock(holder.epoch).await);
        }
        let keys = self.client.store.list(&format!("{STACK}/lock/"), 999).await.unwrap_or_default();
        for key in keys {
            drop(self.client.store.delete(&key).await);
        }
    }

    fn broken(&self, what: String) {
        self.truth.lock().unwrap().broken.push(what);
    }
}

/// Plays the scripts side by side on a clock of their own; everything that is not as it must be.
fn play(scripts: &[Script], sown: Sown) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (world, store, truth) = (World::new(), MemoryStore::new(), Mutex::default());
        let writers = scripts.iter().zip(["a", "b", "c"]).map(|(script, name)| {
            let client = Client::new(&store, sown, &script.fates);
            let name = name.to_owned();
            let mut writer =
                Writer { name, client, truth: &truth, world: &world, run: None, runs: 0 };
            async move {
                for &action in &script.actions {
                    writer.act(action).await;
                }
            }
        });
        join_all(writers).await;
        // What is still on its way arrives.
        sleep(Duration::from_secs(3600)).await;
        let mut truth = truth.into_inner().unwrap();
        judge(&store, &mut truth).await;
        truth.broken
    })
}

async fn judge(store: &MemoryStore, truth: &mut Truth) {
    let log = Log::new(Arc::new(store.clone()), STACK);
    let mut commits = log.history(usize::MAX).await.unwrap();
    commits.reverse();
    let serials: Vec<u64> = commits.iter().map(|commit| commit.state.serial).collect();
    if let Some(pair) = serials.windows(2).find(|pair| pair[0] == pair[1]) {
        let told = log.at(pair[0]).await;
        if !matches!(told, Err(LogError::Forked { serial, .. }) if serial == pair[0]) {
            truth.broken.push(format!("nobody is told of the fork: {told:?}"));
        }
        return;
    }
    let mut known = BTreeMap::new();
    for (commit, serial) in commits.iter().zip(1..) {
        let (envelope, state) = (&commit.envelope, &commit.state);
        if (state.serial, envelope.parent) != (serial, serial - 1) {
            truth.broken.push(format!("serial {} builds on {}", state.serial, envelope.parent));
        }
        if state.lineage != commits[0].state.lineage {
            truth.broken.push(format!("serial {serial} is of another lineage"));
        }
        if known.keys().any(|address| !state.resources.contains_key(address)) {
            truth.broken.push(format!("serial {serial} lacks what an earlier one has"));
        }
        known.clone_from(&state.resources);
    }
    for address in &truth.durable {
        if !known.contains_key(address) {
            truth.broken.push(format!("{address} was answered and is lost"));
        }
    }
    // A person who ends a holding that lives takes what comes of it.
    if truth.unlocked {
        return;
    }
    truth.requests.sort_by_key(|&(_, from, _)| from);
    for pair in truth.requests.windows(2) {
        if pair[0].0 != pair[1].0 && pair[0].2 > pair[1].1 {
            truth.broken.push(format!("two holders ask the cloud at once: {pair:?}"));
        }
    }
}

fn explore(
    scripts: impl Strategy<Value = Vec<Script>>,
    sown: Sown,
) -> Result<(), TestError<Vec<Script>>> {
    let cases = 500;
    let config =
        Config { cases, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng).run(&scripts, |scripts| {
        let broken = play(&scripts, sown);
        prop_assert!(broken.is_empty(), "{broken:#?}");
        Ok(())
    })
}

#[test]
fn whatever_happens_the_log_is_one_line_and_nothing_answered_is_lost() {
    explore(scripts(), Sown::Nothing).unwrap();
}

#[test]
fn nothing_of_a_robbed_holder_reaches_the_cloud_after_its_successor_began() {
    explore(robberies(), Sown::Nothing).unwrap();
}

#[test]
fn courtesy_keeps_holders_apart_and_what_it_cannot_keep_apart_is_told() {
    explore(robberies(), Sown::NoConditionsKnown).unwrap();
    explore(scripts(), Sown::NoConditionsKnown).unwrap();
}

#[test]
fn a_writer_that_does_not_read_back_is_found() {
    explore(scripts(), Sown::NoReadBack).unwrap_err();
}

#[test]
fn an_unlock_that_deletes_is_found() {
    explore(scripts(), Sown::DeletedLock).unwrap_err();
}

#[test]
fn a_store_that_ignores_conditions_is_found() {
    explore(scripts(), Sown::NoConditions).unwrap_err();
}

//! Somebody who watches: before and after every changing call of a run it is looked whether users are served, by whom, and
//! whether the call was written down; and at one of them something goes wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use seachange_core::address::Address;
use seachange_core::names;
use seachange_core::release::Phase;
use seachange_core::state::State;
use seachange_engine::store::Log;
use seachange_engine::store::memory::MemoryStore;
use seachange_local_cloud::fault::{Effect, Rule};
use seachange_local_cloud::in_process_host::served;
use seachange_local_cloud::machine::haproxy::Usage;
use seachange_local_cloud::world::World;
use tokio::sync::Notify;

use crate::stage::{PORT, STACK};

/// Healthy answers in a row that make a gate.
const SUCCESSES: u32 = 3;

/// What goes wrong at a changing call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is killed before it is sent,
    KilledBefore,
    /// when it was carried out and the answer is on its way,
    KilledAfter,
    /// or when the answer was read and its entry is about to be written.
    KilledUnrecorded,
    /// It never arrives.
    DroppedBefore,
    /// It is carried out, and its answer is lost.
    DroppedAfter,
    /// It is refused for being one too many.
    TooMany,
    /// It is refused by a service that fails.
    ServerError,
    /// It is carried out by a service that fails afterwards.
    ServerErrorAfter,
    /// It is refused for good: the token may not do that any more.
    Forbidden,
    /// An earlier event is said to be under way.
    Pending,
    /// It is carried out, and the answer comes when nobody waits any more.
    Stall,
    /// The action it starts ends in `errored`.
    ActionErrors,
    /// Lists do not show for five seconds what it made.
    ListLag,
}

impl Fault {
    pub(crate) const ALL: [Self; 13] = [
        Self::KilledBefore,
        Self::KilledAfter,
        Self::KilledUnrecorded,
        Self::DroppedBefore,
        Self::DroppedAfter,
        Self::TooMany,
        Self::ServerError,
        Self::ServerErrorAfter,
        Self::Forbidden,
        Self::Pending,
        Self::Stall,
        Self::ActionErrors,
        Self::ListLag,
    ];
}

/// A bug that is put in on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A create without an answer is sent again.
    ResendsCreates,
    /// The journal says that it wrote, and did not.
    ForgetsToWrite,
    /// The floating IP moves as soon as a container starts.
    MovesEarly,
}

/// What all calls of all runs of a case have in common.
pub(crate) struct Watch {
    pub(crate) world: Arc<World>,
    pub(crate) store: MemoryStore,
    run: Mutex<Arc<Run>>,
    pub(crate) bug: Option<Bug>,
    /// Users are served, and must be from here on.
    pub(crate) serves: AtomicBool,
    /// Somebody carries PROD, and somebody must from here on.
    pub(crate) tagged: AtomicBool,
    destroying: AtomicBool,
    /// Healthy answers in a row from the container of each host, since it was put there.
    passed: Mutex<BTreeMap<Ipv4Addr, u32>>,
    /// The version of the world that was last read, and whether anybody carried PROD in it.
    seen: Mutex<Option<(u64, bool)>>,
    /// Where the floating IP was last seen to lead.
    leads_to: Mutex<Option<Ipv4Addr>>,
    /// Whom the load balancer was last seen to send users to.
    users_at: Mutex<Option<Ipv4Addr>>,
    violations: Mutex<Vec<String>>,
}

/// One process, from its beginning to its end.
#[derive(Default)]
struct Run {
    /// Which changing call is struck, and how.
    strike: Option<(u32, Fault)>,
    calls: AtomicU32,
    dies_at_commit: AtomicBool,
    died: Notify,
}

impl Watch {
    pub(crate) fn new(
        world: Arc<World>,
        store: MemoryStore,
        bug: Option<Bug>,
        passed: BTreeMap<Ipv4Addr, u32>,
    ) -> Self {
        Self {
            world,
            store,
            run: Mutex::default(),
            bug,
            serves: AtomicBool::new(false),
            tagged: AtomicBool::new(false),
            destroying: AtomicBool::new(false),
            passed: Mutex::new(passed),
            seen: Mutex::default(),
            leads_to: Mutex::default(),
            users_at: Mutex::default(),
            violations: Mutex::default(),
        }
    }

    /// The next run begins, and is struck there.
    pub(crate) fn strike(&self, strike: Option<(u32, Fault)>) {
        let run = Run { strike, ..Run::default() };
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(run);
    }

    fn run(&self) -> Arc<Run> {
        Arc::clone(&self.run.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changing calls of this run so far.
    pub(crate) fn calls(&self) -> u32 {
        self.run().calls.load(Ordering::Relaxed)
    }

    /// Somebody did something by hand: promises count from the next time that they are kept.
    pub(crate) fn begin_anew(&self) {
        self.serves.store(false, Ordering::Relaxed);
        self.tagged.store(false, Ordering::Relaxed);
        *self.leads_to.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Healthy answers in a row of each host's container.
    pub(crate) fn passed(&self) -> BTreeMap<Ipv4Addr, u32> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Users may be left: the stack is destroyed.
    pub(crate) fn promise_nothing(&self) {
        self.destroying.store(true, Ordering::Relaxed);
    }

    /// Returns when the process is killed.
    pub(crate) async fn died(&self) {
        self.run().died.notified().await;
    }

    /// What was seen that must not be.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn violation(&self, what: String) {
        let mut violations = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
        if !violations.contains(&what) {
            violations.push(what);
        }
    }

    /// The process is to be killed before it writes anything more.
    pub(crate) fn dies_at_commit(&self) -> bool {
        self.run().dies_at_commit.load(Ordering::Relaxed)
    }

    pub(crate) async fn die<T>(&self) -> T {
        self.run().died.notify_one();
        std::future::pending().await
    }

    /// The newest state that is durable.
    pub(crate) fn durable(&self) -> State {
        let log = Log::new(Arc::new(self.store.clone()), STACK);
        let head = log.head().now_or_never().unwrap().unwrap();
        head.unwrap_or_else(|| State::empty("", STACK))
    }

    /// What must hold at every instant.
    pub(crate) fn look(&self, when: &str) {
        if self.destroying.load(Ordering::Relaxed) {
            return;
        }
        let world = &self.world;
        let (entrance, target) = world.topology().reserved.first().copied().unzip();
        self.look_where_it_leads(when, target.flatten());
        self.look_who_gets_users(when, target.flatten());
        let serves = entrance.is_some_and(|ip| served(world, ip, PORT).is_some());
        if self.serves.fetch_or(serves, Ordering::Relaxed) && !serves {
            self.violation(format!("{when}: users are not served"));
        }
        if self.detour().is_some_and(|to| served(world, to, PORT).is_none()) {
            self.violation(format!(
                "{when}: users are sent round to somebody who does not serve them"
            ));
        }
        // Nothing is read twice of a world that did not change.
        let version = *world.changes().borrow();
        let known = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let tagged = match known.filter(|(seen, _)| *seen == version) {
            Some((_, tagged)) => tagged,
            None => self.look_at_tags(when),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((version, tagged));
        // Promised from the first time that users are served by somebody who carries it.
        if self.tagged.fetch_or(tagged && serves, Ordering::Relaxed) && !tagged {
            self.violation(format!("{when}: nobody carries PROD"));
        }
    }

    /// No attempt made anything twice; whether anybody carries PROD.
    fn look_at_tags(&self, when: &str) -> bool {
        let all = self.world.snapshot();
        let droplets = all["droplets"].as_object().into_iter().flat_map(|all| all.values());
        let (mut tagged, mut made) = (false, BTreeSet::new());
        for droplet in droplets {
            let tags = droplet["tags"].as_array().into_iter().flatten();
            for tag in tags.filter_map(|tag| tag.as_str()) {
                tagged |= tag == names::PROD;
                if names::attempt_of(STACK, tag).is_some()
                    && !made.insert(format!("{tag} {}", droplet["name"]))
                {
                    self.violation(format!("{when}: one attempt made {} twice", droplet["name"]));
                }
            }
        }
        tagged
    }

    /// Users are only ever moved to a container that has just passed the gate.
    fn look_where_it_leads(&self, when: &str, target: Option<Ipv4Addr>) {
        let before = {
            let mut leads_to = self.leads_to.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *leads_to, target)
        };
        let moved = before.is_some() && target.is_some() && before != target;
        let passed = target.and_then(|target| self.passed().get(&target).copied());
        if moved && self.serves.load(Ordering::Relaxed) && passed < Some(SUCCESSES) {
            self.violation(format!("{when}: users were moved to what had not passed the gate"));
        }
    }

    /// Users who were taken back from a release that failed never see it again.
    fn look_who_gets_users(&self, when: &str, target: Option<Ipv4Addr>) {
        let now = self.detour().or(target);
        let before = {
            let mut users_at = self.users_at.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *users_at, now)
        };
        if before == now {
            return;
        }
        let state = self.durable();
        let address = |worker| state.droplet(&Address::Worker(worker))?.ipv4;
        let failed = state.transition.as_ref().filter(|it| it.phase == Phase::SwitchingBack);
        if failed.is_some_and(|failed| now == address(failed.to)) {
            self.violation(format!("{when}: users are taken to the release that had failed"));
        }
    }

    /// Users are only ever sent round the floating IP to a container that has passed the gate.
    pub(crate) fn look_at_detour(&self, when: &str, to: Ipv4Addr) {
        if self.passed().get(&to).copied() < Some(SUCCESSES) {
            self.violation(format!("{when}: it has not passed the gate"));
        }
    }

    /// Where a load balancer sends users round the floating IP to, if one does.
    pub(crate) fn detour(&self) -> Option<Ipv4Addr> {
        let machines = self.world.topology().machines.into_iter();
        machines
            .filter_map(|(_, address)| {
                self.world.with_machine(address, |machine, now| {
                    let servers = machine.balancer(now)?.backends.into_values();
                    let mut servers = servers.flat_map(|backend| backend.servers);
                    let detour = servers.find(|server| server.name == "detour")?;
                    (detour.usage == Usage::Ready).then_some(detour.address)
                })?
            })
            .next()
    }

    /// A container was put on a host, or answered.
    pub(crate) fn note(&self, address: Ipv4Addr, answer: Option<bool>) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = passed.entry(address).or_default();
        *count = if answer == Some(true) { *count + 1 } else { 0 };
    }

    /// A changing call: watched, and perhaps struck.
    pub(crate) async fn changing<T, E>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, E>> + Send,
        errors: impl Fn(Fault) -> E + Send,
    ) -> Result<T, E>
    where
        T: Send,
        E: Send,
    {
        let run = self.run();
        let number = run.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let state = self.durable();
        if state.pending.is_empty() && state.transition.is_none() {
            self.violation(format!("{what}: nothing durable says that it is under way"));
        }
        self.look(&format!("before {what}"));
        let fault = run.strike.filter(|(at, _)| *at == number).map(|(_, fault)| fault);
        let result = match fault {
            Some(Fault::KilledBefore) => self.die().await,
            Some(
                fault @ (Fault::DroppedBefore
                | Fault::TooMany
                | Fault::ServerError
                | Fault::Forbidden
                | Fault::Pending),
            ) => {
                return Err(errors(fault));
            }
            Some(Fault::ActionErrors) => {
                let rule = Rule::next("POST", "", Effect::ActionErrors);
                self.world.with_faults(|faults| faults.add(rule));
                let result = call.await;
                self.world.with_faults(seachange_local_cloud::fault::Faults::clear);
                result
            }
            Some(Fault::ListLag) => {
                let five = Duration::from_secs(5);
                let usual = self
                    .world
                    .with_manners(|timings, _| std::mem::replace(&mut timings.list_lag, five));
                let result = call.await;
                self.world.with_manners(|timings, _| timings.list_lag = usual);
                result
            }
            _ => call.await,
        };
        self.look(&format!("after {what}"));
        match fault {
            Some(Fault::KilledAfter) => self.die().await,
            Some(Fault::KilledUnrecorded) => run.dies_at_commit.store(true, Ordering::Relaxed),
            Some(fault @ (Fault::DroppedAfter | Fault::ServerErrorAfter)) => {
                return Err(errors(fault));
            }
            Some(Fault::Stall) => {
                tokio::time::sleep(Duration::from_secs(40)).await;
                return Err(errors(Fault::Stall));
            }
            _ => {}
        }
        result
    }
}

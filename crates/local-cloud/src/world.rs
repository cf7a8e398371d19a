//! The one deterministic world: an account's resources, and what happens to them as time passes.
//!
//! Nothing here runs in the background. Every access first carries out what is due by now, in order; time is tokio's, so
//! a paused clock makes the world virtual, and a seed makes it repeatable. The doors (`http`, `in_process`, `doors`)
//! decide nothing: what the service would answer is decided in the modules beside.

pub mod account;
pub mod addresses;
pub mod catalogue;
pub mod dns;
pub mod droplets;
pub mod refusal;
mod store;
pub mod tags;

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use seachange_core::cloud::DropletId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::fault::Faults;
use crate::machine::{BootTimings, Machine};
use crate::spaces::Habits;
pub use account::Limits;
pub use store::StoreError;

/// How long things take; as JSON, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timings {
    /// From a create to `active`.
    #[serde(with = "crate::millis")]
    pub boot: Duration,
    /// From `active` to the public address.
    #[serde(with = "crate::millis")]
    pub address: Duration,
    /// From `active` to SSH and to the end of cloud-init.
    pub first_boot: BootTimings,
    /// An action on an address or a droplet.
    #[serde(with = "crate::millis")]
    pub action: Duration,
    /// From a delete's answer to the end of the droplet.
    #[serde(with = "crate::millis")]
    pub delete: Duration,
    /// How long a new droplet is missing from lists.
    #[serde(with = "crate::millis")]
    pub list_lag: Duration,
    /// How long a new droplet, key or action is 404.
    #[serde(with = "crate::millis")]
    pub read_lag: Duration,
}

impl Timings {
    /// About what DigitalOcean needs, with boots at their quickest.
    pub fn realistic() -> Self {
        Self {
            boot: Duration::from_secs(5),
            address: Duration::from_millis(500),
            first_boot: BootTimings {
                ssh: Duration::from_secs(2),
                cloud_init: Duration::from_secs(5),
            },
            action: Duration::from_secs(2),
            delete: Duration::from_secs(2),
            list_lag: Duration::ZERO,
            read_lag: Duration::ZERO,
        }
    }

    /// For people who wait: everything in its order, in about two seconds.
    pub fn quick() -> Self {
        let ms = Duration::from_millis;
        Self {
            boot: ms(700),
            address: ms(100),
            first_boot: BootTimings { ssh: ms(200), cloud_init: ms(700) },
            action: ms(300),
            delete: ms(300),
            list_lag: Duration::ZERO,
            read_lag: Duration::ZERO,
        }
    }
}

/// What the service does at bad moments, beyond taking its time; the rest of it is done by rules (`fault`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Races {
    /// A second event on a droplet or an address is refused while one is under way.
    pub pending_events: bool,
    /// Writing a record gives its TTL to every record of the same name and type.
    pub shared_ttl: bool,
    /// Lists of droplets begin with the newest, so that a create shifts the pages of whoever reads them.
    pub newest_first: bool,
    /// `ratelimit-reset` names a time that has passed.
    pub stale_reset: bool,
    /// What is connected to a reserved IP stays on the old droplet when the address moves, instead of being cut.
    pub connections_stay: bool,
}

impl Default for Races {
    fn default() -> Self {
        Self {
            pending_events: true,
            shared_ttl: true,
            newest_first: false,
            stale_reset: false,
            connections_stay: false,
        }
    }
}

/// The first address of each kind that a world gives; the others follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Public ones of droplets: room for 32,000.
    pub droplets: Ipv4Addr,
    /// Private ones of droplets, at which nobody answers: as many.
    pub private: Ipv4Addr,
    /// Reserved IPs: room for 2,000.
    pub reserved: Ipv4Addr,
}

impl Addresses {
    /// Of a block of loopback addresses: droplets in `127.A.0.0/17` from `B`, reserved IPs in the upper half.
    pub const fn loopback((a, b): (u8, u8)) -> Self {
        Self {
            droplets: Ipv4Addr::new(127, a, b, 10),
            private: Ipv4Addr::new(10, 0, 0, 10),
            reserved: Ipv4Addr::new(127, a, b.wrapping_add(128), 10),
        }
    }
}

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// Makes ids, host keys and addresses.
    pub seed: u64,
    /// When it begins.
    pub epoch: Timestamp,
    /// How long things take.
    pub timings: Timings,
    /// What happens at bad moments.
    pub races: Races,
    /// How its Spaces behave.
    pub spaces: Habits,
    /// The account's limits.
    pub limits: Limits,
    /// Which addresses it gives.
    pub addresses: Addresses,
    /// 5,000 requests an hour and 250 a minute, as documented.
    pub rate_limits: bool,
    /// The only token that is let in; `None`: any.
    pub token: Option<String>,
    /// Fingerprints that count as keys of the account, with the public key that stands in for them.
    pub lent_keys: BTreeMap<String, String>,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            epoch: Timestamp::from_second(1_767_225_600).unwrap_or(Timestamp::UNIX_EPOCH),
            timings: Timings::realistic(),
            races: Races::default(),
            spaces: Habits::default(),
            limits: Limits::default(),
            addresses: Addresses::loopback((77, 0)),
            rate_limits: false,
            token: None,
            lent_keys: BTreeMap::new(),
        }
    }
}

/// What happens at a time of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Due {
    /// A droplet becomes active.
    Activate(DropletId),
    /// A droplet gets its public address.
    Address(DropletId),
    /// A droplet is gone.
    Vanish(DropletId),
    /// An action ends.
    End(u64),
}

/// Everything that a snapshot keeps.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Resources {
    pub(crate) next_id: u64,
    pub(crate) droplets: BTreeMap<DropletId, droplets::Droplet>,
    pub(crate) machines: BTreeMap<DropletId, Machine>,
    pub(crate) actions: BTreeMap<u64, droplets::Action>,
    pub(crate) tags: BTreeMap<String, tags::Tag>,
    pub(crate) reserved: BTreeMap<Ipv4Addr, addresses::Reserved>,
    pub(crate) zones: BTreeMap<String, dns::Zone>,
    pub(crate) keys: BTreeMap<u64, account::Key>,
    /// In the order in which it happens.
    due: VecDeque<(Timestamp, Due)>,
    /// Where the search for a free address begins.
    pub(crate) next_place: u32,
    pub(crate) next_address: u32,
}

/// What the doors share.
pub(crate) struct Inner {
    pub(crate) config: WorldConfig,
    pub(crate) resources: Resources,
    pub(crate) faults: Faults,
    pub(crate) window: account::Window,
    pub(crate) requests: Vec<(String, String)>,
    /// Which droplet has which place in the block.
    pub(crate) places: BTreeMap<u32, DropletId>,
    /// How many actions are under way on each.
    pub(crate) under_way: BTreeMap<droplets::Subject, u32>,
    /// Something is to be saved and told at the end of this instant.
    dirty: bool,
    begin: Instant,
    store: Option<store::Store>,
    changes: watch::Sender<u64>,
}

/// A world. Cheap to share; all doors of one world are one and the same.
pub struct World {
    inner: Mutex<Inner>,
}

/// Who is where, now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// Droplets with an address.
    pub machines: Vec<(DropletId, Ipv4Addr)>,
    /// Reserved IPs, and the address of the droplet each forwards to.
    pub reserved: Vec<(Ipv4Addr, Option<Ipv4Addr>)>,
}

impl World {
    /// A new, empty world.
    pub fn new(config: WorldConfig) -> Arc<Self> {
        let resources = Resources { next_id: 1, ..Resources::default() };
        Self::assemble(config, resources, None)
    }

    /// A world kept in a folder: what is there goes on from when it was left, and every change is saved before it is answered.
    /// The configuration is asked for once the folder is ours alone.
    pub fn kept<E: From<StoreError>>(
        folder: &std::path::Path,
        config: impl FnOnce() -> Result<WorldConfig, E>,
    ) -> Result<Arc<Self>, E> {
        let (store, kept) = store::Store::open(folder)?;
        let config = config()?;
        let fresh = || Resources { next_id: 1, ..Resources::default() };
        let (resources, epoch) = match kept {
            // Time never runs backwards in a world, whatever the clock it is served by says.
            Some((resources, saved_at)) => (resources, config.epoch.max(saved_at)),
            None => (fresh(), config.epoch),
        };
        Ok(Self::assemble(WorldConfig { epoch, ..config }, resources, Some(store)))
    }

    /// A world that is the same at this moment, without its faults, and goes its own way from here.
    pub fn fork(&self) -> Arc<Self> {
        let inner = self.lock();
        let fork = Self::assemble(inner.config.clone(), inner.resources.clone(), None);
        fork.lock().begin = inner.begin;
        fork
    }

    fn assemble(
        config: WorldConfig,
        resources: Resources,
        store: Option<store::Store>,
    ) -> Arc<Self> {
        let mut inner = Inner {
            config,
            resources,
            faults: Faults::default(),
            window: account::Window::default(),
            requests: Vec::new(),
            places: BTreeMap::new(),
            under_way: BTreeMap::new(),
            dirty: false,
            begin: Instant::now(),
            store,
            changes: watch::Sender::new(0),
        };
        inner.index();
        Arc::new(Self { inner: Mutex::new(inner) })
    }

    /// The time in this world.
    pub fn now(&self) -> Timestamp {
        self.lock().now()
    }

    /// The machine of the droplet that has this public address; `f` may change it. `None`: no such droplet, or gone.
    pub fn with_machine<T>(
        &self,
        address: Ipv4Addr,
        f: impl FnOnce(&mut Machine, Timestamp) -> T,
    ) -> Option<T> {
        self.act(|inner, now| {
            let id = inner.droplet_at(address)?;
            let machine = inner.resources.machines.get_mut(&id)?;
            let before = machine.revision();
            let answer = f(machine, now);
            if machine.revision() != before {
                inner.changed();
            }
            Some(answer)
        })
    }

    /// The address of the droplet that a reserved IP forwards to now; it switches when the assign ends.
    pub fn reserved_ip_target(&self, ip: Ipv4Addr) -> Option<Ipv4Addr> {
        self.act(|inner, _| {
            let droplet = inner.resources.reserved.get(&ip)?.droplet?;
            inner.resources.droplets.get(&droplet)?.reachable()
        })
    }

    /// Who is where, now.
    pub fn topology(&self) -> Topology {
        self.act(|inner, _| {
            let droplets = &inner.resources.droplets;
            let machines = droplets
                .values()
                .filter_map(|droplet| Some((droplet.id, droplet.reachable()?)))
                .collect();
            let target =
                |reserved: &addresses::Reserved| droplets.get(&reserved.droplet?)?.reachable();
            let reserved = inner
                .resources
                .reserved
                .values()
                .map(|reserved| (reserved.ip, target(reserved)))
                .collect();
            Topology { machines, reserved }
        })
    }

    /// Counts changes; the doors look again at each.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.lock().changes.subscribe()
    }

    /// The public keys that were put into a droplet at its creation.
    pub fn authorized_keys(&self, address: Ipv4Addr) -> Vec<String> {
        self.act(|inner, _| {
            let droplet =
                inner.droplet_at(address).and_then(|id| inner.resources.droplets.get(&id));
            droplet.map(|droplet| droplet.authorized_keys.clone()).unwrap_or_default()
        })
    }

    /// When the next thing happens by itself.
    pub fn next_event(&self) -> Option<Instant> {
        let inner = self.lock();
        let (next, _) = *inner.resources.due.front()?;
        Some(Instant::now() + crate::machine::passed(inner.now(), next))
    }

    /// Carries out what is due, and says so to the doors. Returns when the next thing happens.
    pub fn turn(&self) -> Option<Instant> {
        self.act(|_, _| ());
        self.next_event()
    }

    /// How long things take from now on, and what happens at bad moments.
    pub fn with_manners<T>(&self, f: impl FnOnce(&mut Timings, &mut Races) -> T) -> T {
        let config = &mut self.lock().config;
        f(&mut config.timings, &mut config.races)
    }

    /// How its Spaces behave from now on.
    pub fn with_habits<T>(&self, f: impl FnOnce(&mut Habits) -> T) -> T {
        f(&mut self.lock().config.spaces)
    }

    /// The rules by which requests fail.
    pub fn with_faults<T>(&self, f: impl FnOnce(&mut Faults) -> T) -> T {
        f(&mut self.lock().faults)
    }

    /// Counts a request against the allowance; also tells the token that is let in.
    pub(crate) fn allowance(&self) -> (account::Allowance, Option<String>) {
        let mut inner = self.lock();
        let limited = inner.config.rate_limits;
        (inner.window.count(limited), inner.config.token.clone())
    }

    /// Counts a request; its number.
    pub(crate) fn note_request(&self, method: &str, path: &str) -> usize {
        let mut inner = self.lock();
        inner.requests.push((method.to_owned(), path.to_owned()));
        inner.requests.len()
    }

    /// What `ratelimit-reset` says of an allowance.
    pub(crate) fn reset(&self, allowance: &account::Allowance) -> i64 {
        let inner = self.lock();
        let now = inner.now().as_second();
        let wait = i64::try_from(allowance.reset.as_secs()).unwrap_or_default();
        if inner.config.races.stale_reset { now - 60 } else { now + wait }
    }

    /// Every request so far: method and path.
    pub fn requests(&self) -> Vec<(String, String)> {
        self.lock().requests.clone()
    }

    /// Everything there is, for oracles and the curious.
    pub fn snapshot(&self) -> serde_json::Value {
        self.act(|inner, _| serde_json::to_value(&inner.resources).unwrap_or_default())
    }

    /// Does something at one instant, after what is due by then.
    pub(crate) fn act<T>(&self, f: impl FnOnce(&mut Inner, Timestamp) -> T) -> T {
        let mut inner = self.lock();
        let now = inner.now();
        inner.advance(now);
        let answer = f(&mut inner, now);
        inner.flush();
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    pub(crate) fn now(&self) -> Timestamp {
        self.config.epoch + self.begin.elapsed()
    }

    /// A number that was never given before.
    pub(crate) fn id(&mut self) -> u64 {
        self.resources.next_id += 1;
        // Spread a little, as the service's are, so that nobody relies on their being consecutive.
        self.resources.next_id * 7919 % 1_000_003 + self.resources.next_id * 1_000_003
    }

    pub(crate) fn after(&mut self, delay: Duration, due: Due) {
        self.at(self.now() + delay, due);
    }

    /// Something happens at a time of its own, after what was to happen then already.
    pub(crate) fn at(&mut self, at: Timestamp, due: Due) {
        let place = self.resources.due.partition_point(|(other, _)| *other <= at);
        self.resources.due.insert(place, (at, due));
    }

    /// Something is different now: it is saved, and the doors are told, before the request is answered.
    pub(crate) fn changed(&mut self) {
        self.dirty = true;
    }

    fn flush(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        if let Some(store) = &self.store {
            store.save(&self.resources, self.now());
        }
        self.changes.send_modify(|count| *count += 1);
    }

    fn advance(&mut self, now: Timestamp) {
        let mut changed = false;
        while let Some((at, due)) = self.resources.due.pop_front_if(|(at, _)| *at <= now) {
            match due {
                Due::Activate(id) => self.activate(id, at),
                Due::Address(id) => self.give_address(id),
                Due::Vanish(id) => self.vanish(id),
                Due::End(action) => self.end_action(action, at),
            }
            changed = true;
        }
        if changed {
            self.changed();
        }
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

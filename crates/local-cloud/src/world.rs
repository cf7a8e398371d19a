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

use std::collections::BTreeMap;
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
pub use account::Limits;
pub use store::StoreError;

/// How long things take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// From a create to `active`.
    pub boot: Duration,
    /// From `active` to the public address.
    pub address: Duration,
    /// From `active` to SSH and to the end of cloud-init.
    pub first_boot: BootTimings,
    /// An action on an address or a droplet.
    pub action: Duration,
    /// From a delete's answer to the end of the droplet.
    pub delete: Duration,
    /// How long a new droplet is missing from lists.
    pub list_lag: Duration,
    /// How long a new droplet, key or action is 404.
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

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// Makes ids, host keys and addresses.
    pub seed: u64,
    /// When it begins.
    pub epoch: Timestamp,
    /// How long things take.
    pub timings: Timings,
    /// The account's limits.
    pub limits: Limits,
    /// Its loopback block: droplets in `127.A.0.0/17` from `B`, reserved IPs in the upper half.
    pub block: (u8, u8),
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
            limits: Limits::default(),
            block: (77, 0),
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
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Resources {
    pub(crate) next_id: u64,
    pub(crate) droplets: BTreeMap<DropletId, droplets::Droplet>,
    pub(crate) machines: BTreeMap<DropletId, Machine>,
    pub(crate) actions: BTreeMap<u64, droplets::Action>,
    pub(crate) tags: BTreeMap<String, tags::Tag>,
    pub(crate) reserved: BTreeMap<Ipv4Addr, addresses::Reserved>,
    pub(crate) zones: BTreeMap<String, dns::Zone>,
    pub(crate) keys: BTreeMap<u64, account::Key>,
    due: Vec<(Timestamp, Due)>,
}

/// What the doors share.
pub(crate) struct Inner {
    pub(crate) config: WorldConfig,
    pub(crate) resources: Resources,
    pub(crate) faults: Faults,
    pub(crate) window: account::Window,
    pub(crate) requests: Vec<(String, String)>,
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
    pub fn kept(config: WorldConfig, folder: &std::path::Path) -> Result<Arc<Self>, StoreError> {
        let (store, resources) = store::Store::open(folder)?;
        let fresh = || Resources { next_id: 1, ..Resources::default() };
        Ok(Self::assemble(config, resources.unwrap_or_else(fresh), Some(store)))
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
            under_way: BTreeMap::new(),
            dirty: false,
            begin: Instant::now(),
            store,
            changes: watch::Sender::new(0),
        };
        inner.find_under_way();
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
        let next = inner.resources.due.iter().map(|(at, _)| *at).min()?;
        Some(Instant::now() + crate::machine::passed(inner.now(), next))
    }

    /// Carries out what is due, and says so to the doors. Returns when the next thing happens.
    pub fn turn(&self) -> Option<Instant> {
        self.act(|_, _| ());
        self.next_event()
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

    /// Counts a request.
    pub(crate) fn note_request(&self, method: &str, path: &str) {
        self.lock().requests.push((method.to_owned(), path.to_owned()));
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
        let at = self.now() + delay;
        self.resources.due.push((at, due));
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
            store.save(&self.resources);
        }
        self.changes.send_modify(|count| *count += 1);
    }

    pub(crate) fn droplet_at(&self, address: Ipv4Addr) -> Option<DropletId> {
        let mut droplets = self.resources.droplets.values();
        droplets.find(|droplet| droplet.reachable() == Some(address)).map(|droplet| droplet.id)
    }

    fn advance(&mut self, now: Timestamp) {
        let mut changed = false;
        while let Some(position) = self.next_due(now) {
            let (at, due) = self.resources.due.remove(position);
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

    fn next_due(&self, now: Timestamp) -> Option<usize> {
        let due = self.resources.due.iter().enumerate().filter(|(_, (at, _))| *at <= now);
        due.min_by_key(|(position, (at, _))| (*at, *position)).map(|(position, _)| position)
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

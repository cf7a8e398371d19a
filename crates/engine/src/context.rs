//! What a run works with: the world's edges, the bounds of its patience, and the way to stop it.
//!
//! Everything is passed in at the top, so that a run on a simulated world and a virtual clock is repeatable. Nothing
//! here decides anything.

use std::sync::Arc;
use std::time::Duration;

use seachange_core::checks::Checks;
use seachange_core::clock::Clock;
use seachange_core::cloud::Cloud;
use seachange_core::event::{Event, Listener};
use seachange_core::host::{Credentials, Host, Registry};
use seachange_core::secret::Secret;
use tokio::sync::watch;

/// Gives names that were never given before, to attempts, lineages and nonces. Letters, digits and `-` only: they become
/// part of tags.
pub trait Ids: Send + Sync {
    /// The next name.
    fn next(&self) -> String;
}

/// What a run works with.
#[derive(Clone)]
pub struct Context<'a> {
    /// The stack's name.
    pub stack: &'a str,
    /// The account.
    pub cloud: &'a dyn Cloud,
    /// The droplets from within; `None` for a stack without `ssh`.
    pub host: Option<&'a dyn Host>,
    /// The registry of the app's image; `None` if there is no app.
    pub registry: Option<&'a dyn Registry>,
    /// The wall clock, for what people read.
    pub clock: &'a dyn Clock,
    /// Where unique names come from.
    pub ids: &'a dyn Ids,
    /// Who hears what happens.
    pub listener: &'a dyn Listener,
    /// Runs the user's own checks.
    pub checks: &'a dyn Checks,
    /// Who runs this: user and host, or a CI job.
    pub by: String,
    /// How many steps may be busy at a time. A step that only waits is not busy.
    pub parallelism: usize,
    /// The first stop signal.
    pub stop: Stop,
    /// The bounds of every wait.
    pub patience: Patience,
}

impl Context<'_> {
    /// Tells an event.
    pub(crate) fn tell(&self, event: &Event) {
        self.listener.event(event);
    }

    /// Tells a text that a person should read.
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.tell(&Event::Note { text: text.into() });
    }
}

/// Who works on a state, and with what: all that the log and the lock ask for, and of a run's [`Context`] a part.
#[derive(Clone)]
pub struct Caller<'a> {
    /// The wall clock, for what people read.
    pub clock: &'a dyn Clock,
    /// Where unique names come from.
    pub ids: &'a dyn Ids,
    /// Who hears what happens.
    pub listener: &'a dyn Listener,
    /// Who this is: user and host, or a CI job.
    pub by: String,
    /// The first stop signal.
    pub stop: Stop,
}

impl<'a> From<&Context<'a>> for Caller<'a> {
    fn from(context: &Context<'a>) -> Self {
        let Context { clock, ids, listener, by, stop, .. } = context;
        Self { clock: *clock, ids: *ids, listener: *listener, by: by.clone(), stop: stop.clone() }
    }
}

/// What only a run needs to know of the app, and what is recorded nowhere.
#[derive(Debug, Clone, Default)]
pub struct AppSecrets {
    /// The container's environment.
    pub env: Vec<(String, Secret)>,
    /// The registry's login.
    pub registry: Option<Credentials>,
    /// The user's checks between the health gate and the switch (`deploy.verify`).
    pub checks: Vec<Vec<String>>,
}

/// The first stop signal, as a value: nothing new begins once it is requested. Clones are one and the same.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    /// A stop that nobody has requested yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Requests it.
    pub fn request(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was requested.
    pub fn requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it is requested.
    pub async fn wait(&self) {
        let mut requested = self.0.subscribe();
        // The sender lives in `self`: the channel cannot close while this waits.
        drop(requested.wait_for(|&requested| requested).await);
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

/// The bounds of every wait. There is no wait without one.
#[derive(Debug, Clone, PartialEq)]
pub struct Patience {
    /// From a droplet's create to `active`, unlocked, and with an address.
    pub boot: Duration,
    /// From the first contact to the end of the first boot.
    pub ready: Duration,
    /// For an action on an address, earlier events that hold it included.
    pub action: Duration,
    /// From a delete to the absence of what was deleted.
    pub delete: Duration,
    /// How long the account's lists may lag behind a create: only after it is something "not there".
    pub settle: Duration,
    /// The first interval between two looks, for each page a look costs.
    pub poll_first: Duration,
    /// Later intervals, as a share of the time waited so far: what a wait may overshoot.
    pub poll_growth: f64,
    /// The longest interval.
    pub poll_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            boot: Duration::from_secs(600),
            ready: Duration::from_secs(600),
            action: Duration::from_secs(180),
            delete: Duration::from_secs(180),
            settle: Duration::from_secs(15),
            poll_first: Duration::from_millis(400),
            poll_growth: 0.08,
            poll_max: Duration::from_secs(15),
        }
    }
}

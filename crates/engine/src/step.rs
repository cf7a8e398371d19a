//! One step under way: its slot, its journal entries, what it says it is doing, and how its errors become a failure.
//!
//! Every changing request goes through [`Step::send`], which makes sure that the lock is held and waits out earlier
//! events. Every step that changes something is written down before ([`Step::begin`]) and after ([`Step::end`]).

use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use seachange_core::address::Address;
use seachange_core::cloud::{Cloud, CloudError, DropletId};
use seachange_core::event::{Event, Outcome};
use seachange_core::host::{Host, HostError, Target};
use seachange_core::journal::{Change, Entry, Operation, OperationId, OperationKind};
use seachange_core::plan::Plan;
use seachange_core::release::Phase;
use seachange_core::run::Failure;
use seachange_core::state::{Droplet, Resource};
use tokio::time::Instant;

use crate::context::{AppSecrets, Context};
use crate::journal::{Journal, JournalError};
use crate::listing::Listing;
use crate::pace::{Cut, Pace};
use crate::walk::Slot;

/// What all steps of a run share.
pub(crate) struct Run<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) journal: &'a Journal,
    pub(crate) plan: &'a Plan,
    pub(crate) secrets: &'a AppSecrets,
    pub(crate) listing: Listing<'a>,
}

/// One step under way.
pub(crate) struct Step<'r> {
    pub(crate) run: &'r Run<'r>,
    pub(crate) slot: Slot,
    number: usize,
    object: String,
    doing: String,
    /// A repeatable operation under way: if the step fails, the next plan looks again anyway.
    open: Option<OperationId>,
    /// Where the release ended or was parked, if the step is one.
    pub(crate) release: Option<Phase>,
}

/// How a step ended well: what it found to do, and what it ended in.
pub(crate) type Done = (Outcome, String);

/// Why a step did not end well, before it is put in words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The cloud.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// A host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A wait ended too early.
    #[error(transparent)]
    Cut(#[from] Cut),
    /// The journal, or the lock.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Something is missing that the plan presumes.
    #[error("{0}")]
    Missing(String),
    /// It is in words already.
    #[error("{}", .0.causes.join(": "))]
    Failed(Box<Failure>),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

impl<'r> Step<'r> {
    /// A step that has a slot.
    pub(crate) fn new(run: &'r Run<'r>, number: usize, object: String, slot: Slot) -> Self {
        Self { run, slot, number, object, doing: String::new(), open: None, release: None }
    }

    /// Says what the step does from here on.
    pub(crate) fn does(&mut self, what: impl Into<String>) {
        self.doing = what.into();
        self.run.context.tell(&Event::StepProgress { step: self.number, what: self.doing.clone() });
    }

    /// Says what the step begins with, which its start event has told already.
    pub(crate) fn starts_with(&mut self, what: String) {
        self.doing = what;
    }

    /// A wait that the run's stop cuts short.
    pub(crate) fn pace(&self, bound: std::time::Duration) -> Pace<'r> {
        Pace::until(&self.run.context.patience, bound, &self.run.context.stop)
    }

    /// Writes down that an effect is about to be tried. It may begin when this returns.
    pub(crate) async fn begin(
        &mut self,
        kind: OperationKind,
        addresses: &[Address],
    ) -> Result<OperationId, Trouble> {
        let id = OperationId(self.run.context.ids.next());
        let is_repeatable = kind == OperationKind::Repeatable;
        self.run
            .journal
            .record(Entry::Begin(Operation {
                id: id.clone(),
                kind,
                addresses: addresses.to_vec(),
                began_at: self.run.context.clock.now(),
                by: self.run.context.by.clone(),
            }))
            .await?;
        self.open = is_repeatable.then(|| id.clone());
        Ok(id)
    }

    /// Writes down how the effect ended: these changes, none if it was not done.
    pub(crate) async fn end(
        &mut self,
        operation: OperationId,
        changes: Vec<Change>,
    ) -> Result<(), Trouble> {
        self.open = None;
        Ok(self.run.journal.record(Entry::End { operation, changes }).await?)
    }

    /// Writes down that the step failed, if it left a repeatable operation open. An operation whose outcome must be
    /// looked for stays open for the next run to do so.
    pub(crate) async fn close(&mut self) {
        if let Some(operation) = self.open.take() {
            // A journal that cannot be written has told so already, and ends the run.
            drop(self.end(operation, Vec::new()).await);
        }
    }

    /// Writes down what was learnt without an effect.
    pub(crate) async fn learn(&self, changes: Vec<Change>) -> Result<(), Trouble> {
        Ok(self.run.journal.record(Entry::Note { changes }).await?)
    }

    /// Sends a changing request, once earlier events, the allowance and the network let it through. Before each try the
    /// lock is made sure of again: a request that waited for long could arrive after somebody else took over. `Unknown`
    /// is handed back: only the caller can look.
    pub(crate) async fn send<T>(
        &mut self,
        pace: &Pace<'_>,
        request: impl AsyncFn(&dyn Cloud) -> Result<T, CloudError>,
    ) -> Result<T, Trouble> {
        let (run, began) = (self.run, Instant::now());
        loop {
            run.journal.must_hold()?;
            match request(run.context.cloud).await {
                Err(later) if may_go_later(&later, began.elapsed()) => {
                    if let Err(cut) = self.slot.lend(pace.pause()).await {
                        return Err(if cut == Cut::Stopped { cut.into() } else { later.into() });
                    }
                }
                answer => return Ok(answer?),
            }
        }
    }

    /// The same for an effect that is harmless twice: a lost answer is answered by sending it again.
    pub(crate) async fn send_repeatable<T>(
        &mut self,
        pace: &Pace<'_>,
        request: impl AsyncFn(&dyn Cloud) -> Result<T, CloudError>,
    ) -> Result<T, Trouble> {
        loop {
            match self.send(pace, &request).await {
                Err(Trouble::Cloud(unknown @ CloudError::Unknown { .. })) => {
                    if let Err(cut) = self.slot.lend(pace.pause()).await {
                        return Err(if cut == Cut::Stopped { cut.into() } else { unknown.into() });
                    }
                }
                answer => return answer,
            }
        }
    }

    /// The droplet of an address.
    pub(crate) fn droplet(&self, address: &Address) -> Result<Droplet, Trouble> {
        let droplet = self.run.journal.with(|state| state.droplet(address).cloned());
        droplet.ok_or_else(|| Trouble::Missing(format!("the state has no {address}")))
    }

    /// The worker whose droplet this is.
    pub(crate) fn worker_of(&self, droplet: Option<DropletId>) -> Option<u32> {
        let droplet = droplet?;
        self.run.journal.with(|state| state.address_of(droplet).and_then(Address::worker))
    }

    /// How to reach a droplet from within.
    pub(crate) fn target(&self, address: &Address) -> Result<Target, Trouble> {
        let target = self.droplet(address)?.target();
        target.ok_or_else(|| Trouble::Missing(format!("{address} has no address yet")))
    }

    /// The hosts.
    pub(crate) fn host(&self) -> Result<&'r dyn Host, Trouble> {
        self.run.context.host.ok_or_else(|| {
            Trouble::Missing("the spec has no `ssh`, so the droplets cannot be reached".to_owned())
        })
    }

    /// Changes what is known of a droplet, if it is still the same one.
    pub(crate) fn updated(
        &self,
        address: &Address,
        update: impl FnOnce(&mut Droplet),
    ) -> Result<Change, Trouble> {
        let mut droplet = self.droplet(address)?;
        update(&mut droplet);
        Ok(Change::Put { address: address.clone(), resource: Resource::Droplet(droplet) })
    }

    /// Puts trouble into words.
    pub(crate) fn failure(&self, trouble: Trouble) -> Failure {
        let help = help(&trouble);
        match trouble {
            Trouble::Failed(failure) => *failure,
            other => failure(&self.object, &self.doing, &other, help),
        }
    }
}

/// A failure from an error and all its sources.
pub(crate) fn failure(
    object: impl Display,
    doing: impl Display,
    error: &dyn Error,
    help: impl Into<String>,
) -> Failure {
    Failure {
        object: object.to_string(),
        doing: doing.to_string(),
        causes: causes(error),
        evidence: Vec::new(),
        help: Some(help.into()),
    }
}

/// An error and all its sources, the outermost first.
pub(crate) fn causes(error: &dyn Error) -> Vec<String> {
    let mut causes = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        causes.push(error.to_string());
        source = error.source();
    }
    causes
}

/// The next command.
fn help(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Cloud(CloudError::Unauthorized { .. } | CloudError::Forbidden { .. }) => {
            "use a token that may do this, then: seachange apply"
        }
        Trouble::Cloud(CloudError::LimitReached { .. }) => {
            "ask for a higher limit, or lower what the spec asks for; then: seachange apply"
        }
        Trouble::Cloud(CloudError::Invalid { .. } | CloudError::Conflict { .. }) => {
            "correct the spec, then: seachange plan"
        }
        Trouble::Host(HostError::WrongHostKey { .. }) => {
            "somebody else may answer at this address, and nothing was sent to it; find out why, or let a new droplet take its place: seachange apply --replace ADDRESS"
        }
        Trouble::Journal(_) => "find out who else works on this stack: seachange lock status",
        Trouble::Cloud(_) | Trouble::Host(_) | Trouble::Cut(_) | Trouble::Missing(_) => {
            "seachange apply goes on from here: it looks before it acts"
        }
        Trouble::Failed(_) => "seachange status",
    }
    .to_owned()
}

/// The network may be away for so long before a step gives up.
const OUTAGE: Duration = Duration::from_secs(60);

/// Whether a request that was certainly not processed can go again after a pause.
fn may_go_later(error: &CloudError, waited: Duration) -> bool {
    match error {
        CloudError::Pending { .. } | CloudError::RateLimited { .. } => true,
        CloudError::Unavailable { .. } => waited < OUTAGE,
        CloudError::Unauthorized { .. }
        | CloudError::Forbidden { .. }
        | CloudError::NotFound { .. }
        | CloudError::Conflict { .. }
        | CloudError::LimitReached { .. }
        | CloudError::Invalid { .. }
        | CloudError::Unknown { .. }
        | CloudError::Malformed { .. } => false,
    }
}

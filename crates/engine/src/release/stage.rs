//! Stage: the release's container on a worker that users are not on.

use std::collections::BTreeMap;
use std::time::Duration;

use seachange_core::address::Address;
use seachange_core::event::Event;
use seachange_core::host::{ContainerSpec, Host, HostError, Target};
use seachange_core::image::{Digest, ImageRef};
use seachange_core::journal::Change;
use seachange_core::release::{Kind, Transition};
use seachange_core::settings::Settings;
use seachange_core::state::Deployed;

use crate::pace::Cut;
use crate::step::{Step, Trouble, failure};

/// A pull that takes longer has failed.
const PULL: Duration = Duration::from_secs(900);
/// Beyond what a stopping container may take, the engine gets so long to replace it.
const REPLACE: Duration = Duration::from_secs(120);

/// What is put on a worker and judged there.
pub(crate) struct Candidate<'a> {
    pub(crate) worker: u32,
    pub(crate) image: &'a ImageRef,
    pub(crate) digest: &'a Digest,
    pub(crate) config: &'a str,
    pub(crate) settings: &'a Settings,
}

impl<'a> Candidate<'a> {
    /// A transition's.
    pub(crate) fn of(transition: &'a Transition) -> Self {
        Self {
            worker: transition.to,
            image: &transition.image,
            digest: &transition.digest,
            config: &transition.config,
            settings: &transition.settings,
        }
    }

    /// The worker's address.
    pub(crate) fn address(&self) -> Address {
        Address::Worker(self.worker)
    }
}

/// Pulls the image and makes the worker's container this release. Answers what is known then.
pub(crate) async fn stage(
    step: &mut Step<'_>,
    candidate: &Candidate<'_>,
    kind: Kind,
) -> Result<Change, Trouble> {
    let host = step.host()?;
    let target = step.target(&candidate.address())?;
    if kind == Kind::Rollback {
        must_be_there(step, host, &target, candidate).await?;
    } else {
        pull(step, host, &target, candidate).await?;
    }
    step.run.journal.must_hold()?;
    let spec = container(step, candidate);
    let bound = spec.stop_timeout + REPLACE;
    let ensured = tokio::time::timeout(bound, host.ensure_container(&target, &spec)).await;
    ensured.map_err(|_| Cut::Elapsed(bound))??;
    Ok(Change::Deployed {
        worker: candidate.worker,
        deployed: Deployed {
            image: candidate.image.clone(),
            digest: candidate.digest.clone(),
            config: candidate.config.to_owned(),
            settings: candidate.settings.clone(),
            at: step.run.context.clock.now(),
        },
    })
}

/// A stop cuts a pull: what was fetched stays on the worker, and users see nothing of it.
async fn pull(
    step: &mut Step<'_>,
    host: &dyn Host,
    target: &Target,
    candidate: &Candidate<'_>,
) -> Result<(), Trouble> {
    let run = step.run;
    let progress = |bytes, total| {
        let (worker, digest) = (candidate.worker, candidate.digest.clone());
        run.context.tell(&Event::Pull { worker, digest, bytes, total });
    };
    let credentials = run.secrets.registry.as_ref();
    let pulling = host.pull(target, candidate.image, candidate.digest, credentials, &progress);
    tokio::select! {
        biased;
        () = run.context.stop.wait() => Err(Cut::Stopped.into()),
        pulled = tokio::time::timeout(PULL, pulling) => {
            Ok(pulled.map_err(|_| Cut::Elapsed(PULL))??)
        }
    }
}

/// A rollback is to what the standby has. It must not be made anew from what this run happens to know of its
/// environment.
async fn must_be_there(
    step: &Step<'_>,
    host: &dyn Host,
    target: &Target,
    candidate: &Candidate<'_>,
) -> Result<(), Trouble> {
    let stack = step.run.context.stack;
    let containers = host.containers(target, stack).await?;
    let says = |labels: &BTreeMap<String, String>, label: &str, value: &str| {
        labels.get(label).is_some_and(|there| there == value)
    };
    let is_there = containers.iter().any(|container| {
        container.name == stack
            && says(&container.labels, "digest", candidate.digest.as_str())
            && says(&container.labels, "config", candidate.config)
    });
    if is_there {
        return Ok(());
    }
    Err(failure(
        candidate.address(),
        "looking for the release to go back to",
        &Trouble::Missing(format!(
            "its container of {} is not there any more",
            candidate.digest.short()
        )),
        "name that image in the spec, then: seachange apply",
    )
    .into())
}

fn container(step: &Step<'_>, candidate: &Candidate<'_>) -> ContainerSpec {
    let last = step.run.journal.with(|state| state.releases.last().map(|last| last.number));
    let labels = [
        ("stack", step.run.context.stack.to_owned()),
        ("release", (last.unwrap_or(0) + 1).to_string()),
        ("image", candidate.image.to_string()),
        ("digest", candidate.digest.to_string()),
        ("config", candidate.config.to_owned()),
    ];
    ContainerSpec {
        name: step.run.context.stack.to_owned(),
        image: candidate.image.clone(),
        digest: candidate.digest.clone(),
        env: step.run.secrets.env.clone(),
        port: candidate.settings.port,
        labels: labels.into_iter().map(|(label, value)| (label.to_owned(), value)).collect(),
        stop_timeout: candidate.settings.stop_timeout,
    }
}

/// How the container is and what it wrote last: one line each, for people. What cannot be seen is said so.
pub(crate) async fn evidence(host: &dyn Host, target: &Target, stack: &str) -> Vec<String> {
    const LINES: usize = 50;
    let look = async {
        let containers = host.containers(target, stack).await?;
        let ours = containers.iter().find(|container| container.name == stack);
        let state = ours.map_or_else(
            || "container: none".to_owned(),
            |container| format!("container: {}", in_words(&container.state)),
        );
        let mut lines = vec![state];
        if ours.is_some() {
            lines.push(format!("last {LINES} lines of its log:"));
            let log = host.logs(target, stack, LINES).await?;
            lines.extend(log.into_iter().map(|line| format!("  {line}")));
        }
        Ok::<_, HostError>(lines)
    };
    look.await.unwrap_or_else(|error| vec![format!("container: {error}")])
}

pub(crate) fn in_words(state: &seachange_core::host::ContainerState) -> String {
    use seachange_core::host::ContainerState::{Created, Exited, Other, Restarting, Running};
    match state {
        Created => "created, never started".to_owned(),
        Running => "running".to_owned(),
        Restarting => "restarting".to_owned(),
        Exited { code } => format!("exited with code {code}"),
        Other(word) => word.clone(),
    }
}

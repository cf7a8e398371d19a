//! The health gate: so many successes in a row against the container itself, before a deadline; then the user's checks.

use std::time::Duration;

use seachange_core::address::Address;
use seachange_core::event::Event;
use seachange_core::host::{ContainerState, Host, Probe, ProbeOutcome, Route, Target};
use seachange_core::run::Failure;
use tokio::time::Instant;

use super::stage::{Candidate, evidence, in_words};
use crate::pace::{self, Cut};
use crate::step::{Step, Trouble, failure};

/// One probe gets no longer, however far the deadline.
const MOST: Duration = Duration::from_secs(5);
/// Nor less, however near: the last one, cut off at once, would hide what the app says.
const LEAST: Duration = Duration::from_millis(500);

/// How long one probe may take, with so much time left.
pub(super) fn patience(left: Duration) -> Duration {
    left.clamp(LEAST, MOST)
}

/// Judges the candidate.
pub(crate) async fn gate(step: &mut Step<'_>, candidate: &Candidate<'_>) -> Result<(), Trouble> {
    let host = step.host()?;
    let target = step.target(&candidate.address())?;
    healthy(step, host, &target, candidate).await?;
    checked(step, &target, candidate).await
}

async fn healthy(
    step: &mut Step<'_>,
    host: &dyn Host,
    target: &Target,
    candidate: &Candidate<'_>,
) -> Result<(), Trouble> {
    let (run, health) = (step.run, &candidate.settings.health);
    let began = Instant::now();
    let mut in_a_row = 0;
    loop {
        let left = health.timeout.saturating_sub(began.elapsed());
        let probe = Probe {
            route: Route::Container { target: target.clone(), port: candidate.settings.port },
            path: health.path.clone(),
            timeout: patience(left),
        };
        let outcome = ask(host, &probe).await;
        in_a_row = if answers(&outcome, health.status, None) { in_a_row + 1 } else { 0 };
        run.context.tell(&Event::Probe {
            worker: Some(candidate.worker),
            seen: seen(&outcome),
            in_a_row,
            needed: health.successes,
        });
        if in_a_row >= health.successes {
            return Ok(());
        }
        let over = if in_a_row == 0 { exited(host, target, run.context.stack).await } else { None };
        let over = over.or_else(|| {
            (began.elapsed() + health.interval > health.timeout).then(|| {
                format!(
                    "it did not answer {} × {} in a row within {} s",
                    health.successes,
                    health.status,
                    health.timeout.as_secs()
                )
            })
        });
        if let Some(why) = over {
            let mut failure = unhealthy(candidate.address(), &health.path, why);
            failure.evidence.push(format!("last probe: {}", seen(&outcome)));
            failure.evidence.extend(evidence(host, target, run.context.stack).await);
            return Err(failure.into());
        }
        let pause = pace::sleep(health.interval, Some(&run.context.stop));
        step.slot.lend(pause).await?;
    }
}

/// A container that ended does not become healthy by waiting.
async fn exited(host: &dyn Host, target: &Target, stack: &str) -> Option<String> {
    let containers = host.containers(target, stack).await.ok()?;
    let ours = containers.into_iter().find(|container| container.name == stack)?;
    match ours.state {
        ContainerState::Exited { .. } => Some(format!("it {}", in_words(&ours.state))),
        ContainerState::Created
        | ContainerState::Running
        | ContainerState::Restarting
        | ContainerState::Other(_) => None,
    }
}

fn unhealthy(address: Address, path: &str, why: String) -> Failure {
    failure(
        &address,
        format!("health gate on {path}"),
        &Trouble::Missing(why),
        format!("users were never on it; look at it as it is: seachange logs {address}"),
    )
}

/// The user's own checks, each with the candidate's address in its environment.
async fn checked(
    step: &mut Step<'_>,
    target: &Target,
    candidate: &Candidate<'_>,
) -> Result<(), Trouble> {
    let run = step.run;
    let (address, port) = (target.address, candidate.settings.port);
    let environment = [
        ("SEACHANGE_CANDIDATE_ADDRESS", address.to_string()),
        ("SEACHANGE_CANDIDATE_PORT", port.to_string()),
        ("SEACHANGE_CANDIDATE_URL", format!("http://{address}:{port}/")),
        ("SEACHANGE_STACK", run.context.stack.to_owned()),
        ("SEACHANGE_IMAGE", candidate.image.to_string()),
        ("SEACHANGE_DIGEST", candidate.digest.to_string()),
        ("SEACHANGE_WORKER", candidate.worker.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    for command in &run.secrets.checks {
        step.does(format!("check: {}", command.join(" ")));
        let checking = run.context.checks.run(command, &environment);
        let checked = tokio::select! {
            biased;
            () = run.context.stop.wait() => return Err(Cut::Stopped.into()),
            checked = checking => checked,
        };
        if let Err(failed) = checked {
            let mut failure = failure(
                candidate.address(),
                "deploy.verify",
                &failed,
                "users were never on it; correct the app or the check, then: seachange apply",
            );
            failure.evidence = failed.output;
            return Err(failure.into());
        }
    }
    Ok(())
}

/// One probe, whose time-out holds even if the host does not keep it.
pub(super) async fn ask(host: &dyn Host, probe: &Probe) -> ProbeOutcome {
    // A little later than the probe's own, which can say better what it waited for.
    let bound = probe.timeout + Duration::from_millis(500);
    let asked = tokio::time::timeout(bound, host.probe(probe)).await;
    asked
        .unwrap_or_else(|_| ProbeOutcome::NoAnswer { detail: format!("timed out after {bound:?}") })
}

/// Whether a probe's answer is the one asked for.
pub(super) fn answers(outcome: &ProbeOutcome, wanted: u16, contains: Option<&str>) -> bool {
    match outcome {
        ProbeOutcome::Answer { status, body, .. } => {
            *status == wanted && contains.is_none_or(|text| body.contains(text))
        }
        ProbeOutcome::NoAnswer { .. } => false,
    }
}

/// What a probe saw, for people.
pub(super) fn seen(outcome: &ProbeOutcome) -> String {
    match outcome {
        ProbeOutcome::Answer { status, took, .. } => format!("{status} in {} ms", took.as_millis()),
        ProbeOutcome::NoAnswer { detail } => detail.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_probe_is_given_a_chance_and_none_takes_all_the_time() {
        let seconds = Duration::from_secs;
        assert_eq!(patience(Duration::ZERO), LEAST);
        assert_eq!(patience(seconds(3)), seconds(3));
        assert_eq!(patience(seconds(120)), MOST);
    }
}

//! What a run did, and why it did not do the rest.

use std::time::Duration;

use seachange_core::event::Outcome;
use seachange_core::plan::{Effect, Plan};
use seachange_core::release::Phase;
use seachange_core::run::{Failure, RunRecord, StepRecord};
use seachange_report::run::{failures, json, summary};

use crate::specs::webgui;
use crate::world::World;
use crate::{snapshot, swapped};

/// A run of a plan in which every step ended well.
fn done(plan: &Plan, release: Option<Phase>) -> RunRecord {
    RunRecord {
        purpose: plan.purpose,
        stack: plan.stack.clone(),
        serial: plan.serial + 4,
        steps: vec![StepRecord::Done { outcome: Outcome::Added }; plan.steps.len()],
        release,
        stopped: false,
        requests: 31,
        commits: 6,
        took: Duration::from_millis(12_340),
    }
}

/// A gate that an app did not pass, as the engine tells of it.
fn unhealthy() -> Failure {
    let line = |text: &str| text.to_owned();
    Failure {
        object: line("droplet.worker[2]"),
        doing: line("health gate on /"),
        causes: vec![line("it exited with code 1")],
        evidence: vec![
            line("last probe: connection refused"),
            line("container: exited with code 1"),
            line("last 50 lines of its log:"),
            line("  Starting webgui 1.1"),
            line("  \x1b[31mERROR\x1b[0m no DATABASE_URL"),
        ],
        help: Some(line(
            "users were never on it; look at it as it is: seachange logs droplet.worker[2]",
        )),
    }
}

#[test]
fn a_first_apply_and_a_swap_end_in_one_line() {
    let plan = World::empty("webgui").plan(&webgui("1.0"));
    snapshot("run_first_apply", &summary(&done(&plan, Some(Phase::Completed)), &plan));
    let plan = World::applied(&webgui("1.0")).plan(&webgui("1.1"));
    snapshot("run_swap", &summary(&done(&plan, Some(Phase::Completed)), &plan));
    let plan = swapped().rollback().expect("something to go back to");
    snapshot("run_rollback", &summary(&done(&plan, Some(Phase::Completed)), &plan));
    let plan = swapped().destroy();
    snapshot("run_destroy", &summary(&done(&plan, None), &plan));
}

#[test]
fn an_unhealthy_app_is_shown_with_its_evidence() {
    let mut spec = webgui("1.1");
    spec.workers.size = "s-1vcpu-2gb".to_owned();
    let plan = World::applied(&webgui("1.0")).plan(&spec);
    let release = plan.steps.iter().position(|step| step.effect == Effect::Release);
    let release = release.expect("a release");
    let mut record = done(&plan, Some(Phase::Aborted));
    record.steps[release..].fill(StepRecord::Skipped);
    record.steps[release] = StepRecord::Failed(unhealthy());
    assert!(failures(&record).contains("no DATABASE_URL"));
    snapshot("run_unhealthy", &format!("{}{}", failures(&record), summary(&record, &plan)));
    let value = json(&record);
    assert_eq!(value["succeeded"], false);
    assert!(value.to_string().contains("no DATABASE_URL"));
}

#[test]
fn a_release_that_was_switched_back_says_so() {
    let plan = World::applied(&webgui("1.0")).plan(&webgui("1.1"));
    let mut record = done(&plan, Some(Phase::Reverted));
    record.steps = vec![StepRecord::Failed(Failure {
        object: "release".to_owned(),
        doing: "the look after the switch".to_owned(),
        causes: vec!["no answer from the new release".to_owned(), "502 in 3 ms".to_owned()],
        evidence: vec!["last probe: 502 in 3 ms".to_owned()],
        help: None,
    })];
    snapshot("run_reverted", &format!("{}{}", failures(&record), summary(&record, &plan)));

    let not_yet = RunRecord { release: Some(Phase::SwitchingBack), ..record.clone() };
    assert!(summary(&not_yet, &plan).contains("could not be switched back yet"));
    let first = World::empty("webgui").plan(&webgui("1.0"));
    assert!(summary(&record, &first).contains("no release before it to go back to"));
}

#[test]
fn a_stopped_run_counts_what_is_left() {
    let plan = World::empty("webgui").plan(&webgui("1.0"));
    let mut record = done(&plan, None);
    record.stopped = true;
    record.steps[2..].fill(StepRecord::Skipped);
    assert_eq!(failures(&record), "");
    snapshot("run_stopped", &summary(&record, &plan));
}
